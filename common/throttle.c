#include "throttle.h"

#include "clock.h"
#include "daemon.h"
#include "digest.h"
#include "keys.h"
#include "log.h"
#include "stats.h"

#include <pthread.h>

enum state { STATE_OPEN, STATE_SLOW, STATE_PAUSED };
enum { POLL_MS = 500, POLL_MIN_MS = 20, RATE_WINDOW_MS = 1000, LOOK_MS = 2000 };
enum { RATE_UNKNOWN = 1000 };                     /* rows/s, where none has been seen yet */
enum { WAIT_MIN_MS = 1000, WAIT_MAX_MS = 30000 }; /* that others are told to wait */

#define SPACE_PAUSE  0.85
#define SPACE_RESUME 0.80

struct throttle {
	struct etcd *etcd;
	int64_t quota; /* of etcd's database; 0: not known yet */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t changed;
	bool stop;
	bool enabled;
	double share;
	int64_t max_depth, max_bytes, max_lag_ms; /* 0: no limit */
	enum state state;
	double load, fall; /* of the last look, and by how much a second it has become less */
	struct mono looked;
	int64_t depth, lag_ms; /* when it was looked at last */
	int64_t published;     /* messages published here since then */
	bool look_now;
	int64_t messages, bytes; /* published here, for the average */
	double full_rate;        /* rows/s when nothing holds it back */
	int64_t window_rows;     /* rows since window_start */
	struct mono window_start, refilled;
	double tokens;
};

/* ---- the queue's figures --------------------------------------------------------------------- */

struct figures {
	int64_t depth, bytes, lag_ms;
	double space; /* share of etcd's quota that is in use; 0: unknown */
};

static double space_in_use(struct throttle *t)
{
	struct etcd_status s;

	if (!t->quota && etcd_quota(t->etcd, &t->quota, NULL))
		return 0;
	if (t->quota <= 0 || etcd_status(t->etcd, &s, NULL))
		return 0;
	return (double)s.db_size_in_use / (double)t->quota;
}

/* The oldest key and the count come from one request; etcd walks its index for it, which is why it
 * is made twice a second and not for each message. */
