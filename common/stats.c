#include "stats.h"

#include <pthread.h>
#include <stdatomic.h>

#include "conf.h"
#include "map.h"
#include "stats_process.h"

#define LABELS_MAX 2
#define KEY_LEN    1024 /* of the labels' text; longer values are cut */

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct family {
	const char *name;
	enum kind kind;
	int64_t per; /* so many make one of the unit shown; a power of ten */
	unsigned programs;
	const char *help;
	const char *labels[LABELS_MAX];
};

#define S      CONF_STREAMER
#define C      CONF_COLLECTOR
#define F      CONF_FS
#define B      CONF_BRIDGE
#define QUEUE  (S | C)
#define VIEWS  (F | B)
#define ALL    CONF_ALL
#define US     1000000
#define MILLIS 1000

static const struct family families[STATS] = {
	[STAT_BUILD_INFO] =
		{"gputel_build_info", GAUGE, 1, ALL, "Always 1.", {"program", "version"}},
	[STAT_MESSAGES_PUBLISHED] = {"gputel_messages_published_total", COUNTER, 1, QUEUE,
				     "Messages put in the queue."},
	[STAT_MESSAGES_CONSUMED] = {"gputel_messages_consumed_total", COUNTER, 1, QUEUE,
				    "Messages claimed, each attempt."},
	[STAT_MESSAGES_PROCESSED] = {"gputel_messages_processed_total", COUNTER, 1, QUEUE,
				     "Messages whose rows are stored."},
	[STAT_MESSAGES_DUPLICATED] = {"gputel_messages_duplicated_total", COUNTER, 1, QUEUE,
				      "Messages that were published before and not once more."},
	[STAT_MESSAGES_INVALID] = {"gputel_messages_invalid_total", COUNTER, 1, QUEUE,
				   "Messages dead-lettered for what is in them."},
	[STAT_MESSAGES_THROTTLED] = {"gputel_messages_throttled_total", COUNTER, 1, QUEUE,
				     "Messages that back-pressure made wait."},
	[STAT_BATCHES_PROCESSED] = {"gputel_batches_processed_total", COUNTER, 1, QUEUE,
				    "Transactions that stored messages."},
	[STAT_DATABASE_ERRORS] = {"gputel_database_errors_total", COUNTER, 1, QUEUE,
				  "Requests to etcd that failed."},
	[STAT_PUBLISH_ERRORS] = {"gputel_publish_errors_total", COUNTER, 1, QUEUE,
				 "Attempts to publish that failed."},
	[STAT_CSV_READ_ERRORS] = {"gputel_csv_read_errors_total", COUNTER, 1, QUEUE,
				  "Rows of CSV that are invalid, and files that cannot be read."},
	[STAT_QUEUE_DEPTH] = {"gputel_queue_depth", GAUGE, 1, QUEUE, "Messages that are queued."},
	[STAT_THROTTLE_RATE] = {"gputel_throttle_rate", GAUGE, US, QUEUE,
				"Share of its full rate that a streamer is held to."},
	[STAT_PROCESSING_LAG] = {"gputel_processing_lag_seconds", GAUGE, MILLIS, QUEUE,
				 "Age of the oldest message that is not stored."},
	[STAT_PROCESSING_LATENCY] = {"gputel_processing_latency_seconds", HISTOGRAM, US, C,
				     "From publishing a message to storing it."},
	[STAT_ROWS_PUBLISHED] = {"gputel_rows_published_total", COUNTER, 1, S,
				 "Rows put in the queue."},
	[STAT_ROWS_STORED] = {"gputel_rows_stored_total", COUNTER, 1, C, "Rows stored."},
	[STAT_ROWS_DUPLICATED] = {"gputel_rows_duplicated_total", COUNTER, 1, S,
				  "Rows that were published before."},
	[STAT_ROWS_NO_VALUE] = {"gputel_rows_no_value_total", COUNTER, 1, S,
				"Rows without a value."},
	[STAT_ROWS_INVALID] = {"gputel_rows_invalid_total", COUNTER, 1, S,
			       "Rows that are invalid."},
	[STAT_NO_VALUE] =
		{"gputel_no_value_total", COUNTER, 1, S, "Rows without a value.", {"metric"}},
	[STAT_SCRAPE_UP] = {"gputel_scrape_up",
			    GAUGE,
			    1,
			    S,
			    "Whether the last scrape got an answer.",
			    {"target"}},
	[STAT_SCRAPE_DURATION] = {"gputel_scrape_duration_seconds",
				  GAUGE,
				  US,
				  S,
				  "What the last scrape took.",
				  {"target"}},
	[STAT_SCRAPE_SAMPLES] = {"gputel_scrape_samples",
				 GAUGE,
				 1,
				 S,
				 "Samples of GPUs with a value in the last scrape.",
				 {"target"}},
	[STAT_SCRAPE_OTHER_SAMPLES] = {"gputel_scrape_other_samples_total",
				       COUNTER,
				       1,
				       S,
				       "Samples that are of no GPU.",
				       {"target"}},
	[STAT_SCRAPES] = {"gputel_scrapes_total", COUNTER, 1, S, "Scrapes.", {"target"}},
	[STAT_SCRAPES_FAILED] = {"gputel_scrapes_failed_total",
				 COUNTER,
				 1,
				 S,
				 "Scrapes without an answer that counts.",
				 {"target"}},
	[STAT_SCRAPES_SKIPPED] = {"gputel_scrapes_skipped_total",
				  COUNTER,
				  1,
				  S,
				  "Scrapes whose samples found no room.",
				  {"target"}},
	[STAT_SCRAPES_MISSED] = {"gputel_scrapes_missed_total",
				 COUNTER,
				 1,
				 S,
				 "Times at which the scrape before was not over.",
				 {"target"}},
	[STAT_NVML_UP] = {"gputel_nvml_up", GAUGE, 1, S, "Whether the GPU is there.", {"gpu"}},
	[STAT_NVML_ERRORS] = {"gputel_nvml_errors_total",
			      COUNTER,
			      1,
			      S,
			      "Reads that failed of what the GPU has.",
			      {"gpu", "field"}},
	[STAT_NVML_ROUNDS] = {"gputel_nvml_rounds_total",
			      COUNTER,
			      1,
			      S,
			      "Times that the GPU was read.",
			      {"gpu"}},
	[STAT_NVML_ROUNDS_SKIPPED] = {"gputel_nvml_rounds_skipped_total",
				      COUNTER,
				      1,
				      S,
				      "Rounds whose rows found no room.",
				      {"gpu"}},
	[STAT_NVML_ROUNDS_MISSED] = {"gputel_nvml_rounds_missed_total",
				     COUNTER,
				     1,
				     S,
				     "Times at which the round before was not over.",
				     {"gpu"}},
	/* Of all programs together. */
	[STAT_ALL_PUBLISHED] = {"gputel_messages_published_total", COUNTER, 1, B,
				"Messages put in the queue."},
	[STAT_ALL_CONSUMED] = {"gputel_messages_consumed_total", COUNTER, 1, B,
			       "Messages claimed, each attempt."},
	[STAT_ALL_PROCESSED] = {"gputel_messages_processed_total", COUNTER, 1, B,
				"Messages whose rows are stored."},
	[STAT_ALL_DUPLICATED] = {"gputel_messages_duplicated_total", COUNTER, 1, B,
				 "Messages that were published before and not once more."},
	[STAT_ALL_INVALID] = {"gputel_messages_invalid_total", COUNTER, 1, B,
			      "Messages dead-lettered for what is in them."},
	[STAT_ALL_THROTTLED] = {"gputel_messages_throttled_total", COUNTER, 1, B,
				"Messages that back-pressure made wait."},
	[STAT_ALL_DROPPED] = {"gputel_messages_dropped_total", COUNTER, 1, B,
			      "Dead letters that were deleted."},
	[STAT_ALL_DEAD] = {"gputel_messages_dead", GAUGE, 1, B, "Dead letters."},
	[STAT_ALL_BATCHES] = {"gputel_batches_processed_total", COUNTER, 1, B,
			      "Transactions that stored messages."},
	[STAT_ALL_DATABASE_ERRORS] = {"gputel_database_errors_total", COUNTER, 1, B,
				      "Requests of collectors to etcd that failed."},
	[STAT_ALL_PUBLISH_ERRORS] = {"gputel_publish_errors_total", COUNTER, 1, B,
				     "Attempts to publish that failed."},
	[STAT_ALL_CSV_READ_ERRORS] = {"gputel_csv_read_errors_total", COUNTER, 1, B,
				      "Rows of CSV that are invalid."},
	[STAT_ALL_QUEUE_DEPTH] = {"gputel_queue_depth", GAUGE, 1, B,
				  "Messages that are queued or claimed."},
	[STAT_ALL_THROTTLE_RATE] = {"gputel_throttle_rate", GAUGE, US, B,
				    "Lowest share of its full rate that a streamer is held to."},
	[STAT_ALL_LAG] = {"gputel_processing_lag_seconds", GAUGE, MILLIS, B,
			  "Age of the oldest message that is not stored."},
	[STAT_ALL_ROWS_PUBLISHED] = {"gputel_rows_published_total", COUNTER, 1, B,
				     "Rows put in the queue."},
	[STAT_ALL_ROWS_STORED] = {"gputel_rows_stored_total", COUNTER, 1, B, "Rows stored."},
	[STAT_HOSTS_OWNED] = {"gputel_hosts_owned", GAUGE, 1, C,
			      "Hosts that this collector is the writer of."},
	[STAT_SEGMENTS_DROPPED] = {"gputel_segments_dropped_total", COUNTER, 1, C,
				   "Segments that reached their retention."},
	[STAT_CHUNKS_MERGED] = {"gputel_chunks_merged_total", COUNTER, 1, C,
				"Chunks that were joined with others."},
	[STAT_ETCD_UP] = {"gputel_etcd_up", GAUGE, 1, ALL, "Whether etcd answers."},
	[STAT_ETCD_REQUESTS] = {"gputel_etcd_request_duration_seconds",
				HISTOGRAM,
				US,
				ALL,
				"Requests to etcd, retries included.",
				{"kind"}},
	[STAT_ETCD_FAILURES] = {"gputel_etcd_request_failures_total",
				COUNTER,
				1,
				ALL,
				"Requests to etcd that got no answer or were refused.",
				{"kind"}},
	[STAT_ETCD_CIRCUIT_OPENED] = {"gputel_etcd_circuit_opened_total", COUNTER, 1, ALL,
				      "How often an endpoint's circuit breaker has opened."},
	[STAT_WATCH_LAG] =
		{"gputel_watch_lag_seconds", HISTOGRAM, US, VIEWS,
		 "From making a chunk in its collector to showing it here, by both clocks."},
	[STAT_WATCH_LISTS] = {"gputel_watch_lists_total", COUNTER, 1, VIEWS,
			      "How often the store was listed anew."},
	[STAT_REVISION] = {"gputel_revision", GAUGE, 1, VIEWS,
			   "The store's revision that is shown."},
	[STAT_HOSTS] = {"gputel_hosts", GAUGE, 1, VIEWS, "Hosts in the store."},
	[STAT_GPUS] = {"gputel_gpus", GAUGE, 1, VIEWS, "GPUs in the store."},
	[STAT_SERIES] = {"gputel_series", GAUGE, 1, VIEWS, "Series in the store."},
	[STAT_CHUNKS] = {"gputel_chunks", GAUGE, 1, VIEWS, "Chunks in the store."},
	[STAT_STORED_ROWS] = {"gputel_rows", GAUGE, 1, VIEWS, "Rows in the store."},
	[STAT_CACHE_BYTES] = {"gputel_cache_bytes", GAUGE, 1, VIEWS, "Contents held in memory."},
	[STAT_CACHE_HITS] = {"gputel_cache_hits_total", COUNTER, 1, VIEWS,
			     "Contents that were in memory."},
	[STAT_CACHE_MISSES] = {"gputel_cache_misses_total", COUNTER, 1, VIEWS,
			       "Contents that had to be fetched or made."},
	[STAT_FUSE_REQUESTS] =
		{"gputel_fuse_requests_total", COUNTER, 1, F, "Requests of the kernel.", {"op"}},
	[STAT_HTTP_REQUESTS] = {"gputel_http_requests_total",
				COUNTER,
				1,
				B,
				"Requests answered.",
				{"route", "code"}},
	[STAT_HTTP_DURATION] = {"gputel_http_request_duration_seconds",
				HISTOGRAM,
				US,
				B,
				"From head to last byte.",
				{"route"}},
	[STAT_HTTP_CONNECTIONS] = {"gputel_http_connections",
				   GAUGE,
				   1,
				   B,
				   "Connections by what they are at.",
				   {"state"}},
	[STAT_HTTP_JOBS_WAITING] = {"gputel_http_jobs_waiting", GAUGE, 1, B,
				    "Requests that wait for a thread."},
	[STAT_WEBSOCKET_CLIENTS] = {"gputel_websocket_clients", GAUGE, 1, B,
				    "WebSockets that are open."},
	[STAT_FEED_SUBSCRIBERS] = {"gputel_feed_subscribers", GAUGE, 1, B,
				   "WebSockets and event streams."},
	[STAT_FEED_LAGGED] = {"gputel_feed_lagged_total", COUNTER, 1, B,
			      "Subscribers that did not read, and were left."},
	[STAT_FEED_EVENTS] = {"gputel_feed_events", GAUGE, 1, B,
			      "Commits that are kept for subscribers."},
	[STAT_FEED_BYTES] = {"gputel_feed_bytes", GAUGE, 1, B, "What they take."},
	[STAT_INGEST_ROWS] =
		{"gputel_ingest_rows_total", COUNTER, 1, B, "Rows that were posted.", {"outcome"}},
	[STAT_INGEST_MESSAGES] = {"gputel_ingest_messages_total", COUNTER, 1, B,
				  "Messages made of them."},
	[STAT_INGEST_BYTES] = {"gputel_ingest_bytes_total", COUNTER, 1, B,
			       "Bytes of bodies that were taken."},
	[STAT_INGEST_REFUSED] = {"gputel_ingest_refused_total", COUNTER, 1, B,
				 "Requests of which nothing was taken."},
	[STAT_INGEST_WAITING] = {"gputel_ingest_waiting", GAUGE, 1, B,
				 "Requests that wait for their lane."},
	[STAT_PROCESS_CPU] = {"process_cpu_seconds_total", COUNTER, US, ALL,
			      "User and system time."},
	[STAT_PROCESS_MEMORY] = {"process_resident_memory_bytes", GAUGE, 1, ALL,
				 "Resident memory."},
	[STAT_PROCESS_VIRTUAL] = {"process_virtual_memory_bytes", GAUGE, 1, ALL, "Virtual memory."},
	[STAT_PROCESS_FILES] = {"process_open_fds", GAUGE, 1, ALL, "Open file descriptors."},
	[STAT_PROCESS_FILES_MAX] = {"process_max_fds", GAUGE, 1, ALL,
				    "Most file descriptors that may be open."},
	[STAT_PROCESS_THREADS] = {"process_threads", GAUGE, 1, ALL, "Threads."},
	[STAT_PROCESS_START] = {"process_start_time_seconds", GAUGE, MILLIS, ALL,
				"When it started, since 1970."},
};

