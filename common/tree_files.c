/* Contents of the files of one GPU, and links. */
#include "tree_files.h"
#include "units.h"

/* ---- parts ----------------------------------------------------------------------------------- */

void file_add_line(struct strbuf *out, const char *s)
{
	strbuf_adds(out, s);
	strbuf_addc(out, '\n');
}

void file_add_json(struct strbuf *out, const char *s)
{
	strbuf_add_json(out, s, strlen(s));
}

void file_add_field(struct strbuf *out, const char *before, const char *name, const char *s)
{
	strbuf_adds(out, before);
	strbuf_addc(out, '"');
	strbuf_adds(out, name);
	strbuf_add(out, "\":", 2);
	file_add_json(out, s);
}

void file_add_stamp(struct strbuf *out, struct stamp time)
{
	char text[STAMP_MAX];

	strbuf_add(out, text, stamp_format(time, text));
}

bool next_latest(struct cursor *c)
{
	const struct identity *id = c->g->ident->id;

	while (c->at < id->n_series) {
		uint32_t i = c->g->order[c->at++];

		c->l = gpu_latest(c->g, i);
		if (!c->l)
			continue;
		c->s = &id->series[i];
		c->file = gpu_series_file(c->g, i);
		return true;
	}
	return false;
}

bool place_is_within(struct place *p, int64_t time_ns, int64_t age_ms)
{
	int64_t until;

	if (__builtin_add_overflow(time_ns, age_ms * NS_PER_MS + 1, &until))
		return true;
	if (p->now_ns >= until)
		return false;
	p->until_ns = MIN(p->until_ns, until);
	return true;
}

enum gpu_state gpu_state(struct place *p, const struct gpu *g)
{
	int64_t ms = p->t->conf.stale_after_ms;

	if (g->last_ns && place_is_within(p, g->last_ns, ms))
		return GPU_LIVE;
	return g->last_ns && place_is_within(p, g->last_ns, 10 * ms) ? GPU_STALE : GPU_LOST;
}

