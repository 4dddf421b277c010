/* TLS in front of everything else (OpenSSL): GATEWAY_TLS_CERT and _KEY.
 *
 * What is encrypted cannot be peeked at, so one relay thread does the handshake and then passes
 * bytes between the connection and one end of a socketpair; the other end goes to the acceptor,
 * which treats it like any connection, with the peer's real address. HTTP/1.1 only (ALPN).
 *
 * Either side's end of sending is passed on by itself (close_notify and shutdown), so that neither
 * a request nor an answer is cut. Each direction holds at most RELAY_BYTES: who reads slowly slows
 * down who writes. */
#ifndef GPUTEL_BRIDGE_TLS_H
#define GPUTEL_BRIDGE_TLS_H

#include "peer.h"

struct tls;

/* offer: takes over the end for the acceptor; from the relay's thread. relays_max: past it a
 * connection is closed at once. -EINVAL: certificate or key does not do, e says why. */
int tls_start(struct tls **ret, const char *cert, const char *key, size_t relays_max,
	      void (*offer)(int fd, const struct peer *p, void *arg), void *arg,
	      struct err *e) must_check;
/* Certificate and key are read again, for connections from now on; on failure the old stay. */
int tls_reload(struct tls *t, struct err *e) must_check;
/* Takes the descriptor over; from any thread, does not wait. */
void tls_adopt(struct tls *t, int fd, const struct peer *p);
/* Connections whose answers may not all have been passed on. */
size_t tls_flowing(struct tls *t);
void tls_stop(struct tls *t); /* NULL is fine */

#endif
