/* Open files.
 *
 * A snapshot file follows kernfs: a read at offset 0 takes the newest content and keeps it in the
 * open file, reads elsewhere continue in that. Row files keep nothing: their bytes never change, so
 * any read can be answered by itself (rows.h).
 *
 * Where something outlives the daemon (saved.h), so do its open files: their handles are places in
 * the memory file, in which stands what they need to go on. A snapshot is not kept, only its length
 * and hash: its successor goes on where the content is still the same, else says that it is the
 * end, or ESTALE in the midst of it. */
#ifndef GPUTEL_FS_FILE_H
#define GPUTEL_FS_FILE_H

#include "lowlevel.h"
#include "saved.h"
#include "tree.h"

struct files; /* all that are open */
struct file;

/* saved: NULL, or what outlives the daemon. */
struct files *files_new(struct tree *tree, struct saved *saved);
/* Closes what is still open, as after a lazy unmount. NULL is fine. */
void files_free(struct files *files);

/* Opens. -ENFILE: too many. */
int file_new(struct files *files, struct node *node, struct file **ret) must_check;
/* The open file that was left under this handle; NULL: none was. */
struct file *file_adopt(struct files *files, struct node *node, uint64_t handle);
void file_free(struct file *f); /* NULL is fine */
void file_release(struct files *files, uint64_t handle);

/* Answers req. */
void file_read(struct file *f, fuse_req_t req, size_t size, int64_t offset);

/* What FUSE carries; 0 for NULL: row files have none. */
uint64_t file_handle(const struct file *f);
/* NULL: none here under this handle. */
struct file *file_of(struct files *files, uint64_t handle);

#endif
