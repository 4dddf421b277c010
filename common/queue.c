#include "queue.h"

#include "clock.h"
#include "map.h"

#include <stdio.h>

enum { MESSAGE_TEXT_MAX = 64 * 1024, RECOVER_BATCH = 30 };

/* ---- small parts ----------------------------------------------------------------------------- */

static void put_message(struct etcd_txn *t, const char *key, const struct message *m)
{
	struct strbuf text;

	strbuf_init(&text, MESSAGE_TEXT_MAX);
	message_encode(&text, m);
	etcd_then_put(t, key, (struct slice){text.s, text.len}, 0);
	if (text.err && !t->then.err)
		t->then.err = text.err;
	strbuf_release(&text);
}

static void put_producer(struct etcd_txn *t, const struct producer *p)
{
	struct strbuf text;

	strbuf_init(&text, MESSAGE_TEXT_MAX);
	producer_encode(&text, p);
	etcd_then_put(t, key_producer(p->source).s, (struct slice){text.s, text.len}, 0);
	strbuf_release(&text);
}

static void if_session(struct etcd_txn *t, const struct fence *f)
{
	etcd_if_create(t, key_consumer(f->consumer).s, f->session);
}

static void if_hold(struct etcd_txn *t, const struct hold *h)
{
	etcd_if_mod(t, key_writer(h->host).s, h->rev);
}

/* The one key of an Else get, or NULL if it is absent. */
static const struct etcd_kv *only(const struct etcd_reply *r, size_t i)
{
	return i < r->n_ranges && r->ranges[i].n ? &r->ranges[i].kvs[0] : NULL;
}

static bool session_alive(const struct etcd_reply *r, size_t i, const struct fence *f)
{
	const struct etcd_kv *kv = only(r, i);

	return kv && kv->create_rev == f->session;
}

/* ---- publishing ------------------------------------------------------------------------------ */

/* After a "false": is what stands there what this very transaction would have written? */
static int settle_producer(const struct etcd_reply *reply, struct producer *p,
			   const struct producer *next, struct err *e)
{
	const struct etcd_kv *kv = only(reply, 0);
	struct producer now;
	int r;

	if (!kv)
		return err_set(e, -EOWNERDEAD, "producer %s: its record was deleted", p->source);
	r = producer_decode(p->source, kv, &now, e);
	if (r)
		return r;
	if (now.mod_rev == p->mod_rev)
		return -EAGAIN; /* the record is as expected: something else failed the compare */
	if (now.epoch != next->epoch || now.sequence != next->sequence ||
	    now.offset != next->offset || now.window_end != next->window_end ||
	    now.window_done != next->window_done || now.updated_ns != next->updated_ns)
		return err_set(e, -EOWNERDEAD,
			       "source %s: another streamer has taken over (epoch %lld, here %lld)",
			       p->source, (long long)now.epoch, (long long)next->epoch);
	*p = now;
	return 0;
}

