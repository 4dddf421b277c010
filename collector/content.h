/* What a claimed message holds: rows to store, or messages that take its place. */
#ifndef GPUTEL_CONTENT_H
#define GPUTEL_CONTENT_H

#include "migration.h"

struct content {
	bool is_split;          /* what it has is split, not batch */
	struct batch batch;     /* of the pointer's host */
	struct migration split; /* of an older schema, with other hosts' rows or too many */
};

/* The one reason that says nothing against what is in the message. */
extern const char content_expired[];

/* NULL, or why the message cannot be stored; it may be in e. A foreign message of an older schema
 * has its true number of rows in its pointer then. Zero *ret before; release it in any case. */
const char *content_open(struct content *ret, struct claim *k, int64_t segment_ns, struct err *e);
void content_release(struct content *x);

#endif
