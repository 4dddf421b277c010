#include "collect.h"

#include <stdio.h>
#include <unistd.h>

#include "daemon.h"
#include "json.h"
#include "log.h"
#include "process.h"
#include "session.h"
#include "stats.h"
#include "tally.h"
#include "upkeep.h"
#include "worker.h"

enum {
	EXIT_STUCK = 1,
	LOOK_MS = 100,
	STUCK_MS = 60000,    /* the main thread looks again, unless it waits for etcd */
	RECOVERY_MS = 10000, /* and at once when a collector is seen to vanish */
	RECOVERY_RETRY_MS = 1000,
};

/* ---- the store's configuration --------------------------------------------------------------- */

int collect_agree(struct collect *k, struct err *e)
{
	int64_t segment_s = k->conf->segment / 1000, stored;
	struct etcd_reply reply;
	struct etcd_txn t;
	struct json *doc;
	char text[64];
	int r;

	snprintf(text, sizeof(text), "{\"v\":1,\"segment_s\":%lld}", (long long)segment_s);
	etcd_txn_init(&t, k->etcd, "agree");
	etcd_if_create(&t, KEY_CONFIG, 0);
	etcd_then_put(&t, KEY_CONFIG, slice_str(text), 0);
	etcd_else_get(&t, KEY_CONFIG, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	if (!reply.succeeded && reply.ranges[0].n) {
		const struct etcd_kv *kv = &reply.ranges[0].kvs[0];

		r = json_parse(kv->value.p, kv->value.len, &doc, e);
		if (!r) {
			stored = json_int(json_get(doc, "segment_s"), 0);
			json_free(doc);
			if (stored != segment_s)
				r = err_set(e, -EINVAL,
					    "SEGMENT is %lld s, but what is stored in etcd "
					    "was stored with %lld s; set SEGMENT=%llds",
					    (long long)segment_s, (long long)stored,
					    (long long)stored);
		}
	}
	etcd_reply_release(&reply);
	return r;
}

/* ---- a session ------------------------------------------------------------------------------- */

static void on_lost(void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	c->lost = true;
	consumer_wake(c);
	consumer_unlock(c);
}

static int open_session(struct collect *k, struct err *e)
{
	char id[128], who[PROCESS_TEXT_MAX];
	struct key key;
	int r;

	snprintf(id, sizeof(id), "%.64s-%016llx", k->conf->collector_id,
		 (unsigned long long)random_u64());
	process_describe(id, who);
	key = key_consumer(id);
	consumer_init(&k->consumer, k->etcd, id, (unsigned)k->conf->collector_workers,
		      k->conf->collector_flush_interval, k->conf->mq_max_retries);
	stats_hook(consumer_report, &k->consumer);
	r = session_open(&k->session, k->etcd, key.s, slice_str(who),
			 k->conf->mq_processing_timeout / 1000, &daemon_stop_flag, on_lost,
			 &k->consumer, e);
	if (!r)
		r = consumer_follow(&k->consumer, session_revision(k->session), e);
	return r;
}

static int start_workers(struct collect *k, struct err *e)
{
	struct worker_conf conf = {
		.segment_ns = k->conf->segment * NS_PER_MS,
		.max_retries = k->conf->mq_max_retries,
		.batch = (size_t)MIN(k->conf->collector_batch_size, k->conf->mq_batch_size),
		.buffer_bytes =
			(size_t)(k->conf->collector_buffer / k->conf->collector_workers / 8),
		.keeping = k->keeping,
		.deadline_ms = k->conf->mq_processing_timeout,
	};

	k->workers = xcalloc((size_t)k->conf->collector_workers, sizeof(*k->workers));
	for (k->n_workers = 0; k->n_workers < k->conf->collector_workers; k->n_workers++) {
		int r = worker_start(&k->workers[k->n_workers], &k->consumer, k->n_workers, &conf);

		if (r)
			return err_set(e, r, "cannot start a thread: %s", strerror(-r));
	}
	return 0;
}

/* ---- housekeeping ---------------------------------------------------------------------------- */

/* A worker that computes on and on is stuck in a message: only the end of the process brings that
 * message to another attempt. */
static void check_workers(struct collect *k)
{
	for (unsigned i = 0; i < k->n_workers; i++) {
		const struct worker *w = &k->workers[i];

		if (worker_busy_ms(w) > w->conf.deadline_ms) {
			log_error("worker %u has been busy for more than %lld ms; ending the "
				  "process",
				  i, (long long)w->conf.deadline_ms);
			_exit(EXIT_STUCK);
		}
	}
}

static void note_recovery(struct consumer *c, struct recovered *rec)
{
	consumer_lock(c);
	group_note_recovery(&c->group, rec);
	consumer_wake(c);
	consumer_unlock(c);
}

/* Brings back what dead collectors had claimed. No host is taken from one before that. Sets when to
 * look again. */
static void recover(struct collect *k, int64_t max_retries)
{
	struct recovered rec = {0};
	struct err e = {0};
	int r = queue_recover(k->etcd, max_retries, &rec, &e);

	if (rec.requeued || rec.dead)
		log_info(
			"recovered from collectors that are gone: %lld messages back in the queue, "
			"%lld dead-lettered",
			(long long)rec.requeued, (long long)rec.dead);
	if (rec.unreadable)
		log_warn("%lld claims of collectors that are gone were no messages and are "
			 "dead-lettered, the last of them %s",
			 (long long)rec.unreadable, rec.unreadable_why.text);
	if (!r) {
		note_recovery(&k->consumer, &rec);
		r = tally_fold(k->etcd, &e);
	}
	map_release(&rec.alive);
	if (r && !etcd_transient(r) && r != -ECANCELED)
		log_warn("recovery: %s", e.text);
	k->next_recovery =
		mono_in_ms(r ? RECOVERY_RETRY_MS : RECOVERY_MS + (int64_t)(random_u64() % 5000));
}

static void refuse_misfits(struct collect *k)
{
	struct err e = {0};
	int r = consumer_refuse_misfits(&k->consumer, &e);

	if (r && !etcd_transient(r) && r != -ECANCELED)
		log_warn("queue: %s", e.text);
}

/* Nothing queued, nothing claimed, by anyone: asked of etcd, not of the mirrors. */
static bool is_drained(struct collect *k)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	bool drained = false;

	etcd_txn_init(&t, k->etcd, "drained");
	etcd_if_range_mod_below(&t, KEY_QUEUE, key_prefix_end(KEY_QUEUE).s, 1);
	etcd_if_range_mod_below(&t, KEY_PROCESSING, key_prefix_end(KEY_PROCESSING).s, 1);
	if (!etcd_txn_send(&t, &reply, NULL)) {
		drained = reply.succeeded;
		etcd_reply_release(&reply);
	}
	etcd_txn_release(&t);
	return drained;
}

