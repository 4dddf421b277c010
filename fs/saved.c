#include "saved.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC   0x3164657661736766ULL /* "fgsaved1" */
#define VERSION 1
#define PAGE    4096

/* Slots of so many bytes, at most so many. */
static const struct {
	uint32_t size, max;
} sizes[] = {
	{64, 1U << 20},
	{128, 1U << 21},
	{256, 1U << 18},
	{1088, 1U << 14},
};
#define TABLES ARRAY_SIZE(sizes)

struct header {
	uint64_t magic, version, bytes, device;
	uint64_t init_len;
	uint8_t init[SAVED_INIT_MAX];
};

/* Slots of one size: which were ever used is in the file, by being non-zero up to there. */
struct table {
	char *base;
	uint32_t size, max;
	uint32_t used;  /* slots from the start that were ever filled */
	uint32_t *free; /* of these */
	uint32_t n_free, cap_free;
};

struct saved {
	int fd;
	char *map;
	size_t bytes;
	struct header *header;
	pthread_mutex_t lock; /* the tables' free lists */
	struct table files, inodes[TABLES];
};

/* ---- tables ---------------------------------------------------------------------------------- */

static uint64_t *slot(const struct table *t, uint32_t i)
{
	return (uint64_t *)(t->base + (size_t)i * t->size);
}

static void give_back(struct table *t, uint32_t i)
{
	if (t->n_free == t->cap_free) {
		t->cap_free = MAX(64, 2 * t->cap_free);
		t->free = xrealloc(t->free, t->cap_free * sizeof(*t->free));
	}
	t->free[t->n_free++] = i;
}

/* A free slot, or -1. */
static int64_t take(struct table *t)
{
	if (t->n_free)
		return t->free[--t->n_free];
	return t->used < t->max ? (int64_t)t->used++ : -1;
}

static void fill(uint64_t *first, uint64_t value)
{
	__atomic_store_n(first, value, __ATOMIC_RELEASE);
}

/* Which slots the predecessor left free. Nothing was ever written where the file has holes. */
static void look_through(struct saved *s, struct table *t)
{
	off_t begin = t->base - s->map, end = begin + (off_t)t->size * t->max, at = begin;
	uint32_t last = 0;

	while ((at = lseek(s->fd, at, SEEK_DATA)) >= 0 && at < end) {
		at = lseek(s->fd, at, SEEK_HOLE);
		last = (uint32_t)MIN((uint64_t)t->max,
				     ((uint64_t)(at - begin) + t->size - 1) / t->size);
	}
	t->used = last;
	for (uint32_t i = last; i-- > 0;)
		if (*slot(t, i) == 0)
			give_back(t, i);
}

/* ---- the file -------------------------------------------------------------------------------- */

