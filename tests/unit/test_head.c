#include "../../bridge/head.h"
#include "../lib/test.h"

static enum head_kind look(const char *p, size_t n, int *ret_status)
{
	struct err e = {""};
	enum head_kind k = head_look(p, n, ret_status, &e);

	CHECK((k == HEAD_BAD) == (e.text[0] != '\0'));
	return k;
}

static int status_of(const char *text)
{
	int status = 0;

	CHECK_EQ_INT(look(text, strlen(text), &status), HEAD_BAD);
	return status;
}

TEST(a_head_is_incomplete_until_its_empty_line)
{
	static const char head[] = "\r\nGET /x HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
	int status = 0;

	for (size_t n = 0; n < sizeof(head) - 1; n++)
		CHECK_EQ_INT(look(head, n, &status), HEAD_MORE);
	CHECK_EQ_INT(look(head, sizeof(head) - 1, &status), HEAD_REST);
	CHECK_EQ_INT(status, 0);
}

TEST(lines_may_end_in_a_newline_alone)
{
	int status;

	CHECK_EQ_INT(look("GET / HTTP/1.0\n\n", 16, &status), HEAD_REST);
}

TEST(what_follows_the_head_is_not_looked_at)
{
	static const char text[] =
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\0\r\n\r\n";
	int status;

	CHECK_EQ_INT(look(text, sizeof(text) - 1, &status), HEAD_REST);
}

TEST(an_upgrade_under_the_websocket_path_is_told_apart)
{
	static const struct {
		const char *text;
		enum head_kind kind;
	} cases[] = {
		{"GET /api/v1/ws/telemetry HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\n\r\n",
		 HEAD_WEBSOCKET},
		{"GET /api/v1/ws/telemetry?host=a HTTP/1.1\r\nhost: a\r\nupgrade: h2c, "
		 "websocket\r\n\r\n",
		 HEAD_WEBSOCKET},
		{"GET /api/v1/ws/telemetry HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_REST},
		{"POST /api/v1/ws/telemetry HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
		 HEAD_REST},
		{"GET /api/v1/wsx HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", HEAD_REST},
		{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", HEAD_REST},
	};
	int status;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK_EQ_INT(look(cases[i].text, strlen(cases[i].text), &status), cases[i].kind);
}

TEST(what_is_no_http_is_400)
{
	static const char *const bad[] = {
		"GET /\r\n\r\n",
		"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
		" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
		"GET / http/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nA b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nA\t: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ_INT(status_of(bad[i]), 400);
}

TEST(what_does_not_end_is_refused_at_its_limit)
{
	char *text = xmalloc(HEAD_MAX + 1);
	int status = 0;

	memset(text, 'a', HEAD_MAX + 1);
	memcpy(text, "GET /", 5);
	CHECK_EQ_INT(look(text, HEAD_TARGET_MAX, &status), HEAD_MORE);
	CHECK_EQ_INT(look(text, HEAD_TARGET_MAX + 100, &status), HEAD_BAD);
	CHECK_EQ_INT(status, 414);
	memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
	CHECK_EQ_INT(look(text, HEAD_MAX - 1, &status), HEAD_MORE);
	CHECK_EQ_INT(look(text, HEAD_MAX, &status), HEAD_BAD);
	CHECK_EQ_INT(status, 431);
	free(text);
}
