#include "feed.h"

#include <pthread.h>
#include <unistd.h>

#include "extents.h"
#include "log.h"
#include "map.h"

#define RING     4096   /* events */
#define THREADS  2      /* for the past of subscribers; the present goes before it */
#define RETRY_US 200000 /* rows of a commit that were not to be had */

struct feed {
	struct tree *tree;
	pthread_t thread;
	struct pool *pool;
	struct mono ticked; /* the thread's */

	pthread_mutex_t changed_lock; /* what the tree has told */
	pthread_cond_t changed;
	struct map gpus; /* "host/gpu" → itself; their commits up to revision are not read yet */
	int64_t revision;
	bool over, stop;

	pthread_mutex_t subscribers_lock;
	struct cursor_of_feed *subscribers;

	pthread_mutex_t ring_lock;
	struct event *ring[RING]; /* [first, next), by seq */
	uint64_t first, next;
	size_t bytes;
	int64_t read_rev; /* all commits up to it are in the ring, or were */
	size_t n_subscribers;
	struct map selectors; /* canonical text → a reference */
	uint64_t events;      /* ever */
};

/* ---- the ring -------------------------------------------------------------------------------- */

/* Under the ring's lock. */
static void drop_first(struct feed *f)
{
	struct event **e = &f->ring[f->first++ % RING];

	f->bytes -= event_bytes(*e);
	event_unref(*e);
	*e = NULL;
}

/* Under the ring's lock: the oldest event that a subscriber still needs. */
static bool is_in_the_way(const struct feed *f, uint64_t needed)
{
	const struct event *oldest = f->ring[f->first % RING];

	return f->first < needed || f->next - f->first == RING || f->bytes > FEED_BYTES ||
	       mono_ms_since(event_made(oldest)) > FEED_AGE_MS;
}

/* Under the subscribers' lock. */
static void trim(struct feed *f)
{
	uint64_t needed;

	pthread_mutex_lock(&f->ring_lock);
	needed = f->next;
	for (struct cursor_of_feed *c = f->subscribers; c; c = c->next)
		needed = MIN(needed, c->seq);
	while (f->first < f->next && is_in_the_way(f, needed))
		drop_first(f);
	pthread_mutex_unlock(&f->ring_lock);
}

static void put(struct feed *f, struct event *e)
{
	pthread_mutex_lock(&f->ring_lock);
	if (f->next - f->first == RING)
		drop_first(f);
	f->ring[f->next++ % RING] = e;
	f->bytes += event_bytes(e);
	f->read_rev = event_revision(e);
	f->events++;
	pthread_mutex_unlock(&f->ring_lock);
}

static void advance(struct feed *f, int64_t revision)
{
	pthread_mutex_lock(&f->ring_lock);
	f->read_rev = MAX(f->read_rev, revision);
	pthread_mutex_unlock(&f->ring_lock);
}

static int64_t read_revision(struct feed *f)
{
	int64_t revision;

	pthread_mutex_lock(&f->ring_lock);
	revision = f->read_rev;
	pthread_mutex_unlock(&f->ring_lock);
	return revision;
}

/* In one step, so that who joins meanwhile is told the right revision. */
static bool skip_unless_wanted(struct feed *f, int64_t upto)
{
	bool wanted;

	pthread_mutex_lock(&f->ring_lock);
	wanted = f->n_subscribers > 0;
	if (!wanted)
		f->read_rev = MAX(f->read_rev, upto);
	pthread_mutex_unlock(&f->ring_lock);
	return !wanted;
}

static void wake_all(struct feed *f)
{
	pthread_mutex_lock(&f->subscribers_lock);
	trim(f);
	for (struct cursor_of_feed *c = f->subscribers, *next; c; c = next) {
		next = c->next;
		c->wake(c->arg);
	}
	pthread_mutex_unlock(&f->subscribers_lock);
}

/* ---- from the tree --------------------------------------------------------------------------- */

static void on_changes(int64_t revision, const struct change *c, size_t n, void *arg)
{
	struct feed *f = arg;
	char key[2 * NAME_MAX_ENCODED + 2];

	pthread_mutex_lock(&f->changed_lock);
	if (!f->revision)
		advance(f, revision); /* the first list: what it holds has been there */
	f->revision = MAX(f->revision, revision);
	for (size_t i = 0; i < n; i++) {
		size_t host = strlen(c[i].host), gpu = c[i].gpu ? strlen(c[i].gpu) : 0;

		if (!gpu)
			continue; /* a host: its GPUs are told as well */
		memcpy(key, c[i].host, host);
		key[host] = '/';
		memcpy(key + host + 1, c[i].gpu, gpu + 1);
		map_put(&f->gpus, key, host + 1 + gpu, f);
	}
	pthread_cond_signal(&f->changed);
	pthread_mutex_unlock(&f->changed_lock);
}

