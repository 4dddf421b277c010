#include "etcd_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "test.h"

#define READY_MS    30000
#define MAX_FLAGS   32
#define MAX_SERVERS 64

static pid_t running[MAX_SERVERS]; /* 0: free */

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < MAX_SERVERS; i++) {
		if (running[i] == pid)
			running[i] = 0;
	}
}

/* Before the temporary folders go, which a server would go on writing to. */
static void end_all(void)
{
	for (int i = 0; i < MAX_SERVERS; i++) {
		if (running[i])
			end(running[i]);
	}
}

static void remember(pid_t pid)
{
	static bool registered;
	int i = 0;

	if (!registered && atexit(end_all))
		abort();
	registered = true;
	while (i < MAX_SERVERS - 1 && running[i])
		i++;
	running[i] = pid;
}

static void give_up(const char *what)
{
	printf("etcd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in local(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int free_port(void)
{
	struct sockaddr_in a = local(0);
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		give_up("free port");
	close(fd);
	return ntohs(a.sin_port);
}

/* Sends GET /health and looks for the answer that says so. */
static bool healthy(int port)
{
	static const char ask[] = "GET /health HTTP/1.0\r\n\r\n";
	struct sockaddr_in a = local(port);
	struct timeval limit = {.tv_sec = 1};
	char answer[1024];
	size_t len = 0;
	ssize_t n;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	    send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL) == sizeof(ask) - 1) {
		while ((n = recv(fd, answer + len, sizeof(answer) - 1 - len, 0)) > 0)
			len += (size_t)n;
	}
	close(fd);
	answer[len] = '\0';
	return strstr(answer, "\"health\":\"true\"");
}

static void exec_etcd(const struct etcd_server *s, const char *const *extra)
{
	char *client = xasprintf("http://127.0.0.1:%d", s->client_port);
	char *peer = xasprintf("http://127.0.0.1:%d", s->peer_port);
	const char *argv[MAX_FLAGS] = {"etcd",
				       "--data-dir",
				       s->dir,
				       "--listen-client-urls",
				       client,
				       "--advertise-client-urls",
				       client,
				       "--listen-peer-urls",
				       peer,
				       "--initial-advertise-peer-urls",
				       peer,
				       "--initial-cluster",
				       xasprintf("default=%s", peer),
				       "--log-level",
				       "error",
				       "--logger",
				       "zap"};
	char *log = xasprintf("%s/log", s->dir);
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644), n = 17;

	for (; extra && *extra && n < MAX_FLAGS - 1; extra++)
		argv[n++] = *extra;
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	execvp("etcd", (char **)(uintptr_t)argv);
	_exit(127);
}

static bool exited(struct etcd_server *s)
{
	siginfo_t info = {0};

	if (waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid)
		return false;
	end(s->pid);
	s->pid = 0;
	return true;
}

/* Forks etcd and waits; false if it ended, as when another process took the port meanwhile. */
static bool launch(struct etcd_server *s, const char *const *extra)
{
	struct mono deadline = mono_in_ms(READY_MS);

	snprintf(s->endpoint, sizeof(s->endpoint), "127.0.0.1:%d", s->client_port);
	s->pid = fork();
	if (s->pid < 0)
		give_up("fork");
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		exec_etcd(s, extra);
	}
	remember(s->pid);
	while (!healthy(s->client_port)) {
		if (exited(s))
			return false;
		if (mono_ms_until(deadline) == 0)
			give_up("not healthy in time");
		usleep(20000);
	}
	return true;
}

void etcd_server_start(struct etcd_server *s, const char *const *extra)
{
	for (int tries = 0; tries < 5; tries++) {
		*s = (struct etcd_server){
			.dir = test_tmpdir(), .client_port = free_port(), .peer_port = free_port()};
		if (launch(s, extra))
			return;
	}
	give_up("does not start (is etcd-server installed?)");
}

void etcd_server_again(struct etcd_server *s, const char *const *extra)
{
	if (!launch(s, extra))
		give_up("does not start again");
}

void etcd_server_kill(struct etcd_server *s)
{
	if (s->pid == 0)
		return;
	end(s->pid);
	s->pid = 0;
}

void etcd_server_freeze(struct etcd_server *s)
{
	kill(s->pid, SIGSTOP);
}

void etcd_server_thaw(struct etcd_server *s)
{
	kill(s->pid, SIGCONT);
}
