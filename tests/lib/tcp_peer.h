/* A TCP server of a test's own, for what a well-behaved server does not do. One thread serves all
 * of its connections; requests are HTTP with Content-Length or none. */
#ifndef GPUTEL_TCP_PEER_H
#define GPUTEL_TCP_PEER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"

#define TCP_PEER_CONNECTIONS 64
#define TCP_PEER_REQUEST     16384

enum tcp_peer_manner {
	PEER_ANSWERS,         /* sends what answer returns */
	PEER_ANSWERS_IN_BITS, /* the same, three bytes at a time */
	PEER_ANSWERS_ONCE,    /* the same, then closes the connection */
	PEER_SILENT,          /* reads and says nothing */
	PEER_RESETS,          /* reads a request, then resets the connection */
};

struct tcp_peer {
	char endpoint[32]; /* "127.0.0.1:PORT" */
	_Atomic enum tcp_peer_manner manner;
	/* Returns the whole answer, status line included, to be freed. On the peer's thread. */
	char *(*answer)(const char *request, void *arg);
	void *arg;
	atomic_int accepted, requests;

	/* private */
	pthread_t thread;
	int listener, stop[2];
	struct {
		int fd;
		size_t len;
		char request[TCP_PEER_REQUEST];
	} connections[TCP_PEER_CONNECTIONS];
};

/* The caller sets manner, answer and arg before; manner may be changed between calls. */
void tcp_peer_start(struct tcp_peer *p);
void tcp_peer_stop(struct tcp_peer *p);

/* An answer of status 200 with this body, closed by its length. */
char *tcp_peer_ok(const char *body);

#endif
