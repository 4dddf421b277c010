/* A chunk: rows of one GPU and one segment, adjacent in position, as stored (DESIGN §4).
 *
 * Value of the data key, version 1 (little-endian; lstr and varint as in strbuf.h):
 *	4    "gtc\1"
 *	u8   flags (1: body follows the header, 2: sealed)
 *	u64  identity    incarnation of the identity whose series ids are meant
 *	u64  incarnation of the segment: given by its first writer, the same in all its chunks, also
 *	     after merging; part of inode numbers and ETags
 *	varint segment   its start, seconds since 1970
 *	varint first_seq, rows          positions [first_seq, first_seq + rows)
 *	varint csv_bytes                length of the rows as rendered (render.h), no header line
 *	u8   unit        event times in this header are in 10^unit ns
 *	varint min, max (from min)      event times, after the segment's start
 *	varint stored                   ns since 1970, by the writer's clock
 *	varint n, n × attribution       names: uuid, container, pod, namespace
 *	varint n, n × commit            recent-commit table of a merged chunk: varint revision
 *	                                (difference to the one before), varint rows of it
 *	varint n, lstr stream           n series, through the range coder: see below
 *	varint body_len, u32 CRC-32C of the body
 *	u32  CRC-32C of everything before
 *	[body]
 * A name is a varint, and what that says: 0 the same as in the attribution before (in the first:
 * empty), 1 and 2 a UUID in 16 bytes behind "GPU-" or "MIG-" (lower case), else n - 3 bytes.
 *
 * A series entry carries the id in the identity and its latest row in this chunk; as numbers, text
 * and bit of number_coder.h, each with a model of its own:
 *	number id          less the id before and 1 (at first less 0)
 *	number time        in units, less the time before (at first less max)
 *	number digits      of the fraction, less those before (at first less 0)
 *	bit    ahead       it lay more than 10 minutes ahead of `stored`
 *	number row         counted from first_seq, less the row before and 1 (at first: rows - n)
 *	number attribution less the one before (at first less the last of the table)
 *	text   value
 * The body's series indexes count these entries.
 *
 * A fresh chunk has no commits: its one revision is its key's create revision. The table of a
 * merged chunk covers all its rows, in their order; revisions do not fall. Commits older than
 * CHUNK_COMMITS_NS are folded so that the table stays small: an entry that has the same revision as
 * the one behind it stands for rows of several older commits, of which only is known that they are
 * of an earlier revision. Where a series has its latest row no entry is folded over it, so that the
 * revision of each latest is what it always was.
 *
 * Body: columns.h, in the data key if it takes at most CHUNK_INLINE_MAX, else under the body key.
 * Its hints are min and the values of the series entries: a chunk of one scrape, whose values are
 * all in its header, has a body of some bytes.
 *
 * Versions: a reader refuses a version or flag that it does not know (-ENOTSUP, -EBADMSG), it never
 * guesses; a new version is written only once all readers know it. How rows look as text
 * (csv_bytes) is frozen with the version, and tests/unit/test_golden.c holds its bytes. */
#ifndef GPUTEL_CHUNK_H
#define GPUTEL_CHUNK_H

#include "batch.h"
#include "columns.h"

#define CHUNK_INLINE_MAX  2048
#define CHUNK_BODY_MAX    (64 * 1024)
#define CHUNK_ROWS_MAX    (1 << 20)
#define CHUNK_COMMITS_MAX 1024                 /* entries of the commit table */
#define CHUNK_COMMITS_NS  (600 * 1000000000LL) /* commits are told apart at least so long */
#define CHUNK_AHEAD_NS    (600 * 1000000000LL) /* law 3: further ahead of storing is not latest */

struct chunk_series {
	uint32_t id; /* in the identity */
	struct stamp time;
	bool ahead;
	uint32_t row; /* of the chunk */
	uint32_t attribution;
	struct slice value;
};

struct chunk_commit {
	int64_t revision;
	uint32_t rows;
};

/* A decoded header; slices point into the value it came from, or into names and values (or, when
 * writing, wherever). */
struct chunk {
	bool sealed, has_inline_body;
	uint64_t identity, incarnation;
	int64_t segment_ns, first_seq, rows, csv_bytes, min_ns, max_ns, stored_ns;
	struct attribution *attributions;
	uint32_t n_attributions;
	struct chunk_series *series;
	uint32_t n_series;
	struct chunk_commit *commits;
	uint32_t n_commits;
	uint32_t body_len, body_crc;
	struct slice inline_body;
	char *names, *values; /* texts of a decoded header; owned */
};

/* Entry i of the commit table stands for older commits than its revision says. */
static inline bool chunk_commit_is_folded(const struct chunk *c, uint32_t i)
{
	return i + 1 < c->n_commits && c->commits[i].revision == c->commits[i + 1].revision;
}

/* Encodes rows into *ret_body and fills body_len, body_crc, has_inline_body of c. Rows index c's
 * series entries and attributions; all other fields of c are set before, and stay as they are until
 * chunk_encode, because the body leaves out what they say. Much is tried for a sealed chunk, which
 * stays, little for others, which are soon merged. */
void chunk_encode_body(struct chunk *c, const struct row *rows, size_t n, struct strbuf *ret_body);
/* The data key's value; body is appended where has_inline_body. */
void chunk_encode(struct strbuf *out, const struct chunk *c, struct slice body);

/* -EBADMSG, -ENOTSUP with the reason in e. Zero *ret before first use; release in any case. */
int chunk_decode(struct slice value, struct chunk *ret, struct err *e) must_check;
/* Checks length and CRC against c, then decodes. */
int chunk_decode_body(const struct chunk *c, struct slice body, struct rows *ret,
		      struct err *e) must_check;
void chunk_release(struct chunk *c);

#endif
