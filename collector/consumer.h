/* What a collector knows of the queue and of its peers, kept by mirrors of etcd, and what it
 * decides from that: which hosts it should write for, and which of their messages come next.
 *
 * No host is taken from a dead writer before a recovery that looked at a revision at which it had
 * the host and had no session any more (the mirrors of sessions and of writers may be ahead of one
 * another, so neither decides alone), and none is served before the queue's mirror has passed both
 * what that recovery changed and the taking (mark_rev). So the messages of a source are stored in
 * their order, whoever dies when.
 *
 * All of it is hints; only the compares of common/queue.h decide. Placement is rendezvous hashing
 * by host with bounded load: at most ceil(hosts / collectors) hosts each. A living writer is never
 * robbed: it lets go of a host itself, when its claims are finished.
 *
 * Threads: three mirrors call in, worker threads take turns out. One lock; nothing waits for etcd
 * under it. */
#ifndef GPUTEL_CONSUMER_H
#define GPUTEL_CONSUMER_H

#include "clock.h"
#include "map.h"
#include "queue.h"

#include <pthread.h>

#define CONSUMER_PENDING_MAX 200000 /* pointers held; past it the queue is listed again later */

struct pending {
	struct message m;
	int64_t mod_rev;
	struct lane *lane;
};

/* One source's messages for one host, in order of sequence. */
struct lane {
	struct host *host;
	char *source;
	struct pending **list; /* [head, n) */
	size_t head, n, cap;
};

struct host {
	char *name; /* as in messages */
	char enc[NAME_MAX_ENCODED + 1];
	struct lane **lanes;
	size_t n_lanes, n_pending;
	struct mono waiting_since; /* of the oldest pending, about */

	char *writer; /* as /telemetry/writers says; NULL: none */
	int64_t writer_rev;
	const char *target; /* who should be; an id of members */
	char *take_from;    /* TASK_TAKE: the dead writer to take it from; NULL: nobody has it */
	int64_t take_rev;   /* and writer_rev, as judged together */

	unsigned worker;
	bool busy;         /* a worker has it in its turn */
	struct mono due;   /* not before then */
	struct mono sweep; /* retention is looked at then */

	/* Of the worker that has it busy. */
	bool mine;
	bool empty; /* nothing of it is stored any more */
	struct hold hold;
	int64_t mark_rev; /* the queue's mirror must have passed it */
	struct writer *state;
};

/* A key of the queue that is no message. */
struct misfit {
	char key[KEY_MAX];
	int64_t rev;
	char reason[256];
};

#define CONSUMER_MISFITS_MAX                                                                       \
	64 /* noted at a time; the rest is found when the queue is listed again */

struct consumer {
	struct etcd *etcd;
	char id[128];
	struct fence fence;
	unsigned n_workers;
	int64_t flush_ms;
	int64_t max_retries;

	pthread_mutex_t lock; /* everything below, and the hosts but for their last part */
	pthread_cond_t *work; /* one per worker: something may be due */
	pthread_cond_t changed;
	struct map hosts;     /* by name → struct host */
	struct map hosts_enc; /* by encoded name */
	struct map pending;   /* by ULID → struct pending */
	char **members;       /* live consumers, sorted */
	size_t n_members;
	bool assigned; /* targets are up to date */
	bool overflow; /* more is queued than is held */
	struct misfit *misfits;
	size_t n_misfits;
	int64_t seen_rev; /* of the queue's mirror */
	bool queue_listed, members_listed, writers_listed;
	bool dead_full;              /* no dead letter may be added; messages wait instead */
	bool stop;                   /* workers end */
	bool lost;                   /* the session is gone: everything here is void */
	bool want_recovery;          /* a consumer is gone whose claims may not be back yet */
	struct map alive;            /* ids that had a session at the last recovery */
	int64_t recovery_listed_rev; /* at this revision; 0: there was none yet */
	int64_t recovered_rev;       /* what it changed in the queue is there at this revision */
	unsigned running;            /* workers */
	unsigned storing;            /* TASK_STORE under way */
	bool solo;                   /* the one under way is a message's last attempt */
	size_t n_last;               /* pending ones whose next attempt is their last */

	struct etcd_mirror *queue_mirror, *members_mirror, *writers_mirror;
	struct map listed; /* keys of the queue's list under way; what is not there at its end is
			      gone */
};

void consumer_init(struct consumer *c, struct etcd *etcd, const char *id, unsigned n_workers,
		   int64_t flush_ms);
/* When no worker runs and nothing is followed. */
void consumer_release(struct consumer *c);
/* Starts the mirrors; session: its create revision. */
int consumer_follow(struct consumer *c, int64_t session, struct err *e) must_check;
void consumer_unfollow(struct consumer *c);

/* What a worker is to do next with a host. */
enum task { TASK_NONE, TASK_TAKE, TASK_STORE, TASK_RELEASE, TASK_SWEEP };

/* Under the lock: the worker's most urgent host and what to do with it, which is then busy; or
 * TASK_NONE and when to look again. The last attempt at a message is made while nothing else is in
 * hand here: whoever died together with it gets through before, and is not buried with it. */
enum task consumer_next(struct consumer *c, unsigned worker, struct host **ret,
			struct mono *ret_when);
/* Under the lock: another host of this worker that is due for TASK_STORE, busy from now on; NULL:
 * none. So that one transaction serves several. */
struct host *consumer_another(struct consumer *c, unsigned worker);
/* Under the lock: TASK_STORE is over, for all its hosts. */
void consumer_stored(struct consumer *c);
/* Under the lock: the host is free again. */
void consumer_done(struct consumer *c, struct host *h, int64_t due_in_ms);

/* Under the lock: takes up to max messages of the host, at most bytes of payload (but one), in
 * order, into claims. A redelivered one comes alone. They are no longer pending. */
size_t consumer_take(struct consumer *c, struct host *h, struct claim *claims, size_t max,
		     size_t bytes);
/* Under the lock: whether the next message of the host was tried before. */
bool consumer_is_redelivery(const struct host *h);

/* Under the lock: nothing is queued that this collector knows of, and all lists are in. */
bool consumer_idle(struct consumer *c);
/* Dead-letters what was found in the queue that is no message. */
int consumer_refuse_misfits(struct consumer *c, struct err *e) must_check;
/* Under the lock: waits for a change, at most ms. */
void consumer_wait(struct consumer *c, int64_t ms);
void consumer_lock(struct consumer *c);
void consumer_unlock(struct consumer *c);
/* Under the lock: wakes all workers. */
void consumer_wake(struct consumer *c);

#endif
