/* --wait: what this run has published, until all of it is stored.
 *
 * A payload exists exactly until its message is stored or dropped (queue.h, Q1), so the messages of
 * this run are asked for by "absent" compares, a hundred in one transaction that reads nothing. */
#ifndef GPUTEL_WAIT_H
#define GPUTEL_WAIT_H

#include "etcd.h"

struct wait_list;

struct wait_list *wait_list_new(void);
void wait_list_free(struct wait_list *w);                  /* NULL is fine */
void wait_list_add(struct wait_list *w, const char *ulid); /* any thread */

/* Waits at most ms (< 0: for ever). Says in the log, within 5 s, if no collector runs.
 * 0: all are stored; *ret_revision is one at which they are. -ETIME: not in time. -EBADMSG: all are
 * stored or dead, and e says how many are dead. -ECANCELED. */
int wait_list_wait(struct wait_list *w, struct etcd *c, int64_t ms, int64_t *ret_revision,
		   struct err *e) must_check;

#endif
