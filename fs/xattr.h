/* Extended attributes, for scripts that want to know more of a file than its bytes:
 *	user.gputel.unit     of a metric's value: W, C, MiB, …
 *	user.gputel.rev      revision of the newest commit in it
 *	user.gputel.age_ms   age of its newest sample
 * All can be read by name. Only the unit is listed, because the others change by themselves, and a
 * copy that compares attributes would never settle. */
#ifndef GPUTEL_FS_XATTR_H
#define GPUTEL_FS_XATTR_H

#include "strbuf.h"
#include "tree.h"

#define XATTR_MAX 64 /* bytes of a value, or of a list of names */

/* Appends the value. -ENODATA: there is none of that name. */
int xattr_get(struct tree *t, struct node *n, const char *name, struct strbuf *ret) must_check;
/* Appends the names that are listed, each with its NUL. */
int xattr_list(struct tree *t, struct node *n, struct strbuf *ret) must_check;

#endif
