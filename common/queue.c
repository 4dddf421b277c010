#include "queue_internal.h"

#include "clock.h"

/* Sources that a claim asks for in its own transaction. */
enum { CLAIM_ORIGINS = ETCD_TXN_OPS - 3 * QUEUE_CLAIM_MAX };

/* ---- shared parts ---------------------------------------------------------------------------- */

void queue_put_message(struct etcd_txn *t, const char *key, const struct message *m)
{
	struct strbuf text;

	strbuf_init(&text, QUEUE_TEXT_MAX);
	message_encode(&text, m);
	etcd_then_put(t, key, (struct slice){text.s, text.len}, 0);
	if (text.err && !t->then.err)
		t->then.err = text.err;
	strbuf_release(&text);
}

void queue_add_message(struct etcd_txn *t, const struct outgoing *o)
{
	etcd_then_put(t, key_payload(o->m.ulid).s, (struct slice){o->payload.s, o->payload.len}, 0);
	queue_put_message(t, key_queue(o->m.ulid).s, &o->m);
}

void queue_if_session(struct etcd_txn *t, const struct fence *f)
{
	etcd_if_create(t, key_consumer(f->consumer).s, f->session);
}

void queue_read_now(struct etcd_txn *t)
{
	etcd_then_delete(t, KEY_NOTHING, NULL);
}

const struct etcd_kv *queue_only(const struct etcd_reply *r, size_t i)
{
	return i < r->n_ranges && r->ranges[i].n ? &r->ranges[i].kvs[0] : NULL;
}

bool queue_session_alive(const struct etcd_reply *r, size_t i, const struct fence *f)
{
	const struct etcd_kv *kv = queue_only(r, i);

	return kv && kv->create_rev == f->session;
}

/* ---- hosts ----------------------------------------------------------------------------------- */

static void if_hold(struct etcd_txn *t, const struct hold *h)
{
	etcd_if_mod(t, key_writer(h->host).s, h->rev);
}

static void build_take(struct etcd_txn *t, const struct fence *f, const struct taking *list,
		       size_t n)
{
	queue_if_session(t, f);
	etcd_then_put(t, KEY_QUEUE_MARK, slice_str(f->consumer), 0);
	etcd_else_get(t, key_consumer(f->consumer).s, NULL);
	for (size_t i = 0; i < n; i++) {
		struct key writer = key_writer(list[i].host);

		etcd_if_mod(t, writer.s, list[i].old_rev);
		if (list[i].old)
			etcd_if_create(t, key_consumer(list[i].old).s, 0);
		etcd_then_put(t, writer.s, slice_str(f->consumer), 0);
		etcd_else_get(t, writer.s, NULL);
	}
}

/* What the answer to build_take says. After a "false" those are ours that an earlier try of ours
 * took. -EBUSY: not all are. */
static int take_answer(struct taking *list, size_t n, const struct fence *f,
		       const struct etcd_reply *reply, struct err *e)
{
	int r = 0;

	if (!reply->succeeded && !queue_session_alive(reply, 0, f))
		return err_set(e, -EOWNERDEAD, "the session %s is gone", f->consumer);
	for (size_t i = 0; i < n; i++) {
		const struct etcd_kv *kv = reply->succeeded ? NULL : queue_only(reply, 1 + i);

		if (reply->succeeded)
			list[i].hold.rev = reply->revision;
		else if (kv && slice_eq(kv->value, slice_str(f->consumer)))
			list[i].hold.rev = kv->mod_rev;
		else
			r = err_set(e, -EBUSY, "host %s has another writer", list[i].host);
		if (list[i].hold.rev)
			memcpy(list[i].hold.host, list[i].host, strlen(list[i].host) + 1);
	}
	return r;
}

static int take_together(struct etcd *c, const struct fence *f, struct taking *list, size_t n,
			 struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "take_host");
	build_take(&t, f, list, n);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	r = take_answer(list, n, f, &reply, e);
	etcd_reply_release(&reply);
	return r;
}

