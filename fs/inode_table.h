/* Inside of the table of inodes; only fs/inode*.c include it. */
#ifndef GPUTEL_FS_INODE_TABLE_H
#define GPUTEL_FS_INODE_TABLE_H

#include "inode.h"

struct inode_table {
	struct tree *tree;
	struct saved *saved;
	struct inode *root;
	pthread_mutex_t lock;
	struct map by_ino;  /* 8 bytes of ino */
	struct map by_path; /* the one looked up last */
	struct map groups;
	struct map left; /* ino → struct saved_inode: a predecessor's, not yet found again */
};

/* Under the lock, where it is not known. Takes path over. */
struct inode *inode_add(struct inode_table *t, uint64_t parent, char *path, struct node *node,
			const struct attr *a);
/* A reference to what a predecessor left under that number; NULL: it is gone, or cannot be found
 * now (inode_is_left). Without the lock. */
struct inode *inode_find_again(struct inode_table *t, uint64_t ino);
/* Under the lock. */
void inode_forget_left(struct inode_table *t, uint64_t ino, uint64_t n);

#endif
