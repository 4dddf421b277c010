#include "printer.h"

#include "map.h"
#include "render.h"

#define LINES_BYTES ((size_t)2 << 20) /* of columns that are gathered before they are written */
#define LINE_BYTES  ((size_t)4 << 20)

/* One series of one attribution. */
struct line {
	struct strbuf head, times, values;
};

struct printer {
	enum format format;
	const struct columns *columns;
	struct map lines; /* head → line, in order of appearance */
	size_t bytes;     /* of lines */
	struct strbuf key;
};

struct printer *printer_new(enum format f, const struct columns *columns)
{
	struct printer *w = xcalloc(1, sizeof(*w));

	w->format = f;
	w->columns = columns;
	strbuf_init(&w->key, LINE_BYTES);
	return w;
}

static void drop_lines(struct printer *w)
{
	map_each (&w->lines, i) {
		struct line *l = w->lines.entries[i].value;

		strbuf_release(&l->head);
		strbuf_release(&l->times);
		strbuf_release(&l->values);
		free(l);
	}
	map_release(&w->lines);
	w->bytes = 0;
}

void printer_free(struct printer *w)
{
	if (!w)
		return;
	drop_lines(w);
	strbuf_release(&w->key);
	free(w);
}

static void add_stamp(struct strbuf *out, struct stamp t)
{
	char text[STAMP_MAX];

	strbuf_add(out, text, stamp_format(t, text));
}

