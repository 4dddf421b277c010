/* What Prometheus sends (remote_write.h). A series of it is one of ours by its labels as a scrape
 * of the exporter would be (exporter.h), with the host of `instance` where there is no Hostname; of
 * those that are of no GPU the samples are counted as skipped, which is no error: a Prometheus
 * sends all that it has.
 *
 * A value is a double there: the shortest text that reads back as the same. NaN, of which one kind
 * marks a series that has ended, and infinities are no value. */
#include "push.h"

#include <math.h>
#include <stdio.h>

#include "exporter.h"
#include "labels.h"
#include "remote_write.h"

#define TABLE_MAX    200000 /* series that are remembered */
#define TABLE_BYTES  ((size_t)64 << 20)
#define VALUE_BYTES  40
#define WHOLE_MAX    1e15 /* beyond that doubles have gaps soon */
#define DIGITS_OF_MS 3
#define MS_MAX       (INT64_MAX / NS_PER_MS)

struct series_parser {
	struct series_table *table;
	struct exported fields;
	struct strbuf instance;
};

static void *parser_new(void)
{
	struct series_parser *p = xcalloc(1, sizeof(*p));

	p->table = series_table_new(TABLE_MAX, TABLE_BYTES);
	exported_init(&p->fields);
	strbuf_init(&p->instance, LABELS_BYTES);
	return p;
}

static void parser_free(void *arg)
{
	struct series_parser *p = arg;

	series_table_free(p->table);
	exported_release(&p->fields);
	strbuf_release(&p->instance);
	free(p);
}

static void forget(void *arg)
{
	series_forget(((struct series_parser *)arg)->table);
}

/* ---- series ---------------------------------------------------------------------------------- */

/* A series of a GPU has a label of that name. */
static bool may_skip(struct slice message)
{
	return !memmem(message.p, message.len, "gpu", 3);
}

/* "node-7:9400", "[::1]:9400" without the port. */
static struct slice host_of_instance(struct series_parser *p, struct slice labels)
{
	struct slice s;
	const char *colon;

	strbuf_reset(&p->instance);
	if (!labels_get(labels, "instance", &p->instance))
		return SLICE_LIT("");
	s = (struct slice){p->instance.s, p->instance.len};
	colon = memrchr(s.p, ':', s.len);
	if (colon)
		s.len = (size_t)(colon - s.p);
	return s;
}

/* 0; -ENOENT: of no GPU; -EINVAL: e says what is wrong. -ENOBUFS, -ENOMEM */
static int add_series(struct series_parser *p, const struct remote_series *rs,
		      const struct series_key *key, const struct series_ref **ret, struct err *e)
{
	struct exposition_sample x = {.name = rs->name, .labels = rs->labels};
	struct target_facts facts = {.host = host_of_instance(p, rs->labels)};
	const struct gpus none = {0};
	enum series_field field;
	int r = exporter_fields(&x, &none, &facts, &p->fields, e);

	return r ? r : series_add(p->table, key, p->fields.fields, ret, &field, e);
}

static int find_series(struct series_parser *p, const struct remote_series *rs,
		       const struct series_ref **ret, struct err *e)
{
	struct series_key key = {{rs->name, rs->labels, SLICE_LIT("")}};

	if (rs->fault)
		return err_set(e, -EINVAL, "%s", rs->fault);
	if (!rs->name.len)
		return -ENOENT;
	*ret = series_find(p->table, &key);
	return *ret ? 0 : add_series(p, rs, &key, ret, e);
}

/* ---- samples --------------------------------------------------------------------------------- */

static struct slice value_text(double v, char buf[VALUE_BYTES])
{
	int n = 0;

	if (!isfinite(v))
		return SLICE_LIT("");
	if (fabs(v) < WHOLE_MAX && v == trunc(v) && (v != 0 || !signbit(v)))
		return (struct slice){buf,
				      (size_t)snprintf(buf, VALUE_BYTES, "%lld", (long long)v)};
	for (int digits = 15; digits <= 17; digits++) {
		n = snprintf(buf, VALUE_BYTES, "%.*g", digits, v);
		if (strtod(buf, NULL) == v)
			break;
	}
	return (struct slice){buf, (size_t)n};
}

static void take_sample(struct push *p, const struct series_ref *ref,
			const struct remote_sample *rs, int64_t line, int64_t column,
			struct window *w)
{
	char buf[VALUE_BYTES];
	struct sample s = {.value = value_text(rs->value, buf), .series = ref};

	if (rs->ms < 0 || rs->ms > MS_MAX) {
		push_fault(p, line, column, "timestamp: outside 1970 to 2262");
		return;
	}
	s.time = (struct stamp){rs->ms * NS_PER_MS, DIGITS_OF_MS};
	if (value_classify(s.value, false) == VALUE_NUMBER)
		push_row(p, w, &s, line, column);
	else
		push_no_value(p);
}

/* ref NULL: what is said in fault is wrong with all of them. */
static int take_samples(struct push *p, struct remote_series *rs, const struct series_ref *ref,
			int64_t line, const char *fault, struct window *w, struct err *e)
{
	struct remote_sample s;
	int64_t column = 0;
	int r;

	while ((r = remote_series_next(rs, &s, e)) > 0) {
		column++;
		if (ref)
			take_sample(p, ref, &s, line, column, w);
		else
			push_fault(p, line, column, fault);
	}
	p->skipped += rs->histograms;
	return r;
}

static int take_series(struct series_parser *sp, struct push *p, struct remote_series *rs,
		       int64_t line, struct window *w, struct err *e)
{
	const struct series_ref *ref = NULL;
	struct err why = {""};
	int r = find_series(sp, rs, &ref, &why);

	if (r == -ENOENT) {
		p->skipped += rs->samples + rs->histograms;
		return 0;
	}
	return r && r != -EINVAL ? r : take_samples(p, rs, ref, line, why.text, w, e);
}

static int parse(void *arg, struct push *p, struct slice plain, struct window *w, struct err *e)
{
	struct remote_write body;
	struct remote_series rs;
	int64_t line = 0;
	int r;

	remote_write_init(&body, plain);
	while ((r = remote_write_next(&body, may_skip, &rs, e)) > 0) {
		r = take_series(arg, p, &rs, ++line, w, e);
		if (r < 0)
			break;
	}
	remote_write_release(&body);
	return r;
}

const struct push_format push_series = {
	.type = "application/x-protobuf",
	.mixes = true,
	.parser_new = parser_new,
	.parser_free = parser_free,
	.parse = parse,
	.forget = forget,
};