void file_add_names(struct strbuf *out, const struct identity *id, const char *before)
{
	if (id->uuid[0]) {
		file_add_field(out, before, "id", id->uuid);
	} else {
		char *place = xasprintf("%s:%s", id->host, id->gpu);

		file_add_field(out, before, "id", place);
		free(place);
	}
	strbuf_addc(out, ',');
	file_add_field(out, before, "uuid", id->uuid);
	strbuf_addc(out, ',');
	file_add_field(out, before, "hostname", id->host);
	strbuf_addc(out, ',');
	file_add_field(out, before, "gpu_id", id->gpu);
	strbuf_addc(out, ',');
	file_add_field(out, before, "device", id->device);
	strbuf_addc(out, ',');
	file_add_field(out, before, "model", id->model);
	strbuf_addc(out, ',');
	file_add_field(out, before, "driver", id->driver);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void file_add_metrics(struct strbuf *out, const struct gpu *g, bool latest_only, const char *before)
{
	const struct identity *id = g->ident->id;
	const char **list = xcalloc(id->n_series + 1, sizeof(*list)), *sep = "";
	uint32_t n = 0;

	for (uint32_t i = 0; i < id->n_series; i++)
		if (!latest_only || gpu_latest(g, i))
			list[n++] = id->series[i].metric;
	qsort(list, n, sizeof(*list), by_text);
	for (uint32_t i = 0; i < n; i++) {
		if (i && !strcmp(list[i], list[i - 1]))
			continue;
		strbuf_adds(out, sep);
		strbuf_adds(out, before);
		file_add_json(out, list[i]);
		sep = ",";
	}
	free(list);
}

/* ---- one GPU --------------------------------------------------------------------------------- */

void file_uuid(struct strbuf *out, struct place *p)
{
	file_add_line(out, p->gpu->ident->id->uuid);
}

void file_model(struct strbuf *out, struct place *p)
{
	file_add_line(out, p->gpu->ident->id->model);
}

void file_device(struct strbuf *out, struct place *p)
{
	file_add_line(out, p->gpu->ident->id->device);
}

void file_driver(struct strbuf *out, struct place *p)
{
	file_add_line(out, p->gpu->ident->id->driver);
}

void file_state(struct strbuf *out, struct place *p)
{
	file_add_line(out, gpu_state_name(gpu_state(p, p->gpu)));
}

static void add_series_json(struct strbuf *out, const struct series *s)
{
	strbuf_adds(out, "{");
	file_add_field(out, "", "metric_name", s->metric);
	strbuf_adds(out, ",\"labels\":");
	render_labels_json(out, s->labels);
	file_add_field(out, ",", "unit", metric_unit(s->metric));
	strbuf_addc(out, '}');
}

/* Of the identity alone: it changes only when that does. */
void file_info(struct strbuf *out, struct place *p)
{
	const struct gpu *g = p->gpu;
	const struct identity *id = g->ident->id;

	strbuf_addc(out, '{');
	file_add_names(out, id, "\n  ");
	strbuf_adds(out, ",\n  \"labels\":");
	render_labels_json(out, id->labels);
	strbuf_adds(out, ",\n  \"metrics\":[");
	file_add_metrics(out, g, false, "\n    ");
	strbuf_adds(out, "\n  ],\n  \"series\":[");
	for (uint32_t i = 0; i < id->n_series; i++) {
		strbuf_adds(out, i ? ",\n    " : "\n    ");
		add_series_json(out, &id->series[g->order[i]]);
	}
	strbuf_adds(out, "\n  ]\n}\n");
}

void file_gpu_latest_csv(struct strbuf *out, struct place *p)
{
	struct cursor c = {.g = p->gpu};

	strbuf_adds(out, ROW_FILE_HEADER);
	while (next_latest(&c))
		render_row(out, latest_time(c.l), latest_value(c.l), c.s, &c.l->holder->a);
}

void file_gpu_latest_json(struct strbuf *out, struct place *p)
{
	struct cursor c = {.g = p->gpu};
	size_t n = 0;

	strbuf_adds(out, "{\"data\":[");
	for (; next_latest(&c); n++) {
		if (n)
			strbuf_addc(out, ',');
		render_row_json(out, p->gpu->ident->id, latest_time(c.l), latest_value(c.l), c.s,
				&c.l->holder->a);
	}
	strbuf_addf(out, "],\"count\":%zu,\"has_more\":false}\n", n);
}

void file_stat(struct strbuf *out, struct place *p)
{
	struct cursor c = {.g = p->gpu};

	while (next_latest(&c)) {
		strbuf_addf(out, "%s ", c.file);
		strbuf_add_slice(out, latest_value(c.l));
		strbuf_addf(out, " %s ", metric_unit(c.s->metric));
		file_add_stamp(out, latest_time(c.l));
		strbuf_addc(out, '\n');
	}
}

void file_metric(struct strbuf *out, struct place *p)
{
	strbuf_add_slice(out, latest_value(gpu_latest(p->gpu, p->series)));
	strbuf_addc(out, '\n');
}

/* ---- links ----------------------------------------------------------------------------------- */

void link_gpu(struct strbuf *out, struct place *p)
{
	strbuf_addf(out, "../%s/%s", p->host->name, p->gpu->name);
}

void link_gpu_of_model(struct strbuf *out, struct place *p)
{
	strbuf_addf(out, "../../%s/%s", p->gpu->host->name, p->gpu->name);
}

void link_gpu_of_pod(struct strbuf *out, struct place *p)
{
	strbuf_addf(out, "../../../%s/%s", p->gpu->host->name, p->gpu->name);
}

void link_newest(struct strbuf *out, struct place *p)
{
	char name[SEGMENT_NAME_MAX];

	segment_name(gpu_newest_segment(p->gpu)->start_ns, name);
	strbuf_addf(out, "history/%s.csv", name);
}
