#include "subscriber.h"

#include <pthread.h>
#include <stdio.h>

#include "past.h"
#include "stats.h"

#define OUT_MAX  ((size_t)512 << 10) /* frames read ahead */
#define LINE_MAX 128
#define SLICE_MS 50  /* then others have their turn */
#define RETRY_MS 500 /* after what was not to be had */

struct subscriber {
	int refs; /* atomic: the transport's and the job's */
	struct feed *feed;
	struct principal *who;
	struct cursor_of_feed cursor;
	struct job job;

	pthread_mutex_t lock; /* everything below */
	bool gone;            /* freed by the transport */
	bool working;         /* the job is with the feed's threads */
	bool files_changed;   /* tails are to be looked at */
	struct mono resting;  /* until then the job is not run: something was not to be had */
	struct subscriptions all;
	int64_t revision;
	struct past *past;  /* what is to be read first */
	size_t behind;      /* pasts that have not been given out whole */
	struct frame **out; /* [out_at, n_out); NULL: the end of a past */
	size_t out_at, n_out, cap_out, out_bytes;
	size_t answers;      /* of out: the transport's own */
	struct frame **live; /* of the event that is being given out: [live_at, n_live) */
	size_t live_at, n_live;
	int64_t sent;        /* revision up to which everything was given out */
	struct mono taken;   /* when a frame was taken last, or there was none */
	bool catching_up;    /* its past was being read: not its fault if the ring went on */
	bool lagging, ended; /* its last frame is to be given out, or was */
};

/* ---- frames read ahead ----------------------------------------------------------------------- */

static void push(struct subscriber *s, struct frame *f)
{
	if (s->out_at && s->n_out == s->cap_out) {
		memmove(s->out, s->out + s->out_at, (s->n_out - s->out_at) * sizeof(*s->out));
		s->n_out -= s->out_at;
		s->out_at = 0;
	}
	if (s->n_out == s->cap_out) {
		s->cap_out = s->cap_out ? 2 * s->cap_out : 8;
		s->out = xrealloc(s->out, s->cap_out * sizeof(*s->out));
	}
	s->out[s->n_out++] = f;
	s->out_bytes += f ? f->len : 0;
}

/* Nothing comes after the last word. */
static void push_unless_lagging(struct subscriber *s, struct frame *f)
{
	if (s->lagging)
		frame_unref(f);
	else
		push(s, f);
}

static struct frame *shift(struct subscriber *s)
{
	struct frame *f = s->out[s->out_at++];

	s->out_bytes -= f ? f->len : 0;
	return f;
}

static void drop_live(struct subscriber *s)
{
	while (s->live_at < s->n_live)
		frame_unref(s->live[s->live_at++]);
	free(TAKE_PTR(s->live));
	s->live_at = s->n_live = 0;
}

static void drop_out(struct subscriber *s)
{
	while (s->out_at < s->n_out)
		frame_unref(shift(s));
}

static void cut_off(struct subscriber *s)
{
	char text[LINE_MAX];
	int n = snprintf(text, sizeof(text), "{\"lag\":{\"rev\":%lld}}", (long long)s->sent);

	drop_live(s);
	drop_out(s);
	push(s, frame_new(FRAME_LAG, s->sent, (struct slice){text, (size_t)n}));
	s->lagging = true;
	stats_add(STAT_FEED_LAGGED, 1);
}

void subscriber_say(struct subscriber *s, struct frame *f)
{
	pthread_mutex_lock(&s->lock);
	push_unless_lagging(s, f);
	if (++s->answers > ANSWERS_MAX && !s->lagging)
		cut_off(s);
	pthread_mutex_unlock(&s->lock);
}

/* ---- subscriptions --------------------------------------------------------------------------- */

/* What is still to be read for it alone. Not where others count on its having had that. */
static void cancel_pasts(struct subscriber *s, uint64_t number)
{
	bool counted_on = false;

	for (const struct past *p = s->past; p; p = p->next)
		counted_on |= past_leaves_out(p, number);
	for (struct past *p = s->past; p && !counted_on; p = p->next)
		p->cancelled |= p->of == number;
}

/* The job may be at its list of files: it is to look at all of them again. */
static void drop(struct subscriber *s, const struct subscription *x)
{
	cancel_pasts(s, x->number);
	subscriptions_remove(&s->all, x);
	s->files_changed |= s->all.n_tails > 0;
}

/* x is taken over. */
static int add(struct subscriber *s, struct subscription *x, struct err *e)
{
	const struct subscription *before = subscriptions_find(&s->all, x->id);

	if (before)
		drop(s, before);
	return subscriptions_add(&s->all, x, e);
}

int subscriber_remove(struct subscriber *s, const char *id)
{
	const struct subscription *x;

	pthread_mutex_lock(&s->lock);
	x = subscriptions_find(&s->all, id);
	if (x) {
		drop(s, x);
		subscriptions_select(&s->all, s->feed, s->who);
	}
	pthread_mutex_unlock(&s->lock);
	return x ? 0 : -ENOENT;
}

size_t subscriber_count(struct subscriber *s)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = s->all.n;
	pthread_mutex_unlock(&s->lock);
	return n;
}

