/* Which process a session belongs to, so that one on the same machine can tell at once that it is
 * dead instead of waiting for its lease. Only ever a short cut: what protects data is the fence. */
#ifndef GPUTEL_PROCESS_H
#define GPUTEL_PROCESS_H

#include "base.h"

#define PROCESS_TEXT_MAX 640

/* {"id":…,"pid":…,"start":…,"boot":…,"pidns":…} of this process. */
void process_describe(const char *id, char ret[PROCESS_TEXT_MAX]);

/* True if text describes a process of this boot and pid namespace that has ended. */
bool process_is_dead(struct slice text);

#endif
