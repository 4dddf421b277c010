/* Gives the kernel back what nobody looked at for a while, so that what it knows is what somebody
 * holds: has open, stands in, or watches. Only that is worth events (touches.h), and the kernel's
 * own memory (1.2 KiB an inode) comes back too.
 *
 * Linux 6.18 forgets unused inodes when it is told to (FUSE_NOTIFY_PRUNE). Before that it does so
 * when it lacks memory: taking names from its cache by name would wait for locks that those hold
 * who wait for us (guard.h). */
#ifndef GPUTEL_FS_PRUNE_H
#define GPUTEL_FS_PRUNE_H

#include "inode.h"
#include "lowlevel.h"

struct pruner;

/* Starts the thread. on_tick: called on it about once a second. */
struct pruner *pruner_start(struct inode_table *inodes, struct fuse_session *se,
			    void (*on_tick)(void *arg), void *arg);
void pruner_stop(struct pruner *p); /* and frees; NULL is fine */

#endif
