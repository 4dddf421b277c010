/* Rows of the store, decoded: what REST, streams and WebSockets read where the mount reads text.
 *
 * Everything here is of one tree, may be called from any thread, and may wait for the tree's source
 * (etcd), never with the tree's lock held. host and gpu are encoded, as in paths.
 *
 * Order. A GPU's rows are in order of event time, between equals of position. A segment holds the
 * rows of its own stretch of event time, so (time, seq) says where a row stands in its GPU, which
 * is what cursors keep; it outlives merging, inserts and retention. Commits are told in order of
 * revision.
 *
 * Errors: -ENOENT no such host or GPU, -ESTALE it has vanished while it was read, -EIO rows that
 * are not to be had now (etcd away, a damaged chunk) or the first list is not in yet, -ENOMEM. */
#ifndef GPUTEL_QUERY_H
#define GPUTEL_QUERY_H

#include "tree.h"

struct query_row {
	struct stamp time;
	const struct series *series;
	const struct attribution *attribution;
	struct slice value;
	int64_t seq;      /* position in its segment */
	int64_t revision; /* of its commit; 0: older than is told apart (query_extents' floor) */
};

/* ---- rows of a stretch of time -------------------------------------------------------------- */

struct query_range {
	const char *host, *gpu;
	int64_t from_ns, to_ns; /* event time, both inclusive */
	bool descending;        /* both time and position run backwards */
	int64_t max_revision;   /* rows known to be committed later are left out; INT64_MAX: none */
	/* Which series; asked once for each. NULL: all. */
	bool (*wants)(const struct series *s, void *arg);
	void *arg;
	bool resume; /* begin behind the row (after_ns, after_seq), in the direction of reading */
	int64_t after_ns, after_seq;
};

struct query;

/* Reads headers and bodies that overlap the range, as the rows are asked for; memory is bounded by
 * the rows of chunks that overlap one another in time, not by the length of the range. Segments and
 * chunks that come or are merged meanwhile do no harm; those that retention drops are just missing.
 */
int query_open(struct query **ret, struct tree *t, const struct query_range *range) must_check;
/* 1 and the next row, which lives until the next call; 0 at the end; or an error. */
int query_next(struct query *q, struct query_row *ret) must_check;
/* Names the GPU that the rows belong to; lives as long as the query. */
const struct identity *query_identity(const struct query *q);
void query_close(struct query *q); /* NULL is fine */

/* ---- rows of commits ------------------------------------------------------------------------ */

/* Rows of one commit in one segment, adjacent in position. */
struct extent {
	int64_t revision, segment_ns;
	uint64_t incarnation; /* of the segment */
	int64_t first_seq;
	uint32_t rows;
};

/* What a GPU got by commits in (after, upto], by revision, then segment, then position; the caller
 * frees *ret. *ret_floor: commits up to this revision may no longer be told apart (their chunks
 * were merged long ago) and are then missing here; 0: all of them are known. */
int query_extents(struct tree *t, const char *host, const char *gpu, int64_t after, int64_t upto,
		  struct extent **ret, size_t *ret_n, int64_t *ret_floor) must_check;

/* So long it may take to hear of a merge that has taken a chunk away. */
#define QUERY_PATIENCE_MS 2000

/* Calls fn for each row of the extent in order of position until it returns non-zero, which is
 * passed on. -ESTALE: dropped meanwhile; -EBADMSG: damaged, now and later; -ENODATA: a chunk is not
 * in the store, and within patience_ms nothing was heard of what has become of it; another error:
 * not to be had now. */
int query_extent_rows(struct tree *t, const char *host, const char *gpu, const struct extent *x,
		      int64_t patience_ms,
		      int (*fn)(const struct identity *id, const struct query_row *row, void *arg),
		      void *arg) must_check;

/* ---- what there is -------------------------------------------------------------------------- */

enum gpu_state { GPU_LIVE, GPU_STALE, GPU_LOST };
const char *gpu_state_name(enum gpu_state s);

struct query_gpu {
	const char *host, *gpu; /* encoded */
	const struct identity *id;
	enum gpu_state state;
	int64_t last_ns;  /* greatest event time that is shown */
	int64_t revision; /* of its newest commit */
};

/* Calls fn for each GPU, by host, then GPU, in byte order of their encoded names, as of one
 * revision
 * (*ret_revision, may be NULL), until it returns non-zero, which is passed on. fn runs without the
 * lock. host: only that one's; NULL: all. */
int query_gpus(struct tree *t, const char *host, int (*fn)(const struct query_gpu *g, void *arg),
	       void *arg, int64_t *ret_revision) must_check;
/* GPUs with this uuid (as in rows, not encoded); the same order. */
int query_gpus_by_uuid(struct tree *t, const char *uuid,
		       int (*fn)(const struct query_gpu *g, void *arg), void *arg) must_check;

/* The latest row of each series of a GPU, by file name of the series, all as of one revision. */
int query_latest(struct tree *t, const char *host, const char *gpu,
		 int (*fn)(const struct query_gpu *g, const struct query_row *row, void *arg),
		 void *arg) must_check;

#endif
