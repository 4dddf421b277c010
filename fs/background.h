/* Going to the background: the parent returns when the mount answers, or with the child's failure,
 * whose text the child writes to stderr itself. */
#ifndef GPUTEL_FS_BACKGROUND_H
#define GPUTEL_FS_BACKGROUND_H

#include "base.h"

/* Forks. The parent waits and ends by exit; the child gets the descriptor to report on. Call before
 * any thread exists. */
int background_start(int *ret_fd, struct err *e) must_check;

/* The child works: the parent returns 0, and the terminal and pipes of the caller are let go of.
 * stderr stays where it is a file or a socket (a journal), which nobody reads to its end. Does
 * nothing for fd < 0 (foreground). */
void background_ready(int fd);

#endif
