/* How fast a process that starts shows a store, and how fast rows come out of it.
 *
 *	reads start ENDPOINT                         from nothing to the latest of everything
 *	reads range ENDPOINT HOST GPU LIMIT TIMES    queries of LIMIT rows from anywhere in the
 *GPU's rows, each first cold, then warm
 *
 * Times in milliseconds, one JSON line. */
#include "clock.h"
#include "digest.h"
#include "query.h"
#include "view.h"

#include <stdio.h>
#include <sys/resource.h>

#define READY_MS 120000

static double ms_since(struct mono t)
{
	return (double)(mono_now().ns - t.ns) / NS_PER_MS;
}

static double cpu_ms(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static long rss_kib(void)
{
	char line[256];
	long kib = 0;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmRSS:", 6))
			kib = strtol(line + 6, NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

/* ---- a reader -------------------------------------------------------------------------------- */

struct reads {
	struct etcd *etcd;
	struct view *view;
};

static void fail(const char *what)
{
	fprintf(stderr, "reads: %s\n", what);
	exit(1);
}

static void start(struct reads *r, const char *endpoint)
{
	struct etcd_conf conf = {.endpoints = endpoint,
				 .prefix = "",
				 .dial_timeout_ms = 5000,
				 .request_timeout_ms = 20000,
				 .max_inflight = 16};
	struct err e = {"digest"};

	if (digest_init() || etcd_open(&r->etcd, &conf, &e) ||
	    view_open(&r->view, r->etcd, 60000, (size_t)256 << 20, &e))
		fail(e.text);
	if (!view_wait_ready(r->view, READY_MS))
		fail("no list came in");
}

static void stop(struct reads *r)
{
	etcd_cancel(r->etcd);
	view_close(r->view);
	etcd_close(r->etcd);
}

/* ---- latest of everything -------------------------------------------------------------------- */

static int count_row(const struct query_gpu *g, const struct query_row *row, void *arg)
{
	++*(uint64_t *)arg;
	return 0;
}

struct all {
	struct tree *tree;
	uint64_t gpus, rows;
};

static int count_gpu(const struct query_gpu *g, void *arg)
{
	struct all *a = arg;

	a->gpus++;
	return query_latest(a->tree, g->host, g->gpu, count_row, &a->rows);
}

static int bench_start(char **argv)
{
	struct mono begun = mono_now(), listed;
	struct reads r = {0};
	double ready, latest;
	struct all all = {0};

	start(&r, argv[2]);
	ready = ms_since(begun);
	all.tree = view_tree(r.view);
	listed = mono_now();
	if (query_gpus(all.tree, NULL, count_gpu, &all, NULL))
		fail("no GPUs");
	latest = ms_since(listed);
	printf("{\"ready_ms\": %.1f, \"latest_ms\": %.1f, \"cpu_ms\": %.1f, \"rss_mib\": %.1f, "
	       "\"gpus\": %llu, \"rows\": %llu}\n",
	       ready, latest, cpu_ms(), (double)rss_kib() / 1024, (unsigned long long)all.gpus,
	       (unsigned long long)all.rows);
	stop(&r);
	return 0;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static double read_once(struct tree *t, struct query_range *range, int limit)
{
	struct mono begun = mono_now();
	struct query_row row;
	struct query *q;
	int n = 0;

	if (query_open(&q, t, range))
		fail("query");
	while (n < limit && query_next(q, &row) > 0)
		n++;
	query_close(q);
	if (n < limit)
		fail("fewer rows than asked for");
	return ms_since(begun);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_times(const char *name, double *ms, int n, const char *end)
{
	qsort(ms, (size_t)n, sizeof(*ms), by_value);
	printf("\"%s\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}%s", name, ms[n / 2],
	       ms[(n - 1) * 99 / 100], ms[n - 1], end);
}

static int note_newest(const struct query_gpu *g, const struct query_row *row, void *arg)
{
	int64_t *newest = arg;

	*newest = MAX(*newest, row->time.ns);
	return 0;
}

static int64_t newest_ns(const char *host, const char *gpu, struct tree *t)
{
	int64_t newest = 0;

	if (query_latest(t, host, gpu, note_newest, &newest))
		fail("no such GPU");
	return newest;
}

static int bench_range(char **argv)
{
	int limit = atoi(argv[5]), times = MAX(atoi(argv[6]), 1);
	struct query_range range = {.host = argv[3], .gpu = argv[4], .max_revision = INT64_MAX};
	double *cold = xcalloc((size_t)times, sizeof(*cold));
	double *warm = xcalloc((size_t)times, sizeof(*warm));

	for (int i = 0; i < times; i++) {
		struct reads r = {0};
		int64_t newest;

		start(&r, argv[2]);
		newest = newest_ns(argv[3], argv[4], view_tree(r.view));
		range.to_ns = newest - (int64_t)i * 22 * 3600 / times * NS_PER_SEC;
		range.from_ns = range.to_ns - 86400 * NS_PER_SEC;
		range.descending = true;
		cold[i] = read_once(view_tree(r.view), &range, limit);
		warm[i] = read_once(view_tree(r.view), &range, limit);
		stop(&r);
	}
	putchar('{');
	print_times("cold_ms", cold, times, ", ");
	print_times("warm_ms", warm, times, "}\n");
	free(cold);
	free(warm);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "start"))
		return bench_start(argv);
	if (argc == 7 && !strcmp(argv[1], "range"))
		return bench_range(argv);
	fprintf(stderr, "usage: reads start ENDPOINT | range ENDPOINT HOST GPU LIMIT TIMES\n");
	return 2;
}
