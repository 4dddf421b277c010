#include "render.h"

#include "labels.h"

/* ---- CSV ------------------------------------------------------------------------------------- */

static bool needs_quotes(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] == ',' || s.p[i] == '"' || s.p[i] == '\n' || s.p[i] == '\r')
			return true;
	return false;
}

void render_csv_field(struct strbuf *out, struct slice s)
{
	if (!needs_quotes(s)) {
		strbuf_add_slice(out, s);
		return;
	}
	strbuf_addc(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '"')
			strbuf_addc(out, '"');
		strbuf_addc(out, s.p[i]);
	}
	strbuf_addc(out, '"');
}

static size_t csv_field_len(struct slice s)
{
	size_t n = s.len;

	if (!needs_quotes(s))
		return n;
	for (size_t i = 0; i < s.len; i++)
		n += s.p[i] == '"';
	return n + 2;
}

static void csv_next(struct strbuf *out, struct slice s)
{
	strbuf_addc(out, ',');
	render_csv_field(out, s);
}

void render_row_middle(struct strbuf *out, const struct series *s)
{
	csv_next(out, slice_str(s->metric));
	strbuf_addc(out, ',');
}

void render_row_tail(struct strbuf *out, const struct series *s, const struct attribution *a)
{
	csv_next(out, a->uuid);
	csv_next(out, a->container);
	csv_next(out, a->pod);
	csv_next(out, a->namespace);
	csv_next(out, slice_str(s->labels));
	strbuf_addc(out, '\n');
}

void render_row(struct strbuf *out, struct stamp time, struct slice value, const struct series *s,
		const struct attribution *a)
{
	char text[STAMP_MAX];

	strbuf_add(out, text, stamp_format(time, text));
	render_row_middle(out, s);
	render_csv_field(out, value);
	render_row_tail(out, s, a);
}

size_t render_names_len(const struct series *s, const struct attribution *a)
{
	return csv_field_len(slice_str(s->metric)) + csv_field_len(a->uuid) +
	       csv_field_len(a->container) + csv_field_len(a->pod) + csv_field_len(a->namespace) +
	       csv_field_len(slice_str(s->labels)) + sizeof(",,,,,,,\n") - 1;
}

size_t render_row_len(struct stamp time, struct slice value, size_t names_len)
{
	return stamp_len(time) + csv_field_len(value) + names_len;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static size_t skip_digits(struct slice s, size_t i)
{
	while (i < s.len && s.p[i] >= '0' && s.p[i] <= '9')
		i++;
	return i;
}

/* number = [ "-" ] int [ frac ] [ exp ], RFC 8259 §6. */
static bool is_json_number(struct slice s)
{
	size_t i = s.len && s.p[0] == '-', start = i;

	i = skip_digits(s, i);
	if (i == start || (s.p[start] == '0' && i > start + 1))
		return false;
	if (i < s.len && s.p[i] == '.') {
		start = ++i;
		i = skip_digits(s, i);
		if (i == start)
			return false;
	}
	if (i < s.len && (s.p[i] == 'e' || s.p[i] == 'E')) {
		i++;
		i += i < s.len && (s.p[i] == '+' || s.p[i] == '-');
		start = i;
		i = skip_digits(s, i);
		if (i == start)
			return false;
	}
	return i == s.len;
}

void render_value_json(struct strbuf *out, struct slice value)
{
	if (is_json_number(value))
		strbuf_add_slice(out, value);
	else
		strbuf_add_json(out, value.p, value.len);
}

/* before: comma, name and colon. */
static void json_field(struct strbuf *out, const char *before, struct slice value)
{
	strbuf_adds(out, before);
	strbuf_add_json(out, value.p, value.len);
}

void render_labels_json(struct strbuf *out, const char *labels)
{
	struct label l[LABELS_MAX];
	int n = labels_split(slice_str(labels), l, NULL);

	strbuf_addc(out, '{');
	for (int i = 0; i < n; i++) {
		struct strbuf name, value;

		strbuf_init(&name, LABELS_BYTES);
		strbuf_init(&value, LABELS_BYTES);
		strbuf_add_slice(&name, l[i].name);
		if (!name.err)
			labels_get(slice_str(labels), name.s, &value);
		if (i)
			strbuf_addc(out, ',');
		strbuf_add_json(out, l[i].name.p, l[i].name.len);
		strbuf_addc(out, ':');
		strbuf_add_json(out, value.s ? value.s : "", value.len);
		strbuf_release(&name);
		strbuf_release(&value);
	}
	strbuf_addc(out, '}');
}

void render_row_json_middle(struct strbuf *out, const struct identity *id, const struct series *s,
			    const struct attribution *a)
{
	json_field(out, "\",\"hostname\":", slice_str(id->host));
	json_field(out, ",\"gpu_id\":", slice_str(id->gpu));
	json_field(out, ",\"uuid\":", a->uuid);
	json_field(out, ",\"metric_name\":", slice_str(s->metric));
	strbuf_adds(out, ",\"value\":");
}

void render_row_json_tail(struct strbuf *out, const struct series *s, const struct attribution *a)
{
	json_field(out, ",\"container\":", a->container);
	json_field(out, ",\"pod\":", a->pod);
	json_field(out, ",\"namespace\":", a->namespace);
	if (s->labels[0]) {
		strbuf_adds(out, ",\"labels\":");
		render_labels_json(out, s->labels);
	}
	strbuf_addc(out, '}');
}

void render_row_json(struct strbuf *out, const struct identity *id, struct stamp time,
		     struct slice value, const struct series *s, const struct attribution *a)
{
	char text[STAMP_MAX];

	strbuf_adds(out, ROW_JSON_HEAD);
	strbuf_add(out, text, stamp_format(time, text));
	render_row_json_middle(out, id, s, a);
	render_value_json(out, value);
	render_row_json_tail(out, s, a);
}

/* ---- Prometheus ------------------------------------------------------------------------------ */

/* Names of dcgm-exporter's own labels; a series' label of the same name would be a duplicate. */
static const char *const prom_labels[] = {
	"gpu",
	"UUID",
	"device",
	"modelName",
	"GPU_I_ID",
	"Hostname",
	"DCGM_FI_DRIVER_VERSION",
	"container",
	"pod",
	"namespace",
};

static bool is_prom_label(struct slice name)
{
	for (size_t i = 0; i < ARRAY_SIZE(prom_labels); i++)
		if (slice_eq(name, slice_str(prom_labels[i])))
			return true;
	return false;
}

static bool needs_escape(char c)
{
	return c == '"' || c == '\\' || c == '\n';
}

static void prom_escape(struct strbuf *out, struct slice s)
{
	size_t start = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (!needs_escape(s.p[i]))
			continue;
		strbuf_add(out, s.p + start, i - start);
		strbuf_add(out, (char[]){'\\', s.p[i] == '\n' ? 'n' : s.p[i]}, 2);
		start = i + 1;
	}
	strbuf_add(out, s.p + start, s.len - start);
}

