#include "worker.h"

#include "log.h"
#include "merge.h"
#include "retention.h"
#include "stats.h"
#include "store.h"

enum {
	RETRY_MS = 200,
	SWEEP_FIRST_MS = 3000,
	SWEEP_MIN_MS = 1000,
	SWEEP_MAX_MS = 600000,
	SIZED_MS = 2000,
	SIZED_FIRST_MS = 10000, /* the one before may tell of the host's size for so long */
	MERGE_SHARE = 1,        /* a worker rests so many times as long as it has merged */
	DAMAGED_MS = 600000,    /* until a host whose identities cannot be read is tried again */
};

/* ---- hosts ----------------------------------------------------------------------------------- */

void host_forget_state(struct host *h)
{
	writer_free(h->state);
	h->state = NULL;
}

/* It knows of no segment yet but those that rows come for: the sweep tells it. */
static void sweep_soon(struct consumer *c, struct host *h)
{
	consumer_lock(c);
	h->sweep.ns = MIN(h->sweep.ns, mono_in_ms(SWEEP_FIRST_MS).ns);
	consumer_unlock(c);
}

int worker_state(struct worker *w, struct host *h, struct err *e)
{
	struct consumer *c = w->consumer;
	int r;

	if (h->state) {
		h->state->lease_ns = keeping_lease_ns(w->conf.keeping);
		return 0;
	}
	r = writer_load(&h->state, c->etcd, &c->fence, &h->hold, w->conf.segment_ns,
			keeping_lease_ns(w->conf.keeping), e);
	if (!r)
		sweep_soon(c, h);
	return r;
}

void worker_states(struct worker *w, struct host *const *hosts, size_t n)
{
	struct consumer *c = w->consumer;
	const struct hold *holds[WRITER_LOAD_MAX];
	struct writer *states[WRITER_LOAD_MAX];
	struct host *new[WRITER_LOAD_MAX];
	size_t n_new = 0;
	struct err e;
	int r;

	for (size_t i = 0; i < MIN(n, WRITER_LOAD_MAX); i++) {
		if (hosts[i]->state)
			continue;
		new[n_new] = hosts[i];
		holds[n_new++] = &hosts[i]->hold;
	}
	if (n_new < 2)
		return;
	r = writer_load_several(states, c->etcd, &c->fence, holds, n_new, w->conf.segment_ns,
				keeping_lease_ns(w->conf.keeping), &e);
	for (size_t i = 0; i < n_new && (!r || r == -EUCLEAN); i++) {
		new[i]->state = states[i];
		if (states[i])
			sweep_soon(c, new[i]);
	}
}

void worker_leave_host(struct worker *w, struct host *h)
{
	h->merge = h->state ? merge_due(h->state) : mono_in_ms(MERGE_QUIET_MS);
	if (!h->state || !w->conf.keeping->bytes)
		return;
	if (mono_ms_until(h->size_at)) {
		h->merge.ns = MIN(h->merge.ns, h->size_at.ns);
		return;
	}
	writer_sizes(h->state, &h->sizes);
	h->size_at = mono_in_ms(SIZED_MS);
}

/* How often a host is looked at: a twentieth of the retention, and well before leases end. */
static int64_t sweep_every_ms(const struct worker *w)
{
	int64_t age_ns = w->conf.keeping->age_ns;
	int64_t ms = MIN(age_ns / 20, w->conf.segment_ns / 2) / NS_PER_MS;

	return age_ns ? MIN(MAX(ms, SWEEP_MIN_MS), SWEEP_MAX_MS) : SWEEP_MAX_MS;
}

/* Of the hosts that it is asked for, those that are to be had. */
static void taken(struct consumer *c, struct host *h, const struct hold *hold)
{
	if (hold->rev) {
		h->mine = true;
		h->empty = false;
		h->hold = *hold;
		h->sweep = mono_in_ms(SWEEP_FIRST_MS);
		h->merge.ns = INT64_MAX;
		h->size_at = mono_in_ms(SIZED_FIRST_MS);
	}
	consumer_done(c, h, hold->rev ? 0 : RETRY_MS);
}

static int take_turn(struct worker *w, struct host *first, struct err *e)
{
	struct taking list[QUEUE_TAKE_MAX];
	struct host *hosts[QUEUE_TAKE_MAX];
	struct consumer *c = w->consumer;
	size_t n = 0;
	int r;

	consumer_lock(c);
	for (struct host *h = first; h; h = consumer_another(c, w->index, TASK_TAKE)) {
		hosts[n] = h;
		list[n++] = (struct taking){h->enc, h->take_from, h->take_rev, {.rev = 0}};
		if (n == QUEUE_TAKE_MAX)
			break;
	}
	consumer_unlock(c);
	r = queue_take_hosts(c->etcd, &c->fence, list, n, e);
	consumer_lock(c);
	for (size_t i = 0; i < n; i++)
		taken(c, hosts[i], &list[i].hold);
	consumer_unlock(c);
	return r;
}

static int release_turn(struct worker *w, struct host *h, struct err *e)
{
	struct consumer *c = w->consumer;
	int r = queue_release_host(c->etcd, &c->fence, &h->hold, h->empty, e);

	if (!r)
		host_forget_state(h);
	consumer_lock(c);
	h->mine = h->mine && r;
	if (!r)
		sizes_clear(&h->sizes);
	consumer_done(c, h, RETRY_MS);
	consumer_unlock(c);
	return r;
}

