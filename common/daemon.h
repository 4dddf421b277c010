/* The life of a program: signals, the stop flag, the drain's deadline.
 *
 * SIGTERM and SIGINT set the stop flag and wake everybody who waits; a second one ends the process
 * at once with exit 1 (everything acknowledged is in etcd already; the rest comes back by
 * recovery). A service manager is told STOPPING=1. SIGHUP runs what daemon_on_hup was given.
 * SIGPIPE is ignored. The thread that waits for signals also tells of log lines that were
 * suppressed (log.h), once their period is over. */
#ifndef GPUTEL_DAEMON_H
#define GPUTEL_DAEMON_H

#include "base.h"

/* Blocks the signals for all threads and starts the one that waits for them. Call before any other
 * thread exists. shutdown_ms: SHUTDOWN_TIMEOUT. */
int daemon_init(int64_t shutdown_ms, struct err *e) must_check;

/* Another SHUTDOWN_TIMEOUT; a stop under way keeps its own. */
void daemon_set_drain(int64_t shutdown_ms);

/* Runs on the signal thread, once, at the first SIGTERM, SIGINT or daemon_stop, after the flag is
 * set (may be NULL). What was set before does not run any more when this returns: whoever frees
 * what a hook uses takes it back before that. */
void daemon_on_stop(void (*fn)(void *arg), void *arg);
/* The same, at each SIGHUP. */
void daemon_on_hup(void (*fn)(void *arg), void *arg);

bool daemon_stopping(void);
extern volatile bool daemon_stop_flag; /* for those that take a pointer to it; read it atomically */
/* Becomes readable at a stop, and stays so: for poll(2). Nobody reads it. */
int daemon_stop_fd(void);
/* Asks for the same stop from inside. */
void daemon_stop(void);

/* Sleeps up to ms, less when a stop is asked for. Returns daemon_stopping(). */
bool daemon_sleep_ms(int64_t ms);
/* Waits until a stop is asked for. */
void daemon_wait(void);
/* Milliseconds left of SHUTDOWN_TIMEOUT since the first signal; the whole of it before. */
int64_t daemon_drain_left_ms(void);

#endif
