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

static void add_figure(struct strbuf *out, const char *type, const char *name, const char *help,
		       uint64_t value)
{
	strbuf_addf(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name,
		    (unsigned long long)value);
}

static void add_gauge(struct strbuf *out, const char *name, const char *help, uint64_t value)
{
	add_figure(out, "gauge", name, help, value);
}

static void add_connections(struct strbuf *out, struct conns *c)
{
	static const char *const names[] = {
		[CONN_IDLE] = "idle", [CONN_BODY] = "body", [CONN_BUSY] = "busy"};

	strbuf_adds(out, "# HELP gputel_http_connections Connections by what they are at.\n"
			 "# TYPE gputel_http_connections gauge\n");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		strbuf_addf(out, "gputel_http_connections{state=\"%s\"} %zu\n", names[i],
			    conns_count(c, (enum conn_state)i));
}

static void add_tree(struct strbuf *out, struct tree *t)
{
	struct tree_stats s;

	tree_stats(t, &s);
	add_gauge(out, "gputel_hosts", "Hosts in the store.", s.hosts);
	add_gauge(out, "gputel_gpus", "GPUs in the store.", s.gpus);
	add_gauge(out, "gputel_series", "Series in the store.", s.series);
	add_gauge(out, "gputel_chunks", "Chunks in the store.", s.chunks);
	add_gauge(out, "gputel_rows", "Rows in the store.", s.rows);
	add_gauge(out, "gputel_cache_bytes", "Decoded rows held in memory.", s.cache_bytes);
	add_gauge(out, "gputel_revision", "The store's revision that is shown.",
		  (uint64_t)tree_revision(t));
}

/* What the whole system's queue is at, by the names that its programs count with. */
static void add_queue(struct strbuf *out, struct view *v)
{
	struct figures f;

	if (!view_figures(v, &f))
		return;
	const struct {
		const char *name, *help;
		int64_t value;
	} counters[] = {
		{"gputel_messages_published_total", "Messages put in the queue.",
		 f.messages_published},
		{"gputel_messages_processed_total", "Messages whose rows are stored.",
		 f.messages_processed},
		{"gputel_messages_dropped_total", "Dead letters that were deleted.",
		 f.messages_dropped},
		{"gputel_rows_published_total", "Rows put in the queue.", f.rows_published},
		{"gputel_rows_stored_total", "Rows stored since the beginning.", f.rows_stored},
	};

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		add_figure(out, "counter", counters[i].name, counters[i].help,
			   (uint64_t)counters[i].value);
	add_gauge(out, "gputel_queue_depth", "Messages that are queued or claimed.",
		  (uint64_t)MAX(0, f.queue_depth));
	add_gauge(out, "gputel_messages_dead", "Dead letters.", (uint64_t)f.messages_dead);
	strbuf_addf(out,
		    "# HELP gputel_processing_lag_seconds Age of the oldest message that is not "
		    "stored.\n# TYPE gputel_processing_lag_seconds gauge\n"
		    "gputel_processing_lag_seconds %lld.%03lld\n"
		    "# HELP gputel_throttle_rate Share of their rate that streamers are held to.\n"
		    "# TYPE gputel_throttle_rate gauge\ngputel_throttle_rate %s\n",
		    (long long)(f.lag_ms / 1000), (long long)(f.lag_ms % 1000), f.throttle_rate);
}

static void add_feed(struct strbuf *b, struct gateway *g)
{
	struct feed_stats s;

	feed_stats(g->feed, &s);
	add_gauge(b, "gputel_websocket_clients", "WebSockets that are open.",
		  g->ws ? ws_count(g->ws) : 0);
	add_gauge(b, "gputel_feed_subscribers", "WebSockets and event streams.", s.subscribers);
	add_gauge(b, "gputel_feed_events", "Commits that are kept for subscribers.", s.ring_events);
	add_gauge(b, "gputel_feed_bytes", "What they take.", s.ring_bytes);
}

void handle_own_metrics(struct request *q, struct answer *a)
{
	struct gateway *g = q->gateway;
	struct strbuf b;

	if (!principal_may_read_all(q->who)) {
		answer_problem(a, 403, "this token may read some hosts only; this is of all");
		return;
	}
	strbuf_init(&b, TEXT_MAX);
	stats_render(g->stats, &b);
	add_connections(&b, g->conns);
	add_gauge(&b, "gputel_http_jobs_waiting", "Requests that wait for a thread.",
		  pool_waiting(g->pool));
	add_gauge(&b, "gputel_etcd_up", "Whether etcd answers.", etcd_is_up(g->etcd, NULL));
	add_feed(&b, g);
	ingest_render(g->ingest, &b);
	add_tree(&b, g->tree);
	add_queue(&b, g->view);
	answer_header(a, "Cache-Control", "no-store");
	answer_bytes(a, PROM, &b);
}
