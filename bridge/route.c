#include "route.h"

#include "handlers.h"
#include "push.h"

#define GETS (METHOD_GET | METHOD_HEAD)

/* ---- parameters ------------------------------------------------------------------------------ */

#define TEXT     "{\"type\":\"string\"}"
#define WORDS(w) "{\"type\":\"string\",\"enum\":[" w "]}"

#define PARAM_LIMIT                                                                                \
	{                                                                                          \
		"limit", "Records on a page; without it JSON has 100, and the rest is whole",      \
			"{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000}", false             \
	}
#define PARAM_CURSOR                                                                               \
	{                                                                                          \
		"cursor", "next_cursor of the page before", TEXT, false                            \
	}
#define PARAM_FORMAT                                                                               \
	{                                                                                          \
		"format", "Instead of Accept", WORDS("\"json\",\"csv\",\"ndjson\",\"columns\""),   \
			false                                                                      \
	}
#define PARAM_METRIC                                                                               \
	{                                                                                          \
		"metric", "Name of a metric, with * ? [ ]", TEXT, true                             \
	}
#define PARAM_HOST                                                                                 \
	{                                                                                          \
		"host", "Name of a host, with * ? [ ]", TEXT, true                                 \
	}
#define PARAM_GPU                                                                                  \
	{                                                                                          \
		"gpu", "Number of a GPU, with * ? [ ]", TEXT, true                                 \
	}
#define PARAM_UUID                                                                                 \
	{                                                                                          \
		"uuid", "UUID of a GPU, with * ? [ ]", TEXT, true                                  \
	}
#define PARAM_HOSTNAME                                                                             \
	{                                                                                          \
		"hostname", "Only the GPU of this host", TEXT, false                               \
	}
#define PARAMS_END                                                                                 \
	{                                                                                          \
		.name = NULL                                                                       \
	}

static const struct param telemetry_params[] = {
	{"start_time", "Inclusive: RFC 3339, epoch seconds, or e.g. now-5m", TEXT, false},
	{"end_time", "Inclusive, likewise", TEXT, false},
	PARAM_METRIC,
	PARAM_HOSTNAME,
	{"order", "Of event time", WORDS("\"asc\",\"desc\""), false},
	{"step", "Length of a bucket, e.g. 30s, 5m; aligned to the epoch", TEXT, false},
	{"agg", "What a bucket tells", WORDS("\"avg\",\"min\",\"max\",\"sum\",\"count\",\"last\""),
	 false},
	{"layout", "wide: a record a time, metrics as columns", WORDS("\"long\",\"wide\""), false},
	PARAM_LIMIT,
	PARAM_CURSOR,
	PARAM_FORMAT,
	PARAMS_END,
};

static const struct param gpus_params[] = {PARAM_HOST,  PARAM_GPU,    PARAM_UUID,
					   PARAM_LIMIT, PARAM_CURSOR, PARAMS_END};

static const struct param gpu_params[] = {PARAM_HOSTNAME, PARAM_LIMIT, PARAM_CURSOR, PARAMS_END};

static const struct param page_params[] = {PARAM_LIMIT, PARAM_CURSOR, PARAMS_END};

static const struct param hosts_params[] = {PARAM_HOST, PARAM_LIMIT, PARAM_CURSOR, PARAMS_END};

static const struct param latest_params[] = {
	PARAM_HOST,  PARAM_GPU,    PARAM_UUID,   PARAM_METRIC,
	PARAM_LIMIT, PARAM_CURSOR, PARAM_FORMAT, PARAMS_END,
};

/* Of what comes as it is committed. */
static const struct param feed_params[] = {
	PARAM_HOST,
	PARAM_GPU,
	PARAM_UUID,
	PARAM_METRIC,
	{"since", "What was committed after this revision first",
	 "{\"type\":\"integer\",\"minimum\":0}", false},
	{"deflate", "permessage-deflate may be agreed on", "{\"type\":\"boolean\"}", false},
	PARAMS_END,
};

/* ---- headers --------------------------------------------------------------------------------- */

static const char *const ingest_fields[] = {
	"Idempotency-Key", "The same request with the same key is carried out once",
	"Content-Encoding", "gzip; of remote-write: snappy", NULL};