/* Upper bounds in microseconds; what is above the last is +Inf's. */
static const int64_t bounds_us[STATS_BUCKETS - 1] = {
	500,    1000,   2500,    5000,    10000,   25000,    50000,    100000,
	250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000};

struct stat_cell {
	_Atomic int64_t value; /* of a histogram: the sum */
	_Atomic uint64_t buckets[STATS_BUCKETS];
	char *labels; /* `op="read"`; NULL: none */
	struct stat_cell *next;
};

static struct stat_cell plain[STATS]; /* of families without labels */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the next two */
static struct map by_labels[STATS];                      /* text of the labels → cell */
static struct stat_cell *cells[STATS], **cells_end[STATS];

static pthread_mutex_t render_lock = PTHREAD_MUTEX_INITIALIZER; /* the next two; before lock */
static struct hook {
	void (*fn)(void *arg);
	void *arg;
} hooks[STATS_HOOKS];

static unsigned shown = CONF_ALL; /* set once, before other threads exist */

/* ---- cells ----------------------------------------------------------------------------------- */

static void add_escaped(struct strbuf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			strbuf_adds(b, "\\n");
		else if (*s == '"' || *s == '\\')
			strbuf_addf(b, "\\%c", *s);
		else
			strbuf_addc(b, *s);
	}
}

