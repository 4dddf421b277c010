#include "fields.h"

#include <strings.h>

static const struct {
	const char *names[4];
	bool needed;
} fields[FIELD_ALL] = {
	[FIELD_HOST] = {{"Hostname", "host", "node"}, true},
	[FIELD_GPU] = {{"gpu_id", "gpu"}, true},
	[FIELD_METRIC] = {{"metric_name", "metric"}, true},
	[FIELD_DEVICE] = {{"device"}, false},
	[FIELD_UUID] = {{"uuid", "gpu_uuid"}, false},
	[FIELD_MODEL] = {{"modelName", "model_name", "model"}, false},
	[FIELD_CONTAINER] = {{"container"}, false},
	[FIELD_POD] = {{"pod"}, false},
	[FIELD_NAMESPACE] = {{"namespace"}, false},
	[FIELD_LABELS] = {{"labels_raw", "labels"}, false},
	[FIELD_TIME] = {{"timestamp", "time", "ts"}, true},
	[FIELD_VALUE] = {{"value"}, true},
};

const char *field_alias(int field, size_t i)
{
	return i < ARRAY_SIZE(fields[field].names) ? fields[field].names[i] : NULL;
}

static bool is_called(int field, struct slice name)
{
	const char *alias;

	for (size_t i = 0; (alias = field_alias(field, i)); i++)
		if (strlen(alias) == name.len && !strncasecmp(alias, name.p, name.len))
			return true;
	return false;
}

int field_find(struct slice name)
{
	for (int i = 0; i < FIELD_ALL; i++)
		if (is_called(i, name))
			return i;
	return -1;
}

const char *field_name(int field)
{
	return fields[field].names[0];
}

bool field_needed(int field)
{
	return fields[field].needed;
}