/* ---- the table ------------------------------------------------------------------------------- */

#define ROWS_TYPES                                                                                 \
	"application/json,text/csv,application/x-ndjson,application/vnd.gputel.columns+x-ndjson"

const struct route routes[] = {
	{
		.pattern = "/healthz",
		.methods = GETS,
		.flags = ROUTE_OPEN | ROUTE_FREE,
		.handle = handle_healthz,
		.types = "application/json",
		.summary = "The process is alive",
	},
	{
		.pattern = "/readyz",
		.methods = GETS,
		.flags = ROUTE_OPEN | ROUTE_FREE,
		.handle = handle_readyz,
		.types = "application/json",
		.summary = "It has the store's first list, reaches etcd and is not shutting down",
	},
	{
		.pattern = "/metrics",
		.methods = GETS,
		.flags = ROUTE_FREE | ROUTE_WAITS,
		.handle = handle_own_metrics,
		.types = "text/plain",
		.summary = "The bridge's own counters and the queue's, for Prometheus",
	},
	{
		.pattern = "/openapi.json",
		.methods = GETS,
		.handle = handle_openapi,
		.types = "application/json",
		.summary = "This description",
	},
	{
		.pattern = "/api/v1/gpus",
		.methods = GETS,
		.flags = ROUTE_WAITS,
		.handle = handle_gpus,
		.params = gpus_params,
		.types = "application/json",
		.summary = "All GPUs",
	},
	{
		.pattern = "/api/v1/gpus/{id}",
		.methods = GETS,
		.flags = ROUTE_WAITS,
		.handle = handle_gpu,
		.params = gpu_params,
		.types = "application/json",
		.summary = "A GPU by uuid, host:gpu or gpu_id (that of every host)",
	},
	{
		.pattern = "/api/v1/gpus/{id}/telemetry",
		.methods = GETS,
		.flags = ROUTE_WAITS,
		.handle = handle_telemetry,
		.params = telemetry_params,
		.types = ROWS_TYPES,
		.summary = "Its rows in order of event time",
	},
	{
		.pattern = "/api/v1/hosts",
		.methods = GETS,
		.flags = ROUTE_WAITS,
		.handle = handle_hosts,
		.params = hosts_params,
		.types = "application/json",
		.summary = "All hosts",
	},
	{
		.pattern = "/api/v1/hosts/{host}/gpus",
		.methods = GETS,
		.flags = ROUTE_WAITS,
		.handle = handle_host_gpus,
		.params = page_params,
		.types = "application/json",
		.summary = "The GPUs of a host",
	},
	{
		.pattern = "/api/v1/telemetry/latest",
		.methods = GETS,
		.flags = ROUTE_WAITS,
		.handle = handle_latest,
		.params = latest_params,
		.types = ROWS_TYPES,
		.summary = "The latest row of each series",
	},
	{
		.pattern = "/api/v1/metrics",
		.methods = GETS,
		.flags = ROUTE_WAITS,
		.handle = handle_fleet_metrics,
		.types = "text/plain",
		.summary = "The latest of all, for Prometheus, as dcgm-exporter names it",
	},
	{
		.pattern = "/api/v1/queue",
		.methods = GETS,
		.flags = ROUTE_WAITS,
		.handle = handle_queue,
		.types = "application/json",
		.summary = "The queue in figures, by the names of .meta/status",
	},
	{
		.pattern = "/api/v1/fs/{path…}",
		.methods = GETS,
		.flags = ROUTE_WAITS,
		.handle = handle_fs,
		.waits = fs_waits,
		.types = "",
		.summary = "The tree: a file's bytes, or a folder's entries",
	},
	{
		.pattern = "/api/v1/ingest",
		.methods = METHOD_POST,
		.flags = ROUTE_LATER | ROUTE_WRITES,
		.handle = handle_ingest,
		.types = "application/json",
		.body_max = PUSH_BODY_MAX,
		.body_types = "text/csv, application/x-ndjson, application/x-protobuf (Prometheus "
			      "remote-write 1.0)",
		.fields = ingest_fields,
		.summary = "Rows into the queue; the answer comes when they are committed",
	},
	{
		.pattern = "/api/v1/stream",
		.methods = METHOD_GET,
		.flags = ROUTE_ENDLESS,
		.handle = handle_stream,
		.params = feed_params,
		.types = "text/event-stream",
		.summary = "Rows as they are committed, as server-sent events",
	},
	{
		.pattern = "/api/v1/ws/telemetry",
		.methods = METHOD_GET,
		.handle = handle_websocket,
		.params = feed_params,
		.types = "",
		.summary = "Rows as they are committed, as a WebSocket",
	},
	{
		.pattern = "/",
		.methods = GETS,
		.flags = ROUTE_OPEN,
		.handle = handle_site,
		.types = "text/html",
		.summary = "The fleet at a glance, and live charts",
	},
	{
		.pattern = "/page.css",
		.methods = GETS,
		.flags = ROUTE_OPEN,
		.handle = handle_site,
		.types = "text/css",
		.summary = "Of the page",
	},
	{
		.pattern = "/page.js",
		.methods = GETS,
		.flags = ROUTE_OPEN,
		.handle = handle_site,
		.types = "text/javascript",
		.summary = "Of the page",
	},
	{
		.pattern = "/chart.js",
		.methods = GETS,
		.flags = ROUTE_OPEN,
		.handle = handle_site,
		.types = "text/javascript",
		.summary = "Of the page: Chart.js",
	},
};

