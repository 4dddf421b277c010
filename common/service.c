#include "service.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int manager = -1; /* connected to its socket */
static int64_t watchdog_ms;
static struct {
	char *name; /* NULL: taken */
	int fd;
} handed[SERVICE_FDS_MAX];
static size_t n_handed;

/* ---- messages -------------------------------------------------------------------------------- */

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

int service_send(int socket, const char *text, int fd)
{
	union control control = {0};
	struct iovec io = {(char *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
	struct cmsghdr *c;
	ssize_t n;

	if (fd >= 0) {
		m.msg_control = control.space;
		m.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	do
		n = sendmsg(socket, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void take_control(struct msghdr *m, int *ret_fd, pid_t *ret_pid)
{
	struct ucred who;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS)
			memcpy(ret_fd, CMSG_DATA(c), sizeof(*ret_fd));
		if (c->cmsg_type != SCM_CREDENTIALS)
			continue;
		memcpy(&who, CMSG_DATA(c), sizeof(who));
		*ret_pid = who.pid;
	}
}

int service_receive(int socket, char text[SERVICE_TEXT_MAX], int *ret_fd, pid_t *ret_pid)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec io = {text, SERVICE_TEXT_MAX - 1};
	struct msghdr m = {.msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = control.space,
			   .msg_controllen = sizeof(control.space)};
	ssize_t n;

	do
		n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	*ret_fd = -1;
	*ret_pid = 0;
	take_control(&m, ret_fd, ret_pid);
	return 0;
}

/* ---- the environment ------------------------------------------------------------------------- */

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd;

	if ((path[0] != '/' && path[0] != '@') || len < 2 || len > sizeof(a.sun_path) - 1)
		return -1;
	memcpy(a.sun_path, path, len);
	if (path[0] == '@') /* in the abstract name space */
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a,
			       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len +
					   (path[0] == '/'))) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool is_for_us(const char *variable)
{
	const char *pid = getenv(variable);

	return pid && strtol(pid, NULL, 10) == getpid();
}

static void take_handed(const char *count, const char *names)
{
	long n = strtol(count, NULL, 10);

	for (long i = 0; i < n && i < SERVICE_FDS_MAX; i++) {
		size_t len = strcspn(names, ":");
		int fd = SERVICE_FIRST_FD + (int)i;

		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return;
		handed[n_handed].fd = fd;
		handed[n_handed++].name = xstrndup(names, len);
		names += len + (names[len] == ':');
	}
}

void service_init(void)
{
	static const char *const variables[] = {"NOTIFY_SOCKET",  "LISTEN_PID",   "LISTEN_FDS",
						"LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"};
	const char *path = getenv("NOTIFY_SOCKET"), *count = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES"), *usec = getenv("WATCHDOG_USEC");

	if (path)
		manager = connect_to(path);
	if (count && is_for_us("LISTEN_PID"))
		take_handed(count, names ? names : "");
	if (usec && (!getenv("WATCHDOG_PID") || is_for_us("WATCHDOG_PID")))
		watchdog_ms = strtoll(usec, NULL, 10) / 1000;
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		unsetenv(variables[i]);
}

/* ---- the program's side ---------------------------------------------------------------------- */

bool service_is_managed(void)
{
	return manager >= 0;
}

void service_tell(const char *state)
{
	/* A manager that does not listen takes nothing from the service. */
	if (manager >= 0 && service_send(manager, state, -1) < 0)
		return;
}

void service_discard(const char *name)
{
	char text[SERVICE_TEXT_MAX];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	service_tell(text);
}

int service_store(const char *name, int fd)
{
	char text[SERVICE_TEXT_MAX];

	if (manager < 0)
		return 0;
	service_discard(name);
	/* FDPOLL=0: systemd would drop it as soon as the connection hangs up for a moment. */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return service_send(manager, text, fd);
}

int service_take(const char *name)
{
	for (size_t i = 0; i < n_handed; i++) {
		if (!handed[i].name || strcmp(handed[i].name, name))
			continue;
		free(TAKE_PTR(handed[i].name));
		return handed[i].fd;
	}
	return -ENOENT;
}

int64_t service_watchdog_ms(void)
{
	return watchdog_ms;
}
