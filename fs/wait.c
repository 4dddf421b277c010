#include "wait.h"

#include "parked.h"

#include <stdio.h>

#define ASK_MS     20 /* between two questions to etcd while somebody waits */
#define ASK_MAX_MS 500
#define ARRIVES_MS                                                                                 \
	500 /* a commit's event that is not here by then is not of what is watched here */

struct waits {
	struct view *view;
	void (*on_ready)(void *arg);
	void *arg;
	pthread_t thread;
	struct parked_list parked; /* key: the revision */

	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* Under lock. */
	int64_t sent;    /* by the watch */
	int64_t reached; /* as far as is known: at least sent */
	/* What etcd said: where last_commit is sent, everything up to newest is. */
	int64_t newest, last_commit;
	struct mono asked;
	bool stopping, waiting;
};

static int64_t revision_of(const struct node *node)
{
	return strtoll(strrchr(node_path(node), '/') + 1, NULL, 10);
}

static int64_t reached(struct waits *w)
{
	int64_t revision;

	pthread_mutex_lock(&w->lock);
	revision = w->reached;
	pthread_mutex_unlock(&w->lock);
	return revision;
}

/* ---- answering -------------------------------------------------------------------------------
 */

static void reply(fuse_req_t req, int64_t revision, size_t size, int64_t offset)
{
	char text[24];
	int64_t len = snprintf(text, sizeof(text), "%lld\n", (long long)revision);

	if (offset >= len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, text + offset, MIN(size, (size_t)(len - offset)));
}

static void answer_parked(struct waits *w)
{
	struct parked *x;

	while ((x = parked_take(&w->parked, reached(w), 0))) {
		reply(x->req, x->key, x->size, x->offset);
		free(x);
	}
	w->on_ready(w->arg);
}

static void ask(struct waits *w)
{
	pthread_mutex_lock(&w->lock);
	w->waiting = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

void waits_read(struct waits *w, fuse_req_t req, const struct node *node, size_t size,
		int64_t offset, bool nonblock)
{
	int64_t revision = revision_of(node);

	if (offset > 0 || revision <= reached(w)) {
		reply(req, revision, size, offset);
		return;
	}
	if (nonblock)
		fuse_reply_err(req, EAGAIN);
	else
		parked_add(&w->parked, req, size, offset, revision);
	ask(w);
}

bool waits_ready(struct waits *w, const struct node *node)
{
	if (revision_of(node) <= reached(w))
		return true;
	ask(w);
	return false;
}

/* ---- what has come ---------------------------------------------------------------------------
 */

/* Under the lock. */
static bool go_on(struct waits *w)
{
	int64_t before = w->reached;

	w->reached = MAX(w->reached, w->sent);
	if (w->newest > w->reached &&
	    (w->sent >= w->last_commit || mono_ms_since(w->asked) >= ARRIVES_MS))
		w->reached = w->newest;
	return w->reached > before;
}

static bool is_asking(const struct waits *w)
{
	return w->newest > w->reached;
}

void waits_sent(struct waits *w, int64_t revision)
{
	bool more;

	pthread_mutex_lock(&w->lock);
	w->sent = MAX(w->sent, revision);
	more = go_on(w);
	pthread_mutex_unlock(&w->lock);
	if (more)
		answer_parked(w);
}

/* One question at a time: it is asked again once what it said has come. */
static void ask_etcd(struct waits *w)
{
	int64_t newest, last;

	if (view_newest(w->view, &newest, &last) < 0)
		return;
	pthread_mutex_lock(&w->lock);
	w->newest = newest;
	w->last_commit = last;
	w->asked = mono_now();
	pthread_mutex_unlock(&w->lock);
}

static void look(struct waits *w, bool asking)
{
	bool more;

	if (!asking)
		ask_etcd(w);
	pthread_mutex_lock(&w->lock);
	more = go_on(w);
	pthread_mutex_unlock(&w->lock);
	if (more)
		answer_parked(w);
}

static void sleep_ms(struct waits *w, int64_t ms)
{
	struct mono until = mono_in_ms(ms);
	struct timespec ts = {until.ns / NS_PER_SEC, until.ns % NS_PER_SEC};
	int r = 0;

	while (!w->stopping && r == 0)
		r = pthread_cond_timedwait(&w->wake, &w->lock, &ts);
}

/* The longer somebody waits in vain, the more seldom etcd is asked. */
static void *run(void *arg)
{
	struct waits *w = arg;
	int64_t pause = ASK_MS;

	pthread_mutex_lock(&w->lock);
	while (!w->stopping) {
		bool asking;

		if (!w->waiting) {
			pause = ASK_MS;
			pthread_cond_wait(&w->wake, &w->lock);
			continue;
		}
		w->waiting = false;
		sleep_ms(w, pause);
		pause = MIN(2 * pause, ASK_MAX_MS);
		asking = is_asking(w);
		pthread_mutex_unlock(&w->lock);
		look(w, asking);
		asking = parked_any(&w->parked);
		pthread_mutex_lock(&w->lock);
		w->waiting |= asking;
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------
 */

struct waits *waits_new(struct view *view, void (*on_ready)(void *arg), void *arg)
{
	struct waits *w = xcalloc(1, sizeof(*w));
	pthread_condattr_t a;

	w->view = view;
	w->on_ready = on_ready;
	w->arg = arg;
	parked_init(&w->parked);
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &a);
	pthread_condattr_destroy(&a);
	if (view && pthread_create(&w->thread, NULL, run, w)) {
		w->view = NULL;
		waits_free(w);
		return NULL;
	}
	return w;
}

void waits_stop(struct waits *w)
{
	if (!w || !w->view)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
}

void waits_free(struct waits *w)
{
	if (!w)
		return;
	parked_release(&w->parked, ENODEV);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
