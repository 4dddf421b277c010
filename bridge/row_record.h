/* What telemetry answers are made of, and the stages that make it:
 *
 *	query of each GPU ─► merge ─► [bucket] ─► [wide] ─► rows as JSON, CSV, … (printer.h)
 *
 * A stage yields records in one total order: event time, then host, then GPU, then position (of
 * buckets: series). order=desc reverses all of it. Where a record stands in that order is its key,
 * which is what cursors keep. */
#ifndef GPUTEL_BRIDGE_ROW_RECORD_H
#define GPUTEL_BRIDGE_ROW_RECORD_H

#include "query.h"

struct key_of_record {
	int64_t time_ns;
	const char *host, *gpu; /* encoded */
	const char *series;     /* of buckets; else "" */
	int64_t seq;            /* of rows; else 0 */
};

struct record {
	struct key_of_record key;
	const struct identity *id;
	struct stamp time;
	struct attribution attribution; /* of buckets and wide ones: of their last row */
	const struct series *series;    /* NULL: wide */
	struct slice value;
	const struct slice *columns; /* wide: a value for each column (wide.h), p NULL: none */
};

/* 1 and a record, which lives until the next call; 0 at the end; or an error (query.h). */
struct stage {
	int (*next)(void *arg, struct record *ret);
	void (*free)(void *arg); /* and of what it reads from */
	void *arg;
};

static inline int stage_next(const struct stage *s, struct record *ret)
{
	return s->next(s->arg, ret);
}

static inline void stage_free(const struct stage *s)
{
	if (s->free)
		s->free(s->arg);
}

/* Order of keys, of ascending order. */
static inline int key_cmp(const struct key_of_record *a, const struct key_of_record *b)
{
	int d;

	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	d = strcmp(a->host, b->host);
	d = d ? d : strcmp(a->gpu, b->gpu);
	d = d ? d : strcmp(a->series, b->series);
	return d ? d : (a->seq > b->seq) - (a->seq < b->seq);
}

#endif
