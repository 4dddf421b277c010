/* Time, in two types that cannot be mixed: monotonic for intervals and deadlines, wall for stamps.
 * Both count nanoseconds. */
#ifndef GPUTEL_CLOCK_H
#define GPUTEL_CLOCK_H

#include "base.h"

struct mono {
	int64_t ns;
};

struct mono mono_now(void);
int64_t wall_now_ns(void); /* since 1970-01-01T00:00:00Z */

static inline int64_t mono_ms_since(struct mono t)
{
	return (mono_now().ns - t.ns) / NS_PER_MS;
}

static inline struct mono mono_in_ms(int64_t ms)
{
	return (struct mono){mono_now().ns + ms * NS_PER_MS};
}

/* Milliseconds left until t, never negative. */
static inline int64_t mono_ms_until(struct mono t)
{
	int64_t left = t.ns - mono_now().ns;

	return left > 0 ? (left + NS_PER_MS - 1) / NS_PER_MS : 0;
}

/* Exponential back-off with full jitter: grows from base_ms towards max_ms, halves at random.
 * Start from a zeroed struct. */
struct backoff {
	int tries;
};

int64_t backoff_next_ms(struct backoff *b, int64_t base_ms, int64_t max_ms);

#endif
