/* Bodies that the pool produces piece by piece while they are sent, in bounded memory: one piece is
 * being sent while the next is being made. */
#ifndef GPUTEL_BRIDGE_STREAM_H
#define GPUTEL_BRIDGE_STREAM_H

#include "answer.h"

#define STREAM_PIECE ((size_t)128 << 10) /* a source stops filling beyond that */
#define STREAM_MAX   ((size_t)8 << 20)   /* and may not overshoot to more than this */

struct source {
	/* Appends a piece, about STREAM_PIECE of it; may wait. 1: there is more, 0: this was the
	 * last, or an error. */
	int (*fill)(void *arg, struct strbuf *out);
	void (*free)(void *arg);
	void *arg;
};

/* Answers with what the source yields, which is taken over. Fills the first piece at once, so that
 * what fails early is still a problem, and what fits in one piece has a Content-Length. length: of
 * the whole, where it is known. Only on the pool (ROUTE_WAITS). */
void answer_source(struct answer *a, struct request *q, const char *type, struct source *s,
		   int64_t length);

#endif
