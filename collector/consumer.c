#include "consumer.h"

#include "log.h"
#include "stats.h"

#include <stdio.h>

enum {
	ORPHAN_MS = 3000, /* a host that nobody took for so long is taken by whoever sees it */
	LOOK_MS = 1000,
	PACE_MAX_MS = 5000, /* no host waits longer on account of small chunks */
	/* What waited for so long takes its turn, also where there is always more to store. */
	MERGE_OVERDUE_MS = 2000,
	SWEEP_OVERDUE_MS = 60000,
};

void consumer_lock(struct consumer *c)
{
	pthread_mutex_lock(&c->lock);
}

void consumer_unlock(struct consumer *c)
{
	pthread_mutex_unlock(&c->lock);
}

void consumer_wake(struct consumer *c)
{
	for (unsigned i = 0; i < c->n_workers; i++)
		pthread_cond_signal(&c->work[i]);
	pthread_cond_broadcast(&c->changed);
}

/* ---- messages -------------------------------------------------------------------------------- */

size_t consumer_take(struct consumer *c, struct host *h, struct claim *claims, size_t max,
		     size_t bytes)
{
	size_t n = backlog_take(&c->backlog, h, claims, max, bytes);

	if (backlog_wants_list(&c->backlog))
		etcd_mirror_relist(c->queue_mirror);
	return n;
}

