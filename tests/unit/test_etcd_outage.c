/* The etcd client when etcd is away, dumb, slow, or wants a password. */
#include "../lib/etcd_server.h"
#include "../lib/tcp_peer.h"
#include "../lib/test.h"
#include "clock.h"
#include "etcd.h"
#include "stats.h"

#include <stdio.h>

/* Also compiled with true (test_etcd_native.c, …): what holds through the gateway holds natively.
 */
#ifndef NATIVE
#define NATIVE false
#endif
#include <unistd.h>

#define DEAD "127.0.0.1:1"

static struct err e;

static struct etcd_server *shared(void)
{
	static struct etcd_server server;

	if (!server.pid)
		etcd_server_start(&server, NULL);
	return &server;
}

static struct etcd *client_within(const char *endpoints, int timeout_ms)
{
	struct etcd_conf conf = {
		.endpoints = endpoints,
		.prefix = "/out",
		.dial_timeout_ms = 2000,
		.request_timeout_ms = timeout_ms,
		.native = NATIVE,
		.max_inflight = 4,
		.circuit_failures = 3,
		.circuit_open_ms = 300,
	};
	struct etcd *c = NULL;

	CHECK_EQ_INT(etcd_open(&c, &conf, &e), 0);
	return c;
}

static struct etcd *client(const char *endpoints)
{
	return client_within(endpoints, 4000);
}

static int put_by(struct etcd *c, int (*send)(struct etcd_txn *, struct etcd_reply *))
{
	struct etcd_reply reply = {0};
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, "/k", SLICE_LIT("v"), 0);
	r = send(&t, &reply);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	return r;
}

static int send_once(struct etcd_txn *t, struct etcd_reply *reply)
{
	struct err mine = {0};

	return etcd_txn_send(t, reply, &mine);
}

static int send_settle(struct etcd_txn *t, struct etcd_reply *reply)
{
	struct err mine = {0};

	return etcd_txn_settle(t, reply, NULL, &mine);
}

static int put(struct etcd *c)
{
	return put_by(c, send_once);
}

static int get(struct etcd *c)
{
	struct etcd_reply reply = {0};
	int r = etcd_get(c, "/k", NULL, 0, 0, 0, &reply, &e);

	etcd_reply_release(&reply);
	return r;
}

static void peer_start(struct tcp_peer **ret, enum tcp_peer_manner manner,
		       char *(*answer)(const char *, void *))
{
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->manner = manner;
	(*ret)->answer = answer;
	tcp_peer_start(*ret);
}

static void peer_free(struct tcp_peer *p)
{
	tcp_peer_stop(p);
	free(p);
}

/* ---- outcomes ------------------------------------------------------------------------------- */

TEST(endpoints_that_make_no_sense_are_refused_at_once)
{
	static const char *const bad[] = {
		"",      " , ",          "localhost",          "host:0",     "host:99999",
		":2379", "ftp://host:1", "http://host:1/path", "user@host:1"};
	struct etcd_conf conf = {
		.prefix = "", .dial_timeout_ms = 1, .request_timeout_ms = 1, .max_inflight = 1};
	struct etcd *c = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		conf.endpoints = bad[i];
		CHECK_EQ_INT(etcd_open(&c, &conf, &e), -EINVAL);
		CHECK(!c);
	}
	conf.endpoints = "https://a:1, [::1]:2 ,http://b:3/";
	CHECK_EQ_INT(etcd_open(&c, &conf, &e), 0);
	etcd_close(c);
}

TEST(refused_is_surely_not_carried_out_and_reset_or_silence_is_unknown)
{
	struct tcp_peer *resets, *silent;
	struct etcd *c = client(DEAD);

	CHECK_EQ_INT(put(c), -ECONNREFUSED);
	CHECK(!etcd_unknown(-ECONNREFUSED) && etcd_transient(-ECONNREFUSED));
	etcd_close(c);

	peer_start(&resets, PEER_RESETS, NULL);
	c = client(resets->endpoint);
	CHECK_EQ_INT(put(c), -ECONNRESET);
	CHECK(etcd_unknown(-ECONNRESET));
	etcd_close(c);
	peer_free(resets);

	peer_start(&silent, PEER_SILENT, NULL);
	c = client_within(silent->endpoint, 300);
	CHECK_EQ_INT(put(c), -ETIMEDOUT);
	CHECK(etcd_unknown(-ETIMEDOUT));
	etcd_close(c);
	peer_free(silent);
}