int queue_take_host(struct etcd *c, const struct fence *f, const char *host, const char *old,
		    int64_t old_rev, struct hold *ret, struct err *e)
{
	struct taking one = {.host = host, .old = old, .old_rev = old_rev};
	int r = take_together(c, f, &one, 1, e);

	if (!r)
		*ret = one.hold;
	return r;
}

int queue_take_hosts(struct etcd *c, const struct fence *f, struct taking *list, size_t n,
		     struct err *e)
{
	int r;

	if (n > QUEUE_TAKE_MAX)
		return err_set(e, -E2BIG, "more than %d hosts in one taking", QUEUE_TAKE_MAX);
	for (size_t i = 0; i < n; i++)
		list[i].hold.rev = 0;
	r = take_together(c, f, list, n, e);
	if (r == -EBUSY && n > 1) {
		r = 0;
		for (size_t i = 0; i < n && (!r || r == -EBUSY); i++)
			if (!list[i].hold.rev)
				r = take_together(c, f, &list[i], 1, e);
	}
	return r == -EBUSY ? 0 : r;
}

int queue_release_host(struct etcd *c, const struct fence *f, const struct hold *h, bool forget,
		       struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "release_host");
	queue_if_session(&t, f);
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

/* What no record can have as its source is foreign without asking. */
static bool may_have_record(const char *source)
{
	return source[0] && strlen(source) < SOURCE_ID_MAX && !strchr(source, '/');
}

/* The first claim of each source whose record is to be asked for; at most max of them. */
static size_t list_origins(struct claim *const *claims, size_t n, struct claim **ret, size_t max)
{
	size_t found = 0;

	for (size_t i = 0; i < n && found < max; i++) {
		const char *source = claims[i]->m.source;
		size_t j = 0;

		if (claims[i]->origin_known)
			continue;
		while (j < found && strcmp(ret[j]->m.source, source))
			j++;
		if (j == found)
			ret[found++] = claims[i];
	}
	return found;
}

/* kv: the record of source; NULL: there is none. */
static void note_origin(struct claim **claims, size_t n, const char *source,
			const struct etcd_kv *kv)
{
	int64_t sequence = producer_sequence(kv);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(claims[i]->m.source, source))
			continue;
		claims[i]->foreign = !producer_has_published(sequence, &claims[i]->m);
		claims[i]->origin_known = true;
	}
}

static void build_claim(struct etcd_txn *t, const struct fence *f, struct claim *const *claims,
			size_t n)
{
	struct claim *origins[CLAIM_ORIGINS];
	size_t n_origins = list_origins(claims, n, origins, CLAIM_ORIGINS);

	queue_if_session(t, f);
	if_holds(t, claims, n);
	etcd_else_get(t, key_consumer(f->consumer).s, NULL);
	for (size_t i = 0; i < n; i++) {
		struct claim *k = claims[i];
		struct key queued = key_queue(k->m.ulid), mine = claim_key(f, k);

		etcd_if_mod(t, queued.s, k->queue_rev);
		etcd_then_delete(t, queued.s, NULL);
		queue_put_message(t, mine.s, &k->m);
		etcd_then_get(t, key_payload(k->m.ulid).s, NULL);
		etcd_else_get(t, mine.s, NULL);
	}
	for (size_t i = 0; i < n_origins; i++)
		etcd_then_get(t, key_producer(origins[i]->m.source).s, NULL);
}

/* What the answer to build_claim says. */
static int take_claims(struct claim **claims, size_t n, const struct etcd_reply *reply)
{
	struct claim *origins[CLAIM_ORIGINS];
	size_t n_origins = list_origins(claims, n, origins, CLAIM_ORIGINS);
	int r = 0;

	for (size_t i = 0; i < n && !r; i++) {
		claims[i]->rev = reply->revision;
		r = take_payload(claims[i], queue_only(reply, i));
	}
	for (size_t i = 0; i < n_origins; i++)
		note_origin(claims, n, origins[i]->m.source, queue_only(reply, n + i));
	return r;
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
	if (reply.succeeded)
		r = take_claims(claims, n, &reply);
	else if (!queue_session_alive(&reply, 0, f))
		r = err_set(e, -EOWNERDEAD, "the session %s is gone", f->consumer);
	else if (queue_only(&reply, 1)) /* an earlier try of ours: all or none */
		for (size_t i = 0; i < n; i++)
			claims[i]->rev =
				queue_only(&reply, 1 + i) ? queue_only(&reply, 1 + i)->mod_rev : 0;
	else
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
		queue_read_now(&t);
		etcd_then_get(&t, key_payload(claims[i]->m.ulid).s, NULL);
		r = etcd_txn_settle(&t, &reply, NULL, e);
		etcd_txn_release(&t);
		if (r)
			return r;
		r = take_payload(claims[i], queue_only(&reply, 0));
		etcd_reply_release(&reply);
		if (r)
			return r;
	}
	return 0;
}

