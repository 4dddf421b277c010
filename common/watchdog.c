#include "watchdog.h"

#include <pthread.h>

#include "daemon.h"
#include "service.h"

struct watchdog {
	bool (*is_well)(void *arg);
	void *arg;
	int64_t pause_ms;
	pthread_t thread;
};

static void *run(void *arg)
{
	struct watchdog *w = arg;

	do
		if (w->is_well(w->arg))
			service_tell("WATCHDOG=1");
	while (!daemon_sleep_ms(w->pause_ms));
	return NULL;
}

/* Three times in the interval: a late answer is not yet an end. */
struct watchdog *watchdog_start(bool (*is_well)(void *arg), void *arg)
{
	int64_t ms = service_watchdog_ms();
	struct watchdog *w;

	if (!service_is_managed() || ms <= 0)
		return NULL;
	w = xcalloc(1, sizeof(*w));
	w->is_well = is_well;
	w->arg = arg;
	w->pause_ms = MAX(1, ms / 3);
	if (pthread_create(&w->thread, NULL, run, w) == 0)
		return w;
	free(w);
	return NULL;
}

void watchdog_stop(struct watchdog *w)
{
	if (!w)
		return;
	pthread_join(w->thread, NULL);
	free(w);
}
