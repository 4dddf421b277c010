/* The mount point: made fit for a mount, mounted, left again.
 *
 * Paths are absolute. What stands at a mount point is read from mountinfo; only a process that can
 * be killed ever asks the file system there. */
#ifndef GPUTEL_FS_MOUNTPOINT_H
#define GPUTEL_FS_MOUNTPOINT_H

#include "options.h"

#include <sys/types.h>

#define MOUNT_TYPE "fuse.gputel"

struct mountpoint {
	char *path;
	dev_t device; /* of our mount, so that only ours is unmounted */
};

/* Resolves the path and checks what is there. -EBUSY: a live mount of ours. -ENOENT, -ENOTDIR. */
int mountpoint_prepare(struct mountpoint *m, const char *path, struct err *e) must_check;
/* Goes on with the mount of that device instead, asking it nothing. -ENOENT: it is not there. */
int mountpoint_adopt(struct mountpoint *m, const char *path, dev_t device,
		     struct err *e) must_check;
/* Whether the file system at path answers: 0, or the error that it answers with; -ETIMEDOUT. */
int mountpoint_probe(const char *path);
/* Unmounts what dead daemons of ours left there, and at once mounts, so that nobody sees the bare
 * folder for longer than that; with fusermount3 where mount(2) is not allowed. *ret_fd is the
 * connection. */
int mountpoint_attach(struct mountpoint *m, const struct mount_options *o, int *ret_fd,
		      struct err *e) must_check;
/* Unmounts ours if it is still the topmost; lazily if it is in use. */
void mountpoint_detach(struct mountpoint *m);
void mountpoint_release(struct mountpoint *m);

#endif
