#include "rotation.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"
#include "lookup.h"

enum { LISTED_MAX = 4096, LIST_AGAIN = 100 };

/* A file that belongs to the path. */
struct sibling {
	char *name;
	struct stat st;
	int fd; /* -1: not open */
};

struct listing {
	struct sibling files[LISTED_MAX];
	size_t n;
};

int rotation_open(struct rotation *r, const char *path, struct err *e)
{
	char *copy = xstrdup(path);

	*r = (struct rotation){.path = xstrdup(path), .folder = xstrdup(dirname(copy))};
	free(copy);
	copy = xstrdup(path);
	r->base = xstrdup(basename(copy));
	free(copy);
	return follow_open(&r->follow, path, e);
}

void rotation_close(struct rotation *r)
{
	follow_close(r->follow);
	free(r->path);
	free(r->folder);
	free(r->base);
	*r = (struct rotation){0};
}

void rotated_release(struct rotated *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->name);
	*f = (struct rotated){.fd = -1};
}

/* ---- listing --------------------------------------------------------------------------------- */

static void listing_free(struct listing *l)
{
	for (size_t i = 0; l && i < l->n; i++) {
		if (l->files[i].fd >= 0)
			close(l->files[i].fd);
		free(l->files[i].name);
	}
	free(l);
}

static bool belongs(const struct rotation *r, const char *name)
{
	size_t n = strlen(r->base);

	return !strncmp(name, r->base, n) && (name[n] == '.' || name[n] == '-');
}

static void list_file(struct listing *l, const char *folder, const char *name, bool even_empty)
{
	struct sibling *s = &l->files[l->n];
	char *path = xasprintf("%s/%s", folder, name);

	if (l->n == LISTED_MAX || stat(path, &s->st) || !S_ISREG(s->st.st_mode) ||
	    !(s->st.st_size || even_empty)) {
		free(path);
		return;
	}
	s->name = path;
	s->fd = -1;
	l->n++;
}

/* "x.csv.2" is older than "x.csv.1". */
static long number_behind(const char *name)
{
	const char *dot = strrchr(name, '.');

	if (dot && dot > name && (!strcmp(dot, ".gz") || !strcmp(dot, ".zst"))) {
		do
			dot--;
		while (dot > name && *dot != '.');
	}
	return dot ? strtol(dot + 1, NULL, 10) : 0;
}

static int compare_times(const struct timespec *s, const struct timespec *t)
{
	if (s->tv_sec != t->tv_sec)
		return s->tv_sec < t->tv_sec ? -1 : 1;
	return s->tv_nsec < t->tv_nsec ? -1 : s->tv_nsec > t->tv_nsec;
}

