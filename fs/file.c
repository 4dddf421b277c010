#include "file.h"

#include "entry.h"
#include "notify.h"
#include "promise.h"

#include <linux/fuse.h>
#include <poll.h>
#include <unistd.h>

/* What is saved of a snapshot file, and of a row file. */
enum { WORD_TAKEN, WORD_SIZE, WORD_HASH };
enum { WORD_READ_TO };
enum { WORD_POLLED = SAVED_FILE_WORDS - 1 }; /* of any: the kernel's name for who polls, or 0 */

_Static_assert(STREAM_WORDS <= WORD_POLLED, "a stream's cursor and who polls it");

struct files {
	struct files_sources from;
	struct promises *promises;
	struct saved *saved; /* NULL: a handle is a pointer */
	pthread_mutex_t lock;
	/* Under lock. */
	struct file *first;
	size_t polled;           /* that have a pollhandle */
	struct file **by_handle; /* where something is saved */
};

struct file {
	struct files *files;
	struct inode *inode; /* a reference */
	enum node_content content;
	uint64_t handle;
	struct stream *stream; /* of CONTENT_STREAM */
	/* Under the lock of files. */
	struct file *next, **link;
	struct fuse_pollhandle *ph; /* somebody waits */
	pthread_mutex_t lock;
	/* Under lock. */
	struct promise *promise;   /* NULL: none, or it has been read */
	struct snapshot *snapshot; /* NULL: none here yet */
	int64_t read_to;           /* of a row file */
};

struct files *files_new(struct saved *saved)
{
	struct files *files = xcalloc(1, sizeof(*files));

	files->saved = saved;
	files->promises = promises_new();
	if (saved)
		files->by_handle = xcalloc(SAVED_FILES_MAX + 1, sizeof(struct file *));
	pthread_mutex_init(&files->lock, NULL);
	return files;
}

void files_set_sources(struct files *files, const struct files_sources *sources)
{
	files->from = *sources;
}

