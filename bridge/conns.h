/* The connections that are with libmicrohttpd, and how long each may take.
 *
 * libmicrohttpd's own timeout counts from the last byte, so a peer that sends a byte now and then
 * would hold its connection for ever. Here the clock runs from the end of the last answer to the
 * end of the next head (CONN_IDLE_MS), and from there to the end of the body (CONN_BODY_MS); who
 * exceeds it is shut down. When all places are taken the longest idle one gives way.
 *
 * Thread-safe. A descriptor is shut down under the lock that conn_close takes, so never after
 * libmicrohttpd has closed it. */
#ifndef GPUTEL_BRIDGE_CONNS_H
#define GPUTEL_BRIDGE_CONNS_H

#include "clock.h"

#define CONN_IDLE_MS 60000
#define CONN_BODY_MS 60000

enum conn_state {
	CONN_IDLE, /* no request, or not all of its head */
	CONN_BODY, /* a body is coming in */
	CONN_BUSY, /* it is being answered */
	CONN_CUT,  /* shut down; libmicrohttpd is about to close it */
	CONN_STATES
};

struct conns;
struct conn;

struct conns *conns_new(size_t max);
void conns_free(struct conns *c); /* all closed; NULL is fine */
/* Whether there is room for one more; makes some if it can. */
bool conns_room(struct conns *c);

struct conn *conn_open(struct conns *c, int fd);
void conn_close(struct conn *x); /* NULL is fine */
void conn_set(struct conn *x, enum conn_state s);
/* What is sent from now on ends with a reset, so that nobody takes it for complete. */
void conn_will_reset(struct conn *x);

/* Cuts off who has taken too long; call it every second or so. */
void conns_sweep(struct conns *c);
void conns_cut(struct conns *c, enum conn_state s); /* all in that state */
size_t conns_count(struct conns *c, enum conn_state s);
size_t conns_total(struct conns *c);

#endif
