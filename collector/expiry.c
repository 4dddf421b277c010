#include "expiry.h"

#include "clock.h"
#include "json.h"
#include "keys.h"
#include "log.h"
#include "producer.h"
#include "tally.h"

/* How long a source has been at rest, as /idle/{source} says. */
struct idle {
	int64_t mod_rev; /* of the key; 0: there is none */
	int64_t rev;     /* of the record that it is about */
	int64_t lease, periods;
};

struct sweep {
	struct etcd *client;
	int64_t period_s, periods;
	struct producer *list; /* sources that may be at rest */
	size_t n;
	struct map idle;    /* source → struct idle, of all there are */
	int64_t lease;      /* of the periods that begin in this sweep; 0: none yet */
	struct map waiting; /* sources with messages that are not stored */
	bool waiting_known;
};

/* ---- listing --------------------------------------------------------------------------------- */

/* A clock may be wrong by weeks; it only spares questions here. */
static bool looks_busy(const struct sweep *s, const struct producer *p)
{
	int64_t age_ns = wall_now_ns() - p->updated_ns;

	return age_ns >= 0 && age_ns < s->period_s * NS_PER_SEC;
}

static int note_producer(const struct etcd_kv *kv, void *arg)
{
	struct sweep *s = arg;
	char source[SOURCE_ID_MAX];
	struct producer p;

	if (!producer_source(kv->key, source) || producer_decode(source, kv, &p, NULL) ||
	    looks_busy(s, &p))
		return 0;
	if ((s->n & (s->n - 1)) == 0)
		s->list = xrealloc(s->list, (s->n ? 2 * s->n : 1) * sizeof(*s->list));
	s->list[s->n++] = p;
	return 0;
}

static int note_idle(const struct etcd_kv *kv, void *arg)
{
	size_t skip = strlen(KEY_IDLE);
	struct sweep *s = arg;
	struct idle *i = xcalloc(1, sizeof(*i));
	struct json *doc;

	i->mod_rev = kv->mod_rev;
	if (!json_parse(kv->value.p, kv->value.len, &doc, NULL)) {
		i->rev = json_int(json_get(doc, "rev"), 0);
		i->lease = json_int(json_get(doc, "lease"), 0);
		i->periods = json_int(json_get(doc, "periods"), 0);
		json_free(doc);
	}
	free(map_put(&s->idle, kv->key.p + skip, kv->key.len - skip, i));
	return 0;
}

static int list(struct sweep *s, struct err *e)
{
	int64_t revision;
	int r = etcd_each(s->client, KEY_PRODUCERS, key_prefix_end(KEY_PRODUCERS).s, 0, 0,
			  note_producer, s, &revision, e);

	return r ? r
		 : etcd_each(s->client, KEY_IDLE, key_prefix_end(KEY_IDLE).s, revision, 0,
			     note_idle, s, NULL, e);
}

/* ---- messages that are not stored ------------------------------------------------------------ */

static int note_waiting(const struct etcd_kv *kv, void *arg)
{
	struct sweep *s = arg;
	char ulid[ULID_LEN + 1];
	struct message m;

	if (key_parse_ulid(kv->key, ulid) || message_decode(ulid, kv->value, &m, NULL))
		return 0;
	map_put(&s->waiting, m.source, strlen(m.source), s);
	message_release(&m);
	return 0;
}

/* At one revision, later than that of the records: where a source had no message then and its
 * record has not changed, it has none. */
static int list_waiting(struct sweep *s, struct err *e)
{
	static const char *const places[] = {KEY_QUEUE, KEY_PROCESSING, KEY_DEADLETTER};
	int64_t revision = 0;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(places) && !s->waiting_known && !r; i++)
		r = etcd_each(s->client, places[i], key_prefix_end(places[i]).s, revision, 0,
			      note_waiting, s, i ? NULL : &revision, e);
	s->waiting_known = !r;
	return r;
}

/* ---- periods --------------------------------------------------------------------------------- */

static int lease_runs(struct sweep *s, int64_t lease, bool *ret, struct err *e)
{
	int64_t left_s = -1;
	int r = lease ? etcd_lease_left(s->client, lease, &left_s, e) : 0;

	*ret = left_s >= 0;
	return r;
}

/* Sent once: if it is not carried out, the next sweep does the same. */
static int send_and_release(struct etcd_txn *t, bool *ret_done, struct err *e)
{
	struct etcd_reply reply;
	int r = etcd_txn_send(t, &reply, e);

	*ret_done = !r && reply.succeeded;
	if (!r)
		etcd_reply_release(&reply);
	etcd_txn_release(t);
	return r;
}

