/* .meta/wait/<revision>: a read returns when this mount shows that revision: every commit of
 * telemetry up to it is visible, and whoever watches has been told (events.h).
 *
 * Commits of telemetry come by the watch; of other revisions the watch says nothing. So while
 * somebody waits for one that has not come, etcd is asked now and then what the newest is, and
 * which of them was the last commit (view_newest). */
#ifndef GPUTEL_FS_WAIT_H
#define GPUTEL_FS_WAIT_H

#include "lowlevel.h"
#include "tree.h"
#include "view.h"

struct waits;

/* on_ready: called when a revision has come, for those that poll. view: may be NULL, then nobody is
 * asked. */
struct waits *waits_new(struct view *view, void (*on_ready)(void *arg), void *arg);
/* All up to this revision is shown and told of. */
void waits_sent(struct waits *w, int64_t revision);
/* Ends the thread; nothing is answered any more. NULL is fine. */
void waits_stop(struct waits *w);
void waits_free(struct waits *w); /* NULL is fine */

/* Answers req, now or later. */
void waits_read(struct waits *w, fuse_req_t req, const struct node *node, size_t size,
		int64_t offset, bool nonblock);
bool waits_ready(struct waits *w, const struct node *node);

#endif
