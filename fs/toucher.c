#include "toucher_protocol.h"

#include "clock.h"
#include "log.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESTART_MS 1000 /* at least between two of them */
#define REAP_US    1000
#define REAP_TRIES 50

struct toucher {
	_Atomic pid_t pid;
	pthread_mutex_t lock;
	/* Changed under lock; the socket is read without by the thread that runs batches. */
	int socket;
	bool stopping;

	struct mono started;
	bool attached; /* what for: kept for a successor */
	struct touch_attach mount;
};

/* ---- life ------------------------------------------------------------------------------------
 */

/* Under the lock. */
static int start(struct toucher *t)
{
	int sockets[2];
	pid_t pid;

	if (t->stopping)
		return -ECANCELED;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		return -errno;
	t->started = mono_now();
	pid = fork();
	if (pid == 0)
		toucher_process(sockets[1]);
	close(sockets[1]);
	if (pid < 0) {
		int r = -errno;

		close(sockets[0]);
		return r;
	}
	t->socket = sockets[0];
	atomic_store(&t->pid, pid);
	return 0;
}

struct toucher *toucher_start(void)
{
	struct toucher *t = xcalloc(1, sizeof(*t));
	int r;

	t->socket = -1;
	pthread_mutex_init(&t->lock, NULL);
	r = start(t);
	if (r == 0)
		return t;
	toucher_free(t);
	errno = -r;
	return NULL;
}

pid_t toucher_pid(const struct toucher *t)
{
	return atomic_load_explicit(&t->pid, memory_order_relaxed);
}

/* Under the lock. He may still wait for an answer of ours: nobody waits for him for long. */
static void let_go(struct toucher *t)
{
	pid_t pid = atomic_exchange(&t->pid, 0);

	if (t->socket >= 0)
		close(t->socket);
	t->socket = -1;
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	for (int i = 0; i < REAP_TRIES && waitpid(pid, NULL, WNOHANG) == 0; i++)
		usleep(REAP_US);
}

void toucher_stop(struct toucher *t)
{
	pthread_mutex_lock(&t->lock);
	t->stopping = true;
	if (t->socket >= 0)
		shutdown(t->socket, SHUT_RDWR);
	pthread_mutex_unlock(&t->lock);
}

void toucher_free(struct toucher *t)
{
	if (!t)
		return;
	let_go(t);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- talking to him --------------------------------------------------------------------------
 */

static int send_all(int fd, struct iovec *iov, size_t n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};

	while (m.msg_iovlen) {
		ssize_t r = sendmsg(fd, &m, MSG_NOSIGNAL);

		if (r < 0 && errno != EINTR)
			return -EPIPE;
		for (; m.msg_iovlen && r >= (ssize_t)m.msg_iov->iov_len; m.msg_iovlen--)
			r -= (ssize_t)m.msg_iov++->iov_len;
		if (m.msg_iovlen && r > 0) {
			m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + r;
			m.msg_iov->iov_len -= (size_t)r;
		}
	}
	return 0;
}

static int receive_all(int fd, uint8_t *to, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t r = recv(fd, to + at, n - at, 0);

		if (r == 0 || (r < 0 && errno != EINTR))
			return -EPIPE;
		at += r > 0 ? (size_t)r : 0;
	}
	return 0;
}

static int send_attach(struct toucher *t)
{
	struct touch_header h = {.bytes = sizeof(t->mount), .op = TOUCH_ATTACH};
	struct iovec iov[2] = {{&h, sizeof(h)}, {&t->mount, sizeof(t->mount)}};

	return send_all(t->socket, iov, 2);
}

void toucher_attach(struct toucher *t, const char *path, dev_t device, bool restricted)
{
	t->mount = (struct touch_attach){.device = device, .restricted = restricted};
	strncpy(t->mount.path, path, sizeof(t->mount.path) - 1);
	t->attached = true;
	send_attach(t); /* where that fails, the first batch finds it out */
}

/* Somebody killed him. */
static void replace(struct toucher *t)
{
	int r;

	pthread_mutex_lock(&t->lock);
	if (!t->stopping && mono_ms_since(t->started) >= RESTART_MS) {
		let_go(t);
		r = start(t);
		if (r == 0 && t->attached)
			r = send_attach(t);
		log_warn("the process that makes inotify's events had ended: %s",
			 r < 0 ? "another cannot be started" : "another was started");
	}
	pthread_mutex_unlock(&t->lock);
}

static int run_batch(struct toucher *t, enum touch_op op, char *const *paths, size_t n,
		     uint8_t *errors)
{
	struct touch_header h = {.count = (uint16_t)n, .op = (uint8_t)op};
	struct iovec iov[1 + TOUCH_BATCH_MAX] = {{&h, sizeof(h)}};
	int r;

	if (t->socket < 0)
		return -EPIPE;
	for (size_t i = 0; i < n; i++) {
		iov[1 + i] = (struct iovec){paths[i], strlen(paths[i]) + 1};
		h.bytes += (uint32_t)iov[1 + i].iov_len;
	}
	r = send_all(t->socket, iov, 1 + n);
	return r < 0 ? r : receive_all(t->socket, errors, n);
}

int toucher_run(struct toucher *t, enum touch_op op, char *const *paths, size_t n, uint8_t *errors)
{
	int r = run_batch(t, op, paths, n, errors);

	if (r < 0)
		replace(t);
	return r;
}
