#include "record.h"

#include "fields.h"
#include "labels.h"

#include <stdio.h>

enum { NAME_SHOWN = 60 };

/* A value to be: a metric and its JSON. */
struct reading {
	struct slice metric;
	const struct json *value;
};

_Static_assert(VALUE_MAX == 64, "take_value says so");

struct record_parser {
	struct record_conf conf;
	struct series_table *table;
	struct strbuf key;    /* of the series, but for the metric */
	struct strbuf labels; /* of an object */
	struct sample *samples;
	struct reading readings[2 * RECORD_MEMBERS_MAX];
	size_t n_readings;

	/* Of the record under way. */
	enum record_form form;
	const struct json *members[FIELD_ALL];
	struct slice texts[FIELD_COUNT];
	size_t faults;
	struct err first; /* of them */
};

/* ---- life ------------------------------------------------------------------------------------ */

struct record_parser *record_parser_new(const struct record_conf *conf)
{
	struct record_parser *p = xcalloc(1, sizeof(*p));

	p->conf = *conf;
	p->table = series_table_new(SERIES_TABLE_MAX, SERIES_TABLE_BYTES);
	p->samples = xcalloc(ARRAY_SIZE(p->readings), sizeof(*p->samples));
	strbuf_init(&p->key, SIZE_MAX / 2);
	strbuf_init(&p->labels, LABELS_BYTES);
	return p;
}

void record_parser_free(struct record_parser *p)
{
	if (!p)
		return;
	series_table_free(p->table);
	strbuf_release(&p->key);
	strbuf_release(&p->labels);
	free(p->samples);
	free(p);
}

void record_forget(struct record_parser *p)
{
	series_forget(p->table);
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void printf_like(3, 4)
	fault(struct record_parser *p, struct slice name, const char *fmt, ...)
{
	char why[256];
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	err_set(&e, 0, "%.*s%s%s", (int)MIN(name.len, NAME_SHOWN), name.p, name.len ? ": " : "",
		why);
	if (!p->faults++)
		p->first = e;
	if (p->conf.fault)
		p->conf.fault(e.text, p->conf.arg);
}

static struct slice name_of(int field)
{
	return slice_str(field_name(field));
}

static void expected_in(struct record_parser *p, struct slice name, const struct json *value,
			const char *what)
{
	char got[JSON_EXCERPT_MAX];

	fault(p, name, "expected %s, got %s", what, json_excerpt(value, got));
}

static void expected(struct record_parser *p, int field, const char *what)
{
	expected_in(p, name_of(field), p->members[field], what);
}

/* ---- members --------------------------------------------------------------------------------- */

static bool has_reading(const struct record_parser *p, const char *metric)
{
	for (size_t i = 0; i < p->n_readings; i++)
		if (!strcmp(p->readings[i].metric.p, metric))
			return true;
	return false;
}

static int add_reading(const char *metric, const struct json *value, void *arg)
{
	struct record_parser *p = arg;

	if (has_reading(p, metric))
		fault(p, slice_str(metric), "is there twice");
	else
		p->readings[p->n_readings++] = (struct reading){slice_str(metric), value};
	return 0;
}

static void add_metrics(struct record_parser *p, const struct json *metrics)
{
	if (!json_is_object(metrics))
		expected_in(p, SLICE_LIT("metrics"), metrics, "an object");
	else if (json_count(metrics) > RECORD_MEMBERS_MAX)
		fault(p, SLICE_LIT("metrics"), "more than %d members", RECORD_MEMBERS_MAX);
	else
		json_each(metrics, add_reading, p);
}

static int take_member(const char *name, const struct json *value, void *arg)
{
	struct record_parser *p = arg;
	int field = field_find(slice_str(name));

	if (field < 0 && p->form == RECORD_WIDE)
		return strcmp(name, "metrics") ? add_reading(name, value, p)
					       : (add_metrics(p, value), 0);
	if (field < 0)
		return 0;
	if (p->form == RECORD_WIDE && (field == FIELD_METRIC || field == FIELD_VALUE))
		fault(p, slice_str(name), "this is no wide record: the members of one are metrics");
	else if (p->members[field])
		fault(p, slice_str(name), "%s is there twice", field_name(field));
	else
		p->members[field] = value;
	return 0;
}

static int find_metric(const char *name, const struct json *value, void *arg)
{
	return field_find(slice_str(name)) == FIELD_METRIC;
}

static void begin(struct record_parser *p, const struct json *record, enum record_form form)
{
	if (form == RECORD_ANY)
		form = json_each(record, find_metric, NULL) ? RECORD_LONG : RECORD_WIDE;
	p->form = form;
	p->faults = p->n_readings = 0;
	memset(p->members, 0, sizeof(p->members));
	memset(p->texts, 0, sizeof(p->texts));
	strbuf_reset(&p->labels);
	strbuf_reset(&p->key);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static bool is_whole(struct slice number)
{
	for (size_t i = 0; i < number.len; i++)
		if (number.p[i] < '0' || number.p[i] > '9')
			return false;
	return number.len;
}

static int add_label(const char *name, const struct json *value, void *arg)
{
	struct slice text = json_is_string(value) ? json_str(value) : json_number_text(value);
	struct record_parser *p = arg;
	struct strbuf *out = &p->labels;
	char got[JSON_EXCERPT_MAX];

	if (!json_is_string(value) && !json_is_number(value)) {
		fault(p, name_of(FIELD_LABELS), "%.60s: expected a string, got %s", name,
		      json_excerpt(value, got));
		return 0;
	}
	strbuf_addf(out, "%s%s=\"", out->len ? "," : "", name);
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] == '\\' || text.p[i] == '"')
			strbuf_addc(out, '\\');
		strbuf_adds(out, text.p[i] == '\n' ? "\\n" : (char[]){text.p[i], 0});
	}
	strbuf_addc(out, '"');
	return 0;
}

