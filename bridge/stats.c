#include "stats.h"

#include <pthread.h>

#define STATUS_MIN 100
#define STATUS_MAX 599
#define ROUTES_MAX 64

/* Upper bounds in microseconds, the last one is +Inf. */
static const int64_t bounds_us[] = {500,   1000,   2500,   5000,    10000,   25000,
				    50000, 100000, 250000, 1000000, 5000000, INT64_MAX};

struct route_stats {
	uint64_t by_status[STATUS_MAX - STATUS_MIN + 1];
	uint64_t gone; /* the client went */
	uint64_t buckets[ARRAY_SIZE(bounds_us)];
	uint64_t us_sum, n;
};

struct stats {
	pthread_mutex_t lock;
	struct route_stats routes[ROUTES_MAX + 1]; /* under lock; the last: paths that are none */
};

struct stats *stats_new(void)
{
	struct stats *s = xcalloc(1, sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void stats_free(struct stats *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void stats_count_request(struct stats *s, const struct route *route, enum method method, int status,
			 int64_t us)
{
	size_t i = route ? MIN((size_t)(route - routes), ROUTES_MAX) : ROUTES_MAX, b = 0;
	struct route_stats *x = &s->routes[i];

	while (us > bounds_us[b])
		b++;
	pthread_mutex_lock(&s->lock);
	if (status >= STATUS_MIN && status <= STATUS_MAX)
		x->by_status[status - STATUS_MIN]++;
	else
		x->gone++;
	x->buckets[b]++;
	x->us_sum += (uint64_t)us;
	x->n++;
	pthread_mutex_unlock(&s->lock);
}

static const char *label_of(size_t i)
{
	return i < routes_count ? routes[i].pattern : "none";
}

static void add_count(struct strbuf *out, size_t route, const char *code, uint64_t n)
{
	if (n)
		strbuf_addf(out, "gputel_http_requests_total{route=\"%s\",code=\"%s\"} %llu\n",
			    label_of(route), code, (unsigned long long)n);
}

static void add_counts(struct strbuf *out, size_t route, const struct route_stats *x)
{
	char code[] = "000";

	for (int c = STATUS_MIN; c <= STATUS_MAX; c++) {
		code[0] = (char)('0' + c / 100);
		code[1] = (char)('0' + c / 10 % 10);
		code[2] = (char)('0' + c % 10);
		add_count(out, route, code, x->by_status[c - STATUS_MIN]);
	}
	add_count(out, route, "gone", x->gone);
}

static void add_histogram(struct strbuf *out, size_t route, const struct route_stats *x)
{
	static const char name[] = "gputel_http_request_duration_seconds";
	uint64_t n = 0;

	if (!x->n)
		return;
	for (size_t b = 0; b < ARRAY_SIZE(bounds_us); b++) {
		n += x->buckets[b];
		strbuf_addf(out, "%s_bucket{route=\"%s\",le=\"", name, label_of(route));
		if (bounds_us[b] == INT64_MAX)
			strbuf_adds(out, "+Inf");
		else
			strbuf_addf(out, "%g", (double)bounds_us[b] / 1e6);
		strbuf_addf(out, "\"} %llu\n", (unsigned long long)n);
	}
	strbuf_addf(out, "%s_sum{route=\"%s\"} %.6f\n%s_count{route=\"%s\"} %llu\n", name,
		    label_of(route), (double)x->us_sum / 1e6, name, label_of(route),
		    (unsigned long long)x->n);
}

void stats_render(struct stats *s, struct strbuf *out)
{
	pthread_mutex_lock(&s->lock);
	strbuf_adds(out, "# HELP gputel_http_requests_total Requests answered.\n"
			 "# TYPE gputel_http_requests_total counter\n");
	for (size_t i = 0; i <= ROUTES_MAX; i++)
		add_counts(out, i, &s->routes[i]);
	strbuf_adds(out, "# HELP gputel_http_request_duration_seconds From head to last byte.\n"
			 "# TYPE gputel_http_request_duration_seconds histogram\n");
	for (size_t i = 0; i <= ROUTES_MAX; i++)
		add_histogram(out, i, &s->routes[i]);
	pthread_mutex_unlock(&s->lock);
}
