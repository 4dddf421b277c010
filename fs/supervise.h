/* --supervise: a small parent that outlives the daemon.
 *
 * It does for it what a service manager would (service.h): starts it, keeps the descriptors that it
 * hands over, and starts it again with them when it dies: within half a second if it had been
 * ready, else later each time. It holds no state but these, touches no file system, and has one
 * thread; so there is little in it that could end it. A daemon that does not say for a while that
 * it is well is killed.
 *
 * It ends when the daemon does so of its own accord: with 0 after an unmount or SIGTERM (which it
 * passes on), and with the daemon's status where it never came as far as being ready. */
#ifndef GPUTEL_FS_SUPERVISE_H
#define GPUTEL_FS_SUPERVISE_H

#include "base.h"

#define SUPERVISE_READY "background" /* the name under which the first daemon gets ready_fd */
#define SUPERVISE_ENV   "GPUTEL_SUPERVISED" /* is in the environment of the daemon */

/* argv: the program's own; the daemon gets the same without --supervise, in the foreground.
 * ready_fd (background.h) is used up when the daemon is ready; -1: stays in the foreground. Returns
 * the exit status. */
int supervise(char **argv, int ready_fd);

#endif
