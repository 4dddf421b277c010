/* A body of POST /api/v1/ingest, taken twice. What is checked beside memory: all samples are
 * counted once, rows in the window are numbers, and the same body again gives the same again. */
#ifndef GPUTEL_FUZZ_PUSH_TWICE_H
#define GPUTEL_FUZZ_PUSH_TWICE_H

#include <stdio.h>

#include "../../bridge/push.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void require(bool ok)
{
	if (!ok)
		abort();
}

/* Returns what parse did. */
static int take(const struct push_format *f, void *parser, struct push *push, struct window *w,
		struct slice plain)
{
	struct err e = {""};
	int r;

	window_begin(w, 0, 1);
	push_restart(push);
	r = f->parse(parser, push, plain, w, &e);
	require(r == 0 || r == -EBADMSG || r == -ENOBUFS);
	require(r != -EBADMSG || e.text[0]);
	if (r)
		return r;
	require((int64_t)w->n == push_good(push) && push->rows >= 0 && push->skipped >= 0);
	require(push->n_faults == MIN(push->invalid, PUSH_FAULTS_MAX));
	for (size_t i = 0; i < w->n; i++) {
		struct slice value = {w->text.s + w->rows[i].value_at, w->rows[i].value_len};

		require(value_classify(value, false) == VALUE_NUMBER);
	}
	return 0;
}

static void take_twice(const struct push_format *f, struct slice plain)
{
	struct push push = {.format = f};
	void *parser = f->parser_new();
	struct window w;
	int64_t rows;
	int r;

	window_init(&w);
	r = take(f, parser, &push, &w, plain);
	rows = push.rows;
	require(take(f, parser, &push, &w, plain) == r && push.rows == rows);
	strbuf_release(&push.faults);
	window_release(&w);
	f->parser_free(parser);
}

#ifndef FUZZ
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "re");
		struct strbuf b;
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

#endif
