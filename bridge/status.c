/* What speaks of the whole: /api/v1/metrics, /api/v1/queue, /metrics. */
#include "conns.h"
#include "feed.h"
#include "handlers.h"
#include "ingest.h"
#include "render.h"
#include "stats.h"
#include "ws.h"
#include "work.h"

#define TEXT_MAX ((size_t)1 << 30)
#define PROM     "text/plain; version=0.0.4; charset=utf-8"

/* A file of the tree, for tokens that may read all. False: a problem is in a. */
static bool read_file(struct request *q, struct answer *a, const char *path, struct strbuf *out)
{
	struct node *n = NULL;
	int r;

	if (!principal_may_read_all(q->who)) {
		answer_problem(a, 403, "this token may read some hosts only; this is of all");
		return false;
	}
	r = tree_resolve(q->gateway->tree, path, true, &n);
	if (r == 0)
		r = tree_snapshot(q->gateway->tree, n, out, NULL);
	if (r == 0)
		r = out->err;
	node_unref(n);
	if (r)
		answer_errno(a, r, path);
	return r == 0;
}

void handle_fleet_metrics(struct request *q, struct answer *a)
{
	struct strbuf b;

	strbuf_init(&b, TEXT_MAX);
	if (read_file(q, a, ".meta/latest.prom", &b))
		answer_compressible(a, q, PROM, &b);
	strbuf_release(&b);
}

/* name=value lines as an object; what is a number in JSON becomes one. */
static void lines_to_json(const char *p, struct strbuf *out)
{
	const char *before = "{";

	while (*p) {
		size_t n = strcspn(p, "\n"), name = strcspn(p, "=\n");

		if (name < n) {
			strbuf_adds(out, before);
			strbuf_add_json(out, p, name);
			strbuf_addc(out, ':');
			render_value_json(out, (struct slice){p + name + 1, n - name - 1});
			before = ",";
		}
		p += n + (p[n] != '\0');
	}
	strbuf_adds(out, *before == '{' ? "{}\n" : "}\n");
}

void handle_queue(struct request *q, struct answer *a)
{
	struct strbuf lines, b;

	strbuf_init(&lines, TEXT_MAX);
	strbuf_init(&b, TEXT_MAX);
	if (read_file(q, a, ".meta/status", &lines)) {
		lines_to_json(lines.s ? lines.s : "", &b);
		answer_header(a, "Cache-Control", "no-store");
		answer_bytes(a, "application/json", &b);
	}
	strbuf_release(&lines);
	strbuf_release(&b);
}

/* ---- /metrics -------------------------------------------------------------------------------- */

static void report_connections(struct conns *c)
{
	static const char *const names[] = {
		[CONN_IDLE] = "idle", [CONN_BODY] = "body", [CONN_BUSY] = "busy"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		stat_cell_set(stats_cell(STAT_HTTP_CONNECTIONS, names[i], NULL),
			      (int64_t)conns_count(c, (enum conn_state)i));
}

static void report_feed(struct gateway *g)
{
	struct feed_stats s;

	feed_stats(g->feed, &s);
	stats_set(STAT_WEBSOCKET_CLIENTS, g->ws ? (int64_t)ws_count(g->ws) : 0);
	stats_set(STAT_FEED_SUBSCRIBERS, (int64_t)s.subscribers);
	stats_set(STAT_FEED_EVENTS, (int64_t)s.ring_events);
	stats_set(STAT_FEED_BYTES, (int64_t)s.ring_bytes);
}

/* What the whole system's queue is at, by the names that its programs count with. */
static void report_queue(struct view *v)
{
	struct figures f;

	if (view_figures(v, &f))
		figures_report(&f);
}

void status_report(void *gateway)
{
	struct gateway *g = gateway;

	report_connections(g->conns);
	stats_set(STAT_HTTP_JOBS_WAITING, (int64_t)pool_waiting(g->pool));
	report_feed(g);
	ingest_report(g->ingest);
	report_queue(g->view);
}

void handle_own_metrics(struct request *q, struct answer *a)
{
	struct strbuf b;

	if (!principal_may_read_all(q->who)) {
		answer_problem(a, 403, "this token may read some hosts only; this is of all");
		return;
	}
	strbuf_init(&b, TEXT_MAX);
	stats_render(&b);
	answer_header(a, "Cache-Control", "no-store");
	answer_bytes(a, STATS_TYPE, &b);
	strbuf_release(&b);
}
