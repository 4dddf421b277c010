/* An event: the rows of one commit, serialised once, and the frames made of it for subscribers. Or
 * the end of a gap, which every selector is told of.
 *
 *	event ─ rows by GPU ─┬─ selector a ─► frame, frame     {"rev":N,"rows":[…]}
 *	                     └─ selector b ─► frame
 *
 * A selector is what one subscriber wants; those who want the same share it, and the frames.
 *Events, selectors and frames are counted and never change (but for an event's list of frames,
 *which has a lock). Thread-safe. */
#ifndef GPUTEL_BRIDGE_EVENT_H
#define GPUTEL_BRIDGE_EVENT_H

#include "clock.h"
#include "filter.h"
#include "query.h"
#include "tokens.h"

#define FRAME_BYTES    (64 << 10) /* of rows in a frame; a commit with more spans several */
#define KEPT           4          /* times the rows of a commit: its frames that are kept */
#define FRAME_HEADROOM 64         /* free bytes before data, for whoever frames it again */

enum frame_kind { FRAME_ROWS, FRAME_REV, FRAME_GAP, FRAME_LAG, FRAME_FILE, FRAME_ERROR };

struct frame {
	int refs; /* atomic */
	enum frame_kind kind;
	bool more; /* FRAME_ROWS: the commit goes on in the next one */
	int64_t revision;
	size_t len;
	char *data; /* JSON, one line; FRAME_HEADROOM bytes before it are writable */
};

/* text is copied. */
struct frame *frame_new(enum frame_kind kind, int64_t revision, struct slice text);
struct frame *frame_ref(struct frame *f);
void frame_unref(struct frame *f); /* NULL is fine */

/* ---- selectors ---- */

struct selector {
	int refs;               /* atomic */
	int users;              /* atomic: subscribers at it */
	struct filter *filters; /* any of them */
	size_t n;
	struct principal *who; /* what it may read; NULL: everything */
};

/* Filters are copied, who gets another reference. */
struct selector *selector_new(const struct filter *filters, size_t n, struct principal *who);
struct selector *selector_ref(struct selector *s);
void selector_unref(struct selector *s); /* NULL is fine */

/* Whether any row of that GPU may match; host_name: encoded. */
bool selector_wants_gpu(const struct selector *s, const char *host_name, const char *host,
			const char *gpu);
bool selector_wants_row(const struct selector *s, const char *host, const char *gpu,
			const char *uuid, const char *metric);

/* ---- events ---- */

struct event;

struct event *event_new(int64_t revision);
/* What was committed after from, up to its own revision, is not known, or not all of it. */
void event_set_gap(struct event *e, int64_t from);
/* Another row, as the tree tells it (query_extent_rows). host_name: encoded. -EMSGSIZE: no room. */
int event_add(struct event *e, const char *host_name, const struct identity *id,
	      const struct query_row *row) must_check;
struct event *event_ref(struct event *e);
void event_unref(struct event *e); /* NULL is fine */

int64_t event_revision(const struct event *e);
size_t event_bytes(const struct event *e); /* about what it takes */
struct mono event_made(const struct event *e);

/* The frames of its rows that s wants and none of but does, as references; *ret_n may be 0. Where s
 * has several users they are kept with the event, up to KEPT times its rows. The caller frees the
 * list. */
struct frame **event_frames(struct event *e, struct selector *s, struct selector *const *but,
			    size_t n_but, size_t *ret_n);

#endif