static void take_labels(struct record_parser *p, const struct json *labels)
{
	if (!json_is_object(labels)) {
		expected(p, FIELD_LABELS, "a string or an object");
		return;
	}
	json_each(labels, add_label, p);
	if (p->labels.err)
		fault(p, name_of(FIELD_LABELS), "more than %d bytes", LABELS_BYTES);
	p->texts[FIELD_LABELS] = (struct slice){p->labels.s, p->labels.len};
}

static void take_text(struct record_parser *p, int field, const struct json *value)
{
	struct slice text = json_str(value);

	if (memchr(text.p, '\0', text.len))
		fault(p, name_of(field), "expected text, got a NUL in it");
	else if (json_is_string(value))
		p->texts[field] = text;
	else if (field == FIELD_GPU && is_whole(json_number_text(value)))
		p->texts[field] = json_number_text(value);
	else if (field == FIELD_LABELS)
		take_labels(p, value);
	else
		expected(p, field, field == FIELD_GPU ? "a string or a whole number" : "a string");
}

static void take_texts(struct record_parser *p)
{
	for (int i = 0; i < FIELD_COUNT; i++) {
		const struct json *value = json_is_null(p->members[i]) ? NULL : p->members[i];

		if (value)
			take_text(p, i, value);
		else if (i == FIELD_HOST && p->conf.host.len)
			p->texts[i] = p->conf.host;
		else if (field_needed(i) && !(i == FIELD_METRIC && p->form == RECORD_WIDE))
			fault(p, name_of(i), "missing");
	}
}

static void take_time(struct record_parser *p, struct stamp *ret)
{
	const struct json *value = p->members[FIELD_TIME];
	struct slice text = json_is_string(value) ? json_str(value) : json_number_text(value);
	int r = text.len ? stamp_parse(text, ret) : -EINVAL;

	if (!value || json_is_null(value))
		fault(p, name_of(FIELD_TIME), "missing");
	else if (r == -ERANGE)
		expected(p, FIELD_TIME, "a time from 1970 to 2262");
	else if (r)
		expected(p, FIELD_TIME, "a time (RFC 3339, or epoch seconds)");
}

