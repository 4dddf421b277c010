/* A private etcd for unit tests: free ports, its data in a temporary folder, gone with the test. */
#ifndef GPUTEL_ETCD_SERVER_H
#define GPUTEL_ETCD_SERVER_H

#include <sys/types.h>

#include "base.h"

struct etcd_server {
	char endpoint[32]; /* "127.0.0.1:PORT" */
	const char *dir;
	int client_port, peer_port;
	pid_t pid; /* 0: not running */
};

/* Starts one and waits until it is healthy. Fails the test program if that cannot be. Extra flags
 * end with NULL; extra itself may be NULL. Call from the main thread: etcd dies with the thread
 * that started it. */
void etcd_server_start(struct etcd_server *s, const char *const *extra);
/* Ends it: at once, keeping its data, so that etcd_server_again starts it on the same port. */
void etcd_server_kill(struct etcd_server *s);
void etcd_server_again(struct etcd_server *s, const char *const *extra);
/* Stops it from answering, with its connections left open, and lets it go on. */
void etcd_server_freeze(struct etcd_server *s);
void etcd_server_thaw(struct etcd_server *s);

#endif
