#include "exporter.h"

#include <stdio.h>
#include <strings.h>

#include "labels.h"
#include "parse.h"

#define SMI        "nvidia_smi_"
#define UUID_START "GPU-"

static bool starts_with(struct slice s, const char *start)
{
	size_t n = strlen(start);

	return s.len >= n && !memcmp(s.p, start, n);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Equal in meaning and unit (nvidia-smi --help-query-gpu, dcgm_fields.h). */
static const struct {
	const char *smi, *dcgm;
} same_metrics[] = {
	{SMI "temperature_gpu", "DCGM_FI_DEV_GPU_TEMP"},
	{SMI "temperature_memory", "DCGM_FI_DEV_MEMORY_TEMP"},
	{SMI "power_draw_watts", "DCGM_FI_DEV_POWER_USAGE"},
	{SMI "power_draw_instant_watts", "DCGM_FI_DEV_POWER_USAGE_INSTANT"},
	{SMI "power_limit_watts", "DCGM_FI_DEV_POWER_MGMT_LIMIT"},
	{SMI "enforced_power_limit_watts", "DCGM_FI_DEV_ENFORCED_POWER_LIMIT"},
	{SMI "pstate", "DCGM_FI_DEV_PSTATE"},
	{SMI "pcie_link_gen_current", "DCGM_FI_DEV_PCIE_LINK_GEN"},
	{SMI "pcie_link_width_current", "DCGM_FI_DEV_PCIE_LINK_WIDTH"},
	{SMI "ecc_errors_corrected_volatile_total", "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"},
	{SMI "ecc_errors_uncorrected_volatile_total", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"},
	{SMI "ecc_errors_corrected_aggregate_total", "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL"},
	{SMI "ecc_errors_uncorrected_aggregate_total", "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL"},
};

static struct slice metric_name(struct slice name)
{
	for (size_t i = 0; i < ARRAY_SIZE(same_metrics); i++) {
		if (slice_eq(name, slice_str(same_metrics[i].smi)))
			return slice_str(same_metrics[i].dcgm);
	}
	return name;
}

/* Where a label's text goes. Of two for one field the first in this table counts. */
static const struct {
	const char *label;
	enum series_field field;
} known_labels[] = {
	{"gpu", FIELD_GPU},
	{"Hostname", FIELD_HOST},
	{"UUID", FIELD_UUID},
	{"uuid", FIELD_UUID},
	{"device", FIELD_DEVICE},
	{"modelName", FIELD_MODEL},
	{"exported_container", FIELD_CONTAINER},
	{"container", FIELD_CONTAINER},
	{"exported_pod", FIELD_POD},
	{"pod", FIELD_POD},
	{"exported_namespace", FIELD_NAMESPACE},
	{"namespace", FIELD_NAMESPACE},
};

/* ---- labels ---------------------------------------------------------------------------------- */

static int find_label(const struct label *labels, int n, const char *name)
{
	for (int i = 0; i < n; i++) {
		if (slice_eq(labels[i].name, slice_str(name)))
			return i;
	}
	return -1;
}

/* Still escaped; empty where there is none. */
static struct slice label_text(const struct label *labels, int n, const char *name)
{
	int at = find_label(labels, n, name);

	return at < 0 ? SLICE_LIT("") : labels[at].value;
}

static struct slice unescape(struct strbuf *to, struct slice value)
{
	size_t start = to->len;

	labels_unescape(to, value);
	return (struct slice){to->s + start, to->len - start};
}

void exported_init(struct exported *x)
{
	*x = (struct exported){0};
	strbuf_init(&x->unescaped, LABELS_BYTES);
	strbuf_init(&x->labels, LABELS_BYTES);
}

void exported_release(struct exported *x)
{
	strbuf_release(&x->unescaped);
	strbuf_release(&x->labels);
}

/* The labels that are fields become fields; the others are left, in place. Returns their number. */
static int take_known(struct exported *x, struct label *labels, int n)
{
	for (size_t i = 0; i < ARRAY_SIZE(known_labels); i++) {
		struct slice *field = &x->fields[known_labels[i].field];
		int at = find_label(labels, n, known_labels[i].label);

		if (at < 0)
			continue;
		if (!field->len)
			*field = unescape(&x->unescaped, labels[at].value);
		labels[at] = labels[--n];
	}
	return n;
}

/* ---- nvidia_gpu_exporter --------------------------------------------------------------------- */

static struct smi_gpu *find_gpu(const struct gpus *g, struct slice uuid)
{
	for (size_t i = 0; i < g->n; i++) {
		if (slice_eq(slice_str(g->list[i].uuid), uuid))
			return &g->list[i];
	}
	return NULL;
}

/* Text that does not fit, or would have to be unescaped, is not known. */
static bool copy_text(char *to, size_t size, struct slice s)
{
	if (s.len >= size || memchr(s.p, '\\', s.len))
		return false;
	memset(to, 0, size);
	memcpy(to, s.p, s.len);
	return true;
}

static struct smi_gpu *add_gpu(struct gpus *g, struct slice uuid)
{
	struct smi_gpu *gpu = find_gpu(g, uuid);
	bool has_start = uuid.len >= 4 && !strncasecmp(uuid.p, UUID_START, 4);

	if (gpu || g->n == GPUS_MAX || !uuid.len)
		return gpu;
	if (!g->list)
		g->list = xcalloc(GPUS_MAX, sizeof(*g->list));
	gpu = &g->list[g->n];
	*gpu = (struct smi_gpu){0};
	if (!copy_text(gpu->uuid, sizeof(gpu->uuid), uuid))
		return NULL;
	g->n++;
	snprintf(gpu->full_uuid, sizeof(gpu->full_uuid), "%s%s", has_start ? "" : UUID_START,
		 gpu->uuid);
	memcpy(gpu->index, gpu->full_uuid, sizeof(gpu->index));
	return gpu;
}

static void set_index(struct smi_gpu *gpu, struct slice s)
{
	uint64_t v;

	if (!parse_u64(s, 9999, &v))
		(void)copy_text(gpu->index, sizeof(gpu->index), s);
}

static void gather_sample(struct gpus *g, const struct exposition_sample *s)
{
	bool is_info = slice_eq(s->name, SLICE_LIT(SMI "gpu_info"));
	struct label labels[LABELS_MAX];
	struct smi_gpu *gpu = NULL;
	int n = 0;

	if (is_info || slice_eq(s->name, SLICE_LIT(SMI "index")))
		n = labels_split(s->labels, labels, NULL);
	if (n > 0)
		gpu = add_gpu(g, label_text(labels, n, "uuid"));
	if (!gpu)
		return;
	if (!is_info) {
		set_index(gpu, s->value);
		return;
	}
	set_index(gpu, label_text(labels, n, "index"));
	(void)copy_text(gpu->model, sizeof(gpu->model), label_text(labels, n, "name"));
	(void)copy_text(gpu->driver, sizeof(gpu->driver), label_text(labels, n, "driver_version"));
}

void gpus_gather(struct gpus *g, struct slice body, enum exposition_format format)
{
	struct exposition_sample s;
	struct exposition x;
	int event;

	g->n = 0;
	if (!memmem(body.p, body.len, SMI, strlen(SMI)))
		return;
	exposition_init(&x, body, format);
	while ((event = exposition_next(&x, &s, NULL)) != EXPOSITION_END) {
		if (event == EXPOSITION_SAMPLE)
			gather_sample(g, &s);
	}
}

void gpus_release(struct gpus *g)
{
	free(g->list);
	*g = (struct gpus){0};
}

/* The GPU of a sample by its labels, without parsing them all: it is asked for at each sample. */
static const struct smi_gpu *gpu_of(const struct gpus *g, const struct exposition_sample *s)
{
	static const struct slice mark = SLICE_LIT("uuid=\"");
	const char *end = s->labels.p + s->labels.len, *p = NULL, *quote = NULL;

	if (starts_with(s->name, SMI))
		p = memmem(s->labels.p, s->labels.len, mark.p, mark.len);
	if (p) {
		p += mark.len;
		quote = memchr(p, '"', (size_t)(end - p));
	}
	return quote ? find_gpu(g, (struct slice){p, (size_t)(quote - p)}) : NULL;
}

/* ---- samples --------------------------------------------------------------------------------- */

/* Labels that are called otherwise than dcgm-exporter calls them. */
static int name_as_dcgm(const struct smi_gpu *gpu, struct label *labels, int n)
{
	int instance = find_label(labels, n, "gpu_instance_id");

	if (instance >= 0)
		labels[instance].name = SLICE_LIT("GPU_I_ID");
	if (gpu->driver[0] && n < LABELS_MAX)
		labels[n++] =
			(struct label){SLICE_LIT("DCGM_FI_DRIVER_VERSION"), slice_str(gpu->driver)};
	return n;
}

static int join_labels(struct exported *x, struct label *labels, int n, struct err *e)
{
	labels_join(&x->labels, labels, n);
	x->fields[FIELD_LABELS] = (struct slice){x->labels.s, x->labels.len};
	return x->labels.err || x->unescaped.err ? err_set(e, -EINVAL, "labels are too long") : 0;
}

int exporter_fields(const struct exposition_sample *s, const struct gpus *g,
		    const struct target_facts *t, struct exported *ret, struct err *e)
{
	const struct smi_gpu *gpu = gpu_of(g, s);
	struct label labels[LABELS_MAX];
	int n = labels_split(s->labels, labels, e);

	if (n < 0)
		return err_prefix(e, n, "malformed labels");
	for (int i = 0; i < FIELD_COUNT; i++)
		ret->fields[i] = SLICE_LIT("");
	strbuf_reset(&ret->unescaped);
	strbuf_reset(&ret->labels);
	/* At once, so that it does not move while slices point into it. */
	strbuf_reserve(&ret->unescaped, s->labels.len);
	n = take_known(ret, labels, n);
	ret->fields[FIELD_METRIC] = metric_name(s->name);
	if (gpu) {
		ret->fields[FIELD_GPU] = slice_str(gpu->index);
		ret->fields[FIELD_UUID] = slice_str(gpu->full_uuid);
		ret->fields[FIELD_MODEL] = slice_str(gpu->model);
		n = name_as_dcgm(gpu, labels, n);
	}
	if (t->host_is_forced || !ret->fields[FIELD_HOST].len)
		ret->fields[FIELD_HOST] = t->host;
	return ret->fields[FIELD_GPU].len ? join_labels(ret, labels, n, e) : -ENOENT;
}

bool exporter_may_be_gpu(const struct exposition_sample *s, const struct gpus *g)
{
	return memmem(s->labels.p, s->labels.len, "gpu", 3) || gpu_of(g, s);
}

struct series_key exporter_key(const struct exposition_sample *s, const struct gpus *g,
			       const struct target_facts *t)
{
	const struct smi_gpu *gpu = gpu_of(g, s);

	return (struct series_key){{
		t->host,
		s->series,
		{(const char *)gpu, gpu ? sizeof(*gpu) : 0},
	}};
}

struct slice exporter_value(struct slice text)
{
	static const char *const infinities[] = {"+Inf", "-Inf", "Inf"};

	for (size_t i = 0; i < ARRAY_SIZE(infinities); i++) {
		if (text.len == strlen(infinities[i]) &&
		    !strncasecmp(text.p, infinities[i], text.len))
			return SLICE_LIT("");
	}
	return text;
}
