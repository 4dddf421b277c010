#include "../lib/etcd_server.h"
#include "../lib/test.h"
#include "clock.h"
#include "session.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define TTL_S   2
#define WAIT_MS 20000

static struct err e;

static struct etcd_server *shared(void)
{
	static struct etcd_server server;

	if (!server.pid)
		etcd_server_start(&server, NULL);
	return &server;
}

static struct etcd *client(const char *endpoint, const char *prefix)
{
	struct etcd_conf conf = {
		.endpoints = endpoint,
		.prefix = prefix,
		.dial_timeout_ms = 2000,
		.request_timeout_ms = 4000,
		.max_inflight = 4,
	};
	struct etcd *c = NULL;

	CHECK_EQ_INT(etcd_open(&c, &conf, &e), 0);
	return c;
}

static void count(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static bool await_lost(const struct session *s)
{
	struct mono deadline = mono_in_ms(WAIT_MS);

	while (!session_lost(s) && mono_ms_until(deadline) > 0)
		usleep(5000);
	return session_lost(s);
}

static bool await_count(atomic_int *n)
{
	struct mono deadline = mono_in_ms(WAIT_MS);

	while (*n == 0 && mono_ms_until(deadline) > 0)
		usleep(5000);
	return *n == 1;
}

static bool exists(struct etcd *c, const char *key, struct etcd_kv *ret)
{
	struct etcd_reply reply = {0};
	bool found;

	CHECK_EQ_INT(etcd_get(c, key, NULL, 0, 0, 0, &reply, &e), 0);
	found = reply.ranges[0].n == 1;
	if (found && ret)
		*ret = reply.ranges[0].kvs[0];
	etcd_reply_release(&reply);
	return found;
}

TEST(a_session_is_a_leased_key_that_goes_when_it_is_closed)
{
	struct etcd *c = client(shared()->endpoint, "/open");
	struct session *s = NULL;
	struct etcd_kv kv = {0};

	CHECK_EQ_INT(session_open(&s, c, "/s", SLICE_LIT("me"), TTL_S, NULL, NULL, NULL, &e), 0);
	CHECK(exists(c, "/s", &kv));
	CHECK_EQ_INT(kv.create_rev, session_revision(s));
	CHECK_EQ_INT(kv.lease, session_lease(s));
	CHECK_EQ_STR(session_key(s), "/s");
	CHECK(!session_lost(s));
	session_close(s);
	CHECK(!exists(c, "/s", NULL));
	session_close(NULL);
	etcd_close(c);
}

TEST(a_session_outlives_its_ttl)
{
	struct etcd *c = client(shared()->endpoint, "/long");
	struct mono end = mono_in_ms(2500 * TTL_S);
	struct session *s = NULL;

	CHECK_EQ_INT(session_open(&s, c, "/s", SLICE_LIT("me"), TTL_S, NULL, NULL, NULL, &e), 0);
	while (mono_ms_until(end) > 0) {
		CHECK(!session_lost(s));
		usleep(50000);
	}
	CHECK(exists(c, "/s", NULL));
	session_close(s);
	etcd_close(c);
}

TEST(a_key_that_is_held_is_not_taken)
{
	struct etcd *c = client(shared()->endpoint, "/held");
	struct session *first = NULL, *second = NULL;

	CHECK_EQ_INT(session_open(&first, c, "/s", SLICE_LIT("1"), 30, NULL, NULL, NULL, &e), 0);
	CHECK_EQ_INT(session_open(&second, c, "/s", SLICE_LIT("2"), 30, NULL, NULL, NULL, &e),
		     -EEXIST);
	CHECK(!second);
	session_close(first);
	CHECK_EQ_INT(session_open(&second, c, "/s", SLICE_LIT("2"), 30, NULL, NULL, NULL, &e), 0);
	session_close(second);
	etcd_close(c);
}

TEST(a_revoked_lease_is_a_lost_session)
{
	struct etcd *c = client(shared()->endpoint, "/revoke");
	struct session *s = NULL;
	atomic_int lost = 0;

	CHECK_EQ_INT(session_open(&s, c, "/s", SLICE_LIT("me"), TTL_S, NULL, count, &lost, &e), 0);
	CHECK_EQ_INT(etcd_lease_revoke(c, session_lease(s), &e), 0);
	CHECK(await_lost(s));
	CHECK(await_count(&lost));
	session_close(s);
	CHECK_EQ_INT(lost, 1);
	etcd_close(c);
}

TEST(a_session_that_cannot_be_renewed_is_lost_after_its_ttl)
{
	struct etcd_server server;
	struct session *s = NULL;
	atomic_int lost = 0;
	struct mono begun;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	c = client(server.endpoint, "/frozen");
	CHECK_EQ_INT(session_open(&s, c, "/s", SLICE_LIT("me"), TTL_S, NULL, count, &lost, &e), 0);
	etcd_server_freeze(&server);
	begun = mono_now();
	CHECK(await_lost(s));
	CHECK(mono_ms_since(begun) < 1000 * TTL_S + 500);
	CHECK(await_count(&lost));
	CHECK(mono_ms_since(begun) < 1000 * TTL_S + 500);
	etcd_server_thaw(&server);
	CHECK(session_lost(s));
	session_close(s);
	CHECK_EQ_INT(lost, 1);
	etcd_close(c);
	etcd_server_kill(&server);
}

TEST(a_session_survives_a_restart_within_its_ttl)
{
	struct etcd_server server;
	struct session *s = NULL;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	c = client(server.endpoint, "/restart");
	CHECK_EQ_INT(session_open(&s, c, "/s", SLICE_LIT("me"), 15, NULL, NULL, NULL, &e), 0);
	etcd_server_kill(&server);
	/* until a renewal failed */
	while (etcd_is_up(c, NULL))
		usleep(10000);
	etcd_server_again(&server, NULL);
	CHECK(!session_lost(s));
	CHECK(exists(c, "/s", NULL));
	session_close(s);
	CHECK(!exists(c, "/s", NULL));
	etcd_close(c);
	etcd_server_kill(&server);
}

/* ---- waiting for etcd ----------------------------------------------------------------------- */

struct opener {
	pthread_t thread;
	struct etcd *client;
	volatile bool stop;
	struct session *session;
	int r;
};

static void *open_session(void *arg)
{
	struct opener *o = arg;
	struct err mine = {0};

	o->r = session_open(&o->session, o->client, "/s", SLICE_LIT("me"), TTL_S, &o->stop, NULL,
			    NULL, &mine);
	return NULL;
}

TEST(opening_waits_for_etcd)
{
	struct etcd_server server;
	struct opener o = {0};

	etcd_server_start(&server, NULL);
	etcd_server_kill(&server);
	o.client = client(server.endpoint, "/wait");
	pthread_create(&o.thread, NULL, open_session, &o);
	while (etcd_is_up(o.client, NULL))
		usleep(1000);
	etcd_server_again(&server, NULL);
	pthread_join(o.thread, NULL);
	if (CHECK_EQ_INT(o.r, 0))
		CHECK(exists(o.client, "/s", NULL) && !session_lost(o.session));
	session_close(o.session);
	etcd_close(o.client);
	etcd_server_kill(&server);
}

TEST(a_stop_ends_the_wait)
{
	struct opener o = {.client = client("127.0.0.1:1", "/stop")};
	struct mono begun = mono_now();

	pthread_create(&o.thread, NULL, open_session, &o);
	while (etcd_is_up(o.client, NULL))
		usleep(1000);
	__atomic_store_n(&o.stop, true, __ATOMIC_RELAXED);
	pthread_join(o.thread, NULL);
	CHECK_EQ_INT(o.r, -ECANCELED);
	CHECK(mono_ms_since(begun) < 2000);
	etcd_close(o.client);
}

TEST(closing_does_not_wait_for_a_silent_etcd_longer_than_a_request)
{
	struct etcd_server server;
	struct session *s = NULL;
	struct mono begun;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	c = client(server.endpoint, "/close");
	CHECK_EQ_INT(session_open(&s, c, "/s", SLICE_LIT("me"), 30, NULL, NULL, NULL, &e), 0);
	etcd_server_freeze(&server);
	begun = mono_now();
	session_close(s);
	CHECK(mono_ms_since(begun) < 4500);
	etcd_server_thaw(&server);
	etcd_close(c);
	etcd_server_kill(&server);
}
