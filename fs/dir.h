/* Listings of folders.
 *
 * An open folder keeps nothing: entries come in the order of their ino, which is the cookie, so any
 * READDIR continues where the one before ended, also after entries came, went, or the daemon was
 * started anew. */
#ifndef GPUTEL_FS_DIR_H
#define GPUTEL_FS_DIR_H

#include "entry.h"

struct dir_reader {
	struct tree *tree;
	struct inode_table *inodes;
	const struct entry_owner *owner;
};

/* Answer req with as many entries after the cookie as fit into size bytes. */
void dir_read(const struct dir_reader *d, fuse_req_t req, struct inode *dir, size_t size,
	      off_t cookie);
/* The same with attributes; each entry counts as a lookup. */
void dir_read_plus(const struct dir_reader *d, fuse_req_t req, struct inode *dir, size_t size,
		   off_t cookie);

#endif
