#include "watchdog.h"

#include <pthread.h>

#include "daemon.h"
#include "log.h"
#include "service.h"

struct watchdog {
	const struct mountpoint *mountpoint;
	int64_t pause_ms;
	pthread_t thread;
};

static void *run(void *arg)
{
	struct watchdog *w = arg;

	do {
		int r = mountpoint_probe(w->mountpoint->path);

		if (r == 0)
			service_tell("WATCHDOG=1");
		else if (!daemon_stopping())
			log_warn("%s: the mount does not answer: %s", w->mountpoint->path,
				 strerror(-r));
	} while (!daemon_sleep_ms(w->pause_ms));
	return NULL;
}

/* Three times in the interval: a late answer is not yet an end. */
struct watchdog *watchdog_start(const struct mountpoint *m)
{
	int64_t ms = service_watchdog_ms();
	struct watchdog *w;

	if (!service_is_managed() || ms <= 0)
		return NULL;
	w = xcalloc(1, sizeof(*w));
	w->mountpoint = m;
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
