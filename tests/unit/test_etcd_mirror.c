#include "../lib/etcd_server.h"
#include "../lib/tcp_peer.h"
#include "../lib/test.h"
#include "clock.h"
#include "etcd.h"
#include "map.h"

#include <stdio.h>
#include <unistd.h>

#define WAIT_MS 30000
#ifndef NATIVE
#define NATIVE false /* also compiled with true: test_etcd_mirror_native.c */
#endif

static struct err e;

static struct etcd_server *shared(void)
{
	static struct etcd_server server;

	if (!server.pid)
		etcd_server_start(&server, NULL);
	return &server;
}

static struct etcd *client_with(const char *endpoint, const char *prefix, int circuit_failures)
{
	struct etcd_conf conf = {
		.endpoints = endpoint,
		.prefix = prefix,
		.dial_timeout_ms = 2000,
		.request_timeout_ms = circuit_failures ? 300 : 4000,
		.max_inflight = 4,
		.native = NATIVE,
		.circuit_failures = circuit_failures,
		.circuit_open_ms = 3600 * 1000,
	};
	struct etcd *c = NULL;

	CHECK_EQ_INT(etcd_open(&c, &conf, &e), 0);
	return c;
}

static struct etcd *client(const char *endpoint, const char *prefix)
{
	return client_with(endpoint, prefix, 0);
}

/* ---- what a mirror told --------------------------------------------------------------------- */

