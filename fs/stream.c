#include "stream.h"

#include "cursor.h"
#include "entry.h"
#include "parked.h"

#include <stdio.h>

#define PIECE_MAX ((size_t)256 << 10) /* rendered ahead, at most one row more */
#define RETRY_MS  500                 /* where rows could not be had */

/* What is saved: a piece's first row, and its offset in the file. */
enum { WORD_REVISION, WORD_SEGMENT, WORD_SEQ, WORD_INCARNATION, WORD_OFFSET };

struct streams {
	struct tree *tree;
	void (*on_ready)(void *arg);
	void *arg;
	int64_t heartbeat_ms; /* 0: none is needed */
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	/* Under lock. */
	struct stream *first;
	struct stream *busy; /* the thread is at it */
	bool woken, stopping;
};

struct stream {
	struct streams *streams;
	int refs;        /* atomic: the open file's, and one for each that is answering */
	uint64_t *words; /* NULL, or of the memory file */
	struct stream *next, **link; /* under the lock of streams */

	/* The thread's own, once it is listed. */
	struct cursor cursor;

	struct parked_list parked;
	pthread_mutex_t lock;
	/* Under lock. */
	struct strbuf piece;
	size_t read;    /* of the piece */
	int64_t offset; /* of the piece in the file */
	int64_t skip;   /* bytes of what comes that were read of a predecessor */
	int error;      /* 0, or the end: -ESTALE */
};

static void stream_ref(struct stream *st)
{
	__atomic_add_fetch(&st->refs, 1, __ATOMIC_RELAXED);
}

static void stream_unref(struct stream *st)
{
	if (__atomic_sub_fetch(&st->refs, 1, __ATOMIC_ACQ_REL))
		return;
	parked_release(&st->parked, ENODEV);
	strbuf_release(&st->piece);
	cursor_release(&st->cursor);
	pthread_mutex_destroy(&st->lock);
	free(st);
}

/* ---- answering -------------------------------------------------------------------------------
 */

/* Under the stream's lock. Of what does not fit only whole lines, where one does. */
static size_t length_for(const struct stream *st, size_t size)
{
	const char *from = st->piece.s + st->read, *newline;
	size_t left = st->piece.len - st->read;

	if (left <= size)
		return left;
	newline = memrchr(from, '\n', size);
	return newline ? (size_t)(newline + 1 - from) : size;
}

/* Under the lock. What was given out is forgotten only afterwards: a successor of the daemon will
 * be asked again for what the kernel has not got. */
static void give(struct stream *st, fuse_req_t req, size_t size)
{
	size_t n = length_for(st, size);

	fuse_reply_buf(req, st->piece.s + st->read, n);
	st->read += n;
}

static void save(struct stream *st, const struct position *p)
{
	if (!st->words)
		return;
	st->words[WORD_SEGMENT] = (uint64_t)p->segment_ns;
	st->words[WORD_SEQ] = (uint64_t)p->seq;
	st->words[WORD_INCARNATION] = p->incarnation;
	st->words[WORD_OFFSET] = (uint64_t)st->offset;
	st->words[WORD_REVISION] = (uint64_t)p->revision;
}

/* Under the lock. */
static void answer_parked(struct stream *st)
{
	struct parked *x;

	while ((st->read < st->piece.len || st->error) &&
	       (x = parked_take(&st->parked, INT64_MAX, 0))) {
		if (st->read < st->piece.len)
			give(st, x->req, x->size);
		else
			entry_error(x->req, st->error);
		free(x);
	}
}

/* The first read of one that a predecessor had open says how far that came. */
static void go_on(struct stream *st, int64_t offset)
{
	int64_t began = (int64_t)st->words[WORD_OFFSET];

	st->skip = MAX(0, offset - began);
	st->offset = began;
}

