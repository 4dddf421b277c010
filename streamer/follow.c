#include "follow.h"

#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "daemon.h"
#include "log.h"

#define FIRST_ROW_MAX (64 * 1024) /* bytes in which two lines are looked for */
#define IN_FOLDER     (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)

struct follow {
	char *path;
	int notify;
};

int follow_open(struct follow **ret, const char *path, struct err *e)
{
	struct follow *f = xcalloc(1, sizeof(*f));
	char *copy = xstrdup(path), *folder = dirname(copy);
	int r = 0;

	f->path = xstrdup(path);
	f->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (f->notify < 0 || inotify_add_watch(f->notify, folder, IN_FOLDER | IN_ONLYDIR) < 0)
		r = err_set(e, -errno, "%s: inotify: %s", folder, strerror(errno));
	free(copy);
	if (r) {
		follow_close(f);
		return r;
	}
	*ret = f;
	return 0;
}

void follow_close(struct follow *f)
{
	if (!f)
		return;
	if (f->notify >= 0)
		close(f->notify);
	free(f->path);
	free(f);
}

/* Events say that something happened, and the files what. */
static int await_event(struct follow *f, int64_t ms)
{
	struct pollfd p[] = {{.fd = f->notify, .events = POLLIN},
			     {.fd = daemon_stop_fd(), .events = POLLIN}};
	char events[4096];

	poll(p, ARRAY_SIZE(p), (int)MIN(ms, (int64_t)INT32_MAX));
	/* Once: where they come all the time, the file is looked at between them. */
	if (read(f->notify, events, sizeof(events)) < 0 && errno != EAGAIN)
		return -errno;
	return daemon_stopping() ? -ECANCELED : 0;
}

/* The file is watched wherever its name goes. */
static void watch_file(struct follow *f, int fd)
{
	char name[32];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (inotify_add_watch(f->notify, name, IN_MODIFY) < 0)
		log_warn("%s: inotify: %s", f->path, strerror(errno));
}

/* Whether another file stands at the path, with something in it. */
static bool has_successor(struct follow *f, const struct stat *mine)
{
	struct stat st;

	if (stat(f->path, &st) || (st.st_ino == mine->st_ino && st.st_dev == mine->st_dev))
		return false;
	if (st.st_size)
		return true;
	/* Its folder may be another, behind a link. */
	inotify_add_watch(f->notify, f->path, IN_MODIFY);
	return stat(f->path, &st) == 0 && st.st_size;
}

/* What has happened, FOLLOW_DUE: nothing. */
static int look(struct follow *f, int fd, struct input *in)
{
	struct stat before, st;
	bool over;

	if (fstat(fd, &before))
		return -errno;
	over = has_successor(f, &before);
	/* Looked at after the successor: what is written before that one begins is in here. */
	if (fstat(fd, &st))
		return -errno;
	if (st.st_size < input_offset(in) || !input_is_same(in))
		return FOLLOW_CUT;
	if (st.st_size > input_offset(in))
		return FOLLOW_MORE;
	return over ? FOLLOW_OVER : FOLLOW_DUE;
}

int follow_wait(struct follow *f, int fd, struct input *in, int64_t ms)
{
	struct mono deadline = ms < 0 ? (struct mono){INT64_MAX} : mono_in_ms(ms);

	watch_file(f, fd);
	for (;;) {
		int r = look(f, fd, in);

		if (r != FOLLOW_DUE)
			return r;
		if (ms >= 0 && !mono_ms_until(deadline))
			return FOLLOW_DUE;
		r = await_event(f, ms < 0 ? -1 : mono_ms_until(deadline));
		if (r)
			return r;
	}
}

/* Reads on; true: there are two whole lines, or more than is looked at. */
static bool has_first_row(struct input *in, char *p, size_t *len)
{
	const char *line;
	ssize_t n = 1;

	while (n > 0 && *len < FIRST_ROW_MAX) {
		n = input_read(in, p + *len, FIRST_ROW_MAX - *len, false);
		*len += n > 0 ? (size_t)n : 0;
	}
	line = memchr(p, '\n', *len);
	return *len == FIRST_ROW_MAX ||
	       (line && memchr(line + 1, '\n', *len - (size_t)(line + 1 - p)));
}

int follow_first_row(struct follow *f, int fd)
{
	char *p = xmalloc(FIRST_ROW_MAX);
	struct input *in;
	size_t len = 0;
	int r = input_open(&in, fd, true);

	while (!r && !has_first_row(in, p, &len)) {
		r = follow_wait(f, fd, in, -1);
		if (r != FOLLOW_MORE)
			break;
		r = 0;
	}
	input_close(in);
	free(p);
	return r;
}

int follow_appears(struct follow *f)
{
	bool told = false;
	int r = 0;

	while (!r && access(f->path, F_OK)) {
		if (!told)
			log_info("%s: not there yet; waiting for it", f->path);
		told = true;
		r = await_event(f, -1);
	}
	return r;
}
