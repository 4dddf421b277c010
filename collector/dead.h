/* --dead-letters: what people do with messages that could not be stored. Each step is one
 * transaction that compares the dead letter's revision, like the others (common/queue.h). */
#ifndef GPUTEL_DEAD_H
#define GPUTEL_DEAD_H

#include "etcd.h"

/* One line each on standard output: ID, host, rows, attempts, reason. */
int dead_list(struct etcd *c, struct err *e) must_check;
/* The pointer as JSON, then its rows as CSV where the payload can be decoded; where records of an
 * older schema are invalid, what is wrong with each. -ENOENT */
int dead_show(struct etcd *c, const char *ulid, struct err *e) must_check;
/* Puts it back into the queue with all its attempts; ulid NULL: all of them. *ret_n: how many. */
int dead_replay(struct etcd *c, const char *ulid, int64_t *ret_n, struct err *e) must_check;
/* Deletes it and its payload for good. -ENOENT */
int dead_drop(struct etcd *c, const char *ulid, struct err *e) must_check;

#endif
