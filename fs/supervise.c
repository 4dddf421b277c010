#include "supervise.h"

#include "background.h"
#include "clock.h"
#include "log.h"
#include "service.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAUSE_MIN_MS  10 /* whoever reads waits as long */
#define PAUSE_MAX_MS  5000
#define WELL_MS       10000 /* having lived so long since it was ready, it begins anew */
#define ADOPTIONS_MAX 3     /* it died so often before it was ready: the descriptors are given up */
#define WATCHDOG_MS   60000
#define LOOK_MS       250
#define SLOWER_MAX    3   /* times the pause doubles for one that had been ready */
#define LINGER_MS     100 /* between the end of its first thread and that of the last */
#define TEXT_OF_FDS   512
#define SELF          "/proc/self/exe"

struct kept {
	char *name;
	int fd;
};

struct supervisor {
	char **argv;
	int ready_fd;
	char *program;
	int socket, signals;
	char address[32]; /* of socket, as NOTIFY_SOCKET has it */
	struct kept kept[SERVICE_FDS_MAX];
	size_t n_kept;
	pid_t child;  /* 0: none */
	bool lingers; /* its first thread has ended */
	bool ready, ever_ready, stopping;
	int early_deaths;
	struct mono ready_at, heard_at, start_at, lingers_since;
};

/* ---- what is kept ---------------------------------------------------------------------------- */

static void discard(struct supervisor *s, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_kept; i++) {
		if (name && strcmp(s->kept[i].name, name)) {
			s->kept[n++] = s->kept[i];
			continue;
		}
		close(s->kept[i].fd);
		free(s->kept[i].name);
	}
	s->n_kept = n;
}

static void keep(struct supervisor *s, const char *name, int fd)
{
	discard(s, name);
	if (s->n_kept == SERVICE_FDS_MAX) {
		close(fd);
		return;
	}
	s->kept[s->n_kept++] = (struct kept){xstrdup(name), fd};
}

/* ---- messages -------------------------------------------------------------------------------- */

static void on_child_ready(struct supervisor *s)
{
	s->ready = true;
	s->ready_at = mono_now();
	if (s->ever_ready)
		return;
	s->ever_ready = true;
	discard(s, SUPERVISE_READY);
	service_tell("READY=1");
	background_ready(s->ready_fd);
}

static void on_message(struct supervisor *s, char *text, int fd)
{
	const char *name = NULL;
	bool stores = false, removes = false;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (!strncmp(line, "FDNAME=", 7))
			name = line + 7;
		else if (!strcmp(line, "READY=1"))
			on_child_ready(s);
		else if (!strcmp(line, "WATCHDOG=1"))
			s->heard_at = mono_now();
		stores |= !strcmp(line, "FDSTORE=1");
		removes |= !strcmp(line, "FDSTOREREMOVE=1");
	}
	if (name && removes)
		discard(s, name);
	if (name && stores && fd >= 0)
		keep(s, name, fd);
	else if (fd >= 0)
		close(fd);
}

/* Anybody may write to the socket; only the daemon is listened to. */
static void read_messages(struct supervisor *s)
{
	char text[SERVICE_TEXT_MAX];
	pid_t pid;
	int fd;

	while (service_receive(s->socket, text, &fd, &pid) == 0) {
		if (pid == s->child && pid)
			on_message(s, text, fd);
		else if (fd >= 0)
			close(fd);
	}
}

/* In the abstract name space, at a name of the kernel's choice. */
static int open_socket(struct supervisor *s)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(a);
	int on = 1;

	s->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->socket < 0 || bind(s->socket, (struct sockaddr *)&a, sizeof(sa_family_t)) < 0 ||
	    setsockopt(s->socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    getsockname(s->socket, (struct sockaddr *)&a, &len) < 0)
		return -errno;
	snprintf(s->address, sizeof(s->address), "@%.*s",
		 (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), a.sun_path + 1);
	return 0;
}

/* ---- the daemon ------------------------------------------------------------------------------ */

/* The same arguments, in the foreground. */
static char **daemon_argv(char **argv)
{
	size_t n = 0, to = 0;
	char **list;
	bool options = true;

	while (argv[n])
		n++;
	list = xcalloc(n + 2, sizeof(*list));
	list[to++] = argv[0];
	list[to++] = (char *)"-f";
	for (size_t i = 1; i < n; i++) {
		options = options && strcmp(argv[i], "--") != 0;
		if (!options || strcmp(argv[i], "--supervise") != 0)
			list[to++] = argv[i];
	}
	return list;
}

