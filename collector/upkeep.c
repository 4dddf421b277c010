#include "upkeep.h"

#include "clock.h"
#include "expiry.h"
#include "log.h"

#include <stdio.h>

enum {
	LOOK_MS = 2000,
	COMPACT_EVERY_MS = 30000,
	MARKS = 8, /* of COMPACT_EVERY_MS each; more than UPKEEP_HISTORY_MS */
	EXPIRE_EVERY_MS = 3600 * 1000,
	DEFRAGMENT_TIMEOUT_MS = 120 * 1000,
	FIT_PERCENT = 90, /* of the quota, for the alarm to be taken back */
};

struct upkeep {
	struct etcd *etcd;
	struct consumer *consumer;
	const struct conf *conf;
	const struct keeping *keeping;
	int64_t age_ns, bytes; /* of it, as looked at last */
	int64_t lease;         /* the session's */
	pthread_t thread;
	bool stop; /* under the consumer's lock */

	struct { /* revisions by when they were new, oldest first */
		int64_t revision;
		struct mono at;
	} marks[MARKS];
	size_t n_marks;
	struct mono next_expiry;
	bool full_told, dead_told;
};

/* ---- compaction ------------------------------------------------------------------------------ */

static void mark(struct upkeep *u, int64_t revision)
{
	if (u->n_marks == MARKS)
		memmove(u->marks, u->marks + 1, --u->n_marks * sizeof(u->marks[0]));
	u->marks[u->n_marks].revision = revision;
	u->marks[u->n_marks++].at = mono_now();
}

/* The newest revision that is old enough to be forgotten; 0: none. */
static int64_t old_revision(const struct upkeep *u)
{
	int64_t revision = 0;

	for (size_t i = 0; i < u->n_marks; i++)
		if (mono_ms_since(u->marks[i].at) >= UPKEEP_HISTORY_MS)
			revision = u->marks[i].revision;
	return revision;
}

static int compact(struct upkeep *u, const struct etcd_status *s, struct err *e)
{
	int64_t revision;
	int r;

	if (u->n_marks && mono_ms_since(u->marks[u->n_marks - 1].at) < COMPACT_EVERY_MS)
		return 0;
	mark(u, s->revision_hint);
	revision = old_revision(u);
	r = revision ? etcd_compact(u->etcd, revision, e) : 0;
	return r == -ESTALE ? 0 : r;
}

/* ---- space ----------------------------------------------------------------------------------- */

static int64_t quota_of(struct upkeep *u)
{
	int64_t bytes = u->conf->etcd_quota;

	return bytes || !etcd_quota(u->etcd, &bytes, NULL) ? bytes : 0;
}

static int defragment_member(struct upkeep *u, const char *endpoint, struct err *e)
{
	struct etcd_conf conf;
	struct etcd *one;
	int r;

	conf_etcd(u->conf, &conf);
	conf.endpoints = endpoint;
	r = etcd_open(&one, &conf, e);
	if (r)
		return r;
	r = etcd_defragment(one, DEFRAGMENT_TIMEOUT_MS, e);
	etcd_close(one);
	return r;
}

/* One member at a time: it does not answer while it is defragmented. */
static int defragment_all(struct upkeep *u, struct err *e)
{
	char *list = xstrdup(u->conf->etcd_endpoints), *at = list, *endpoint;
	int r = 0;

	while (!r && (endpoint = strsep(&at, ",")))
		r = *endpoint ? defragment_member(u, endpoint, e) : 0;
	free(list);
	return r;
}

static void tell_full(struct upkeep *u, const struct etcd_status *s, int64_t quota)
{
	if (!u->full_told)
		log_error(
			"etcd is full of data that are in use (%lld of %lld MiB): raise its quota "
			"or lower RETENTION; until then nothing can be stored",
			(long long)(s->db_size_in_use >> 20), (long long)(quota >> 20));
	u->full_told = true;
}

static int make_space(struct upkeep *u, struct err *e)
{
	int64_t quota = quota_of(u), revision = old_revision(u);
	struct etcd_status s;
	int r = revision ? etcd_compact(u->etcd, revision, e) : 0;

	if (!r || r == -ESTALE)
		r = etcd_status(u->etcd, &s, e);
	if (r)
		return r;
	if (quota && s.db_size_in_use > quota / 100 * FIT_PERCENT) {
		tell_full(u, &s, quota);
		return 0;
	}
	log_warn("etcd has run out of space; defragmenting its members");
	r = defragment_all(u, e);
	if (!r)
		r = etcd_disarm(u->etcd, e);
	if (!r)
		log_info("etcd has space again (%lld MiB in use)",
			 (long long)(s.db_size_in_use >> 20));
	u->full_told = u->full_told && r;
	return r;
}

static int look_at_space(struct upkeep *u, struct err *e)
{
	bool armed = false;
	int r = etcd_nospace(u->etcd, &armed, e);

	return !r && armed ? make_space(u, e) : r;
}

/* ---- dead letters ---------------------------------------------------------------------------- */