static char *answer_text(const char *request, void *arg)
{
	return xstrdup(arg);
}

TEST(an_answer_that_is_not_etcds_is_unknown)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 503 x\r\nContent-Length: 59\r\n\r\n"
		"{\"error\":\"etcdserver: leader changed\",\"message\":\"\",\"code\":14}"};
	struct tcp_peer *p;
	struct etcd *c;

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		peer_start(&p, PEER_ANSWERS, answer_text);
		p->arg = (char *)(uintptr_t)answers[i];
		c = client(p->endpoint);
		CHECK_EQ_INT(put(c), -EIO);
		etcd_close(c);
		peer_free(p);
	}
}

TEST(a_write_of_unknown_outcome_is_not_sent_elsewhere_but_a_read_is)
{
	struct tcp_peer *resets;
	char *endpoints;
	struct etcd *c;

	peer_start(&resets, PEER_RESETS, NULL);
	endpoints = xasprintf("%s,%s", resets->endpoint, shared()->endpoint);
	c = client(endpoints);
	CHECK_EQ_INT(put(c), -ECONNRESET);
	CHECK_EQ_INT(put(c), 0);
	etcd_close(c);
	c = client(endpoints);
	CHECK_EQ_INT(get(c), 0);
	etcd_close(c);
	free(endpoints);
	peer_free(resets);
}

TEST(a_dead_endpoint_costs_one_try)
{
	char *endpoints = xasprintf(DEAD ",http://%s", shared()->endpoint);
	struct etcd *c = client(endpoints);
	int64_t errors = stats_value(STAT_DATABASE_ERRORS);

	for (int i = 0; i < 5; i++)
		CHECK_EQ_INT(put(c), 0);
	CHECK(etcd_is_up(c, NULL));
	CHECK_EQ_INT(stats_value(STAT_DATABASE_ERRORS) - errors, 0);
	etcd_close(c);
	free(endpoints);
}

TEST(a_silent_endpoint_leaves_a_read_time_for_the_next)
{
	struct tcp_peer *silent;
	struct mono begun;
	char *endpoints;
	struct etcd *c;

	peer_start(&silent, PEER_SILENT, NULL);
	endpoints = xasprintf("%s,%s", silent->endpoint, shared()->endpoint);
	c = client_within(endpoints, 1000);
	begun = mono_now();
	CHECK_EQ_INT(get(c), 0);
	CHECK(mono_ms_since(begun) < 1000);
	etcd_close(c);
	free(endpoints);
	peer_free(silent);
}

static char *answer_headers_only(const char *request, void *arg)
{
	return tcp_peer_ok("{\"header\":{}}");
}

/* ---- circuit breaker and reachability ------------------------------------------------------- */

TEST(a_circuit_opens_after_failures_and_one_trial_closes_it)
{
	struct tcp_peer *p;
	int64_t errors = stats_value(STAT_DATABASE_ERRORS);
	int64_t opened = stats_value(STAT_ETCD_CIRCUIT_OPENED);
	struct etcd *c;

	peer_start(&p, PEER_RESETS, answer_headers_only);
	c = client(p->endpoint);
	for (int i = 0; i < 3; i++)
		CHECK_EQ_INT(put(c), -ECONNRESET);
	for (int i = 0; i < 3; i++)
		CHECK_EQ_INT(put(c), -ECONNREFUSED);
	CHECK_EQ_INT(p->requests, 3 + NATIVE); /* and one to find out what is spoken there */
	CHECK_EQ_INT(stats_value(STAT_ETCD_CIRCUIT_OPENED) - opened, 1);
	CHECK_EQ_INT(stats_value(STAT_DATABASE_ERRORS) - errors, 6);

	usleep(320000);
	CHECK_EQ_INT(put(c), -ECONNRESET);
	CHECK_EQ_INT(put(c), -ECONNREFUSED);
	CHECK_EQ_INT(p->requests, 4 + NATIVE);
	CHECK(!etcd_is_up(c, NULL));

	p->manner = PEER_ANSWERS;
	usleep(320000);
	for (int i = 0; i < 3; i++)
		CHECK_EQ_INT(put(c), 0);
	CHECK(etcd_is_up(c, NULL));
	etcd_close(c);
	peer_free(p);
}