/* `route="/x",code="200"` */
static void add_labels(struct strbuf *b, const struct family *f, const char *const *values)
{
	for (size_t i = 0; i < LABELS_MAX && f->labels[i]; i++) {
		strbuf_addf(b, "%s%s=\"", i ? "," : "", f->labels[i]);
		add_escaped(b, values[i] ? values[i] : "");
		strbuf_addc(b, '"');
	}
}

/* Under the lock. */
static struct stat_cell *cell_of(enum stat_id s, const struct strbuf *labels)
{
	struct stat_cell *c = map_get(&by_labels[s], labels->s, labels->len);

	if (c)
		return c;
	c = xcalloc(1, sizeof(*c));
	c->labels = xstrndup(labels->s, labels->len);
	map_put(&by_labels[s], labels->s, labels->len, c);
	if (!cells_end[s])
		cells_end[s] = &cells[s];
	*cells_end[s] = c;
	cells_end[s] = &c->next;
	return c;
}

static bool is_new_past_ceiling(enum stat_id s, const struct strbuf *labels)
{
	return labels->err || (map_count(&by_labels[s]) >= STATS_CELLS - 1 &&
			       !map_get(&by_labels[s], labels->s, labels->len));
}

struct stat_cell *stats_cell(enum stat_id s, const char *first, const char *second)
{
	static const char *const others[LABELS_MAX] = {"other", "other"};
	const char *const values[LABELS_MAX] = {first, second};
	struct stat_cell *c;
	struct strbuf labels;

