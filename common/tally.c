#include "tally.h"

#include "json.h"
#include "keys.h"
#include "map.h"

#include <stdio.h>

static const struct {
	const char *name;
	size_t offset;
} fields[] = {
	{"messages_processed", offsetof(struct tally, messages_processed)},
	{"rows_stored", offsetof(struct tally, rows_stored)},
	{"messages_dead", offsetof(struct tally, messages_dead)},
	{"rows_dead", offsetof(struct tally, rows_dead)},
	{"messages_foreign", offsetof(struct tally, messages_foreign)},
	{"rows_foreign", offsetof(struct tally, rows_foreign)},
	{"messages_dropped", offsetof(struct tally, messages_dropped)},
	{"rows_dropped", offsetof(struct tally, rows_dropped)},
	{"messages_ended", offsetof(struct tally, messages_ended)},
	{"rows_ended", offsetof(struct tally, rows_ended)},
	{"latency_ms_sum", offsetof(struct tally, latency_ms_sum)},
	{"rows_no_value", offsetof(struct tally, rows_no_value)},
	{"messages_consumed", offsetof(struct tally, messages_consumed)},
	{"messages_invalid", offsetof(struct tally, messages_invalid)},
	{"batches_processed", offsetof(struct tally, batches_processed)},
	{"database_errors", offsetof(struct tally, database_errors)},
	{"messages_duplicated", offsetof(struct tally, messages_duplicated)},
	{"messages_throttled", offsetof(struct tally, messages_throttled)},
	{"publish_errors", offsetof(struct tally, publish_errors)},
	{"csv_read_errors", offsetof(struct tally, csv_read_errors)},
};

static int64_t *field(struct tally *t, size_t i)
{
	return (int64_t *)((char *)t + fields[i].offset);
}

void tally_encode(struct strbuf *out, const struct tally *t)
{
	struct tally copy = *t;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		strbuf_addf(out, "%c\"%s\":%lld", i ? ',' : '{', fields[i].name,
			    (long long)*field(&copy, i));
	strbuf_addc(out, '}');
}

int tally_add(struct tally *t, struct slice json, struct err *e)
{
	struct json *doc;
	int r = json_parse(json.p, json.len, &doc, e);

	if (r)
		return err_prefix(e, r, "counters");
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		*field(t, i) += json_int(json_get(doc, fields[i].name), 0);
	json_free(doc);
	return 0;
}

/* ---- folding --------------------------------------------------------------------------------- */

struct fold {
	struct map alive;
	struct map dead; /* consumer → this */
	struct etcd_txn t;
	struct tally sum;
	int64_t total_rev;
	const char *consumer; /* the one whose keys are wanted */
	size_t n;
};

static int note_alive(const struct etcd_kv *kv, void *arg)
{
	struct fold *f = arg;
	size_t skip = strlen(KEY_CONSUMERS);

	map_put(&f->alive, kv->key.p + skip, kv->key.len - skip, f);
	return 0;
}

/* {consumer} of /stats/{consumer}/{worker}; empty for the total. */
static struct slice consumer_of(struct slice key)
{
	size_t skip = strlen(KEY_STATS);
	const char *slash = memchr(key.p + skip, '/', key.len - skip);

	return (struct slice){key.p + skip, slash ? (size_t)(slash - key.p) - skip : 0};
}

static int note_dead(const struct etcd_kv *kv, void *arg)
{
	struct fold *f = arg;
	struct slice consumer = consumer_of(kv->key);

	if (consumer.len && !map_get(&f->alive, consumer.p, consumer.len))
		map_put(&f->dead, consumer.p, consumer.len, f);
	return 0;
}

static int gather(const struct etcd_kv *kv, void *arg)
{
	struct fold *f = arg;
	struct slice consumer = consumer_of(kv->key);
	struct key key = {0};

	if (slice_eq(kv->key, slice_str(KEY_STATS_TOTAL))) {
		f->total_rev = kv->mod_rev;
		return tally_add(&f->sum, kv->value, NULL);
	}
	if (!slice_eq(consumer, slice_str(f->consumer)) || kv->key.len >= KEY_MAX)
		return 0;
	memcpy(key.s, kv->key.p, kv->key.len);
	etcd_if_mod(&f->t, key.s, kv->mod_rev);
	etcd_then_delete(&f->t, key.s, NULL);
	f->n++;
	return tally_add(&f->sum, kv->value, NULL);
}

static int fold_one(struct etcd *c, struct fold *f, const char *consumer, struct err *e)
{
	struct etcd_reply reply;
	struct strbuf total;
	int r;

	f->consumer = consumer;
	f->sum = (struct tally){0};
	f->total_rev = 0;
	f->n = 0;
	etcd_txn_init(&f->t, c, "fold");
	r = etcd_each(c, KEY_STATS, key_prefix_end(KEY_STATS).s, 0, 0, gather, f, NULL, e);
	if (!r && f->n) {
		strbuf_init(&total, 4096);
		tally_encode(&total, &f->sum);
		etcd_if_create(&f->t, key_consumer(consumer).s, 0);
		etcd_if_mod(&f->t, KEY_STATS_TOTAL, f->total_rev);
		etcd_then_put(&f->t, KEY_STATS_TOTAL, (struct slice){total.s, total.len}, 0);
		strbuf_release(&total);
		/* Unknown or false: another try finds it as it is. */
		r = etcd_txn_send(&f->t, &reply, e);
		if (!r)
			etcd_reply_release(&reply);
	}
	etcd_txn_release(&f->t);
	return r;
}

int tally_fold(struct etcd *c, struct err *e)
{
	struct fold f = {.alive = MAP_INIT, .dead = MAP_INIT};
	int r = etcd_each(c, KEY_CONSUMERS, key_prefix_end(KEY_CONSUMERS).s, 0, ETCD_KEYS_ONLY,
			  note_alive, &f, NULL, e);

	if (!r)
		r = etcd_each(c, KEY_STATS, key_prefix_end(KEY_STATS).s, 0, ETCD_KEYS_ONLY,
			      note_dead, &f, NULL, e);
	map_each (&f.dead, i)
		if (!r)
			r = fold_one(c, &f, f.dead.entries[i].key, e);
	map_release(&f.alive);
	map_release(&f.dead);
	return r;
}
