#include "file.h"

#include <pthread.h>

#include "entry.h"
#include "strbuf.h"

#define SNAPSHOT_MAX ((size_t)256 << 20)

/* Shared by the open file and the replies that are being made of it: once one has gone out the file
 * may be closed, before the thread that sent it has returned. */
struct snapshot {
	int refs; /* atomic */
	struct strbuf bytes;
};

struct files {
	struct tree *tree;
	pthread_mutex_t lock;
	struct file *first; /* under lock */
};

struct file {
	struct files *files;
	struct node *node;         /* a reference */
	struct file *next, **link; /* under the lock of files */
	pthread_mutex_t lock;
	struct snapshot *snapshot; /* under lock; NULL: none yet */
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

struct files *files_new(struct tree *tree)
{
	struct files *files = xcalloc(1, sizeof(*files));

	files->tree = tree;
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
	free(files);
}

static void enlist(struct files *files, struct file *f)
{
	pthread_mutex_lock(&files->lock);
	f->next = files->first;
	f->link = &files->first;
	if (f->next)
		f->next->link = &f->next;
	files->first = f;
	pthread_mutex_unlock(&files->lock);
}

static void unlist(struct files *files, struct file *f)
{
	pthread_mutex_lock(&files->lock);
	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	pthread_mutex_unlock(&files->lock);
}

struct file *file_new(struct files *files, struct node *node)
{
	struct file *f = xcalloc(1, sizeof(*f));

	f->files = files;
	f->node = node_ref(node);
	pthread_mutex_init(&f->lock, NULL);
	enlist(files, f);
	return f;
}

void file_free(struct file *f)
{
	if (!f)
		return;
	unlist(f->files, f);
	node_unref(f->node);
	snapshot_unref(f->snapshot);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

/* The snapshot that a read at offset is answered from, as a reference. */
static int choose(struct file *f, int64_t offset, struct snapshot **ret)
{
	struct snapshot *fresh = NULL;
	int r = 0;

	pthread_mutex_lock(&f->lock);
	if (offset == 0 || !f->snapshot)
		r = snapshot_take(f->files->tree, f->node, &fresh);
	if (fresh) {
		snapshot_unref(f->snapshot);
		f->snapshot = fresh;
	}
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
