#include "events.h"

#include "clock.h"

#define FLEET_MS 250 /* between two rounds of what is dear to render */

struct events {
	struct toucher *toucher;
	void (*sent)(int64_t revision, void *arg);
	void *arg;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* Under lock. */
	struct touches pending;
	int64_t revision; /* of what was added last */
	bool added, stopping;
	struct map expected; /* paths of the batch that is under way */
	enum touch_op expected_op;

	struct mono fleet_at; /* of the thread: when the last such round was */
};

/* ---- for operations --------------------------------------------------------------------------
 */

bool events_own(const struct events *e, fuse_req_t req)
{
	pid_t pid = e && e->toucher ? toucher_pid(e->toucher) : 0;

	return pid > 0 && fuse_req_ctx(req)->pid == pid;
}

bool events_expect(struct events *e, enum touch_op op, const char *path)
{
	bool expected;

	pthread_mutex_lock(&e->lock);
	expected = op == e->expected_op && map_get_str(&e->expected, path);
	pthread_mutex_unlock(&e->lock);
	return expected;
}

/* Times need no watching over: any file may be touched at any time. */
static void expect(struct events *e, enum touch_op op, char *const *paths, size_t n)
{
	pthread_mutex_lock(&e->lock);
	map_release(&e->expected);
	e->expected_op = op;
	for (size_t i = 0; op != TOUCH_MODIFY && i < n; i++)
		map_put(&e->expected, paths[i], strlen(paths[i]), e);
	pthread_mutex_unlock(&e->lock);
}

/* ---- batches ---------------------------------------------------------------------------------
 */

static int run_batch(struct events *e, enum touch_op op, char *const *paths, size_t n,
		     uint8_t *errors)
{
	int r;

	expect(e, op, paths, n);
	r = toucher_run(e->toucher, op, paths, n, errors);
	expect(e, TOUCH_MODIFY, NULL, 0);
	return r;
}

static int touch_rank(struct events *e, enum touch_rank rank, const struct touch_list *l)
{
	uint8_t errors[TOUCH_BATCH_MAX];
	int r = 0;

	for (size_t at = 0; at < l->n && r == 0; at += TOUCH_BATCH_MAX)
		r = run_batch(e, touch_rank_op(rank), l->paths + at,
			      MIN(l->n - at, (size_t)TOUCH_BATCH_MAX), errors);
	return r;
}

static void touch_all(struct events *e, const struct touches *t)
{
	int r = e->toucher ? 0 : -EPIPE;

	for (enum touch_rank rank = 0; rank < RANKS && r == 0; rank++)
		r = touch_rank(e, rank, &t->ranks[rank]);
	if (t->ranks[RANK_FLEET].n)
		e->fleet_at = mono_now();
}

/* ---- the thread ------------------------------------------------------------------------------
 */

static bool only_fleet(const struct touches *t)
{
	return map_count(&t->seen) == t->ranks[RANK_FLEET].n;
}

/* How long what is pending has to wait, in ms; 0: it is to be done now, -1: there is nothing. */
static int64_t pause_ms(const struct events *e)
{
	int64_t since = e->fleet_at.ns ? mono_ms_since(e->fleet_at) : FLEET_MS;

	if (e->stopping || e->added)
		return 0;
	if (!touches_any(&e->pending))
		return -1;
	return only_fleet(&e->pending) && since < FLEET_MS ? FLEET_MS - since : 0;
}

static void wait_pending(struct events *e)
{
	int64_t ms;

	while ((ms = pause_ms(e)) != 0) {
		struct mono until = mono_in_ms(ms);
		struct timespec ts = {until.ns / NS_PER_SEC, until.ns % NS_PER_SEC};

		if (ms < 0)
			pthread_cond_wait(&e->wake, &e->lock);
		else
			pthread_cond_timedwait(&e->wake, &e->lock, &ts);
	}
}

/* What is to be done now; the fleet's files stay until it is their time again. */
static struct touches take(struct events *e)
{
	struct touches now = e->pending;
	struct touches later = {0};

	if (e->fleet_at.ns && mono_ms_since(e->fleet_at) < FLEET_MS) {
		for (size_t i = 0; i < now.ranks[RANK_FLEET].n; i++)
			touches_add(&later, RANK_FLEET, now.ranks[RANK_FLEET].paths[i]);
		for (size_t i = 0; i < now.ranks[RANK_FLEET].n; i++)
			free(now.ranks[RANK_FLEET].paths[i]);
		now.ranks[RANK_FLEET].n = 0;
	}
	e->pending = later;
	e->added = false;
	return now;
}

static void *run(void *arg)
{
	struct events *e = arg;

	pthread_mutex_lock(&e->lock);
	for (;;) {
		struct touches t;
		int64_t revision;

		wait_pending(e);
		if (e->stopping)
			break;
		t = take(e);
		revision = e->revision;
		pthread_mutex_unlock(&e->lock);
		touch_all(e, &t);
		touches_release(&t);
		e->sent(revision, e->arg);
		pthread_mutex_lock(&e->lock);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------
 */

void events_add(struct events *e, struct touches *t, int64_t revision)
{
	pthread_mutex_lock(&e->lock);
	touches_join(&e->pending, t);
	e->revision = MAX(e->revision, revision);
	e->added = true;
	pthread_cond_signal(&e->wake);
	pthread_mutex_unlock(&e->lock);
}

static void sync_init(struct events *e)
{
	pthread_condattr_t a;

	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&e->wake, &a);
	pthread_condattr_destroy(&a);
}

struct events *events_start(struct toucher *toucher, void (*sent)(int64_t revision, void *arg),
			    void *arg)
{
	struct events *e = xcalloc(1, sizeof(*e));

	e->toucher = toucher;
	e->sent = sent;
	e->arg = arg;
	sync_init(e);
	if (pthread_create(&e->thread, NULL, run, e)) {
		events_free(e);
		return NULL;
	}
	return e;
}

void events_stop(struct events *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	pthread_cond_signal(&e->wake);
	pthread_mutex_unlock(&e->lock);
	if (e->toucher)
		toucher_stop(e->toucher);
	pthread_join(e->thread, NULL);
}

void events_free(struct events *e)
{
	if (!e)
		return;
	touches_release(&e->pending);
	map_release(&e->expected);
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->wake);
	free(e);
}
