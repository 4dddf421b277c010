/* The rows of one POST /api/v1/ingest: from a body in one of three formats into a window, with
 * counts as the streamer has them, and the faults of rows.
 *
 *	push_csv.c       text/csv: a header, then rows, as row.h takes them from files
 *	push_json.c      application/x-ndjson: a JSON record a line (record.h)
 *	push_series.c    application/x-protobuf: remote-write 1.0 (remote_write.h)
 *
 * A body is taken as far as it can be: an invalid row costs itself. What cannot be read as its
 * format at all (no header, malformed protobuf) is refused whole. */
#ifndef GPUTEL_BRIDGE_PUSH_H
#define GPUTEL_BRIDGE_PUSH_H

#include "receipt.h"
#include "strbuf.h"
#include "tokens.h"
#include "window.h"

#define PUSH_BODY_MAX   ((size_t)32 << 20) /* as it is sent, and unpacked */
#define PUSH_FAULTS_MAX 20                 /* that are told one by one */

struct push {
	struct push *next;                                      /* the lane's */
	const struct push_format *format;                       /* of plain */
	struct strbuf *body;                                    /* as it was sent: borrowed */
	int (*unpack)(struct slice packed, struct strbuf *out); /* NULL: it is plain */
	const char *trace;                                      /* id of its request */
	const struct principal *who;                            /* NULL: no tokens are set */
	bool once; /* there is an Idempotency-Key; receipt.id is of that */
	struct receipt receipt;
	bool replayed; /* it was complete before */

	int64_t rows, no_value, invalid; /* rows: with the good ones */
	int64_t forbidden;               /* of the invalid ones: hosts that are not the token's */
	int64_t skipped;                 /* samples that are of no GPU; not among rows */
	int64_t published, duplicate, messages;
	struct strbuf faults; /* JSON objects, comma-separated */
	int n_faults;

	int error; /* 0: it is enqueued, or there was nothing to enqueue */
	struct err why;
	int64_t retry_ms;                /* where error is -EAGAIN */
	void (*done)(struct push *push); /* from the lane's thread, once */
};

/* How a format is read. A parser keeps the series that it has seen, so that the next body of the
 * same client is cheaper; rows in a window refer to them. */
struct push_format {
	const char *type; /* media type */
	bool mixes;       /* bodies may share a window */
	void *(*parser_new)(void);
	void (*parser_free)(void *parser);
	/* Adds the rows of plain to w. -EBADMSG: e says why it is none of this format. -ENOBUFS:
	 * the table of series is full; the rows added so far are to be dropped. -ENOMEM. */
	int (*parse)(void *parser, struct push *push, struct slice plain, struct window *w,
		     struct err *e);
	/* Lets go of all series. */
	void (*forget)(void *parser);
};

extern const struct push_format push_csv, push_json, push_series;

/* Counts a sample and adds it, unless its host is not for this token. */
void push_row(struct push *p, struct window *w, const struct sample *s, int64_t line,
	      int64_t column);
void push_no_value(struct push *p);
void push_fault(struct push *p, int64_t line, int64_t column, const char *reason);
/* Forgets what was counted, before it is parsed again. */
void push_restart(struct push *p);
/* Good rows. */
int64_t push_good(const struct push *p);
/* "rows":N,… without braces, as both answers and problems have them. */
void push_render(const struct push *p, struct strbuf *out);

#endif
