/* The push: tells the kernel that attributes and names which it keeps have changed, then whoever
 * waits for that (on_published), then whoever watches (events.h).
 *
 * One thread of its own takes the changes of the tree, GPU by GPU, and publishes what is shown of
 * them (inode.h). It holds no lock while it calls the kernel, which may wait there for requests
 * that are under way. Changes that come meanwhile are joined, so it cannot fall behind by more
 * than one round. */
#ifndef GPUTEL_FS_NOTIFY_H
#define GPUTEL_FS_NOTIFY_H

#include "events.h"
#include "inode.h"
#include "lowlevel.h"

struct notifier;

/* Starts listening to the tree and the thread. on_published runs on it after each round. */
struct notifier *notifier_start(struct tree *tree, struct inode_table *inodes,
				struct fuse_session *se, struct events *events,
				void (*on_published)(void *arg), void *arg);
/* Before content of a snapshot file is given out, which these attributes belong to: whatever else
 * is shown of it is not from here on. By any thread, for an inode that the kernel holds. */
void notify_ahead(struct fuse_session *se, struct inode *i, const struct attr *now);
/* Steps 2 and 3 for who has done the first. */
void notify_begun(struct fuse_session *se, struct inode *i);
/* Ends the thread; the tree may go on telling. NULL is fine. */
void notifier_stop(struct notifier *n);
/* When the tree tells nothing any more. NULL is fine. */
void notifier_free(struct notifier *n);

#endif
