#include "lane.h"

#include <pthread.h>
#include <stdio.h>

#include "daemon.h"
#include "log.h"
#include "publisher.h"

#define WINDOW_ENOUGH                                                                              \
	((size_t)8 << 20) /* bytes of values after which no further body is taken in */

#define SERIES_KEPT 100000 /* that a parser may remember from one window to the next */

enum { PARSERS = 3 }; /* formats at most */

struct parser {
	const struct push_format *format;
	void *state;
};

struct lane {
	struct lane_conf conf;
	char name[160];
	pthread_t thread;
	/* Of the thread: */
	struct publisher publisher;
	bool is_open;
	struct parser parsers[PARSERS];
	struct window window;
	struct push *taken, **taken_tail; /* whose rows are in the window */

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t wake;
	struct push *first, **tail;
	size_t waiting;
	bool stop;
};

/* ---- the publisher --------------------------------------------------------------------------- */

/* Who may go was decided when the request was taken; its rows go together. */
static int admit(int64_t rows, void *arg)
{
	throttle_spend(((struct lane *)arg)->conf.throttle, rows);
	return 0;
}

static double rate(void *arg)
{
	return throttle_rate(((struct lane *)arg)->conf.throttle);
}

static void accepted(const struct message *m, void *arg)
{
	throttle_published(((struct lane *)arg)->conf.throttle, m->bytes);
}

static struct producer new_source(const char *name)
{
	struct producer p = {.line = 1, .throttle_rate = 1};
	uint8_t id[16];

	random_bytes(id, sizeof(id));
	hex(id, sizeof(id), p.source);
	snprintf(p.name, sizeof(p.name), "%s", name);
	return p;
}

static int ensure_publisher(struct lane *l, struct err *e)
{
	const struct conf *c = l->conf.conf;
	struct publisher_conf conf = {
		.etcd = l->conf.etcd,
		.streamer_id = c->service_id,
		.batch_size = BATCH_ROWS_MAX,
		.mq_batch_size = c->mq_batch_size,
		.session_ttl_s = MAX(c->mq_processing_timeout / 1000, 1),
		.dedup_ttl_s = MAX(c->mq_dedup_ttl / 1000, 1),
		.message_ttl_ms = c->mq_message_ttl,
		.admit = admit,
		.rate = rate,
		.accepted = accepted,
		.arg = l,
	};
	struct producer record = new_source(l->name);
	int r;

	if (l->is_open)
		return 0;
	throttle_await_look(l->conf.throttle);
	r = publisher_open(&l->publisher, &conf, &record, e);
	l->is_open = !r;
	return r;
}

/* After a failure nobody can tell what its record says: the next push begins another source. */
static void drop_publisher(struct lane *l)
{
	if (l->is_open)
		publisher_close(&l->publisher);
	l->is_open = false;
}

/* ---- taking in ------------------------------------------------------------------------------- */

static void finish(struct lane *l, struct push *p, int error, const struct err *why)
{
	p->error = error;
	if (error)
		p->why = *why;
	l->conf.count(p, l->conf.arg);
	p->done(p); /* p is gone from here on */
}

static struct parser *parser_of(struct lane *l, const struct push_format *format)
{
	for (size_t i = 0; i < PARSERS; i++) {
		struct parser *p = &l->parsers[i];

		if (!p->format)
			*p = (struct parser){format, format->parser_new()};
		if (p->format == format)
			return p;
	}
	return NULL;
}

/* The receipt of a push whose content is known now. 0: there is something to do. -EALREADY: it was
 * done; -EEXIST: the key is that of another request. */
