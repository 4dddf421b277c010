#include "subscriber.h"

#include <pthread.h>
#include <stdio.h>

#include "extents.h"
#include "tail.h"

#define OUT_MAX  ((size_t)512 << 10) /* frames read ahead */
#define LINE_MAX 1024

struct subscription {
	char id[SUBSCRIPTION_ID_MAX + 1];
	struct filter filter;
	int64_t since;     /* rows after it are its own */
	struct tail *tail; /* a file that is followed; filter is not used then */
};

/* A stretch of revisions to be read from the store. */
struct past {
	struct selector *selector;
	/* Other subscriptions: what they want of rows after their since was given out. */
	struct {
		struct selector *selector;
		int64_t since;
	} had[SUBSCRIPTIONS_MAX];
	size_t n_had;
	int64_t after, upto;
	bool listed; /* extents hold (after, listed_upto] */
	int64_t listed_upto;
	struct extents extents;
	struct past *next;
};

struct subscriber {
	int refs; /* atomic: the transport's and the job's */
	struct feed *feed;
	struct pool *pool;
	struct principal *who;
	struct cursor_of_feed cursor;
	struct job job;

	pthread_mutex_t lock; /* everything below */
	bool gone;            /* freed by the transport */
	bool working;         /* the job is with the pool */
	bool files_changed;   /* tails are to be looked at */
	struct subscription *list;
	size_t n, n_tails;
	struct selector *selector; /* of all subscriptions; NULL: of none */
	int64_t all_since;         /* the greatest since of them: above it selector holds */
	int64_t revision;
	struct past *past;  /* what is to be read first */
	struct frame **out; /* [out_at, n_out) */
	size_t out_at, n_out, cap_out, out_bytes;
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
	if (s->n_out == s->cap_out) {
		memmove(s->out, s->out + s->out_at, (s->n_out - s->out_at) * sizeof(*s->out));
		s->n_out -= s->out_at;
		s->out_at = 0;
	}
	if (s->n_out == s->cap_out) {
		s->cap_out = s->cap_out ? 2 * s->cap_out : 8;
		s->out = xrealloc(s->out, s->cap_out * sizeof(*s->out));
	}
	s->out[s->n_out++] = f;
	s->out_bytes += f->len;
}

static struct frame *shift(struct subscriber *s)
{
	struct frame *f = s->out[s->out_at++];

	s->out_bytes -= f->len;
	return f;
}

void subscriber_say(struct subscriber *s, struct frame *f)
{
	pthread_mutex_lock(&s->lock);
	push(s, f);
	pthread_mutex_unlock(&s->lock);
}

/* ---- subscriptions --------------------------------------------------------------------------- */

static struct selector *select_after(struct subscriber *s, int64_t revision, size_t but)
{
	struct filter *filters = xcalloc(s->n + 1, sizeof(*filters));
	struct selector *selector = NULL;
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		if (i != but && !s->list[i].tail && s->list[i].since < revision)
			filters[n++] = s->list[i].filter;
	if (n)
		selector = feed_selector(s->feed, filters, n, s->who);
	free(filters);
	return selector;
}

static void drop_selector(struct selector *x)
{
	if (x)
		__atomic_sub_fetch(&x->users, 1, __ATOMIC_RELAXED);
	selector_unref(x);
}

/* After the list of subscriptions has changed. */
static void select_again(struct subscriber *s)
{
	struct selector *before = s->selector;

	s->all_since = INT64_MIN;
	for (size_t i = 0; i < s->n; i++)
		if (!s->list[i].tail)
			s->all_since = MAX(s->all_since, s->list[i].since);
	s->selector = select_after(s, INT64_MAX, SIZE_MAX);
	if (s->selector)
		__atomic_add_fetch(&s->selector->users, 1, __ATOMIC_RELAXED);
	drop_selector(before);
}

static void subscription_release(struct subscription *x)
{
	filter_release(&x->filter);
	tail_unref(x->tail);
}

static int find(const struct subscriber *s, const char *id, size_t *ret)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->list[i].id, id) == 0) {
			*ret = i;
			return 0;
		}
	return -ENOENT;
}

static void remove_at(struct subscriber *s, size_t i)
{
	s->n_tails -= s->list[i].tail != NULL;
	subscription_release(&s->list[i]);
	memmove(&s->list[i], &s->list[i + 1], (s->n - i - 1) * sizeof(*s->list));
	s->n--;
}

/* x is taken over. */
static int add(struct subscriber *s, struct subscription *x, struct err *e)
{
	size_t i;

	if (find(s, x->id, &i) == 0)
		remove_at(s, i);
	if (s->n == SUBSCRIPTIONS_MAX) {
		subscription_release(x);
		return err_set(e, -E2BIG, "more than %d subscriptions", SUBSCRIPTIONS_MAX);
	}
	s->list = xrealloc(s->list, (s->n + 1) * sizeof(*s->list));
	s->list[s->n++] = *x;
	s->n_tails += x->tail != NULL;
	return 0;
}

