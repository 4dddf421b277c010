/* The life of a message, one transaction a step (DESIGN §4). This module is the whole state
 *machine; everything that moves a message goes through it.
 *
 *	            publish                claim                   complete
 *	(source) ─────────────► queued ─────────────► processing ─────────────► stored
 *	                          ▲   give back, recover  │  │
 *	                          └───────────────────────┘  │ dead-letter, recover with no
 *	                                                     ▼ attempts left
 *	                                                   dead
 *
 * Invariants, at every revision:
 * Q1 A message's pointer is in exactly one of /queue, /processing, /deadletter, or gone because it
 *is stored; its payload exists exactly as long as the pointer does. Every step deletes the one and
 *    puts the other in one transaction.
 * Q2 Only the session whose create revision is S touches its claims; once its key is gone, for
 *ever, anyone may recover them. No step of that session can succeed afterwards. Q3 Rows become
 *readable only in the transaction that deletes the claim they came from, by the host's writer
 *(mod(/telemetry/writers/h) = w). So each message is stored once. Q4 A source's sequence and offset
 *move in the transaction that enqueues its messages.
 *
 * Unknown outcomes are settled inside: each step is sent again until etcd answers, and a "false"
 * that our own earlier attempt caused is told from a refusal by what Else reads. -ECANCELED
 * (etcd_cancel) leaves the outcome open; that is harmless for the same reasons. */
#ifndef GPUTEL_QUEUE_H
#define GPUTEL_QUEUE_H

#include "keys.h"
#include "map.h"
#include "message.h"
#include "producer.h"

/* ---- publishing ------------------------------------------------------------------------------ */

#define QUEUE_PUBLISH_MAX   40           /* messages in one transaction: 3 puts each, and one */
#define QUEUE_PUBLISH_BYTES (256 * 1024) /* aim; one message may exceed it */

struct outgoing {
	struct message m;
	struct strbuf payload;
	uint8_t idempotency[SHA256_LEN];
	bool duplicate; /* set by queue_publish: its idempotency key stood there already */
};

/* Takes the source over: If mod(record)=p->mod_rev Then record with epoch + 1. On success *p is the
 * new record. -ESTALE: somebody changed it meanwhile; read again. */
int queue_open_producer(struct etcd *c, struct producer *p, struct err *e) must_check;

/* Publishes msgs and moves the record from *p to *next, which has its new offset, window and
 * counts; sequence, messages, rows, duplicated and lease_keys are moved on here, by what was
 * accepted. n may be 0: only the record moves (a window opened). On success *p is the new record.
 * -EOWNERDEAD: another streamer has taken over (epoch). -ENOENT: the lease of the idempotency keys
 * (next->leases[0]) is gone; grant another and repeat. -E2BIG: too many or too large. */
int queue_publish(struct etcd *c, struct producer *p, const struct producer *next,
		  struct outgoing *msgs, size_t n, struct err *e) must_check;

/* A key that changes in the same transaction or keeps it from happening: If mod(key) = rev Then put
 * value. */
struct rider {
	struct key key;
	int64_t rev; /* afterwards: of the transaction */
	struct slice value;
	int64_t lease;
};

/* The same with a rider (NULL: none). -EALREADY: its key has changed; nothing happened. -ENOENT: or
 * the rider's lease is gone. */
int queue_publish_with(struct etcd *c, struct producer *p, const struct producer *next,
		       struct outgoing *msgs, size_t n, struct rider *also,
		       struct err *e) must_check;

/* Puts a message into the queue in a transaction of the caller's that takes the one it was made of
 * out: pointer and payload. No producer's record counts it. */
void queue_add_message(struct etcd_txn *t, const struct outgoing *o);

/* ---- consuming ------------------------------------------------------------------------------- */

/* The session that acts: create(/consumers/id) = session. */
struct fence {
	const char *consumer;
	int64_t session;
};

/* That it is the writer of a host: mod(/telemetry/writers/host) = rev. host is encoded. */
struct hold {
	char host[NAME_MAX_ENCODED + 1];
	int64_t rev;
};

/* Becomes writer of host. old, old_rev: what /telemetry/writers/{host} is known to hold: the id of
 * a dead consumer, or NULL where nobody is writer, and the key's mod revision (0: no key). ret->rev
 * is also the mark that the caller's mirror of KEY_QUEUE_ALL must have passed before it claims for
 * the host (see KEY_QUEUE_MARK). What dead consumers had claimed must be back in the queue before
 * that (queue_recover, begun after old was seen dead). -EBUSY: it is somebody else's, or old is not
 * dead. -EOWNERDEAD: our session is gone. */
int queue_take_host(struct etcd *c, const struct fence *f, const char *host, const char *old,
		    int64_t old_rev, struct hold *ret, struct err *e) must_check;

#define QUEUE_TAKE_MAX 40

struct taking {
	const char *host, *old; /* as above */
	int64_t old_rev;
	struct hold hold; /* rev 0: it was not to be had */
};

