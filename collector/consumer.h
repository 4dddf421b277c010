/* What a collector's workers are to do next: which hosts to take, serve and let go, decided from
 * what its mirrors of etcd tell of the queue (backlog.h) and of its peers (group.h).
 *
 * No host is served before the queue's mirror has passed its taking (hold.rev), which puts a mark
 * there. The recovery of its dead writer came before that (group_may_take), so the messages of a
 * source are stored in their order, whoever dies when. Nothing later is waited for: a recovery
 * under way meanwhile may change nothing that the mirror would tell. All of it is hints; only the
 * compares of common/queue.h decide.
 *
 * Threads: three mirrors call in, worker threads take turns out. One lock; nothing waits for etcd
 * under it. */
#ifndef GPUTEL_CONSUMER_H
#define GPUTEL_CONSUMER_H

#include "backlog.h"
#include "group.h"
#include "leases.h"

#include <pthread.h>

struct consumer {
	struct etcd *etcd;
	char id[128];
	struct fence fence;
	unsigned n_workers;
	int64_t flush_ms;
	struct leases leases; /* has a lock of its own */

	pthread_mutex_t lock; /* everything below, and the hosts but for their last part */
	pthread_cond_t *work; /* one per worker: something may be due */
	pthread_cond_t changed;
	struct roster hosts;
	struct backlog backlog;
	struct group group;
	int64_t seen_rev;        /* of the queue's mirror */
	int64_t keep_from_ns;    /* segments that start before are too many (RETENTION_BYTES) */
	bool dead_full;          /* no dead letter may be added; messages wait instead */
	bool stop;               /* workers end */
	bool lost;               /* the session is gone: everything here is void */
	struct mono paced;       /* small chunks are paid for up to then */
	unsigned running;        /* workers */
	unsigned storing;        /* TASK_STORE under way */
	struct mono *merge_from; /* one per worker: it merges nothing before */
	bool solo;               /* the one under way is a message's last attempt */

	struct etcd_mirror *queue_mirror, *members_mirror, *writers_mirror;
};

void consumer_init(struct consumer *c, struct etcd *etcd, const char *id, unsigned n_workers,
		   int64_t flush_ms, int64_t max_retries);
/* When no worker runs and nothing is followed. */
void consumer_release(struct consumer *c);
/* Starts the mirrors; session: its create revision. */
int consumer_follow(struct consumer *c, int64_t session, struct err *e) must_check;
void consumer_unfollow(struct consumer *c);

/* What a worker is to do next with a host. */
enum task { TASK_NONE, TASK_TAKE, TASK_STORE, TASK_RELEASE, TASK_SWEEP, TASK_MERGE };

/* Under the lock: the worker's most urgent host and what to do with it, which is then busy; or
 * TASK_NONE and when to look again. Sweeping and merging wait for all else, but not for longer than
 * a worker can be busy without them doing harm. The last attempt at a message is made while
 * nothing else is in hand here: whoever died together with it gets through before, and is not
 * buried with it. */
enum task consumer_next(struct consumer *c, unsigned worker, struct host **ret,
			struct mono *ret_when);
/* Under the lock: another host of this worker that is due for the same (TASK_STORE, TASK_TAKE),
 * busy from now on; NULL: none. So that one transaction serves several. */
struct host *consumer_another(struct consumer *c, unsigned worker, enum task task);
/* Under the lock: TASK_STORE is over, for all its hosts. */
void consumer_stored(struct consumer *c);
/* Under the lock: the host is free again. */
void consumer_done(struct consumer *c, struct host *h, int64_t due_in_ms);
/* The same; what is queued of it is due when it was. */
void consumer_keep(struct consumer *c, struct host *h);

/* Small chunks, of fewer rows than CONSUMER_SMALL_ROWS, cost etcd and every reader nearly as much
 * as large ones: all collectors together store about so many of them a second. */
#define CONSUMER_SMALL_ROWS 256
#define CONSUMER_SMALL_S    4000

/* Under the lock: chunks were stored, of so many rows together. How long their hosts wait at least
 * for their next ones, which are the larger for it; 0 while there is room. */
int64_t consumer_pace_ms(struct consumer *c, size_t chunks, int64_t rows);

/* Under the lock: backlog_take. */
size_t consumer_take(struct consumer *c, struct host *h, struct claim *claims, size_t max,
		     size_t bytes);

/* Under the lock: nothing is queued that this collector knows of, and all lists are in. */
bool consumer_idle(struct consumer *c);
/* Sets what /metrics shows of it: a hook of stats.h. */
void consumer_report(void *consumer);
/* Dead-letters what was found in the queue that is no message. */
int consumer_refuse_misfits(struct consumer *c, struct err *e) must_check;
/* Under the lock: waits for a change, at most ms. */
void consumer_wait(struct consumer *c, int64_t ms);
void consumer_lock(struct consumer *c);
void consumer_unlock(struct consumer *c);
/* Under the lock: wakes all workers. */
void consumer_wake(struct consumer *c);

#endif
