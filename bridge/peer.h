/* Who is at the other end of a connection, and for whom a trusted proxy says that it asks. */
#ifndef GPUTEL_BRIDGE_PEER_H
#define GPUTEL_BRIDGE_PEER_H

#include <sys/socket.h>

#include "cidr.h"

struct peer {
	struct address address;
	uint16_t port; /* 0: not known, as behind a proxy */
};

#define PEER_TEXT_MAX 64 /* with its NUL */

struct peer peer_of(const struct sockaddr *sa);
/* For interfaces that want an address: an IPv6 one. */
socklen_t peer_sockaddr(const struct peer *p, struct sockaddr_storage *ret);
void peer_format(const struct peer *p, char ret[PEER_TEXT_MAX]); /* without the port */
bool peer_is_loopback(const struct peer *p);

struct proxies; /* GATEWAY_TRUSTED_PROXIES; thread-safe */

struct proxies *proxies_new(const char *list); /* well-formed (conf_table.c) */
void proxies_set(struct proxies *x, const char *list);
void proxies_free(struct proxies *x); /* NULL is fine */

/* The client of a request that came from p: of its Forwarded (RFC 7239) or X-Forwarded-For header
 * the right-most hop that is no trusted proxy; p itself where p is none. NULL: no such header. */
struct peer proxies_client(struct proxies *x, const struct peer *p, const char *forwarded,
			   const char *x_forwarded_for);

#endif