TEST(down_is_known_with_its_time_until_etcd_answers)
{
	struct etcd_server server;
	int64_t before = wall_now_ns(), since = 0;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	etcd_server_kill(&server);
	c = client(server.endpoint);
	CHECK(etcd_is_up(c, NULL));
	CHECK_EQ_INT(get(c), -ECONNREFUSED);
	CHECK(!etcd_is_up(c, &since));
	CHECK(since >= before && since <= wall_now_ns());
	etcd_server_again(&server, NULL);
	CHECK_EQ_INT(get(c), 0);
	CHECK(etcd_is_up(c, NULL));
	etcd_close(c);
	etcd_server_kill(&server);
}

/* ---- settle and cancel ---------------------------------------------------------------------- */

struct putter {
	pthread_t thread;
	struct etcd *client;
	int r;
};

static void *settle(void *arg)
{
	struct putter *p = arg;

	p->r = put_by(p->client, send_settle);
	return NULL;
}

TEST(settle_goes_on_until_etcd_is_back)
{
	struct etcd_server server;
	struct putter p;

	etcd_server_start(&server, NULL);
	etcd_server_kill(&server);
	p.client = client(server.endpoint);
	pthread_create(&p.thread, NULL, settle, &p);
	while (etcd_is_up(p.client, NULL))
		usleep(1000);
	etcd_server_again(&server, NULL);
	pthread_join(p.thread, NULL);
	CHECK_EQ_INT(p.r, 0);
	etcd_close(p.client);
	etcd_server_kill(&server);
}

TEST(settle_says_whether_an_earlier_try_may_have_been_carried_out)
{
	char *endpoints;
	struct tcp_peer *resets;
	struct etcd_reply reply = {0};
	struct etcd_txn t;
	bool resent = false;
	struct etcd *c;

	peer_start(&resets, PEER_RESETS, NULL);
	endpoints = xasprintf("%s,%s", resets->endpoint, shared()->endpoint);
	c = client(endpoints);
	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, "/s", SLICE_LIT("v"), 0);
	CHECK_EQ_INT(etcd_txn_settle(&t, &reply, &resent, &e), 0);
	CHECK(resent);
	etcd_reply_release(&reply);
	CHECK_EQ_INT(etcd_txn_settle(&t, &reply, &resent, &e), 0);
	CHECK(!resent);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	etcd_close(c);
	free(endpoints);
	peer_free(resets);
}

TEST(cancel_wakes_calls_and_settles)
{
	struct putter putters[6];
	struct tcp_peer *silent;
	struct mono begun = mono_now();
	struct etcd *hung, *dead = client(DEAD);

	peer_start(&silent, PEER_SILENT, NULL);
	hung = client_within(silent->endpoint, 30000);
	for (size_t i = 0; i < ARRAY_SIZE(putters); i++) {
		putters[i].client = i % 2 ? hung : dead;
		pthread_create(&putters[i].thread, NULL, settle, &putters[i]);
	}
	while (silent->requests < 3 || etcd_is_up(dead, NULL))
		usleep(1000);
	etcd_cancel(hung);
	etcd_cancel(dead);
	for (size_t i = 0; i < ARRAY_SIZE(putters); i++) {
		pthread_join(putters[i].thread, NULL);
		CHECK_EQ_INT(putters[i].r, -ECANCELED);
	}
	CHECK(mono_ms_since(begun) < 5000);
	CHECK_EQ_INT(get(hung), -ECANCELED);
	etcd_close(hung);
	etcd_close(dead);
	peer_free(silent);
}

