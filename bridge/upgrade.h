/* Whether a request may become a WebSocket. It is asked twice: of the head that accept.c has peeked
 * at, before libwebsockets gets the connection (ws.c); and, where that said no, of the request that
 * libmicrohttpd then reads, whose answer says why (handle_websocket). So every refusal is
 * problem+json, and libwebsockets sees none.
 *
 * libwebsockets does not see the head either, but one that is made here of what it needs for the
 * handshake: it has small buffers for several headers, ends connections without a word where these
 * do not do, and knows no subprotocol that is not in a table. */
#ifndef GPUTEL_BRIDGE_UPGRADE_H
#define GPUTEL_BRIDGE_UPGRADE_H

#include "answer.h"
#include "filter.h"

/* What a connection that may be upgraded has asked for. */
struct opening {
	struct principal *who; /* NULL: no tokens are set */
	struct peer peer;
	struct filter filter;
	bool has_filter;
	int64_t since;     /* SINCE_NOW: none */
	bool deflate;      /* permessage-deflate may be agreed on */
	char *head;        /* for libwebsockets */
	char *subprotocol; /* that is agreed on; NULL: none was offered */
};

/* The head of a request, whole. NULL: it is refused. */
struct opening *opening_of(struct gateway *g, struct slice head, const struct peer *peer);
void opening_free(struct opening *o); /* NULL is fine */

/* The arguments host, gpu, uuid, metric and since (Last-Event-ID counts as since) of a request for
 * rows as they come. False: answered. */
bool opening_parse(struct opening *o, struct request *q, struct answer *a);

#endif
