/* Tells the service manager that the daemon is well, as long as its mount answers. */
#ifndef GPUTEL_FS_WATCHDOG_H
#define GPUTEL_FS_WATCHDOG_H

#include "mountpoint.h"

struct watchdog;

/* Nothing where nobody wants to hear it; m must outlive it. NULL then, or if there is no thread. */
struct watchdog *watchdog_start(const struct mountpoint *m);
void watchdog_stop(struct watchdog *w); /* once the stop flag is set; NULL is fine */

#endif