int queue_open_producer(struct etcd *c, struct producer *p, struct err *e)
{
	struct producer next = *p;
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	next.epoch++;
	next.updated_ns = wall_now_ns();
	etcd_txn_init(&t, c, "open_producer");
	etcd_if_mod(&t, key_producer(p->source).s, p->mod_rev);
	put_producer(&t, &next);
	etcd_else_get(&t, key_producer(p->source).s, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	if (!r) {
		if (reply.succeeded) {
			next.mod_rev = reply.revision;
			*p = next;
		} else {
			r = settle_producer(&reply, p, &next, e);
			if (r == -EOWNERDEAD)
				r = -ESTALE;
		}
		etcd_reply_release(&reply);
	}
	etcd_txn_release(&t);
	return r;
}

static void publish_one(struct etcd_txn *t, const struct outgoing *o, int64_t lease)
{
	struct key processed = key_processed(o->idempotency);

	etcd_if_create(t, processed.s, 0);
	etcd_then_put(t, key_payload(o->m.ulid).s, (struct slice){o->payload.s, o->payload.len}, 0);
	put_message(t, key_queue(o->m.ulid).s, &o->m);
	etcd_then_put(t, processed.s, slice_str(o->m.ulid), lease);
	etcd_else_get(t, processed.s, NULL);
}

/* next, moved on by the messages that this transaction accepts. */
static struct producer advanced(const struct producer *next, const struct outgoing *msgs, size_t n)
{
	struct producer p = *next;

	for (size_t i = 0; i < n; i++) {
		if (msgs[i].duplicate)
			continue;
		p.sequence++;
		p.messages++;
		p.lease_keys++;
		p.rows += msgs[i].m.rows;
	}
	return p;
}

/* Numbers the messages and builds the transaction. */
static void build_publish(struct etcd_txn *t, const struct producer *p, const struct producer *done,
			  struct outgoing *msgs, size_t n)
{
	int64_t sequence = p->sequence;

	etcd_if_mod(t, key_producer(p->source).s, p->mod_rev);
	etcd_else_get(t, key_producer(p->source).s, NULL);
	for (size_t i = 0; i < n; i++) {
		if (msgs[i].duplicate)
			continue;
		msgs[i].m.sequence = ++sequence;
		msgs[i].m.epoch = p->epoch;
		publish_one(t, &msgs[i], done->leases[0]);
	}
	put_producer(t, done);
}

/* Marks the messages whose idempotency keys stand there already. Returns how many. */
static size_t mark_duplicates(const struct etcd_reply *reply, struct outgoing *msgs, size_t n)
{
	size_t found = 0, range = 1;

	for (size_t i = 0; i < n; i++) {
		if (msgs[i].duplicate)
			continue;
		msgs[i].duplicate = only(reply, range++) != NULL;
		found += msgs[i].duplicate;
	}
	return found;
}

/* -EAGAIN: there were duplicates, which are marked now; build and send again without them. */
static int publish_once(struct etcd *c, struct producer *p, const struct producer *next,
			struct outgoing *msgs, size_t n, struct err *e)
{
	struct producer done = advanced(next, msgs, n);
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "publish");
	build_publish(&t, p, &done, msgs, n);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	if (reply.succeeded) {
		done.mod_rev = reply.revision;
		*p = done;
	} else {
		r = settle_producer(&reply, p, &done, e);
		if (r == -EAGAIN && !mark_duplicates(&reply, msgs, n))
			r = err_set(e, -EIO,
				    "source %s: etcd refused a transaction whose "
				    "compares hold",
				    p->source);
	}
	etcd_reply_release(&reply);
	return r;
}

int queue_publish(struct etcd *c, struct producer *p, const struct producer *next,
		  struct outgoing *msgs, size_t n, struct err *e)
{
	struct producer stamped = *next;
	int r;

	stamped.updated_ns = MAX(wall_now_ns(), p->updated_ns + 1);
	do
		r = publish_once(c, p, &stamped, msgs, n, e);
	while (r == -EAGAIN);
	return r;
}

/* ---- hosts ----------------------------------------------------------------------------------- */

int queue_take_host(struct etcd *c, const struct fence *f, const char *host, const char *old,
		    int64_t old_rev, struct hold *ret, struct err *e)
{
	struct key writer = key_writer(host);
	const struct etcd_kv *kv;
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "take_host");
	if_session(&t, f);
	etcd_if_mod(&t, writer.s, old_rev);
	if (old)
		etcd_if_create(&t, key_consumer(old).s, 0);
	etcd_then_put(&t, writer.s, slice_str(f->consumer), 0);
	etcd_then_put(&t, KEY_QUEUE_MARK, slice_str(f->consumer), 0);
	etcd_else_get(&t, writer.s, NULL);
	etcd_else_get(&t, key_consumer(f->consumer).s, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	kv = only(&reply, 0);
	if (reply.succeeded)
		ret->rev = reply.revision;
	else if (!session_alive(&reply, 1, f))
		r = err_set(e, -EOWNERDEAD, "the session %s is gone", f->consumer);
	else if (kv && slice_eq(kv->value, slice_str(f->consumer)))
		ret->rev = kv->mod_rev; /* an earlier try of ours */
	else
		r = err_set(e, -EBUSY, "host %s has another writer", host);
	if (!r)
		memcpy(ret->host, host, strlen(host) + 1);
	etcd_reply_release(&reply);
	return r;
}

int queue_release_host(struct etcd *c, const struct fence *f, const struct hold *h, bool forget,
		       struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "release_host");
	if_session(&t, f);
	if_hold(&t, h);
	if (forget)
		etcd_then_delete(&t, key_writer(h->host).s, NULL);
	else
		etcd_then_put(&t, key_writer(h->host).s, SLICE_LIT(""), 0);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (!r)
		etcd_reply_release(&reply); /* false: it is not ours any more, which is the aim */
	return r;
}

