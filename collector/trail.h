/* The way of each message through a collector, in the log at debug level, by the trace id that it
 * has had since it was published: one line when it is claimed, one when a transaction has ended
 * that. */
#ifndef GPUTEL_TRAIL_H
#define GPUTEL_TRAIL_H

#include "queue.h"

void trail_claimed(const struct claim *claims, size_t n);
/* d was sent and committed, at that revision (0: not known). */
void trail_ended(const struct ending *d, int64_t revision);

#endif