static size_t round_up(size_t n)
{
	return (n + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static size_t inodes_bytes(size_t i)
{
	return round_up((size_t)sizes[i].size * sizes[i].max);
}

#define FILES_BYTES round_up(sizeof(struct saved_file) * SAVED_FILES_MAX)

static size_t all_bytes(void)
{
	size_t n = round_up(sizeof(struct header)) + FILES_BYTES;

	for (size_t i = 0; i < TABLES; i++)
		n += inodes_bytes(i);
	return n;
}

static void lay_out(struct saved *s)
{
	char *at = s->map + round_up(sizeof(struct header));

	s->header = (struct header *)s->map;
	s->files = (struct table){
		.base = at, .size = sizeof(struct saved_file), .max = SAVED_FILES_MAX};
	at += FILES_BYTES;
	for (size_t i = 0; i < TABLES; i++) {
		s->inodes[i] =
			(struct table){.base = at, .size = sizes[i].size, .max = sizes[i].max};
		at += inodes_bytes(i);
	}
}

static int map_file(struct saved *s, struct err *e)
{
	s->bytes = all_bytes();
	s->map = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->fd, 0);
	if (s->map == MAP_FAILED) {
		s->map = NULL;
		return err_set(e, -errno, "memory file: mmap: %s", strerror(errno));
	}
	lay_out(s);
	return 0;
}

static struct saved *saved_alloc(int fd)
{
	struct saved *s = xcalloc(1, sizeof(*s));

	s->fd = fd;
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

int saved_new(struct saved **ret, struct err *e)
{
	struct saved *s = saved_alloc(memfd_create("gputel-fs", MFD_CLOEXEC));
	int r = 0;

	if (s->fd < 0)
		r = err_set(e, -errno, "memfd_create: %s", strerror(errno));
	else if (ftruncate(s->fd, (off_t)all_bytes()) < 0)
		r = err_set(e, -errno, "memory file: %s", strerror(errno));
	if (r == 0)
		r = map_file(s, e);
	if (r < 0) {
		saved_free(s);
		return r;
	}
	s->header->version = VERSION;
	s->header->bytes = s->bytes;
	s->header->magic = MAGIC;
	*ret = s;
	return 0;
}

static int check(const struct saved *s, struct err *e)
{
	const struct header *h = s->header;

	if (h->magic != MAGIC || h->version != VERSION || h->bytes != s->bytes ||
	    h->init_len == 0 || h->init_len > SAVED_INIT_MAX)
		return err_set(e, -EPROTO, "memory file of another version");
	return 0;
}

int saved_open(struct saved **ret, int fd, struct err *e)
{
	struct saved *s = saved_alloc(fd);
	struct stat st;
	int r = 0;

	if (fstat(fd, &st) < 0 || (size_t)st.st_size != all_bytes())
		r = err_set(e, -EPROTO, "memory file of another version");
	if (r == 0)
		r = map_file(s, e);
	if (r == 0)
		r = check(s, e);
	if (r < 0) {
		saved_free(s);
		return r;
	}
	look_through(s, &s->files);
	for (size_t i = 0; i < TABLES; i++)
		look_through(s, &s->inodes[i]);
	*ret = s;
	return 0;
}

void saved_free(struct saved *s)
{
	if (!s)
		return;
	if (s->map)
		munmap(s->map, s->bytes);
	if (s->fd >= 0)
		close(s->fd);
	free(s->files.free);
	for (size_t i = 0; i < TABLES; i++)
		free(s->inodes[i].free);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int saved_fd(const struct saved *s)
{
	return s->fd;
}

void saved_set_device(struct saved *s, uint64_t device)
{
	s->header->device = device;
}

uint64_t saved_device(const struct saved *s)
{
	return s->header->device;
}

void saved_set_init(struct saved *s, const void *p, size_t n)
{
	if (n > SAVED_INIT_MAX)
		return;
	memcpy(s->header->init, p, n);
	fill(&s->header->init_len, n);
}

size_t saved_init(const struct saved *s, const void **ret)
{
	*ret = s->header->init;
	return s->header->init_len;
}

/* ---- inodes ---------------------------------------------------------------------------------- */

static struct table *table_for(struct saved *s, size_t bytes)
{
	for (size_t i = 0; i < TABLES; i++)
		if (bytes <= sizes[i].size)
			return &s->inodes[i];
	return NULL;
}

static struct table *table_of(struct saved *s, const void *p)
{
	for (size_t i = 0; i < TABLES; i++)
		if ((const char *)p < s->inodes[i].base + (size_t)sizes[i].size * sizes[i].max)
			return &s->inodes[i];
	return NULL;
}

struct saved_inode *saved_inode_add(struct saved *s, uint64_t ino, const char *path)
{
	struct saved_inode *i;
	struct table *t = s ? table_for(s, sizeof(*i) + strlen(path) + 1) : NULL;
	int64_t at;

	if (!t)
		return NULL;
	pthread_mutex_lock(&s->lock);
	at = take(t);
	pthread_mutex_unlock(&s->lock);
	if (at < 0)
		return NULL;
	i = (struct saved_inode *)slot(t, (uint32_t)at);
	i->lookups = 0;
	strcpy(i->path, path);
	fill(&i->ino, ino);
	return i;
}

void saved_inode_remove(struct saved *s, struct saved_inode *i)
{
	struct table *t = i ? table_of(s, i) : NULL;

	if (!t)
		return;
	fill(&i->ino, 0);
	pthread_mutex_lock(&s->lock);
	give_back(t, (uint32_t)(((char *)i - t->base) / t->size));
	pthread_mutex_unlock(&s->lock);
}

void saved_each_inode(struct saved *s, void (*fn)(struct saved_inode *i, void *arg), void *arg)
{
	for (size_t k = 0; k < TABLES; k++)
		for (uint32_t i = 0; i < s->inodes[k].used; i++)
			if (*slot(&s->inodes[k], i))
				fn((struct saved_inode *)slot(&s->inodes[k], i), arg);
}

/* ---- open files ------------------------------------------------------------------------------ */

uint64_t saved_file_add(struct saved *s, uint64_t ino)
{
	struct saved_file *f;
	int64_t at;

	if (!s)
		return 0;
	pthread_mutex_lock(&s->lock);
	at = take(&s->files);
	pthread_mutex_unlock(&s->lock);
	if (at < 0)
		return 0;
	f = (struct saved_file *)slot(&s->files, (uint32_t)at);
	memset(f->words, 0, sizeof(f->words));
	fill(&f->ino, ino);
	return (uint64_t)at + 1;
}

void saved_file_remove(struct saved *s, uint64_t handle)
{
	struct saved_file *f = saved_file(s, handle);

	if (!f)
		return;
	fill(&f->ino, 0);
	pthread_mutex_lock(&s->lock);
	give_back(&s->files, (uint32_t)(handle - 1));
	pthread_mutex_unlock(&s->lock);
}

struct saved_file *saved_file(struct saved *s, uint64_t handle)
{
	struct saved_file *f;

	if (!s || handle == 0 || handle > SAVED_FILES_MAX)
		return NULL;
	f = (struct saved_file *)slot(&s->files, (uint32_t)(handle - 1));
	return f->ino ? f : NULL;
}

void saved_each_file(struct saved *s, void (*fn)(uint64_t handle, struct saved_file *f, void *arg),
		     void *arg)
{
	for (uint32_t i = 0; i < s->files.used; i++)
		if (*slot(&s->files, i))
			fn((uint64_t)i + 1, (struct saved_file *)slot(&s->files, i), arg);
}