static int sweep_turn(struct worker *w, struct host *h, struct err *e)
{
	struct consumer *c = w->consumer;
	struct retention conf = {.age_ns = w->conf.keeping->age_ns};
	size_t dropped = 0;
	int r = worker_state(w, h, e);

	consumer_lock(c);
	conf.keep_from_ns = c->keep_from_ns;
	consumer_unlock(c);
	if (!r)
		r = retention_sweep(h->state, c->etcd, &c->fence, &h->hold, &conf, &dropped, e);
	if (r == -EUCLEAN) {
		log_error("host %s: %s of it is dropped: %s", h->name,
			  h->state ? "not all" : "nothing", e->text);
		r = 0;
	}
	if (dropped && mono_ms_until(h->size_at) <= SIZED_MS)
		h->size_at = mono_now();
	stats_add(STAT_SEGMENTS_DROPPED, (int64_t)dropped);
	if (dropped)
		log_debug("host %s: %zu segments have reached their retention", h->name, dropped);
	if (r)
		host_forget_state(h);
	consumer_lock(c);
	h->empty = h->state && !map_count(&h->state->gpus);
	h->sweep = mono_in_ms(sweep_every_ms(w));
	worker_leave_host(w, h);
	consumer_keep(c, h);
	consumer_unlock(c);
	return r;
}

/* Its share of the worker's time is bounded: storing goes first, and the time is etcd's too. */
static int merge_turn(struct worker *w, struct host *h, struct err *e)
{
	struct consumer *c = w->consumer;
	struct mono began = mono_now();
	size_t parts = 0;
	int r = worker_state(w, h, e);
	bool unreadable = r == -EUCLEAN;

	if (!r)
		r = merge_step(h->state, c->etcd, &c->fence, &h->hold, &c->leases, &parts, e);
	if (r == -EUCLEAN) {
		log_error("host %s: %s of its chunks are merged: %s", h->name,
			  h->state ? "not all" : "none", e->text);
		r = 0;
	}
	if (r)
		host_forget_state(h);
	stats_add(STAT_CHUNKS_MERGED, (int64_t)parts);
	log_debug("host %s: %zu chunks joined", h->name, parts);
	consumer_lock(c);
	worker_leave_host(w, h);
	if (unreadable)
		h->merge = mono_in_ms(DAMAGED_MS);
	if (parts || r)
		c->merge_from[w->index] = mono_in_ms(MERGE_SHARE * mono_ms_since(began) + 1);
	consumer_keep(c, h);
	consumer_unlock(c);
	return r;
}

/* ---- thread ---------------------------------------------------------------------------------- */

/* Whether the worker can go on. */
static bool survive(struct worker *w, enum task task, int r, const struct err *e)
{
	if (!r || (task != TASK_STORE && etcd_transient(r)))
		return true;
	if (r != -ECANCELED)
		log_warn("worker %u: %s", w->index, e->text[0] ? e->text : strerror(-r));
	/* The session is gone, a hold was taken from us or etcd refuses us: claims may be left, and
	 * only the end of this session brings them back. */
	consumer_lock(w->consumer);
	w->consumer->lost = true;
	consumer_wake(w->consumer);
	consumer_unlock(w->consumer);
	return false;
}

/* CPU time of a thread; -1 if it has ended. */
static int64_t cpu_ns(pthread_t thread)
{
	struct timespec ts;
	clockid_t id;

	if (pthread_getcpuclockid(thread, &id) || clock_gettime(id, &ts))
		return -1;
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

int64_t worker_busy_ms(const struct worker *w)
{
	return w->turn_cpu_ns < 0 ? 0 : MAX(cpu_ns(w->thread) - w->turn_cpu_ns, 0) / NS_PER_MS;
}

static enum task next_task(struct worker *w, struct host **ret)
{
	struct consumer *c = w->consumer;
	enum task task = TASK_NONE;
	struct mono when;

	consumer_lock(c);
	w->turn_cpu_ns = -1;
	while (!c->stop && !c->lost) {
		struct timespec ts;

		task = consumer_next(c, w->index, ret, &when);
		if (task != TASK_NONE)
			break;
		ts = (struct timespec){when.ns / NS_PER_SEC, when.ns % NS_PER_SEC};
		pthread_cond_timedwait(&c->work[w->index], &c->lock, &ts);
	}
	w->turn_cpu_ns = cpu_ns(pthread_self());
	consumer_unlock(c);
	return task;
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;
	struct host *h;
	enum task task;
	int r = 0;

	do {
		struct err e = {0};

		task = next_task(w, &h);
		if (task == TASK_TAKE)
			r = take_turn(w, h, &e);
		else if (task == TASK_STORE)
			r = store_turn(w, h, &e);
		else if (task == TASK_RELEASE)
			r = release_turn(w, h, &e);
		else if (task == TASK_SWEEP)
			r = sweep_turn(w, h, &e);
		else if (task == TASK_MERGE)
			r = merge_turn(w, h, &e);
		if (task != TASK_NONE && !survive(w, task, r, &e))
			break;
	} while (task != TASK_NONE);
	consumer_lock(w->consumer);
	w->turn_cpu_ns = -1;
	w->consumer->running--;
	consumer_wake(w->consumer);
	consumer_unlock(w->consumer);
	return NULL;
}

int worker_start(struct worker *w, struct consumer *c, unsigned index,
		 const struct worker_conf *conf)
{
	int r;

	*w = (struct worker){.consumer = c, .conf = *conf, .index = index, .turn_cpu_ns = -1};
	consumer_lock(c);
	r = pthread_create(&w->thread, NULL, run_worker, w);
	c->running += !r;
	consumer_unlock(c);
	return -r;
}

void worker_join(struct worker *w)
{
	pthread_join(w->thread, NULL);
}
