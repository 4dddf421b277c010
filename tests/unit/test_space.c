#include "../lib/etcd_server.h"
#include "../lib/test.h"
#include "clock.h"
#include "etcd.h"
#include "strbuf.h"

/* etcd out of space: what upkeep does about it, request by request. */

enum { QUOTA = 2 << 20, VALUE = 256 << 10 };

static struct err e;

static struct etcd *client(const struct etcd_server *s, bool native)
{
	struct etcd_conf conf = {.endpoints = s->endpoint,
				 .prefix = "",
				 .dial_timeout_ms = 2000,
				 .request_timeout_ms = 10000,
				 .native = native,
				 .max_inflight = 4};
	struct etcd *c = NULL;

	CHECK_EQ_INT(etcd_open(&c, &conf, &e), 0);
	return c;
}

static int put(struct etcd *c, struct slice value)
{
	struct etcd_reply reply = {0};
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, "/key", value, 0);
	r = etcd_txn_send(&t, &reply, &e);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	return r;
}

static void fill(struct etcd *c)
{
	char *value = xcalloc(1, VALUE);
	int r = 0;

	for (int i = 0; i < 100 && !r; i++)
		r = put(c, (struct slice){value, VALUE});
	CHECK_EQ_INT(r, -ENOSPC);
	free(value);
}

static void check_space(bool native)
{
	static const char *const flags[] = {"--quota-backend-bytes=2097152", NULL};
	struct etcd_server server;
	struct etcd_status s;
	struct etcd *c;
	bool armed = true;
	int64_t quota = 0;

	etcd_server_start(&server, flags);
	c = client(&server, native);
	CHECK_EQ_INT(etcd_quota(c, &quota, &e), 0);
	CHECK_EQ_INT(quota, QUOTA);
	CHECK_EQ_INT(etcd_nospace(c, &armed, &e), 0);
	CHECK(!armed);
	fill(c);
	CHECK_EQ_INT(etcd_nospace(c, &armed, &e), 0);
	CHECK(armed);
	CHECK_EQ_INT(etcd_status(c, &s, &e), 0);
	CHECK_EQ_INT(etcd_compact(c, s.revision_hint, &e), 0);
	CHECK_EQ_INT(etcd_defragment(c, 30000, &e), 0);
	CHECK_EQ_INT(etcd_disarm(c, &e), 0);
	CHECK_EQ_INT(etcd_nospace(c, &armed, &e), 0);
	CHECK(!armed);
	CHECK_EQ_INT(put(c, SLICE_LIT("small")), 0);
	etcd_server_kill(&server);
	CHECK(etcd_quota(c, &quota, &e) < 0);
	CHECK(etcd_nospace(c, &armed, &e) < 0);
	etcd_close(c);
}

TEST(a_full_etcd_takes_writes_again_when_it_is_compacted_defragmented_and_disarmed)
{
	check_space(true);
}

TEST(the_same_through_the_gateway)
{
	check_space(false);
}
