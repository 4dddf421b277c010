/* The session's loop, which ends when the file system is unmounted from outside or when a stop is
 * asked for. libfuse offers no way to end it from another thread than by a signal: a thread of its
 * own waits for the stop, unmounts, and wakes the loop. */
#ifndef GPUTEL_FS_LOOP_H
#define GPUTEL_FS_LOOP_H

#include "lowlevel.h"
#include "mountpoint.h"

/* Runs with at most so many threads until the end. on_stop is called after the unmount that a stop
 * causes, so that requests which wait for something can be ended. 0, or -errno of the connection.
 */
int loop_run(struct fuse_session *se, struct mountpoint *m, unsigned threads,
	     void (*on_stop)(void *arg), void *arg, struct err *e) must_check;

#endif