	if (!families[s].labels[0])
		return &plain[s];
	strbuf_init(&labels, KEY_LEN);
	add_labels(&labels, &families[s], values);
	pthread_mutex_lock(&lock);
	if (is_new_past_ceiling(s, &labels)) {
		strbuf_reset(&labels);
		add_labels(&labels, &families[s], others);
	}
	c = cell_of(s, &labels);
	pthread_mutex_unlock(&lock);
	strbuf_release(&labels);
	return c;
}

void stat_cell_add(struct stat_cell *c, int64_t n)
{
	atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}

void stat_cell_set(struct stat_cell *c, int64_t value)
{
	atomic_store_explicit(&c->value, value, memory_order_relaxed);
}

void stat_cell_observe(struct stat_cell *c, int64_t us)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(bounds_us) && us > bounds_us[i])
		i++;
	atomic_fetch_add_explicit(&c->buckets[i], 1, memory_order_relaxed);
	stat_cell_add(c, us);
}

int64_t stat_cell_value(const struct stat_cell *c)
{
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}

void stats_add(enum stat_id s, int64_t n)
{
	stat_cell_add(&plain[s], n);
}

void stats_set(enum stat_id s, int64_t value)
{
	stat_cell_set(&plain[s], value);
}

void stats_observe(enum stat_id s, int64_t us)
{
	stat_cell_observe(&plain[s], us);
}

