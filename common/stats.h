/* The program's own counters, gauges and histograms, as /metrics shows them in Prometheus' text
 * format (https://prometheus.io/docs/instrumenting/exposition_formats/). `metric` is elsewhere:
 * telemetry of GPUs.
 *
 * One table (stats.c) has a line for each family: name, kind, labels, unit, the programs that show
 * it. Values are whole numbers in a unit that is cheap to count in; the table says how many of them
 * make one of the unit that is shown (histograms: microseconds, shown as seconds).
 *
 * Counting is a relaxed atomic addition, from any thread. A family without labels is one cell; one
 * with labels has a cell for each set of values, made when it is first asked for and there for
 * ever: who counts often keeps it. Past STATS_CELLS cells a family counts in the last of them, in
 * which every label is "other".
 *
 * What is not counted as it happens (sizes of caches, depth of the queue) is set by hooks that run
 * before each rendering. */
#ifndef GPUTEL_STATS_H
#define GPUTEL_STATS_H

#include "strbuf.h"

#define STATS_CELLS   1024
#define STATS_BUCKETS 17
#define STATS_HOOKS   8

enum stat_id {
	STAT_BUILD_INFO,
	STAT_MESSAGES_PUBLISHED,
	STAT_MESSAGES_CONSUMED,
	STAT_MESSAGES_PROCESSED,
	STAT_MESSAGES_DUPLICATED,
	STAT_MESSAGES_INVALID,
	STAT_MESSAGES_THROTTLED,
	STAT_BATCHES_PROCESSED,
	STAT_DATABASE_ERRORS,
	STAT_PUBLISH_ERRORS,
	STAT_CSV_READ_ERRORS,
	STAT_QUEUE_DEPTH,
	STAT_THROTTLE_RATE,
	STAT_PROCESSING_LAG,
	STAT_PROCESSING_LATENCY,
	STAT_ROWS_PUBLISHED,
	STAT_ROWS_STORED,
	STAT_ROWS_DUPLICATED,
	STAT_ROWS_NO_VALUE,
	STAT_ROWS_INVALID,
	STAT_NO_VALUE,
	STAT_SCRAPE_UP,
	STAT_SCRAPE_DURATION,
	STAT_SCRAPE_SAMPLES,
	STAT_SCRAPE_OTHER_SAMPLES,
	STAT_SCRAPES,
	STAT_SCRAPES_FAILED,
	STAT_SCRAPES_SKIPPED,
	STAT_SCRAPES_MISSED,
	STAT_NVML_UP,
	STAT_NVML_ERRORS,
	STAT_NVML_ROUNDS,
	STAT_NVML_ROUNDS_SKIPPED,
	STAT_NVML_ROUNDS_MISSED,
	/* Of all programs, as etcd has them (figures.h). */
	STAT_ALL_PUBLISHED,
	STAT_ALL_CONSUMED,
	STAT_ALL_PROCESSED,
	STAT_ALL_DUPLICATED,
	STAT_ALL_INVALID,
	STAT_ALL_THROTTLED,
	STAT_ALL_DROPPED,
	STAT_ALL_DEAD,
	STAT_ALL_BATCHES,
	STAT_ALL_DATABASE_ERRORS,
	STAT_ALL_PUBLISH_ERRORS,
	STAT_ALL_CSV_READ_ERRORS,
	STAT_ALL_QUEUE_DEPTH,
	STAT_ALL_THROTTLE_RATE,
	STAT_ALL_LAG,
	STAT_ALL_ROWS_PUBLISHED,
	STAT_ALL_ROWS_STORED,
	STAT_HOSTS_OWNED,
	STAT_SEGMENTS_DROPPED,
	STAT_CHUNKS_MERGED,
	STAT_ETCD_UP,
	STAT_ETCD_REQUESTS,
	STAT_ETCD_FAILURES,
	STAT_ETCD_CIRCUIT_OPENED,
	STAT_WATCH_LAG,
	STAT_WATCH_LISTS,
	STAT_REVISION,
	STAT_HOSTS,
	STAT_GPUS,
	STAT_SERIES,
	STAT_CHUNKS,
	STAT_STORED_ROWS,
	STAT_CACHE_BYTES,
	STAT_CACHE_HITS,
	STAT_CACHE_MISSES,
	STAT_FUSE_REQUESTS,
	STAT_HTTP_REQUESTS,
	STAT_HTTP_DURATION,
	STAT_HTTP_CONNECTIONS,
	STAT_HTTP_JOBS_WAITING,
	STAT_WEBSOCKET_CLIENTS,
	STAT_FEED_SUBSCRIBERS,
	STAT_FEED_LAGGED,
	STAT_FEED_EVENTS,
	STAT_FEED_BYTES,
	STAT_INGEST_ROWS,
	STAT_INGEST_MESSAGES,
	STAT_INGEST_BYTES,
	STAT_INGEST_REFUSED,
	STAT_INGEST_WAITING,
	STAT_PROCESS_CPU,
	STAT_PROCESS_MEMORY,
	STAT_PROCESS_VIRTUAL,
	STAT_PROCESS_FILES,
	STAT_PROCESS_FILES_MAX,
	STAT_PROCESS_THREADS,
	STAT_PROCESS_START,
	STATS
};

/* program: CONF_STREAMER … (conf.h), whose families are shown, and its name. Before other threads
 * exist. */
void stats_setup(unsigned program, const char *name);

struct stat_cell;

/* The family's cell with these values of its labels (NULL where it has fewer); the one cell of a
 * family without labels. */
struct stat_cell *stats_cell(enum stat_id s, const char *first, const char *second);

void stat_cell_add(struct stat_cell *c, int64_t n);
void stat_cell_set(struct stat_cell *c, int64_t value);
void stat_cell_observe(struct stat_cell *c, int64_t us); /* histograms only */
int64_t stat_cell_value(const struct stat_cell *c);      /* histograms: the sum */

/* Of families without labels. */
void stats_add(enum stat_id s, int64_t n);
void stats_set(enum stat_id s, int64_t value);
void stats_observe(enum stat_id s, int64_t us);
int64_t stats_value(enum stat_id s); /* histograms: the sum */

/* fn runs before each rendering, on the thread that asks for it, one at a time; it stays until it
 * is removed, and does not run any more when stats_unhook returns. */
void stats_hook(void (*fn)(void *arg), void *arg);
void stats_unhook(void (*fn)(void *arg), void *arg);

/* The whole of /metrics. */
#define STATS_TYPE "text/plain; version=0.0.4; charset=utf-8"
void stats_render(struct strbuf *out);

#endif
