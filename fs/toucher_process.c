/* The toucher's own code. After a fork of a process with threads only what is safe in a signal
 * handler may be called: system calls on memory of its own. */
#include "offspring.h"
#include "toucher_protocol.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NAME          "gputel-toucher"
#define BY_PATH_MAX   32 /* requests while the mount point is held */
#define LOOK_INTERVAL 32 /* requests between looks at mountinfo */

static struct {
	int socket, mountinfo;
	int root; /* the clone; -1: by path */
	bool attached;
	struct touch_attach mount;
	char message[TOUCH_BYTES];
	uint8_t errors[TOUCH_BATCH_MAX];
} me;

/* ---- the mount -------------------------------------------------------------------------------
 */

/* Asks the kernel's memory only. */
static bool is_ours(int fd)
{
	struct statx st;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) == 0 &&
	       makedev(st.stx_dev_major, st.stx_dev_minor) == me.mount.device;
}

static int open_by_path(void)
{
	int fd = open(me.mount.path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && !is_ours(fd)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int change_mount(int fd, uint64_t set, uint64_t clear)
{
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear};

	return (int)syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
}

/* What is visible becomes read-only. */
static void set_read_only(void)
{
	int fd = open_by_path();

	if (fd < 0)
		return;
	change_mount(fd, MOUNT_ATTR_RDONLY, 0);
	close(fd);
}

/* -1: not allowed, or another file system is there. Of a mount that a predecessor made read-only
 * the clone is writable again. */
static int clone_mount(void)
{
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, me.mount.path,
			      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd >= 0 && (!is_ours(fd) || change_mount(fd, 0, MOUNT_ATTR_RDONLY) < 0)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void attach(void)
{
	memcpy(&me.mount, me.message, sizeof(me.mount));
	me.attached = true;
	me.root = clone_mount();
	if (me.root >= 0 && !me.mount.restricted)
		set_read_only();
}

/* ---- mountinfo -------------------------------------------------------------------------------
 */

struct scan {
	unsigned field, number[2];
	int at; /* which number; the third field is major:minor */
	bool found;
};

static void scan_byte(struct scan *s, char c)
{
	if (c == '\n') {
		*s = (struct scan){.found = s->found};
	} else if (c == ' ') {
		if (s->field++ == 2)
			s->found |= makedev(s->number[0], s->number[1]) == me.mount.device;
	} else if (s->field == 2 && c == ':') {
		s->at = 1;
	} else if (s->field == 2) {
		s->number[s->at] = s->number[s->at] * 10 + (unsigned)(c - '0');
	}
}

static bool is_mounted(void)
{
	struct scan s = {0};
	char bytes[4096];
	ssize_t n;

	if (lseek(me.mountinfo, 0, SEEK_SET) < 0)
		return false;
	while ((n = read(me.mountinfo, bytes, sizeof(bytes))) > 0)
		for (ssize_t i = 0; i < n; i++)
			scan_byte(&s, bytes[i]);
	return s.found;
}

/* The clone keeps the file system alive, so it must not outlast the mount. */
static void mounts_changed(void)
{
	if (!me.attached || is_mounted())
		return;
	if (me.root >= 0)
		close(me.root);
	me.root = -1;
	me.attached = false;
}

static void look_at_mounts(void)
{
	struct pollfd p = {.fd = me.mountinfo, .events = POLLPRI};

	if (poll(&p, 1, 0) > 0)
		mounts_changed();
}

/* ---- touching --------------------------------------------------------------------------------
 */

static int touch(int root, enum touch_op op, const char *path)
{
	static const struct timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
	int r = -1;

	switch (op) {
	case TOUCH_MODIFY:
		r = utimensat(root, path, times, AT_SYMLINK_NOFOLLOW);
		break;
	case TOUCH_MAKE_FILE:
		r = mknodat(root, path, S_IFREG | 0444, 0);
		break;
	case TOUCH_MAKE_DIR:
		r = mkdirat(root, path, 0555);
		break;
	case TOUCH_REMOVE_FILE:
		r = unlinkat(root, path, 0);
		break;
	case TOUCH_REMOVE_DIR:
		r = unlinkat(root, path, AT_REMOVEDIR);
		break;
	}
	return r < 0 ? errno : 0;
}

/* Up to max of them by one hold of the root; the rest begins at what it returns. */
static unsigned touch_some(unsigned i, const struct touch_header *h, const char **path,
			   unsigned max)
{
	int root = me.root >= 0 ? me.root : me.attached ? open_by_path() : -1;
	unsigned end = MIN(i + max, h->count);

	for (; i < end; i++, *path += strlen(*path) + 1)
		me.errors[i] = root < 0 ? ENODEV : (uint8_t)touch(root, h->op, *path);
	if (root >= 0 && root != me.root)
		close(root);
	return i;
}

static void touch_all(const struct touch_header *h)
{
	const char *path = me.message;

	for (unsigned i = 0; i < h->count;) {
		i = touch_some(i, h, &path, me.root >= 0 ? LOOK_INTERVAL : BY_PATH_MAX);
		look_at_mounts();
	}
}

/* ---- the daemon's messages -------------------------------------------------------------------
 */

static void receive(void *to, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t r = read(me.socket, (char *)to + at, n - at);

		if (r == 0 || (r < 0 && errno != EINTR))
			_exit(0);
		at += r > 0 ? (size_t)r : 0;
	}
}

static void answer(size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t r = write(me.socket, me.errors + at, n - at);

		if (r < 0 && errno != EINTR)
			_exit(0);
		at += r > 0 ? (size_t)r : 0;
	}
}

static void serve(void)
{
	struct touch_header h;

	receive(&h, sizeof(h));
	if (h.bytes >= sizeof(me.message) || h.count > TOUCH_BATCH_MAX)
		_exit(1);
	receive(me.message, h.bytes);
	if (h.op == TOUCH_ATTACH) {
		attach();
		return;
	}
	touch_all(&h);
	answer(h.count);
}

_Noreturn void toucher_process(int socket)
{
	struct pollfd p[2];

	if (offspring_begin(NAME, socket) < 0)
		_exit(1);
	me.socket = socket;
	me.root = -1;
	me.attached = false;
	me.mountinfo = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	p[0] = (struct pollfd){.fd = me.socket, .events = POLLIN};
	p[1] = (struct pollfd){.fd = me.mountinfo, .events = POLLPRI};
	for (;;) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents)
			mounts_changed();
		if (p[0].revents)
			serve();
	}
}
