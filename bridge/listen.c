#include "listen.h"

#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

#define BACKLOG 4096
#define DEFER_S 5 /* how long the kernel keeps back who says nothing */

static int open_at(const struct addrinfo *ai, int *ret_fd)
{
	int one = 1, zero = 0, defer = DEFER_S, r = 0;
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof(defer));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* passed on by accept */
	if (ai->ai_family == AF_INET6)                               /* :: is for IPv4 too */
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
		r = -errno;
		close(fd);
	} else {
		*ret_fd = fd;
	}
	return r;
}

int listen_at(const char *host, int64_t port, int *ret_fd, bool *ret_loopback, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
	char service[16];
	struct peer here;
	int r;

	snprintf(service, sizeof(service), "%lld", (long long)port);
	r = getaddrinfo(host, service, &hints, &found);
	if (r)
		return err_set(e, -EINVAL, "GATEWAY_HOST: \"%s\": %s", host, gai_strerror(r));
	here = peer_of(found->ai_addr);
	r = open_at(found, ret_fd);
	freeaddrinfo(found);
	if (r)
		return err_set(e, r, "cannot listen at %s port %lld: %s", host, (long long)port,
			       strerror(-r));
	*ret_loopback = peer_is_loopback(&here);
	return 0;
}

size_t files_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return 1024;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l) < 0)
		getrlimit(RLIMIT_NOFILE, &l);
	return (size_t)MIN(l.rlim_cur, (rlim_t)1 << 20);
}

/* Drops what asks for a connection, by its flags in the TCP header: byte 13, SYN 0x02. */
void listen_refuse(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x02, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog filter = {.len = ARRAY_SIZE(code), .filter = code};

	/* where it is not allowed, closing has to do */
	(void)!setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
}