const size_t routes_count = ARRAY_SIZE(routes);

/* ---- finding --------------------------------------------------------------------------------- */

static const char ellipsis[] = "…}";

static bool takes_rest(const char *segment, size_t n)
{
	size_t len = sizeof(ellipsis) - 1;

	return n > len && memcmp(segment + n - len, ellipsis, len) == 0;
}

static char *decoded(const char *p, size_t n)
{
	struct strbuf b;
	char *text = NULL;

	strbuf_init(&b, n + 1);
	if (n && percent_decode((struct slice){p, n}, &b) == 0)
		text = strbuf_take(&b);
	strbuf_release(&b);
	return text;
}

static void drop_captures(struct request *q)
{
	for (size_t i = 0; i < CAPTURES_MAX; i++)
		free(TAKE_PTR(q->captures[i]));
}

/* Segment by segment; both begin with '/'. -EINVAL: it fits but for bad encoding. */
static int match(struct request *q, const char *pattern, const char *path)
{
	size_t captured = 0;

	while (*pattern == '/' && *path == '/') {
		size_t n = strcspn(++pattern, "/"), m = strcspn(++path, "/");

		if (takes_rest(pattern, n)) {
			q->captures[captured] = xstrdup(path);
			return 0;
		}
		if (*pattern == '{') {
			q->captures[captured] = decoded(path, m);
			if (!q->captures[captured++])
				return m ? -EINVAL : -ENOENT;
		} else if (n != m || memcmp(pattern, path, n) != 0) {
			return -ENOENT;
		}
		pattern += n;
		path += m;
	}
	if (*pattern == '/' && !*path && takes_rest(pattern + 1, strcspn(pattern + 1, "/"))) {
		q->captures[captured] = xstrdup("");
		return 0;
	}
	return *pattern || *path ? -ENOENT : 0;
}

int route_find(struct request *q)
{
	int r = -ENOENT;

	for (size_t i = 0; i < routes_count && r == -ENOENT; i++) {
		r = match(q, routes[i].pattern, q->path);
		if (r == 0)
			q->route = &routes[i];
		else
			drop_captures(q);
	}
	return r;
}

static const struct {
	enum method method;
	const char *name;
} methods[] = {{METHOD_GET, "GET"},
	       {METHOD_HEAD, "HEAD"},
	       {METHOD_POST, "POST"},
	       {METHOD_OPTIONS, "OPTIONS"}};

void route_allow(const struct route *r, struct strbuf *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if ((r->methods | METHOD_OPTIONS) & methods[i].method)
			strbuf_addf(out, "%s%s", out->len ? ", " : "", methods[i].name);
}

enum method method_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (strcmp(methods[i].name, name) == 0)
			return methods[i].method;
	return METHOD_OTHER;
}