/* A copy kept by the callbacks alone, and what they said, checked for order as it comes. */
struct copy {
	struct map map; /* key -> value, owned */
	int lists, ups, commits, progress, relist_at;
	int64_t rev;
	bool up, listing, disordered;
	size_t last_commit;
	struct etcd_mirror *mirror;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

static void copy_init(struct copy *c)
{
	*c = (struct copy){.map = MAP_INIT};
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
}

static void set(struct map *m, struct slice key, struct slice value)
{
	free(map_put(m, key.p, key.len, xstrndup(value.p, value.len)));
}

static void clear(struct map *m)
{
	map_each (m, i)
		free(m->entries[i].value);
	map_release(m);
	*m = MAP_INIT;
}

static void copy_release(struct copy *c)
{
	clear(&c->map);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
}

static void unlock_changed(struct copy *c)
{
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void on_list_begin(int64_t rev, void *arg)
{
	struct copy *c = arg;

	pthread_mutex_lock(&c->lock);
	clear(&c->map);
	c->listing = true;
	c->rev = rev;
	unlock_changed(c);
}

static void on_list_kv(const struct etcd_kv *kv, void *arg)
{
	struct copy *c = arg;

	pthread_mutex_lock(&c->lock);
	c->disordered |= !c->listing || kv->mod_rev > c->rev;
	set(&c->map, kv->key, kv->value);
	unlock_changed(c);
}

static void on_list_end(int64_t rev, void *arg)
{
	struct copy *c = arg;

	pthread_mutex_lock(&c->lock);
	c->disordered |= !c->listing || c->rev != rev;
	c->listing = false;
	c->lists++;
	unlock_changed(c);
}

static void on_commit(int64_t rev, const struct etcd_event *events, size_t n, void *arg)
{
	struct copy *c = arg;

	pthread_mutex_lock(&c->lock);
	c->disordered |= c->listing || rev <= c->rev || n == 0;
	c->rev = rev;
	c->commits++;
	c->last_commit = n;
	for (size_t i = 0; i < n; i++) {
		const struct etcd_kv *kv = &events[i].kv;

		c->disordered |= kv->mod_rev != rev;
		if (events[i].deleted)
			free(map_remove(&c->map, kv->key.p, kv->key.len));
		else
			set(&c->map, kv->key, kv->value);
	}
	if (c->commits == c->relist_at)
		etcd_mirror_relist(c->mirror);
	unlock_changed(c);
}

static void on_progress(int64_t rev, void *arg)
{
	struct copy *c = arg;

	pthread_mutex_lock(&c->lock);
	c->disordered |= rev <= c->rev;
	c->rev = rev;
	c->progress++;
	unlock_changed(c);
}

static void on_up(bool up, void *arg)
{
	struct copy *c = arg;

	pthread_mutex_lock(&c->lock);
	c->disordered |= up == c->up;
	c->up = up;
	c->ups += up;
	unlock_changed(c);
}

static const struct etcd_mirror_ops ops = {
	on_list_begin, on_list_kv, on_list_end, on_commit, on_progress, on_up,
};

/* Waits until cond holds for c, whose lock it takes. */
#define AWAIT(c, cond)                                                                             \
	do {                                                                                       \
		struct mono deadline_ = mono_in_ms(WAIT_MS);                                       \
		struct timespec ts_ = {deadline_.ns / NS_PER_SEC, deadline_.ns % NS_PER_SEC};      \
		int r_ = 0;                                                                        \
		pthread_mutex_lock(&(c)->lock);                                                    \
		while (!(cond) && !r_)                                                             \
			r_ = pthread_cond_clockwait(&(c)->changed, &(c)->lock, CLOCK_MONOTONIC,    \
						    &ts_);                                         \
		CHECK(cond);                                                                       \
		pthread_mutex_unlock(&(c)->lock);                                                  \
	} while (0)

static struct etcd_mirror *mirror(struct copy *copy, struct etcd *c, const char *key,
				  const char *end)
{
	struct etcd_mirror *m = NULL;

	copy_init(copy);
	CHECK_EQ_INT(etcd_mirror_start(&m, c, key, end, &ops, copy, &e), 0);
	return m;
}

static bool holds(struct copy *c, const char *key, const char *value)
{
	const char *found = map_get_str(&c->map, key);

	return found && strcmp(found, value) == 0;
}

static int64_t put(struct etcd *c, const char *key, const char *value)
{
	struct etcd_reply reply = {0};
	struct etcd_txn t;
	int64_t rev;

	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, key, slice_str(value), 0);
	CHECK_EQ_INT(etcd_txn_settle(&t, &reply, NULL, &e), 0);
	rev = reply.revision;
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	return rev;
}

static void delete (struct etcd *c, const char *key)
{
	struct etcd_reply reply = {0};
	struct etcd_txn t;

	etcd_txn_init(&t, c, "test");
	etcd_then_delete(&t, key, NULL);
	CHECK_EQ_INT(etcd_txn_settle(&t, &reply, NULL, &e), 0);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
}

/* ---- tests ---------------------------------------------------------------------------------- */

TEST(a_mirror_lists_what_is_there_and_follows_what_changes)
{
	struct etcd *c = client(shared()->endpoint, "/follow");
	struct etcd_mirror *m;
	struct copy copy;

	put(c, "/in/a", "1");
	put(c, "/in/b", "2");
	put(c, "/out", "x");
	m = mirror(&copy, c, "/in/", "/in0");
	AWAIT(&copy, copy.up);
	CHECK(holds(&copy, "/in/a", "1") && holds(&copy, "/in/b", "2"));
	CHECK_EQ_INT(map_count(&copy.map), 2);
	put(c, "/in/a", "3");
	put(c, "/out", "y");
	delete (c, "/in/b");
	put(c, "/in/c", "");
	AWAIT(&copy, copy.commits == 3);
	CHECK(holds(&copy, "/in/a", "3") && holds(&copy, "/in/c", ""));
	CHECK_EQ_INT(map_count(&copy.map), 2);
	etcd_mirror_stop(m);
	CHECK(!copy.disordered && !copy.up && copy.lists == 1);
	copy_release(&copy);
	etcd_close(c);
}

TEST(an_empty_range_is_listed_too)
{
	struct etcd *c = client(shared()->endpoint, "/empty");
	struct copy copy;
	struct etcd_mirror *m = mirror(&copy, c, "", "");

	AWAIT(&copy, copy.up);
	CHECK_EQ_INT(copy.lists, 1);
	CHECK(copy.rev > 0);
	put(c, "", "the prefix itself");
	AWAIT(&copy, copy.commits == 1);
	CHECK(holds(&copy, "", "the prefix itself"));
	etcd_mirror_stop(m);
	copy_release(&copy);
	etcd_close(c);
}

TEST(a_transaction_is_one_commit)
{
	struct etcd *c = client(shared()->endpoint, "/one");
	struct copy copy;
	struct etcd_mirror *m = mirror(&copy, c, "", "");
	struct etcd_reply reply = {0};
	struct etcd_txn t;

	put(c, "/old", "x");
	AWAIT(&copy, copy.up);
	etcd_txn_init(&t, c, "test");
	for (char key[] = "/a"; key[1] <= 'z'; key[1]++)
		etcd_then_put(&t, key, slice_str(key), 0);
	etcd_then_delete(&t, "/old", NULL);
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
	AWAIT(&copy, copy.rev >= reply.revision);
	CHECK_EQ_INT(copy.rev, reply.revision);
	CHECK_EQ_INT(copy.last_commit, 27);
	CHECK_EQ_INT(map_count(&copy.map), 26);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	etcd_mirror_stop(m);
	CHECK(!copy.disordered);
	copy_release(&copy);
	etcd_close(c);
}

struct writer {
	pthread_t thread;
	struct etcd *client;
	int id;
};

static void *write_many(void *arg)
{
	struct writer *w = arg;
	char key[16], value[16];

	for (int i = 0; i < 200; i++) {
		snprintf(key, sizeof(key), "/%d/%d", w->id, i % 20);
		snprintf(value, sizeof(value), "%d", i);
		put(w->client, key, value);
	}
	return NULL;
}

TEST(a_mirror_keeps_up_with_writers_and_misses_nothing)
{
	struct etcd *c = client(shared()->endpoint, "/busy");
	struct copy copy;
	struct etcd_mirror *m = mirror(&copy, c, "", "");
	struct writer writers[4];
	char key[16], value[16];

	AWAIT(&copy, copy.up);
	for (int i = 0; i < 4; i++) {
		writers[i] = (struct writer){.client = c, .id = i};
		pthread_create(&writers[i].thread, NULL, write_many, &writers[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(writers[i].thread, NULL);
	AWAIT(&copy, copy.commits == 800);
	for (int i = 0; i < 80; i++) {
		snprintf(key, sizeof(key), "/%d/%d", i / 20, i % 20);
		snprintf(value, sizeof(value), "%d", 180 + i % 20);
		CHECK(holds(&copy, key, value));
	}
	etcd_mirror_stop(m);
	CHECK(!copy.disordered);
	copy_release(&copy);
	etcd_close(c);
}

TEST(a_relist_can_be_asked_for_from_a_callback)
{
	struct etcd *c = client(shared()->endpoint, "/again");
	struct copy copy;
	struct etcd_mirror *m = mirror(&copy, c, "", "");

	AWAIT(&copy, copy.up);
	pthread_mutex_lock(&copy.lock);
	copy.mirror = m;
	copy.relist_at = 1;
	pthread_mutex_unlock(&copy.lock);
	put(c, "/a", "1");
	AWAIT(&copy, copy.lists == 2 && copy.up);
	put(c, "/b", "2");
	AWAIT(&copy, holds(&copy, "/a", "1") && holds(&copy, "/b", "2"));
	etcd_mirror_stop(m);
	CHECK(!copy.disordered);
	copy_release(&copy);
	etcd_close(c);
}

TEST(a_mirror_resumes_where_it_was_after_a_restart)
{
	struct etcd_server server;
	struct etcd_mirror *m;
	struct copy copy;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	c = client(server.endpoint, "/restart");
	m = mirror(&copy, c, "", "");
	put(c, "/a", "1");
	AWAIT(&copy, copy.up && holds(&copy, "/a", "1"));
	etcd_server_kill(&server);
	AWAIT(&copy, !copy.up);
	etcd_server_again(&server, NULL);
	put(c, "/b", "2");
	AWAIT(&copy, holds(&copy, "/b", "2"));
	CHECK_EQ_INT(copy.lists, 1);
	CHECK_EQ_INT(copy.ups, 2);
	etcd_mirror_stop(m);
	CHECK(!copy.disordered);
	copy_release(&copy);
	etcd_close(c);
	etcd_server_kill(&server);
}

/* It accepts connections and says nothing: only asking tells that from having nothing to say. */
TEST(a_quiet_mirror_notices_a_frozen_etcd_without_a_request_of_anyone)
{
	struct etcd_server server;
	struct etcd_mirror *m;
	struct copy copy;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	c = client(server.endpoint, "/frozen");
	m = mirror(&copy, c, "", "");
	put(c, "/a", "1");
	AWAIT(&copy, copy.up && holds(&copy, "/a", "1"));
	etcd_server_freeze(&server);
	AWAIT(&copy, !copy.up);
	CHECK(!etcd_is_up(c, NULL));
	etcd_server_thaw(&server);
	AWAIT(&copy, copy.up);
	CHECK(etcd_is_up(c, NULL));
	put(c, "/b", "2");
	AWAIT(&copy, holds(&copy, "/b", "2"));
	CHECK_EQ_INT(copy.lists, 1);
	etcd_mirror_stop(m);
	CHECK(!copy.disordered);
	copy_release(&copy);
	etcd_close(c);
	etcd_server_kill(&server);
}

TEST(a_mirror_closes_the_circuit_breaker_when_etcd_is_back_long_before_its_time)
{
	struct etcd_server server;
	struct etcd_reply reply = {0};
	struct etcd_mirror *m;
	struct copy copy;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	c = client_with(server.endpoint, "/hour", 1);
	m = mirror(&copy, c, "", "");
	AWAIT(&copy, copy.up);
	etcd_server_freeze(&server);
	AWAIT(&copy, !copy.up);
	CHECK(etcd_get(c, "/a", NULL, 0, 0, 0, &reply, &e) < 0);
	CHECK_EQ_INT(etcd_get(c, "/a", NULL, 0, 0, 0, &reply, &e), -ECONNREFUSED);
	etcd_server_thaw(&server);
	AWAIT(&copy, copy.up);
	CHECK_EQ_INT(etcd_get(c, "/a", NULL, 0, 0, 0, &reply, &e), 0);
	etcd_reply_release(&reply);
	etcd_mirror_stop(m);
	copy_release(&copy);
	etcd_close(c);
	etcd_server_kill(&server);
}

TEST(a_quiet_mirror_of_a_frozen_endpoint_goes_on_at_another)
{
	struct etcd_server first, second;
	char endpoints[80];
	struct etcd_mirror *m;
	struct copy copy;
	struct etcd *c, *direct;

	etcd_server_start(&first, NULL);
	etcd_server_start(&second, NULL);
	snprintf(endpoints, sizeof(endpoints), "%s,%s", first.endpoint, second.endpoint);
	direct = client(second.endpoint, "/over");
	c = client(endpoints, "/over");
	m = mirror(&copy, c, "", "");
	AWAIT(&copy, copy.up);
	for (int i = 0; i < 5; i++)
		put(direct, "/a", "there");
	etcd_server_freeze(&first);
	AWAIT(&copy, copy.up && holds(&copy, "/a", "there"));
	etcd_mirror_stop(m);
	copy_release(&copy);
	etcd_close(c);
	etcd_close(direct);
	etcd_server_kill(&first);
	etcd_server_kill(&second);
}

TEST(a_mirror_that_starts_before_etcd_lists_when_it_comes)
{
	struct etcd_server server;
	struct etcd_mirror *m;
	struct copy copy;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	etcd_server_kill(&server);
	c = client(server.endpoint, "/early");
	m = mirror(&copy, c, "", "");
	while (etcd_is_up(c, NULL))
		usleep(1000);
	etcd_server_again(&server, NULL);
	AWAIT(&copy, copy.up);
	CHECK_EQ_INT(copy.lists, 1);
	etcd_mirror_stop(m);
	copy_release(&copy);
	etcd_close(c);
	etcd_server_kill(&server);
}

/* The mirror's etcd goes away, and its data change and are compacted behind another port. */
TEST(a_mirror_lists_again_when_what_it_missed_was_compacted)
{
	struct etcd_server server, hidden;
	struct etcd *c, *direct;
	struct etcd_mirror *m;
	struct copy copy;
	int64_t rev;

	etcd_server_start(&hidden, NULL);
	etcd_server_kill(&hidden);
	etcd_server_start(&server, NULL);
	c = client(server.endpoint, "/compact");
	m = mirror(&copy, c, "", "");
	put(c, "/gone", "1");
	put(c, "/kept", "1");
	AWAIT(&copy, copy.up && copy.rev > 0 && map_count(&copy.map) == 2);
	etcd_server_kill(&server);
	AWAIT(&copy, !copy.up);

	hidden.dir = server.dir;
	etcd_server_again(&hidden, NULL);
	direct = client(hidden.endpoint, "/compact");
	delete (direct, "/gone");
	put(direct, "/kept", "2");
	rev = put(direct, "/new", "3");
	CHECK_EQ_INT(etcd_compact(direct, rev, &e), 0);
	etcd_close(direct);
	etcd_server_kill(&hidden);

	etcd_server_again(&server, NULL);
	AWAIT(&copy, copy.lists == 2 && copy.up);
	CHECK(holds(&copy, "/kept", "2") && holds(&copy, "/new", "3"));
	CHECK_EQ_INT(map_count(&copy.map), 2);
	put(c, "/kept", "4");
	AWAIT(&copy, holds(&copy, "/kept", "4"));
	etcd_mirror_stop(m);
	CHECK(!copy.disordered);
	copy_release(&copy);
	etcd_close(c);
	etcd_server_kill(&server);
}

TEST(a_store_that_went_back_is_listed_again)
{
	struct etcd_server server, empty;
	struct etcd_mirror *m;
	struct copy copy;
	struct etcd *c;

	etcd_server_start(&server, NULL);
	c = client(server.endpoint, "/back");
	m = mirror(&copy, c, "", "");
	put(c, "/a", "1");
	put(c, "/b", "1");
	AWAIT(&copy, copy.up && map_count(&copy.map) == 2);
	etcd_server_kill(&server);
	empty = server;
	empty.dir = test_tmpdir();
	etcd_server_again(&empty, NULL);
	AWAIT(&copy, copy.lists == 2 && copy.up);
	CHECK_EQ_INT(map_count(&copy.map), 0);
	etcd_mirror_stop(m);
	copy_release(&copy);
	etcd_close(c);
	etcd_server_kill(&empty);
}

TEST(progress_moves_the_revision_of_a_quiet_mirror)
{
	const char *const flags[] = {"--experimental-watch-progress-notify-interval=200ms", NULL};
	struct etcd_server server;
	struct etcd_mirror *m;
	struct copy copy;
	struct etcd *c;
	int64_t rev;

	etcd_server_start(&server, flags);
	c = client(server.endpoint, "/quiet");
	m = mirror(&copy, c, "/in/", "/in0");
	AWAIT(&copy, copy.up);
	rev = put(c, "/out", "x");
	AWAIT(&copy, copy.rev >= rev);
	CHECK(copy.progress > 0 && copy.commits == 0);
	etcd_mirror_stop(m);
	CHECK(!copy.disordered);
	copy_release(&copy);
	etcd_close(c);
	etcd_server_kill(&server);
}

TEST(cancel_ends_a_mirror)
{
	struct etcd *c = client(shared()->endpoint, "/cancel");
	struct copy copy;
	struct etcd_mirror *m = mirror(&copy, c, "", "");
	struct mono begun;

	AWAIT(&copy, copy.up);
	etcd_cancel(c);
	AWAIT(&copy, !copy.up);
	begun = mono_now();
	etcd_mirror_stop(m);
	CHECK(mono_ms_since(begun) < 1000);
	copy_release(&copy);
	etcd_close(c);
}

/* ---- a server of our own -------------------------------------------------------------------- */

/* In base64: /p/a is L3AvYQ==, /p/b is L3AvYg==, x is eA==. */
#define A "L3AvYQ=="
#define B "L3AvYg=="
#define KV(key, rev)                                                                               \
	"\"kv\":{\"key\":\"" key "\",\"mod_revision\":\"" rev "\","                                \
	"\"value\":\"eA==\"}"
#define PUT(key, rev)   "{" KV(key, rev) "}"
#define GONE(key, rev)  "{\"type\":\"DELETE\"," KV(key, rev) "}"
#define RESULT(content) "{\"result\":{\"header\":{\"revision\":\"9\"}" content "}}\n"
#define EVENTS(events)  RESULT(",\"events\":[" events "]")

static const char watch_answer[] =
	"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" RESULT(",\"created\":true")
	/* seen already; then three revisions in one response, one of them of two keys */
	EVENTS(PUT(A, "4") "," PUT(A, "6") "," PUT(A, "7") "," PUT(B, "7") "," GONE(A, "8"))
	/* back in time, as 3.4.23 can; progress; one more */
	EVENTS(PUT(A, "7")) RESULT("") EVENTS(PUT(B, "10"));

static char *gateway(const char *request, void *arg)
{
	if (strncmp(request, "POST /v3/watch ", 15) == 0)
		return xstrdup(watch_answer);
	return tcp_peer_ok("{\"header\":{\"revision\":\"5\"},\"count\":\"0\"}");
}

TEST(a_watch_torn_to_bits_is_put_together_and_split_by_revision)
{
	struct tcp_peer *p = xcalloc(1, sizeof(*p));
	struct etcd_mirror *m;
	struct copy copy;
	struct etcd *c;

	p->manner = PEER_ANSWERS_IN_BITS;
	p->answer = gateway;
	tcp_peer_start(p);
	c = client(p->endpoint, "/p");
	m = mirror(&copy, c, "/", "");
	AWAIT(&copy, copy.rev == 10);
	CHECK_EQ_INT(copy.commits, 4);
	CHECK_EQ_INT(copy.progress, 1);
	CHECK_EQ_INT(map_count(&copy.map), 1);
	CHECK(holds(&copy, "/b", "x"));
	CHECK(!copy.disordered);
	etcd_mirror_stop(m);
	copy_release(&copy);
	etcd_close(c);
	tcp_peer_stop(p);
	free(p);
}

/* Of two ranges that the first stream asked for, it watches one only. */
static char *forgetful(const char *request, void *arg)
{
	static const char one[] =
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" RESULT(
			",\"watch_id\":\"1\",\"created\":true");
	static const char both[] =
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" RESULT(
			",\"watch_id\":\"1\",\"created\":true")
			RESULT(",\"watch_id\":\"2\",\"created\":true")
				RESULT(",\"watch_id\":\"2\",\"events\":[" PUT(B, "6") "]");
	int *watches = arg;

	if (strncmp(request, "POST /v3/watch ", 15) == 0)
		return xstrdup((*watches)++ ? both : one);
	return tcp_peer_ok("{\"header\":{\"revision\":\"5\"},\"count\":\"0\"}");
}

TEST(a_range_that_etcd_does_not_watch_is_asked_for_again)
{
	const struct etcd_span spans[] = {{"/a", NULL}, {"/b", NULL}};
	struct tcp_peer *p = xcalloc(1, sizeof(*p));
	int watches = 0;
	struct etcd_mirror *m = NULL;
	struct copy copy;
	struct etcd *c;

	p->manner = PEER_ANSWERS;
	p->answer = forgetful;
	p->arg = &watches;
	tcp_peer_start(p);
	c = client(p->endpoint, "/p");
	copy_init(&copy);
	CHECK_EQ_INT(etcd_mirror_start_ranges(&m, c, spans, 2, &ops, &copy, &e), 0);
	AWAIT(&copy, copy.rev == 6);
	CHECK(holds(&copy, "/b", "x"));
	CHECK_EQ_INT(copy.lists, 1);
	etcd_mirror_stop(m);
	copy_release(&copy);
	etcd_close(c);
	tcp_peer_stop(p);
	free(p);
}

TEST(many_ranges_are_watched_in_one_stream)
{
	enum { RANGES = 40 };
	struct etcd *c = client(shared()->endpoint, "/many");
	struct etcd_span spans[RANGES];
	char keys[RANGES][128];
	struct etcd_mirror *m = NULL;
	struct copy copy;

	for (int i = 0; i < RANGES; i++) {
		snprintf(keys[i], sizeof(keys[i]), "/%0100d", i);
		spans[i] = (struct etcd_span){keys[i], NULL};
	}
	copy_init(&copy);
	CHECK_EQ_INT(etcd_mirror_start_ranges(&m, c, spans, RANGES, &ops, &copy, &e), 0);
	AWAIT(&copy, copy.up);
	for (int i = RANGES - 1; i >= 0; i--)
		put(c, keys[i], "1");
	AWAIT(&copy, map_count(&copy.map) == RANGES);
	CHECK_EQ_INT(copy.lists, 1);
	etcd_mirror_stop(m);
	copy_release(&copy);
	etcd_close(c);
}
