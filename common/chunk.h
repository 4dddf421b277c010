/* A chunk: rows of one GPU and one segment, adjacent in position, as stored (DESIGN §4).
 *
 * Value of the data key, version 1 (little-endian; lstr, varint and zz as in strbuf.h):
 *	4    "gtc\1"
 *	u8   flags (1: body follows the header, 2: body is zstd, 4: sealed)
 *	u64  identity    incarnation of the identity whose series ids are meant
 *	u64  incarnation of the segment: given by its first writer, the same in all its chunks, also
 *	     after merging; part of inode numbers and ETags
 *	varint segment   its start, seconds since 1970
 *	varint first_seq, rows          positions [first_seq, first_seq + rows)
 *	varint csv_bytes                length of the rows as rendered (render.h), no header line
 *	varint min, max                 event times, ns after the segment's start
 *	varint stored                   ns since 1970, by the writer's clock
 *	varint n, n × attribution       lstr uuid, container, pod, namespace
 *	varint n, n × series            see below
 *	varint n, n × commit            recent-commit table of a merged chunk: varint revision
 *	                                (difference to the one before), varint rows of it
 *	varint body_len, raw_len, u32 CRC-32C of the body
 *	u32  CRC-32C of everything before
 *	[body]
 * A series entry carries the id in the identity (difference to the entry before, which is smaller),
 * and its latest row in this chunk: varint time (ns after the segment's start), u8 fraction digits
 * | 0x80 if it lay more than 10 minutes ahead of `stored`, varint row (counted from first_seq),
 * varint attribution, lstr value. The body's series indexes count these entries.
 * A fresh chunk has no commits: its one revision is its key's create revision.
 * The table of a merged chunk covers all its rows, in their order; revisions do not fall. Commits
 * older than CHUNK_COMMITS_NS are folded so that the table stays small: an entry that has the same
 * revision as the one behind it stands for rows of several older commits, of which only is known
 * that they are of an earlier revision. Where a series has its latest row no entry is folded over
 * it, so that the revision of each latest is what it always was.
 *
 * Body: columns.h, in the data key if it takes at most CHUNK_INLINE_MAX, else under the body key.
 *
 * Versions: a reader refuses a version it does not know (-ENOTSUP), it never guesses; a new version
 * is written only once all readers know it. How rows look as text (csv_bytes) is frozen with the
 * version. */
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

/* A decoded header; slices point into the value it came from (or, when writing, wherever). */
struct chunk {
	bool sealed, has_inline_body, zstd;
	uint64_t identity, incarnation;
	int64_t segment_ns, first_seq, rows, csv_bytes, min_ns, max_ns, stored_ns;
	struct attribution *attributions;
	uint32_t n_attributions;
	struct chunk_series *series;
	uint32_t n_series;
	struct chunk_commit *commits;
	uint32_t n_commits;
	uint32_t body_len, raw_len, body_crc;
	struct slice inline_body;
};

/* Entry i of the commit table stands for older commits than its revision says. */
static inline bool chunk_commit_is_folded(const struct chunk *c, uint32_t i)
{
	return i + 1 < c->n_commits && c->commits[i].revision == c->commits[i + 1].revision;
}

/* Encodes rows into *ret_body (compressed where that is smaller) and fills body_len, raw_len,
 * body_crc, zstd, has_inline_body of c. Rows index c's series entries and attributions. */
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