/* ---- claiming -------------------------------------------------------------------------------- */

static struct key claim_key(const struct fence *f, const struct claim *k)
{
	return key_processing(f->consumer, k->claimed_ns, k->m.ulid);
}

static void if_holds(struct etcd_txn *t, struct claim *const *claims, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t j = 0;

		while (claims[j]->hold != claims[i]->hold)
			j++;
		if (j == i)
			if_hold(t, claims[i]->hold);
	}
}

static int take_payload(struct claim *k, const struct etcd_kv *kv)
{
	if (!k->payload.max)
		strbuf_init(&k->payload, ETCD_TXN_BYTES);
	strbuf_reset(&k->payload);
	if (kv)
		strbuf_add_slice(&k->payload, kv->value);
	return k->payload.err;
}

static void build_claim(struct etcd_txn *t, const struct fence *f, struct claim *const *claims,
			size_t n)
{
	if_session(t, f);
	if_holds(t, claims, n);
	etcd_else_get(t, key_consumer(f->consumer).s, NULL);
	for (size_t i = 0; i < n; i++) {
		struct claim *k = claims[i];
		struct key queued = key_queue(k->m.ulid), mine = claim_key(f, k);

		etcd_if_mod(t, queued.s, k->queue_rev);
		etcd_then_delete(t, queued.s, NULL);
		put_message(t, mine.s, &k->m);
		etcd_then_get(t, key_payload(k->m.ulid).s, NULL);
		etcd_else_get(t, mine.s, NULL);
	}
}

/* 0: all claimed. -EAGAIN: a compare failed and none is claimed. */
static int claim_together(struct etcd *c, const struct fence *f, struct claim **claims, size_t n,
			  struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "claim");
	build_claim(&t, f, claims, n);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	for (size_t i = 0; i < n && reply.succeeded && !r; i++) {
		claims[i]->rev = reply.revision;
		r = take_payload(claims[i], only(&reply, i));
	}
	if (!reply.succeeded && !session_alive(&reply, 0, f))
		r = err_set(e, -EOWNERDEAD, "the session %s is gone", f->consumer);
	else if (!reply.succeeded && only(&reply, 1)) /* an earlier try of ours: all or none */
		for (size_t i = 0; i < n; i++)
			claims[i]->rev = only(&reply, 1 + i) ? only(&reply, 1 + i)->mod_rev : 0;
	else if (!reply.succeeded)
		r = -EAGAIN;
	etcd_reply_release(&reply);
	return r;
}

/* Payloads of claims that an earlier try of ours won. */
static int fetch_payloads(struct etcd *c, struct claim **claims, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		struct etcd_reply reply;
		struct etcd_txn t;
		int r;

		if (!claims[i]->rev || claims[i]->payload.len)
			continue;
		etcd_txn_init(&t, c, "fetch_payload");
		etcd_then_get(&t, key_payload(claims[i]->m.ulid).s, NULL);
		r = etcd_txn_settle(&t, &reply, NULL, e);
		etcd_txn_release(&t);
		if (r)
			return r;
		r = take_payload(claims[i], only(&reply, 0));
		etcd_reply_release(&reply);
		if (r)
			return r;
	}
	return 0;
}

int queue_claim(struct etcd *c, const struct fence *f, struct claim *claims, size_t n,
		struct err *e)
{
	struct claim *list[QUEUE_CLAIM_MAX];
	int64_t now = wall_now_ns();
	int r;

	if (n > QUEUE_CLAIM_MAX)
		return err_set(e, -E2BIG, "more than %d messages in one claim", QUEUE_CLAIM_MAX);
	for (size_t i = 0; i < n; i++) {
		list[i] = &claims[i];
		claims[i].rev = 0;
		claims[i].claimed_ns = now;
		claims[i].m.attempt++;
	}
	r = claim_together(c, f, list, n, e);
	if (r == -EAGAIN) {
		r = 0;
		for (size_t i = 0; i < n && (r == 0 || r == -EAGAIN); i++)
			r = claim_together(c, f, &list[i], 1, e);
		if (r == -EAGAIN)
			r = 0;
	}
	return r ? r : fetch_payloads(c, list, n, e);
}