void files_free(struct files *files)
{
	if (!files)
		return;
	while (files->first)
		file_free(files->first);
	promises_free(files->promises);
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

static uint64_t *words_of(const struct file *f)
{
	struct saved_file *s = saved_file(f->files->saved, f->handle);

	return s ? s->words : NULL;
}

/* libfuse has it first in what it keeps to itself. */
static uint64_t kernels_name(const struct fuse_pollhandle *ph)
{
	uint64_t kh = 0;

	if (ph)
		memcpy(&kh, ph, sizeof(kh));
	return kh;
}

/* Under lock. */
static void set_pollhandle(struct files *files, struct file *f, struct fuse_pollhandle *ph)
{
	uint64_t *words = words_of(f);

	if (words)
		words[WORD_POLLED] = kernels_name(ph);
	if (f->ph)
		fuse_pollhandle_destroy(f->ph);
	files->polled += (ph != NULL) - (f->ph != NULL);
	f->ph = ph;
}

static void unlist(struct files *files, struct file *f)
{
	pthread_mutex_lock(&files->lock);
	set_pollhandle(files, f, NULL);
	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	if (files->saved)
		files->by_handle[f->handle] = NULL;
	pthread_mutex_unlock(&files->lock);
}

static struct file *file_alloc(struct files *files, struct inode *i, uint64_t handle)
{
	struct file *f = xcalloc(1, sizeof(*f));
	uint64_t *words;

	f->files = files;
	f->inode = inode_ref(files->from.inodes, i);
	f->content = node_content(i->node);
	f->handle = handle;
	pthread_mutex_init(&f->lock, NULL);
	words = words_of(f);
	if (f->content == CONTENT_STREAM)
		f->stream = stream_open(files->from.streams, i->node, words);
	else if (f->content == CONTENT_ROWS && words)
		f->read_to = (int64_t)words[WORD_READ_TO];
	return f;
}

static void file_destroy(struct file *f)
{
	stream_close(f->stream);
	snapshot_unref(promise_end(f->promise));
	inode_put(f->files->from.inodes, f->inode);
	snapshot_unref(f->snapshot);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

struct file *file_adopt(struct files *files, struct inode *i, uint64_t handle)
{
	struct file *f, *mine;

	if (!saved_file(files->saved, handle))
		return NULL;
	mine = file_alloc(files, i, handle);
	pthread_mutex_lock(&files->lock);
	f = files->by_handle[handle];
	if (!f)
		enlist(files, mine);
	pthread_mutex_unlock(&files->lock);
	if (f)
		file_destroy(mine);
	return f ? f : mine;
}

static void promise(struct file *f, pid_t reader)
{
	const struct files_sources *from = &f->files->from;
	bool publish = false;

	if (f->content != CONTENT_SNAPSHOT)
		return;
	f->promise = promise_make(f->files->promises, from->tree, f->inode, reader, &publish);
	if (publish)
		notify_begun(from->session, f->inode);
}

int file_new(struct files *files, struct inode *i, pid_t reader, struct file **ret)
{
	uint64_t handle = saved_file_add(files->saved, i->ino);

	if (files->saved && handle == 0)
		return -ENFILE;
	*ret = file_alloc(files, i, handle);
	promise(*ret, reader);
	pthread_mutex_lock(&files->lock);
	enlist(files, *ret);
	pthread_mutex_unlock(&files->lock);
	return 0;
}

void file_free(struct file *f)
{
	if (!f)
		return;
	/* An open and the reads were answered before the kernel released the file, but maybe by
	 * other threads: what those did under the lock is over, and seen, from here on. */
	pthread_mutex_lock(&f->lock);
	pthread_mutex_unlock(&f->lock);
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

void files_promised_attr(struct files *files, struct inode *i, pid_t reader, struct attr *ret)
{
	if (inode_has_promises(i))
		promised_attr(files->promises, i, reader, ret);
}

uint64_t file_handle(struct file *f)
{
	uint64_t handle;

	if (!f)
		return 0;
	pthread_mutex_lock(&f->lock); /* see file_free */
	handle = f->files->saved ? f->handle : (uint64_t)(uintptr_t)f;
	pthread_mutex_unlock(&f->lock);
	return handle;
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

static void keep_snapshot(struct file *f, struct snapshot *fresh)
{
	uint64_t *words = words_of(f);

	snapshot_unref(f->snapshot);
	f->snapshot = fresh;
	if (!words)
		return;
	words[WORD_TAKEN] = false;
	words[WORD_SIZE] = fresh->bytes.len;
	words[WORD_HASH] = snapshot_hash(fresh);
	words[WORD_TAKEN] = true;
}

/* Whether fresh may be read from offset on by one who has begun in the predecessor's snapshot.
 * What is over stays over. */
static int continue_in(const struct file *f, struct snapshot *fresh, int64_t offset)
{
	const uint64_t *words = words_of(f);

	if (!words || !words[WORD_TAKEN] ||
	    (words[WORD_SIZE] == fresh->bytes.len && words[WORD_HASH] == snapshot_hash(fresh)))
		return 0;
	if ((uint64_t)offset < words[WORD_SIZE])
		return -ESTALE;
	strbuf_truncate(&fresh->bytes, 0);
	return 0;
}

static int take_newest(const struct file *f, struct snapshot **ret)
{
	const struct files_sources *from = &f->files->from;
	struct attr a;
	int r = snapshot_take(from->tree, f->inode->node, ret, &a);

	if (r == 0)
		notify_ahead(from->session, f->inode, &a);
	return r;
}

/* The snapshot that a read at offset is answered from, as a reference. */
static int choose(struct file *f, int64_t offset, struct snapshot **ret)
{
	struct snapshot *fresh;
	int r = 0;

	pthread_mutex_lock(&f->lock);
	fresh = promise_end(TAKE_PTR(f->promise));
	if (!fresh && (offset == 0 || !f->snapshot))
		r = take_newest(f, &fresh);
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

static void read_snapshot(struct file *f, fuse_req_t req, size_t size, int64_t offset)
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

/* It will be answered with as much as is shown, which from here on is what is asked for here. */
static void note_read(struct file *f, int64_t end)
{
	uint64_t *words = words_of(f);
	struct attr a;
	double timeout;

	if (inode_attr(f->files->from.inodes, f->inode, &a, &timeout) < 0)
		return;
	pthread_mutex_lock(&f->lock);
	f->read_to = MAX(f->read_to, MIN(a.size, end));
	if (words)
		words[WORD_READ_TO] = (uint64_t)f->read_to;
	pthread_mutex_unlock(&f->lock);
}

static void read_rows(struct file *f, fuse_req_t req, size_t size, int64_t offset)
{
	const struct files_sources *from = &f->files->from;

	note_read(f, offset + (int64_t)size);
	row_reads_submit(from->reads, req, inode_ref(from->inodes, f->inode), size, offset);
}

void file_read(struct file *f, fuse_req_t req, size_t size, int64_t offset, bool nonblock)
{
	switch (f->content) {
	case CONTENT_ROWS:
		read_rows(f, req, size, offset);
		break;
	case CONTENT_STREAM:
		stream_read(f->stream, req, size, offset, nonblock);
		break;
	case CONTENT_WAIT:
		waits_read(f->files->from.waits, req, f->inode->node, size, offset, nonblock);
		break;
	case CONTENT_SNAPSHOT:
	case CONTENT_NONE:
		read_snapshot(f, req, size, offset);
		break;
	}
}

/* ---- poll -------------------------------------------------------------------------------------
 */

#define POLL_READ (POLLIN | POLLRDNORM)

/* Who waits for something new does not want what he opened. */
static void forget_promise(struct file *f)
{
	pthread_mutex_lock(&f->lock);
	snapshot_unref(promise_end(TAKE_PTR(f->promise)));
	pthread_mutex_unlock(&f->lock);
}

static unsigned ready_snapshot(struct file *f)
{
	struct snapshot *now = NULL;
	bool differs;
	int r = snapshot_take(f->files->from.tree, f->inode->node, &now, NULL);

	if (r < 0)
		return POLL_READ | POLLERR;
	pthread_mutex_lock(&f->lock);
	differs = !f->snapshot || f->snapshot->bytes.len != now->bytes.len ||
		  memcmp(f->snapshot->bytes.s, now->bytes.s, now->bytes.len);
	pthread_mutex_unlock(&f->lock);
	snapshot_unref(now);
	return differs ? POLL_READ | POLLPRI : 0;
}

static unsigned ready_rows(struct file *f)
{
	struct inode_table *inodes = f->files->from.inodes;
	struct attr a;
	double timeout;
	bool more;

	if (inode_attr(inodes, f->inode, &a, &timeout) < 0)
		return POLL_READ | POLLERR;
	pthread_mutex_lock(&f->lock);
	more = a.size > f->read_to;
	pthread_mutex_unlock(&f->lock);
	return more ? POLL_READ : 0;
}

static unsigned ready(struct file *f)
{
	switch (f->content) {
	case CONTENT_SNAPSHOT:
		return ready_snapshot(f);
	case CONTENT_ROWS:
		return ready_rows(f);
	case CONTENT_STREAM:
		return stream_ready(f->stream) ? POLL_READ : 0;
	case CONTENT_WAIT:
		return waits_ready(f->files->from.waits, f->inode->node) ? POLL_READ : 0;
	case CONTENT_NONE:
		break;
	}
	return POLL_READ;
}

/* The handle is kept before the look: what comes in between is not missed. */
void file_poll(struct file *f, fuse_req_t req, unsigned events, struct fuse_pollhandle *ph)
{
	struct files *files = f->files;

	forget_promise(f);
	if (ph) {
		pthread_mutex_lock(&files->lock);
		set_pollhandle(files, f, ph);
		pthread_mutex_unlock(&files->lock);
	}
	fuse_reply_poll(req, ready(f) & (events | POLLERR));
}

void files_wake(struct files *files)
{
	pthread_mutex_lock(&files->lock);
	for (struct file *f = files->polled ? files->first : NULL; f; f = f->next) {
		if (!f->ph || !ready(f))
			continue;
		fuse_lowlevel_notify_poll(f->ph);
		set_pollhandle(files, f, NULL);
	}
	pthread_mutex_unlock(&files->lock);
}

/* They will poll again, and be kept then. */
static void wake_left(uint64_t handle, struct saved_file *f, void *arg)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_poll_wakeup_out out;
	} m = {
		.header = {.len = sizeof(m), .error = FUSE_NOTIFY_POLL},
		.out = {.kh = f->words[WORD_POLLED]},
	};
	int *fd = arg;

	if (m.out.kh && write(*fd, &m, sizeof(m)) < 0)
		f->words[WORD_POLLED] = 0; /* it has gone */
}

void files_wake_left(struct files *files, struct fuse_session *se)
{
	int fd = fuse_session_fd(se);

	saved_each_file(files->saved, wake_left, &fd);
}