int subscriber_remove(struct subscriber *s, const char *id)
{
	size_t i;
	int r;

	pthread_mutex_lock(&s->lock);
	r = find(s, id, &i);
	if (!r) {
		remove_at(s, i);
		select_again(s);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

size_t subscriber_count(struct subscriber *s)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = s->n;
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

static struct past *add_past(struct subscriber *s, struct selector *selector, int64_t after,
			     int64_t upto)
{
	struct past *p = xcalloc(1, sizeof(*p)), **end = &s->past;

	p->selector = selector;
	p->after = after;
	p->upto = upto;
	while (*end)
		end = &(*end)->next;
	*end = p;
	s->catching_up = true;
	return p;
}

static void past_free(struct past *p)
{
	selector_unref(p->selector);
	for (size_t i = 0; i < p->n_had; i++)
		selector_unref(p->had[i].selector);
	extents_release(&p->extents);
	free(p);
}

static void submit(struct subscriber *s)
{
	if (s->working || s->gone || s->out_bytes >= OUT_MAX || (!s->past && !s->files_changed))
		return;
	s->working = true;
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	pool_submit(s->pool, &s->job);
}

static int add_gpu(const struct query_gpu *g, void *arg)
{
	struct past *p = arg;

	if (selector_wants_gpu(p->selector, g->host, g->id->host, g->id->gpu))
		extents_add_gpu(&p->extents, g->host, g->gpu);
	return 0;
}

static struct frame *gap_frame(int64_t from, int64_t to)
{
	char text[LINE_MAX];
	int n = snprintf(text, sizeof(text), "{\"gap\":{\"from\":%lld,\"to\":%lld}}",
			 (long long)from, (long long)to);

	return frame_new(FRAME_GAP, to, (struct slice){text, (size_t)n});
}

/* What is no longer told apart is a gap; what came after it is left. */
static void note_gap(struct subscriber *s, struct past *p)
{
	int64_t to = MIN(p->extents.floor, p->listed_upto);

	if (p->extents.floor <= p->after)
		return;
	pthread_mutex_lock(&s->lock);
	push(s, gap_frame(p->after, to));
	pthread_mutex_unlock(&s->lock);
	while (p->extents.at < p->extents.n && p->extents.list[p->extents.at].x.revision <= to)
		p->extents.at++;
}

static int list_past(struct subscriber *s, struct past *p)
{
	struct tree *t = feed_tree(s->feed);
	int r;

	extents_release(&p->extents);
	r = query_gpus(t, NULL, add_gpu, p, NULL);
	p->listed_upto = p->upto;
	if (!r)
		r = extents_list(&p->extents, t, p->after, &p->listed_upto);
	if (r)
		return r;
	p->listed = true;
	note_gap(s, p);
	return 0;
}

static void push_event(struct subscriber *s, struct past *p, struct event *e)
{
	struct selector *but[SUBSCRIPTIONS_MAX];
	struct frame **frames;
	size_t n, n_but = 0;

	for (size_t i = 0; i < p->n_had; i++)
		if (p->had[i].since < event_revision(e))
			but[n_but++] = p->had[i].selector;
	frames = event_frames(e, p->selector, but, n_but, &n);
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < n; i++)
		push(s, frames[i]);
	pthread_mutex_unlock(&s->lock);
	free(frames);
}

/* One commit of the past, or the step to the next stretch. 1: there is more, 0: this past is over.
 */
static int read_past(struct subscriber *s, struct past *p)
{
	struct event *e;
	int r;

	if (!p->listed)
		return (r = list_past(s, p)) ? r : 1;
	r = extents_next(&p->extents, feed_tree(s->feed), p->selector, &e);
	if (r == 1) {
		push_event(s, p, e);
		event_unref(e);
	}
	if (r)
		return r;
	p->after = p->listed_upto;
	p->listed = false;
	return p->after < p->upto;
}

/* ---- the job --------------------------------------------------------------------------------- */

/* Under the lock. */
static bool has_room(const struct subscriber *s)
{
	return !s->gone && s->out_bytes < OUT_MAX;
}

/* Under the lock, which is let go meanwhile: only the job looks into the first past. */
static int work_on_past(struct subscriber *s)
{
	struct past *p = s->past;
	int r;

	pthread_mutex_unlock(&s->lock);
	r = read_past(s, p);
	pthread_mutex_lock(&s->lock);
	if (r == 0) {
		s->past = p->next;
		past_free(p);
	}
	return MIN(r, 0);
}

/* Under the lock, which is let go while a file is read. False: not to be had now. */
static bool work_on_tail(struct subscriber *s, struct tail *t)
{
	struct frame *f = NULL;
	int r = 1;

	tail_ref(t);
	while (r == 1 && has_room(s)) {
		pthread_mutex_unlock(&s->lock);
		r = tail_next(t, feed_tree(s->feed), &f);
		pthread_mutex_lock(&s->lock);
		if (r == 1)
			push(s, f);
	}
	tail_unref(t);
	return r == 0;
}

static void work_on_tails(struct subscriber *s)
{
	bool done = true;

	s->files_changed = false;
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].tail && !work_on_tail(s, s->list[i].tail))
			done = false;
	if (!done)
		s->files_changed = true;
}