/* ---- now and then -------------------------------------------------------------------------------
 */

/* Those that only the table holds. */
static void sweep_selectors(struct feed *f)
{
	pthread_mutex_lock(&f->ring_lock);
	map_each (&f->selectors, i) {
		struct map_entry *e = &f->selectors.entries[i];
		struct selector *s = e->value;

		if (__atomic_load_n(&s->refs, __ATOMIC_ACQUIRE) == 1)
			selector_unref(map_remove(&f->selectors, e->key, e->key_len));
	}
	pthread_mutex_unlock(&f->ring_lock);
}

static void tick(struct feed *f)
{
	if (mono_ms_since(f->ticked) < FEED_TICK_MS)
		return;
	f->ticked = mono_now();
	sweep_selectors(f);
	wake_all(f);
}

/* ---- reading commits ------------------------------------------------------------------------- */

static bool is_stopping(struct feed *f)
{
	bool stop;

	pthread_mutex_lock(&f->changed_lock);
	stop = f->stop;
	pthread_mutex_unlock(&f->changed_lock);
	return stop;
}

static void pause_for(struct feed *f, int error)
{
	log_debug("feed: rows of a commit are not to be had: %s", strerror(-error));
	usleep(RETRY_US);
	tick(f);
}

/* Rows that are not to be had now are to be had later: nothing may be left out. */
static void put_events(struct feed *f, struct extents *l)
{
	struct event *e;
	int r;

	while (!is_stopping(f) && (r = extents_next(l, f->tree, NULL, &e))) {
		if (r == 1) {
			put(f, e);
			wake_all(f);
		} else {
			pause_for(f, r);
		}
	}
}

