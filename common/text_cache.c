#include "text_cache.h"

#include "map.h"

#include <pthread.h>

#define ENTRY_OVERHEAD (sizeof(struct entry) + 96) /* table, key and malloc's own */

#define TEXT_KEY_LEN (TEXT_ID_LEN + 1) /* the kind stands behind the id */

/* A text or a value. Loading entries stand in the table only, ready ones in the list too; a failed
 * one stands in neither and is freed by the last who waited for it. */
struct entry {
	struct entry *newer, *older;
	struct text *text;
	int err;
	unsigned waiters;
	enum { LOADING, READY, FAILED } state;
	uint8_t key[TEXT_KEY_LEN];
};

struct lru {
	struct map table; /* key → entry */
	struct entry *newest, *oldest;
	size_t bytes, max;
};

struct text_cache {
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t settled;
	struct lru texts, values;
	uint64_t hits, misses;
};

/* ---- texts ----------------------------------------------------------------------------------- */

static struct text *text_new(struct strbuf *content)
{
	struct text *t = xcalloc(1, sizeof(*t));

	t->refs = 1;
	t->len = content->len;
	t->s = strbuf_take(content);
	return t;
}

static struct text *text_ref(struct text *t)
{
	__atomic_fetch_add(&t->refs, 1, __ATOMIC_RELAXED);
	return t;
}

void text_unref(struct text *t)
{
	if (!t || __atomic_fetch_sub(&t->refs, 1, __ATOMIC_ACQ_REL) > 1)
		return;
	free(t->s);
	free(t);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static size_t entry_cost(const struct entry *e)
{
	return ENTRY_OVERHEAD + sizeof(*e->text) + e->text->len;
}

static void lru_link(struct lru *l, struct entry *e)
{
	e->newer = NULL;
	e->older = l->newest;
	if (l->newest)
		l->newest->newer = e;
	else
		l->oldest = e;
	l->newest = e;
}

static void lru_unlink(struct lru *l, struct entry *e)
{
	*(e->newer ? &e->newer->older : &l->newest) = e->older;
	*(e->older ? &e->older->newer : &l->oldest) = e->newer;
}

static void lru_touch(struct lru *l, struct entry *e)
{
	if (l->newest == e)
		return;
	lru_unlink(l, e);
	lru_link(l, e);
}

static void lru_remove(struct lru *l, struct entry *e)
{
	lru_unlink(l, e);
	map_remove(&l->table, e->key, TEXT_KEY_LEN);
	l->bytes -= entry_cost(e);
	text_unref(e->text);
	free(e);
}

/* Entries that somebody is about to take are passed over. */
static void lru_trim(struct lru *l)
{
	struct entry *e = l->oldest;

	while (e && l->bytes > l->max) {
		struct entry *newer = e->newer;

		if (!e->waiters)
			lru_remove(l, e);
		e = newer;
	}
}

static void lru_ready(struct lru *l, struct entry *e, struct text *t)
{
	e->text = t;
	e->state = READY;
	l->bytes += entry_cost(e);
	lru_link(l, e);
	lru_trim(l);
}

static void key_of(uint8_t key[TEXT_KEY_LEN], const uint8_t *id, enum text_kind kind)
{
	memcpy(key, id, TEXT_ID_LEN);
	key[TEXT_ID_LEN] = (uint8_t)kind;
}

static struct entry *lru_get(const struct lru *l, const uint8_t key[TEXT_KEY_LEN])
{
	return map_get(&l->table, key, TEXT_KEY_LEN);
}

static struct entry *lru_add(struct lru *l, const uint8_t key[TEXT_KEY_LEN])
{
	struct entry *e = xcalloc(1, sizeof(*e));

	memcpy(e->key, key, TEXT_KEY_LEN);
	map_put(&l->table, key, TEXT_KEY_LEN, e);
	return e;
}

static void lru_release(struct lru *l)
{
	while (l->oldest)
		lru_remove(l, l->oldest);
	map_release(&l->table);
}

/* ---- the cache ------------------------------------------------------------------------------- */

void text_cache_resize(struct text_cache *c, size_t max)
{
	pthread_mutex_lock(&c->lock);
	c->values.max = max / 4;
	c->texts.max = max - c->values.max;
	lru_trim(&c->values);
	lru_trim(&c->texts);
	pthread_mutex_unlock(&c->lock);
}

struct text_cache *text_cache_new(size_t max)
{
	struct text_cache *c = xcalloc(1, sizeof(*c));

	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->settled, NULL);
	text_cache_resize(c, max);
	return c;
}

