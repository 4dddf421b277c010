/* The toucher's requests about names (events.h), answered as if he had changed something. */
#ifndef GPUTEL_FS_TOUCHED_H
#define GPUTEL_FS_TOUCHED_H

#include "ops.h"

/* Looks name up for anybody. */
void reply_lookup(struct fs *fs, fuse_req_t req, struct inode *dir, const char *name);
/* For him: what he is about to make is not there, what he is about to remove is. */
void touched_lookup(struct fs *fs, fuse_req_t req, struct inode *dir, const char *name);
/* mkdir, mknod, rmdir and unlink; what nobody told him to do is EROFS for him too. */
void touched_change(struct fs *fs, fuse_req_t req, struct inode *dir, const char *name,
		    enum touch_op op);

#endif
