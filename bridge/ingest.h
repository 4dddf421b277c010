/* Rows that come in by POST: a few lanes (lane.h) and what they share, the throttle and counters.
 * All of it begins with the first push: a bridge that only serves asks etcd nothing for it. */
#ifndef GPUTEL_BRIDGE_INGEST_H
#define GPUTEL_BRIDGE_INGEST_H

#include "lane.h"
#include "peer.h"

struct ingest;

struct ingest *ingest_new(struct etcd *etcd, const struct conf *conf);
/* Hands the push to the lane of its client: that of the same client comes in order. -EBUSY: too
 * many wait; -EAGAIN: no thread can be started. Any thread; does not wait. */
int ingest_submit(struct ingest *g, struct push *push, const struct peer *client) must_check;
/* Takes over what THROTTLE_* say now. Any thread. */
void ingest_adjust(struct ingest *g);
/* Sets what /metrics shows of it (stats.h). */
void ingest_report(struct ingest *g);
/* Nothing is submitted any more. NULL is fine. */
void ingest_free(struct ingest *g);

#endif