void text_cache_free(struct text_cache *c)
{
	if (!c)
		return;
	lru_release(&c->texts);
	lru_release(&c->values);
	pthread_cond_destroy(&c->settled);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Under the lock: what another thread's build comes to. */
static int wait_settled(struct text_cache *c, struct entry *e, struct text **ret)
{
	int r = 0;

	e->waiters++;
	while (e->state == LOADING)
		pthread_cond_wait(&c->settled, &c->lock);
	e->waiters--;
	if (e->state == READY)
		*ret = text_ref(e->text);
	else
		r = e->err;
	if (e->state == FAILED && !e->waiters)
		free(e);
	return r;
}

static void settle_failed(struct lru *l, struct entry *e, int r)
{
	map_remove(&l->table, e->key, TEXT_KEY_LEN);
	e->state = FAILED;
	e->err = r;
	if (!e->waiters)
		free(e);
}

/* The lock is held on entry and on return. */
static int load(struct text_cache *c, struct lru *l, struct entry *e, size_t max,
		int (*build)(struct strbuf *out, void *arg), void *arg, struct text **ret)
{
	struct strbuf out;
	int r;

	pthread_mutex_unlock(&c->lock);
	strbuf_init(&out, max);
	r = build(&out, arg);
	if (!r)
		r = out.err;
	if (!r)
		*ret = text_new(&out);
	strbuf_release(&out);
	pthread_mutex_lock(&c->lock);
	if (r)
		settle_failed(l, e, r);
	else
		lru_ready(l, e, text_ref(*ret));
	pthread_cond_broadcast(&c->settled);
	return r;
}

static struct lru *lru_of(struct text_cache *c, enum text_kind kind)
{
	return kind == TEXT_VALUE ? &c->values : &c->texts;
}

int text_cache_get(struct text_cache *c, enum text_kind kind, const uint8_t id[TEXT_ID_LEN],
		   size_t max, int (*build)(struct strbuf *out, void *arg), void *arg,
		   struct text **ret)
{
	struct lru *l = lru_of(c, kind);
	uint8_t key[TEXT_KEY_LEN];
	struct entry *e;
	int r = 0;

	key_of(key, id, kind);
	pthread_mutex_lock(&c->lock);
	e = lru_get(l, key);
	if (e && e->state == READY) {
		c->hits++;
		lru_touch(l, e);
		*ret = text_ref(e->text);
	} else if (e) {
		c->hits++;
		r = wait_settled(c, e, ret);
	} else {
		c->misses++;
		r = load(c, l, lru_add(l, key), max, build, arg, ret);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

void text_cache_put_value(struct text_cache *c, const uint8_t id[TEXT_ID_LEN], struct slice value)
{
	uint8_t key[TEXT_KEY_LEN];
	struct strbuf copy;
	struct text *t;

	key_of(key, id, TEXT_VALUE);
	strbuf_init(&copy, value.len + 1);
	strbuf_add_slice(&copy, value);
	t = text_new(&copy);
	pthread_mutex_lock(&c->lock);
	if (lru_get(&c->values, key))
		text_unref(t);
	else
		lru_ready(&c->values, lru_add(&c->values, key), t);
	pthread_mutex_unlock(&c->lock);
}

static void drop_ready(struct lru *l, const uint8_t key[TEXT_KEY_LEN])
{
	struct entry *e = lru_get(l, key);

	if (e && e->state == READY && !e->waiters)
		lru_remove(l, e);
}

void text_cache_drop(struct text_cache *c, const uint8_t id[TEXT_ID_LEN])
{
	uint8_t key[TEXT_KEY_LEN];

	pthread_mutex_lock(&c->lock);
	for (enum text_kind kind = 0; kind < TEXT_KINDS; kind++) {
		key_of(key, id, kind);
		drop_ready(lru_of(c, kind), key);
	}
	pthread_mutex_unlock(&c->lock);
}

void text_cache_stats(struct text_cache *c, struct text_cache_stats *ret)
{
	pthread_mutex_lock(&c->lock);
	*ret = (struct text_cache_stats){
		.bytes = c->texts.bytes + c->values.bytes,
		.texts = map_count(&c->texts.table),
		.values = map_count(&c->values.table),
		.hits = c->hits,
		.misses = c->misses,
	};
	pthread_mutex_unlock(&c->lock);
}