int64_t stats_value(enum stat_id s)
{
	return stat_cell_value(&plain[s]);
}

/* ---- rendering ------------------------------------------------------------------------------- */

/* value / per, without a detour through a double. */
static void add_scaled(struct strbuf *out, int64_t value, int64_t per)
{
	uint64_t v = value < 0 ? -(uint64_t)value : (uint64_t)value, whole = v / (uint64_t)per;
	uint64_t rest = v % (uint64_t)per;

	strbuf_addf(out, "%s%llu", value < 0 ? "-" : "", (unsigned long long)whole);
	if (rest)
		strbuf_addc(out, '.');
	while (rest) {
		rest *= 10;
		strbuf_addc(out, (char)('0' + rest / (uint64_t)per));
		rest %= (uint64_t)per;
	}
}

static void add_sample(struct strbuf *out, const struct family *f, const char *suffix,
		       const char *labels, int64_t value, int64_t per)
{
	strbuf_addf(out, "%s%s", f->name, suffix);
	if (labels)
		strbuf_addf(out, "{%s}", labels);
	strbuf_addc(out, ' ');
	add_scaled(out, value, per);
	strbuf_addc(out, '\n');
}

/* The count is that of the buckets as they were read, so that the lines agree. */
static void add_histogram(struct strbuf *out, const struct family *f, const struct stat_cell *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < STATS_BUCKETS; i++) {
		n += atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
		strbuf_addf(out, "%s_bucket{%s%sle=\"", f->name, c->labels ? c->labels : "",
			    c->labels ? "," : "");
		if (i < ARRAY_SIZE(bounds_us))
			add_scaled(out, bounds_us[i], US);
		else
			strbuf_adds(out, "+Inf");
		strbuf_addf(out, "\"} %llu\n", (unsigned long long)n);
	}
	add_sample(out, f, "_sum", c->labels, c->value, f->per);
	add_sample(out, f, "_count", c->labels, (int64_t)n, 1);
}

