#include "store.h"

#include "content.h"
#include "intake.h"
#include "log.h"
#include "stats.h"
#include "trail.h"

#include <stdatomic.h>

enum {
	TXN_OPS = 120,           /* aim, below ETCD_TXN_OPS */
	TXN_BYTES = 256 * 1024,  /* aim */
	UNIT_BYTES = 160 * 1024, /* payload of one host stored together */
	OPS_PER_PAIR = 3,
	OPS_PER_CLAIM = 2,
	SPLIT_MESSAGES = 40, /* put into the queue in one transaction, two puts each */
	HELD_UP_MS = 5000,   /* until a message is tried again that may not be dead-lettered */
	MERGE_LAG_MS = 2000,
	BACKLOG = 4, /* messages of a host that are not gathered any longer */
};

/* Messages of one host in a turn. */
struct share {
	struct host *host;
	struct claim *claims;
	size_t n;
};

/* One turn's transaction under construction. */
struct turn {
	struct worker *w;
	struct ending ending;
	struct etcd_txn puts; /* chunks and identities of one host, until there is room for them */
	struct tally tally;   /* as it will be */
	struct host *touched[QUEUE_CLAIM_MAX];
	size_t n_touched;
	size_t chunks; /* about, and their rows */
	int64_t rows;
	bool held_up; /* something had to be given back that cannot be stored */
	int64_t latency_us[QUEUE_CLAIM_MAX]; /* of the messages that the transaction stores */
	size_t n_stored;
};

static _Atomic int64_t errors_told; /* of this process's etcd errors, by any worker */

/* ---- sending --------------------------------------------------------------------------------- */

static void turn_begin(struct turn *t)
{
	ending_reset(&t->ending);
	t->tally = t->w->tally;
	t->n_touched = 0;
	t->n_stored = 0;
}

static bool is_touched(const struct turn *t, const struct host *h)
{
	for (size_t i = 0; i < t->n_touched; i++)
		if (t->touched[i] == h)
			return true;
	return false;
}

static void touch(struct turn *t, struct host *h)
{
	if (!is_touched(t, h))
		t->touched[t->n_touched++] = h;
}

/* Stays with the worker until a transaction takes it along. */
static void note_errors(struct worker *w)
{
	int64_t now = stats_value(STAT_DATABASE_ERRORS);

	w->tally.database_errors += now - atomic_exchange(&errors_told, now);
}

static void put_tally(struct turn *t)
{
	struct strbuf text;

	note_errors(t->w);
	t->tally.database_errors = t->w->tally.database_errors;
	t->tally.batches_processed++;
	strbuf_init(&text, 4096);
	tally_encode(&text, &t->tally);
	etcd_then_put(&t->ending.t, key_stats(t->w->consumer->id, (int)t->w->index).s,
		      (struct slice){text.s, text.len}, 0);
	strbuf_release(&text);
}

/* For /metrics, what the transaction has done. */
static void report(const struct turn *t)
{
	const struct tally *now = &t->tally, *before = &t->w->tally;

	stats_add(STAT_MESSAGES_PROCESSED, now->messages_processed - before->messages_processed);
	stats_add(STAT_MESSAGES_INVALID, now->messages_invalid - before->messages_invalid);
	stats_add(STAT_ROWS_STORED, now->rows_stored - before->rows_stored);
	stats_add(STAT_BATCHES_PROCESSED, 1);
	for (size_t i = 0; i < t->n_stored; i++)
		stats_observe(STAT_PROCESSING_LATENCY, t->latency_us[i]);
}

/* On failure the hosts' states are void: what they count on did not happen. */
static int turn_send(struct turn *t, struct err *e)
{
	int64_t rev = 0;
	int r;

	if (!t->ending.n)
		return 0;
	put_tally(t);
	r = ending_send(&t->ending, &rev, e);
	for (size_t i = 0; i < t->n_touched; i++) {
		if (r)
			host_forget_state(t->touched[i]);
		else if (t->touched[i]->state)
			writer_committed(t->touched[i]->state, rev);
	}
	if (!r) {
		trail_ended(&t->ending, rev);
		report(t);
		t->w->tally = t->tally;
	}
	turn_begin(t);
	return r;
}

