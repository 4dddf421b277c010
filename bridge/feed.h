/* The feed: every commit as an event (event.h), kept in a ring that all subscribers read with a
 * cursor each. So a row is read and serialised once, however many want it.
 *
 *	tree_watch ─► which GPUs changed ─► [feed thread] their extents, by revision ─► ring
 *
 * An event stays in the ring until every subscriber is past it, at most FEED_AGE_MS and FEED_BYTES;
 * who falls behind that is told so and cut off (subscriber.h). While nobody subscribes nothing is
 * read. What a subscriber wants from before its cursor comes from the store (past.h), read by
 * threads of the feed's own, so that no request waits for them.
 *
 * Locks, in order: subscribers (list and wake-ups), whatever wake takes, ring. */
#ifndef GPUTEL_BRIDGE_FEED_H
#define GPUTEL_BRIDGE_FEED_H

#include "event.h"
#include "gateway.h"
#include "work.h"

#define FEED_AGE_MS  10000
#define FEED_BYTES   ((size_t)32 << 20)
#define FEED_TICK_MS 1000

struct feed;

/* NULL: no thread could be started. */
struct feed *feed_start(struct tree *tree);
/* Subscribers are told that it is over (feed_is_over), by a last wake-up. */
void feed_end(struct feed *f);
/* No subscriber is left. NULL is fine. */
void feed_stop(struct feed *f);
void feed_free(struct feed *f); /* when the tree tells nothing any more; NULL is fine */
bool feed_is_over(struct feed *f);
struct tree *feed_tree(struct feed *f);
/* As pool_submit. */
void feed_submit(struct feed *f, struct job *j);

/* A place in the ring. Embedded in whoever reads it. */
struct cursor_of_feed {
	uint64_t seq; /* of the next event; under the ring's lock */
	/* Called after every event and every FEED_TICK_MS, by threads of the feed, one at a time;
	 * must not wait. */
	void (*wake)(void *arg);
	void *arg;
	struct cursor_of_feed *prev, *next;
};

/* From now on: what was committed up to the revision returned is not in its events. */
int64_t feed_join(struct feed *f, struct cursor_of_feed *c);
void feed_leave(struct feed *f, struct cursor_of_feed *c); /* wake does not run any more */
/* Calls its wake as the feed would; nothing where it has left. */
void feed_wake(struct feed *f, struct cursor_of_feed *c);

/* The next event as a reference, and moves on. NULL: none yet. -ESTALE: it is not kept any more. */
int feed_next(struct feed *f, struct cursor_of_feed *c, struct event **ret) must_check;
/* To the ring's end: as feed_join. */
int64_t feed_skip(struct feed *f, struct cursor_of_feed *c);
/* How long the event at the cursor has been waiting there. 0: there is none. */
int64_t feed_behind_ms(struct feed *f, const struct cursor_of_feed *c);

/* The one selector of these filters, as a reference. */
struct selector *feed_selector(struct feed *f, const struct filter *filters, size_t n,
			       struct principal *who);

struct feed_stats {
	uint64_t events, subscribers, ring_events, ring_bytes;
};
void feed_stats(struct feed *f, struct feed_stats *ret);

#endif
