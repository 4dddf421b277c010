#include "../lib/etcd_server.h"
#include "../lib/test.h"
#include "clock.h"
#include "etcd.h"

#include <stdio.h>

/* Also compiled with true (test_etcd_native.c, …): what holds through the gateway holds natively.
 */
#ifndef NATIVE
#define NATIVE false
#endif

static struct err e;

/* One server for the tests that do not harm it; each has a prefix of its own. */
static struct etcd_server *shared(void)
{
	static struct etcd_server server;

	if (!server.pid)
		etcd_server_start(&server, NULL);
	return &server;
}

static struct etcd_conf conf_of(const char *endpoints, const char *prefix)
{
	return (struct etcd_conf){
		.endpoints = endpoints,
		.prefix = prefix,
		.dial_timeout_ms = 2000,
		.request_timeout_ms = 4000,
		.native = NATIVE,
		.max_inflight = 16,
		.circuit_failures = 3,
		.circuit_open_ms = 300,
	};
}

static struct etcd *client_of(const struct etcd_conf *conf)
{
	struct etcd *c = NULL;

	CHECK_EQ_INT(etcd_open(&c, conf, &e), 0);
	return c;
}

static struct etcd *client(const char *prefix)
{
	struct etcd_conf conf = conf_of(shared()->endpoint, prefix);

	return client_of(&conf);
}

static int put(struct etcd *c, const char *key, const char *value)
{
	struct etcd_reply reply = {0};
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, key, slice_str(value), 0);
	r = etcd_txn_send(&t, &reply, &e);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	return r;
}

/* ---- keys and values ------------------------------------------------------------------------ */

TEST(what_was_put_is_read_with_its_revisions)
{
	struct etcd *c = client("/kv");
	struct etcd_reply reply = {0};
	const struct etcd_kv *kv;

	CHECK_EQ_INT(put(c, "/a", "one"), 0);
	CHECK_EQ_INT(put(c, "/a", "two"), 0);
	CHECK_EQ_INT(put(c, "/b", ""), 0);
	if (!CHECK_EQ_INT(etcd_get(c, "/", "", 0, 0, 0, &reply, &e), 0) ||
	    !CHECK_EQ_INT(reply.ranges[0].n, 2))
		return;
	kv = reply.ranges[0].kvs;
	CHECK_EQ_SLICE(kv[0].key, SLICE_LIT("/a"));
	CHECK_EQ_SLICE(kv[0].value, SLICE_LIT("two"));
	CHECK_EQ_INT(kv[0].version, 2);
	CHECK_EQ_INT(kv[0].mod_rev, kv[0].create_rev + 1);
	CHECK_EQ_INT(reply.revision, kv[0].mod_rev + 1);
	CHECK_EQ_SLICE(kv[1].key, SLICE_LIT("/b"));
	CHECK_EQ_INT(kv[1].value.len, 0);
	etcd_reply_release(&reply);
	etcd_reply_release(&reply);
	etcd_close(c);
}

TEST(a_limit_and_flags_cut_what_is_read)
{
	struct etcd *c = client("/flags");
	struct etcd_reply reply = {0};

	for (char key[] = "/a"; key[1] < 'f'; key[1]++)
		CHECK_EQ_INT(put(c, key, "value"), 0);
	CHECK_EQ_INT(etcd_get(c, "/b", "/e", 2, 0, ETCD_KEYS_ONLY, &reply, &e), 0);
	CHECK_EQ_INT(reply.ranges[0].n, 2);
	CHECK_EQ_INT(reply.ranges[0].count, 3);
	CHECK(reply.ranges[0].more);
	CHECK_EQ_INT(reply.ranges[0].kvs[0].value.len, 0);
	etcd_reply_release(&reply);
	CHECK_EQ_INT(etcd_get(c, "", "", 0, 0, ETCD_COUNT_ONLY | ETCD_SERIALIZABLE, &reply, &e), 0);
	CHECK_EQ_INT(reply.ranges[0].n, 0);
	CHECK_EQ_INT(reply.ranges[0].count, 5);
	etcd_reply_release(&reply);
	etcd_close(c);
}

