/* inotify's events: what is to be told, in the order of commits, through the toucher (toucher.h).
 *
 * The notifier adds what a commit changed, after it has published it. A thread here has it touched
 * batch by batch; what is added meanwhile waits and is joined, so a file that changes faster than
 * it can be told of is told of once for many commits.
 *
 * While a batch of names is under way, operations (ops.c) ask what the toucher's requests are
 * about: to him, a name that he is to make is not there yet, and one that he is to remove still is.
 * Everybody else sees the tree. Of a name that was looked up before he could make it the kernel
 * drops what it has, because whoever makes a name has it look again; that takes nothing from those
 * who have it open. So no name is ever taken back from the kernel here: that would wait for its
 * folder's lock, which whoever looks something up there holds until he is answered. */
#ifndef GPUTEL_FS_EVENTS_H
#define GPUTEL_FS_EVENTS_H

#include "lowlevel.h"
#include "touches.h"

struct events;

/* sent: called from the thread here when all that belongs to commits up to a revision has been
 * told. toucher is borrowed and may be NULL: then nothing is told. */
struct events *events_start(struct toucher *toucher, void (*sent)(int64_t revision, void *arg),
			    void *arg);
/* Takes over what is in t. */
void events_add(struct events *e, struct touches *t, int64_t revision);
/* Ends the thread. NULL is fine. */
void events_stop(struct events *e);
void events_free(struct events *e); /* NULL is fine */

/* ---- for operations --------------------------------------------------------------------------
 */

/* Whether the request is the toucher's. */
bool events_own(const struct events *e, fuse_req_t req);
/* Whether he has been told just now to do that to this path. */
bool events_expect(struct events *e, enum touch_op op, const char *path);

#endif
