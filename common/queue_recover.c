#include "queue_internal.h"

#include "clock.h"

#include <stdio.h>

enum {
	RECOVER_BATCH = 30,
	RAW_MAX = 16 * 1024, /* bytes of a misfit that are kept; pointers are far smaller */
};

/* ---- misfits --------------------------------------------------------------------------------- */

/* A dead letter in place of what is no pointer, with its bytes. reason is borrowed. */
static void put_misfit(struct etcd_txn *t, struct slice key, struct slice bytes, const char *reason,
		       char ret_ulid[ULID_LEN + 1])
{
	struct message m = {.topic = (char *)"telemetry",
			    .host = (char *)"-",
			    .source = (char *)"",
			    .schema = (char *)"unknown",
			    .trace_id = (char *)"",
			    .reason = (char *)reason,
			    .created_ns = wall_now_ns()};
	struct strbuf raw;

	if (key_parse_ulid(key, m.ulid))
		ulid_new(m.ulid);
	strbuf_init(&raw, QUEUE_TEXT_MAX);
	strbuf_add_base64(&raw, bytes.p, MIN(bytes.len, RAW_MAX));
	m.raw = raw.s;
	queue_put_message(t, key_deadletter(m.ulid).s, &m);
	memcpy(ret_ulid, m.ulid, sizeof(m.ulid));
	strbuf_release(&raw);
}

/* Where the payload of a pointer would be whose key is no ULID; "": its key is one. */
static struct key payload_of_misfit(const char *key)
{
	struct key k = {""};
	char ulid[ULID_LEN + 1];

	if (key_parse_ulid(slice_str(key), ulid))
		snprintf(k.s, sizeof(k.s), KEY_PAYLOAD "%.500s", key + strlen(KEY_QUEUE));
	return k;
}

/* The payload goes where the dead letter's is looked for. */
static void move_payload(struct etcd_txn *t, const struct key *from, const struct etcd_range *range,
			 const char *ulid)
{
	if (!range->n)
		return;
	etcd_if_mod(t, from->s, range->kvs[0].mod_rev);
	etcd_then_delete(t, from->s, NULL);
	etcd_then_put(t, key_payload(ulid).s, range->kvs[0].value, 0);
}

static int read_misfit(struct etcd *c, const char *key, const struct key *payload,
		       struct etcd_reply *ret, struct err *e)
{
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "read_misfit");
	queue_read_now(&t);
	etcd_then_get(&t, key, NULL);
	etcd_then_get(&t, payload->s[0] ? payload->s : KEY_NOTHING, NULL);
	r = etcd_txn_settle(&t, ret, NULL, e);
	etcd_txn_release(&t);
	return r;
}

int queue_refuse(struct etcd *c, const struct fence *f, const char *key, int64_t rev,
		 const char *reason, struct err *e)
{
	struct key payload = payload_of_misfit(key);
	char ulid[ULID_LEN + 1];
	struct etcd_reply now, reply;
	struct etcd_txn t;
	int r = read_misfit(c, key, &payload, &now, e);

	if (r)
		return r;
	if (!now.ranges[0].n || now.ranges[0].kvs[0].mod_rev != rev) {
		etcd_reply_release(&now);
		return 0;
	}
	etcd_txn_init(&t, c, "refuse");
	queue_if_session(&t, f);
	etcd_if_mod(&t, key, rev);
	etcd_then_delete(&t, key, NULL);
	put_misfit(&t, slice_str(key), now.ranges[0].kvs[0].value, reason, ulid);
	move_payload(&t, &payload, &now.ranges[1], ulid);
	etcd_else_get(&t, key_consumer(f->consumer).s, NULL);
	etcd_reply_release(&now);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	if (!reply.succeeded && !queue_session_alive(&reply, 0, f))
		r = err_set(e, -EOWNERDEAD, "the session %s is gone", f->consumer);
	etcd_reply_release(&reply);
	return r;
}

/* ---- recovery -------------------------------------------------------------------------------- */

struct orphan {
	struct key key;
	char consumer[NAME_MAX_ENCODED + 1]; /* "": the key names none */
	int64_t rev;
	struct message m;
	struct strbuf bytes; /* of what is no pointer; m is empty then */
	char *why;           /* it is none; NULL: m is one */
};

struct orphans {
	struct orphan *list;
	size_t n;
	struct map *alive;
	bool may_die; /* dead letters may be added */
};

static int note_alive(const struct etcd_kv *kv, void *arg)
{
	struct orphans *o = arg;
	size_t skip = strlen(KEY_CONSUMERS);

	map_put(o->alive, kv->key.p + skip, kv->key.len - skip, o);
	return 0;
}

/* {consumer} of /processing/{consumer}/…, whatever follows. */
static struct slice consumer_of(struct slice key)
{
	size_t skip = strlen(KEY_PROCESSING);
	const char *slash = memchr(key.p + skip, '/', key.len - skip);

	return (struct slice){key.p + skip, slash ? (size_t)(slash - key.p) - skip : 0};
}

