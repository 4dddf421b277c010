#include "session.h"

#include "etcd_internal.h"

#include <sys/random.h>
#include <time.h>

#define RETRY_BASE_MS 50
#define RETRY_MAX_MS  3000
#define STOP_POLL_MS  100 /* how soon the caller's *stop is seen */

struct session {
	struct etcd *client;
	char *key;
	int64_t revision, lease, ttl_s;
	void (*on_lost)(void *arg);
	void *arg;
	pthread_t thread;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t cond;  /* closing was set */
	bool closing, lost;
	struct mono renewed; /* before the last renewal that succeeded was sent */
};

/* ---- opening -------------------------------------------------------------------------------- */

/* What an opening waits with and for. */
struct opening {
	struct session *session;
	struct slice value;
	int64_t ttl_s; /* asked for; etcd may give more */
	const volatile bool *stop;
	struct backoff backoff;
	bool granted;
};

static int stopped(struct err *e)
{
	return err_set(e, -ECANCELED, "%s", strerror(ECANCELED));
}

static bool is_stopped(const struct opening *o)
{
	return o->stop && __atomic_load_n(o->stop, __ATOMIC_RELAXED);
}

static int pause_opening(struct opening *o, struct err *e)
{
	int64_t left = backoff_next_ms(&o->backoff, RETRY_BASE_MS, RETRY_MAX_MS);

	for (; left > 0 && !is_stopped(o); left -= STOP_POLL_MS) {
		if (etcd_sleep_ms(o->session->client, MIN(left, STOP_POLL_MS)))
			return stopped(e);
	}
	return is_stopped(o) ? stopped(e) : 0;
}

static int random_lease(int64_t *ret, struct err *e)
{
	uint64_t id;

	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		return err_set(e, -errno, "random numbers: %s", strerror(errno));
	*ret = (int64_t)(id >> 1 | 1);
	return 0;
}

/* The lease's time runs at the latest from before the first try that may have been carried out. */
static int grant(struct opening *o, struct err *e)
{
	struct session *s = o->session;
	bool maybe_done = false;
	int r = random_lease(&s->lease, e);

	while (!r) {
		if (!maybe_done)
			s->renewed = mono_now();
		r = etcd_lease_grant(s->client, s->lease, o->ttl_s, &s->ttl_s, e);
		if (!etcd_transient(r))
			break;
		maybe_done |= etcd_unknown(r);
		r = pause_opening(o, e);
	}
	o->granted = r == 0 || r == -EEXIST;
	return o->granted ? 0 : r;
}

/* 0: the key is ours. */
static int judge_put(struct session *s, const struct etcd_reply *reply, struct err *e)
{
	const struct etcd_range *seen = reply->ranges;

	if (reply->succeeded) {
		s->revision = reply->revision;
		return 0;
	}
	if (reply->n_ranges == 1 && seen->n == 1 && seen->kvs[0].lease == s->lease) {
		s->revision = seen->kvs[0].create_rev;
		return 0;
	}
	return err_set(e, -EEXIST, "%s is held by another session", s->key);
}

static int put(struct opening *o, struct err *e)
{
	struct session *s = o->session;
	struct etcd_reply reply = {0};
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, s->client, "session");
	etcd_if_create(&t, s->key, 0);
	etcd_then_put(&t, s->key, o->value, s->lease);
	etcd_else_get(&t, s->key, NULL);
	while (etcd_transient(r = etcd_txn_send(&t, &reply, e))) {
		r = pause_opening(o, e);
		if (r)
			break;
	}
	if (!r)
		r = judge_put(s, &reply, e);
	etcd_reply_release(&reply);
	etcd_txn_release(&t);
	return r;
}

/* ---- keeping -------------------------------------------------------------------------------- */

static int64_t ttl_left_ms(const struct session *s)
{
	return mono_ms_until((struct mono){s->renewed.ns + s->ttl_s * NS_PER_SEC});
}

/* lock is held */
static bool check_lost(struct session *s)
{
	if (!s->lost && ttl_left_ms(s) == 0)
		s->lost = true;
	return s->lost;
}

static void set_renewed(struct session *s, int r, int64_t ttl_s, struct mono sent)
{
	pthread_mutex_lock(&s->lock);
	if (!check_lost(s) && r == 0) {
		s->lost = ttl_s <= 0;
		s->renewed = sent;
	}
	pthread_mutex_unlock(&s->lock);
}

