/* The one listening socket. */
#ifndef GPUTEL_BRIDGE_LISTEN_H
#define GPUTEL_BRIDGE_LISTEN_H

#include "base.h"

/* host: an address or a name; port in use or not allowed is told in e. *ret_loopback: nobody but
 * this machine can reach it. */
int listen_at(const char *host, int64_t port, int *ret_fd, bool *ret_loopback,
	      struct err *e) must_check;

/* Raises the limit of open files as far as it goes and returns it. */
size_t files_limit(void);

/* From now on nobody can connect any more: who asks hears nothing and asks again, of nobody when fd
 * is closed. Connections that are being made go on and can be accepted. Closing fd alone would
 * reset them. */
void listen_refuse(int fd);

#endif