static int look_at_receipt(struct lane *l, struct push *p, struct slice plain, struct err *e)
{
	struct receipt *rc = &p->receipt, fresh = {.batch_size = l->publisher.batch_size,
						   .segment_s = l->publisher.segment_s};
	uint8_t sha[SHA256_LEN];
	int r;

	sha256(plain.p, plain.len, sha);
	hex(sha, sizeof(sha), fresh.content);
	memcpy(fresh.id, rc->id, sizeof(fresh.id));
	r = receipt_read(l->conf.etcd, rc, e);
	if (r == -ENOENT) {
		*rc = fresh;
		return 0;
	}
	if (!r && strcmp(rc->content, fresh.content) != 0)
		r = err_set(e, -EEXIST,
			    "the Idempotency-Key was used for a request with another body");
	p->replayed = !r && rc->complete;
	if (!r && !p->replayed)
		receipt_resume(rc);
	return r;
}

static int unpack(const struct push *p, struct strbuf *room, struct slice *ret, struct err *e)
{
	struct slice sent = {p->body->s, p->body->len};
	int r = 0;

	*ret = sent;
	if (!p->unpack)
		return 0;
	r = p->unpack(sent, room);
	if (!r)
		*ret = (struct slice){room->s, room->len};
	return r == -EMSGSIZE
		       ? err_set(e, r, "the body takes more than %zu bytes unpacked", PUSH_BODY_MAX)
	       : r ? err_set(e, -EBADMSG, "the body is not packed as Content-Encoding says")
		   : 0;
}

/* Parses it into the window, behind what is there. -ENOBUFS: it needs an empty table of series. */
static int parse(struct lane *l, struct push *p, struct slice plain, struct err *e)
{
	struct parser *parser = parser_of(l, p->format);
	struct window *w = &l->window;
	size_t before = w->n;
	int r;

	push_restart(p);
	r = p->format->parse(parser->state, p, plain, w, e);
	if (!r)
		r = w->text.err;
	if (r == -ENOBUFS && !before) {
		window_truncate(w, 0);
		p->format->forget(parser->state);
		push_restart(p);
		r = p->format->parse(parser->state, p, plain, w, e);
	}
	if (r)
		window_truncate(w, before);
	w->end += (int64_t)MAX(plain.len, 1);
	return r == -ENOBUFS && !before ? err_set(e, -EMSGSIZE, "the body has too many series") : r;
}

/* 0: its rows are in the window. */
static int take_in(struct lane *l, struct push *p, struct err *e)
{
	struct strbuf room;
	struct slice plain = {0};
	int r = 0;

	strbuf_init(&room, PUSH_BODY_MAX);
	p->retry_ms = throttle_wait_ms(l->conf.throttle);
	if (p->retry_ms)
		r = err_set(e, -EAGAIN, "too many messages wait in the queue");
	if (!r)
		r = unpack(p, &room, &plain, e);
	if (!r && p->once)
		r = look_at_receipt(l, p, plain, e);
	if (!r)
		r = parse(l, p, plain, e);
	strbuf_release(&room);
	return r;
}

/* Once no row refers to them. */
static void forget_many(struct lane *l)
{
	if (l->window.series <= SERIES_KEPT)
		return;
	for (size_t i = 0; i < PARSERS; i++)
		if (l->parsers[i].format)
			l->parsers[i].format->forget(l->parsers[i].state);
}

