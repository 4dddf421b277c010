/* Back-pressure: how fast a process may publish, given how far the collectors are behind.
 *
 * A thread looks at the queue twice a second: its depth, its bytes and the age of its oldest
 * message; and at etcd's space: from 85 % of the quota in use publishing pauses until 80 %. Past
 * one of the limits the rate falls to a share (THROTTLE_RATE) of what it was, by a token bucket;
 * past twice a limit publishing pauses until all are below their limits again. Rows wait; none is
 * dropped. What happens is logged once per change. */
#ifndef GPUTEL_THROTTLE_H
#define GPUTEL_THROTTLE_H

#include "conf.h"
#include "etcd.h"

struct throttle;

int throttle_start(struct throttle **ret, struct etcd *c, const struct conf *conf) must_check;
/* Takes over what THROTTLE_* say now. Any thread. */
void throttle_adjust(struct throttle *t, const struct conf *conf);
void throttle_stop(struct throttle *t); /* NULL is fine */

/* Waits until `rows` rows may go; > 0 if it had to. -ECANCELED: a stop was asked for while waiting
 * and, where patient (the rows cannot be read again), the drain's deadline has passed too. Any
 * thread. */
int throttle_admit(struct throttle *t, int64_t rows, bool patient) must_check;
/* For who cannot wait: 0 if rows may go now, else the milliseconds after which to ask again, from
 * what the tokens lack or from how fast the queue has become shorter. Those that went are spent. */
int64_t throttle_wait_ms(struct throttle *t);
void throttle_spend(struct throttle *t, int64_t rows);
/* Waits a while for the first look at the queue, before which everything may go. */
void throttle_await_look(struct throttle *t);
/* What was published, for the average size of a message. */
void throttle_published(struct throttle *t, int64_t bytes);

/* Sets what /metrics shows of it: a hook of stats.h. */
void throttle_report(void *throttle);

/* Share of the full rate that is allowed now: 1, THROTTLE_RATE, or 0. */
double throttle_rate(struct throttle *t);
int64_t throttle_queue_depth(struct throttle *t);

#endif
