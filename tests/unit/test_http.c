#include "clock.h"
#include "http.h"
#include "../lib/tcp_peer.h"
#include "../lib/test.h"

#include <unistd.h>

#define TIMEOUT_MS 3000

static struct http *client(int max_inflight)
{
	struct http_conf conf = {.dial_timeout_ms = 2000, .max_inflight = max_inflight};
	struct http *h = NULL;
	struct err e;

	CHECK_EQ_INT(http_open(&h, &conf, &e), 0);
	return h;
}

static int post_within(struct http *h, const char *endpoint, int timeout_ms, int *status,
		       struct strbuf *body)
{
	char *url = xasprintf("http://%s/x", endpoint);
	struct http_request q = {.method = "POST",
				 .url = url,
				 .body = "ask",
				 .body_len = 3,
				 .timeout_ms = timeout_ms};
	struct err e = {0};
	int r = http_call(h, &q, status, body, &e);

	CHECK(r == 0 || e.text[0]);
	free(url);
	return r;
}

static int post(struct http *h, const char *endpoint)
{
	struct strbuf body;
	int status = 0, r;

	strbuf_init(&body, 4096);
	r = post_within(h, endpoint, TIMEOUT_MS, &status, &body);
	strbuf_release(&body);
	return r;
}

static char *answer_ok(const char *request, void *arg)
{
	return tcp_peer_ok("fine");
}

static char *answer_missing(const char *request, void *arg)
{
	return xstrdup("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone");
}

static char *answer_echo(const char *request, void *arg)
{
	return tcp_peer_ok(strncmp(request, "GET ", 4) == 0 ? "got"
							    : strstr(request, "\r\n\r\n") + 4);
}

static struct tcp_peer *peer(enum tcp_peer_manner manner, char *(*answer)(const char *, void *))
{
	struct tcp_peer *p = xcalloc(1, sizeof(*p));

	p->manner = manner;
	p->answer = answer;
	tcp_peer_start(p);
	return p;
}

static void peer_free(struct tcp_peer *p)
{
	tcp_peer_stop(p);
	free(p);
}

TEST(an_answer_comes_whole_with_its_status)
{
	struct tcp_peer *p = peer(PEER_ANSWERS_IN_BITS, answer_missing);
	struct http *h = client(1);
	struct strbuf body;
	int status = 0;

	strbuf_init(&body, 4096);
	CHECK_EQ_INT(post_within(h, p->endpoint, TIMEOUT_MS, &status, &body), 0);
	CHECK_EQ_INT(status, 404);
	CHECK_EQ_STR(body.s, "gone");
	strbuf_release(&body);
	http_close(h);
	peer_free(p);
}

TEST(a_handle_serves_get_after_post)
{
	struct tcp_peer *p = peer(PEER_ANSWERS, answer_echo);
	struct http *h = client(1);
	char *url = xasprintf("http://%s/", p->endpoint);
	struct http_request q = {.method = "GET", .url = url, .timeout_ms = TIMEOUT_MS};
	struct strbuf body;
	struct err e;
	int status = 0;

	strbuf_init(&body, 4096);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ_INT(post_within(h, p->endpoint, TIMEOUT_MS, &status, &body), 0);
		CHECK_EQ_STR(body.s, "ask");
		CHECK_EQ_INT(http_call(h, &q, &status, &body, &e), 0);
		CHECK_EQ_STR(body.s, "got");
	}
	strbuf_release(&body);
	free(url);
	http_close(h);
	peer_free(p);
}

TEST(connections_are_kept_and_a_closed_one_is_replaced)
{
	struct tcp_peer *p = peer(PEER_ANSWERS, answer_ok);
	struct http *h = client(4);

	for (int i = 0; i < 3; i++)
		CHECK_EQ_INT(post(h, p->endpoint), 0);
	CHECK_EQ_INT(p->accepted, 1);
	p->manner = PEER_ANSWERS_ONCE;
	for (int i = 0; i < 3; i++)
		CHECK_EQ_INT(post(h, p->endpoint), 0);
	/* the first of them goes by the kept connection, unless the peer closes that before */
	CHECK(p->accepted == 3 || p->accepted == 4);
	http_close(h);
	peer_free(p);
}

