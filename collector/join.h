/* Several adjacent chunks of one segment as one chunk that reads the same (DESIGN §4, Order).
 *
 * Of what a reader sees nothing changes: the rows with their positions and texts, csv_bytes, the
 * incarnations, the latest row of each series and its revision, the newest time of storing, and the
 * revisions of recent commits (chunk.h says what of older ones is folded). The result is decoded
 * again and compared with the rows that went into it, because the parts are deleted for it. Pure.
 */
#ifndef GPUTEL_JOIN_H
#define GPUTEL_JOIN_H

#include "chunk.h"

struct join_part {
	struct slice value; /* of the data key */
	struct slice body;  /* of the body key, where there is one */
	int64_t create_rev;
};

struct joined {
	struct chunk c;            /* slices point into the parts */
	struct strbuf value, body; /* body is empty where it is part of value */
	size_t bad;                /* which part cannot be joined; n: none in particular */
};

/* Zero *ret before first use; release it in any case. Commits of parts stored before old_ns may be
 * folded. -EBADMSG, -ENOTSUP: a part is damaged or of another version; -ESTALE: they do not belong
 * together; ret->bad is the first that is to blame. -EFBIG: too large for one chunk. */
int join_chunks(const struct join_part *parts, size_t n, bool seal, int64_t old_ns,
		struct joined *ret, struct err *e) must_check;
void joined_release(struct joined *j);

#endif