/* Takes all of them (at most QUEUE_TAKE_MAX) in one transaction or, where one of them is not to be
 * had, each in one of its own. */
int queue_take_hosts(struct etcd *c, const struct fence *f, struct taking *list, size_t n,
		     struct err *e) must_check;
/* Hands it over: the writer key stays, with no writer in it, or, where the host has nothing stored
 * (forget), goes. The caller has no claim of the host left. */
int queue_release_host(struct etcd *c, const struct fence *f, const struct hold *h, bool forget,
		       struct err *e) must_check;

/* The mirror of the queue watches the marks too: one is put in the transaction that takes a host,
 * so that its event says "all that happened to the queue before is known here". */
#define KEY_QUEUE_ALL  "/queue/"
#define KEY_QUEUE_MARK "/queue/mark"

#define QUEUE_CLAIM_MAX 40

struct claim {
	struct message m;  /* attempt counts this one */
	int64_t queue_rev; /* mod revision of the pointer in the queue */
	int64_t claimed_ns;
	int64_t rev;  /* mod revision of the claim; 0: it was not to be had */
	bool foreign; /* no producer's record has published it */
	bool origin_known;
	int64_t no_value; /* readings of it that had none; said when it is opened */
	const struct hold *hold;
	const char *outcome; /* of the ending that it is in: "completed", … */
	struct strbuf payload;
};

/* Claims all of them (at most QUEUE_CLAIM_MAX) in one transaction and reads their payloads. Where a
 * pointer is no longer in the queue or a hold is lost, those keep rev 0 and the others are claimed.
 * -EOWNERDEAD: the session is gone. */
int queue_claim(struct etcd *c, const struct fence *f, struct claim *claims, size_t n,
		struct err *e) must_check;

/* Dead-letters what stands in the queue under key (mod revision rev) and is no pointer, with its
 * bytes, under the ULID in the key or, where there is none, a new one. 0 also if it is not there
 * any more. -EOWNERDEAD: the session is gone. */
int queue_refuse(struct etcd *c, const struct fence *f, const char *key, int64_t rev,
		 const char *reason, struct err *e) must_check;

/* One transaction that ends claims: completed, dead-lettered or given back, with whatever else the
 * caller puts into it (chunks, identities, counters) through t. */
struct ending {
	struct etcd_txn t;
	const struct fence *fence;
	struct claim **claims; /* those that end here or move on by a part */
	int64_t *parts;        /* 0: ends; else the part its claim has then */
	size_t n, cap;
};

void ending_init(struct ending *d, struct etcd *c, const struct fence *f);
void ending_reset(struct ending *d);
void ending_release(struct ending *d);
void ending_complete(struct ending *d, struct claim *k);
/* A message too large for one transaction: this was part `part` of it, more follow. */
void ending_part(struct ending *d, struct claim *k, int64_t part);
void ending_dead_letter(struct ending *d, struct claim *k, const char *reason);
void ending_give_back(struct ending *d, struct claim *k); /* the attempt does not count */

/* -EOWNERDEAD: the session is gone, nothing was done. -ESTALE: a hold or claim is (nothing was
 * done). -E2BIG -EINVAL: etcd refuses it as it is. *ret_rev: revision of the commit where known. */
int ending_send(struct ending *d, int64_t *ret_rev, struct err *e) must_check;

/* ---- replacing ------------------------------------------------------------------------------- */

/* Nobody's claim, but a pointer under key (of the queue or a dead letter's) at mod revision rev, m:
 * if it is still that,
 *
 * n messages are put into the queue in its place: part > 0: it stays, and says that so many of its
 * parts are done; 0: it goes with its payload. */
int queue_replace(struct etcd *c, const char *key, int64_t rev, const struct message *m,
		  int64_t part, const struct outgoing *msgs, size_t n, struct err *e) must_check;
/* or it is a dead letter with that reason. -EAGAIN of both: it has changed, also by an earlier try
 * of ours. */
int queue_bury(struct etcd *c, const char *key, int64_t rev, const struct message *m,
	       const char *reason, struct err *e) must_check;

/* ---- recovery -------------------------------------------------------------------------------- */

struct recovered {
	int64_t requeued, dead, dead_rows;
	int64_t unreadable;        /* claims that were no pointers; among the dead */
	struct err unreadable_why; /* of the last of them */
	int64_t listed_rev;        /* the revision whose sessions and claims were looked at */
	struct map alive; /* ids of the consumers that had a session then; the caller releases it */
};

/* Gives back or dead-letters what dead consumers hold: all claims, as of one revision, of consumers
 * that have no session key at it. A claim with max_retries attempts goes to the dead letters, and
 * so does, with its bytes, what is no pointer. max_retries QUEUE_NO_DEAD_LETTERS: nothing does.
 * What follows for a consumer that had taken a host at a revision <= listed_rev and is not in
 * alive: all that it had claimed is back in the queue, or dead. */
#define QUEUE_NO_DEAD_LETTERS INT64_MAX
int queue_recover(struct etcd *c, int64_t max_retries, struct recovered *ret,
		  struct err *e) must_check;

#endif