int64_t subscriber_revision(struct subscriber *s)
{
	int64_t revision;

	pthread_mutex_lock(&s->lock);
	revision = s->revision;
	pthread_mutex_unlock(&s->lock);
	return revision;
}

/* ---- the past -------------------------------------------------------------------------------- */

/* What is sent counts from its start until all of it is. */
static struct past *add_past(struct subscriber *s, struct selector *selector, int64_t after,
			     int64_t upto)
{
	struct past *p = past_new(selector, after, upto), **end = &s->past;

	while (*end)
		end = &(*end)->next;
	*end = p;
	s->behind++;
	s->sent = MIN(s->sent, after);
	s->catching_up = true;
	return p;
}

static void replay(struct subscriber *s, const struct subscription *x)
{
	struct selector *own = feed_selector(s->feed, &x->filter, 1, s->who);
	struct past *p = add_past(s, own, x->since, s->revision);

	p->of = x->number;
	for (size_t i = 0; i < s->all.n; i++) {
		const struct subscription *o = &s->all.list[i];

		if (o->number == x->number || o->tail)
			continue;
		past_leave_out(p, o->number, feed_selector(s->feed, &o->filter, 1, s->who),
			       o->since);
	}
}

/* The ring has gone on without it. What is wanted may change on the way, where a since was ahead.
 */
static void catch_up(struct subscriber *s)
{
	int64_t at = s->revision, to;

	s->revision = feed_skip(s->feed, &s->cursor);
	for (; at < s->revision; at = to) {
		struct selector *x = subscriptions_at(&s->all, s->feed, s->who, at + 1);

		to = subscriptions_same_until(&s->all, at, s->revision);
		if (x)
			add_past(s, x, at, to);
	}
}

/* ---- the job --------------------------------------------------------------------------------- */

/* Under the lock. */
static bool has_room(const struct subscriber *s)
{
	return !s->gone && !s->lagging && s->out_bytes < OUT_MAX;
}

/* Under the lock. */
static void submit(struct subscriber *s)
{
	if (s->working || !has_room(s) || (!s->past && !s->files_changed) ||
	    mono_ms_until(s->resting))
		return;
	s->working = true;
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	feed_submit(s->feed, &s->job);
}

/* Under the lock. */
static void end_past(struct subscriber *s)
{
	struct past *p = s->past;

	s->past = p->next;
	past_free(p);
	push_unless_lagging(s, NULL);
}

/* Under the lock, which is let go meanwhile: only the job looks into the first past. */
static int work_on_past(struct subscriber *s)
{
	struct past *p = s->past;
	struct frame **frames = NULL;
	size_t n = 0;
	int r = 0;

	if (!p->cancelled) {
		pthread_mutex_unlock(&s->lock);
		r = past_next(p, feed_tree(s->feed), &frames, &n);
		pthread_mutex_lock(&s->lock);
	}
	for (size_t i = 0; i < n; i++)
		push_unless_lagging(s, frames[i]);
	free(frames);
	if (r == 0)
		end_past(s);
	return MIN(r, 0);
}

/* Under the lock, which is let go while a file is read. */
static int work_on_tail(struct subscriber *s, struct tail *t)
{
	struct frame *f = NULL;
	int r = 1;

	tail_ref(t);
	while (r == 1 && has_room(s)) {
		pthread_mutex_unlock(&s->lock);
		r = tail_next(t, feed_tree(s->feed), &f);
		pthread_mutex_lock(&s->lock);
		if (r == 1)
			push_unless_lagging(s, f);
	}
	s->files_changed |= r != 0;
	tail_unref(t);
	return MIN(r, 0);
}

static int work_on_tails(struct subscriber *s)
{
	int error = 0;

	s->files_changed = false;
	for (size_t i = 0; i < s->all.n; i++)
		if (s->all.list[i].tail)
			error = MIN(error, work_on_tail(s, s->all.list[i].tail));
	return error;
}

/* Under the lock. An error: something is not to be had now. */
static int work(struct subscriber *s)
{
	struct mono until = mono_in_ms(SLICE_MS);
	int r = 0;

	while (s->past && has_room(s) && mono_ms_until(until) && !r)
		r = work_on_past(s);
	if (!r && !s->past && s->files_changed && has_room(s))
		r = work_on_tails(s);
	return r;
}

static void unref(struct subscriber *s);

static void run(struct job *j)
{
	struct subscriber *s = container_of(j, struct subscriber, job);

	pthread_mutex_lock(&s->lock);
	if (work(s))
		s->resting = mono_in_ms(RETRY_MS);
	s->working = false;
	submit(s);
	pthread_mutex_unlock(&s->lock);
	feed_wake(s->feed, &s->cursor);
	unref(s);
}

/* ---- subscribing ----------------------------------------------------------------------------- */

static void set_id(struct subscription *x, const char *id)
{
	snprintf(x->id, sizeof(x->id), "%s", id);
}

int subscriber_add(struct subscriber *s, const char *id, struct filter *filter, int64_t since,
		   struct err *e)
{
	struct subscription x = {.filter = *filter};
	int r;

