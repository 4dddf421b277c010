/* What tar, cp and rsync count on: open, then fstat, then as many bytes as that said.
 *
 * The attributes that fstat(2) answers with are the inode's, and one open file's reader cannot be
 * given others than another's where the kernel keeps them. So a snapshot file that is opened takes
 * its content then, and that version is *promised*: as long as somebody has not begun to read it,
 * the kernel keeps no other attributes (inode.h), and who asks for attributes between his open and
 * his first read gets those of what he will read. He is known by his thread.
 *
 * A promise is short. Who comes to read later, having been told nothing, gets the newest, as does
 * everybody who reads from the start again, or waits with poll(2). */
#ifndef GPUTEL_FS_PROMISE_H
#define GPUTEL_FS_PROMISE_H

#include "inode.h"
#include "snapshot.h"

#include <sys/types.h>

struct promises; /* all that are open */
struct promise;

struct promises *promises_new(void);
void promises_free(struct promises *all); /* after the last; NULL is fine */

/* The newest content of i, for this thread to read. *ret_publish: the attributes that the kernel
 * keeps are of another version and have to be invalidated, then inode_publish_end(). i must live as
 * long. NULL: it cannot be had now. */
struct promise *promise_make(struct promises *all, struct tree *tree, struct inode *i, pid_t reader,
			     bool *ret_publish);
/* Ends it. What was promised, as a reference; NULL: that is too long ago. p may be NULL. */
struct snapshot *promise_end(struct promise *p);
/* Puts the attributes that this thread was promised in place of those of i. */
void promised_attr(struct promises *all, struct inode *i, pid_t reader, struct attr *ret);

#endif