int consumer_refuse_misfits(struct consumer *c, struct err *e)
{
	struct misfit *list;
	size_t n;
	int r = 0;

	consumer_lock(c);
	list = backlog_take_misfits(&c->backlog, &n);
	consumer_unlock(c);
	for (size_t i = 0; i < n && !r; i++) {
		log_warn("queue: %s is dead-lettered: %s", list[i].key, list[i].reason);
		r = queue_refuse(c->etcd, &c->fence, list[i].key, list[i].rev, list[i].reason, e);
	}
	free(list);
	if (n == BACKLOG_MISFITS_MAX)
		etcd_mirror_relist(c->queue_mirror);
	return r;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static bool may_take(struct consumer *c, const struct host *h)
{
	if (!h->n_pending && !h->writer_rev)
		return false;
	if (!group_is_target(&c->group, h) &&
	    !(h->n_pending && mono_ms_since(h->waiting_since) > ORPHAN_MS))
		return false;
	return group_may_take(&c->group, h);
}

static enum task task_of(struct consumer *c, const struct host *h)
{
	if (h->busy || !c->backlog.is_listed || !group_is_listed(&c->group))
		return TASK_NONE;
	if (!h->mine)
		return may_take(c, h) ? TASK_TAKE : TASK_NONE;
	if (h->empty && !h->n_pending)
		return TASK_RELEASE;
	/* A host that should be elsewhere is let go, once whoever should have it is there. */
	if (group_wants_away(&c->group, h))
		return TASK_RELEASE;
	if (h->n_pending && c->seen_rev >= h->hold.rev)
		return TASK_STORE;
	return TASK_NONE;
}

/* What can be done with a host while nothing of it is to be stored: *ret_at says when. */
static enum task chore_of(struct consumer *c, const struct host *h, struct mono *ret_at)
{
	struct mono merge = {MAX(h->merge.ns, c->merge_from[h->worker].ns)};

	if (!h->mine || h->busy)
		return TASK_NONE;
	*ret_at = h->sweep.ns <= merge.ns ? h->sweep : merge;
	return h->sweep.ns <= merge.ns ? TASK_SWEEP : TASK_MERGE;
}

void consumer_wait(struct consumer *c, int64_t ms)
{
	int64_t at = mono_now().ns + ms * NS_PER_MS;
	struct timespec ts = {at / NS_PER_SEC, at % NS_PER_SEC};

	pthread_cond_timedwait(&c->changed, &c->lock, &ts);
}

/* It could be stored now but that its next message has one attempt left. */
static bool wants_solo(struct consumer *c, const struct host *h, struct mono now)
{
	return h->due.ns <= now.ns && task_of(c, h) == TASK_STORE &&
	       backlog_is_last_attempt(&c->backlog, &backlog_first(h)->m);
}

static bool anyone_wants_solo(struct consumer *c, struct mono now)
{
	if (c->backlog.n_last)
		roster_each (&c->hosts, i)
			if (wants_solo(c, roster_at(&c->hosts, i), now))
				return true;
	return false;
}

/* Something that a worker could do. */
struct choice {
	enum task task;
	struct host *host;
	struct mono due;
};

static bool is_chore(const struct choice *x, struct mono now)
{
	int64_t overdue_ms = x->task == TASK_MERGE   ? MERGE_OVERDUE_MS
			     : x->task == TASK_SWEEP ? SWEEP_OVERDUE_MS
						     : 0;

	return now.ns - x->due.ns < overdue_ms * NS_PER_MS;
}

/* The longest due goes first, chores behind all else. */
static void consider(struct choice *best, const struct choice *x, struct mono now,
		     struct mono *when)
{
	if (x->task == TASK_NONE)
		return;
	if (x->due.ns > now.ns) {
		when->ns = MIN(when->ns, x->due.ns);
		return;
	}
	if (best->host && is_chore(x, now) != is_chore(best, now)
		    ? is_chore(best, now)
		    : !best->host || x->due.ns < best->due.ns)
		*best = *x;
}

/* Notes whom it is to be taken from, as is known now. */
static void judge_taking(struct consumer *c, struct host *h)
{
	bool dead = h->writer && !group_is_writer(&c->group, h);

	free(h->take_from);
	h->take_from = dead ? xstrdup(h->writer) : NULL;
	h->take_rev = h->writer_rev;
}

enum task consumer_next(struct consumer *c, unsigned worker, struct host **ret,
			struct mono *ret_when)
{
	struct mono now = mono_now(), when = {now.ns + LOOK_MS * NS_PER_MS};
	struct choice best = {.task = TASK_NONE};
	struct host *chosen;
	bool solo;

	if (!c->hosts.placed)
		group_place(&c->group);
	solo = anyone_wants_solo(c, now);
	roster_each (&c->hosts, i) {
		struct host *h = roster_at(&c->hosts, i);
		struct choice x = {.host = h, .task = TASK_NONE};

		if (h->worker != worker)
			continue;
		x.task = task_of(c, h);
		x.due = h->due;
		if (x.task == TASK_STORE &&
		    (c->solo || (solo && (c->storing || !wants_solo(c, h, now)))))
			x.task = TASK_NONE; /* consumer_stored wakes us */
		consider(&best, &x, now, &when);
		x.task = chore_of(c, h, &x.due);
		consider(&best, &x, now, &when);
	}
	chosen = best.host;
	if (chosen)
		chosen->busy = true;
	if (best.task == TASK_STORE) {
		c->storing++;
		c->solo = solo;
	}
	if (best.task == TASK_TAKE)
		judge_taking(c, chosen);
	*ret = chosen;
	*ret_when = when;
	return best.task;
}

struct host *consumer_another(struct consumer *c, unsigned worker, enum task task)
{
	struct mono now = mono_now();

	roster_each (&c->hosts, i) {
		struct host *h = roster_at(&c->hosts, i);

		if (h->worker != worker || h->due.ns > now.ns || task_of(c, h) != task)
			continue;
		if (task == TASK_STORE && backlog_first_is_redelivery(h))
			continue;
		if (task == TASK_TAKE)
			judge_taking(c, h);
		h->busy = true;
		return h;
	}
	return NULL;
}

void consumer_stored(struct consumer *c)
{
	c->storing--;
	if (c->solo || c->backlog.n_last)
		consumer_wake(c);
	c->solo = false;
}

void consumer_done(struct consumer *c, struct host *h, int64_t due_in_ms)
{
	h->busy = false;
	h->due = mono_in_ms(due_in_ms);
	pthread_cond_broadcast(&c->changed);
}

int64_t consumer_pace_ms(struct consumer *c, size_t chunks, int64_t rows)
{
	int64_t now = mono_now().ns;
	int64_t cost_ns = NS_PER_SEC / CONSUMER_SMALL_S * (int64_t)MAX(c->group.n_members, 1);

	if (rows >= (int64_t)chunks * CONSUMER_SMALL_ROWS)
		return 0;
	c->paced.ns = MIN(MAX(c->paced.ns, now) + (int64_t)chunks * cost_ns,
			  now + PACE_MAX_MS * NS_PER_MS);
	return (c->paced.ns - now) / NS_PER_MS;
}

void consumer_keep(struct consumer *c, struct host *h)
{
	h->busy = false;
	pthread_cond_broadcast(&c->changed);
}

bool consumer_idle(struct consumer *c)
{
	return backlog_is_empty(&c->backlog);
}

/* ---- what the mirrors tell ------------------------------------------------------------------- */

static bool in_queue(struct slice key)
{
	return key.len > strlen(KEY_QUEUE) && !memcmp(key.p, KEY_QUEUE, strlen(KEY_QUEUE));
}

static void queue_list_begin(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	backlog_list_begin(&c->backlog);
	consumer_unlock(c);
}

static void queue_list_kv(const struct etcd_kv *kv, void *arg)
{
	struct consumer *c = arg;

	if (!in_queue(kv->key))
		return;
	consumer_lock(c);
	backlog_list_kv(&c->backlog, kv);
	consumer_unlock(c);
}

static void queue_list_end(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	backlog_list_end(&c->backlog);
	c->seen_rev = rev;
	consumer_wake(c);
	consumer_unlock(c);
}

static void queue_commit(int64_t rev, const struct etcd_event *events, size_t n, void *arg)
{
	struct consumer *c = arg;
	struct host *h;

	consumer_lock(c);
	for (size_t i = 0; i < n; i++) {
		if (!in_queue(events[i].kv.key))
			continue;
		if (events[i].deleted)
			backlog_delete(&c->backlog, events[i].kv.key);
		else if ((h = backlog_put(&c->backlog, &events[i].kv)))
			pthread_cond_signal(&c->work[h->worker]);
	}
	c->seen_rev = rev;
	if (n && !in_queue(events[0].kv.key))
		consumer_wake(c); /* a mark */
	pthread_cond_broadcast(&c->changed);
	consumer_unlock(c);
}

static void members_list_begin(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	group_members_begin(&c->group);
	consumer_unlock(c);
}

static void members_list_kv(const struct etcd_kv *kv, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	group_member_put(&c->group, kv->key);
	consumer_unlock(c);
}

static void members_list_end(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	group_members_end(&c->group);
	consumer_wake(c);
	consumer_unlock(c);
}

static void members_commit(int64_t rev, const struct etcd_event *events, size_t n, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	for (size_t i = 0; i < n; i++) {
		if (events[i].deleted)
			group_member_delete(&c->group, events[i].kv.key);
		else
			group_member_put(&c->group, events[i].kv.key);
	}
	consumer_wake(c);
	consumer_unlock(c);
}

static void writers_list_begin(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	group_writers_begin(&c->group);
	consumer_unlock(c);
}

static void writers_list_kv(const struct etcd_kv *kv, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	group_writer_set(&c->group, kv, false);
	consumer_unlock(c);
}

static void writers_list_end(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	group_writers_end(&c->group);
	consumer_wake(c);
	consumer_unlock(c);
}

static void writers_commit(int64_t rev, const struct etcd_event *events, size_t n, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	for (size_t i = 0; i < n; i++)
		group_writer_set(&c->group, &events[i].kv, events[i].deleted);
	consumer_wake(c);
	consumer_unlock(c);
}

/* ---- life ------------------------------------------------------------------------------------ */

static const struct etcd_mirror_ops queue_ops = {queue_list_begin, queue_list_kv, queue_list_end,
						 queue_commit,     NULL,          NULL};
static const struct etcd_mirror_ops members_ops = {
	members_list_begin, members_list_kv, members_list_end, members_commit, NULL, NULL};
static const struct etcd_mirror_ops writers_ops = {
	writers_list_begin, writers_list_kv, writers_list_end, writers_commit, NULL, NULL};

static int follow(struct consumer *c, const char *prefix, const struct etcd_mirror_ops *ops,
		  struct etcd_mirror **ret, struct err *e)
{
	return etcd_mirror_start(ret, c->etcd, prefix, key_prefix_end(prefix).s, ops, c, e);
}

void consumer_init(struct consumer *c, struct etcd *etcd, const char *id, unsigned n_workers,
		   int64_t flush_ms, int64_t max_retries)
{
	pthread_condattr_t attr;

	*c = (struct consumer){.etcd = etcd,
			       .n_workers = n_workers,
			       .flush_ms = flush_ms,
			       .keep_from_ns = INT64_MIN,
			       .hosts = {.n_workers = n_workers}};
	snprintf(c->id, sizeof(c->id), "%s", id);
	backlog_init(&c->backlog, &c->hosts, max_retries);
	group_init(&c->group, &c->hosts, c->id);
	leases_init(&c->leases, etcd);
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	c->work = xcalloc(n_workers, sizeof(*c->work));
	c->merge_from = xcalloc(n_workers, sizeof(*c->merge_from));
	for (unsigned i = 0; i < n_workers; i++)
		pthread_cond_init(&c->work[i], &attr);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
}

int consumer_follow(struct consumer *c, int64_t session, struct err *e)
{
	int r;

	c->fence = (struct fence){c->id, session};
	r = follow(c, KEY_CONSUMERS, &members_ops, &c->members_mirror, e);
	if (!r)
		r = follow(c, KEY_WRITERS, &writers_ops, &c->writers_mirror, e);
	if (!r)
		r = follow(c, KEY_QUEUE_ALL, &queue_ops, &c->queue_mirror, e);
	return r;
}

void consumer_unfollow(struct consumer *c)
{
	etcd_mirror_stop(c->queue_mirror);
	etcd_mirror_stop(c->writers_mirror);
	etcd_mirror_stop(c->members_mirror);
	c->queue_mirror = c->writers_mirror = c->members_mirror = NULL;
}

void consumer_release(struct consumer *c)
{
	backlog_release(&c->backlog);
	group_release(&c->group);
	roster_release(&c->hosts);
	leases_release(&c->leases);
	for (unsigned i = 0; i < c->n_workers; i++)
		pthread_cond_destroy(&c->work[i]);
	free(c->work);
	free(c->merge_from);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
}

/* Age of the oldest message that waits; 0: none does. */
static int64_t lag_ms(struct consumer *c)
{
	int64_t oldest = INT64_MAX;

	roster_each (&c->hosts, i) {
		const struct pending *p = backlog_first(roster_at(&c->hosts, i));

		oldest = p ? MIN(oldest, p->m.created_ns) : oldest;
	}
	return oldest == INT64_MAX ? 0 : MAX(wall_now_ns() - oldest, 0) / NS_PER_MS;
}

static int64_t owned(struct consumer *c)
{
	int64_t n = 0;

	roster_each (&c->hosts, i)
		n += roster_at(&c->hosts, i)->mine;
	return n;
}

void consumer_report(void *consumer)
{
	struct consumer *c = consumer;

	consumer_lock(c);
	stats_set(STAT_QUEUE_DEPTH, (int64_t)map_count(&c->backlog.pending));
	stats_set(STAT_PROCESSING_LAG, lag_ms(c));
	stats_set(STAT_HOSTS_OWNED, owned(c));
	consumer_unlock(c);
}