static void add_cell(struct strbuf *out, const struct family *f, const struct stat_cell *c)
{
	if (f->kind == HISTOGRAM)
		add_histogram(out, f, c);
	else
		add_sample(out, f, "", c->labels, c->value, f->per);
}

static void add_family(struct strbuf *out, enum stat_id s)
{
	static const char *const kinds[] = {"counter", "gauge", "histogram"};
	const struct family *f = &families[s];
	const struct stat_cell *c = f->labels[0] ? cells[s] : &plain[s];

	if (!(f->programs & shown) || !c)
		return;
	strbuf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, kinds[f->kind]);
	for (; c; c = c->next)
		add_cell(out, f, c);
}

void stats_render(struct strbuf *out)
{
	pthread_mutex_lock(&render_lock);
	for (size_t i = 0; i < STATS_HOOKS; i++)
		if (hooks[i].fn)
			hooks[i].fn(hooks[i].arg);
	stats_process();
	pthread_mutex_lock(&lock);
	for (int s = 0; s < STATS; s++)
		add_family(out, (enum stat_id)s);
	pthread_mutex_unlock(&lock);
	pthread_mutex_unlock(&render_lock);
}

/* ---- life ------------------------------------------------------------------------------------ */

void stats_setup(unsigned program, const char *name)
{
	shown = program;
	stat_cell_set(stats_cell(STAT_BUILD_INFO, name, gputel_version), 1);
	stats_process_started();
}

static void replace_hook(struct hook old, struct hook new)
{
	pthread_mutex_lock(&render_lock);
	for (size_t i = 0; i < STATS_HOOKS; i++) {
		if (hooks[i].fn != old.fn || hooks[i].arg != old.arg)
			continue;
		hooks[i] = new;
		break;
	}
	pthread_mutex_unlock(&render_lock);
}

void stats_hook(void (*fn)(void *arg), void *arg)
{
	replace_hook((struct hook){0}, (struct hook){fn, arg});
}

void stats_unhook(void (*fn)(void *arg), void *arg)
{
	replace_hook((struct hook){fn, arg}, (struct hook){0});
}