int queue_refuse(struct etcd *c, const struct fence *f, const char *key, int64_t rev,
		 const char *reason, struct err *e)
{
	struct message m = {.topic = (char *)"telemetry",
			    .host = (char *)"-",
			    .source = (char *)"",
			    .schema = (char *)"unknown",
			    .trace_id = (char *)"",
			    .reason = (char *)reason,
			    .created_ns = wall_now_ns()};
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	if (key_parse_ulid(slice_str(key), m.ulid))
		ulid_new(m.ulid);
	etcd_txn_init(&t, c, "refuse");
	if_session(&t, f);
	etcd_if_mod(&t, key, rev);
	etcd_then_delete(&t, key, NULL);
	put_message(&t, key_deadletter(m.ulid).s, &m);
	etcd_else_get(&t, key_consumer(f->consumer).s, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	if (!reply.succeeded && !session_alive(&reply, 0, f))
		r = err_set(e, -EOWNERDEAD, "the session %s is gone", f->consumer);
	etcd_reply_release(&reply);
	return r;
}

/* ---- ending ---------------------------------------------------------------------------------- */

void ending_init(struct ending *d, struct etcd *c, const struct fence *f)
{
	*d = (struct ending){.fence = f};
	etcd_txn_init(&d->t, c, "end");
	ending_reset(d);
}

void ending_reset(struct ending *d)
{
	etcd_txn_reset(&d->t);
	d->n = 0;
	if_session(&d->t, d->fence);
	etcd_else_get(&d->t, key_consumer(d->fence->consumer).s, NULL);
}

void ending_release(struct ending *d)
{
	etcd_txn_release(&d->t);
	free(d->claims);
	free(d->parts);
	*d = (struct ending){0};
}

static bool holds_already(const struct ending *d, const struct hold *h)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->claims[i]->hold == h)
			return true;
	return false;
}

static void ending_add(struct ending *d, struct claim *k, int64_t part)
{
	struct key mine = claim_key(d->fence, k);

	if (!holds_already(d, k->hold))
		if_hold(&d->t, k->hold);
	etcd_if_mod(&d->t, mine.s, k->rev);
	etcd_else_get(&d->t, mine.s, NULL);
	if (d->n == d->cap) {
		d->cap = d->cap ? 2 * d->cap : 16;
		d->claims = xrealloc(d->claims, d->cap * sizeof(*d->claims));
		d->parts = xrealloc(d->parts, d->cap * sizeof(*d->parts));
	}
	d->claims[d->n] = k;
	d->parts[d->n++] = part;
}

void ending_complete(struct ending *d, struct claim *k)
{
	ending_add(d, k, 0);
	etcd_then_delete(&d->t, claim_key(d->fence, k).s, NULL);
	etcd_then_delete(&d->t, key_payload(k->m.ulid).s, NULL);
}

void ending_part(struct ending *d, struct claim *k, int64_t part)
{
	struct message m = k->m;

	ending_add(d, k, part);
	m.part = part;
	put_message(&d->t, claim_key(d->fence, k).s, &m);
}

void ending_dead_letter(struct ending *d, struct claim *k, const char *reason)
{
	struct message m = k->m;

	ending_add(d, k, 0);
	m.reason = (char *)reason;
	etcd_then_delete(&d->t, claim_key(d->fence, k).s, NULL);
	put_message(&d->t, key_deadletter(k->m.ulid).s, &m);
}

void ending_give_back(struct ending *d, struct claim *k)
{
	struct message m = k->m;

	ending_add(d, k, 0);
	m.attempt--;
	etcd_then_delete(&d->t, claim_key(d->fence, k).s, NULL);
	put_message(&d->t, key_queue(k->m.ulid).s, &m);
}

/* The session lives, so nobody else touches its claims: if they are not as the compare wants them,
 * our own earlier attempt changed them. */
static int settle_ending(struct ending *d, const struct etcd_reply *reply, struct err *e)
{
	if (!session_alive(reply, 0, d->fence))
		return err_set(e, -EOWNERDEAD, "the session %s is gone", d->fence->consumer);
	for (size_t i = 0; i < d->n; i++) {
		const struct etcd_kv *kv = only(reply, 1 + i);

		if (kv && kv->mod_rev == d->claims[i]->rev)
			return err_set(e, -ESTALE, "host %s: no longer its writer",
				       d->claims[i]->hold->host);
		if (kv && d->parts[i])
			d->claims[i]->rev = kv->mod_rev;
	}
	return 0;
}

