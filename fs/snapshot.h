/* A content that is rendered whole, at one version. Shared by the open file and the replies that
 * are being made of it: once one has gone out the file may be closed, before the thread that sent
 * it has returned. */
#ifndef GPUTEL_FS_SNAPSHOT_H
#define GPUTEL_FS_SNAPSHOT_H

#include "strbuf.h"
#include "tree.h"

struct snapshot {
	int refs; /* atomic */
	struct strbuf bytes;
};

/* The newest, and the attributes that belong to it where they are asked for. */
int snapshot_take(struct tree *tree, struct node *node, struct snapshot **ret,
		  struct attr *ret_attr) must_check;
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s); /* NULL is fine */
uint64_t snapshot_hash(const struct snapshot *s);

#endif
