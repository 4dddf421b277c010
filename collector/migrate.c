#include "migrate.h"

#include "json.h"
#include "log.h"
#include "migration.h"

#include <stdio.h>

enum {
	STEP_MESSAGES = 40, /* put in one transaction, two puts each */
	STEP_BYTES = 256 * 1024,
};

/* What content_open says, here and in older releases. */
#define UNKNOWN_SCHEMA "schema version "

struct counts {
	int64_t found, migrated, became, invalid;
};

struct migrating {
	struct etcd *c;
	int64_t segment_ns;
	struct map found; /* keys of messages of older schemas */
	struct err *e;
};

/* ---- messages -------------------------------------------------------------------------------- */

static bool is_to_migrate(const struct message *m)
{
	return migration_is_older(m->schema) &&
	       (!m->reason || !strncmp(m->reason, UNKNOWN_SCHEMA, strlen(UNKNOWN_SCHEMA)));
}

static int note_message(const struct etcd_kv *kv, void *arg)
{
	struct migrating *g = arg;
	char ulid[ULID_LEN + 1];
	struct message m;

	if (key_parse_ulid(kv->key, ulid) || message_decode(ulid, kv->value, &m, NULL))
		return 0; /* the collectors' business */
	if (is_to_migrate(&m))
		map_put(&g->found, kv->key.p, kv->key.len, g);
	message_release(&m);
	return 0;
}

/* Puts as many messages as go into one transaction. *ret_done: none is left. */
static int replace_some(struct migrating *g, const char *key, int64_t rev, const struct message *m,
			struct migration *from, bool *ret_done, struct counts *n)
{
	struct outgoing out[STEP_MESSAGES] = {0};
	size_t at = (size_t)m->part, count = 0, bytes = 0, total = migration_count(from);
	int r = 0;

	while (at + count < total && count < STEP_MESSAGES && bytes < STEP_BYTES && !r) {
		r = migration_outgoing(from, at + count, m, &out[count], g->e);
		bytes += out[count++].payload.len;
	}
	at += count;
	if (!r)
		r = queue_replace(g->c, key, rev, m, at < total ? (int64_t)at : 0, out, count,
				  g->e);
	for (size_t i = 0; i < count; i++)
		migration_outgoing_release(&out[i]);
	*ret_done = !r && at >= total;
	n->migrated += *ret_done;
	n->became += r ? 0 : (int64_t)count;
	return r;
}

static int bury(struct migrating *g, const char *key, int64_t rev, const struct message *m,
		const char *reason, struct counts *n)
{
	int r = queue_bury(g->c, key, rev, m, reason, g->e);

	if (!r)
		log_each(LOG_LEVEL_WARN, "message %s of host %s is dead-lettered: %s", m->ulid,
			 m->host, reason);
	n->invalid += !r;
	return r;
}

/* One transaction on the way. *ret_done: it is no message of an older schema any more. */
static int step(struct migrating *g, const char *key, const struct etcd_kv *pointer,
		const struct etcd_range *payload, struct counts *n, bool *ret_done)
{
	struct slice bytes = payload->n ? payload->kvs[0].value : SLICE_LIT("");
	struct migration from = {0};
	char ulid[ULID_LEN + 1];
	struct message m;
	struct err why;
	int r = 0;

	*ret_done = true;
	if (key_parse_ulid(pointer->key, ulid) || message_decode(ulid, pointer->value, &m, NULL))
		return 0;
	if (m.reason)
		m.expires_ns = 0; /* someone wants it stored, however old it is */
	if (!is_to_migrate(&m))
		;
	else if (migration_open(&from, &m, bytes, g->segment_ns, NULL, &why))
		r = bury(g, key, pointer->mod_rev, &m, why.text, n);
	else
		r = replace_some(g, key, pointer->mod_rev, &m, &from, ret_done, n);
	migration_release(&from);
	message_release(&m);
	return r;
}

static int migrate_message(struct migrating *g, const char *key, struct counts *n)
{
	char ulid[ULID_LEN + 1];
	bool done = key_parse_ulid(slice_str(key), ulid) != 0;
	int r = 0;

	while (!done && !r) {
		struct etcd_reply reply;
		struct etcd_txn t;

		etcd_txn_init(&t, g->c, "migrate_read");
		etcd_then_get(&t, key, NULL);
		etcd_then_get(&t, key_payload(ulid).s, NULL);
		r = etcd_txn_settle(&t, &reply, NULL, g->e);
		etcd_txn_release(&t);
		if (r)
			return r;
		done = !reply.ranges[0].n;
		if (!done)
			r = step(g, key, &reply.ranges[0].kvs[0], &reply.ranges[1], n, &done);
		if (r == -EAGAIN) { /* it has changed: look again */
			done = false;
			r = 0;
		}
		etcd_reply_release(&reply);
	}
	return r;
}