static void add_name(struct strbuf *out, const char *before, struct slice s)
{
	strbuf_adds(out, before);
	strbuf_add_json(out, s.p, s.len);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

void printer_begin(struct printer *w, struct strbuf *out)
{
	if (w->format != FORMAT_CSV)
		return;
	if (!w->columns) {
		strbuf_adds(out, LATEST_HEADER_WIDE);
		return;
	}
	strbuf_adds(out, "timestamp,hostname,gpu_id,uuid");
	for (size_t i = 0; i < w->columns->n; i++) {
		strbuf_addc(out, ',');
		render_csv_field(out, slice_str(w->columns->names[i]));
	}
	strbuf_addc(out, '\n');
}

static void add_csv(const struct record *r, struct strbuf *out)
{
	render_csv_field(out, slice_str(r->id->host));
	strbuf_addc(out, ',');
	render_csv_field(out, slice_str(r->id->gpu));
	strbuf_addc(out, ',');
	render_row(out, r->time, r->value, r->series, &r->attribution);
}

static void add_wide_csv(const struct printer *w, const struct record *r, struct strbuf *out)
{
	add_stamp(out, r->time);
	strbuf_addc(out, ',');
	render_csv_field(out, slice_str(r->id->host));
	strbuf_addc(out, ',');
	render_csv_field(out, slice_str(r->id->gpu));
	strbuf_addc(out, ',');
	render_csv_field(out, r->attribution.uuid);
	for (size_t i = 0; i < w->columns->n; i++) {
		strbuf_addc(out, ',');
		if (r->columns[i].p)
			render_csv_field(out, r->columns[i]);
	}
	strbuf_addc(out, '\n');
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void add_json(const struct record *r, struct strbuf *out)
{
	render_row_json(out, r->id, r->time, r->value, r->series, &r->attribution);
}

static void add_wide_json(const struct printer *w, const struct record *r, struct strbuf *out)
{
	strbuf_adds(out, "{\"timestamp\":\"");
	add_stamp(out, r->time);
	add_name(out, "\",\"hostname\":", slice_str(r->id->host));
	add_name(out, ",\"gpu_id\":", slice_str(r->id->gpu));
	add_name(out, ",\"uuid\":", r->attribution.uuid);
	for (size_t i = 0; i < w->columns->n; i++) {
		if (!r->columns[i].p)
			continue;
		add_name(out, ",", slice_str(w->columns->names[i]));
		strbuf_addc(out, ':');
		render_value_json(out, r->columns[i]);
	}
	strbuf_addc(out, '}');
}

/* ---- columns --------------------------------------------------------------------------------- */

static void add_head(struct strbuf *out, const struct record *r)
{
	const struct attribution *a = &r->attribution;

	add_name(out, "{\"hostname\":", slice_str(r->id->host));
	add_name(out, ",\"gpu_id\":", slice_str(r->id->gpu));
	add_name(out, ",\"uuid\":", a->uuid);
	add_name(out, ",\"metric_name\":", slice_str(r->series->metric));
	add_name(out, ",\"container\":", a->container);
	add_name(out, ",\"pod\":", a->pod);
	add_name(out, ",\"namespace\":", a->namespace);
	if (r->series->labels[0]) {
		strbuf_adds(out, ",\"labels\":");
		render_labels_json(out, r->series->labels);
	}
}

/* What tells lines apart, cheaper than the head: the series and where the strings differ. */
static void set_key(struct strbuf *key, const struct record *r)
{
	const void *which[] = {r->id, r->series};

	strbuf_reset(key);
	strbuf_add(key, which, sizeof(which));
	strbuf_add_lstr(key, r->attribution.uuid);
	strbuf_add_lstr(key, r->attribution.container);
	strbuf_add_lstr(key, r->attribution.pod);
	strbuf_add_lstr(key, r->attribution.namespace);
}

static struct line *line_of(struct printer *w, const struct record *r)
{
	struct line *l;

	set_key(&w->key, r);
	l = map_get(&w->lines, w->key.s, w->key.len);
	if (l)
		return l;
	l = xcalloc(1, sizeof(*l));
	strbuf_init(&l->head, LINE_BYTES);
	strbuf_init(&l->times, LINE_BYTES);
	strbuf_init(&l->values, LINE_BYTES);
	add_head(&l->head, r);
	map_put(&w->lines, w->key.s, w->key.len, l);
	w->bytes += l->head.len;
	return l;
}

/* 1752871354.35: as many digits as it came with. */
static void add_epoch(struct strbuf *out, struct stamp t)
{
	char text[32], *at = text + sizeof(text);
	int64_t s = t.ns / NS_PER_SEC, fraction = t.ns % NS_PER_SEC;
	int digits = t.digits;

	for (int i = 9; i > digits; i--)
		fraction /= 10;
	for (int i = digits; i > 0; i--, fraction /= 10)
		*--at = (char)('0' + fraction % 10);
	if (digits)
		*--at = '.';
	do
		*--at = (char)('0' + s % 10);
	while (s /= 10);
	strbuf_add(out, at, (size_t)(text + sizeof(text) - at));
}

static void flush_lines(struct printer *w, struct strbuf *out)
{
	for (uint32_t i = 0; i < w->lines.count; i++) {
		struct line *l = w->lines.entries[i].value;

		strbuf_add(out, l->head.s, l->head.len);
		strbuf_adds(out, ",\"timestamps\":[");
		strbuf_add(out, l->times.s, l->times.len);
		strbuf_adds(out, "],\"values\":[");
		strbuf_add(out, l->values.s, l->values.len);
		strbuf_adds(out, "]}\n");
		if (l->head.err || l->times.err || l->values.err)
			out->err = -EMSGSIZE;
	}
	drop_lines(w);
}

static void add_to_line(struct printer *w, const struct record *r, struct strbuf *out)
{
	struct line *l = line_of(w, r);
	size_t before = l->times.len + l->values.len;

	if (before) {
		strbuf_addc(&l->times, ',');
		strbuf_addc(&l->values, ',');
	}
	add_epoch(&l->times, r->time);
	render_value_json(&l->values, r->value);
	w->bytes += l->times.len + l->values.len - before;
	if (w->bytes >= LINES_BYTES)
		flush_lines(w, out);
}

/* ---- any ------------------------------------------------------------------------------------- */

void printer_add(struct printer *w, const struct record *r, struct strbuf *out)
{
	switch (w->format) {
	case FORMAT_COLUMNS:
		add_to_line(w, r, out);
		return;
	case FORMAT_CSV:
		if (w->columns)
			add_wide_csv(w, r, out);
		else
			add_csv(r, out);
		return;
	default:
		if (w->columns)
			add_wide_json(w, r, out);
		else
			add_json(r, out);
	}
	if (w->format == FORMAT_NDJSON)
		strbuf_addc(out, '\n');
}

void printer_end(struct printer *w, struct strbuf *out)
{
	flush_lines(w, out);
}
