/* What the parts of common/queue.h share; nobody else includes this.
 *
 *	queue_publish.c   from a source to the queue
 *	queue.c           hosts, claims and their endings
 *	queue_recover.c   what dead consumers and foreign programs leave behind
 *	queue_replace.c   what older releases leave behind */
#ifndef GPUTEL_QUEUE_INTERNAL_H
#define GPUTEL_QUEUE_INTERNAL_H

#include "etcd.h"
#include "queue.h"

#define QUEUE_TEXT_MAX (64 * 1024) /* of a pointer or a record */

void queue_put_message(struct etcd_txn *t, const char *key, const struct message *m);
void queue_if_session(struct etcd_txn *t, const struct fence *f);

/* Makes a read go through raft, so that no member answers it from a past state. */
void queue_read_now(struct etcd_txn *t);

/* The one key of the i-th get, or NULL if it is absent. */
const struct etcd_kv *queue_only(const struct etcd_reply *r, size_t i);
/* Whether the i-th get, of the session's key, says that it lives. */
bool queue_session_alive(const struct etcd_reply *r, size_t i, const struct fence *f);

#endif
