/* A place in the rows of a GPU, in the order of their commits, and what comes after it.
 *
 * The place is a row, not one of some buffer's: what is next comes from the store (query.h). So it
 * can be kept, and gone on from by another process. Rows that retention has dropped before they
 * were read are counted, and become a line `# dropped N` before the next one.
 *
 * No lock: of one thread at a time. */
#ifndef GPUTEL_FS_CURSOR_H
#define GPUTEL_FS_CURSOR_H

#include "strbuf.h"
#include "tree.h"

/* The next row is the first that is not before it. */
struct position {
	int64_t revision, segment_ns, seq;
	uint64_t incarnation; /* of the segment that seq counts in; 0: unknown */
};

struct cursor {
	struct tree *tree; /* borrowed */
	struct node *node; /* a reference */
	char *host, *gpu;  /* encoded */
	struct position at;
	int64_t seen; /* the GPU's revision up to which all was read */
	uint64_t dropped;
};

/* node: "host/gpu/stream". The position is the first of all. */
void cursor_init(struct cursor *c, struct tree *tree, struct node *node);
void cursor_release(struct cursor *c);
/* Behind all that is there. -ESTALE: the GPU has gone. */
int cursor_set_end(struct cursor *c);
/* Appends what comes next as lines, up to max bytes and one row more. 1: enough for now; 0: all
 * that there is; -ESTALE: the GPU has gone. */
int cursor_read(struct cursor *c, struct strbuf *out, size_t max) must_check;

#endif