static int begin_period(struct sweep *s, const struct producer *p, const struct idle *i,
			int64_t periods, struct err *e)
{
	struct strbuf text;
	struct etcd_txn t;
	bool done;
	int r;

	if (!s->lease) {
		int64_t lease = (int64_t)(random_u64() >> 1 | 1);

		r = etcd_lease_grant(s->client, lease, s->period_s, NULL, e);
		if (r)
			return r;
		s->lease = lease;
	}
	strbuf_init(&text, 256);
	strbuf_addf(&text, "{\"v\":1,\"rev\":%lld,\"lease\":%lld,\"periods\":%lld}",
		    (long long)p->mod_rev, (long long)s->lease, (long long)periods);
	etcd_txn_init(&t, s->client, "begin_period");
	etcd_if_mod(&t, key_producer(p->source).s, p->mod_rev);
	etcd_if_mod(&t, key_idle(p->source).s, i->mod_rev);
	etcd_then_put(&t, key_idle(p->source).s, (struct slice){text.s, text.len}, 0);
	strbuf_release(&text);
	return send_and_release(&t, &done, e);
}

static int read_total(struct etcd *c, struct tally *ret, int64_t *ret_rev, struct err *e)
{
	struct etcd_reply reply;
	int r = etcd_get(c, KEY_STATS_TOTAL, NULL, 0, 0, 0, &reply, e);

	if (r)
		return r;
	*ret_rev = reply.ranges[0].n ? reply.ranges[0].kvs[0].mod_rev : 0;
	if (reply.ranges[0].n)
		r = tally_add(ret, reply.ranges[0].kvs[0].value, e);
	etcd_reply_release(&reply);
	return r;
}

static int end_producer(struct sweep *s, const struct producer *p, const struct idle *i,
			struct err *e)
{
	struct tally total = {0};
	struct strbuf text;
	struct etcd_txn t;
	int64_t total_rev;
	bool done;
	int r = list_waiting(s, e);

	if (r || map_get_str(&s->waiting, p->source))
		return r;
	r = read_total(s->client, &total, &total_rev, e);
	if (r)
		return r;
	total.messages_ended += p->messages;
	total.rows_ended += p->rows;
	total.messages_duplicated += p->duplicated;
	total.messages_throttled += p->throttled;
	total.publish_errors += p->publish_errors;
	total.csv_read_errors += p->csv_read_errors;
	strbuf_init(&text, 4096);
	tally_encode(&text, &total);
	etcd_txn_init(&t, s->client, "end_producer");
	etcd_if_mod(&t, key_producer(p->source).s, p->mod_rev);
	etcd_if_mod(&t, key_idle(p->source).s, i->mod_rev);
	etcd_if_create(&t, key_producer_owner(p->source).s, 0);
	etcd_if_mod(&t, KEY_STATS_TOTAL, total_rev);
	etcd_then_delete(&t, key_producer(p->source).s, NULL);
	etcd_then_delete(&t, key_idle(p->source).s, NULL);
	etcd_then_put(&t, KEY_STATS_TOTAL, (struct slice){text.s, text.len}, 0);
	strbuf_release(&text);
	r = send_and_release(&t, &done, e);
	if (done)
		log_info("source %s (%s) was idle for %lld days; its record is dropped", p->source,
			 p->name, (long long)(s->periods * s->period_s / 86400));
	return r;
}

/* While the lease of its newest idempotency keys lives, the source was at work within MQ_DEDUP_TTL.
 * It is at rest only after that. */
static int look_at(struct sweep *s, const struct producer *p, struct err *e)
{
	const struct idle none = {0}, *i = map_get_str(&s->idle, p->source);
	bool runs;
	int r = lease_runs(s, p->leases[0], &runs, e);

	if (r || runs)
		return r;
	if (!i || i->rev != p->mod_rev)
		return begin_period(s, p, i ? i : &none, 0, e);
	r = lease_runs(s, i->lease, &runs, e);
	if (r || runs)
		return r;
	return i->periods + 1 >= s->periods ? end_producer(s, p, i, e)
					    : begin_period(s, p, i, i->periods + 1, e);
}

int expiry_sweep(struct etcd *c, int64_t period_s, int64_t periods, struct err *e)
{
	struct sweep s = {.client = c, .period_s = period_s, .periods = periods};
	int r = list(&s, e);

	for (size_t i = 0; i < s.n && !r; i++)
		r = look_at(&s, &s.list[i], e);
	map_each (&s.idle, i)
		free(s.idle.entries[i].value);
	map_release(&s.idle);
	map_release(&s.waiting);
	free(s.list);
	return r;
}
