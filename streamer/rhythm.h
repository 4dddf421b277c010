/* When a thing that is looked at again and again is due: every interval, at an offset of its own,
 * so that many are spread over it and each keeps its distance. What takes longer than the interval
 * misses a beat, and goes on with the next one. */
#ifndef GPUTEL_RHYTHM_H
#define GPUTEL_RHYTHM_H

#include "clock.h"

struct rhythm {
	struct mono next;
	int64_t interval_ns;
};

/* The first beat is offset_ns (modulo the interval) from now. */
void rhythm_init(struct rhythm *r, int64_t interval_ms, uint64_t offset_ns, struct mono now);

/* 0: it is due, and the beat is counted as had; *ret_missed gets those that passed meanwhile. Else
 * nanoseconds until it is. */
int64_t rhythm_delay_ns(struct rhythm *r, struct mono now, int64_t *ret_missed);

/* Waits for the next beat. True: a stop was asked for (daemon_stopping()). */
bool rhythm_wait(struct rhythm *r, int64_t *ret_missed);

#endif
