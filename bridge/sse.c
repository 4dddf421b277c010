/* Server-sent events: the feed for who speaks HTTP only.
 *
 *	id: REV
 *	data: {"rev":REV,"rows":[…]}
 *
 * What is no row says so in its event field (rev, gap, lag). The id stands at the last frame of a
 * commit, so that Last-Event-ID is a revision up to which all has come. A comment every PING_MS
 * keeps what lies between open. */
#include <pthread.h>
#include <stdio.h>

#include "handlers.h"
#include "stats.h"
#include "subscriber.h"
#include "upgrade.h"

#define PING_MS 15000

struct sse {
	struct request *q;
	struct feed *feed;
	struct subscriber *subscriber;
	pthread_mutex_t lock;
	bool waiting;       /* under lock: the connection is suspended */
	struct mono last;   /* when something was sent */
	struct strbuf text; /* [at, len) is to be sent */
	size_t at;
	bool ended;
};

static const char *const names[] = {
	[FRAME_REV] = "rev", [FRAME_GAP] = "gap", [FRAME_LAG] = "lag", [FRAME_ERROR] = "error"};

static void on_feed(void *arg)
{
	struct sse *s = arg;

	pthread_mutex_lock(&s->lock);
	if (s->waiting) {
		s->waiting = false;
		request_resume(s->q);
	}
	pthread_mutex_unlock(&s->lock);
}

static void put_frame(struct sse *s, struct frame *f)
{
	if (f->kind != FRAME_ROWS)
		strbuf_addf(&s->text, "event: %s\n", names[f->kind]);
	if (!f->more && f->kind != FRAME_LAG)
		strbuf_addf(&s->text, "id: %lld\n", (long long)f->revision);
	strbuf_adds(&s->text, "data: ");
	strbuf_add(&s->text, f->data, f->len);
	strbuf_adds(&s->text, "\n\n");
	s->ended = f->kind == FRAME_LAG;
	frame_unref(f);
}

/* Under the lock. What is to be sent next; none: false. */
static bool put_next(struct sse *s)
{
	struct frame *f = subscriber_next(s->subscriber);

	s->at = 0;
	strbuf_reset(&s->text);
	if (f)
		put_frame(s, f);
	else if (mono_ms_since(s->last) > PING_MS)
		strbuf_adds(&s->text, ": ping\n\n");
	if (s->text.len)
		s->last = mono_now();
	return s->text.len;
}

/* Under the lock. */
static ssize_t wait_or_end(struct sse *s)
{
	if (feed_is_over(s->feed))
		return BODY_END;
	s->waiting = true;
	request_suspend(s->q);
	return 0;
}

static ssize_t sse_read(void *arg, char *buf, size_t max)
{
	struct sse *s = arg;
	ssize_t r = 1;

	pthread_mutex_lock(&s->lock);
	if (s->at == s->text.len)
		r = s->ended ? BODY_END : put_next(s) ? 1 : wait_or_end(s);
	if (r == 1) {
		r = (ssize_t)MIN(max, s->text.len - s->at);
		memcpy(buf, s->text.s + s->at, (size_t)r);
		s->at += (size_t)r;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void sse_free(void *arg)
{
	struct sse *s = arg;

	subscriber_free(s->subscriber);
	strbuf_release(&s->text);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static const struct body_ops ops = {sse_read, sse_free};

static void say_revision(struct sse *s)
{
	char text[64];
	int64_t revision = subscriber_revision(s->subscriber);
	int n = snprintf(text, sizeof(text), "{\"rev\":%lld}", (long long)revision);

	subscriber_say(s->subscriber,
		       frame_new(FRAME_REV, revision, (struct slice){text, (size_t)n}));
}

static struct sse *open_stream(struct request *q, struct opening *o, struct err *e)
{
	struct sse *s = xcalloc(1, sizeof(*s));

	s->q = q;
	s->feed = q->gateway->feed;
	s->last = mono_now();
	strbuf_init(&s->text, 8 * FRAME_BYTES);
	pthread_mutex_init(&s->lock, NULL);
	s->subscriber = subscriber_new(s->feed, q->who, on_feed, s);
	/* Not before what Last-Event-ID asks for: the browser would take its id for later. */
	if (o->since == SINCE_NOW)
		say_revision(s);
	if (subscriber_add(s->subscriber, "", &o->filter, o->since, e)) {
		sse_free(s);
		return NULL;
	}
	return s;
}

void handle_stream(struct request *q, struct answer *a)
{
	struct opening o = {0};
	struct err e = {""};
	struct sse *s = NULL;

	if (!view_wait_ready(q->gateway->view, 0))
		answer_problem(a, 503, "the store's first list is not in yet");
	else if (opening_parse(&o, q, a)) {
		s = open_stream(q, &o, &e);
		if (!s)
			answer_problem(a, 400, "%s", e.text);
	}
	if (s) {
		answer_header(a, "Cache-Control", "no-store");
		answer_header(a, "X-Accel-Buffering", "no");
		answer_pieces(a, "text/event-stream", &ops, s, ANSWER_LENGTH_UNKNOWN);
	}
	filter_release(&o.filter);
}