static void work(struct subscriber *s)
{
	while (s->past && has_room(s))
		if (work_on_past(s))
			return;
	if (s->files_changed && has_room(s))
		work_on_tails(s);
}

static void unref(struct subscriber *s);

static void run(struct job *j)
{
	struct subscriber *s = container_of(j, struct subscriber, job);

	pthread_mutex_lock(&s->lock);
	work(s);
	s->working = false;
	pthread_mutex_unlock(&s->lock);
	feed_wake(s->feed, &s->cursor);
	unref(s);
}

/* ---- subscribing ----------------------------------------------------------------------------- */

static void replay(struct subscriber *s, const struct subscription *x)
{
	struct selector *own = feed_selector(s->feed, &x->filter, 1, s->who);
	struct past *p = add_past(s, own, x->since, s->revision);

	for (size_t i = 0; i < s->n; i++) {
		const struct subscription *o = &s->list[i];

		if (strcmp(o->id, x->id) == 0 || o->tail)
			continue;
		p->had[p->n_had].selector = feed_selector(s->feed, &o->filter, 1, s->who);
		p->had[p->n_had++].since = o->since;
	}
}

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
		replay(s, &s->list[s->n - 1]);
	select_again(s);
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
	select_again(s);
	s->files_changed = true;
	submit(s);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* ---- giving out ------------------------------------------------------------------------------ */

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
}

/* The event's frames become those that are given out. */
static void take_event(struct subscriber *s, struct event *e)
{
	int64_t revision = event_revision(e);
	bool all = revision > s->all_since;
	struct selector *x = all ? s->selector : select_after(s, revision, SIZE_MAX);

	drop_live(s);
	if (x)
		s->live = event_frames(e, x, NULL, 0, &s->n_live);
	if (!all)
		selector_unref(x);
	s->revision = revision;
	s->files_changed |= s->n_tails > 0;
	if (!s->n_live)
		s->sent = revision;
}

/* Events until one has a frame. False: there is none now. */
static bool go_on(struct subscriber *s)
{
	struct event *e;
	int r;

	while (s->live_at == s->n_live) {
		r = feed_next(s->feed, &s->cursor, &e);
		if (r && !s->catching_up) {
			cut_off(s);
			return false;
		}
		if (r) {
			int64_t from = s->revision;

			s->revision = feed_skip(s->feed, &s->cursor);
			if (s->selector)
				add_past(s, selector_ref(s->selector), from, s->revision);
			return false;
		}
		s->catching_up = false;
		if (!e)
			return false;
		take_event(s, e);
		event_unref(e);
	}
	return true;
}

/* Under the lock. */
static struct frame *next_frame(struct subscriber *s)
{
	if (s->ended)
		return NULL;
	if (s->out_at == s->n_out && !s->past && !go_on(s) && s->out_at == s->n_out)
		return NULL;
	if (s->out_at < s->n_out)
		return shift(s);
	return s->past ? NULL : s->live[s->live_at++];
}

struct frame *subscriber_next(struct subscriber *s)
{
	struct frame *f;

	pthread_mutex_lock(&s->lock);
	f = next_frame(s);
	s->taken = mono_now();
	if (f && f->kind == FRAME_ROWS && !f->more)
		s->sent = f->revision;
	if (f && f->kind == FRAME_LAG)
		s->ended = true;
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

struct subscriber *subscriber_new(struct feed *f, struct pool *pool, struct principal *who,
				  void (*wake)(void *arg), void *arg)
{
	struct subscriber *s = xcalloc(1, sizeof(*s));

	s->refs = 1;
	s->feed = f;
	s->pool = pool;
	s->who = who ? principal_ref(who) : NULL;
	s->job.run = run;
	s->cursor = (struct cursor_of_feed){.wake = wake, .arg = arg};
	s->all_since = INT64_MIN;
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
	while (s->n)
		remove_at(s, s->n - 1);
	free(s->list);
	drop_live(s);
	drop_out(s);
	free(s->out);
	drop_selector(s->selector);
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
