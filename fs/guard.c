#include "guard.h"

#include "mountinfo.h"
#include "offspring.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME         "gputel-guard"
#define CONTROL      "/sys/fs/fuse/connections/%u/abort"
#define ENDED        SIGRTMIN /* the daemon's first thread has */
#define PATIENCE_MS  200
#define INHERITED_MS 10000

struct guard {
	pid_t pid;
	int socket;
};

struct guarded {
	dev_t device; /* 0: nothing yet */
	int patience_ms;
	char path[PATH_MAX];
};

/* ---- the process -----------------------------------------------------------------------------
 */

static bool abort_by_control(dev_t device)
{
	char path[64];
	bool done;
	int fd;

	snprintf(path, sizeof(path), CONTROL, minor(device));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	done = fd >= 0 && write(fd, "1", 1) == 1;
	if (fd >= 0)
		close(fd);
	return done;
}

/* Its number may be another's only once the mount has ended, which it cannot while a call hangs. */
static void abort_connection(const struct guarded *g)
{
	struct mountinfo m;

	if (g->device == 0 || abort_by_control(g->device))
		return;
	if (mountinfo_find(g->path, &m) == 0 && makedev(m.major, m.minor) == g->device)
		umount2(g->path, MNT_FORCE | UMOUNT_NOFOLLOW);
}

/* Where the daemon has ended before this was asked for, nobody says so any more. */
static int signal_of_the_end(pid_t daemon)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, ENDED);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0 || prctl(PR_SET_PDEATHSIG, ENDED) < 0 || getppid() != daemon)
		_exit(1);
	return fd;
}

/* Waits for the daemon's end and a while longer for that of its files, with which he ends. */
static _Noreturn void guard_process(int socket, pid_t daemon)
{
	struct pollfd p[2] = {{.fd = socket, .events = POLLIN}, {.events = POLLIN}};
	struct guarded g = {0};
	int timeout = -1;

	if (offspring_begin(NAME, socket) < 0)
		_exit(1);
	p[1].fd = signal_of_the_end(daemon);
	for (;;) {
		int n = poll(p, ARRAY_SIZE(p), timeout);

		if (n == 0)
			break;
		if (n > 0 && p[0].revents && recv(socket, &g, sizeof(g), 0) <= 0)
			_exit(0);
		if (n > 0 && p[1].revents) {
			timeout = g.patience_ms;
			p[1].fd = -1;
		}
	}
	abort_connection(&g);
	_exit(0);
}

/* ---- the daemon ------------------------------------------------------------------------------
 */

struct guard *guard_start(void)
{
	struct guard *g;
	pid_t daemon = getpid(), pid;
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return NULL;
	pid = fork();
	if (pid == 0)
		guard_process(sockets[1], daemon);
	close(sockets[1]);
	if (pid < 0) {
		close(sockets[0]);
		return NULL;
	}
	g = xcalloc(1, sizeof(*g));
	*g = (struct guard){pid, sockets[0]};
	return g;
}

void guard_attach(struct guard *g, const struct mountpoint *m, bool inherited)
{
	struct guarded message = {
		.device = m->device,
		.patience_ms = inherited ? INHERITED_MS : PATIENCE_MS,
	};

	strncpy(message.path, m->path, sizeof(message.path) - 1);
	send(g->socket, &message, sizeof(message), MSG_NOSIGNAL); /* unless somebody killed him */
}

void guard_free(struct guard *g)
{
	if (!g)
		return;
	close(g->socket);
	waitpid(g->pid, NULL, 0);
	free(g);
}
