/* Commits of many GPUs, in the order in which they happened. */
#ifndef GPUTEL_BRIDGE_EXTENTS_H
#define GPUTEL_BRIDGE_EXTENTS_H

#include "event.h"

/* Bounds what is held of a long stretch of revisions: 64 bytes each. */
#define EXTENTS_MAX ((size_t)256 << 10)

struct gpu_extent {
	size_t gpu; /* of gpus */
	struct extent x;
};

struct extents {
	struct {
		char *host, *gpu; /* encoded */
	} * gpus; /* whose commits are listed, in the order in which they were added */
	size_t n_gpus, cap_gpus;
	struct gpu_extent *list; /* [at, n) are left; by revision, GPU, segment, position */
	size_t at, n, cap;
	int64_t after, upto;
	int64_t patience_ms; /* for chunks that are not there: once it is used up others do not
				wait, too */
	int64_t floor; /* the greatest of the GPUs' (query_extents); 0: has been told, or none */
};

void extents_add_gpu(struct extents *l, const char *host, const char *gpu);
/* Lists what they got in (after, *upto]. Where that is more than EXTENTS_MAX, *upto is lowered. */
int extents_list(struct extents *l, struct tree *t, int64_t after, int64_t *upto) must_check;
/* Reads the rows of the next revision, as an event; s: only GPUs that it wants (NULL: all). What is
 * no longer told apart comes first, as a gap; a revision with rows that are damaged or gone for
 * good is one too. 0: there are no more; 1: *ret is one, maybe without rows; else an error, and the
 * same revision can be tried again. */
int extents_next(struct extents *l, struct tree *t, struct selector *s,
		 struct event **ret) must_check;
void extents_release(struct extents *l);

#endif