TEST(a_revision_reads_the_past_until_it_is_compacted)
{
	struct etcd *c = client("/past");
	struct etcd_reply reply = {0};
	int64_t rev;

	CHECK_EQ_INT(put(c, "/a", "old"), 0);
	CHECK_EQ_INT(etcd_get(c, "/a", NULL, 0, 0, 0, &reply, &e), 0);
	rev = reply.revision;
	etcd_reply_release(&reply);
	CHECK_EQ_INT(put(c, "/a", "new"), 0);
	CHECK_EQ_INT(etcd_get(c, "/a", NULL, 0, rev, 0, &reply, &e), 0);
	CHECK_EQ_SLICE(reply.ranges[0].kvs[0].value, SLICE_LIT("old"));
	etcd_reply_release(&reply);
	CHECK_EQ_INT(etcd_compact(c, rev + 1, &e), 0);
	CHECK_EQ_INT(etcd_compact(c, rev + 1, &e), -ESTALE);
	CHECK_EQ_INT(etcd_get(c, "/a", NULL, 0, rev, 0, &reply, &e), -ESTALE);
	CHECK_EQ_INT(etcd_get(c, "/a", NULL, 0, rev + 1000000, 0, &reply, &e), -ESTALE);
	etcd_close(c);
}

TEST(a_prefix_is_a_world_of_its_own)
{
	struct etcd *whole = client(""), *mine = client("/p1"), *other = client("/p2");
	struct etcd_reply reply = {0};
	struct etcd_txn t;

	CHECK_EQ_INT(put(mine, "/k", "mine"), 0);
	CHECK_EQ_INT(put(other, "/k", "other"), 0);
	CHECK_EQ_INT(etcd_get(mine, "", "", 0, 0, 0, &reply, &e), 0);
	CHECK_EQ_INT(reply.ranges[0].n, 1);
	CHECK_EQ_SLICE(reply.ranges[0].kvs[0].key, SLICE_LIT("/k"));
	etcd_reply_release(&reply);
	CHECK_EQ_INT(etcd_get(whole, "/p1/k", NULL, 0, 0, 0, &reply, &e), 0);
	CHECK_EQ_SLICE(reply.ranges[0].kvs[0].value, SLICE_LIT("mine"));
	etcd_reply_release(&reply);

	etcd_txn_init(&t, mine, "test");
	etcd_then_delete(&t, "", "");
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	CHECK_EQ_INT(etcd_get(whole, "", "", 0, 0, ETCD_KEYS_ONLY, &reply, &e), 0);
	CHECK(reply.ranges[0].n >= 1);
	for (size_t i = 0; i < reply.ranges[0].n; i++)
		CHECK(!slice_eq(reply.ranges[0].kvs[i].key, SLICE_LIT("/p1/k")));
	etcd_reply_release(&reply);
	etcd_close(whole);
	etcd_close(mine);
	etcd_close(other);
}

TEST(a_prefix_ends_before_the_next_sibling)
{
	struct strbuf end;

	strbuf_init(&end, 64);
	etcd_prefix_end("/a/", &end);
	CHECK_EQ_STR(end.s, "/a0");
	etcd_prefix_end("a\xff\xff", &end);
	CHECK_EQ_STR(end.s, "b");
	etcd_prefix_end("\xff", &end);
	CHECK_EQ_SLICE(((struct slice){end.s, end.len}), ((struct slice){"", 1}));
	etcd_prefix_end("", &end);
	CHECK_EQ_SLICE(((struct slice){end.s, end.len}), ((struct slice){"", 1}));
	strbuf_release(&end);
}

/* ---- transactions --------------------------------------------------------------------------- */