static int migrate_under(struct migrating *g, const char *prefix, const char *what)
{
	struct counts n = {0};
	int r = etcd_each(g->c, prefix, key_prefix_end(prefix).s, 0, 0, note_message, g, NULL,
			  g->e);

	n.found = map_count(&g->found);
	/* In the order of their keys, as they were listed. */
	for (uint32_t i = 0; i < n.found && !r; i++)
		r = migrate_message(g, g->found.entries[i].key, &n);
	map_release(&g->found);
	printf("%s older=%lld migrated=%lld became=%lld invalid=%lld\n", what, (long long)n.found,
	       (long long)n.migrated, (long long)n.became, (long long)n.invalid);
	return r;
}

/* ---- what is stored -------------------------------------------------------------------------- */

struct versions {
	int64_t known, unknown;
};

static void note_version(struct versions *v, const struct etcd_kv *kv, bool known)
{
	*(known ? &v->known : &v->unknown) += 1;
	if (!known)
		log_each(LOG_LEVEL_ERROR, "%.*s is of a version that is not known here",
			 (int)kv->key.len, kv->key.p);
}

static int look_at_chunk(const struct etcd_kv *kv, void *arg)
{
	struct slice magic = {kv->value.p, MIN(kv->value.len, 4)};

	note_version(arg, kv, slice_eq(magic, SLICE_LIT("gtc\1")));
	return 0;
}

static int look_at_json(const struct etcd_kv *kv, void *arg)
{
	struct json *doc = NULL;
	bool known = !json_parse(kv->value.p, kv->value.len, &doc, NULL) &&
		     json_int(json_get(doc, "v"), 0) == 1;

	note_version(arg, kv, known);
	json_free(doc);
	return 0;
}

static int look_at_producer(const struct etcd_kv *kv, void *arg)
{
	struct slice source;

	return key_parse_producer(kv->key, &source) ? 0 : look_at_json(kv, arg);
}

static int look_at_stored(struct migrating *g, struct versions *ret)
{
	const struct {
		const char *prefix, *what;
		int (*look)(const struct etcd_kv *kv, void *arg);
	} kinds[] = {
		{KEY_CONFIG, "configuration", look_at_json},
		{KEY_DATA, "chunks", look_at_chunk},
		{KEY_GPUS, "identities", look_at_json},
		{KEY_PRODUCERS, "sources", look_at_producer},
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kinds) && !r; i++) {
		struct versions v = {0};

		r = etcd_each(g->c, kinds[i].prefix, key_prefix_end(kinds[i].prefix).s, 0, 0,
			      kinds[i].look, &v, NULL, g->e);
		printf("%s: current=%lld unknown=%lld\n", kinds[i].what, (long long)v.known,
		       (long long)v.unknown);
		ret->unknown += v.unknown;
	}
	return r;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int read_segment(struct migrating *g)
{
	struct etcd_reply reply;
	struct json *doc;
	int r = etcd_get(g->c, KEY_CONFIG, NULL, 0, 0, 0, &reply, g->e);

	if (r)
		return r;
	if (reply.ranges[0].n && !json_parse(reply.ranges[0].kvs[0].value.p,
					     reply.ranges[0].kvs[0].value.len, &doc, NULL)) {
		int64_t s = json_int(json_get(doc, "segment_s"), 0);

		g->segment_ns = s > 0 && s <= 24 * 3600 ? s * NS_PER_SEC : g->segment_ns;
		json_free(doc);
	}
	etcd_reply_release(&reply);
	return 0;
}

int migrate(struct etcd *c, int64_t segment_ns, struct err *e)
{
	struct migrating g = {.c = c, .segment_ns = segment_ns, .e = e};
	struct versions stored = {0};
	int r = read_segment(&g);

	if (!r)
		r = migrate_under(&g, KEY_QUEUE, "queued:");
	if (!r)
		r = migrate_under(&g, KEY_DEADLETTER, "dead letters:");
	if (!r)
		r = look_at_stored(&g, &stored);
	return r ? r : stored.unknown > 0;
}
