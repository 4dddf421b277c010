/* The queue in figures: what producers, workers and their totals have counted in etcd, added up.
 *For .meta/status and /api/v1/queue. All of them are of one revision, so that they balance:
 *	published + foreign = processed + dead + queue_depth (queued or claimed) */
#ifndef GPUTEL_FIGURES_H
#define GPUTEL_FIGURES_H

#include "etcd.h"

struct figures {
	int64_t messages_published, messages_processed, messages_dead, messages_foreign;
	int64_t rows_published, rows_duplicate, rows_stored, rows_dead;
	int64_t queue_depth;
	int64_t latency_ms_sum; /* of messages_processed, from publishing to storing */
	int64_t lag_ms;         /* age of the oldest message that is not stored; 0: there is none */
	char throttle_rate[16]; /* lowest of all producers; "1" where none says */
};

int figures_read(struct etcd *c, struct figures *ret, struct err *e) must_check;
/* As name=value lines. */
void figures_render(struct strbuf *out, const struct figures *f);

#endif
