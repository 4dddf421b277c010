/* The chunks of one segment as its writer knows them, in order of position, and which of them are
 * to be joined next (merge.h). Pure: no clock, no etcd.
 *
 * Joining follows what the segment is going through:
 *	OPEN	rows are coming: runs of PARTS_RUN chunks of one level, a level being how often a
 *		chunk's rows were joined (levels of an LSM tree: each row is copied once per level)
 *	IDLE	none come for a while: everything, as far as bodies stay within their limit
 *	OVER	its time is past and none come: the same, and what comes of it is sealed; what is
 *		full stays as it is
 * A chunk whose lease ends before its segment's retention (rows came late, or for a long time) is
 * joined anew too, alone if need be, which gives it a longer one. */
#ifndef GPUTEL_PARTS_H
#define GPUTEL_PARTS_H

#include "chunk.h"
#include "digest.h"

#define PARTS_RUN       8
#define PARTS_FULL      (CHUNK_BODY_MAX / 4 * 3) /* not worth joining with others any more */
#define PARTS_KEY_BYTES 128
#define PARTS_ROWS      (CHUNK_ROWS_MAX / 4) /* of one that was joined */

struct part {
	char ulid[ULID_LEN + 1];
	bool has_body; /* under a key of its own */
	bool sealed;
	bool full;  /* too large together with the next one */
	bool stuck; /* cannot be read, and stays as it is */
	uint8_t level;
	uint32_t bytes; /* value and body */
	int64_t key_ns, first_seq, rows;
	int64_t rev;      /* mod revision of its key; 0: in a transaction under way */
	int64_t until_ns; /* wall clock: its lease ends */
	char *value;      /* as it was put here, so that it need not be read; mostly NULL */
	uint32_t value_len;
};

struct parts {
	struct part *list;
	size_t n, cap;
	bool complete; /* there are no others */
};

enum stage { STAGE_OPEN, STAGE_IDLE, STAGE_OVER };

/* Parts [from, from + n) make one chunk. */
struct run {
	size_t from, n;
	bool seal;
};

/* part->value is taken over. */
void parts_add(struct parts *p, const struct part *part); /* positions only grow */
void parts_replace(struct parts *p, const struct run *r, const struct part *part);
void parts_release(struct parts *p);

/* What a chunk takes in etcd, about: with its keys. */
static inline int64_t part_cost(const struct part *p)
{
	return p->bytes + (p->has_body ? 2 : 1) * PARTS_KEY_BYTES;
}

uint8_t part_level(uint32_t n_commits);

/* The first run from part `from` on that is worth joining, of at most max parts; false: none is.
 * until_ns: leases should last as long. */
bool parts_next_run(const struct parts *p, size_t from, enum stage stage, int64_t until_ns,
		    size_t max, struct run *ret);

#endif