/* Oldest first; those written to at the same time in the order in which they were renamed. */
static int compare(const void *a, const void *b)
{
	const struct sibling *x = a, *y = b;
	long m = number_behind(x->name), n = number_behind(y->name);
	int k = compare_times(&x->st.st_mtim, &y->st.st_mtim);

	if (!k)
		k = compare_times(&x->st.st_ctim, &y->st.st_ctim);
	if (k)
		return k;
	if (m != n && m < 100000 && n < 100000)
		return m > n ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int list(const struct rotation *r, struct listing *l, struct err *e)
{
	DIR *d = opendir(r->folder);
	struct dirent *entry;

	if (!d)
		return err_set(e, -errno, "%s: %s", r->folder, strerror(errno));
	while ((entry = readdir(d)))
		if (belongs(r, entry->d_name))
			list_file(l, r->folder, entry->d_name, false);
	closedir(d);
	qsort(l->files, l->n, sizeof(*l->files), compare);
	if (l->n > ROTATION_FILES - 1) {
		size_t drop = l->n - (ROTATION_FILES - 1);

		for (size_t i = 0; i < drop; i++)
			free(l->files[i].name);
		memmove(l->files, l->files + drop, (l->n - drop) * sizeof(*l->files));
		l->n -= drop;
	}
	list_file(l, r->folder, r->base, true);
	return 0;
}

/* Opens them all. False: a name is another file's now. */
static bool open_all(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct sibling *s = &l->files[i];
		struct stat st;

		s->fd = open(s->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (s->fd < 0 || fstat(s->fd, &st) || st.st_ino != s->st.st_ino)
			return false;
	}
	return true;
}

static bool is_same(const struct listing *a, const struct listing *b)
{
	for (size_t i = 0; i < a->n && a->n == b->n; i++) {
		if (strcmp(a->files[i].name, b->files[i].name) ||
		    a->files[i].st.st_ino != b->files[i].st.st_ino)
			return false;
	}
	return a->n == b->n;
}

/* All files at one moment, open: nothing was renamed between the first and the last look. */
static int list_open(const struct rotation *r, struct listing **ret, struct err *e)
{
	for (int i = 0; i < LIST_AGAIN; i++) {
		struct listing *l = xcalloc(1, sizeof(*l)), *again = xcalloc(1, sizeof(*l));
		int k = list(r, l, e);
		bool good = !k && open_all(l) && !list(r, again, e) && is_same(l, again);

		listing_free(again);
		if (good) {
			*ret = l;
			return 0;
		}
		listing_free(l);
		if (k)
			return k;
	}
	return err_set(e, -EBUSY, "%s: files are renamed faster than they can be listed", r->path);
}

/* ---- choice ---------------------------------------------------------------------------------- */

static struct rotation_done mark_of(int fd)
{
	struct rotation_done d = {0};
	struct source_head head;
	struct stat st;

	if (fstat(fd, &st) || source_read_head(fd, &head))
		return d;
	return (struct rotation_done){st.st_dev, st.st_ino, source_identify(&head)};
}

void rotation_finished(struct rotation *r, int fd)
{
	r->done[r->n_done++ % ROTATION_FILES] = mark_of(fd);
}

static bool is_finished(const struct rotation *r, int fd)
{
	struct rotation_done d = mark_of(fd);

	for (size_t i = 0; i < MIN(r->n_done, (size_t)ROTATION_FILES); i++) {
		const struct rotation_done *x = &r->done[i];

		if (x->ino == d.ino && x->dev == d.dev && !strcmp(x->head.text, d.head.text))
			return true;
	}
	return false;
}

static bool is_published(const struct sibling *s, int64_t offset)
{
	struct stat st;

	return !source_packing(s->fd) && fstat(s->fd, &st) == 0 && st.st_size == offset;
}

/* The index of the file that comes next; l->n: none. */
static size_t choose(const struct rotation *r, const struct listing *l, const int64_t *offsets)
{
	size_t known = l->n;
	bool finished[ROTATION_FILES] = {0}, live_is_there;

	for (size_t i = 0; i < l->n; i++) {
		finished[i] = is_finished(r, l->files[i].fd);
		if (offsets[i] >= 0 || finished[i])
			known = i;
	}
	live_is_there = l->n && !strcmp(strrchr(l->files[l->n - 1].name, '/') + 1, r->base);
	for (size_t i = known; i + live_is_there < l->n; i++) {
		if (!finished[i] && !is_published(&l->files[i], offsets[i]))
			return i;
	}
	return live_is_there ? l->n - 1 : l->n;
}

/* 1: there is none yet. */
static int take_next(const struct rotation *r, struct etcd *c, struct rotated *ret, struct err *e)
{
	int fds[ROTATION_FILES];
	int64_t offsets[ROTATION_FILES];
	struct listing *l = NULL;
	size_t i;
	int k = list_open(r, &l, e);

	if (k)
		return k;
	for (i = 0; i < l->n; i++)
		fds[i] = l->files[i].fd;
	k = lookup_published(c, fds, l->n, offsets, e);
	i = k ? 0 : choose(r, l, offsets);
	if (!k && i == l->n)
		k = 1;
	if (!k) {
		struct sibling *s = &l->files[i];

		ret->live = !strcmp(strrchr(s->name, '/') + 1, r->base);
		ret->fd = s->fd;
		ret->name = ret->live ? xstrdup(r->path) : xstrdup(s->name);
		s->fd = -1;
	}
	listing_free(l);
	return k;
}

int rotation_next(struct rotation *r, struct etcd *c, struct rotated *ret, struct err *e)
{
	int k = 1;

	*ret = (struct rotated){.fd = -1};
	while (k == 1) {
		k = take_next(r, c, ret, e);
		if (k == 1)
			k = follow_appears(r->follow) ? -ECANCELED : 1;
	}
	return k;
}