/* Under the lock. False: there is nothing yet. */
static bool answer(struct stream *st, fuse_req_t req, size_t size, bool nonblock)
{
	if (st->read < st->piece.len)
		give(st, req, size);
	else if (st->error)
		entry_error(req, st->error);
	else if (nonblock)
		fuse_reply_err(req, EAGAIN);
	else
		return false;
	return true;
}

/* Once it is answered the file may be closed. */
void stream_read(struct stream *st, fuse_req_t req, size_t size, int64_t offset, bool nonblock)
{
	bool answered, empty;

	stream_ref(st);
	pthread_mutex_lock(&st->lock);
	if (st->offset < 0)
		go_on(st, offset);
	answered = answer(st, req, size, nonblock);
	empty = st->read == st->piece.len;
	pthread_mutex_unlock(&st->lock);
	if (!answered)
		parked_add(&st->parked, req, size, offset, 0);
	if (empty)
		streams_wake(st->streams);
	stream_unref(st);
}

/* Of one that a predecessor had open only a read can tell. */
bool stream_ready(struct stream *st)
{
	bool ready;

	pthread_mutex_lock(&st->lock);
	ready = st->read < st->piece.len || st->error || st->offset < 0;
	pthread_mutex_unlock(&st->lock);
	return ready;
}

/* ---- the thread ------------------------------------------------------------------------------
 */

/* Whether the next piece is due. */
static bool begin_piece(struct stream *st, struct strbuf *out)
{
	bool due;

	pthread_mutex_lock(&st->lock);
	due = !st->error && st->offset >= 0 && st->read == st->piece.len;
	if (due) {
		st->offset += (int64_t)st->piece.len;
		*out = st->piece;
		strbuf_reset(out);
		strbuf_init(&st->piece, 2 * PIECE_MAX);
		st->read = 0;
		save(st, &st->cursor.at);
	}
	pthread_mutex_unlock(&st->lock);
	return due;
}

static void end_piece(struct stream *st, struct strbuf *piece, int r)
{
	size_t skip;

	pthread_mutex_lock(&st->lock);
	st->piece = *piece;
	skip = MIN((size_t)st->skip, st->piece.len);
	st->skip -= (int64_t)skip;
	st->read = skip;
	if (r == -ESTALE && st->piece.len == 0)
		st->error = r;
	answer_parked(st);
	pthread_mutex_unlock(&st->lock);
}

/* Returns whether it has to be tried again soon. */
static bool serve(struct stream *st)
{
	struct strbuf piece;
	int r;

	pthread_mutex_lock(&st->lock);
	answer_parked(st);
	pthread_mutex_unlock(&st->lock);
	if (!begin_piece(st, &piece))
		return false;
	r = cursor_read(&st->cursor, &piece, PIECE_MAX);
	end_piece(st, &piece, r);
	return r < 0 && r != -ESTALE;
}

static void beat(struct stream *st)
{
	struct parked *x;

	pthread_mutex_lock(&st->lock);
	while (st->streams->heartbeat_ms &&
	       (x = parked_take(&st->parked, INT64_MAX, st->streams->heartbeat_ms))) {
		fuse_reply_buf(x->req, "#\n", 2);
		st->offset += 2;
		free(x);
	}
	pthread_mutex_unlock(&st->lock);
}

static void wait_wake(struct streams *s, bool again)
{
	int64_t ms = again ? RETRY_MS : s->heartbeat_ms / 4;
	struct mono until = mono_in_ms(ms);
	struct timespec ts = {until.ns / NS_PER_SEC, until.ns % NS_PER_SEC};
	int r = 0;

	while (!s->woken && !s->stopping && r == 0)
		r = ms ? pthread_cond_timedwait(&s->wake, &s->lock, &ts)
		       : pthread_cond_wait(&s->wake, &s->lock);
	s->woken = false;
}