TEST(nothing_was_sent_where_nobody_listens)
{
	struct tcp_peer *p = peer(PEER_ANSWERS, answer_ok);
	char *endpoint = xstrdup(p->endpoint);
	struct http *h = client(1);

	peer_free(p);
	CHECK_EQ_INT(post(h, endpoint), -ECONNREFUSED);
	CHECK_EQ_INT(post(h, "no-such-host.invalid:80"), -ECONNREFUSED);
	free(endpoint);
	http_close(h);
}

TEST(a_reset_after_the_request_leaves_the_outcome_unknown)
{
	struct tcp_peer *p = peer(PEER_RESETS, NULL);
	struct http *h = client(1);

	CHECK_EQ_INT(post(h, p->endpoint), -ECONNRESET);
	http_close(h);
	peer_free(p);
}

TEST(silence_is_a_timeout)
{
	struct tcp_peer *p = peer(PEER_SILENT, NULL);
	struct http *h = client(1);
	struct mono begun = mono_now();
	struct strbuf body;
	int status;

	strbuf_init(&body, 4096);
	CHECK_EQ_INT(post_within(h, p->endpoint, 200, &status, &body), -ETIMEDOUT);
	CHECK(mono_ms_since(begun) >= 190 && mono_ms_since(begun) < 2000);
	http_close(h);
	peer_free(p);
}

TEST(an_answer_over_the_ceiling_is_refused)
{
	struct tcp_peer *p = peer(PEER_ANSWERS, answer_ok);
	struct http *h = client(1);
	struct strbuf body;
	int status;

	strbuf_init(&body, 3);
	CHECK_EQ_INT(post_within(h, p->endpoint, TIMEOUT_MS, &status, &body), -EMSGSIZE);
	strbuf_release(&body);
	http_close(h);
	peer_free(p);
}

/* ---- turns and cancel ----------------------------------------------------------------------- */

struct caller {
	pthread_t thread;
	struct http *http;
	const char *endpoint;
	int timeout_ms, r;
};

static void *call(void *arg)
{
	struct caller *c = arg;
	struct strbuf body;
	int status;

	strbuf_init(&body, 4096);
	c->r = post_within(c->http, c->endpoint, c->timeout_ms, &status, &body);
	strbuf_release(&body);
	return NULL;
}

static void await(atomic_int *n, int at_least)
{
	struct mono deadline = mono_in_ms(10000);

	while (*n < at_least && mono_ms_until(deadline) > 0)
		usleep(1000);
	CHECK(*n >= at_least);
}

TEST(calls_beyond_the_limit_wait_their_turn)
{
	struct tcp_peer *p = peer(PEER_SILENT, NULL);
	struct http *h = client(1);
	struct caller first = {.http = h, .endpoint = p->endpoint, .timeout_ms = 1500};
	struct caller second = {.http = h, .endpoint = p->endpoint, .timeout_ms = 200};

	pthread_create(&first.thread, NULL, call, &first);
	await(&p->requests, 1);
	call(&second);
	pthread_join(first.thread, NULL);
	CHECK_EQ_INT(second.r, -ECONNREFUSED);
	CHECK_EQ_INT(first.r, -ETIMEDOUT);
	CHECK_EQ_INT(p->requests, 1);
	http_close(h);
	peer_free(p);
}

TEST(cancel_wakes_those_who_read_and_those_who_wait)
{
	struct tcp_peer *p = peer(PEER_SILENT, NULL);
	struct http *h = client(2);
	struct caller callers[5];
	struct mono begun = mono_now();

	for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
		callers[i] =
			(struct caller){.http = h, .endpoint = p->endpoint, .timeout_ms = 30000};
		pthread_create(&callers[i].thread, NULL, call, &callers[i]);
	}
	await(&p->requests, 2);
	http_cancel(h);
	for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
		pthread_join(callers[i].thread, NULL);
		CHECK_EQ_INT(callers[i].r, -ECANCELED);
	}
	CHECK(mono_ms_since(begun) < 5000);
	CHECK_EQ_INT(post(h, p->endpoint), -ECANCELED);
	http_close(h);
	peer_free(p);
}