/* ---- samples --------------------------------------------------------------------------------- */

static enum value_kind take_value(struct record_parser *p, const struct reading *r,
				  struct slice *ret)
{
	struct slice number = json_number_text(r->value), text = trim(json_str(r->value));
	struct slice name = p->form == RECORD_LONG ? name_of(FIELD_VALUE) : r->metric;
	enum value_kind kind = VALUE_BAD;

	if (json_is_null(r->value))
		return VALUE_NONE;
	*ret = number.len ? number : text;
	if (number.len || json_is_string(r->value))
		kind = value_classify(*ret, metric_is_percentage(r->metric));
	if (kind == VALUE_BAD)
		expected_in(p, name, r->value,
			    ret->len > VALUE_MAX ? "a number of at most 64 bytes" : "a number");
	return kind;
}

static void make_key(struct record_parser *p)
{
	for (int i = 0; i < FIELD_COUNT; i++)
		if (i != FIELD_METRIC)
			strbuf_add_lstr(&p->key, p->texts[i]);
}

static int find_series(struct record_parser *p, struct slice metric, const struct series_ref **ret)
{
	struct series_key key = {{{p->key.s, p->key.len}, metric}};
	enum series_field field;
	struct err e;
	int r = 0;

	p->texts[FIELD_METRIC] = metric;
	*ret = series_find(p->table, &key);
	if (!*ret)
		r = series_add(p->table, &key, p->texts, ret, &field, &e);
	if (r == -EINVAL)
		fault(p, field == FIELD_METRIC && p->form == RECORD_WIDE ? metric : name_of(field),
		      "%s", e.text);
	return r == -EINVAL ? 0 : r;
}

static int add_samples(struct record_parser *p, struct stamp time, struct record_rows *ret)
{
	size_t n = 0, no_value = 0;
	int r = 0;

	make_key(p);
	for (size_t i = 0; i < p->n_readings && !r; i++) {
		struct sample *s = &p->samples[n];
		size_t before = p->faults;
		enum value_kind kind = take_value(p, &p->readings[i], &s->value);

		s->time = time;
		r = before ? 0 : find_series(p, p->readings[i].metric, &s->series);
		n += kind == VALUE_NUMBER;
		no_value += kind == VALUE_NONE;
	}
	if (!r && !p->faults)
		*ret = (struct record_rows){p->samples, n, no_value};
	return r;
}

/* ---- records --------------------------------------------------------------------------------- */

static int parse_members(struct record_parser *p, const struct json *record, enum record_form form,
			 struct record_rows *ret)
{
	struct stamp time = {0};

	begin(p, record, form);
	if (!json_is_object(record)) {
		expected_in(p, SLICE_LIT(""), record, "an object");
		return 0;
	}
	if (json_count(record) > RECORD_MEMBERS_MAX) {
		fault(p, SLICE_LIT(""), "more than %d members", RECORD_MEMBERS_MAX);
		return 0;
	}
	json_each(record, take_member, p);
	take_time(p, &time);
	take_texts(p);
	if (p->form == RECORD_LONG && p->members[FIELD_VALUE])
		p->readings[p->n_readings++] =
			(struct reading){p->texts[FIELD_METRIC], p->members[FIELD_VALUE]};
	else if (p->form == RECORD_LONG)
		fault(p, name_of(FIELD_VALUE), "missing");
	return add_samples(p, time, ret);
}

int record_parse(struct record_parser *p, const struct json *record, enum record_form form,
		 struct record_rows *ret, size_t *ret_faults, struct err *e)
{
	int r = parse_members(p, record, form, ret);

	if (r)
		return r;
	if (ret_faults)
		*ret_faults = p->faults;
	return p->faults ? err_set(e, -EINVAL, "%s", p->first.text) : 0;
}