static bool is_refusal(int r)
{
	return r == -EBADMSG || r == -E2BIG || r == -EINVAL;
}

/* Of several messages together: that etcd refuses them says nothing of any one of them. The session
 * is given up for it; redelivered, each has a turn of its own. */
static int turn_flush(struct turn *t, struct err *e)
{
	int r = turn_send(t, e);

	return is_refusal(r) ? -EPROTO : r;
}

static int make_room(struct turn *t, size_t ops, size_t bytes, struct err *e)
{
	if (t->ending.n &&
	    ((size_t)t->ending.t.n_then + ops > TXN_OPS ||
	     (size_t)t->ending.t.n_compare + ops > TXN_OPS ||
	     t->ending.t.bytes + bytes > TXN_BYTES || t->n_touched == QUEUE_CLAIM_MAX))
		return turn_flush(t, e);
	return 0;
}

/* ---- messages -------------------------------------------------------------------------------- */

static int dead_letter(struct turn *t, struct claim *k, const char *reason, struct err *e)
{
	int r = make_room(t, 3, 0, e);
	bool full;

	if (r)
		return r;
	consumer_lock(t->w->consumer);
	full = t->w->consumer->dead_full;
	consumer_unlock(t->w->consumer);
	if (full) {
		t->held_up = true;
		ending_give_back(&t->ending, k);
		return 0;
	}
	log_warn("message %s of host %s is dead-lettered: %s", k->m.ulid, k->m.host, reason);
	ending_dead_letter(&t->ending, k, reason);
	t->tally.messages_dead++;
	t->tally.rows_dead += k->m.rows;
	t->tally.messages_invalid += reason != content_expired;
	return 0;
}

static void count_stored(struct turn *t, const struct claim *k)
{
	int64_t latency_ns = k->m.created_ns ? MAX(wall_now_ns() - k->m.created_ns, 0) : 0;

	t->tally.messages_processed++;
	t->tally.rows_stored += k->m.rows;
	t->tally.latency_ms_sum += latency_ns / NS_PER_MS;
	t->tally.rows_no_value += k->no_value;
	if (t->n_stored < ARRAY_SIZE(t->latency_us))
		t->latency_us[t->n_stored++] = latency_ns / 1000;
	if (k->foreign) {
		t->tally.messages_foreign++;
		t->tally.rows_foreign += k->m.rows;
	}
}

/* Positions and a lease for pairs [from, to): all that can fail before anything of them is in the
 * transaction, so that none is ever sent that ends claims without the rows. */
static int prepare_pairs(struct turn *t, const struct host *h, struct intake *in, size_t from,
			 size_t to, struct lease *ret, struct err *e)
{
	int64_t lease_ns = keeping_lease_ns(t->w->conf.keeping);
	struct consumer *c = t->w->consumer;
	int r = intake_prepare(in, c->etcd, &c->fence, &h->hold, from, to, e);

	return r ? r
		 : leases_get(&c->leases, lease_ns ? wall_now_ns() + lease_ns : INT64_MAX,
			      2 * (to - from), ret, e);
}

/* Encodes the pairs, so that it is known what they take. */
static void encode_pairs(struct turn *t, struct intake *in, size_t from, size_t to,
			 const struct lease *lease)
{
	etcd_txn_reset(&t->puts);
	intake_store(in, &t->puts, from, to, lease);
	t->chunks += to - from;
}

/* A message of more pairs than one transaction takes: the first parts one by one, each on its own;
 * the last goes the usual way. Which rows a part has depends on the message alone, so that after a
 * crash the next one goes on where this one was. */