int ending_send(struct ending *d, int64_t *ret_rev, struct err *e)
{
	struct etcd_reply reply;
	int r = etcd_txn_settle(&d->t, &reply, NULL, e);

	if (r)
		return r;
	if (reply.succeeded) {
		if (ret_rev)
			*ret_rev = reply.revision;
		for (size_t i = 0; i < d->n; i++)
			d->claims[i]->rev = d->parts[i] ? reply.revision : 0;
	} else {
		r = settle_ending(d, &reply, e);
	}
	for (size_t i = 0; i < d->n && !r; i++)
		if (d->parts[i])
			d->claims[i]->m.part = d->parts[i];
	etcd_reply_release(&reply);
	return r;
}

/* ---- recovery -------------------------------------------------------------------------------- */

struct orphan {
	struct key key;
	char consumer[NAME_MAX_ENCODED + 1];
	int64_t rev;
	struct message m;
};

struct orphans {
	struct orphan *list;
	size_t n;
	struct map *alive;
};

static int note_alive(const struct etcd_kv *kv, void *arg)
{
	struct orphans *o = arg;
	size_t skip = strlen(KEY_CONSUMERS);

	map_put(o->alive, kv->key.p + skip, kv->key.len - skip, o);
	return 0;
}

static int note_orphan(const struct etcd_kv *kv, void *arg)
{
	struct orphans *o = arg;
	struct slice consumer;
	struct orphan *x;
	char ulid[ULID_LEN + 1];
	struct message m;

	if (key_parse_processing(kv->key, &consumer, ulid) || consumer.len > NAME_MAX_ENCODED ||
	    kv->key.len >= KEY_MAX || map_get(o->alive, consumer.p, consumer.len))
		return 0;
	if (message_decode(ulid, kv->value, &m, NULL))
		return 0;
	if ((o->n & (o->n - 1)) == 0)
		o->list = xrealloc(o->list, (o->n ? 2 * o->n : 1) * sizeof(*o->list));
	x = &o->list[o->n++];
	*x = (struct orphan){.rev = kv->mod_rev, .m = m};
	memcpy(x->key.s, kv->key.p, kv->key.len);
	memcpy(x->consumer, consumer.p, consumer.len);
	return 0;
}

static void recover_one(struct etcd_txn *t, struct orphan *x, int64_t max_retries)
{
	char reason[96];

	etcd_if_create(t, key_consumer(x->consumer).s, 0);
	etcd_if_mod(t, x->key.s, x->rev);
	etcd_then_delete(t, x->key.s, NULL);
	if (x->m.attempt < max_retries) {
		put_message(t, key_queue(x->m.ulid).s, &x->m);
		return;
	}
	snprintf(reason, sizeof(reason), "its collector died in each of %lld attempts",
		 (long long)x->m.attempt);
	free(x->m.reason);
	x->m.reason = xstrdup(reason);
	put_message(t, key_deadletter(x->m.ulid).s, &x->m);
}

/* "false" needs no settling: another one recovered them, or we did in an earlier try. */
static int recover_some(struct etcd *c, struct orphan *x, size_t n, int64_t max_retries,
			struct recovered *ret, struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	bool resent, changed;
	int r;

	etcd_txn_init(&t, c, "recover");
	for (size_t i = 0; i < n; i++)
		recover_one(&t, &x[i], max_retries);
	r = etcd_txn_settle(&t, &reply, &resent, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	changed = reply.succeeded || resent;
	if (changed)
		ret->revision = MAX(ret->revision, reply.revision);
	for (size_t i = 0; i < n && reply.succeeded; i++) {
		bool dead = x[i].m.attempt >= max_retries;

		ret->requeued += !dead;
		ret->dead += dead;
		ret->dead_rows += dead ? x[i].m.rows : 0;
	}
	if (!reply.succeeded && n > 1)
		for (size_t i = 0; i < n && !r; i++)
			r = recover_some(c, &x[i], 1, max_retries, ret, e);
	etcd_reply_release(&reply);
	return r;
}

int queue_recover(struct etcd *c, int64_t max_retries, struct recovered *ret, struct err *e)
{
	struct orphans o = {.alive = &ret->alive};
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
		message_release(&o.list[i].m);
	free(o.list);
	return r;
}