/* Serves all, each without the lock; whoever closes one meanwhile waits until it is let go of. */
static bool serve_all(struct streams *s)
{
	bool again = false;

	for (struct stream *st = s->first; st && !s->stopping; st = st->next) {
		s->busy = st;
		pthread_mutex_unlock(&s->lock);
		again |= serve(st);
		beat(st);
		pthread_mutex_lock(&s->lock);
		s->busy = NULL;
		pthread_cond_broadcast(&s->idle);
	}
	return again;
}

static void *run(void *arg)
{
	struct streams *s = arg;
	bool again = false;

	pthread_mutex_lock(&s->lock);
	while (!s->stopping) {
		wait_wake(s, again);
		again = serve_all(s);
		pthread_mutex_unlock(&s->lock);
		s->on_ready(s->arg);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------
 */

/* Half of the shortest time after which the kernel would abort a mount that leaves a request
 * unanswered. */
static int64_t heartbeat_ms(void)
{
	static const char *const paths[] = {"/proc/sys/fs/fuse/default_request_timeout",
					    "/proc/sys/fs/fuse/max_request_timeout"};
	int64_t shortest = 0;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		FILE *f = fopen(paths[i], "re");
		long s = 0;

		if (f && fscanf(f, "%ld", &s) == 1 && s > 0)
			shortest = shortest ? MIN(shortest, s * 500) : s * 500;
		if (f)
			fclose(f);
	}
	return shortest;
}

struct streams *streams_new(struct tree *tree, void (*on_ready)(void *arg), void *arg)
{
	struct streams *s = xcalloc(1, sizeof(*s));
	pthread_condattr_t a;

	s->tree = tree;
	s->on_ready = on_ready;
	s->arg = arg;
	s->heartbeat_ms = heartbeat_ms();
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &a);
	pthread_cond_init(&s->idle, NULL);
	pthread_condattr_destroy(&a);
	if (pthread_create(&s->thread, NULL, run, s)) {
		s->stopping = true;
		streams_free(s);
		return NULL;
	}
	return s;
}

void streams_wake(struct streams *s)
{
	pthread_mutex_lock(&s->lock);
	if (s->first)
		s->woken = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void streams_stop(struct streams *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
}

void streams_free(struct streams *s)
{
	if (!s)
		return;
	pthread_cond_destroy(&s->wake);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* From now on, or from where a predecessor was. */
static void set_position(struct stream *st)
{
	if (st->words && st->words[WORD_REVISION]) {
		st->cursor.at = (struct position){
			.revision = (int64_t)st->words[WORD_REVISION],
			.segment_ns = (int64_t)st->words[WORD_SEGMENT],
			.seq = (int64_t)st->words[WORD_SEQ],
			.incarnation = st->words[WORD_INCARNATION],
		};
		st->offset = -1; /* the first read says */
		return;
	}
	st->error = cursor_set_end(&st->cursor);
	save(st, &st->cursor.at);
}

struct stream *stream_open(struct streams *s, struct node *node, uint64_t *words)
{
	struct stream *st = xcalloc(1, sizeof(*st));

	st->streams = s;
	st->refs = 1;
	st->words = words;
	cursor_init(&st->cursor, s->tree, node);
	pthread_mutex_init(&st->lock, NULL);
	parked_init(&st->parked);
	strbuf_init(&st->piece, 2 * PIECE_MAX);
	set_position(st);
	pthread_mutex_lock(&s->lock);
	st->next = s->first;
	st->link = &s->first;
	if (st->next)
		st->next->link = &st->next;
	s->first = st;
	pthread_mutex_unlock(&s->lock);
	return st;
}

static void unlist(struct stream *st)
{
	struct streams *s = st->streams;

	pthread_mutex_lock(&s->lock);
	while (s->busy == st)
		pthread_cond_wait(&s->idle, &s->lock);
	*st->link = st->next;
	if (st->next)
		st->next->link = st->link;
	pthread_mutex_unlock(&s->lock);
}

void stream_close(struct stream *st)
{
	if (!st)
		return;
	unlist(st);
	stream_unref(st);
}
