#include "tcp_peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

static void drop(struct tcp_peer *p, int i, bool reset)
{
	struct linger linger = {.l_onoff = 1};

	if (reset)
		setsockopt(p->connections[i].fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(p->connections[i].fd);
	p->connections[i].fd = -1;
	p->connections[i].len = 0;
}

static void take(struct tcp_peer *p)
{
	int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);

	p->accepted++;
	for (int i = 0; i < TCP_PEER_CONNECTIONS; i++) {
		if (p->connections[i].fd < 0) {
			p->connections[i].fd = fd;
			return;
		}
	}
	close(fd);
}

static bool is_whole(const char *request, size_t len)
{
	const char *end = strstr(request, "\r\n\r\n");
	const char *length = strcasestr(request, "\r\nContent-Length:");

	if (!end)
		return false;
	return !length || len >= (size_t)(end + 4 - request) + strtoul(length + 17, NULL, 10);
}

static void send_all(int fd, const char *s, size_t step)
{
	for (size_t len = strlen(s), n; len; s += n, len -= n) {
		n = MIN(step, len);
		if (send(fd, s, n, MSG_NOSIGNAL) != (ssize_t)n)
			return;
		if (step < 100)
			usleep(200);
	}
}

static void reply(struct tcp_peer *p, int i)
{
	char *answer;

	p->requests++;
	if (p->manner == PEER_RESETS)
		drop(p, i, true);
	if (p->manner == PEER_RESETS || p->manner == PEER_SILENT)
		return;
	answer = p->answer(p->connections[i].request, p->arg);
	send_all(p->connections[i].fd, answer, p->manner == PEER_ANSWERS_IN_BITS ? 3 : SIZE_MAX);
	free(answer);
	p->connections[i].len = 0;
	if (p->manner == PEER_ANSWERS_ONCE)
		drop(p, i, false);
}

static void hear(struct tcp_peer *p, int i)
{
	char *request = p->connections[i].request;
	size_t *len = &p->connections[i].len;
	ssize_t n = recv(p->connections[i].fd, request + *len, TCP_PEER_REQUEST - 1 - *len, 0);

	if (n <= 0) {
		drop(p, i, false);
		return;
	}
	*len += (size_t)n;
	request[*len] = '\0';
	if (is_whole(request, *len))
		reply(p, i);
}

static void *serve(void *arg)
{
	struct tcp_peer *p = arg;
	struct pollfd fds[TCP_PEER_CONNECTIONS + 2];

	for (;;) {
		fds[0] = (struct pollfd){p->stop[0], POLLIN, 0};
		fds[1] = (struct pollfd){p->listener, POLLIN, 0};
		for (int i = 0; i < TCP_PEER_CONNECTIONS; i++)
			fds[i + 2] = (struct pollfd){p->connections[i].fd, POLLIN, 0};
		poll(fds, ARRAY_SIZE(fds), -1);
		if (fds[0].revents)
			return NULL;
		for (int i = 0; i < TCP_PEER_CONNECTIONS; i++) {
			if (fds[i + 2].revents)
				hear(p, i);
		}
		if (fds[1].revents)
			take(p);
	}
}

void tcp_peer_start(struct tcp_peer *p)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	for (int i = 0; i < TCP_PEER_CONNECTIONS; i++)
		p->connections[i].fd = -1;
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(p->listener, (struct sockaddr *)&a, len) || listen(p->listener, 64) ||
	    getsockname(p->listener, (struct sockaddr *)&a, &len) || pipe2(p->stop, O_CLOEXEC) ||
	    pthread_create(&p->thread, NULL, serve, p))
		abort();
	snprintf(p->endpoint, sizeof(p->endpoint), "127.0.0.1:%d", ntohs(a.sin_port));
}

void tcp_peer_stop(struct tcp_peer *p)
{
	close(p->stop[1]);
	pthread_join(p->thread, NULL);
	for (int i = 0; i < TCP_PEER_CONNECTIONS; i++) {
		if (p->connections[i].fd >= 0)
			drop(p, i, false);
	}
	close(p->stop[0]);
	close(p->listener);
}

char *tcp_peer_ok(const char *body)
{
	return xasprintf("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
}
