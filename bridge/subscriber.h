/* One who is told rows as they are committed: over a WebSocket (ws.c) or as server-sent events
 * (sse.c), which take frames from here when there is room in their sockets.
 *
 *	feed's ring ──────────────► frames of the present
 *	store ─► [job] ─► out ────► frames of the past: since, and what the ring no longer had
 *	row files ─► [job] ─► out ─► bytes of files that are followed
 *
 * Order: a subscriber is at a revision; all its rows up to there have been given out. While its
 *past is being read its place in the ring stands still; what the ring drops meanwhile is read from
 *the store too. A row that matches several subscriptions is given out once: where the past of one
 *is read, what another has had is left out.
 *
 * Bounds: OUT_MAX bytes read ahead; one job; SUBSCRIPTIONS_MAX; ANSWERS_MAX frames of the
 * transport's own. Who takes nothing for FEED_AGE_MS while there are frames, has more answers
 * waiting, or is further behind in the ring than it keeps, gets {"lag":{"rev":…}} as its last
 * frame: all up to that revision has been given out.
 *
 * All but the job and the wake-up run on the transport's thread. Lock order: see feed.h; a
 * subscriber's lock is taken after the transport's and before the ring's. */
#ifndef GPUTEL_BRIDGE_SUBSCRIBER_H
#define GPUTEL_BRIDGE_SUBSCRIBER_H

#include "subscriptions.h"

#define ANSWERS_MAX 1024

struct subscriber;

/* wake: there may be a frame now; see struct cursor_of_feed for where it runs. */
struct subscriber *subscriber_new(struct feed *f, struct principal *who, void (*wake)(void *arg),
				  void *arg);
/* Wakes nobody any more; waits for nothing. NULL is fine. */
void subscriber_free(struct subscriber *s);
/* Up to where it has been given everything. */
int64_t subscriber_revision(struct subscriber *s);

#define SINCE_NOW INT64_MIN

/* Rows that match filter (taken over), after revision since. One of the same id is replaced.
 * -E2BIG: too many. */
int subscriber_add(struct subscriber *s, const char *id, struct filter *filter, int64_t since,
		   struct err *e) must_check;
/* The bytes of a row file, by its path in the tree, from offset on. -ENOENT, -EINVAL, -EACCES,
 * -ERANGE: it is not that long. */
int subscriber_follow(struct subscriber *s, const char *id, const char *path, int64_t offset,
		      struct err *e) must_check;
/* What has been read ahead for it still comes. -ENOENT */
int subscriber_remove(struct subscriber *s, const char *id) must_check;
size_t subscriber_count(struct subscriber *s);

/* The next frame, which is the caller's, or NULL: wait for wake. After a FRAME_LAG there is none.
 */
struct frame *subscriber_next(struct subscriber *s);
/* Puts a frame of the transport's own in front of others, in order. */
void subscriber_say(struct subscriber *s, struct frame *f);
/* To be asked now and then while frames cannot be sent: whether it is to be cut off. */
bool subscriber_lags(struct subscriber *s);

#endif
