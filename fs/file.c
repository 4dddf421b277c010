#include "file.h"

#include <pthread.h>

#include "entry.h"
#include "strbuf.h"

#include "map.h"

#define SNAPSHOT_MAX ((size_t)256 << 20)
#define HASH_SEED    0x736e617073686f74ULL

/* What is saved of a snapshot file. */
enum { WORD_TAKEN, WORD_SIZE, WORD_HASH };

/* Shared by the open file and the replies that are being made of it: once one has gone out the file
 * may be closed, before the thread that sent it has returned. */
struct snapshot {
	int refs; /* atomic */
	struct strbuf bytes;
};

struct files {
	struct tree *tree;
	struct saved *saved; /* NULL: a handle is a pointer */
	pthread_mutex_t lock;
	/* Under lock. */
	struct file *first;
	struct file **by_handle; /* where something is saved */
};

struct file {
	struct files *files;
	struct node *node; /* a reference */
	uint64_t handle;
	struct file *next, **link; /* under the lock of files */
	pthread_mutex_t lock;
	struct snapshot *snapshot; /* under lock; NULL: none here yet */
};

static struct snapshot *snapshot_ref(struct snapshot *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

static void snapshot_unref(struct snapshot *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	strbuf_release(&s->bytes);
	free(s);
}

static int snapshot_take(struct tree *tree, struct node *node, struct snapshot **ret)
{
	struct snapshot *s = xcalloc(1, sizeof(*s));
	int r;

	s->refs = 1;
	strbuf_init(&s->bytes, SNAPSHOT_MAX);
	r = tree_snapshot(tree, node, &s->bytes, NULL);
	if (r >= 0)
		r = s->bytes.err;
	if (r < 0)
		snapshot_unref(s);
	else
		*ret = s;
	return r;
}

struct files *files_new(struct tree *tree, struct saved *saved)
{
	struct files *files = xcalloc(1, sizeof(*files));

	files->tree = tree;
	files->saved = saved;
	if (saved)
		files->by_handle = xcalloc(SAVED_FILES_MAX + 1, sizeof(struct file *));
	pthread_mutex_init(&files->lock, NULL);
	return files;
}

void files_free(struct files *files)
{
	if (!files)
		return;
	while (files->first)
		file_free(files->first);
	pthread_mutex_destroy(&files->lock);
	free(files->by_handle);
	free(files);
}

/* Under lock. */
static void enlist(struct files *files, struct file *f)
{
	f->next = files->first;
	f->link = &files->first;
	if (f->next)
		f->next->link = &f->next;
	files->first = f;
	if (files->saved)
		files->by_handle[f->handle] = f;
}

static void unlist(struct files *files, struct file *f)
{
	pthread_mutex_lock(&files->lock);
	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	if (files->saved)
		files->by_handle[f->handle] = NULL;
	pthread_mutex_unlock(&files->lock);
}

static struct file *file_alloc(struct files *files, struct node *node, uint64_t handle)
{
	struct file *f = xcalloc(1, sizeof(*f));

	f->files = files;
	f->node = node_ref(node);
	f->handle = handle;
	pthread_mutex_init(&f->lock, NULL);
	return f;
}

static void file_destroy(struct file *f)
{
	node_unref(f->node);
	snapshot_unref(f->snapshot);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

struct file *file_adopt(struct files *files, struct node *node, uint64_t handle)
{
	struct file *f, *mine;

	if (!saved_file(files->saved, handle))
		return NULL;
	mine = file_alloc(files, node, handle);
	pthread_mutex_lock(&files->lock);
	f = files->by_handle[handle];
	if (!f)
		enlist(files, mine);
	pthread_mutex_unlock(&files->lock);
	if (f)
		file_destroy(mine);
	return f ? f : mine;
}

int file_new(struct files *files, struct node *node, struct file **ret)
{
	uint64_t handle = saved_file_add(files->saved, node_ino(node));

	if (files->saved && handle == 0)
		return -ENFILE;
	*ret = file_alloc(files, node, handle);
	pthread_mutex_lock(&files->lock);
	enlist(files, *ret);
	pthread_mutex_unlock(&files->lock);
	return 0;
}

void file_free(struct file *f)
{
	if (!f)
		return;
	unlist(f->files, f);
	saved_file_remove(f->files->saved, f->handle);
	file_destroy(f);
}

void file_release(struct files *files, uint64_t handle)
{
	struct file *f = file_of(files, handle);

	if (f)
		file_free(f);
	else
		saved_file_remove(files->saved, handle);
}

uint64_t file_handle(const struct file *f)
{
	return !f || f->files->saved ? (f ? f->handle : 0) : (uint64_t)(uintptr_t)f;
}

struct file *file_of(struct files *files, uint64_t handle)
{
	struct file *f;

	if (!files->saved)
		return (struct file *)(uintptr_t)handle;
	if (handle > SAVED_FILES_MAX)
		return NULL;
	pthread_mutex_lock(&files->lock);
	f = files->by_handle[handle];
	pthread_mutex_unlock(&files->lock);
	return f;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static uint64_t *words_of(const struct file *f)
{
	struct saved_file *s = saved_file(f->files->saved, f->handle);

	return s ? s->words : NULL;
}

static uint64_t hash_of(const struct snapshot *s)
{
	return hash64(s->bytes.s, s->bytes.len, HASH_SEED);
}

static void keep_snapshot(struct file *f, struct snapshot *fresh)
{
	uint64_t *words = words_of(f);

	snapshot_unref(f->snapshot);
	f->snapshot = fresh;
	if (!words)
		return;
	words[WORD_TAKEN] = false;
	words[WORD_SIZE] = fresh->bytes.len;
	words[WORD_HASH] = hash_of(fresh);
	words[WORD_TAKEN] = true;
}

/* Whether fresh may be read from offset on by one who has begun in the predecessor's snapshot.
 * What is over stays over. */
static int continue_in(const struct file *f, struct snapshot *fresh, int64_t offset)
{
	const uint64_t *words = words_of(f);

	if (!words || !words[WORD_TAKEN] ||
	    (words[WORD_SIZE] == fresh->bytes.len && words[WORD_HASH] == hash_of(fresh)))
		return 0;
	if ((uint64_t)offset < words[WORD_SIZE])
		return -ESTALE;
	strbuf_truncate(&fresh->bytes, 0);
	return 0;
}

/* The snapshot that a read at offset is answered from, as a reference. */
static int choose(struct file *f, int64_t offset, struct snapshot **ret)
{
	struct snapshot *fresh = NULL;
	int r = 0;

	pthread_mutex_lock(&f->lock);
	if (offset == 0 || !f->snapshot)
		r = snapshot_take(f->files->tree, f->node, &fresh);
	if (r == 0 && fresh && offset > 0)
		r = continue_in(f, fresh, offset);
	if (r < 0)
		snapshot_unref(fresh);
	else if (fresh)
		keep_snapshot(f, fresh);
	if (r == 0)
		*ret = snapshot_ref(f->snapshot);
	pthread_mutex_unlock(&f->lock);
	return r;
}

void file_read(struct file *f, fuse_req_t req, size_t size, int64_t offset)
{
	struct snapshot *s = NULL;
	int r = choose(f, offset, &s);

	if (r < 0) {
		entry_error(req, r);
		return;
	}
	if ((size_t)offset >= s->bytes.len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, s->bytes.s + offset, MIN(size, s->bytes.len - (size_t)offset));
	snapshot_unref(s);
}
