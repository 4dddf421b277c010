#include "rhythm.h"

#include "daemon.h"

void rhythm_init(struct rhythm *r, int64_t interval_ms, uint64_t offset_ns, struct mono now)
{
	r->interval_ns = interval_ms * NS_PER_MS;
	r->next.ns = now.ns + (int64_t)(offset_ns % (uint64_t)r->interval_ns);
}

int64_t rhythm_delay_ns(struct rhythm *r, struct mono now, int64_t *ret_missed)
{
	int64_t late = now.ns - r->next.ns;

	if (late < 0)
		return -late;
	*ret_missed = late / r->interval_ns;
	r->next.ns += (*ret_missed + 1) * r->interval_ns;
	return 0;
}

bool rhythm_wait(struct rhythm *r, int64_t *ret_missed)
{
	int64_t ns;

	while ((ns = rhythm_delay_ns(r, mono_now(), ret_missed))) {
		if (daemon_sleep_ms((ns + NS_PER_MS - 1) / NS_PER_MS))
			return true;
	}
	return daemon_stopping();
}