static void prom_label(struct strbuf *out, const char *name, struct slice value)
{
	strbuf_adds(out, name);
	strbuf_add(out, "=\"", 2);
	prom_escape(out, value);
	strbuf_addc(out, '"');
}

static void prom_label_if(struct strbuf *out, const char *name, struct slice value)
{
	if (!value.len)
		return;
	strbuf_addc(out, ',');
	prom_label(out, name, value);
}

static void prom_series_labels(struct strbuf *out, const char *labels)
{
	struct label l[LABELS_MAX];
	int n = labels[0] ? labels_split(slice_str(labels), l, NULL) : 0;

	for (int i = 0; i < n; i++) {
		if (is_prom_label(l[i].name))
			continue;
		strbuf_addc(out, ',');
		strbuf_add_slice(out, l[i].name);
		strbuf_adds(out, "=\"");
		strbuf_add_slice(out, l[i].value); /* escaped in canonical text */
		strbuf_addc(out, '"');
	}
}

static bool is_prom_name_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
	       (!first && c >= '0' && c <= '9');
}

void render_prom_name(struct strbuf *out, const char *metric)
{
	size_t n = 0;

	while (is_prom_name_char(metric[n], n == 0))
		n++;
	strbuf_add(out, metric, n);
	for (size_t i = n; metric[i]; i++)
		strbuf_addc(out, is_prom_name_char(metric[i], i == 0) ? metric[i] : '_');
}

void render_prom_type(struct strbuf *out, const char *metric)
{
	bool counter = strstr(metric, "_TOTAL") || strstr(metric, "_total") ||
		       strstr(metric, "_ENERGY_CONSUMPTION");

	strbuf_adds(out, "# TYPE ");
	render_prom_name(out, metric);
	strbuf_adds(out, counter ? " counter\n" : " gauge\n");
}

/* Not negative. printf would take half of a sample's time. */
static void add_int(struct strbuf *out, int64_t n)
{
	char text[20], *at = text + sizeof(text);

	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	strbuf_add(out, at, (size_t)(text + sizeof(text) - at));
}

static bool is_number(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.len > 0;
}

/* 0.3 is the instance 3 of GPU 0. */
static bool split_mig(const char *gpu, struct slice *ret_gpu, struct slice *ret_instance)
{
	const char *dot = strchr(gpu, '.');

	if (!dot)
		return false;
	*ret_gpu = (struct slice){gpu, (size_t)(dot - gpu)};
	*ret_instance = slice_str(dot + 1);
	return is_number(*ret_gpu) && is_number(*ret_instance);
}

void render_prom(struct strbuf *out, const struct identity *id, struct stamp time,
		 struct slice value, const struct series *s, const struct attribution *a)
{
	struct slice gpu, instance;
	bool mig = split_mig(id->gpu, &gpu, &instance);

	render_prom_name(out, s->metric);
	strbuf_addc(out, '{');
	prom_label(out, "gpu", mig ? gpu : slice_str(id->gpu));
	strbuf_addc(out, ',');
	prom_label(out, "UUID", a->uuid);
	strbuf_addc(out, ',');
	prom_label(out, "device", slice_str(id->device));
	strbuf_addc(out, ',');
	prom_label(out, "modelName", slice_str(id->model));
	prom_label_if(out, "GPU_I_ID", mig ? instance : (struct slice){0});
	strbuf_addc(out, ',');
	prom_label(out, "Hostname", slice_str(id->host));
	prom_label_if(out, "DCGM_FI_DRIVER_VERSION", slice_str(id->driver));
	prom_label_if(out, "container", a->container);
	prom_label_if(out, "pod", a->pod);
	prom_label_if(out, "namespace", a->namespace);
	prom_series_labels(out, s->labels);
	strbuf_adds(out, "} ");
	strbuf_add_slice(out, value);
	strbuf_addc(out, ' ');
	add_int(out, time.ns / NS_PER_MS);
	strbuf_addc(out, '\n');
}