static struct orphan *add_orphan(struct orphans *o, const struct etcd_kv *kv)
{
	struct slice consumer = consumer_of(kv->key);
	struct orphan *x;

	if ((o->n & (o->n - 1)) == 0)
		o->list = xrealloc(o->list, (o->n ? 2 * o->n : 1) * sizeof(*o->list));
	x = &o->list[o->n++];
	*x = (struct orphan){.rev = kv->mod_rev};
	memcpy(x->key.s, kv->key.p, kv->key.len);
	if (consumer.len)
		memcpy(x->consumer, consumer.p, consumer.len);
	return x;
}

static void add_misfit(struct orphans *o, const struct etcd_kv *kv, const char *why)
{
	struct orphan *x = add_orphan(o, kv);

	x->why = xstrdup(why);
	strbuf_init(&x->bytes, RAW_MAX);
	strbuf_add(&x->bytes, kv->value.p, MIN(kv->value.len, RAW_MAX));
}

static int note_orphan(const struct etcd_kv *kv, void *arg)
{
	struct slice consumer = consumer_of(kv->key);
	struct orphans *o = arg;
	char ulid[ULID_LEN + 1];
	struct message m;
	struct err e;

	if (consumer.len > NAME_MAX_ENCODED || kv->key.len >= KEY_MAX ||
	    map_get(o->alive, consumer.p, consumer.len))
		return 0;
	if (key_parse_ulid(kv->key, ulid))
		err_set(&e, 0, "a claim whose key has no ULID");
	else if (!message_decode(ulid, kv->value, &m, &e)) {
		add_orphan(o, kv)->m = m;
		return 0;
	}
	if (o->may_die)
		add_misfit(o, kv, e.text);
	return 0;
}

static void orphan_release(struct orphan *x)
{
	message_release(&x->m);
	strbuf_release(&x->bytes);
	free(x->why);
}

static bool dies(const struct orphan *x, int64_t max_retries)
{
	return x->why || x->m.attempt >= max_retries;
}

static void recover_one(struct etcd_txn *t, struct orphan *x, int64_t max_retries)
{
	char reason[96], ulid[ULID_LEN + 1];

	if (x->consumer[0])
		etcd_if_create(t, key_consumer(x->consumer).s, 0);
	etcd_if_mod(t, x->key.s, x->rev);
	etcd_then_delete(t, x->key.s, NULL);
	if (x->why) {
		put_misfit(t, slice_str(x->key.s), (struct slice){x->bytes.s, x->bytes.len}, x->why,
			   ulid);
		return;
	}
	if (!dies(x, max_retries)) {
		queue_put_message(t, key_queue(x->m.ulid).s, &x->m);
		return;
	}
	snprintf(reason, sizeof(reason), "its collector died in each of %lld attempts",
		 (long long)x->m.attempt);
	free(x->m.reason);
	x->m.reason = xstrdup(reason);
	queue_put_message(t, key_deadletter(x->m.ulid).s, &x->m);
}

static void count(struct recovered *ret, const struct orphan *x, int64_t max_retries)
{
	bool dead = dies(x, max_retries);

	ret->requeued += !dead;
	ret->dead += dead;
	ret->dead_rows += dead ? x->m.rows : 0;
	if (!x->why)
		return;
	ret->unreadable++;
	err_set(&ret->unreadable_why, 0, "%s: %s", x->key.s, x->why);
}

/* "false" needs no settling: another one recovered them, or we did in an earlier try. */
static int recover_some(struct etcd *c, struct orphan *x, size_t n, int64_t max_retries,
			struct recovered *ret, struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "recover");
	for (size_t i = 0; i < n; i++)
		recover_one(&t, &x[i], max_retries);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	for (size_t i = 0; i < n && reply.succeeded; i++)
		count(ret, &x[i], max_retries);
	if (!reply.succeeded && n > 1)
		for (size_t i = 0; i < n && !r; i++)
			r = recover_some(c, &x[i], 1, max_retries, ret, e);
	etcd_reply_release(&reply);
	return r;
}

int queue_recover(struct etcd *c, int64_t max_retries, struct recovered *ret, struct err *e)
{
	struct orphans o = {.alive = &ret->alive, .may_die = max_retries != QUEUE_NO_DEAD_LETTERS};
	int r;

	map_release(&ret->alive);
	r = etcd_each(c, KEY_CONSUMERS, key_prefix_end(KEY_CONSUMERS).s, 0, ETCD_KEYS_ONLY,
		      note_alive, &o, &ret->listed_rev, e);

	if (!r)
		r = etcd_each(c, KEY_PROCESSING, key_prefix_end(KEY_PROCESSING).s, ret->listed_rev,
			      0, note_orphan, &o, NULL, e);
	for (size_t i = 0; i < o.n && !r; i += RECOVER_BATCH)
		r = recover_some(c, &o.list[i], MIN(o.n - i, (size_t)RECOVER_BATCH), max_retries,
				 ret, e);
	for (size_t i = 0; i < o.n; i++)
		orphan_release(&o.list[i]);
	free(o.list);
	return r;
}