static void read_commits(struct feed *f, struct extents *l, int64_t upto)
{
	int64_t at;

	while ((at = read_revision(f)) < upto && !is_stopping(f)) {
		int64_t to = upto;
		int r;

		if (skip_unless_wanted(f, upto))
			return;
		r = extents_list(l, f->tree, at, &to);
		if (r) {
			pause_for(f, r);
		} else {
			put_events(f, l);
			advance(f, to);
		}
	}
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* Waits for commits, at most a tick. What has changed is moved into l. */
static int64_t await_commits(struct feed *f, struct extents *l)
{
	struct timespec until;
	int64_t revision, read = read_revision(f);

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += FEED_TICK_MS / 1000;
	pthread_mutex_lock(&f->changed_lock);
	if (!f->stop && f->revision <= read)
		pthread_cond_timedwait(&f->changed, &f->changed_lock, &until);
	for (uint32_t i = 0; i < f->gpus.count; i++) {
		char *host = f->gpus.entries[i].key, *slash = strchr(host, '/');

		*slash = '\0';
		extents_add_gpu(l, host, slash + 1);
	}
	map_release(&f->gpus);
	revision = f->revision;
	pthread_mutex_unlock(&f->changed_lock);
	return revision;
}

static void *run(void *arg)
{
	struct feed *f = arg;

	f->ticked = mono_now();
	while (!is_stopping(f)) {
		struct extents l = {0};
		int64_t upto = await_commits(f, &l);

		read_commits(f, &l, upto);
		extents_release(&l);
		tick(f);
	}
	return NULL;
}

/* What the tree shows already is not told. Nobody has joined yet. */
static void begin(struct feed *f)
{
	int64_t revision;

	tree_watch(f->tree, on_changes, f);
	revision = tree_revision(f->tree);
	pthread_mutex_lock(&f->changed_lock);
	f->revision = MAX(f->revision, revision);
	pthread_mutex_unlock(&f->changed_lock);
	advance(f, revision);
}

struct feed *feed_start(struct tree *tree)
{
	struct feed *f = xcalloc(1, sizeof(*f));

	f->tree = tree;
	pthread_mutex_init(&f->changed_lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	pthread_mutex_init(&f->subscribers_lock, NULL);
	pthread_mutex_init(&f->ring_lock, NULL);
	f->pool = pool_start(THREADS);
	if (!f->pool || pthread_create(&f->thread, NULL, run, f)) {
		pool_stop(f->pool);
		feed_free(f);
		return NULL;
	}
	pthread_setname_np(f->thread, "feed");
	begin(f);
	return f;
}

void feed_end(struct feed *f)
{
	pthread_mutex_lock(&f->changed_lock);
	f->over = true;
	pthread_mutex_unlock(&f->changed_lock);
	wake_all(f);
}

struct tree *feed_tree(struct feed *f)
{
	return f->tree;
}

void feed_submit(struct feed *f, struct job *j)
{
	pool_submit(f->pool, j);
}

bool feed_is_over(struct feed *f)
{
	bool over;

	pthread_mutex_lock(&f->changed_lock);
	over = f->over;
	pthread_mutex_unlock(&f->changed_lock);
	return over;
}

void feed_stop(struct feed *f)
{
	if (!f)
		return;
	pool_stop(f->pool);
	pthread_mutex_lock(&f->changed_lock);
	f->stop = true;
	pthread_cond_signal(&f->changed);
	pthread_mutex_unlock(&f->changed_lock);
	pthread_join(f->thread, NULL);
	/* The tree may go on telling until it is freed; see feed_free. */
}

void feed_free(struct feed *f)
{
	if (!f)
		return;
	while (f->first < f->next)
		drop_first(f);
	map_each (&f->selectors, i)
		selector_unref(f->selectors.entries[i].value);
	map_release(&f->selectors);
	map_release(&f->gpus);
	pthread_mutex_destroy(&f->ring_lock);
	pthread_mutex_destroy(&f->subscribers_lock);
	pthread_mutex_destroy(&f->changed_lock);
	pthread_cond_destroy(&f->changed);
	free(f);
}

/* ---- subscribers ----------------------------------------------------------------------------- */

int64_t feed_join(struct feed *f, struct cursor_of_feed *c)
{
	int64_t revision;

	pthread_mutex_lock(&f->subscribers_lock);
	c->prev = NULL;
	c->next = f->subscribers;
	if (c->next)
		c->next->prev = c;
	f->subscribers = c;
	pthread_mutex_lock(&f->ring_lock);
	f->n_subscribers++;
	c->seq = f->next;
	revision = f->read_rev;
	pthread_mutex_unlock(&f->ring_lock);
	pthread_mutex_unlock(&f->subscribers_lock);
	return revision;
}

void feed_leave(struct feed *f, struct cursor_of_feed *c)
{
	pthread_mutex_lock(&f->subscribers_lock);
	*(c->prev ? &c->prev->next : &f->subscribers) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->wake = NULL;
	pthread_mutex_lock(&f->ring_lock);
	f->n_subscribers--;
	pthread_mutex_unlock(&f->ring_lock);
	pthread_mutex_unlock(&f->subscribers_lock);
}

void feed_wake(struct feed *f, struct cursor_of_feed *c)
{
	pthread_mutex_lock(&f->subscribers_lock);
	if (c->wake)
		c->wake(c->arg);
	pthread_mutex_unlock(&f->subscribers_lock);
}

int feed_next(struct feed *f, struct cursor_of_feed *c, struct event **ret)
{
	int r = 0;

	pthread_mutex_lock(&f->ring_lock);
	if (c->seq < f->first)
		r = -ESTALE;
	else
		*ret = c->seq < f->next ? event_ref(f->ring[c->seq++ % RING]) : NULL;
	pthread_mutex_unlock(&f->ring_lock);
	return r;
}

int64_t feed_skip(struct feed *f, struct cursor_of_feed *c)
{
	int64_t revision;

	pthread_mutex_lock(&f->ring_lock);
	c->seq = f->next;
	revision = f->read_rev;
	pthread_mutex_unlock(&f->ring_lock);
	return revision;
}

int64_t feed_behind_ms(struct feed *f, const struct cursor_of_feed *c)
{
	int64_t ms = 0;

	pthread_mutex_lock(&f->ring_lock);
	if (c->seq < f->first)
		ms = FEED_AGE_MS;
	else if (c->seq < f->next)
		ms = mono_ms_since(event_made(f->ring[c->seq % RING]));
	pthread_mutex_unlock(&f->ring_lock);
	return ms;
}

struct selector *feed_selector(struct feed *f, const struct filter *filters, size_t n,
			       struct principal *who)
{
	struct selector *s;
	struct strbuf key;

	strbuf_init(&key, SIZE_MAX);
	strbuf_add(&key, &who, sizeof(who));
	for (size_t i = 0; i < n; i++)
		filter_canonical(&filters[i], &key);
	pthread_mutex_lock(&f->ring_lock);
	s = map_get(&f->selectors, key.s, key.len);
	if (!s) {
		s = selector_new(filters, n, who);
		map_put(&f->selectors, key.s, key.len, s);
	}
	selector_ref(s);
	pthread_mutex_unlock(&f->ring_lock);
	strbuf_release(&key);
	return s;
}

void feed_stats(struct feed *f, struct feed_stats *ret)
{
	pthread_mutex_lock(&f->ring_lock);
	*ret = (struct feed_stats){
		.events = f->events,
		.subscribers = f->n_subscribers,
		.ring_events = f->next - f->first,
		.ring_bytes = f->bytes,
	};
	pthread_mutex_unlock(&f->ring_lock);
}
