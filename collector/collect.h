/* A collector at work: one session after the other, each with its membership, its workers and
 * upkeep, and the housekeeping that belongs to no worker: recovery of what dead collectors had
 * claimed, misfits in the queue, a look at workers that may be stuck. */
#ifndef GPUTEL_COLLECT_H
#define GPUTEL_COLLECT_H

#include "conf.h"
#include "consumer.h"
#include "keeping.h"

struct collect {
	/* The caller's; constant but for keeping, which SIGHUP may change. */
	const struct conf *conf;
	const struct keeping *keeping;
	struct etcd *etcd;
	bool drain; /* end when nothing is queued or claimed any more, by anyone */

	/* Of all sessions; for other threads to read. */
	_Atomic bool at_work;      /* it may hold claims */
	_Atomic bool ready;        /* the lists of queue and peers are in */
	_Atomic int64_t looked_ns; /* collect last had the consumer's lock, monotonic */

	/* Of one session. */
	struct session *session;
	struct consumer consumer;
	struct upkeep *upkeep;
	struct worker *workers;
	unsigned n_workers;
	struct mono next_recovery;
};

/* Puts SEGMENT where nothing is stored yet, and compares it otherwise. -EINVAL: what is stored was
 * stored with another. */
int collect_agree(struct collect *k, struct err *e) must_check;
/* Until daemon_stop, or until all is drained; a lost session is replaced by another. -ECANCELED:
 * stopped before anything could be claimed, or before all was drained; -ETIME: stopped, and not all
 * that was claimed could be finished in time (recovery gives it back); else what etcd says. A
 * worker that computes for longer than MQ_PROCESSING_TIMEOUT ends the process. */
int collect(struct collect *k, struct err *e) must_check;
/* From any thread: whether collect still goes round, or waits for etcd. */
bool collect_is_well(const struct collect *k);

#endif
