/* When the next row may go: at once, at a rate, or as recorded.
 *
 * PACE_RATE is a token bucket of a tenth of a second (but two rows at least), so that a rate holds
 * on average however coarse the sleeps are, and a pause is not made up for. PACE_SPEED sends each
 * row at its distance in time from the first one, divided by the speed; rows that are late or equal
 * go at once. A step to or fro that would mean more than PACE_JUMP_MAX of waiting is a gap in the
 * recording (or a broken clock), not a pace: it is not waited for, and the rows after it are paced
 * from there.
 *
 * The arithmetic takes the present as a parameter; only pace_wait sleeps. Not thread-safe. */
#ifndef GPUTEL_PACE_H
#define GPUTEL_PACE_H

#include "clock.h"

#define PACE_JUMP_MAX_NS (3600 * NS_PER_SEC)

enum pace_mode { PACE_NONE, PACE_RATE, PACE_SPEED };

struct pace {
	enum pace_mode mode;
	double factor; /* rows per second, or speed; > 0 */
	bool started;
	double tokens;
	struct mono anchor; /* rate: of the last refill; speed: when the row at anchor_ns went */
	int64_t anchor_ns, last_ns;
};

void pace_init(struct pace *p, enum pace_mode mode, double factor);
/* The next row is a first row again (a new pass of --loop). A rate goes on. */
void pace_restart(struct pace *p);

/* Nanoseconds until a row of event time time_ns may go. 0: now, and it is counted as gone; else ask
 * again then. Without a clock of its own: pass mono_now(). */
int64_t pace_delay_ns(struct pace *p, int64_t time_ns, struct mono now);

/* Waits until the row may go. True: a stop was asked for (daemon_stopping()), it did not go. */
bool pace_wait(struct pace *p, int64_t time_ns);

#endif
