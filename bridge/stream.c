#include "stream.h"

#include <pthread.h>

#include "log.h"
#include "work.h"

struct stream {
	struct request *q;
	struct source source; /* while filling the job's */
	struct job job;
	struct strbuf sent; /* being sent, from at on; the connection's thread's */
	size_t at;
	pthread_mutex_t lock;
	/* Under lock. */
	struct strbuf next; /* while filling the job's */
	bool filling;       /* the job is with the pool */
	bool waiting;       /* the connection is suspended until it is done */
	bool gone;          /* nobody reads any more: the job frees */
	bool last;          /* next is the end */
	int error;
};

static void stream_free(struct stream *s)
{
	s->source.free(s->source.arg);
	strbuf_release(&s->sent);
	strbuf_release(&s->next);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static int fill(struct source *source, struct strbuf *out)
{
	int r = source->fill(source->arg, out);

	return r >= 0 && out->err ? out->err : r;
}

static void run(struct job *j)
{
	struct stream *s = container_of(j, struct stream, job);
	int r = fill(&s->source, &s->next);
	bool gone;

	pthread_mutex_lock(&s->lock);
	s->filling = false;
	s->last = r == 0;
	s->error = MIN(r, 0);
	gone = s->gone;
	if (s->waiting) {
		s->waiting = false;
		request_resume(s->q);
	}
	pthread_mutex_unlock(&s->lock);
	if (gone)
		stream_free(s);
}

/* Under the lock: what was made becomes what is sent, and more is asked for. */
static void turn(struct stream *s)
{
	struct strbuf old = s->sent;

	s->sent = s->next;
	s->next = old;
	s->at = 0;
	strbuf_reset(&s->next);
	if (s->last || s->error)
		return;
	s->filling = true;
	pool_submit(s->q->gateway->pool, &s->job);
}

/* Under the lock. What is to be returned while there are no bytes; 1: look again. */
static ssize_t next_piece(struct stream *s)
{
	if (s->filling) {
		s->waiting = true;
		request_suspend(s->q);
		return 0;
	}
	if (s->error) {
		log_warn("request %s: trace %s: the answer broke off: %s", s->q->id, s->q->trace,
			 strerror(-s->error));
		return BODY_FAILED;
	}
	if (s->last && !s->next.len)
		return BODY_END;
	turn(s);
	return 1;
}

static ssize_t stream_read(void *arg, char *buf, size_t max)
{
	struct stream *s = arg;
	ssize_t r = 1;
	size_t n;

	while (s->at == s->sent.len && r == 1) {
		pthread_mutex_lock(&s->lock);
		r = next_piece(s);
		pthread_mutex_unlock(&s->lock);
	}
	if (r != 1)
		return r;
	n = MIN(max, s->sent.len - s->at);
	memcpy(buf, s->sent.s + s->at, n);
	s->at += n;
	return (ssize_t)n;
}

static void stream_close(void *arg)
{
	struct stream *s = arg;
	bool filling;

	pthread_mutex_lock(&s->lock);
	filling = s->filling;
	s->gone = true;
	pthread_mutex_unlock(&s->lock);
	if (!filling)
		stream_free(s);
}

static const struct body_ops stream_ops = {stream_read, stream_close};

static struct stream *stream_new(struct request *q, struct source *source)
{
	struct stream *s = xcalloc(1, sizeof(*s));

	s->q = q;
	s->source = *source;
	s->job.run = run;
	strbuf_init(&s->sent, STREAM_MAX);
	strbuf_init(&s->next, STREAM_MAX);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void answer_source(struct answer *a, struct request *q, const char *type, struct source *source,
		   int64_t length)
{
	struct strbuf first;
	struct stream *s;
	int r;

	strbuf_init(&first, STREAM_MAX);
	r = fill(source, &first);
	if (r == 1) {
		s = stream_new(q, source);
		s->next = first;
		answer_pieces(a, type, &stream_ops, s, length);
		return;
	}
	source->free(source->arg);
	if (r == 0) {
		answer_bytes(a, type, &first);
		return;
	}
	strbuf_release(&first);
	answer_errno(a, r, "what was asked for");
}