TEST(calls_fail_while_etcd_is_away_and_succeed_again)
{
	struct etcd_server server;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	c = client(server.endpoint);
	CHECK_EQ_INT(put(c), 0);
	etcd_server_kill(&server);
	/* the kept connection is found dead before or after the request went out */
	CHECK(etcd_transient(put(c)));
	CHECK(etcd_transient(get(c)));
	etcd_server_again(&server, NULL);
	CHECK_EQ_INT(put_by(c, send_settle), 0);
	CHECK_EQ_INT(get(c), 0);
	etcd_close(c);
	etcd_server_kill(&server);
}

/* ---- users ---------------------------------------------------------------------------------- */

static void etcdctl(const struct etcd_server *s, const char *args)
{
	char *line = xasprintf("ETCDCTL_API=3 etcdctl --endpoints=%s %s >/dev/null 2>&1",
			       s->endpoint, args);

	CHECK_EQ_INT(system(line), 0);
	free(line);
}

static struct etcd *user(const struct etcd_server *s, const char *name, const char *password)
{
	struct etcd_conf conf = {
		.endpoints = s->endpoint,
		.prefix = "/auth",
		.dial_timeout_ms = 2000,
		.request_timeout_ms = 4000,
		.native = NATIVE,
		.max_inflight = 8,
		.username = name,
		.password = password,
	};
	struct etcd *c = NULL;

	CHECK_EQ_INT(etcd_open(&c, &conf, &e), 0);
	return c;
}

static void *put_many(void *arg)
{
	struct putter *p = arg;

	p->r = 0;
	for (int i = 0; i < 20 && !p->r; i++)
		p->r = put(p->client);
	return NULL;
}

TEST(a_user_is_authenticated_and_again_when_its_token_is_lost)
{
	struct etcd_server server;
	struct putter putters[4];
	struct etcd *c;

	etcd_server_start(&server, NULL);
	c = user(&server, "root", "se\"cret");
	CHECK_EQ_INT(put(c), 0);
	etcdctl(&server, "user add 'root:se\"cret'");
	etcdctl(&server, "auth enable");
	CHECK_EQ_INT(put(c), 0);
	/* a restarted member knows no token that it gave before */
	etcd_server_kill(&server);
	etcd_server_again(&server, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(putters); i++) {
		putters[i].client = c;
		pthread_create(&putters[i].thread, NULL, put_many, &putters[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(putters); i++) {
		pthread_join(putters[i].thread, NULL);
		CHECK_EQ_INT(putters[i].r, 0);
	}
	etcd_close(c);

	c = user(&server, "root", "wrong");
	CHECK_EQ_INT(put(c), -EACCES);
	etcd_close(c);
	c = user(&server, NULL, NULL);
	CHECK_EQ_INT(put(c), -EACCES);
	CHECK_EQ_INT(get(c), -EACCES);
	etcd_close(c);
	etcd_server_kill(&server);
}

/* ---- pages ---------------------------------------------------------------------------------- */

/* One key more for each page, and no answer in time where many keys are asked for. */
static char *answer_few(const char *request, void *arg)
{
	const char *limit = strstr(request, "\"limit\":\"");

	if (limit && atoi(limit + 9) > 256)
		nanosleep(&(struct timespec){1, 500000000}, NULL);
	return tcp_peer_ok("{\"header\":{\"revision\":\"5\"},\"more\":true,\"count\":\"9\","
			   "\"kvs\":[{\"key\":\"L2s=\",\"value\":\"eA==\"}]}");
}

static int stop_at_four(const struct etcd_kv *kv, void *arg)
{
	return ++*(int *)arg == 4 ? 7 : 0;
}

TEST(a_page_that_does_not_come_in_time_is_asked_for_with_fewer_keys)
{
	struct etcd_conf conf = {.prefix = "",
				 .dial_timeout_ms = 1000,
				 .request_timeout_ms = 1000,
				 .max_inflight = 1};
	struct tcp_peer *p;
	struct etcd *c;
	int n = 0;

	peer_start(&p, PEER_ANSWERS, answer_few);
	conf.endpoints = p->endpoint;
	CHECK_EQ_INT(etcd_open(&c, &conf, &e), 0);
	CHECK_EQ_INT(etcd_each(c, "/k", "/l", 0, 0, stop_at_four, &n, NULL, &e), 7);
	CHECK_EQ_INT(n, 4);
	etcd_close(c);
	peer_free(p);
}
