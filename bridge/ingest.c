#include "ingest.h"

#include <pthread.h>
#include <stdio.h>

#include "map.h"
#include "stats.h"

#define LANES 4

struct ingest {
	struct etcd *etcd;
	const struct conf *conf;
	pthread_mutex_t lock; /* of the beginning */
	struct throttle *throttle;
	struct lane *lanes[LANES]; /* all or none */
	/* Since the start; atomic. */
	int64_t published, duplicate, no_value, invalid, skipped, messages, bytes, refused;
};

struct ingest *ingest_new(struct etcd *etcd, const struct conf *conf)
{
	struct ingest *g = xcalloc(1, sizeof(*g));

	g->etcd = etcd;
	g->conf = conf;
	pthread_mutex_init(&g->lock, NULL);
	return g;
}

static void add(int64_t *to, int64_t n)
{
	__atomic_add_fetch(to, n, __ATOMIC_RELAXED);
}

static void count(const struct push *p, void *arg)
{
	struct ingest *g = arg;

	if (p->error) {
		add(&g->refused, 1);
		return;
	}
	add(&g->bytes, (int64_t)p->body->len);
	add(&g->published, p->replayed ? 0 : p->published);
	add(&g->duplicate, p->replayed ? push_good(p) : p->duplicate);
	add(&g->messages, p->replayed ? 0 : p->messages);
	add(&g->no_value, p->no_value);
	add(&g->invalid, p->invalid);
	add(&g->skipped, p->skipped);
}

/* ---- the beginning --------------------------------------------------------------------------- */

static void stop_lanes(struct ingest *g)
{
	for (size_t i = 0; i < LANES; i++)
		lane_stop(TAKE_PTR(g->lanes[i]));
	throttle_stop(TAKE_PTR(g->throttle));
}

static int start_lanes(struct ingest *g)
{
	struct lane_conf conf = {.etcd = g->etcd, .conf = g->conf, .count = count, .arg = g};
	int r = throttle_start(&g->throttle, g->etcd, g->conf);
	char name[160];

	conf.throttle = g->throttle;
	conf.name = name;
	for (size_t i = 0; i < LANES && !r; i++) {
		snprintf(name, sizeof(name), "ingest-%zu at %s", i + 1, g->conf->service_id);
		g->lanes[i] = lane_start(&conf);
		r = g->lanes[i] ? 0 : -EAGAIN;
	}
	if (r)
		stop_lanes(g);
	return r;
}

static int ensure_lanes(struct ingest *g)
{
	int r = 0;

	pthread_mutex_lock(&g->lock);
	if (!g->throttle)
		r = start_lanes(g);
	pthread_mutex_unlock(&g->lock);
	return r;
}

int ingest_submit(struct ingest *g, struct push *p, const struct peer *client)
{
	const char *name = p->who ? p->who->name : "";
	uint64_t hash = hash64(name, strlen(name), 0);
	int r = ensure_lanes(g);

	hash = hash64(&client->address, sizeof(client->address), hash);
	return r ? r : lane_submit(g->lanes[hash % LANES], p);
}

void ingest_adjust(struct ingest *g)
{
	pthread_mutex_lock(&g->lock);
	if (g->throttle)
		throttle_adjust(g->throttle, g->conf);
	pthread_mutex_unlock(&g->lock);
}

void ingest_free(struct ingest *g)
{
	if (!g)
		return;
	stop_lanes(g);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* ---- figures --------------------------------------------------------------------------------- */

static size_t waiting(struct ingest *g)
{
	size_t n = 0;

	pthread_mutex_lock(&g->lock);
	for (size_t i = 0; i < LANES; i++)
		n += g->lanes[i] ? lane_waiting(g->lanes[i]) : 0;
	pthread_mutex_unlock(&g->lock);
	return n;
}

static long long now(const int64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void ingest_report(struct ingest *g)
{
	const struct {
		const char *outcome;
		const int64_t *counter;
	} rows[] = {
		{"published", &g->published}, {"duplicate", &g->duplicate},
		{"no_value", &g->no_value},   {"invalid", &g->invalid},
		{"skipped", &g->skipped},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		stat_cell_set(stats_cell(STAT_INGEST_ROWS, rows[i].outcome, NULL),
			      now(rows[i].counter));
	stats_set(STAT_INGEST_MESSAGES, now(&g->messages));
	stats_set(STAT_INGEST_BYTES, now(&g->bytes));
	stats_set(STAT_INGEST_REFUSED, now(&g->refused));
	stats_set(STAT_INGEST_WAITING, (int64_t)waiting(g));
}
