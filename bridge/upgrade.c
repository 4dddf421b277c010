/* What libmicrohttpd sees of the WebSocket's path: everything that accept.c has not handed to ws.c.
 */
#include "handlers.h"

/* An upgrade on a connection that has carried other requests before, as proxies that pool their
 * upstreams send it: the connection is libmicrohttpd's, and closing it makes the next one fresh. */
void handle_websocket(struct request *q, struct answer *a)
{
	if (!q->gateway->conf->ws_enabled) {
		answer_problem(a, 404, "WebSockets are switched off here (WS_ENABLED)");
		return;
	}
	if (request_header(q, "Sec-WebSocket-Key")) {
		answer_header(a, "Connection", "close");
		answer_problem(a, 503, "an upgrade must be the first request of its connection");
		return;
	}
	answer_header(a, "Upgrade", "websocket");
	answer_problem(a, 426, "this path speaks WebSocket (RFC 6455) only");
}
