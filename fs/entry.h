/* The tree's attributes and errors as FUSE wants them. */
#ifndef GPUTEL_FS_ENTRY_H
#define GPUTEL_FS_ENTRY_H

#include "inode.h"
#include "lowlevel.h"

#include <sys/stat.h>

/* What all answers have in common. */
struct entry_owner {
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

void entry_stat(const struct entry_owner *o, const struct attr *a, struct stat *ret);
/* The answer to a lookup of i. */
void entry_param(const struct entry_owner *o, const struct inode *i, const struct attr *a,
		 double timeout, struct fuse_entry_param *ret);
/* Answers with the errno for r < 0; what is no error of files is EIO. */
void entry_error(fuse_req_t req, int r);

#endif
