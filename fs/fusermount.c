#include "fusermount.h"

#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "strbuf.h"

#define PROGRAM  "fusermount3"
#define CHILD_FD 3

extern char **environ;

static int wait_for(pid_t child)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static void add_options(struct strbuf *out, const struct mount_options *o)
{
	strbuf_adds(out, "rw,nosuid,nodev,subtype=gputel,fsname=");
	for (const char *p = o->fsname; *p; p++) {
		if (*p == ',' || *p == '\\')
			strbuf_addc(out, '\\');
		strbuf_addc(out, *p);
	}
	if (o->allow_other)
		strbuf_adds(out, ",allow_other");
	if (mount_options_restrict(o))
		strbuf_adds(out, ",default_permissions");
	if (o->flags & MS_NOEXEC)
		strbuf_adds(out, ",noexec");
	if (o->flags & MS_NOATIME)
		strbuf_adds(out, ",noatime");
}

/* The environment with the variable that names the socket in front. */
static char **child_environment(char *variable)
{
	size_t n = 0;
	char **env;

	while (environ[n])
		n++;
	env = xcalloc(n + 2, sizeof(*env));
	env[0] = variable;
	memcpy(env + 1, environ, n * sizeof(*env));
	return env;
}

static int spawn_with_socket(char **argv, int fd, pid_t *ret)
{
	char variable[] = "_FUSE_COMMFD=3";
	char **env = child_environment(variable);
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
	r = -posix_spawnp(ret, PROGRAM, &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	free(env);
	return r;
}

static int receive_fd(int socket)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = control.space,
			   .msg_controllen = sizeof(control.space)};
	struct cmsghdr *c;
	ssize_t n;
	int fd;

	do
		n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -EPERM;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static int mount_through(int sockets[2], char **argv)
{
	pid_t child;
	int fd, r = spawn_with_socket(argv, sockets[1], &child);

	close(sockets[1]);
	if (r < 0)
		return r;
	fd = receive_fd(sockets[0]);
	r = wait_for(child);
	if (fd >= 0 && r < 0) {
		close(fd);
		fd = r;
	}
	return fd;
}

int fusermount_mount(const char *path, const struct mount_options *o, int *ret_fd, struct err *e)
{
	struct strbuf options;
	int sockets[2], fd;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		return err_set(e, -errno, "socketpair: %s", strerror(errno));
	strbuf_init(&options, 8192);
	add_options(&options, o);
	fd = mount_through(sockets, (char *[]){(char *)PROGRAM, (char *)"-o", options.s,
					       (char *)"--", (char *)path, NULL});
	close(sockets[0]);
	strbuf_release(&options);
	if (fd < 0)
		return err_set(e, fd, "%s: " PROGRAM ": %s", path,
			       fd == -EPERM ? "mount refused" : strerror(-fd));
	*ret_fd = fd;
	return 0;
}

int fusermount_unmount(const char *path, bool lazy)
{
	char *argv[] = {(char *)PROGRAM, (char *)"-q", (char *)(lazy ? "-uz" : "-u"),
			(char *)"--",    (char *)path, NULL};
	pid_t child;
	int r = -posix_spawnp(&child, PROGRAM, NULL, NULL, argv, environ);

	return r < 0 ? r : wait_for(child);
}
