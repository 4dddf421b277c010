/* What a commit gives somebody a reason to be told: names that came and went, files whose content
 * is another.
 *
 * Collected are only those that the kernel may have a watch on: what it knows, and what is in a
 * folder that it knows (inode.h). Each at most once, in an order: names that went, names that came
 * (folders first), values, row files, then what sums them up (latest.*, stat, .meta). */
#ifndef GPUTEL_FS_TOUCHES_H
#define GPUTEL_FS_TOUCHES_H

#include "inode.h"
#include "toucher.h"

#define TOUCHES_MAX (1U << 20)

enum touch_rank {
	RANK_REMOVE_FILE,
	RANK_REMOVE_DIR,
	RANK_MAKE_DIR,
	RANK_MAKE_FILE,
	RANK_VALUE,
	RANK_ROWS,
	RANK_SUMMARY,
	RANK_FLEET, /* .meta: dear to render, so less often (events.c) */
	RANKS,
};

struct touch_list {
	char **paths; /* owned */
	size_t n, cap;
};

/* A zeroed one is empty. Not thread-safe. */
struct touches {
	struct touch_list ranks[RANKS];
	struct map seen; /* rank and path */
};

enum touch_op touch_rank_op(enum touch_rank rank);

static inline bool touches_any(const struct touches *t)
{
	return map_count(&t->seen) > 0;
}

/* The files of one commit's changes. */
void touches_collect(struct touches *t, struct inode_table *inodes, const struct change *c,
		     size_t n);
void touches_add(struct touches *t, enum touch_rank rank, const char *path);
/* Adds those of src behind; src is empty then. */
void touches_join(struct touches *t, struct touches *src);
void touches_release(struct touches *t);

#endif