static int store_parts(struct turn *t, struct host *h, struct intake *in, struct claim *k,
		       size_t *ret_from, struct err *e)
{
	size_t n = intake_pairs(in), from = (size_t)k->m.part * WRITER_PAIRS_MAX;
	int r = turn_flush(t, e);

	while (!r && from + WRITER_PAIRS_MAX < n) {
		struct lease lease;

		r = prepare_pairs(t, h, in, from, from + WRITER_PAIRS_MAX, &lease, e);
		if (r)
			break;
		touch(t, h);
		ending_part(&t->ending, k, k->m.part + 1);
		encode_pairs(t, in, from, from + WRITER_PAIRS_MAX, &lease);
		etcd_then_append(&t->ending.t, &t->puts);
		r = turn_send(t, e);
		from += WRITER_PAIRS_MAX;
	}
	*ret_from = MIN(from, n);
	return r;
}

/* What fits one transaction: all pairs of the claims, or the last part of one. A host comes in it
 * once: an identity that changes twice cannot be put twice. */
static int store_intake(struct turn *t, struct host *h, struct intake *in, struct claim *claims,
			size_t n, struct err *e)
{
	size_t from = 0, to = intake_pairs(in);
	struct lease lease;
	int r = is_touched(t, h) ? turn_flush(t, e) : 0;

	if (!r && (to > WRITER_PAIRS_MAX || claims[0].m.part))
		r = store_parts(t, h, in, &claims[0], &from, e);
	if (!r)
		r = prepare_pairs(t, h, in, from, to, &lease, e);
	if (r)
		return r;
	encode_pairs(t, in, from, to, &lease);
	r = make_room(t, (size_t)t->puts.n_then + OPS_PER_CLAIM * n + 1, t->puts.bytes, e);
	if (r)
		return r;
	touch(t, h);
	for (size_t i = 0; i < n; i++) {
		ending_complete(&t->ending, &claims[i]);
		count_stored(t, &claims[i]);
		t->rows += claims[i].m.rows;
	}
	etcd_then_append(&t->ending.t, &t->puts);
	return 0;
}

/* At most so many operations store so many pairs and complete so many claims. */
static size_t ops_of(size_t pairs, size_t claims)
{
	return OPS_PER_PAIR * pairs + OPS_PER_CLAIM * claims + 1;
}

/* As many of the claims as go together; *ret_n of them. x has their rows. -EBADMSG: they cannot
 * be stored as they are. */
static int store_some(struct turn *t, struct host *h, struct claim *claims, struct content *x,
		      size_t n, size_t *ret_n, struct err *e)
{
	struct intake *in;
	size_t take = 0, bytes = 0, fit = n;
	int r = worker_state(t->w, h, e);

	if (r)
		return r;
	in = intake_new(h->state);
	while (take < fit && !r) {
		if (take && bytes + claims[take].payload.len > UNIT_BYTES)
			break;
		bytes += claims[take].payload.len;
		r = intake_add(in, &x[take++].batch, e);
		if (!r && take > 1 &&
		    (intake_pairs(in) > WRITER_PAIRS_MAX ||
		     ops_of(intake_pairs(in), take) > TXN_OPS)) {
			/* One too many: begin again without it. */
			fit = take - 1;
			take = bytes = 0;
			intake_free(in);
			in = intake_new(h->state);
		}
	}
	if (!r)
		r = store_intake(t, h, in, claims, take, e);
	intake_free(in);
	*ret_n = take;
	return r;
}

/* One message on its own; what cannot be stored is dead-lettered. */
static int store_alone(struct turn *t, struct host *h, struct claim *k, struct content *x,
		       struct err *e)
{
	struct err why;
	size_t n;
	int r = turn_flush(t, e);

	if (!r)
		r = store_some(t, h, k, x, 1, &n, e);
	if (!r)
		r = turn_send(t, e);
	if (!is_refusal(r))
		return r;
	why = *e;
	host_forget_state(h);
	turn_begin(t);
	r = dead_letter(t, k, why.text, e);
	return r ? r : turn_flush(t, e);
}