static int count_dead(struct upkeep *u, struct err *e)
{
	struct consumer *c = u->consumer;
	struct etcd_reply reply;
	bool full;
	int r = etcd_get(u->etcd, KEY_DEADLETTER, key_prefix_end(KEY_DEADLETTER).s, 0, 0,
			 ETCD_COUNT_ONLY, &reply, e);

	if (r)
		return r;
	full = reply.ranges[0].count >= UPKEEP_DEAD_LETTERS;
	etcd_reply_release(&reply);
	if (full && !u->dead_told)
		log_error(
			"there are %d dead letters: nothing more is dead-lettered, and hosts with "
			"messages that cannot be stored stand still, until some are replayed or "
			"dropped (gputel-collector --dead-letters)",
			UPKEEP_DEAD_LETTERS);
	u->dead_told = full;
	consumer_lock(c);
	c->dead_full = full;
	consumer_unlock(c);
	return 0;
}

/* ---- producers ------------------------------------------------------------------------------- */

static int expire_producers(struct upkeep *u, struct err *e)
{
	if (mono_ms_until(u->next_expiry))
		return 0;
	u->next_expiry = mono_in_ms(EXPIRE_EVERY_MS);
	return expiry_sweep(u->etcd, EXPIRY_PERIOD_S, EXPIRY_PERIODS, e);
}

/* ---- room ------------------------------------------------------------------------------------ */

static void take_sizes(struct consumer *c, struct sizes *ret)
{
	consumer_lock(c);
	roster_each (&c->hosts, i)
		sizes_add_all(ret, &roster_at(&c->hosts, i)->sizes);
	consumer_unlock(c);
}

/* Hosts that have what is to go are swept at once. */
static void keep_from(struct consumer *c, int64_t start_ns)
{
	consumer_lock(c);
	c->keep_from_ns = start_ns;
	roster_each (&c->hosts, i) {
		struct host *h = roster_at(&c->hosts, i);

		if (h->mine && h->sizes.n && h->sizes.list[0].start_ns < start_ns)
			h->sweep = mono_now();
	}
	consumer_wake(c);
	consumer_unlock(c);
}

/* What is kept has changed: every host is looked at anew, for that and to know what it takes. */
static void follow_keeping(struct upkeep *u)
{
	struct consumer *c = u->consumer;

	if (u->age_ns == u->keeping->age_ns && u->bytes == u->keeping->bytes)
		return;
	u->age_ns = u->keeping->age_ns;
	u->bytes = u->keeping->bytes;
	consumer_lock(c);
	c->keep_from_ns = u->bytes ? c->keep_from_ns : INT64_MIN;
	roster_each (&c->hosts, i)
		roster_at(&c->hosts, i)->sweep = mono_now();
	consumer_wake(c);
	consumer_unlock(c);
}

/* A tenth is left free for what comes until the next look, and until the drops are done. */
static int look_at_sizes(struct upkeep *u, struct err *e)
{
	struct sizes mine = {0}, all = {0};
	int64_t max;
	int r;

	follow_keeping(u);
	max = u->bytes;
	if (!max)
		return 0;
	take_sizes(u->consumer, &mine);
	r = sizes_exchange(u->etcd, u->consumer->id, u->lease, &mine, &all, e);
	if (!r)
		keep_from(u->consumer, sizes_keep_from(&all, max - max / 10));
	sizes_release(&mine);
	sizes_release(&all);
	return r;
}

/* ---- thread ---------------------------------------------------------------------------------- */

static void look(struct upkeep *u, bool first)
{
	struct etcd_status s;
	struct err e = {0};
	int r = look_at_sizes(u, &e);

	if (!r)
		r = count_dead(u, &e);
	if (!first)
		u->n_marks = 0;
	if (!r && first)
		r = expire_producers(u, &e);
	if (!r && first && u->conf->etcd_maintenance) {
		r = etcd_status(u->etcd, &s, &e);
		if (!r)
			r = compact(u, &s, &e);
		if (!r)
			r = look_at_space(u, &e);
	}
	if (r && !etcd_transient(r) && r != -ECANCELED)
		log_warn("upkeep: %s", e.text);
}

static void *run(void *arg)
{
	struct upkeep *u = arg;
	struct consumer *c = u->consumer;

	consumer_lock(c);
	while (!u->stop) {
		struct mono next = mono_in_ms(LOOK_MS);
		bool first = group_is_first(&c->group);

		consumer_unlock(c);
		look(u, first);
		consumer_lock(c);
		while (!u->stop && mono_ms_until(next))
			consumer_wait(c, mono_ms_until(next));
	}
	consumer_unlock(c);
	return NULL;
}

int upkeep_start(struct upkeep **ret, struct etcd *etcd, struct consumer *c, int64_t lease,
		 const struct conf *conf, const struct keeping *keeping)
{
	struct upkeep *u = xcalloc(1, sizeof(*u));
	int r;

	u->etcd = etcd;
	u->consumer = c;
	u->lease = lease;
	u->conf = conf;
	u->keeping = keeping;
	u->age_ns = keeping->age_ns;
	u->bytes = keeping->bytes;
	r = pthread_create(&u->thread, NULL, run, u);
	if (r)
		free(u);
	else
		*ret = u;
	return -r;
}

void upkeep_stop(struct upkeep *u)
{
	if (!u)
		return;
	consumer_lock(u->consumer);
	u->stop = true;
	consumer_wake(u->consumer);
	consumer_unlock(u->consumer);
	pthread_join(u->thread, NULL);
	free(u);
}
