/* JSON records on any bytes: what is taken is numbers, with names that payloads can hold; all of it
 * comes back from the messages that it makes. What is refused is refused with a reason, a line.
 *	clang -fsanitize=fuzzer,address -DFUZZ …    or as it is: fuzz_record FILE… */
#include "record.h"
#include "window.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void require_line(const char *text, void *arg)
{
	require(text[0] && !strpbrk(text, "\n"));
	++*(size_t *)arg;
}

static void take(struct record_parser *p, const struct json *record, enum record_form form,
		 size_t *told, struct window *w)
{
	struct record_rows rows;
	size_t faults = 0;
	struct err e = {""};
	int r;

	*told = 0;
	r = record_parse(p, record, form, &rows, &faults, &e);
	require(r == 0 || r == -EINVAL);
	require((r == 0) == (*told == 0) && (r ? faults : 0) == *told && (r == 0 || e.text[0]));
	for (size_t i = 0; r == 0 && i < rows.n; i++) {
		require(value_classify(rows.samples[i].value, false) == VALUE_NUMBER);
		window_add(w, &rows.samples[i], rows.samples[i].time, 0, 0);
	}
}

static void require_group(const struct window *w, struct grouping *g, size_t i)
{
	struct strbuf payload;
	struct batch b = {0};

	strbuf_init(&payload, BATCH_RAW_MAX);
	window_encode(w, g, i, &payload);
	require(!payload.err && batch_decode(payload.s, payload.len, &b, NULL) == 0);
	require(b.rows.n == g->groups[i].n && slice_eq(b.host, g->groups[i].first->host));
	for (size_t k = 0; k < b.rows.n; k++) {
		const struct window_row *row = &w->rows[g->order[g->groups[i].at + k]];

		require(b.rows.rows[k].time.ns == row->time.ns &&
			slice_eq(b.rows.rows[k].value,
				 (struct slice){w->text.s + row->value_at, row->value_len}) &&
			slice_eq(b.series[b.rows.rows[k].series].metric,
				 row->series->series.metric));
	}
	batch_release(&b);
	strbuf_release(&payload);
}

static void read_as(const struct json *doc, enum record_form form)
{
	struct grouping g = {0};
	struct window w;
	size_t told = 0;
	struct record_parser *p = record_parser_new(
		&(struct record_conf){.host = SLICE_LIT("h"), .fault = require_line, .arg = &told});

	window_init(&w);
	window_begin(&w, 0, 1);
	if (!json_is_array(doc))
		take(p, doc, form, &told, &w);
	for (size_t i = 0; i < json_count(doc); i++)
		if (json_is_array(doc))
			take(p, json_at(doc, i), form, &told, &w);
	if (w.n)
		window_group(&w, BATCH_ROWS_MAX, 3600 * NS_PER_SEC, &g);
	for (size_t i = 0; i < g.n; i++)
		require_group(&w, &g, i);
	grouping_release(&g);
	window_release(&w);
	record_parser_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct json *doc;

	if (json_parse((const char *)p, n, &doc, NULL))
		return 0;
	read_as(doc, RECORD_WIDE);
	read_as(doc, RECORD_LONG);
	read_as(doc, RECORD_ANY);
	json_free(doc);
	return 0;
}

#ifndef FUZZ
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct strbuf b;
		FILE *f = fopen(argv[i], "re");
		char buf[4096];
		size_t n;

		strbuf_init(&b, 1 << 26);
		while (f && (n = fread(buf, 1, sizeof(buf), f)) > 0)
			strbuf_add(&b, buf, n);
		if (f)
			fclose(f);
		LLVMFuzzerTestOneInput((const uint8_t *)b.s, b.len);
		strbuf_release(&b);
	}
	return 0;
}
#endif