/* Claims of one host, good ones, in order. */
static int store_run(struct turn *t, struct host *h, struct claim *claims, struct content *x,
		     size_t n, struct err *e)
{
	size_t at = 0;

	while (at < n) {
		size_t took = 0;
		int r = store_some(t, h, claims + at, x + at, n - at, &took, e);

		if (is_refusal(r)) {
			/* One of them spoils it: what was built is void, then one by one. */
			host_forget_state(h);
			r = turn_flush(t, e);
			took = n - at;
			for (size_t i = 0; i < took && !r; i++)
				r = store_alone(t, h, &claims[at + i], &x[at + i], e);
		}
		if (r)
			return r;
		at += took;
	}
	return 0;
}

/* As many messages from `at` on as go into one transaction are put into the queue. */
static int add_messages(struct turn *t, struct claim *k, struct migration *g, size_t *at,
			struct err *e)
{
	size_t first = *at;
	int r = 0;

	while (!r && *at < migration_count(g) && *at - first < SPLIT_MESSAGES &&
	       t->ending.t.bytes < TXN_BYTES) {
		struct outgoing o;

		r = migration_outgoing(g, (*at)++, &k->m, &o, e);
		if (!r)
			queue_add_message(&t->ending.t, &o);
		migration_outgoing_release(&o);
	}
	return r;
}

/* The messages that a message is split into take its place in the queue: all in the transaction
 * that ends its claim, or of many, the first ones part by part. */
static int split_in_parts(struct turn *t, struct claim *k, struct migration *g, struct err *e)
{
	size_t at = (size_t)k->m.part, n = migration_count(g);
	int r;

	do {
		r = add_messages(t, k, g, &at, e);
		if (r)
			return -EBADMSG;
		if (at < n)
			ending_part(&t->ending, k, (int64_t)at);
		else
			ending_complete(&t->ending, k);
		/* Those that it became will count as stored, but not what a record has published.
		 */
		if (at == n && (!n || !k->foreign))
			count_stored(t, k);
		else if (at == n)
			t->tally.rows_no_value += k->no_value;
		r = turn_send(t, e);
	} while (!r && at < n);
	return r;
}

static int split(struct turn *t, struct claim *k, struct migration *g, struct err *e)
{
	struct err why;
	int r = turn_flush(t, e);

	if (!r)
		r = split_in_parts(t, k, g, e);
	if (!is_refusal(r))
		return r;
	why = *e;
	turn_begin(t);
	return dead_letter(t, k, why.text, e);
}

