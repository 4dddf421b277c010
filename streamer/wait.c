#include "wait.h"

#include "clock.h"
#include "daemon.h"
#include "digest.h"
#include "keys.h"
#include "log.h"
#include "map.h"
#include "message.h"

#include <pthread.h>

enum { ASK = 100, PAUSE_MIN_MS = 5, PAUSE_MAX_MS = 100, LOOK_AFTER_MS = 2000 };

struct wait_list {
	pthread_mutex_t lock;
	char (*ulids)[ULID_LEN + 1];
	size_t n, cap;
	struct map sources; /* that were published before */
};

struct wait_list *wait_list_new(void)
{
	struct wait_list *w = xcalloc(1, sizeof(*w));

	pthread_mutex_init(&w->lock, NULL);
	return w;
}

void wait_list_free(struct wait_list *w)
{
	if (!w)
		return;
	pthread_mutex_destroy(&w->lock);
	map_release(&w->sources);
	free(w->ulids);
	free(w);
}

void wait_list_add(struct wait_list *w, const char *ulid)
{
	pthread_mutex_lock(&w->lock);
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 256;
		w->ulids = xrealloc(w->ulids, w->cap * sizeof(*w->ulids));
	}
	memcpy(w->ulids[w->n++], ulid, ULID_LEN + 1);
	pthread_mutex_unlock(&w->lock);
}

void wait_list_add_source(struct wait_list *w, const char *source)
{
	pthread_mutex_lock(&w->lock);
	map_put(&w->sources, source, strlen(source), w);
	pthread_mutex_unlock(&w->lock);
}

/* ---- messages of earlier runs ---------------------------------------------------------------- */

struct earlier {
	struct wait_list *list;
	struct map known; /* ULIDs in it */
};

static int note_earlier(const struct etcd_kv *kv, void *arg)
{
	struct earlier *x = arg;
	char ulid[ULID_LEN + 1];
	struct message m;

	if (key_parse_ulid(kv->key, ulid) || message_decode(ulid, kv->value, &m, NULL))
		return 0;
	if (map_get_str(&x->list->sources, m.source) && !map_get_str(&x->known, ulid)) {
		map_put(&x->known, ulid, ULID_LEN, x);
		wait_list_add(x->list, ulid);
	}
	message_release(&m);
	return 0;
}

/* At one revision: a message that is recovered or replayed meanwhile is in one place. */
static int list_earlier(struct wait_list *w, struct etcd *c, int64_t *ret_revision, struct err *e)
{
	static const char *const places[] = {KEY_QUEUE, KEY_PROCESSING, KEY_DEADLETTER};
	struct earlier x = {.list = w, .known = MAP_INIT};
	int64_t revision = 0;
	int r = 0;

	for (size_t i = 0; i < w->n; i++)
		map_put(&x.known, w->ulids[i], ULID_LEN, &x);
	for (size_t i = 0; i < ARRAY_SIZE(places) && !r; i++)
		r = etcd_each(c, places[i], key_prefix_end(places[i]).s, revision, 0, note_earlier,
			      &x, i ? NULL : &revision, e);
	map_release(&x.known);
	if (!r)
		*ret_revision = revision;
	return r;
}

static int find_earlier(struct wait_list *w, struct etcd *c, struct mono deadline,
			int64_t *ret_revision, struct err *e)
{
	int r;

	if (!map_count(&w->sources))
		return 0;
	while ((r = list_earlier(w, c, ret_revision, e))) {
		if (r != -ESTALE && !etcd_transient(r))
			return r;
		if (!mono_ms_until(deadline))
			return err_prefix(e, -ETIME, "etcd could not be asked in time");
		if (daemon_sleep_ms(MIN(PAUSE_MAX_MS, mono_ms_until(deadline))))
			return err_set(e, -ECANCELED, "stopped while waiting for etcd");
	}
	return r;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* > 0: none of the n payloads is there. 0: some are; ret_dead counts those among dead letters. */
static int ask(struct etcd *c, char (*ulids)[ULID_LEN + 1], size_t n, size_t *ret_dead,
	       int64_t *ret_revision, struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "wait");
	for (size_t i = 0; i < n; i++) {
		etcd_if_create(&t, key_payload(ulids[i]).s, 0);
		etcd_else_get(&t, key_deadletter(ulids[i]).s, NULL);
	}
	r = etcd_txn_send(&t, &reply, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	*ret_dead = 0;
	for (size_t i = 0; i < reply.n_ranges; i++)
		*ret_dead += reply.ranges[i].n > 0;
	*ret_revision = reply.revision;
	r = reply.succeeded;
	etcd_reply_release(&reply);
	return r;
}

static void look_for_collectors(struct etcd *c, size_t left, bool *told)
{
	struct etcd_reply reply;

	if (*told || etcd_get(c, KEY_CONSUMERS, key_prefix_end(KEY_CONSUMERS).s, 0, 0,
			      ETCD_COUNT_ONLY, &reply, NULL))
		return;
	if (!reply.ranges[0].count) {
		log_warn("no collector is running: up to %zu messages wait to be stored", left);
		*told = true;
	}
	etcd_reply_release(&reply);
}

/* One hundred of them; they end in any order, and all of them must. */
static int wait_some(struct wait_list *w, size_t at, struct etcd *c, struct mono deadline,
		     bool *told, size_t *ret_dead, int64_t *ret_revision, struct err *e)
{
	size_t n = MIN(w->n - at, (size_t)ASK);
	int64_t pause = PAUSE_MIN_MS;
	struct mono started = mono_now();

	for (;;) {
		int r = ask(c, w->ulids + at, n, ret_dead, ret_revision, e);

		if (r > 0 || (!r && *ret_dead == n))
			return 0;
		if (r < 0 && !etcd_transient(r))
			return r;
		/* Some dead, the others stored? A second look at those that are not dead. */
		for (size_t i = 0; !r && *ret_dead && i < n; i++) {
			size_t dead;
			int one = ask(c, w->ulids + at + i, 1, &dead, ret_revision, e);

			if (one < 0 || (!one && !dead))
				break;
			if (i + 1 == n)
				return 0;
		}
		if (!mono_ms_until(deadline))
			return err_set(e, -ETIME, "not all of it was stored in time");
		if (mono_ms_since(started) >= LOOK_AFTER_MS)
			look_for_collectors(c, w->n - at, told);
		if (daemon_sleep_ms(MIN(pause, mono_ms_until(deadline))))
			return err_set(e, -ECANCELED, "stopped while waiting for the collectors");
		pause = MIN(pause * 2, PAUSE_MAX_MS);
	}
}

int wait_list_wait(struct wait_list *w, struct etcd *c, int64_t ms, int64_t *ret_revision,
		   struct err *e)
{
	struct mono deadline = ms < 0 ? (struct mono){INT64_MAX} : mono_in_ms(ms);
	size_t dead = 0, all_dead = 0;
	bool told = false;
	int r = find_earlier(w, c, deadline, ret_revision, e);

	for (size_t at = 0; at < w->n && !r; at += ASK) {
		r = wait_some(w, at, c, deadline, &told, &dead, ret_revision, e);
		all_dead += dead;
		dead = 0;
	}
	if (!r && all_dead)
		r = err_set(e, -EBADMSG, "%zu of %zu messages were dead-lettered", all_dead, w->n);
	return r;
}
