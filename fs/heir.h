/* Going on with the mount of a daemon that died.
 *
 * Two descriptors outlive it with the service manager: the connection to the kernel and the memory
 * file (saved.h). Whoever gets them serves on under the same mount: open files, readers that wait
 * and watches see no more than a pause.
 *
 * If that cannot be (a kernel before 6.9, a memory file of another version, a mount that is gone),
 * the old mount is taken away and a new one made, and the log says why. Under --supervise a mount
 * that is gone is the end: somebody unmounted it while no daemon was there to see it. */
#ifndef GPUTEL_FS_HEIR_H
#define GPUTEL_FS_HEIR_H

#include "inode.h"
#include "lowlevel.h"
#include "mountpoint.h"

struct heir {
	int fd; /* the connection that was left; -1: none, mount */
	struct saved *saved;
	struct inode_table *inodes;
	struct fuse_session *session;
	pthread_t thread;
	bool settling;
};

/* Takes what was left, if anything, and m with it. Without it a new memory file where a manager
 * would keep it. 1: it is the end. */
int heir_take(struct heir *h, struct mountpoint *m, const char *path, struct err *e) must_check;
/* Has everything that the kernel knows looked at anew: its attributes may be those of long ago. In
 * a thread of its own, because it needs the session's loop. */
void heir_settle(struct heir *h, struct inode_table *inodes, struct fuse_session *se);
void heir_release(struct heir *h); /* waits for it */
/* Gives the manager what shall outlive this daemon, once it is mounted. */
void heir_leave(struct heir *h, const struct mountpoint *m, int fd);
/* Nothing shall: the mount is ending in order. */
void heir_leave_nothing(void);

#endif
