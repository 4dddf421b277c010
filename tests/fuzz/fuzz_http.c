/* What the bridge parses of requests by itself, on any bytes: heads, ranges, entity tags, dates,
 * cursors, numbers and Forwarded. A range lies within its file, and what is refused stays
 *untouched. clang -fsanitize=fuzzer,address -DFUZZ …    or as it is: fuzz_http FILE… */
#include "../../bridge/cursor.h"
#include "../../bridge/decimal.h"
#include "../../bridge/head.h"
#include "../../bridge/peer.h"
#include "../../bridge/range.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void on_head(const char *p, size_t n)
{
	struct err e = {""};
	int status = 0;
	enum head_kind kind = head_look(p, n, &status, &e);
	size_t length = head_length(p, n);

	require(length <= n);
	require((kind == HEAD_BAD) == (status >= 400) && (kind == HEAD_BAD) == (e.text[0] != 0));
	if (kind == HEAD_REST || kind == HEAD_WEBSOCKET) {
		require(length > 0 && p[length - 1] == '\n');
		require(head_look(p, length, &status, &e) == kind);
		require(head_look(p, length - 1, &status, &e) == HEAD_MORE);
	}
}

static void on_range(const char *text, int64_t size)
{
	int64_t first = 7, length = 9;

	switch (range_parse(text, size, &first, &length)) {
	case RANGE_ONE:
		require(first >= 0 && length > 0 && first <= size - length);
		break;
	default:
		require(first == 7 && length == 9);
	}
}

static void on_cursor(const char *text)
{
	struct cursor c, again;
	struct strbuf b;

	if (cursor_decode(text, &c))
		return;
	strbuf_init(&b, 64 << 10);
	cursor_encode(&b, &c);
	require(!b.err && cursor_decode(b.s, &again) == 0);
	require(memcmp(&c.query, &again.query, offsetof(struct cursor, host)) == 0);
	require(strcmp(c.host, again.host) == 0 && strcmp(c.series, again.series) == 0);
	strbuf_release(&b);
}

static void on_number(struct slice s)
{
	struct decimal d;
	struct strbuf b;

	if (decimal_parse(s, &d))
		return;
	require(decimal_cmp(d, d) == 0);
	strbuf_init(&b, 4096);
	decimal_format(&b, decimal_add(d, d));
	require(!b.err && b.len > 0);
	strbuf_release(&b);
}

static void on_date(const char *text)
{
	char again[HTTP_DATE_MAX];
	int64_t s;

	if (!http_date_parse(text, &s) && s >= 0 && s < 4102444800)
		http_date_format(s * NS_PER_SEC, again);
	etag_listed(text, "\"16-24.77\"");
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *text = xstrndup((const char *)p, n);
	struct proxies *proxies = proxies_new("10.0.0.0/8, ::1");
	struct peer peer = {.address.b = {[10] = 0xff, [11] = 0xff, [12] = 10}};

	on_head(text, strlen(text));
	on_range(text, 0);
	on_range(text, 1000);
	on_range(text, INT64_MAX);
	on_cursor(text);
	on_number(slice_str(text));
	on_date(text);
	proxies_client(proxies, &peer, text, NULL);
	proxies_client(proxies, &peer, NULL, text);
	proxies_free(proxies);
	free(text);
	return 0;
}

#ifndef FUZZ
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char bytes[64 << 10];
		FILE *f = fopen(argv[i], "re");
		size_t n = f ? fread(bytes, 1, sizeof(bytes), f) : 0;

		if (f)
			fclose(f);
		LLVMFuzzerTestOneInput((const uint8_t *)bytes, n);
	}
	return 0;
}
#endif
