#include "stage.h"

#include <stdio.h>

#include "clock.h"
#include "digest.h"
#include "etcd_server.h"
#include "test.h"

static const char *endpoint(void)
{
	static struct etcd_server server;

	if (!server.pid)
		etcd_server_start(&server, NULL);
	return server.endpoint;
}

struct etcd *stage_open(void)
{
	static int n;
	char prefix[32];
	struct etcd_conf conf = {
		.endpoints = endpoint(),
		.prefix = prefix,
		.dial_timeout_ms = 2000,
		.request_timeout_ms = 10000,
		.native = true,
		.max_inflight = 8,
	};
	struct etcd *c = NULL;
	struct err e;

	snprintf(prefix, sizeof(prefix), "/t%d", n++);
	if (digest_init() || etcd_open(&c, &conf, &e))
		abort();
	return c;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static int64_t send_and_release(struct etcd_txn *t)
{
	struct etcd_reply reply;
	struct err e = {""};
	int64_t revision;

	if (etcd_txn_settle(t, &reply, NULL, &e)) {
		printf("stage: %s\n", e.text);
		abort();
	}
	revision = reply.revision;
	etcd_reply_release(&reply);
	etcd_txn_release(t);
	return revision;
}

static int64_t put(struct etcd *c, const char *key, const char *value)
{
	struct etcd_txn t;

	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, key, slice_str(value), 0);
	return send_and_release(&t);
}

void stage_put(struct etcd *c, const char *key, const char *value)
{
	put(c, key, value);
}

void stage_delete(struct etcd *c, const char *key)
{
	struct etcd_txn t;

	etcd_txn_init(&t, c, "test");
	etcd_then_delete(&t, key, NULL);
	send_and_release(&t);
}

static void get(struct etcd *c, const char *key, const char *end, int flags, struct etcd_reply *ret)
{
	if (etcd_get(c, key, end, 0, 0, flags, ret, NULL))
		abort();
}

const char *stage_read(struct etcd *c, const char *key)
{
	static char text[1 << 16];
	struct etcd_reply reply;

	text[0] = '\0';
	get(c, key, NULL, 0, &reply);
	if (reply.ranges[0].n)
		snprintf(text, sizeof(text), "%.*s", (int)reply.ranges[0].kvs[0].value.len,
			 reply.ranges[0].kvs[0].value.p);
	etcd_reply_release(&reply);
	return text;
}

int64_t stage_mod_rev(struct etcd *c, const char *key)
{
	struct etcd_reply reply;
	int64_t rev;

	get(c, key, NULL, 0, &reply);
	rev = reply.ranges[0].n ? reply.ranges[0].kvs[0].mod_rev : 0;
	etcd_reply_release(&reply);
	return rev;
}

size_t stage_count(struct etcd *c, const char *prefix)
{
	struct etcd_reply reply;
	size_t n;

	get(c, prefix, key_prefix_end(prefix).s, ETCD_COUNT_ONLY, &reply);
	n = (size_t)reply.ranges[0].count;
	etcd_reply_release(&reply);
	return n;
}

/* ---- consumers ------------------------------------------------------------------------------- */

struct fence stage_enter(struct etcd *c, const char *id)
{
	return (struct fence){id, put(c, key_consumer(id).s, "{}")};
}

void stage_die(struct etcd *c, const char *id)
{
	stage_delete(c, key_consumer(id).s);
}

struct hold stage_take(struct etcd *c, const struct fence *f, const char *host)
{
	struct hold h = {.rev = 0};
	struct err e = {""};

	CHECK_EQ_INT(queue_take_host(c, f, host, NULL, 0, &h, &e), 0);
	CHECK_EQ_STR(e.text, "");
	return h;
}

/* ---- messages -------------------------------------------------------------------------------- */

struct outgoing stage_message(const char *host, struct slice payload)
{
	struct outgoing o = {.m = {.topic = xstrdup("telemetry"),
				   .host = xstrdup(host),
				   .source = xstrdup("s"),
				   .schema = xstrdup(MESSAGE_SCHEMA),
				   .trace_id = xstrdup("t"),
				   .rows = 1,
				   .bytes = (int64_t)payload.len,
				   .created_ns = wall_now_ns()}};

	ulid_new(o.m.ulid);
	sha256(payload.p, payload.len, o.m.sha256);
	strbuf_init(&o.payload, ETCD_TXN_BYTES);
	strbuf_add_slice(&o.payload, payload);
	random_bytes(o.idempotency, sizeof(o.idempotency));
	return o;
}

void stage_message_release(struct outgoing *o)
{
	message_release(&o->m);
	strbuf_release(&o->payload);
}

void stage_publish(struct etcd *c, const char *source, const char *host, struct slice payload,
		   char ret[ULID_LEN + 1])
{
	struct outgoing o = stage_message(host, payload);
	struct producer p = {.epoch = 0};
	struct err e = {""};
	int r;

	free(o.m.source);
	o.m.source = xstrdup(source);
	r = producer_read(c, source, &p, &e);
	if (r == -ENOENT) {
		snprintf(p.source, sizeof(p.source), "%s", source);
		r = queue_open_producer(c, &p, &e);
	}
	CHECK_EQ_INT(r, 0);
	CHECK_EQ_INT(queue_publish(c, &p, &p, &o, 1, &e), 0);
	memcpy(ret, o.m.ulid, ULID_LEN + 1);
	stage_message_release(&o);
}

struct claim stage_pending(struct etcd *c, const char *ulid, const struct hold *h)
{
	struct claim k = {.hold = h};
	struct etcd_reply reply;

	get(c, key_queue(ulid).s, NULL, 0, &reply);
	if (!reply.ranges[0].n || message_decode(ulid, reply.ranges[0].kvs[0].value, &k.m, NULL))
		CHECK(!"a queued message");
	else
		k.queue_rev = reply.ranges[0].kvs[0].mod_rev;
	etcd_reply_release(&reply);
	return k;
}

void stage_claim_release(struct claim *k)
{
	message_release(&k->m);
	strbuf_release(&k->payload);
}
