#include "queue_internal.h"

#include "clock.h"
#include "stats.h"

static void put_producer(struct etcd_txn *t, const struct producer *p)
{
	struct strbuf text;

	strbuf_init(&text, QUEUE_TEXT_MAX);
	producer_encode(&text, p);
	etcd_then_put(t, key_producer(p->source).s, (struct slice){text.s, text.len}, 0);
	strbuf_release(&text);
}

/* After a "false": is what stands there what this very transaction would have written? */
static int settle_producer(const struct etcd_reply *reply, struct producer *p,
			   const struct producer *next, struct err *e)
{
	const struct etcd_kv *kv = queue_only(reply, 0);
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
	queue_add_message(t, o);
	etcd_then_put(t, processed.s, slice_str(o->m.ulid), lease);
	etcd_else_get(t, processed.s, NULL);
}

/* next, moved on by the messages that this transaction accepts. */
static struct producer advanced(const struct producer *next, const struct outgoing *msgs, size_t n)
{
	struct producer p = *next;

	for (size_t i = 0; i < n; i++) {
		p.duplicated += msgs[i].duplicate;
		if (msgs[i].duplicate)
			continue;
		p.sequence++;
		p.messages++;
		p.lease_keys++;
		p.rows += msgs[i].m.rows;
	}
	return p;
}

static void put_rider(struct etcd_txn *t, const struct rider *also)
{
	etcd_if_mod(t, also->key.s, also->rev);
	etcd_then_put(t, also->key.s, also->value, also->lease);
	etcd_else_get(t, also->key.s, NULL);
}

/* Numbers the messages and builds the transaction. */
static void build_publish(struct etcd_txn *t, const struct producer *p, const struct producer *done,
			  struct outgoing *msgs, size_t n, const struct rider *also)
{
	int64_t sequence = p->sequence;

	etcd_if_mod(t, key_producer(p->source).s, p->mod_rev);
	etcd_else_get(t, key_producer(p->source).s, NULL);
	if (also)
		put_rider(t, also);
	for (size_t i = 0; i < n; i++) {
		if (msgs[i].duplicate)
			continue;
		msgs[i].m.sequence = ++sequence;
		msgs[i].m.epoch = p->epoch;
		publish_one(t, &msgs[i], done->leases[0]);
	}
	put_producer(t, done);
}

/* Marks the messages whose idempotency keys stand there already. Returns how many. range: the first
 * that is about one. */
static size_t mark_duplicates(const struct etcd_reply *reply, struct outgoing *msgs, size_t n,
			      size_t range)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		if (msgs[i].duplicate)
			continue;
		msgs[i].duplicate = queue_only(reply, range++) != NULL;
		found += msgs[i].duplicate;
	}
	return found;
}

static bool has_changed(const struct etcd_reply *reply, const struct rider *also)
{
	const struct etcd_kv *kv = queue_only(reply, 1);

	return (kv ? kv->mod_rev : 0) != also->rev;
}

/* After a "false" that was not of our own doing. */
static int explain_refusal(const struct etcd_reply *reply, const struct producer *p,
			   struct outgoing *msgs, size_t n, const struct rider *also, struct err *e)
{
	if (also && has_changed(reply, also))
		return err_set(e, -EALREADY, "%s was changed by somebody else", also->key.s);
	if (mark_duplicates(reply, msgs, n, also ? 2 : 1))
		return -EAGAIN;
	return err_set(e, -EIO, "source %s: etcd refused a transaction whose compares hold",
		       p->source);
}

/* -EAGAIN: there were duplicates, which are marked now; build and send again without them. */
static int publish_once(struct etcd *c, struct producer *p, const struct producer *next,
			struct outgoing *msgs, size_t n, struct rider *also, struct err *e)
{
	struct producer done = advanced(next, msgs, n);
	struct etcd_reply reply;
	struct etcd_txn t;
	bool resent = false;
	int r;

	etcd_txn_init(&t, c, "publish");
	build_publish(&t, p, &done, msgs, n, also);
	r = etcd_txn_settle(&t, &reply, &resent, e);
	etcd_txn_release(&t);
	if (resent || (r && r != -ENOENT && r != -ECANCELED))
		stats_add(STAT_PUBLISH_ERRORS, 1);
	if (r)
		return r;
	if (reply.succeeded) {
		done.mod_rev = reply.revision;
		*p = done;
	} else {
		r = settle_producer(&reply, p, &done, e);
		if (r == -EAGAIN)
			r = explain_refusal(&reply, p, msgs, n, also, e);
	}
	if (!r)
		p->publish_errors += resent; /* for the next change of the record */
	etcd_reply_release(&reply);
	if (!r && also)
		also->rev = p->mod_rev;
	return r;
}

int queue_publish_with(struct etcd *c, struct producer *p, const struct producer *next,
		       struct outgoing *msgs, size_t n, struct rider *also, struct err *e)
{
	struct producer stamped = *next;
	int r;

	stamped.updated_ns = MAX(wall_now_ns(), p->updated_ns + 1);
	do
		r = publish_once(c, p, &stamped, msgs, n, also, e);
	while (r == -EAGAIN);
	return r;
}

int queue_publish(struct etcd *c, struct producer *p, const struct producer *next,
		  struct outgoing *msgs, size_t n, struct err *e)
{
	return queue_publish_with(c, p, next, msgs, n, NULL, e);
}
