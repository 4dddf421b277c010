#include "leases.h"

#include "clock.h"
#include "digest.h"

#include <unistd.h>

enum { TTL_MIN_S = 60, RETRY_BASE_MS = 50, RETRY_MAX_MS = 3000 };

/* The id is ours to choose, so that a repetition is told from a second one. */
static int grant(struct etcd *c, int64_t ttl_s, int64_t *ret, struct err *e)
{
	int64_t id = (int64_t)(random_u64() >> 1) | 1;
	struct backoff b = {0};
	int r;

	while (etcd_transient(r = etcd_lease_grant(c, id, ttl_s, NULL, e)))
		usleep((useconds_t)backoff_next_ms(&b, RETRY_BASE_MS, RETRY_MAX_MS) * 1000);
	if (!r || r == -EEXIST)
		*ret = id;
	return r == -EEXIST ? 0 : r;
}

static bool fits(const struct leases *l, size_t i, int64_t until_ns, size_t keys)
{
	const struct lease *x = &l->open[i].lease;

	return x->id && l->open[i].keys + keys <= LEASE_KEYS && x->until_ns >= until_ns &&
	       x->until_ns <= until_ns + LEASE_SPAN_S * NS_PER_SEC;
}

static void to_front(struct leases *l, size_t i)
{
	__auto_type x = l->open[i];

	memmove(l->open + 1, l->open, i * sizeof(l->open[0]));
	l->open[0] = x;
}

void leases_init(struct leases *l, struct etcd *c)
{
	*l = (struct leases){.etcd = c};
	pthread_mutex_init(&l->lock, NULL);
}

void leases_release(struct leases *l)
{
	pthread_mutex_destroy(&l->lock);
}

static int get_locked(struct leases *l, int64_t until_ns, size_t keys, struct lease *ret,
		      struct err *e)
{
	int64_t now = wall_now_ns(), ttl_s, id;
	size_t i = 0;
	int r;

	while (i < ARRAY_SIZE(l->open) && !fits(l, i, until_ns, keys))
		i++;
	if (i == ARRAY_SIZE(l->open)) {
		ttl_s = MAX((until_ns - now) / NS_PER_SEC + LEASE_SPAN_S, TTL_MIN_S);
		r = grant(l->etcd, ttl_s, &id, e);
		if (r) /* it says nothing of the rows */
			return err_prefix(e, r == -EINVAL ? -EPROTO : r, "lease of stored rows");
		i--;
		l->open[i].lease = (struct lease){id, now + ttl_s * NS_PER_SEC};
		l->open[i].keys = 0;
	}
	to_front(l, i);
	l->open[0].keys += keys;
	*ret = l->open[0].lease;
	return 0;
}

int leases_get(struct leases *l, int64_t until_ns, size_t keys, struct lease *ret, struct err *e)
{
	int r;

	*ret = (struct lease){0, INT64_MAX};
	if (until_ns == INT64_MAX)
		return 0;
	pthread_mutex_lock(&l->lock);
	r = get_locked(l, until_ns, keys, ret, e);
	pthread_mutex_unlock(&l->lock);
	return r;
}