TEST(compares_choose_the_branch_and_else_tells_why)
{
	struct etcd *c = client("/txn");
	struct etcd_reply reply = {0};
	struct etcd_txn t;
	int64_t rev;

	etcd_txn_init(&t, c, "test");
	etcd_if_mod(&t, "/a", 0);
	etcd_if_create(&t, "/a", 0);
	etcd_if_range_mod_below(&t, "/a", "/z", 1);
	etcd_then_put(&t, "/a", SLICE_LIT("1"), 0);
	etcd_then_get(&t, "/a", NULL);
	etcd_else_get(&t, "/none", NULL);
	etcd_else_get(&t, "/a", "/b");
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
	CHECK(reply.succeeded);
	CHECK_EQ_INT(reply.n_ranges, 1);
	CHECK_EQ_INT(reply.ranges[0].kvs[0].mod_rev, reply.revision);
	rev = reply.revision;
	etcd_reply_release(&reply);

	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
	CHECK(!reply.succeeded);
	CHECK_EQ_INT(reply.n_ranges, 2);
	CHECK_EQ_INT(reply.ranges[0].n, 0);
	CHECK_EQ_SLICE(reply.ranges[1].kvs[0].key, SLICE_LIT("/a"));
	CHECK_EQ_INT(reply.ranges[1].kvs[0].mod_rev, rev);
	etcd_reply_release(&reply);

	etcd_txn_reset(&t);
	etcd_if_mod(&t, "/a", rev);
	etcd_then_delete(&t, "/a", NULL);
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
	CHECK(reply.succeeded);
	CHECK_EQ_INT(reply.n_ranges, 0);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	etcd_close(c);
}

TEST(what_was_built_apart_is_appended_and_keys_are_counted)
{
	struct etcd *c = client("/append");
	struct etcd_reply reply = {0};
	struct etcd_txn t, apart;

	etcd_txn_init(&t, c, "test");
	etcd_txn_init(&apart, c, "apart");
	etcd_then_put(&apart, "/k/1", SLICE_LIT("one"), 0);
	etcd_then_put(&apart, "/k/2", SLICE_LIT("two"), 0);
	etcd_then_put(&t, "/k/3", SLICE_LIT("three"), 0);
	etcd_then_append(&t, &apart);
	etcd_then_count(&t, "/k/", "/k0");
	etcd_then_get(&t, "/k/2", NULL);
	CHECK_EQ_INT(t.n_then, 5);
	CHECK(t.bytes > apart.bytes);
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
	CHECK_EQ_INT(reply.n_ranges, 2);
	CHECK_EQ_INT(reply.ranges[0].count, 3);
	CHECK_EQ_INT(reply.ranges[0].n, 0);
	CHECK_EQ_SLICE(reply.ranges[1].kvs[0].value, SLICE_LIT("two"));
	etcd_reply_release(&reply);
	etcd_txn_release(&apart);
	etcd_txn_release(&t);
	etcd_close(c);
}

TEST(binary_values_survive)
{
	struct etcd *c = client("/bin");
	struct etcd_reply reply = {0};
	char bytes[256];
	struct etcd_txn t;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)i;
	etcd_txn_init(&t, c, "test");
	for (size_t len = 253; len <= 256; len++) {
		struct slice value = {bytes, len};

		etcd_txn_reset(&t);
		etcd_then_put(&t, "/b", value, 0);
		CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
		etcd_reply_release(&reply);
		CHECK_EQ_INT(etcd_get(c, "/b", NULL, 0, 0, 0, &reply, &e), 0);
		CHECK_EQ_SLICE(reply.ranges[0].kvs[0].value, value);
		etcd_reply_release(&reply);
	}
	etcd_txn_release(&t);
	etcd_close(c);
}

static int send_ops(struct etcd *c, int n)
{
	struct etcd_reply reply = {0};
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "test");
	for (int i = 0; i < n; i++) {
		char key[16];

		snprintf(key, sizeof(key), "/%d", i);
		etcd_then_put(&t, key, SLICE_LIT("x"), 0);
	}
	r = etcd_txn_send(&t, &reply, &e);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	return r;
}

