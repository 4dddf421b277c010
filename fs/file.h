/* Open files, and what may be read of them.
 *
 * A snapshot file follows kernfs: a read at offset 0 takes the newest content and keeps it in the
 * open file, reads elsewhere continue in that; but the first read, if it comes soon, gets what was
 * there when the file was opened (promise.h). Row files keep only how far they were read: their
 * bytes never change, so any read can be answered by itself (rows.h). One that is not live has no
 * open file here, for the kernel reads it from its pages.
 *
 * poll(2): a snapshot file is ready while the content is not what was read last, a live row file
 * while there is more than was read, a stream while it has rows, .meta/wait when its time has come;
 * everything else always is. files_wake() looks at all that somebody polls.
 *
 * Where something outlives the daemon (saved.h), so do its open files: their handles are places in
 * the memory file, in which stands what they need to go on. A snapshot is not kept, only its length
 * and hash: its successor goes on where the content is still the same, else says that it is the
 * end, or ESTALE in the midst of it. */
#ifndef GPUTEL_FS_FILE_H
#define GPUTEL_FS_FILE_H

#include "inode.h"
#include "lowlevel.h"
#include "rows.h"
#include "saved.h"
#include "stream.h"
#include "wait.h"

struct files; /* all that are open */
struct file;

/* What open files read from; all borrowed. */
struct files_sources {
	struct tree *tree;
	struct fuse_session *session;
	struct inode_table *inodes;
	struct row_reads *reads;
	struct streams *streams;
	struct waits *waits;
};

/* saved: NULL, or what outlives the daemon. */
struct files *files_new(struct saved *saved);
/* Before anything is opened. */
void files_set_sources(struct files *files, const struct files_sources *sources);
/* Closes what is still open, as after a lazy unmount. NULL is fine. */
void files_free(struct files *files);

/* Opens. reader: the thread. -ENFILE: too many. */
int file_new(struct files *files, struct inode *i, pid_t reader, struct file **ret) must_check;
/* The open file that was left under this handle; NULL: none was. */
struct file *file_adopt(struct files *files, struct inode *i, uint64_t handle);
void file_free(struct file *f); /* NULL is fine */
void file_release(struct files *files, uint64_t handle);

/* Answers req, now or later; not later if nonblock. */
void file_read(struct file *f, fuse_req_t req, size_t size, int64_t offset, bool nonblock);
/* Answers req with which of these events are there. ph: is taken over and notified when that may
 * have changed; NULL: nobody waits for it. */
void file_poll(struct file *f, fuse_req_t req, unsigned events, struct fuse_pollhandle *ph);
/* Content has changed, of whatever. */
void files_wake(struct files *files);
/* Has all poll again that a predecessor would have woken. */
void files_wake_left(struct files *files, struct fuse_session *se);

/* Puts the attributes of what this thread has opened, and not yet read, in place of those of i. */
void files_promised_attr(struct files *files, struct inode *i, pid_t reader, struct attr *ret);

/* What FUSE carries; 0 for NULL: row files have none. */
uint64_t file_handle(struct file *f);
/* NULL: none here under this handle. */
struct file *file_of(struct files *files, uint64_t handle);

#endif
