#include "printer.h"

#include "map.h"
#include "phrase.h"
#include "render.h"

#define LINES_BYTES ((size_t)2 << 20) /* of columns that are gathered before they are written */
#define LINE_BYTES  ((size_t)4 << 20)

/* One series of one attribution. */
struct line {
	struct strbuf head, times, values;
};

/* Rows of a GPU share their times, so the last one's text is kept. */
struct moment {
	struct stamp time;
	size_t len; /* 0: none yet */
	char text[32];
};

struct printer {
	enum format format;
	const struct columns *columns;
	struct map lines; /* head → line, in order of appearance */
	size_t bytes;     /* of lines */
	struct phrases phrases;
	struct moment moment;
	struct strbuf value; /* the last one's text */
};

static void render_json(struct phrase *p, const struct record *r)
{
	strbuf_adds(&p->text, ROW_JSON_HEAD);
	p->head = p->text.len;
	render_row_json_middle(&p->text, r->id, r->series, &r->attribution);
	p->middle = p->text.len - p->head;
	render_row_json_tail(&p->text, r->series, &r->attribution);
}

static void render_ndjson(struct phrase *p, const struct record *r)
{
	render_json(p, r);
	strbuf_addc(&p->text, '\n');
}

static void render_csv(struct phrase *p, const struct record *r)
{
	render_csv_field(&p->text, slice_str(r->id->host));
	strbuf_addc(&p->text, ',');
	render_csv_field(&p->text, slice_str(r->id->gpu));
	strbuf_addc(&p->text, ',');
	p->head = p->text.len;
	render_row_middle(&p->text, r->series);
	p->middle = p->text.len - p->head;
	render_row_tail(&p->text, r->series, &r->attribution);
}

static void render_head(struct phrase *p, const struct record *r);

static void (*const renders[FORMATS])(struct phrase *p, const struct record *r) = {
	[FORMAT_JSON] = render_json,
	[FORMAT_CSV] = render_csv,
	[FORMAT_NDJSON] = render_ndjson,
	[FORMAT_COLUMNS] = render_head,
};

struct printer *printer_new(enum format f, const struct columns *columns)
{
	struct printer *w = xcalloc(1, sizeof(*w));

	w->format = f;
	w->columns = columns;
	w->phrases.render = renders[f];
	strbuf_init(&w->value, LINE_BYTES);
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
	phrases_forget_lines(&w->phrases);
	w->bytes = 0;
}

void printer_free(struct printer *w)
{
	if (!w)
		return;
	drop_lines(w);
	phrases_release(&w->phrases);
	strbuf_release(&w->value);
	free(w);
}

/* 1752871354.35: as many digits as it came with. Returns the length. */
static size_t epoch_format(struct stamp t, char text[static 32])
{
	char *at = text + 32;
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
	memmove(text, at, (size_t)(text + 32 - at));
	return (size_t)(text + 32 - at);
}

static struct slice text_of_time(struct printer *w, struct stamp t)
{
	struct moment *m = &w->moment;

	if (!m->len || t.ns != m->time.ns || t.digits != m->time.digits) {
		m->time = t;
		m->len = w->format == FORMAT_COLUMNS ? epoch_format(t, m->text)
						     : stamp_format(t, m->text);
	}
	return (struct slice){m->text, m->len};
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

static void render_head(struct phrase *p, const struct record *r)
{
	const struct attribution *a = &r->attribution;
	struct strbuf *out = &p->text;

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

static struct line *line_new(struct printer *w, const struct strbuf *head)
{
	struct line *l = xcalloc(1, sizeof(*l));

	strbuf_init(&l->head, LINE_BYTES);
	strbuf_init(&l->times, LINE_BYTES);
	strbuf_init(&l->values, LINE_BYTES);
	strbuf_add(&l->head, head->s, head->len);
	l->head.err = head->err;
	map_put(&w->lines, head->s, head->len, l);
	w->bytes += l->head.len;
	return l;
}

static struct line *line_of(struct printer *w, const struct record *r)
{
	struct phrase *p = phrase_of(&w->phrases, r);

	if (!p->line)
		p->line = map_get(&w->lines, p->text.s, p->text.len);
	if (!p->line)
		p->line = line_new(w, &p->text);
	return p->line;
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
	strbuf_add_slice(&l->times, text_of_time(w, r->time));
	render_value_json(&l->values, r->value);
	w->bytes += l->times.len + l->values.len - before;
	if (w->bytes >= LINES_BYTES)
		flush_lines(w, out);
}

/* ---- any ------------------------------------------------------------------------------------- */

static struct slice text_of_value(struct printer *w, struct slice value)
{
	strbuf_reset(&w->value);
	if (w->format == FORMAT_CSV)
		render_csv_field(&w->value, value);
	else
		render_value_json(&w->value, value);
	return (struct slice){w->value.s, w->value.len};
}

static void add_wide(struct printer *w, const struct record *r, struct strbuf *out)
{
	if (w->format == FORMAT_CSV)
		add_wide_csv(w, r, out);
	else
		add_wide_json(w, r, out);
	if (w->format == FORMAT_NDJSON)
		strbuf_addc(out, '\n');
}

void printer_add(struct printer *w, const struct record *r, struct strbuf *out)
{
	if (w->format == FORMAT_COLUMNS)
		add_to_line(w, r, out);
	else if (w->columns)
		add_wide(w, r, out);
	else
		phrase_print(phrase_of(&w->phrases, r), text_of_time(w, r->time),
			     text_of_value(w, r->value), out);
}

void printer_end(struct printer *w, struct strbuf *out)
{
	flush_lines(w, out);
}