	*filter = (struct filter){0};
	set_id(&x, id);
	pthread_mutex_lock(&s->lock);
	x.since = since == SINCE_NOW ? s->revision : since;
	r = add(s, &x, e);
	if (!r && x.since < s->revision)
		replay(s, &s->all.list[s->all.n - 1]);
	subscriptions_select(&s->all, s->feed, s->who);
	submit(s);
	pthread_mutex_unlock(&s->lock);
	return r;
}

int subscriber_follow(struct subscriber *s, const char *id, const char *path, int64_t offset,
		      struct err *e)
{
	struct subscription x = {0};
	int r = tail_new(&x.tail, feed_tree(s->feed), path, offset, s->who, e);

	if (r)
		return r;
	set_id(&x, id);
	pthread_mutex_lock(&s->lock);
	r = add(s, &x, e);
	subscriptions_select(&s->all, s->feed, s->who);
	s->files_changed = true;
	submit(s);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* ---- giving out ------------------------------------------------------------------------------ */

/* The event's frames become those that are given out. */
static void take_event(struct subscriber *s, struct event *e)
{
	int64_t revision = event_revision(e);
	bool all = revision > s->all.all_since;
	struct selector *x =
		all ? s->all.selector : subscriptions_at(&s->all, s->feed, s->who, revision);

	drop_live(s);
	if (x)
		s->live = event_frames(e, x, NULL, 0, &s->n_live);
	if (!all)
		selector_unref(x);
	s->revision = revision;
	s->files_changed |= s->all.n_tails > 0;
	if (!s->n_live)
		s->sent = revision;
}

/* Events until one has a frame, or there is something else to be given out. False: there is nothing
 * now. */
static bool go_on(struct subscriber *s)
{
	struct event *e;

	while (s->live_at == s->n_live) {
		if (feed_next(s->feed, &s->cursor, &e)) {
			if (s->catching_up)
				catch_up(s);
			else
				cut_off(s);
			return true;
		}
		s->catching_up = false;
		if (!e)
			return false;
		take_event(s, e);
		event_unref(e);
	}
	return true;
}

/* NULL: it was the end of a past. */
static struct frame *take_out(struct subscriber *s)
{
	struct frame *f = shift(s);

	if (!f && --s->behind == 0)
		s->sent = s->live_at < s->n_live ? s->revision - 1 : s->revision;
	else if (f && (f->kind == FRAME_ERROR || f->kind == FRAME_REV))
		s->answers--;
	else if (f && f->kind == FRAME_ROWS && s->behind == 1)
		s->sent = f->revision - f->more;
	return f;
}

static struct frame *take_live(struct subscriber *s)
{
	struct frame *f = s->live[s->live_at++];

	if (s->live_at == s->n_live)
		s->sent = f->revision;
	return f;
}

/* Under the lock. */
static struct frame *next_frame(struct subscriber *s)
{
	struct frame *f = NULL;

	while (!f && !s->ended) {
		if (s->out_at < s->n_out)
			f = take_out(s);
		else if (s->past)
			return NULL;
		else if (s->live_at < s->n_live)
			f = take_live(s);
		else if (!go_on(s))
			return NULL;
		s->ended = f && f->kind == FRAME_LAG;
	}
	return f;
}

struct frame *subscriber_next(struct subscriber *s)
{
	struct frame *f;

	pthread_mutex_lock(&s->lock);
	f = next_frame(s);
	s->taken = mono_now();
	submit(s);
	pthread_mutex_unlock(&s->lock);
	return f;
}

bool subscriber_lags(struct subscriber *s)
{
	bool lags;

	pthread_mutex_lock(&s->lock);
	if (!s->lagging && mono_ms_since(s->taken) > FEED_AGE_MS &&
	    (s->out_at < s->n_out || s->live_at < s->n_live ||
	     (!s->past && feed_behind_ms(s->feed, &s->cursor))))
		cut_off(s);
	lags = s->lagging;
	pthread_mutex_unlock(&s->lock);
	return lags;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct subscriber *subscriber_new(struct feed *f, struct principal *who, void (*wake)(void *arg),
				  void *arg)
{
	struct subscriber *s = xcalloc(1, sizeof(*s));

	s->refs = 1;
	s->feed = f;
	s->who = who ? principal_ref(who) : NULL;
	s->job.run = run;
	s->cursor = (struct cursor_of_feed){.wake = wake, .arg = arg};
	subscriptions_init(&s->all);
	s->taken = mono_now();
	pthread_mutex_init(&s->lock, NULL);
	s->revision = s->sent = feed_join(f, &s->cursor);
	return s;
}

static void unref(struct subscriber *s)
{
	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	while (s->past) {
		struct past *p = s->past;

		s->past = p->next;
		past_free(p);
	}
	subscriptions_release(&s->all);
	drop_live(s);
	drop_out(s);
	free(s->out);
	principal_unref(s->who);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void subscriber_free(struct subscriber *s)
{
	if (!s)
		return;
	feed_leave(s->feed, &s->cursor);
	pthread_mutex_lock(&s->lock);
	s->gone = true;
	pthread_mutex_unlock(&s->lock);
	unref(s);
}