static int look(struct throttle *t, struct figures *ret)
{
	struct etcd_reply reply;
	char ulid[27];
	int r = etcd_get(t->etcd, KEY_QUEUE, key_prefix_end(KEY_QUEUE).s, 1, 0, ETCD_KEYS_ONLY,
			 &reply, NULL);

	if (r)
		return r;
	*ret = (struct figures){.depth = reply.ranges[0].count};
	ret->space = space_in_use(t);
	if (reply.ranges[0].n && !key_parse_ulid(reply.ranges[0].kvs[0].key, ulid))
		ret->lag_ms = MAX(wall_now_ns() / NS_PER_MS - ulid_ms(ulid), 0);
	etcd_reply_release(&reply);
	pthread_mutex_lock(&t->lock);
	ret->bytes = t->messages ? ret->depth * (t->bytes / t->messages) : 0;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

/* How often the fullest of the limits is reached. */
static double load(const struct throttle *t, const struct figures *f)
{
	double load = 0;

	if (t->max_depth)
		load = MAX(load, (double)f->depth / (double)t->max_depth);
	if (t->max_bytes)
		load = MAX(load, (double)f->bytes / (double)t->max_bytes);
	if (t->max_lag_ms && f->depth)
		load = MAX(load, (double)f->lag_ms / (double)t->max_lag_ms);
	if (f->space >= SPACE_PAUSE)
		load = MAX(load, 2); /* pauses, until below SPACE_RESUME */
	else if (f->space >= SPACE_RESUME)
		load = MAX(load, t->state == STATE_PAUSED ? 1 : 0);
	return load;
}

static enum state next_state(enum state now, double load)
{
	if (load >= 2 || (now == STATE_PAUSED && load >= 1))
		return STATE_PAUSED;
	return load >= 1 ? STATE_SLOW : STATE_OPEN;
}

static void tell(enum state state, const struct figures *f)
{
	static const char *const text[] = {"publishing at full rate again", "publishing slower",
					   "publishing paused"};

	static struct log_site site;

	log_limited(
		&site, state == STATE_OPEN ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
		"%s: %lld messages (%lld MiB) wait in the queue, the oldest for %.1f s; %.0f %% of "
		"etcd's space is in use%s",
		text[state], (long long)f->depth, (long long)(f->bytes >> 20),
		(double)f->lag_ms / 1000, 100 * f->space,
		state == STATE_PAUSED ? "; rows wait until the collectors have caught up" : "");
}

/* How fast it falls: half of it from this look, half from before. */
static void note_load(struct throttle *t, double now)
{
	double s = (double)MAX(mono_ms_since(t->looked), POLL_MIN_MS) / 1000;

	if (t->looked.ns)
		t->fall = (t->fall + (t->load - now) / s) / 2;
	t->load = now;
	t->looked = mono_now();
}

static void update(struct throttle *t, const struct figures *f)
{
	enum state before, now;

	pthread_mutex_lock(&t->lock);
	before = t->state;
	t->depth = f->depth;
	t->lag_ms = f->depth ? f->lag_ms : 0;
	t->published = 0;
	t->look_now = false;
	note_load(t, load(t, f));
	now = t->state = t->enabled ? next_state(before, t->load) : STATE_OPEN;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	if (before != now)
		tell(now, f);
}

static void wait_changed(struct throttle *t, int64_t ms)
{
	int64_t at = mono_now().ns + ms * NS_PER_MS;
	struct timespec ts = {at / NS_PER_SEC, at % NS_PER_SEC};

	pthread_cond_timedwait(&t->changed, &t->lock, &ts);
}

static void *poll_queue(void *arg)
{
	struct throttle *t = arg;
	struct figures f;
	struct mono looked;

	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		if (!t->enabled) {
			t->state = STATE_OPEN;
			wait_changed(t, POLL_MS);
			continue;
		}
		pthread_mutex_unlock(&t->lock);
		looked = mono_now();
		if (look(t, &f) == 0)
			update(t, &f);
		pthread_mutex_lock(&t->lock);
		while (!t->stop && mono_ms_since(looked) < (t->look_now ? POLL_MIN_MS : POLL_MS))
			wait_changed(t, t->look_now ? POLL_MIN_MS : POLL_MS);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

void throttle_adjust(struct throttle *t, const struct conf *conf)
{
	pthread_mutex_lock(&t->lock);
	t->enabled = conf->throttle_enabled;
	t->share = conf->throttle_rate;
	t->max_depth = conf->throttle_max_queue_depth;
	t->max_bytes = conf->throttle_max_queue_bytes;
	t->max_lag_ms = conf->throttle_max_lag;
	t->look_now = true;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

int throttle_start(struct throttle **ret, struct etcd *c, const struct conf *conf)
{
	struct throttle *t = xcalloc(1, sizeof(*t));
	pthread_condattr_t attr;
	int r;

	t->etcd = c;
	t->quota = conf->etcd_quota;
	t->window_start = t->refilled = mono_now();
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
	throttle_adjust(t, conf);
	r = pthread_create(&t->thread, NULL, poll_queue, t);
	t->started = r == 0;
	if (r)
		throttle_stop(t);
	else
		*ret = t;
	return -r;
}

void throttle_stop(struct throttle *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	if (t->started)
		pthread_join(t->thread, NULL);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- admission ------------------------------------------------------------------------------- */

/* Learns the full rate while nothing holds it back. */
static void measure(struct throttle *t, int64_t rows)
{
	int64_t ms = mono_ms_since(t->window_start);

	t->window_rows += rows;
	if (ms < RATE_WINDOW_MS)
		return;
	if (t->state == STATE_OPEN)
		t->full_rate = (double)t->window_rows * 1000 / (double)ms;
	t->window_rows = 0;
	t->window_start = mono_now();
}

/* Past a limit, rows/s. */
static double rate_now(const struct throttle *t)
{
	return (t->full_rate > 0 ? t->full_rate : RATE_UNKNOWN) * t->share;
}

static void refill(struct throttle *t)
{
	struct mono now = mono_now();
	double rate = rate_now(t);

	t->tokens += rate * (double)(now.ns - t->refilled.ns) / (double)NS_PER_SEC;
	t->tokens = MIN(t->tokens, rate);
	t->refilled = now;
}

/* Takes the tokens of a message, going into debt for at most that one. False: none are there. */
static bool take_tokens(struct throttle *t, int64_t rows)
{
	refill(t);
	if (t->tokens < 0)
		return false;
	t->tokens -= (double)rows;
	return true;
}

/* Between two looks a streamer without collectors could run far past the pause; what it published
 * since counts as queued until the next look says otherwise. */
static bool may_be_past_pause(struct throttle *t)
{
	if (!t->max_depth || t->depth + t->published < 2 * t->max_depth)
		return false;
	t->look_now = true;
	pthread_cond_broadcast(&t->changed);
	return true;
}

static bool may_go(struct throttle *t, int64_t rows)
{
	if (!t->enabled)
		return true;
	if (t->state == STATE_PAUSED || may_be_past_pause(t))
		return false;
	return t->state == STATE_OPEN || take_tokens(t, rows);
}

/* Until the queue is below its limits, if it goes on so. */
static double until_open_ms(const struct throttle *t)
{
	return t->fall > 0 ? (t->load - 1) / t->fall * 1000 : WAIT_MAX_MS;
}

static double until_tokens_ms(struct throttle *t)
{
	double rate = rate_now(t);

	refill(t);
	return t->tokens >= 0 ? 0 : rate > 0 ? -t->tokens / rate * 1000 : until_open_ms(t);
}

int64_t throttle_wait_ms(struct throttle *t)
{
	double ms = 0;

	pthread_mutex_lock(&t->lock);
	if (t->enabled && t->state == STATE_PAUSED)
		ms = MAX(until_open_ms(t), WAIT_MIN_MS);
	else if (t->enabled && may_be_past_pause(t))
		ms = WAIT_MIN_MS;
	else if (t->enabled && t->state == STATE_SLOW)
		ms = until_tokens_ms(t);
	pthread_mutex_unlock(&t->lock);
	return (int64_t)MIN(ms, WAIT_MAX_MS);
}

/* In debt for no longer than anybody is told to wait. */
void throttle_spend(struct throttle *t, int64_t rows)
{
	pthread_mutex_lock(&t->lock);
	measure(t, rows);
	if (t->state != STATE_OPEN) {
		refill(t);
		t->tokens = MAX(t->tokens - (double)rows, -rate_now(t) * WAIT_MAX_MS / 1000);
	}
	pthread_mutex_unlock(&t->lock);
}

void throttle_await_look(struct throttle *t)
{
	struct mono deadline = mono_in_ms(LOOK_MS);

	pthread_mutex_lock(&t->lock);
	while (t->enabled && !t->looked.ns && mono_ms_until(deadline) && !daemon_stopping())
		wait_changed(t, POLL_MS);
	pthread_mutex_unlock(&t->lock);
}

int throttle_admit(struct throttle *t, int64_t rows, bool patient)
{
	bool canceled = false, waited = false;

	pthread_mutex_lock(&t->lock);
	while (!canceled && !may_go(t, rows)) {
		waited = true;
		wait_changed(t, 50);
		canceled = daemon_stopping() && (!patient || daemon_drain_left_ms() <= 0);
	}
	if (!canceled)
		measure(t, rows);
	pthread_mutex_unlock(&t->lock);
	return canceled ? -ECANCELED : waited;
}

void throttle_published(struct throttle *t, int64_t bytes)
{
	pthread_mutex_lock(&t->lock);
	t->messages++;
	t->published++;
	t->bytes += bytes;
	pthread_mutex_unlock(&t->lock);
}

double throttle_rate(struct throttle *t)
{
	double rate;

	pthread_mutex_lock(&t->lock);
	rate = t->state == STATE_OPEN ? 1 : t->state == STATE_SLOW ? t->share : 0;
	pthread_mutex_unlock(&t->lock);
	return rate;
}

int64_t throttle_queue_depth(struct throttle *t)
{
	int64_t depth;

	pthread_mutex_lock(&t->lock);
	depth = t->depth;
	pthread_mutex_unlock(&t->lock);
	return depth;
}

void throttle_report(void *throttle)
{
	struct throttle *t = throttle;

	stats_set(STAT_THROTTLE_RATE, (int64_t)(throttle_rate(t) * 1e6 + 0.5));
	pthread_mutex_lock(&t->lock);
	stats_set(STAT_QUEUE_DEPTH, t->depth);
	stats_set(STAT_PROCESSING_LAG, t->lag_ms);
	pthread_mutex_unlock(&t->lock);
}
