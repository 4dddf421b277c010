/* WebSockets by libwebsockets (ws.c, its one includer): one thread of its own.
 *
 * A connection comes with the head of its upgrade request unread in the socket. libwebsockets
 * adopts descriptors on its own thread only (lws_adopt_socket_vhost after lws_cancel_service), and
 * reports no peer for an end of a socketpair, so the peer is kept by descriptor. Token, rate limit
 * and origin are checked with tokens.h, limit.h and cors.h, as for REST. */
#ifndef GPUTEL_BRIDGE_WS_H
#define GPUTEL_BRIDGE_WS_H

#include "gateway.h"
#include "peer.h"

struct ws;

int ws_start(struct ws **ret, struct gateway *g, struct err *e) must_check;
/* Takes the descriptor over; from any thread, does not wait. */
void ws_adopt(struct ws *w, int fd, const struct peer *peer);
/* Closes all with 1001 and ends the thread. NULL is fine. */
void ws_stop(struct ws *w);

#endif