static int renew(struct session *s)
{
	struct mono sent = mono_now();
	int64_t ttl_s = 0, left_ms;
	int r;

	pthread_mutex_lock(&s->lock);
	left_ms = ttl_left_ms(s);
	pthread_mutex_unlock(&s->lock);
	left_ms = MIN(left_ms, etcd_request_timeout_ms(s->client));
	r = etcd_lease_keepalive_within(s->client, s->lease, (int)MAX(left_ms, 1), &ttl_s, NULL);
	set_renewed(s, r, ttl_s, sent);
	return r;
}

/* Sleeps until it is time to renew, to try again, or to close. Returns whether to go on. */
static bool wait_turn(struct session *s, int64_t ms)
{
	struct mono until = mono_in_ms(ms);
	struct timespec ts = {until.ns / NS_PER_SEC, until.ns % NS_PER_SEC};
	bool go_on;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	while (!s->closing && !s->lost && !r)
		r = pthread_cond_clockwait(&s->cond, &s->lock, CLOCK_MONOTONIC, &ts);
	go_on = !s->closing && !check_lost(s);
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

/* A third of the TTL after the last renewal. After a failure sooner, but not past the moment at
 * which the session is lost. */
static int64_t next_wait_ms(struct session *s, int r, struct backoff *backoff)
{
	int64_t third = s->ttl_s * 1000 / 3, left;

	pthread_mutex_lock(&s->lock);
	left = ttl_left_ms(s);
	pthread_mutex_unlock(&s->lock);
	if (r)
		return MIN(MIN(backoff_next_ms(backoff, RETRY_BASE_MS, RETRY_MAX_MS), third), left);
	*backoff = (struct backoff){0};
	return MAX(left - 2 * third, 0);
}

static void *keep(void *arg)
{
	struct session *s = arg;
	struct backoff backoff = {0};
	int r = 0;

	while (wait_turn(s, next_wait_ms(s, r, &backoff)))
		r = renew(s);
	if (session_lost(s) && s->on_lost)
		s->on_lost(s->arg);
	return NULL;
}

/* ---- public --------------------------------------------------------------------------------- */

static void session_free(struct session *s)
{
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->lock);
	free(s->key);
	free(s);
}

static int establish(struct opening *o, struct err *e)
{
	int r;

	do {
		o->session->ttl_s = o->ttl_s;
		r = grant(o, e);
		if (!r)
			r = put(o, e);
		/* -ENOENT: the lease ran out before the key could be put */
	} while (r == -ENOENT);
	return r;
}

int session_open(struct session **ret, struct etcd *c, const char *key, struct slice value,
		 int64_t ttl_s, const volatile bool *stop, void (*on_lost)(void *arg), void *arg,
		 struct err *e)
{
	struct session *s = xcalloc(1, sizeof(*s));
	struct opening o = {.session = s, .value = value, .ttl_s = ttl_s, .stop = stop};
	int r;

	s->client = c;
	s->key = xstrdup(key);
	s->on_lost = on_lost;
	s->arg = arg;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->cond, NULL);
	r = establish(&o, e);
	if (!r && pthread_create(&s->thread, NULL, keep, s))
		r = err_set(e, -EAGAIN, "session %s: no thread for it", key);
	if (!r) {
		*ret = s;
		return 0;
	}
	if (o.granted)
		etcd_lease_revoke_within(c, s->lease, 0, NULL);
	session_free(s);
	return r;
}

void session_close(struct session *s)
{
	struct mono deadline;
	int64_t left_ms;

	if (!s)
		return;
	deadline = mono_in_ms(etcd_request_timeout_ms(s->client));
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	left_ms = mono_ms_until(deadline);
	/* if this fails the key merely stays until the lease runs out */
	if (left_ms > 0 && !session_lost(s))
		etcd_lease_revoke_within(s->client, s->lease, (int)left_ms, NULL);
	session_free(s);
}

const char *session_key(const struct session *s)
{
	return s->key;
}

int64_t session_revision(const struct session *s)
{
	return s->revision;
}

int64_t session_lease(const struct session *s)
{
	return s->lease;
}

bool session_lost(const struct session *s)
{
	struct session *w = (struct session *)(uintptr_t)s;
	bool lost;

	pthread_mutex_lock(&w->lock);
	lost = check_lost(w);
	pthread_mutex_unlock(&w->lock);
	return lost;
}
