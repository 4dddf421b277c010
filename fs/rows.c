#include "rows.h"

#include "clock.h"
#include "entry.h"
#include "strbuf.h"

struct read {
	struct row_reads *owner;
	fuse_req_t req;
	struct inode *inode; /* a reference */
	size_t size;
	int64_t offset;
	struct mono since;
	struct read *next; /* owner's lock */
	bool interrupted;  /* owner's lock */
};

struct row_reads {
	struct tree *tree;
	struct inode_table *inodes;
	int threads;
	int64_t timeout_ms;
	pthread_mutex_t lock; /* taken under libfuse's lock of a request, by interrupt() */
	/* Under lock. */
	int busy;
	struct read *waiting, **tail;
};

struct row_reads *row_reads_new(struct tree *tree, struct inode_table *inodes, int threads,
				int64_t timeout_ms)
{
	struct row_reads *r = xcalloc(1, sizeof(*r));

	r->tree = tree;
	r->inodes = inodes;
	r->threads = MAX(1, threads);
	r->timeout_ms = timeout_ms;
	r->tail = &r->waiting;
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

static void read_free(struct read *x)
{
	inode_put(x->owner->inodes, x->inode);
	free(x);
}

void row_reads_free(struct row_reads *r)
{
	if (!r)
		return;
	while (r->waiting) {
		struct read *x = r->waiting;

		r->waiting = x->next;
		fuse_reply_err(x->req, EIO);
		read_free(x);
	}
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static bool unlist(struct row_reads *r, struct read *x)
{
	struct read **p = &r->waiting;

	while (*p && *p != x)
		p = &(*p)->next;
	if (!*p)
		return false;
	*p = x->next;
	if (r->tail == &x->next)
		r->tail = p;
	return true;
}

/* libfuse holds the request meanwhile. */
static void interrupt(fuse_req_t req, void *arg)
{
	struct read *x = arg;
	struct row_reads *r = x->owner;
	bool mine;

	pthread_mutex_lock(&r->lock);
	mine = unlist(r, x);
	x->interrupted = true;
	pthread_mutex_unlock(&r->lock);
	if (!mine)
		return;
	fuse_reply_err(req, EINTR);
	read_free(x);
}

static void reply_rows(struct row_reads *r, struct read *x)
{
	int64_t limit = inode_read_limit(x->inode);
	struct strbuf b;
	int e = 0;

	if (x->offset < limit)
		x->size = (size_t)MIN((int64_t)x->size, limit - x->offset);
	else
		x->size = 0;
	strbuf_init(&b, x->size);
	/* At the end too, for a dropped file has none. */
	e = tree_read_rows(r->tree, x->inode->node, x->offset, x->size, &b);
	if (e >= 0)
		e = b.err;
	if (e < 0)
		entry_error(x->req, e);
	else
		fuse_reply_buf(x->req, b.s, b.len);
	strbuf_release(&b);
}

static void answer(struct row_reads *r, struct read *x)
{
	if (x->interrupted)
		fuse_reply_err(x->req, EINTR);
	else if (mono_ms_since(x->since) > r->timeout_ms)
		fuse_reply_err(x->req, EIO);
	else
		reply_rows(r, x);
	read_free(x);
}

/* True: this thread is to do it. */
static bool begin(struct row_reads *r, struct read *x)
{
	bool now;

	pthread_mutex_lock(&r->lock);
	now = r->busy < r->threads || x->interrupted;
	if (now) {
		r->busy++;
	} else {
		*r->tail = x;
		r->tail = &x->next;
	}
	pthread_mutex_unlock(&r->lock);
	return now;
}

static struct read *next(struct row_reads *r)
{
	struct read *x;

	pthread_mutex_lock(&r->lock);
	x = r->waiting;
	if (x)
		unlist(r, x);
	else
		r->busy--;
	pthread_mutex_unlock(&r->lock);
	return x;
}

void row_reads_submit(struct row_reads *r, fuse_req_t req, struct inode *i, size_t size,
		      int64_t offset)
{
	struct read *x = xcalloc(1, sizeof(*x));

	*x = (struct read){.owner = r,
			   .req = req,
			   .inode = i,
			   .size = size,
			   .offset = offset,
			   .since = mono_now()};
	/* Before it is listed: from then on another thread may answer and free it. */
	fuse_req_interrupt_func(req, interrupt, x);
	if (!begin(r, x))
		return;
	do {
		/* Waits until a running interrupt() has let go of x. */
		fuse_req_interrupt_func(x->req, NULL, NULL);
		answer(r, x);
	} while ((x = next(r)));
}
