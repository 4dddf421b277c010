/* A process that the daemon forks for itself: what it does first, so that it keeps nothing of the
 * daemon's alive, /dev/fuse least of all, and ends when the daemon decides and not on a terminal's
 * ^C. System calls alone, so that it may be forked while the daemon has threads. */
#ifndef GPUTEL_FS_OFFSPRING_H
#define GPUTEL_FS_OFFSPRING_H

#include "base.h"

/* Keeps that socket only. -errno where it cannot be what it should. */
int offspring_begin(const char *name, int socket) must_check;

#endif
