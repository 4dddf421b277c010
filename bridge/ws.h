/* WebSockets by libwebsockets (ws.c, its one includer): one thread of its own.
 *
 * A connection comes with the head of its upgrade request unread in the socket. When it is let in
 * (upgrade.h), libwebsockets adopts it together with a head of ours, on its own thread only
 * (lws_adopt_socket_vhost_readbuf after lws_cancel_service), and shakes hands.
 *
 * A client that takes no frames is cut off (subscriber.h); one that answers no ping, closed. */
#ifndef GPUTEL_BRIDGE_WS_H
#define GPUTEL_BRIDGE_WS_H

#include "gateway.h"
#include "peer.h"

struct ws;

/* After the feed has been started. */
int ws_start(struct ws **ret, struct gateway *g, struct err *e) must_check;
/* Takes the descriptor over where its request may become a WebSocket; from any thread, does not
 * wait. False: it is refused, and still the caller's, for libmicrohttpd to say why. */
bool ws_adopt(struct ws *w, int fd, const struct peer *peer);
bool ws_has_room(struct ws *w);
size_t ws_count(struct ws *w);
/* Closes all with 1001, and who comes later. */
void ws_end(struct ws *w);
/* And ends the thread; before feed_stop. NULL is fine. */
void ws_stop(struct ws *w);

#endif
