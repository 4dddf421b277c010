#include "mountpoint.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fusermount.h"
#include "mountinfo.h"

#define PROBE_MS    2000
#define KILL_MS     500
#define STACKED_MAX 16

static bool ends_within(int pidfd, int ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return pidfd >= 0 && poll(&p, 1, ms) > 0;
}

/* statfs, for the attributes of its root may be cached beyond the daemon's death. Whoever asks must
 * not hold the connection that he may be waiting for. */
static _Noreturn void ask(const char *path)
{
	struct statfs st;

	close_range(STDERR_FILENO + 1, ~0U, 0);
	_exit(statfs(path, &st) == 0 ? 0 : errno);
}

int mountpoint_probe(const char *path)
{
	pid_t child = fork();
	int status = 0, fd;

	if (child == 0)
		ask(path);
	if (child < 0)
		return -errno;
	fd = pidfd_open(child, 0);
	if (!ends_within(fd, PROBE_MS)) {
		/* Where even that does not end it, it is left to init. */
		kill(child, SIGKILL);
		ends_within(fd, KILL_MS);
	}
	if (fd >= 0)
		close(fd);
	if (waitpid(child, &status, WNOHANG) != child || !WIFEXITED(status))
		return -ETIMEDOUT;
	return -WEXITSTATUS(status);
}

static int unmount(const char *path, bool lazy)
{
	if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	return fusermount_unmount(path, lazy);
}

/* A trailing slash would make realpath ask the mounted file system itself. */
static int resolve(const char *path, char **ret, struct err *e)
{
	char *copy = xstrdup(path);
	size_t len = strlen(copy);
	char *real;
	int r = 0;

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	real = realpath(copy, NULL);
	if (real)
		*ret = real;
	else
		r = err_set(e, -errno, "%s: %s", path,
			    errno == ENOENT ? "the mount point does not exist" : strerror(errno));
	free(copy);
	return r;
}

/* What is there now: nothing that hinders, something dead of ours, or an error. */
static int look(const char *path, bool *ret_dead, struct err *e)
{
	struct mountinfo m;
	int r = mountinfo_find(path, &m);

	*ret_dead = false;
	if (r < 0 || strcmp(m.type, MOUNT_TYPE))
		return 0;
	r = mountpoint_probe(path);
	*ret_dead = r == -ENOTCONN || r == -ECONNABORTED;
	if (*ret_dead)
		return 0;
	if (r == -ETIMEDOUT)
		return err_set(e, -EBUSY,
			       "%s: a gputel mount is there that does not answer: "
			       "end its daemon or unmount it first",
			       path);
	return err_set(e, -EBUSY, "%s: gputel is mounted there already", path);
}

static int clear_dead(const char *path, struct err *e)
{
	bool dead = true;
	int r = 0;

	for (int i = 0; r == 0 && dead && i < STACKED_MAX; i++) {
		r = look(path, &dead, e);
		if (r < 0 || !dead)
			return r;
		r = unmount(path, true);
	}
	if (r < 0)
		return err_set(e, r, "%s: a dead mount cannot be unmounted: %s", path,
			       strerror(-r));
	return err_set(e, -EBUSY, "%s: too many dead mounts", path);
}

int mountpoint_prepare(struct mountpoint *m, const char *path, struct err *e)
{
	struct stat st;
	bool dead = false;
	int r = resolve(path, &m->path, e);

	if (r == 0)
		r = look(m->path, &dead, e);
	if (r < 0 || dead)
		return r;
	if (stat(m->path, &st) < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "%s: the mount point is not a directory", path);
	return 0;
}

static int mount_directly(const char *path, const struct mount_options *o, int *ret_fd)
{
	char data[160];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	snprintf(data, sizeof(data), "fd=%d,rootmode=%o,user_id=%u,group_id=%u%s%s", fd, S_IFDIR,
		 (unsigned)geteuid(), (unsigned)getegid(), o->allow_other ? ",allow_other" : "",
		 mount_options_restrict(o) ? ",default_permissions" : "");
	if (mount(o->fsname, path, MOUNT_TYPE, o->flags, data) == 0) {
		*ret_fd = fd;
		return 0;
	}
	r = -errno;
	close(fd);
	return r;
}

static dev_t device_at(const char *path)
{
	struct mountinfo m;

	return mountinfo_find(path, &m) == 0 ? makedev(m.major, m.minor) : 0;
}

int mountpoint_adopt(struct mountpoint *m, const char *path, dev_t device, struct err *e)
{
	int r = resolve(path, &m->path, e);

	if (r < 0)
		return r;
	if (device == 0 || device_at(m->path) != device) {
		mountpoint_release(m);
		return err_set(e, -ENOENT, "%s: the mount that was left is gone", path);
	}
	m->device = device;
	return 0;
}

int mountpoint_attach(struct mountpoint *m, const struct mount_options *o, int *ret_fd,
		      struct err *e)
{
	int r = clear_dead(m->path, e);

	if (r < 0)
		return r;
	r = mount_directly(m->path, o, ret_fd);
	if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
		return err_set(e, r, "/dev/fuse: %s: is the kernel's fuse module there?",
			       strerror(-r));
	if (r == -EPERM || r == -EACCES)
		r = fusermount_mount(m->path, o, ret_fd, e);
	else if (r < 0)
		err_set(e, r, "%s: mount: %s", m->path, strerror(-r));
	if (r == 0)
		m->device = device_at(m->path);
	return r;
}

void mountpoint_detach(struct mountpoint *m)
{
	if (m->device == 0 || device_at(m->path) != m->device)
		return;
	if (unmount(m->path, false) < 0 && device_at(m->path) == m->device)
		unmount(m->path, true);
}

void mountpoint_release(struct mountpoint *m)
{
	free(TAKE_PTR(m->path));
}
