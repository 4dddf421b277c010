/* The toucher: a process of its own that makes inotify tell of what the daemon has changed.
 *
 * FUSE has no message for it; the kernel tells of changes that come through the file system. So
 * somebody sets the time of a file that has new content (IN_MODIFY), makes a name that has come
 * (IN_CREATE) and removes one that has gone (IN_DELETE), and the daemon, which knows him by his
 * pid, answers as if that had done something. A thread of the daemon cannot be him: killed while
 * it waits for its own process, it would wait for ever. So he does not hold /dev/fuse either.
 *
 * As root he works through a detached clone of the mount, which keeps nobody from unmounting, and
 * lets go of it when the mount is gone from mountinfo; what others see is read-only by then.
 * Without that right he goes by the mount's path, for a few requests at a time, and looks first
 * whether it is still ours.
 *
 * He ends when the daemon does. His code (toucher_process.c) uses system calls alone, so that he
 * can also be replaced while the daemon has threads. */
#ifndef GPUTEL_FS_TOUCHER_H
#define GPUTEL_FS_TOUCHER_H

#include "base.h"

#include <sys/types.h>

enum touch_op {
	TOUCH_MODIFY,
	TOUCH_MAKE_FILE,
	TOUCH_MAKE_DIR,
	TOUCH_REMOVE_FILE,
	TOUCH_REMOVE_DIR,
};

#define TOUCH_BATCH_MAX 256

struct toucher;

/* Forks. Before any other thread exists, and before the mount. NULL: refused, errno says why. */
struct toucher *toucher_start(void);
/* What to work on: at once, for it asks nothing of the daemon. restricted: the mount lets the
 * kernel judge permissions, and stays writable to it so that these come first. */
void toucher_attach(struct toucher *t, const char *path, dev_t device, bool restricted);
/* Who he is. 0: there is none. From any thread. */
pid_t toucher_pid(const struct toucher *t);

/* Has n of them done, in this order, at most TOUCH_BATCH_MAX; paths are the mount's. errors: an
 * errno each. Waits for it. One thread at a time. -EPIPE: he has ended, and another one is there
 * or not. */
int toucher_run(struct toucher *t, enum touch_op op, char *const *paths, size_t n,
		uint8_t *errors) must_check;
/* Ends a toucher_run() that waits, and all to come. */
void toucher_stop(struct toucher *t);
void toucher_free(struct toucher *t); /* NULL is fine */

#endif