static void keep_taken(struct lane *l, struct push *p)
{
	p->next = NULL;
	*l->taken_tail = p;
	l->taken_tail = &p->next;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static int publish(struct lane *l, struct err *e)
{
	struct push *only = l->taken;

	if (only->once && !only->replayed && l->window.n)
		return publisher_request(&l->publisher, &l->window, &only->receipt, e);
	return l->window.n && !only->once ? publisher_window(&l->publisher, &l->window, e) : 0;
}

/* Its messages have the trace id of their request; where several share them, that of the first. */
static void pass_trace(struct lane *l)
{
	const struct push *first = l->taken;

	publisher_set_trace(&l->publisher, first->trace);
	for (const struct push *p = first->next; p; p = p->next)
		log_debug("%s: the rows of trace %s go with those of trace %s", l->name, p->trace,
			  first->trace);
}

static void note_result(struct push *p, int64_t messages)
{
	p->published = p->once ? p->receipt.published : push_good(p);
	p->duplicate = p->once ? p->receipt.duplicate : 0;
	p->messages = p->once ? p->receipt.messages : push_good(p) ? messages : 0;
}

/* Answers all whose rows are in the window. */
static void settle(struct lane *l, int r, const struct err *e)
{
	int64_t messages = l->is_open ? (int64_t)l->publisher.grouping.n : 0;
	struct push *p = l->taken, *next;

	l->taken = NULL;
	l->taken_tail = &l->taken;
	for (; p; p = next) {
		next = p->next;
		if (!r)
			note_result(p, messages);
		finish(l, p, r, e);
	}
}

static void publish_taken(struct lane *l)
{
	struct err e = {""};
	int r;

	if (!l->taken)
		return;
	pass_trace(l);
	r = publish(l, &e);
	if (r && r != -EALREADY) {
		log_warn("%s: %s", l->name, e.text);
		drop_publisher(l);
	}
	settle(l, r, &e);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static struct push *peek(struct lane *l, bool wait)
{
	struct push *p;

	pthread_mutex_lock(&l->lock);
	while (wait && !l->first && !l->stop)
		pthread_cond_wait(&l->wake, &l->lock);
	p = l->first;
	pthread_mutex_unlock(&l->lock);
	return p;
}

/* Only this thread takes the first one away. */
static void pop(struct lane *l)
{
	pthread_mutex_lock(&l->lock);
	l->first = l->first->next;
	if (!l->first)
		l->tail = &l->first;
	l->waiting--;
	pthread_mutex_unlock(&l->lock);
}

/* Whether p may share the window with what is in it. */
static bool fits(const struct lane *l, const struct push *p)
{
	const struct push *there = l->taken;

	if (!there)
		return true;
	return !there->once && !p->once && p->format->mixes && there->format == p->format &&
	       l->window.text.len < WINDOW_ENOUGH && !window_full(&l->window, WINDOW_ROWS);
}

/* False: it needs a window of its own. */
static bool take(struct lane *l, struct push *p)
{
	struct err e = {""};
	int r = ensure_publisher(l, &e);

	if (!r)
		r = take_in(l, p, &e);
	if (r == -ENOBUFS && l->taken)
		return false;
	pop(l);
	if (r)
		finish(l, p, r, &e);
	else
		keep_taken(l, p);
	return true;
}

static void *run(void *arg)
{
	struct lane *l = arg;
	struct push *p;

	while ((p = peek(l, true))) {
		window_begin(&l->window, l->is_open ? l->publisher.record.offset : 0, 1);
		while (p && fits(l, p) && take(l, p))
			p = peek(l, false);
		publish_taken(l);
		forget_many(l);
	}
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct lane *lane_start(const struct lane_conf *conf)
{
	struct lane *l = xcalloc(1, sizeof(*l));

	l->conf = *conf;
	snprintf(l->name, sizeof(l->name), "%s", conf->name);
	l->tail = &l->first;
	l->taken_tail = &l->taken;
	window_init(&l->window);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->wake, NULL);
	if (pthread_create(&l->thread, NULL, run, l) == 0) {
		pthread_setname_np(l->thread, "lane");
		return l;
	}
	window_release(&l->window);
	free(l);
	return NULL;
}

int lane_submit(struct lane *l, struct push *p)
{
	int r = -EBUSY;

	p->next = NULL;
	pthread_mutex_lock(&l->lock);
	if (l->waiting < LANE_WAITING_MAX) {
		*l->tail = p;
		l->tail = &p->next;
		l->waiting++;
		r = 0;
		pthread_cond_signal(&l->wake);
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

size_t lane_waiting(struct lane *l)
{
	size_t n;

	pthread_mutex_lock(&l->lock);
	n = l->waiting;
	pthread_mutex_unlock(&l->lock);
	return n;
}

void lane_stop(struct lane *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	drop_publisher(l);
	for (size_t i = 0; i < PARSERS; i++)
		if (l->parsers[i].format)
			l->parsers[i].format->parser_free(l->parsers[i].state);
	window_release(&l->window);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
