/* The head of a request as it arrives on a connection, looked at (MSG_PEEK) before anybody reads
 * it: who is to have the connection, and whether what stands there is HTTP at all.
 *
 * libmicrohttpd answers what it cannot parse with pages of its own; so the first request of a
 * connection is checked here, with the same limits, and refused as problem+json. The grammar is
 * RFC 9112's, strictly: one Host, no folding, no blank before a colon, and either Content-Length
 * or Transfer-Encoding, not both. */
#ifndef GPUTEL_BRIDGE_HEAD_H
#define GPUTEL_BRIDGE_HEAD_H

#include "base.h"

#define HEAD_MAX        (32 << 10) /* bytes of a head */
#define HEAD_TARGET_MAX (8 << 10)
#define HEAD_FIELDS_MAX 100
#define WEBSOCKET_PATH  "/api/v1/ws/"

enum head_kind {
	HEAD_MORE,      /* not all of it is there */
	HEAD_REST,      /* for libmicrohttpd */
	HEAD_WEBSOCKET, /* asks for an upgrade under WEBSOCKET_PATH */
	HEAD_BAD,       /* to be refused with the status in ret */
};

/* With its empty line and blank lines in front; 0: it is not complete. */
size_t head_length(const char *p, size_t n);

/* What the first n bytes of a connection are. HEAD_BAD: *ret_status and what is wrong in e. */
enum head_kind head_look(const char *p, size_t n, int *ret_status, struct err *e);

#endif
