/* Open files.
 *
 * A snapshot file follows kernfs: a read at offset 0 takes the newest content and keeps it in the
 * open file, reads elsewhere continue in that. Row files keep nothing: their bytes never change, so
 * any read can be answered by itself (rows.h). */
#ifndef GPUTEL_FS_FILE_H
#define GPUTEL_FS_FILE_H

#include "lowlevel.h"
#include "tree.h"

struct files; /* all that are open */
struct file;

struct files *files_new(struct tree *tree);
/* Closes what is still open, as after a lazy unmount. NULL is fine. */
void files_free(struct files *files);

struct file *file_new(struct files *files, struct node *node);
void file_free(struct file *f); /* NULL is fine */

/* Answers req. */
void file_read(struct file *f, fuse_req_t req, size_t size, int64_t offset);

/* The handle that FUSE carries; row files have none. */
static inline uint64_t file_handle(struct file *f)
{
	return (uint64_t)(uintptr_t)f;
}

static inline struct file *file_of(const struct fuse_file_info *fi)
{
	return (struct file *)(uintptr_t)fi->fh;
}

#endif
