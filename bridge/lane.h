/* One way from pushes to the queue: a thread, and a source of its own (common/publisher.h).
 *
 *	POST ─► lane_submit ─► waiting ─► window ─► publisher ─► etcd ─► push->done ─► answer
 *
 * The source of rows that come by HTTP is the lane: it is new at each start of the bridge, so that
 * there are as many records in /producers as there are lanes, however many requests come, and what
 * a bridge leaves behind goes as all idle sources do (collector/expiry.h). All rows of a client go
 * one lane, in the order of its requests (ingest.h), hence keep their order.
 *
 * What waits while a transaction is under way goes together in the next window (formats that mix,
 * without a key): under load messages become larger instead of more. A request is answered when
 * all its rows are committed.
 *
 * A request with an Idempotency-Key goes alone, by its receipt (common/receipt.h), which is not
 * tied to the lane: when the bridge was killed half-way, the next attempt goes on behind what is
 * accepted, at whichever bridge it arrives. Without a key an attempt whose answer was lost may have
 * been carried out, and sending it again may store its rows twice. */
#ifndef GPUTEL_BRIDGE_LANE_H
#define GPUTEL_BRIDGE_LANE_H

#include "conf.h"
#include "push.h"
#include "throttle.h"

#define LANE_WAITING_MAX 256

struct lane;

struct lane_conf {
	struct etcd *etcd;
	const struct conf *conf;
	struct throttle *throttle;
	const char *name;                                  /* of its source, for people */
	void (*count)(const struct push *push, void *arg); /* each, before it is done */
	void *arg;
};

/* NULL: no thread can be started. */
struct lane *lane_start(const struct lane_conf *conf);
/* -EBUSY: too many wait. Else push->done is called. */
int lane_submit(struct lane *l, struct push *push) must_check;
size_t lane_waiting(struct lane *l);
/* After what was submitted is done. NULL is fine. */
void lane_stop(struct lane *l);

#endif