/* Until a stop is asked for, the session is lost, or all is drained. True: drained. */
static bool serve(struct collect *k)
{
	struct consumer *c = &k->consumer;

	for (;;) {
		bool over, due, idle, misfits;
		int64_t max_retries;

		consumer_lock(c);
		if (!c->lost && !daemon_stopping())
			consumer_wait(c, LOOK_MS);
		over = c->lost || daemon_stopping();
		due = c->group.members_listed &&
		      (c->group.want_recovery || !mono_ms_until(k->next_recovery));
		c->group.want_recovery = c->group.want_recovery && !due;
		max_retries = c->dead_full ? QUEUE_NO_DEAD_LETTERS : k->conf->mq_max_retries;
		idle = consumer_idle(c);
		misfits = c->backlog.n_misfits > 0 && !c->dead_full;
		check_workers(k);
		k->looked_ns = mono_now().ns;
		k->ready = c->group.members_listed && c->backlog.is_listed;
		consumer_unlock(c);
		if (over)
			return false;
		if (misfits)
			refuse_misfits(k);
		if (due)
			recover(k, max_retries);
		if (k->drain && idle && is_drained(k))
			return true;
	}
}

/* Lets the workers finish what they have claimed. Returns how many could not in time. */
static unsigned leave(struct collect *k)
{
	struct consumer *c = &k->consumer;
	unsigned left;

	consumer_lock(c);
	c->stop = true;
	consumer_wake(c);
	while (c->running && !(daemon_stopping() && !daemon_drain_left_ms()))
		consumer_wait(c, LOOK_MS);
	left = c->running;
	consumer_unlock(c);
	return left;
}

static void close_session(struct collect *k, bool abandon)
{
	k->ready = false;
	stats_unhook(consumer_report, &k->consumer);
	if (abandon)
		etcd_cancel(k->etcd);
	for (unsigned i = 0; i < k->n_workers; i++)
		worker_join(&k->workers[i]);
	upkeep_stop(k->upkeep);
	k->upkeep = NULL;
	free(k->workers);
	k->workers = NULL;
	k->n_workers = 0;
	consumer_unfollow(&k->consumer);
	session_close(k->session);
	k->session = NULL;
	consumer_release(&k->consumer);
}

/* One session from begin to end. > 0: it was lost, open another. */
static int run_session(struct collect *k, struct err *e)
{
	unsigned left;
	bool drained = false, lost;
	int r;

	k->at_work = true; /* from the first put on: the session is to be revoked */
	r = open_session(k, e);

	if (!r)
		r = start_workers(k, e);
	if (!r && (r = upkeep_start(&k->upkeep, k->etcd, &k->consumer, session_lease(k->session),
				    k->conf, k->keeping)))
		err_set(e, r, "cannot start a thread: %s", strerror(-r));
	if (!r) {
		log_info("collecting as %s", k->consumer.id);
		drained = serve(k);
	}
	left = leave(k);
	lost = k->consumer.lost && !daemon_stopping();
	close_session(k, left);
	k->at_work = false;
	if (r)
		return r;
	if (lost)
		return 1;
	if (left)
		return err_set(e, -ETIME,
			       "shutdown: etcd did not take all within SHUTDOWN_TIMEOUT; "
			       "what %u workers have claimed is given back by recovery",
			       left);
	return k->drain && !drained ? -ECANCELED : 0;
}

int collect(struct collect *k, struct err *e)
{
	struct backoff b = {0};
	int r;

	while ((r = run_session(k, e)) > 0) {
		log_warn("the session was lost; starting anew");
		if (daemon_sleep_ms(backoff_next_ms(&b, 100, 3000))) {
			r = -ECANCELED;
			break;
		}
	}
	return r;
}

bool collect_is_well(const struct collect *k)
{
	struct mono looked = {k->looked_ns};

	return !k->ready || mono_ms_since(looked) < STUCK_MS || !etcd_is_up(k->etcd, NULL);
}
