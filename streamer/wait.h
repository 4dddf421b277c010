/* --wait: what is published of this run's sources, by it and by runs before, until all of it is
 * stored.
 *
 * Messages of earlier runs are looked for in etcd when this one has published all: whatever pointer
 * of a source is queued, claimed or dead at one revision. That costs a list of the queue, so only
 * sources that had a record are looked for.
 *
 * A payload exists exactly until its message is stored or dropped (queue.h, Q1), so the messages of
 * a source are asked for by "absent" compares, a hundred in one transaction that reads nothing. */
#ifndef GPUTEL_WAIT_H
#define GPUTEL_WAIT_H

#include "etcd.h"

struct wait_list;

struct wait_list *wait_list_new(void);
void wait_list_free(struct wait_list *w);                  /* NULL is fine */
void wait_list_add(struct wait_list *w, const char *ulid); /* any thread */

/* The source was published by an earlier run, at least in part. */
void wait_list_add_source(struct wait_list *w, const char *source); /* any thread */

/* Waits at most ms (< 0: for ever). Says in the log, within 5 s, if no collector runs.
 * 0: all are stored; *ret_revision is one at which they are. -ETIME: not in time. -EBADMSG: all are
 * stored or dead, and e says how many are dead. -ECANCELED. */
int wait_list_wait(struct wait_list *w, struct etcd *c, int64_t ms, int64_t *ret_revision,
		   struct err *e) must_check;

#endif
