#include "pace.h"

#include "daemon.h"

#define BUCKET_S     0.1
#define BUCKET_MIN   2
#define SLEEP_MS_MAX 1000 /* due times are looked at again after this */

void pace_init(struct pace *p, enum pace_mode mode, double factor)
{
	*p = (struct pace){.mode = mode, .factor = factor};
}

void pace_restart(struct pace *p)
{
	if (p->mode == PACE_SPEED)
		p->started = false;
}

/* ---- rate ----------------------------------------------------------------------------------- */

static void refill(struct pace *p, struct mono now)
{
	double most = MAX(p->factor * BUCKET_S, (double)BUCKET_MIN);
	double came = (double)(now.ns - p->anchor.ns) * p->factor / (double)NS_PER_SEC;

	p->tokens = MIN(p->tokens + came, most);
	p->anchor = now;
}

static int64_t rate_delay(struct pace *p, struct mono now)
{
	if (!p->started) {
		p->started = true;
		p->tokens = 1;
		p->anchor = now;
	}
	if (p->tokens < 1)
		refill(p, now);
	if (p->tokens >= 1) {
		p->tokens--;
		return 0;
	}
	return (int64_t)((1 - p->tokens) / p->factor * (double)NS_PER_SEC) + 1;
}

/* ---- speed ---------------------------------------------------------------------------------- */

/* A distance of event times in nanoseconds of waiting; in double, where none overflows. */
static double scaled(const struct pace *p, int64_t from_ns, int64_t to_ns)
{
	return ((double)to_ns - (double)from_ns) / p->factor;
}

static void anchor(struct pace *p, int64_t time_ns, struct mono now)
{
	p->started = true;
	p->anchor = now;
	p->anchor_ns = p->last_ns = time_ns;
}

static bool is_jump(const struct pace *p, int64_t time_ns)
{
	double step = scaled(p, p->last_ns, time_ns);

	return step > (double)PACE_JUMP_MAX_NS || step < -(double)PACE_JUMP_MAX_NS;
}

static int64_t speed_delay(struct pace *p, int64_t time_ns, struct mono now)
{
	double left;

	if (!p->started || is_jump(p, time_ns))
		anchor(p, time_ns, now);
	left = scaled(p, p->anchor_ns, time_ns) - (double)(now.ns - p->anchor.ns);
	if (left >= 1)
		return (int64_t)MIN(left, (double)PACE_JUMP_MAX_NS) + 1;
	p->last_ns = time_ns;
	return 0;
}

/* ---- both ----------------------------------------------------------------------------------- */

int64_t pace_delay_ns(struct pace *p, int64_t time_ns, struct mono now)
{
	switch (p->mode) {
	case PACE_RATE:
		return rate_delay(p, now);
	case PACE_SPEED:
		return speed_delay(p, time_ns, now);
	case PACE_NONE:
		break;
	}
	return 0;
}

bool pace_wait(struct pace *p, int64_t time_ns)
{
	int64_t ns;

	if (p->mode == PACE_NONE)
		return false;
	while ((ns = pace_delay_ns(p, time_ns, mono_now())) > 0) {
		int64_t ms = (ns + NS_PER_MS - 1) / NS_PER_MS;

		if (daemon_sleep_ms(MIN(ms, (int64_t)SLEEP_MS_MAX)))
			return true;
	}
	return false;
}