TEST(what_etcd_would_refuse_as_too_large_is_not_sent)
{
	struct etcd *c = client("/large");
	char *value = xcalloc(1, ETCD_TXN_BYTES), key[5000];
	struct etcd_reply reply = {0};
	struct etcd_txn t;

	CHECK_EQ_INT(send_ops(c, ETCD_TXN_OPS), 0);
	CHECK_EQ_INT(send_ops(c, ETCD_TXN_OPS + 1), -E2BIG);
	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, "/v", (struct slice){value, ETCD_TXN_BYTES}, 0);
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), -E2BIG);
	etcd_txn_reset(&t);
	etcd_then_put(&t, "/v", (struct slice){value, ETCD_TXN_BYTES - 200}, 0);
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
	etcd_reply_release(&reply);
	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	etcd_txn_reset(&t);
	etcd_then_put(&t, key, SLICE_LIT("x"), 0);
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), -E2BIG);
	CHECK_EQ_INT(etcd_get(c, key, NULL, 0, 0, 0, &reply, &e), -E2BIG);
	etcd_txn_release(&t);
	free(value);
	etcd_close(c);
}

TEST(a_transaction_that_etcd_calls_malformed_is_refused)
{
	struct etcd *c = client("/twice");
	struct etcd_reply reply = {0};
	struct etcd_txn t;

	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, "/a", SLICE_LIT("1"), 0);
	etcd_then_put(&t, "/a", SLICE_LIT("2"), 0);
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), -EINVAL);
	CHECK(strstr(e.text, "duplicate key"));
	etcd_txn_release(&t);
	etcd_close(c);
}

/* ---- pages ---------------------------------------------------------------------------------- */

struct walk {
	size_t n, bytes, stop_at;
	bool ordered;
	char last[64];
	int64_t mod_max;
	struct etcd *write_to;
};

static int visit(const struct etcd_kv *kv, void *arg)
{
	struct walk *w = arg;
	char key[sizeof(w->last)];

	snprintf(key, sizeof(key), "%.*s", (int)kv->key.len, kv->key.p);
	w->ordered &= strcmp(key, w->last) > 0;
	strcpy(w->last, key);
	w->mod_max = MAX(w->mod_max, kv->mod_rev);
	w->bytes += kv->value.len;
	if (w->write_to && w->n % 1000 == 0)
		CHECK_EQ_INT(put(w->write_to, "/k/000000-new", "late"), 0);
	return ++w->n == w->stop_at ? 7 : 0;
}

static void fill(struct etcd *c, int n, struct slice value, int per_txn)
{
	struct etcd_reply reply = {0};
	struct etcd_txn t;

	etcd_txn_init(&t, c, "test");
	for (int i = 0; i < n; i++) {
		char key[32];

		snprintf(key, sizeof(key), "/k/%06d", i);
		etcd_then_put(&t, key, value, 0);
		if (t.n_then < per_txn && i < n - 1)
			continue;
		CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
		etcd_reply_release(&reply);
		etcd_txn_reset(&t);
	}
	etcd_txn_release(&t);
}

TEST(twelve_thousand_keys_come_in_order_at_one_revision_while_writes_go_on)
{
	struct etcd *c = client("/pages");
	struct walk w = {.ordered = true, .write_to = c};
	int64_t rev = 0;

	fill(c, 12000, SLICE_LIT("some value"), ETCD_TXN_OPS);
	CHECK_EQ_INT(etcd_each(c, "/k/", "/k0", 0, 0, visit, &w, &rev, &e), 0);
	CHECK_EQ_INT(w.n, 12000);
	CHECK(w.ordered);
	CHECK(rev > 0 && w.mod_max <= rev);
	w = (struct walk){.ordered = true, .stop_at = 3000};
	CHECK_EQ_INT(etcd_each(c, "/k/", "/k0", rev, ETCD_KEYS_ONLY, visit, &w, NULL, &e), 7);
	CHECK_EQ_INT(w.n, 3000);
	CHECK_EQ_INT(w.bytes, 0);
	etcd_close(c);
}

