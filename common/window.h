/* A window: a run of rows of one source, and how it is cut into messages (DESIGN §4, Publish).
 *
 * Grouping is a pure function of the rows (their bytes in the source, not the time they are given
 * with --time now), batch_size and segment_ns, so that a restart that reads the same bytes again
 * cuts the same messages: hosts in order of their first row; a host's rows in their order, cut at
 * batch_size rows, WINDOW_GROUP_BYTES and WINDOW_PAIRS (GPU, segment) pairs, which is what a
 * collector stores in one transaction.
 *
 * Not thread-safe. Holds series_refs: empty it before row_forget. */
#ifndef GPUTEL_WINDOW_H
#define GPUTEL_WINDOW_H

#include "row.h"

#define WINDOW_ROWS        262144
#define WINDOW_ROWS_MAX    (4 * WINDOW_ROWS) /* where many hosts would get small messages */
#define WINDOW_ROW_BYTES   256               /* of the source, on average */
#define WINDOW_BYTES       ((size_t)WINDOW_ROWS * WINDOW_ROW_BYTES)
#define WINDOW_GROUP_BYTES (256 * 1024) /* estimate of a payload before compression */
#define WINDOW_PAIRS       32

struct window_row {
	const struct series_ref *series;
	struct stamp time; /* as it is sent */
	int64_t source_ns; /* as it was in the source */
	uint32_t value_at; /* in text */
	uint32_t value_len;
};

struct window {
	struct window_row *rows;
	size_t n, cap;
	struct strbuf text;
	int64_t offset, line;  /* of the source where it begins */
	int64_t end, end_line; /* and behind its last row */
	uint32_t series;       /* ids in it are below this */
	uint32_t hosts;        /* and so are those of its hosts */
	bool begins_pass;      /* the first one of another pass over the source */
};

/* One message to be. */
struct message_group {
	const struct series_ref *first; /* any row's series: the host is the same */
	uint32_t at, n;                 /* rows order[at … at + n) */
};

struct grouping {
	uint32_t *order; /* indexes of the window's rows */
	struct message_group *groups;
	size_t n, cap;
	size_t hosts;
	/* Where an id of the window is in the tables of the message being encoded: number of that
	 * message << 32 | index. So a new message costs nothing to begin, however many ids there
	 * are. */
	uint64_t *series_at, *attribution_at;
	uint32_t encoded;
};

void window_init(struct window *w);
void window_release(struct window *w);
/* Empties it; the next row begins at offset on that line. */
void window_begin(struct window *w, int64_t offset, int64_t line);
void window_add(struct window *w, const struct sample *s, struct stamp time, int64_t end,
		int64_t end_line);
/* At so many rows, or the bytes of the source that so many take. */
bool window_full(const struct window *w, size_t rows);
/* Drops the rows from the n-th on. */
void window_truncate(struct window *w, size_t n);

/* Zero *ret before first use. */
void window_group(const struct window *w, int64_t batch_size, int64_t segment_ns,
		  struct grouping *ret);
void grouping_release(struct grouping *g);

/* Appends the payload of one group (batch.h). */
void window_encode(const struct window *w, struct grouping *g, size_t i, struct strbuf *out);

#endif
