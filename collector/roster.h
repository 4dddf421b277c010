/* The hosts that a collector has heard of, by their messages or their writers; each is one unit of
 * work, with the marks of whoever decides about it: backlog.h, group.h, consumer.h.
 *
 * They are never forgotten before the session ends: as many as there are folders. */
#ifndef GPUTEL_ROSTER_H
#define GPUTEL_ROSTER_H

#include "clock.h"
#include "map.h"
#include "queue.h"
#include "sizes.h"

struct lane;
struct writer;

struct host {
	char *name; /* as in messages */
	char enc[NAME_MAX_ENCODED + 1];

	/* backlog.h */
	struct lane **lanes;
	size_t n_lanes, n_pending;
	struct mono waiting_since; /* of the oldest pending, about */

	/* group.h */
	char *writer; /* as /telemetry/writers says; NULL: none */
	int64_t writer_rev;
	const char *target; /* who should be; an id of the group's members */

	/* consumer.h */
	char *take_from;  /* TASK_TAKE: the dead writer to take it from; NULL: nobody has it */
	int64_t take_rev; /* and writer_rev, as judged together */
	unsigned worker;
	bool busy;          /* a worker has it in its turn */
	struct mono due;    /* not before then */
	struct mono sweep;  /* retention is looked at then */
	struct mono merge;  /* its chunks are */
	struct sizes sizes; /* of what is stored, reckoned anew at the time below */
	struct mono size_at;

	/* Of the worker that has it busy. */
	bool mine;
	bool empty;       /* nothing of it is stored any more */
	struct hold hold; /* the queue's mirror must have passed it */
	struct writer *state;
};

struct roster {
	struct map by_name, by_enc; /* → struct host */
	unsigned n_workers;         /* that they are spread over, by hash */
	bool placed;                /* no host has come since targets were given (group.h) */
};

/* Their lanes are gone already (backlog_release). */
void roster_release(struct roster *s);
/* A new one where there is none; NULL: no such name can be. */
struct host *roster_by_name(struct roster *s, const char *name);
struct host *roster_by_enc(struct roster *s, struct slice enc);

/* As map_each: from the last to the first. */
static inline struct host *roster_at(const struct roster *s, uint32_t i)
{
	return s->by_name.entries[i].value;
}

#define roster_each(s, i) map_each (&(s)->by_name, i)

#endif
