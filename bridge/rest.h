/* REST by libmicrohttpd: the one includer of microhttpd.h.
 *
 * A few daemons without listeners, each with a thread of its own; connections are dealt out to them
 * by turns (accept.c). (libmicrohttpd's own pool needs a listener.) Handlers that may wait run on
 * the pool while their connection is suspended; so do bodies (stream.h).
 *
 * Of a suspended connection libmicrohttpd 0.9.75 minds neither timeouts nor the peer's end, and it
 * aborts the process when a daemon stops with one; so rest_stop first waits until none is left. */
#ifndef GPUTEL_BRIDGE_REST_H
#define GPUTEL_BRIDGE_REST_H

#include "conns.h"
#include "gateway.h"
#include "peer.h"

struct rest;

int rest_start(struct rest **ret, struct gateway *g, struct err *e) must_check;
/* Takes the descriptor over: a TCP socket or an end of a socketpair. */
void rest_adopt(struct rest *r, int fd, const struct peer *peer);
/* Requests that are being answered, endless ones (ROUTE_ENDLESS) not counted. */
size_t rest_busy(struct rest *r);
/* Ends all connections. Bodies that are suspended for ever must have been ended by whoever feeds
 * them, reads of etcd been cancelled. NULL is fine. */
void rest_stop(struct rest *r);

#endif
