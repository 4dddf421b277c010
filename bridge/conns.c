#include "conns.h"

#include <pthread.h>
#include <sys/socket.h>

struct conn {
	struct conns *owner;
	int fd;
	/* Under the owner's lock. */
	enum conn_state state;
	struct mono since; /* in this state */
	struct conn *prev, *next;
};

/* In the order in which they came into the state. */
struct conn_list {
	struct conn *first, *last;
	size_t n;
};

struct conns {
	size_t max;
	pthread_mutex_t lock;
	struct conn_list lists[CONN_STATES]; /* under lock */
};

struct conns *conns_new(size_t max)
{
	struct conns *c = xcalloc(1, sizeof(*c));

	c->max = max;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void conns_free(struct conns *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void link_last(struct conns *c, struct conn *x, enum conn_state s)
{
	struct conn_list *l = &c->lists[s];

	x->state = s;
	x->since = mono_now();
	x->next = NULL;
	x->prev = l->last;
	*(l->last ? &l->last->next : &l->first) = x;
	l->last = x;
	l->n++;
}

static void unlist(struct conns *c, struct conn *x)
{
	struct conn_list *l = &c->lists[x->state];

	*(x->prev ? &x->prev->next : &l->first) = x->next;
	*(x->next ? &x->next->prev : &l->last) = x->prev;
	l->n--;
}

static void cut(struct conns *c, struct conn *x)
{
	shutdown(x->fd, SHUT_RDWR);
	unlist(c, x);
	link_last(c, x, CONN_CUT);
}

static size_t total(const struct conns *c)
{
	size_t n = 0;

	for (int s = 0; s < CONN_STATES; s++)
		n += c->lists[s].n;
	return n;
}

/* Those that are cut already will be gone in a moment. */
bool conns_room(struct conns *c)
{
	bool room;

	pthread_mutex_lock(&c->lock);
	room = total(c) - c->lists[CONN_CUT].n < c->max;
	if (!room && c->lists[CONN_IDLE].first) {
		cut(c, c->lists[CONN_IDLE].first);
		room = true;
	}
	pthread_mutex_unlock(&c->lock);
	return room;
}

struct conn *conn_open(struct conns *c, int fd)
{
	struct conn *x = xcalloc(1, sizeof(*x));

	x->owner = c;
	x->fd = fd;
	pthread_mutex_lock(&c->lock);
	link_last(c, x, CONN_IDLE);
	pthread_mutex_unlock(&c->lock);
	return x;
}

void conn_close(struct conn *x)
{
	struct conns *c = x ? x->owner : NULL;

	if (!x)
		return;
	pthread_mutex_lock(&c->lock);
	unlist(c, x);
	pthread_mutex_unlock(&c->lock);
	free(x);
}

void conn_set(struct conn *x, enum conn_state s)
{
	struct conns *c = x->owner;

	pthread_mutex_lock(&c->lock);
	if (x->state != CONN_CUT) {
		unlist(c, x);
		link_last(c, x, s);
	}
	pthread_mutex_unlock(&c->lock);
}

void conn_will_reset(struct conn *x)
{
	struct linger hard = {.l_onoff = 1};

	setsockopt(x->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

static void sweep(struct conns *c, enum conn_state s, int64_t ms_max)
{
	struct conn *x;

	while ((x = c->lists[s].first) && mono_ms_since(x->since) >= ms_max)
		cut(c, x);
}

void conns_sweep(struct conns *c)
{
	pthread_mutex_lock(&c->lock);
	sweep(c, CONN_IDLE, CONN_IDLE_MS);
	sweep(c, CONN_BODY, CONN_BODY_MS);
	pthread_mutex_unlock(&c->lock);
}

void conns_cut(struct conns *c, enum conn_state s)
{
	pthread_mutex_lock(&c->lock);
	while (c->lists[s].first)
		cut(c, c->lists[s].first);
	pthread_mutex_unlock(&c->lock);
}

size_t conns_count(struct conns *c, enum conn_state s)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = c->lists[s].n;
	pthread_mutex_unlock(&c->lock);
	return n;
}

size_t conns_total(struct conns *c)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = total(c);
	pthread_mutex_unlock(&c->lock);
	return n;
}