/* Claims of one host: those that are not what they say are dead-lettered on the way. */
static int store_share(struct turn *t, const struct share *s, struct err *e)
{
	struct content *x = xcalloc(s->n, sizeof(*x));
	size_t from = 0;
	int r = 0;

	for (size_t i = 0; i <= s->n && !r; i++) {
		bool had = i < s->n && s->claims[i].rev;
		const char *reason = NULL;
		struct err why;

		if (had)
			reason = content_open(&x[i], &s->claims[i], t->w->conf.segment_ns, &why);
		if (had && !reason && !x[i].is_split)
			continue;
		r = store_run(t, s->host, s->claims + from, x + from, i - from, e);
		if (!r && reason)
			r = dead_letter(t, &s->claims[i], reason, e);
		else if (!r && had)
			r = split(t, &s->claims[i], &x[i].split, e);
		from = i + 1;
	}
	for (size_t i = 0; i < s->n; i++)
		content_release(&x[i]);
	free(x);
	return r;
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* Fills claims with messages of first and, unless they are redelivered, of other hosts that are
 * due. Returns the number of shares. */
static size_t gather(struct worker *w, struct host *first, struct claim *claims,
		     struct share *shares, size_t *ret_claims)
{
	size_t max = MIN(w->conf.batch, QUEUE_CLAIM_MAX), n = 0, bytes = 0, n_shares = 0;
	struct consumer *c = w->consumer;
	struct host *h = first;

	consumer_lock(c);
	while (h) {
		bool alone = backlog_first_is_redelivery(h);
		size_t took =
			consumer_take(c, h, claims + n, max - n, w->conf.buffer_bytes - bytes);

		shares[n_shares++] = (struct share){h, claims + n, took};
		for (size_t i = 0; i < took; i++)
			bytes += message_bytes(&claims[n + i].m);
		n += took;
		if (alone || n >= max || bytes >= w->conf.buffer_bytes)
			break;
		h = consumer_another(c, w->index, TASK_STORE);
	}
	consumer_unlock(c);
	*ret_claims = n;
	return n_shares;
}

/* What is stored of the host cannot be read, so no position can be given: its messages go back and
 * wait, and the others are served. */
static int hold_up(struct turn *t, const struct share *s, struct err *e)
{
	int r;

	log_error("host %s: its messages wait: %s", s->host->name, e->text);
	host_forget_state(s->host);
	t->held_up = true;
	r = turn_flush(t, e);
	for (size_t i = 0; i < s->n && !r; i++) {
		if (!s->claims[i].rev)
			continue;
		r = make_room(t, 3, 0, e);
		if (!r)
			ending_give_back(&t->ending, &s->claims[i]);
	}
	return r ? r : turn_flush(t, e);
}

/* What comes of a host now is gathered for so long; a quiet one is stored at once. Where merging
 * does not keep up, fewer and larger chunks are stored. */
static int64_t wait_ms(const struct consumer *c, const struct turn *t, const struct host *h)
{
	if (t->held_up)
		return HELD_UP_MS;
	if (mono_now().ns - h->merge.ns > MERGE_LAG_MS * NS_PER_MS)
		return MERGE_LAG_MS;
	return h->n_pending >= BACKLOG ? 0 : c->flush_ms;
}

/* Some may have been somebody else's meanwhile. */
static void count_claimed(struct worker *w, const struct claim *claims, size_t n)
{
	int64_t claimed = 0;

	for (size_t i = 0; i < n; i++)
		claimed += claims[i].rev != 0;
	w->tally.messages_consumed += claimed;
	stats_add(STAT_MESSAGES_CONSUMED, claimed);
}

static void learn_hosts(struct worker *w, const struct share *shares, size_t n)
{
	struct host *hosts[QUEUE_CLAIM_MAX];

	for (size_t i = 0; i < n; i++)
		hosts[i] = shares[i].host;
	worker_states(w, hosts, n);
}

int store_turn(struct worker *w, struct host *first, struct err *e)
{
	struct claim *claims = xcalloc(QUEUE_CLAIM_MAX, sizeof(*claims));
	struct share shares[QUEUE_CLAIM_MAX];
	struct consumer *c = w->consumer;
	struct turn t = {.w = w};
	size_t n, n_shares = gather(w, first, claims, shares, &n);
	int64_t pace;
	int r;

	ending_init(&t.ending, c->etcd, &c->fence);
	etcd_txn_init(&t.puts, c->etcd, "puts");
	r = n ? queue_claim(c->etcd, &c->fence, claims, n, e) : 0;
	if (!r) {
		count_claimed(w, claims, n);
		trail_claimed(claims, n);
	}
	turn_begin(&t);
	if (!r)
		learn_hosts(w, shares, n_shares);
	for (size_t i = 0; i < n_shares && !r; i++) {
		r = store_share(&t, &shares[i], e);
		if (r == -EUCLEAN)
			r = hold_up(&t, &shares[i], e);
	}
	if (!r)
		r = turn_flush(&t, e);
	ending_release(&t.ending);
	etcd_txn_release(&t.puts);
	for (size_t i = 0; i < n; i++) {
		message_release(&claims[i].m);
		strbuf_release(&claims[i].payload);
	}
	free(claims);
	consumer_lock(c);
	pace = consumer_pace_ms(c, t.chunks, t.rows);
	for (size_t i = 0; i < n_shares; i++) {
		if (r)
			host_forget_state(shares[i].host);
		worker_leave_host(w, shares[i].host);
		consumer_done(c, shares[i].host, MAX(pace, wait_ms(c, &t, shares[i].host)));
	}
	consumer_stored(c);
	consumer_unlock(c);
	return r;
}
