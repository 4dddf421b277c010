/* What is mounted where, read from /proc/self/mountinfo: the one way to learn it that cannot hang
 * on a file system that does not answer. */
#ifndef GPUTEL_FS_MOUNTINFO_H
#define GPUTEL_FS_MOUNTINFO_H

#include "base.h"

#include <limits.h>
#include <sys/types.h>

struct mountinfo {
	unsigned major, minor; /* of the device: tells one mount's file system from another's */
	char type[64];
	char path[PATH_MAX];
};

/* One line. -EINVAL: not of the form; path and type too long likewise. */
int mountinfo_parse(const char *line, struct mountinfo *ret) must_check;
/* The topmost mount at exactly this absolute path. -ENOENT: none. */
int mountinfo_find(const char *path, struct mountinfo *ret) must_check;

#endif