/* Sources that did not fit the claim, or of claims that an earlier try of ours won. */
static int ask_origins(struct etcd *c, struct claim **claims, size_t n, struct err *e)
{
	struct claim *origins[QUEUE_CLAIM_MAX];
	size_t n_origins = list_origins(claims, n, origins, QUEUE_CLAIM_MAX);
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	if (!n_origins)
		return 0;
	etcd_txn_init(&t, c, "ask_origins");
	queue_read_now(&t);
	for (size_t i = 0; i < n_origins; i++)
		etcd_then_get(&t, key_producer(origins[i]->m.source).s, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	for (size_t i = 0; i < n_origins; i++)
		note_origin(claims, n, origins[i]->m.source, queue_only(&reply, i));
	etcd_reply_release(&reply);
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
		claims[i].foreign = true;
		claims[i].origin_known = !may_have_record(claims[i].m.source);
	}
	r = claim_together(c, f, list, n, e);
	if (r == -EAGAIN) {
		r = 0;
		for (size_t i = 0; i < n && (r == 0 || r == -EAGAIN); i++)
			r = claim_together(c, f, &list[i], 1, e);
		if (r == -EAGAIN)
			r = 0;
	}
	if (!r)
		r = fetch_payloads(c, list, n, e);
	return r ? r : ask_origins(c, list, n, e);
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
	queue_if_session(&d->t, d->fence);
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

static void ending_add(struct ending *d, struct claim *k, int64_t part, const char *outcome)
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
	k->outcome = outcome;
	d->claims[d->n] = k;
	d->parts[d->n++] = part;
}

void ending_complete(struct ending *d, struct claim *k)
{
	ending_add(d, k, 0, "completed");
	etcd_then_delete(&d->t, claim_key(d->fence, k).s, NULL);
	etcd_then_delete(&d->t, key_payload(k->m.ulid).s, NULL);
}

void ending_part(struct ending *d, struct claim *k, int64_t part)
{
	struct message m = k->m;

	ending_add(d, k, part, "completed in part");
	m.part = part;
	queue_put_message(&d->t, claim_key(d->fence, k).s, &m);
}

void ending_dead_letter(struct ending *d, struct claim *k, const char *reason)
{
	struct message m = k->m;

	ending_add(d, k, 0, "dead-lettered");
	m.reason = (char *)reason;
	etcd_then_delete(&d->t, claim_key(d->fence, k).s, NULL);
	queue_put_message(&d->t, key_deadletter(k->m.ulid).s, &m);
}

void ending_give_back(struct ending *d, struct claim *k)
{
	struct message m = k->m;

	ending_add(d, k, 0, "given back");
	m.attempt--;
	etcd_then_delete(&d->t, claim_key(d->fence, k).s, NULL);
	queue_put_message(&d->t, key_queue(k->m.ulid).s, &m);
}

/* The session lives, so nobody else touches its claims: if they are not as the compare wants them,
 * our own earlier attempt changed them. */
static int settle_ending(struct ending *d, const struct etcd_reply *reply, struct err *e)
{
	if (!queue_session_alive(reply, 0, d->fence))
		return err_set(e, -EOWNERDEAD, "the session %s is gone", d->fence->consumer);
	for (size_t i = 0; i < d->n; i++) {
		const struct etcd_kv *kv = queue_only(reply, 1 + i);

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
