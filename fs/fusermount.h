/* fusermount3, which mounts and unmounts for those who may not call mount(2) themselves. */
#ifndef GPUTEL_FS_FUSERMOUNT_H
#define GPUTEL_FS_FUSERMOUNT_H

#include "options.h"

/* -EPERM: refused; fusermount3 itself has said why on stderr. */
int fusermount_mount(const char *path, const struct mount_options *o, int *ret_fd,
		     struct err *e) must_check;
int fusermount_unmount(const char *path, bool lazy);

#endif
