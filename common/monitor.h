/* What looks after a daemon asks here: /metrics (stats.h), /healthz and /readyz over HTTP, on
 * 127.0.0.1 only. The bridge has the same at its own port.
 *
 * A responder of its own, because three fixed answers to GET need none of what an HTTP library is
 * for, and a second user of libmicrohttpd would undo its one place (bridge/rest.c). One thread, at
 * most MONITOR_CONNECTIONS connections, one request each: the head has at most MONITOR_HEAD_MAX
 * bytes, and everything MONITOR_DEADLINE_MS. Who comes while all are in use waits in the kernel's
 * queue. */
#ifndef GPUTEL_MONITOR_H
#define GPUTEL_MONITOR_H

#include "base.h"

#define MONITOR_CONNECTIONS 16
#define MONITOR_HEAD_MAX    8192
#define MONITOR_DEADLINE_MS 10000
#define MONITOR_PORTS       64 /* that are tried, from the first one on */

/* Why the program is not ready, while it holds. On the monitor's thread; it must not wait. */
struct hindrance {
	bool (*holds)(void *arg);
	const char *reason;
};

struct monitor_conf {
	int64_t port; /* the first one free from here on is taken, and logged */
	const struct hindrance *hindrances;
	size_t n_hindrances;
	void *arg;
};

struct monitor;

/* hindrances and arg must outlive it. -EADDRINUSE: no port is free. */
int monitor_start(struct monitor **ret, const struct monitor_conf *conf, struct err *e) must_check;
void monitor_stop(struct monitor *m); /* NULL is fine */
int monitor_port(const struct monitor *m);

#endif
