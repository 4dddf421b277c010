/* The front door: one thread that accepts connections, waits until the head of their first request
 * is there, and hands them on without having read a byte of it (head.h): to ws.c, or to rest.c.
 *
 *	accept ─► [tls.c] ─► opener: peeked at ─► HEAD_REST ──────► rest_adopt
 *	                                     ├──► HEAD_WEBSOCKET ─► ws_adopt
 *	                                     └──► HEAD_BAD, too many ─► problem+json, lingers,
 *closed
 *
 * Who has not sent a head within OPENING_MS is cut off, and when all places for openers are taken
 * the oldest one is, so that silent ones keep nobody out. */
#ifndef GPUTEL_BRIDGE_ACCEPT_H
#define GPUTEL_BRIDGE_ACCEPT_H

#include "conns.h"
#include "peer.h"

#define OPENING_MS 10000

struct acceptor;

/* Where connections go. All may be called from the acceptor's thread only. */
struct acceptor_conf {
	int listener; /* taken over */
	size_t openers_max;
	struct conns *conns;
	void (*rest)(int fd, const struct peer *p, void *arg); /* takes fd over */
	/* NULL: WebSockets go to rest too, which explains. */
	void (*websocket)(int fd, const struct peer *p, void *arg);
	/* NULL: connections are plain. Else they go there first and come back by acceptor_offer. */
	void (*tls)(int fd, const struct peer *p, void *arg);
	void *arg;
};

int acceptor_start(struct acceptor **ret, const struct acceptor_conf *conf,
		   struct err *e) must_check;
/* Another connection to look at, from any thread. Takes fd over. */
void acceptor_offer(struct acceptor *a, int fd, const struct peer *p);
/* Nobody new can connect; who is about to can (listen.h). Before the next: */
void acceptor_refuse(struct acceptor *a);
/* Takes in what has been connected until now, then nothing more; openers stay. */
void acceptor_close_listener(struct acceptor *a);
size_t acceptor_openers(struct acceptor *a);
void acceptor_stop(struct acceptor *a); /* NULL is fine */

#endif
