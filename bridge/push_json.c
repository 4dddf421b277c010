/* Records as JSON, one a line (record.h has their two forms). */
#include "push.h"
#include "record.h"

#include <stdio.h>

static void *parser_new(void)
{
	return record_parser_new(&(struct record_conf){.host = SLICE_LIT("")});
}

static void parser_free(void *arg)
{
	record_parser_free(arg);
}

static void forget(void *arg)
{
	record_forget(arg);
}

static int take_record(struct record_parser *rp, struct push *p, const struct json *doc,
		       int64_t line, struct window *w, struct err *e)
{
	struct record_rows rows;
	int r = record_parse(rp, doc, RECORD_ANY, &rows, NULL, e);

	if (r == -EINVAL)
		push_fault(p, line, 1, e->text);
	if (r)
		return r == -EINVAL ? 0 : r;
	for (size_t i = 0; i < rows.n; i++)
		push_row(p, w, &rows.samples[i], line, 1);
	for (size_t i = 0; i < rows.no_value; i++)
		push_no_value(p);
	return 0;
}

/* "JSON line 1, column 7: reason": the line is another one here. */
static void take_fault(struct push *p, int64_t line, const struct err *e)
{
	long long column = 1;
	int n = 0;

	if (sscanf(e->text, "JSON line %*d, column %lld: %n", &column, &n) < 1)
		n = 0;
	push_fault(p, line, column, e->text + n);
}

static bool is_blank(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!strchr(" \t\r", s.p[i]))
			return false;
	return true;
}

static int take_line(struct record_parser *rp, struct push *p, struct slice text, int64_t line,
		     struct window *w, struct err *e)
{
	struct json *doc;
	int r;

	if (is_blank(text))
		return 0;
	if (json_parse(text.p, text.len, &doc, e)) {
		take_fault(p, line, e);
		return 0;
	}
	r = take_record(rp, p, doc, line, w, e);
	json_free(doc);
	return r;
}

static int parse(void *arg, struct push *p, struct slice plain, struct window *w, struct err *e)
{
	int64_t line = 1;
	int r = 0;

	for (struct slice left = plain; left.len && !r; line++) {
		const char *end = memchr(left.p, '\n', left.len);
		size_t n = end ? (size_t)(end - left.p) : left.len;

		r = take_line(arg, p, (struct slice){left.p, n}, line, w, e);
		left.p += n + (end != NULL);
		left.len -= n + (end != NULL);
	}
	return r || p->rows ? r : err_set(e, -EBADMSG, "there is no record in it");
}

const struct push_format push_json = {
	.type = "application/x-ndjson",
	.mixes = true,
	.parser_new = parser_new,
	.parser_free = parser_free,
	.parse = parse,
	.forget = forget,
};
