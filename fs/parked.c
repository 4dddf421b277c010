#include "parked.h"

void parked_init(struct parked_list *l)
{
	pthread_mutex_init(&l->lock, NULL);
	l->first = NULL;
	l->tail = &l->first;
}

/* Under the lock. False: somebody else has taken it. */
static bool unlist(struct parked_list *l, struct parked *x)
{
	struct parked **p = &l->first;

	while (*p && *p != x)
		p = &(*p)->next;
	if (!*p)
		return false;
	*p = x->next;
	if (l->tail == &x->next)
		l->tail = p;
	return true;
}

/* libfuse holds the request meanwhile. */
static void interrupt(fuse_req_t req, void *arg)
{
	struct parked *x = arg;
	struct parked_list *l = x->list;
	bool mine;

	pthread_mutex_lock(&l->lock);
	mine = unlist(l, x);
	x->interrupted = true;
	pthread_mutex_unlock(&l->lock);
	if (!mine)
		return;
	fuse_reply_err(req, EINTR);
	free(x);
}

/* Waits until a running interrupt() has let go of it. */
static void shield(struct parked *x)
{
	fuse_req_interrupt_func(x->req, NULL, NULL);
}

void parked_add(struct parked_list *l, fuse_req_t req, size_t size, int64_t offset, int64_t key)
{
	struct parked *x = xcalloc(1, sizeof(*x));
	bool interrupted;

	*x = (struct parked){.req = req,
			     .size = size,
			     .offset = offset,
			     .key = key,
			     .since = mono_now(),
			     .list = l};
	fuse_req_interrupt_func(req, interrupt, x);
	pthread_mutex_lock(&l->lock);
	interrupted = x->interrupted;
	if (!interrupted) {
		*l->tail = x;
		l->tail = &x->next;
	}
	pthread_mutex_unlock(&l->lock);
	if (!interrupted)
		return;
	shield(x);
	fuse_reply_err(req, EINTR);
	free(x);
}

struct parked *parked_take(struct parked_list *l, int64_t key_max, int64_t waited_ms)
{
	struct parked *x;

	pthread_mutex_lock(&l->lock);
	x = l->first;
	while (x && (x->key > key_max || (waited_ms && mono_ms_since(x->since) < waited_ms)))
		x = x->next;
	if (x)
		unlist(l, x);
	pthread_mutex_unlock(&l->lock);
	if (x)
		shield(x);
	return x;
}

bool parked_any(struct parked_list *l)
{
	bool any;

	pthread_mutex_lock(&l->lock);
	any = l->first != NULL;
	pthread_mutex_unlock(&l->lock);
	return any;
}

void parked_release(struct parked_list *l, int error)
{
	struct parked *x;

	while ((x = parked_take(l, INT64_MAX, 0))) {
		fuse_reply_err(x->req, error);
		free(x);
	}
	pthread_mutex_destroy(&l->lock);
}