TEST(pages_shrink_until_they_fit_an_answer)
{
	struct etcd_conf conf = conf_of(shared()->endpoint, "/wide");
	struct slice value = {xcalloc(1, 500000), 500000};
	struct walk w = {.ordered = true};
	struct etcd *c;

	/* all of them, the first page, would be 80 MB of JSON: etcd takes its time for it */
	conf.request_timeout_ms = 60000;
	c = client_of(&conf);
	fill(c, 120, value, 2);
	CHECK_EQ_INT(etcd_each(c, "", "", 0, 0, visit, &w, NULL, &e), 0);
	CHECK_EQ_INT(w.n, 120);
	CHECK_EQ_INT(w.bytes, 120 * value.len);
	CHECK(w.ordered);
	free((char *)(uintptr_t)value.p);
	etcd_close(c);
}

/* ---- leases and maintenance ----------------------------------------------------------------- */

TEST(a_lease_lives_while_it_is_kept_alive_and_takes_its_keys_with_it)
{
	struct etcd *c = client("/lease");
	struct etcd_reply reply = {0};
	int64_t ttl = 0;
	struct etcd_txn t;

	CHECK_EQ_INT(etcd_lease_grant(c, 4711, 30, &ttl, &e), 0);
	CHECK_EQ_INT(ttl, 30);
	CHECK_EQ_INT(etcd_lease_grant(c, 4711, 30, NULL, &e), -EEXIST);
	CHECK_EQ_INT(etcd_lease_keepalive(c, 4711, &ttl, &e), 0);
	CHECK_EQ_INT(ttl, 30);
	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, "/leased", SLICE_LIT("x"), 4711);
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0);
	etcd_reply_release(&reply);
	CHECK_EQ_INT(etcd_get(c, "/leased", NULL, 0, 0, 0, &reply, &e), 0);
	CHECK_EQ_INT(reply.ranges[0].kvs[0].lease, 4711);
	etcd_reply_release(&reply);
	CHECK_EQ_INT(etcd_lease_revoke(c, 4711, &e), 0);
	CHECK_EQ_INT(etcd_lease_revoke(c, 4711, &e), -ENOENT);
	CHECK_EQ_INT(etcd_get(c, "/leased", NULL, 0, 0, 0, &reply, &e), 0);
	CHECK_EQ_INT(reply.ranges[0].n, 0);
	etcd_reply_release(&reply);
	CHECK_EQ_INT(etcd_lease_keepalive(c, 4711, &ttl, &e), 0);
	CHECK(ttl <= 0);
	CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), -ENOENT);
	etcd_txn_release(&t);
	etcd_close(c);
}

TEST(the_status_tells_size_and_leader)
{
	struct etcd *c = client("/status");
	struct etcd_status status;

	CHECK_EQ_INT(etcd_status(c, &status, &e), 0);
	CHECK(status.db_size > 0 && status.db_size_in_use > 0);
	CHECK(status.member_id && status.member_id == status.leader_id);
	CHECK(strchr(status.version, '.'));
	etcd_close(c);
}

TEST(a_full_store_says_no_space)
{
	const char *const flags[] = {"--quota-backend-bytes=1048576", NULL};
	struct etcd_server server;
	struct etcd_conf conf;
	char *value = xcalloc(1, 200001);
	struct mono deadline = mono_in_ms(30000);
	struct etcd *c;
	int r = 0;

	etcd_server_start(&server, flags);
	conf = conf_of(server.endpoint, "/full");
	c = client_of(&conf);
	memset(value, 'v', 200000);
	/* etcd looks at the size of what it has committed, ten times a second */
	while (r == 0 && mono_ms_until(deadline) > 0)
		r = put(c, "/a", value);
	CHECK_EQ_INT(r, -ENOSPC);
	if (!CHECK(etcd_unknown(r) && etcd_transient(r)))
		CHECK_EQ_STR(e.text, strerror(-r));
	CHECK(etcd_is_up(c, NULL));
	free(value);
	etcd_close(c);
	etcd_server_kill(&server);
}
