/* Tells the service manager (service.h) that the daemon is well, as long as it is: a thread asks
 * three times in the interval that the manager wants (WatchdogSec=). Until a stop is asked for. */
#ifndef GPUTEL_WATCHDOG_H
#define GPUTEL_WATCHDOG_H

#include "base.h"

struct watchdog;

/* is_well may take its time, up to for ever where the daemon hangs; arg must outlive the watchdog.
 * NULL where nobody wants to hear it, or if there is no thread. */
struct watchdog *watchdog_start(bool (*is_well)(void *arg), void *arg);
void watchdog_stop(struct watchdog *w); /* once the stop flag is set; NULL is fine */

#endif
