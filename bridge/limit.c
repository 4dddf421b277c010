#include "limit.h"

#include <pthread.h>
#include <stdio.h>

#include "clock.h"
#include "map.h"

#define BUCKETS_MAX 10000

struct bucket {
	char key[TOKEN_NAME_MAX + 2];
	double level; /* requests that may come */
	struct mono at;
	struct bucket *newer, *older;
};

struct limiter {
	pthread_mutex_t lock;
	/* Under lock. */
	int64_t rate, burst;
	struct map buckets;
	struct bucket *newest, *oldest;
};

struct limiter *limiter_new(int64_t rate, int64_t burst)
{
	struct limiter *l = xcalloc(1, sizeof(*l));

	l->rate = rate;
	l->burst = burst;
	pthread_mutex_init(&l->lock, NULL);
	return l;
}

void limiter_set(struct limiter *l, int64_t rate, int64_t burst)
{
	pthread_mutex_lock(&l->lock);
	l->rate = rate;
	l->burst = burst;
	pthread_mutex_unlock(&l->lock);
}

void limiter_free(struct limiter *l)
{
	if (!l)
		return;
	map_each (&l->buckets, i)
		free(l->buckets.entries[i].value);
	map_release(&l->buckets);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void key_of(const struct peer *p, const struct principal *who, char key[TOKEN_NAME_MAX + 2])
{
	struct peer network = *p;

	if (who) {
		snprintf(key, TOKEN_NAME_MAX + 2, "@%s", who->name);
		return;
	}
	if (!address_is_v4(&p->address))
		memset(network.address.b + 8, 0, 8);
	peer_format(&network, key);
}

static void link_newest(struct limiter *l, struct bucket *b)
{
	b->newer = NULL;
	b->older = l->newest;
	*(l->newest ? &l->newest->newer : &l->oldest) = b;
	l->newest = b;
}

static void unlist(struct limiter *l, struct bucket *b)
{
	*(b->newer ? &b->newer->older : &l->newest) = b->older;
	*(b->older ? &b->older->newer : &l->oldest) = b->newer;
}

static struct bucket *bucket_new(struct limiter *l, const char *key)
{
	struct bucket *b = xcalloc(1, sizeof(*b));

	if (map_count(&l->buckets) == BUCKETS_MAX) {
		struct bucket *old = l->oldest;

		unlist(l, old);
		map_remove(&l->buckets, old->key, strlen(old->key));
		free(old);
	}
	strcpy(b->key, key);
	b->level = (double)l->burst;
	b->at = mono_now();
	map_put(&l->buckets, b->key, strlen(b->key), b);
	link_newest(l, b);
	return b;
}

static struct bucket *bucket_of(struct limiter *l, const char *key)
{
	struct bucket *b = map_get_str(&l->buckets, key);
	struct mono now = mono_now();

	if (!b)
		return bucket_new(l, key);
	unlist(l, b);
	link_newest(l, b);
	b->level += (double)(now.ns - b->at.ns) / NS_PER_SEC * (double)l->rate;
	b->level = MIN(b->level, (double)l->burst);
	b->at = now;
	return b;
}

static int64_t seconds_to(const struct limiter *l, double from, double to)
{
	double s = (to - from) / (double)l->rate;

	return s <= 0 ? 0 : (int64_t)s + ((double)(int64_t)s < s);
}

/* Under the lock. */
static bool take(struct limiter *l, const char *key, struct limit_state *ret)
{
	struct bucket *b = bucket_of(l, key);
	bool granted = b->level >= 1;

	if (granted)
		b->level--;
	ret->left = (int64_t)b->level;
	ret->full_s = seconds_to(l, b->level, (double)l->burst);
	ret->retry_s = granted ? 0 : MAX(1, seconds_to(l, b->level, 1));
	return granted;
}

bool limiter_take(struct limiter *l, const struct peer *p, const struct principal *who,
		  struct limit_state *ret)
{
	char key[TOKEN_NAME_MAX + 2];
	bool granted;

	key_of(p, who, key);
	pthread_mutex_lock(&l->lock);
	*ret = (struct limit_state){.rate = l->rate, .burst = l->burst};
	granted = !l->rate || take(l, key, ret);
	pthread_mutex_unlock(&l->lock);
	return granted;
}

void limiter_give_back(struct limiter *l, const struct peer *p, const struct principal *who)
{
	char key[TOKEN_NAME_MAX + 2];
	struct bucket *b;

	key_of(p, who, key);
	pthread_mutex_lock(&l->lock);
	b = map_get_str(&l->buckets, key);
	if (b)
		b->level = MIN(b->level + 1, (double)l->burst);
	pthread_mutex_unlock(&l->lock);
}