/* ---- streams -------------------------------------------------------------------------------- */

struct heard {
	struct strbuf text;
	int idles, stop_after, end_with;
};

static int on_data(const char *p, size_t n, void *arg)
{
	struct heard *heard = arg;

	strbuf_add(&heard->text, p, n);
	return heard->end_with;
}

static int on_idle(void *arg)
{
	struct heard *heard = arg;

	return ++heard->idles == heard->stop_after ? -EINTR : 0;
}

static int stream(struct http *h, const char *endpoint, struct heard *heard)
{
	char *url = xasprintf("http://%s/watch", endpoint);
	struct http_request q = {.method = "POST", .url = url, .timeout_ms = 500};
	struct err e = {0};
	int status = 0, r;

	strbuf_init(&heard->text, 4096);
	r = http_stream(h, &q, &status, on_data, on_idle, 20, heard, &e);
	CHECK(heard->text.len == 0 || status == 200);
	free(url);
	return r;
}

static char *answer_chunked(const char *request, void *arg)
{
	return xstrdup("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		       "3\r\none\r\n4\r\n two\r\n0\r\n\r\n");
}

static char *answer_endless(const char *request, void *arg)
{
	return xstrdup("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
}

TEST(a_stream_hands_on_every_piece_until_its_end)
{
	struct tcp_peer *p = peer(PEER_ANSWERS_IN_BITS, answer_chunked);
	struct http *h = client(1);
	struct heard heard = {0};

	CHECK_EQ_INT(stream(h, p->endpoint, &heard), 0);
	CHECK_EQ_STR(heard.text.s, "one two");
	strbuf_release(&heard.text);
	http_close(h);
	peer_free(p);
}

TEST(a_quiet_stream_asks_whether_to_go_on)
{
	struct tcp_peer *p = peer(PEER_ANSWERS, answer_endless);
	struct http *h = client(1);
	struct heard heard = {.stop_after = 30};

	/* 30 * 20 ms: longer than the time-out, which ended with the headers */
	CHECK_EQ_INT(stream(h, p->endpoint, &heard), -EINTR);
	CHECK_EQ_STR(heard.text.s, "one");
	strbuf_release(&heard.text);
	http_close(h);
	peer_free(p);
}

TEST(a_stream_ends_with_what_its_reader_returns)
{
	struct tcp_peer *p = peer(PEER_ANSWERS, answer_endless);
	struct http *h = client(1);
	struct heard heard = {.end_with = -ESTALE};

	CHECK_EQ_INT(stream(h, p->endpoint, &heard), -ESTALE);
	strbuf_release(&heard.text);
	http_close(h);
	peer_free(p);
}

TEST(a_stream_without_headers_is_a_timeout)
{
	struct tcp_peer *p = peer(PEER_SILENT, NULL);
	struct http *h = client(1);
	struct heard heard = {0};

	CHECK_EQ_INT(stream(h, p->endpoint, &heard), -ETIMEDOUT);
	http_close(h);
	peer_free(p);
}

static void *stream_thread(void *arg)
{
	struct caller *c = arg;
	struct heard heard = {0};

	c->r = stream(c->http, c->endpoint, &heard);
	strbuf_release(&heard.text);
	return NULL;
}

TEST(cancel_ends_streams)
{
	struct tcp_peer *p = peer(PEER_ANSWERS, answer_endless);
	struct http *h = client(1);
	struct caller c = {.http = h, .endpoint = p->endpoint};

	pthread_create(&c.thread, NULL, stream_thread, &c);
	await(&p->requests, 1);
	http_cancel(h);
	pthread_join(c.thread, NULL);
	CHECK_EQ_INT(c.r, -ECANCELED);
	http_close(h);
	peer_free(p);
}