/* Puts them at 3, 4, …: first out of the way of one another. */
static void hand_over(const struct supervisor *s)
{
	char names[TEXT_OF_FDS] = "", number[32];
	int high[SERVICE_FDS_MAX];

	for (size_t i = 0; i < s->n_kept; i++)
		high[i] = fcntl(s->kept[i].fd, F_DUPFD_CLOEXEC, SERVICE_FIRST_FD + SERVICE_FDS_MAX);
	for (size_t i = 0; i < s->n_kept; i++) {
		dup2(high[i], SERVICE_FIRST_FD + (int)i);
		strncat(names, i ? ":" : "", sizeof(names) - strlen(names) - 1);
		strncat(names, s->kept[i].name, sizeof(names) - strlen(names) - 1);
	}
	snprintf(number, sizeof(number), "%zu", s->n_kept);
	setenv("LISTEN_FDS", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	snprintf(number, sizeof(number), "%d", getpid());
	setenv("LISTEN_PID", number, 1);
}

static _Noreturn void become_daemon(const struct supervisor *s, char **argv)
{
	char usec[32];
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setenv("NOTIFY_SOCKET", s->address, 1);
	setenv(SUPERVISE_ENV, "1", 1);
	snprintf(usec, sizeof(usec), "%lld", WATCHDOG_MS * 1000LL);
	setenv("WATCHDOG_USEC", usec, 1);
	if (s->n_kept)
		hand_over(s);
	execv(s->program, argv);
	execv(SELF, argv); /* replaced by another version, and not there for the moment */
	_exit(127);
}

static void start(struct supervisor *s)
{
	char **argv = daemon_argv(s->argv);

	s->ready = false;
	s->heard_at = mono_now();
	s->lingers = false;
	s->child = fork();
	if (s->child == 0)
		become_daemon(s, argv);
	if (s->child < 0) {
		log_error("fork: %s", strerror(errno));
		s->child = 0;
		s->start_at = mono_in_ms(PAUSE_MAX_MS);
	}
	free(argv);
}

/* Later each time that it dies soon after it was started. */
static void plan_restart(struct supervisor *s, const char *how, int number)
{
	int64_t pause = PAUSE_MIN_MS;

	if (s->ready && mono_ms_since(s->ready_at) >= WELL_MS)
		s->early_deaths = 0;
	else if (s->ready)
		s->early_deaths = MIN(s->early_deaths, SLOWER_MAX);
	for (int i = 0; i < s->early_deaths && pause < PAUSE_MAX_MS; i++)
		pause *= 2;
	s->early_deaths++;
	log_error("the daemon ended by %s %d, starting it again", how, number);
	if (!s->ready && s->n_kept && s->early_deaths > ADOPTIONS_MAX) {
		log_error("it does not come up with the mount that it left: mounting anew");
		discard(s, NULL);
	}
	s->start_at = mono_in_ms(MIN(pause, PAUSE_MAX_MS));
}

/* Whether all is over; *ret_status is then how. */
static bool on_end(struct supervisor *s, int status, int *ret_status)
{
	bool exited = WIFEXITED(status);

	*ret_status = exited ? WEXITSTATUS(status) : 1;
	read_messages(s); /* its last words */
	s->child = 0;
	if (s->stopping || (exited && (*ret_status == 0 || !s->ever_ready)))
		return true;
	plan_restart(s, exited ? "status" : "signal",
		     exited ? WEXITSTATUS(status) : WTERMSIG(status));
	return false;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static int open_signals(struct supervisor *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals < 0 ? -errno : 0;
}

/* Whether all is over. */
static bool on_signal(struct supervisor *s, const struct signalfd_siginfo *info, int *ret_status)
{
	int status;

	if (info->ssi_signo == SIGCHLD) {
		pid_t pid;

		while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
			if (pid == s->child)
				return on_end(s, status, ret_status);
		return false;
	}
	if (info->ssi_signo != SIGHUP)
		s->stopping = true;
	if (s->child)
		kill(s->child, (int)info->ssi_signo);
	return s->stopping && !s->child;
}

/* The state is behind the name, which is in parentheses and may hold any. */
static bool first_thread_ended(pid_t pid)
{
	char path[32], text[256];
	const char *name_end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[MAX(n, 0)] = '\0';
	name_end = strrchr(text, ')');
	return name_end && !strncmp(name_end, ") Z", 3);
}

/* A thread of a daemon that was killed may hang in the kernel until a successor answers what it
 * waits for (guard.h). One that ended in order has left nothing. */
static void look_for_hanging(struct supervisor *s)
{
	if (!s->lingers) {
		s->lingers = first_thread_ended(s->child);
		s->lingers_since = mono_now();
	} else if (s->ever_ready && s->n_kept > 0 && !s->stopping &&
		   mono_ms_since(s->lingers_since) >= LINGER_MS) {
		log_warn("a thread of the daemon hangs in the kernel");
		s->child = 0;
		plan_restart(s, "signal", SIGKILL);
	}
}

static void watch_over(struct supervisor *s)
{
	if (s->child)
		look_for_hanging(s);
	if (s->child == 0 && mono_ms_until(s->start_at) == 0) {
		start(s);
	} else if (s->ready && s->child && mono_ms_since(s->heard_at) > WATCHDOG_MS) {
		log_error("the daemon has not said for %d s that it is well: killing it",
			  WATCHDOG_MS / 1000);
		s->heard_at = mono_now();
		kill(s->child, SIGKILL);
	}
}

static int timeout_ms(const struct supervisor *s)
{
	if (!s->child)
		return (int)mono_ms_until(s->start_at) + 1;
	return s->lingers ? LINGER_MS : LOOK_MS;
}

static int run(struct supervisor *s)
{
	struct signalfd_siginfo info;
	int status = 0;

	for (;;) {
		struct pollfd p[] = {{.fd = s->socket, .events = POLLIN},
				     {.fd = s->signals, .events = POLLIN}};

		poll(p, ARRAY_SIZE(p), timeout_ms(s));
		read_messages(s);
		while (read(s->signals, &info, sizeof(info)) == sizeof(info))
			if (on_signal(s, &info, &status))
				return status;
		watch_over(s);
	}
}

int supervise(char **argv, int ready_fd)
{
	struct supervisor s = {.argv = argv, .ready_fd = ready_fd, .socket = -1, .signals = -1};
	int r;

	signal(SIGPIPE, SIG_IGN);
	s.program = realpath(SELF, NULL);
	if (!s.program)
		s.program = xstrdup(SELF);
	if (ready_fd >= 0)
		keep(&s, SUPERVISE_READY, fcntl(ready_fd, F_DUPFD_CLOEXEC, 0));
	r = open_socket(&s);
	if (r == 0)
		r = open_signals(&s);
	if (r < 0)
		log_error("supervisor: %s", strerror(-r));
	else
		r = run(&s);
	discard(&s, NULL);
	close(s.socket);
	close(s.signals);
	free(s.program);
	return r < 0 ? 1 : r;
}
