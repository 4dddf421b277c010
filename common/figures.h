/* The queue in figures: what producers, workers and their totals have counted in etcd, added up.
 * For .meta/status and /api/v1/queue. All of them are of one revision, so that they balance
 *(tally.h): published + foreign = processed + dead + dropped + queue_depth (queued or claimed)
 * where dead and queue_depth are without foreign messages, which nobody counts before they are
 * stored. */
#ifndef GPUTEL_FIGURES_H
#define GPUTEL_FIGURES_H

#include "etcd.h"

struct figures {
	int64_t messages_published, messages_processed, messages_foreign, messages_dropped;
	int64_t messages_dead, messages_dead_foreign; /* dead letters now; the foreign among them */
	int64_t rows_published, rows_stored, rows_dead;
	int64_t messages_consumed, messages_duplicated, messages_invalid, messages_throttled;
	int64_t batches_processed, database_errors, publish_errors, csv_read_errors;
	int64_t queue_depth;
	int64_t latency_ms_sum; /* of messages_processed, from publishing to storing */
	int64_t lag_ms;         /* age of the oldest message that is not stored; 0: there is none */
	char throttle_rate[16]; /* lowest of the streamers at work; "1": full */
};

int figures_read(struct etcd *c, struct figures *ret, struct err *e) must_check;
/* Sets what /metrics of the bridge shows of them (stats.h). */
void figures_report(const struct figures *f);
/* As name=value lines. */
void figures_render(struct strbuf *out, const struct figures *f);

#endif
