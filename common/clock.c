#include "clock.h"

#include <sys/random.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

struct mono mono_now(void)
{
	return (struct mono){read_clock(CLOCK_MONOTONIC)};
}

int64_t wall_now_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

static uint64_t random_below(uint64_t n)
{
	uint64_t v = 0;

	/* without entropy the delay is merely not jittered */
	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		v = 0;
	return v % n;
}

int64_t backoff_next_ms(struct backoff *b, int64_t base_ms, int64_t max_ms)
{
	int64_t delay = base_ms;

	for (int i = 0; i < b->tries && delay < max_ms; i++)
		delay *= 2;
	delay = MIN(delay, max_ms);
	if (delay < max_ms)
		b->tries++;
	return delay / 2 + (int64_t)random_below((uint64_t)(delay - delay / 2) + 1);
}
