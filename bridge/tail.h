/* A row file that a subscriber follows: its bytes from an offset on, as frames
 *	{"path":"h/0/telemetry.csv","rev":N,"offset":O,"data":"…"}
 * whose data, one after another, are the file's. A path whose link moves on to another file goes on
 * there from its start, after {"path":…,"rotated":"history/…"}. When the file is gone for good
 * {"path":…,"gone":true} is the last frame. */
#ifndef GPUTEL_BRIDGE_TAIL_H
#define GPUTEL_BRIDGE_TAIL_H

#include "event.h"
#include "tree.h"

#define TAIL_BYTES ((size_t)64 << 10) /* of a frame */

struct tail;

/* Errors as subscriber_follow. */
int tail_new(struct tail **ret, struct tree *t, const char *path, int64_t offset,
	     const struct principal *who, struct err *e) must_check;
struct tail *tail_ref(struct tail *t);
void tail_unref(struct tail *t); /* NULL is fine */

/* 1 and a frame; 0: there is no more for now; or an error: try again later. May wait. One thread at
 * a time. */
int tail_next(struct tail *t, struct tree *tree, struct frame **ret) must_check;

#endif
