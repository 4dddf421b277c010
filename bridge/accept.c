#include "accept.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "head.h"
#include "listen.h"
#include "log.h"

#define TICK_MS 500
#define EVENTS  64
#define AT_ONCE 256
#define REFUSAL 4096

/* A connection whose first request is not there yet, or one that was refused and may still be
 * sending what it meant to. */
struct opener {
	int fd;
	struct peer peer;
	struct mono until;
	bool refused;
	struct opener *prev, *next;
};

struct acceptor {
	struct acceptor_conf conf;
	int epoll, wake;
	pthread_t thread;
	char *peeked; /* HEAD_MAX bytes; the thread's */
	pthread_mutex_t lock;
	/* Under lock. */
	struct opener *oldest, *newest; /* in order of until */
	size_t n;
	bool close_listener, listener_closed, stop;
	pthread_cond_t closed;
};

/* ---- openers --------------------------------------------------------------------------------- */

static void link_newest(struct acceptor *a, struct opener *o)
{
	o->until = mono_in_ms(OPENING_MS);
	o->next = NULL;
	o->prev = a->newest;
	*(a->newest ? &a->newest->next : &a->oldest) = o;
	a->newest = o;
	a->n++;
}

static void unlist(struct acceptor *a, struct opener *o)
{
	*(o->prev ? &o->prev->next : &a->oldest) = o->next;
	*(o->next ? &o->next->prev : &a->newest) = o->prev;
	a->n--;
}

/* Forgets it; returns the descriptor. */
static int release(struct acceptor *a, struct opener *o)
{
	int fd = o->fd;

	pthread_mutex_lock(&a->lock);
	unlist(a, o);
	pthread_mutex_unlock(&a->lock);
	free(o);
	return fd;
}

static void drop(struct acceptor *a, struct opener *o)
{
	close(release(a, o));
}

/* It has been watched, so it is taken out: the descriptor lives on elsewhere. */
static void hand_on(struct acceptor *a, struct opener *o,
		    void (*to)(int fd, const struct peer *p, void *arg))
{
	struct peer p = o->peer;
	int fd = release(a, o);

	epoll_ctl(a->epoll, EPOLL_CTL_DEL, fd, NULL);
	to(fd, &p, a->conf.arg);
}

/* The oldest one, where its time is up, or where some one has to go. Only this thread drops. */
static struct opener *next_to_go(struct acceptor *a, bool some_one)
{
	struct opener *o;

	pthread_mutex_lock(&a->lock);
	o = a->oldest;
	if (o && !some_one && mono_ms_until(o->until) && a->n <= a->conf.openers_max)
		o = NULL;
	pthread_mutex_unlock(&a->lock);
	return o;
}

static void sweep(struct acceptor *a)
{
	struct opener *o;

	while ((o = next_to_go(a, false)))
		drop(a, o);
}

/* ---- refusing -------------------------------------------------------------------------------- */

/* Reads on for a while: closing with unread bytes would reset the connection, and take the answer
 * with it. */
static void linger(struct acceptor *a, struct opener *o)
{
	ssize_t n;

	do
		n = recv(o->fd, a->peeked, HEAD_MAX, MSG_DONTWAIT);
	while (n > 0);
	if (n == 0 || errno != EAGAIN)
		drop(a, o);
}

static void refuse(struct acceptor *a, struct opener *o, int status, const char *detail)
{
	struct strbuf body, all;

	strbuf_init(&body, REFUSAL);
	strbuf_init(&all, 2 * REFUSAL);
	problem_json(&body, status, detail, NULL, NULL, (struct slice){0});
	strbuf_addf(&all,
		    "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\n"
		    "Content-Length: %zu\r\nCache-Control: no-store\r\n%sConnection: close\r\n\r\n",
		    status, status_title(status), body.len,
		    status == 503 ? "Retry-After: 1\r\n" : "");
	strbuf_add(&all, body.s, body.len);
	log_info("a connection is refused: %d: %s", status, detail);
	if (send(o->fd, all.s, all.len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)all.len)
		shutdown(o->fd, SHUT_WR);
	strbuf_release(&body);
	strbuf_release(&all);
	o->refused = true;
	linger(a, o);
}

/* ---- looking --------------------------------------------------------------------------------- */

static void to_rest(struct acceptor *a, struct opener *o)
{
	if (conns_room(a->conf.conns))
		hand_on(a, o, a->conf.rest);
	else
		refuse(a, o, 503, "too many requests are being answered");
}

/* Its end stands behind bytes that stay unread, where recv does not see it. */
static bool has_ended(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0;
}

static void look(struct acceptor *a, struct opener *o)
{
	ssize_t n = recv(o->fd, a->peeked, HEAD_MAX, MSG_PEEK | MSG_DONTWAIT);
	struct err e = {""};
	int status = 0;

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			drop(a, o);
		return;
	}
	switch (head_look(a->peeked, (size_t)n, &status, &e)) {
	case HEAD_MORE:
		if (has_ended(o->fd))
			refuse(a, o, 400, "the connection ended within the head of a request");
		return;
	case HEAD_REST:
		to_rest(a, o);
		return;
	case HEAD_WEBSOCKET:
		if (a->conf.websocket)
			hand_on(a, o, a->conf.websocket);
		else
			to_rest(a, o);
		return;
	case HEAD_BAD:
		refuse(a, o, status, e.text);
	}
}

/* Edge-triggered: bytes that are looked at stay, and would be told again and again. The first look
 * is an event too, so that each is done on the thread. */
void acceptor_offer(struct acceptor *a, int fd, const struct peer *p)
{
	struct opener *o = xcalloc(1, sizeof(*o));
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = o};
	bool watched;

	o->fd = fd;
	o->peer = *p;
	/* Under the lock, so that the thread does not free what is not listed yet. */
	pthread_mutex_lock(&a->lock);
	watched = epoll_ctl(a->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
	if (watched)
		link_newest(a, o);
	pthread_mutex_unlock(&a->lock);
	if (watched)
		return;
	close(fd);
	free(o);
}

/* ---- accepting ------------------------------------------------------------------------------- */

/* Without descriptors the oldest opener gives way. */
static bool make_room(struct acceptor *a)
{
	struct opener *o = errno == EMFILE || errno == ENFILE ? next_to_go(a, true) : NULL;

	if (o)
		drop(a, o);
	return o;
}

/* False: nobody waits (any more). */
static bool accept_one(struct acceptor *a)
{
	struct sockaddr_storage sa = {0};
	socklen_t n = sizeof(sa);
	int fd =
		accept4(a->conf.listener, (struct sockaddr *)&sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct peer p;

	if (fd < 0)
		return errno == EINTR || errno == ECONNABORTED || make_room(a);
	p = peer_of((struct sockaddr *)&sa);
	if (a->conf.tls)
		a->conf.tls(fd, &p, a->conf.arg);
	else
		acceptor_offer(a, fd, &p);
	return true;
}

static void accept_some(struct acceptor *a)
{
	int n = 0;

	while (n < AT_ONCE && accept_one(a))
		n++;
	sweep(a);
}

static void close_listener(struct acceptor *a)
{
	if (a->conf.listener < 0)
		return;
	while (accept_one(a))
		;
	close(a->conf.listener);
	a->conf.listener = -1;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void on_event(struct acceptor *a, void *what)
{
	struct opener *o = what;
	uint64_t n;

	if (what == &a->conf.listener)
		accept_some(a);
	else if (what == &a->wake)
		n = read(a->wake, &n, sizeof(n)) > 0;
	else if (o->refused)
		linger(a, o);
	else
		look(a, o);
}

/* False: the end. */
static bool take_orders(struct acceptor *a)
{
	bool close_it, stop;

	pthread_mutex_lock(&a->lock);
	close_it = a->close_listener && !a->listener_closed;
	stop = a->stop;
	pthread_mutex_unlock(&a->lock);
	if (close_it || stop)
		close_listener(a);
	if (close_it) {
		pthread_mutex_lock(&a->lock);
		a->listener_closed = true;
		pthread_cond_broadcast(&a->closed);
		pthread_mutex_unlock(&a->lock);
	}
	return !stop;
}

static void *run(void *arg)
{
	struct acceptor *a = arg;
	struct epoll_event ev[EVENTS];

	while (take_orders(a)) {
		int n = epoll_wait(a->epoll, ev, EVENTS, TICK_MS);

		/* An opener has one event at most in a batch, and only its own may free it but for
		 * sweep: that runs when the batch is done. */
		for (int i = 0; i < n; i++)
			if (ev[i].data.ptr != &a->conf.listener)
				on_event(a, ev[i].data.ptr);
		for (int i = 0; i < n; i++)
			if (ev[i].data.ptr == &a->conf.listener)
				on_event(a, ev[i].data.ptr);
		sweep(a);
		conns_sweep(a->conf.conns);
	}
	return NULL;
}

static int watch(struct acceptor *a, int fd, void *what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = what};

	return epoll_ctl(a->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static void wake(struct acceptor *a)
{
	uint64_t one = 1;

	if (write(a->wake, &one, sizeof(one)) < 0)
		return; /* it is awake already */
}

static void acceptor_free(struct acceptor *a)
{
	while (a->oldest)
		drop(a, a->oldest);
	if (a->conf.listener >= 0)
		close(a->conf.listener);
	close(a->epoll);
	close(a->wake);
	pthread_cond_destroy(&a->closed);
	pthread_mutex_destroy(&a->lock);
	free(a->peeked);
	free(a);
}

int acceptor_start(struct acceptor **ret, const struct acceptor_conf *conf, struct err *e)
{
	struct acceptor *a = xcalloc(1, sizeof(*a));
	int r;

	a->conf = *conf;
	a->peeked = xmalloc(HEAD_MAX);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->closed, NULL);
	a->epoll = epoll_create1(EPOLL_CLOEXEC);
	a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = a->epoll < 0 || a->wake < 0 ? -errno : watch(a, a->wake, &a->wake);
	if (!r)
		r = watch(a, conf->listener, &a->conf.listener);
	*ret = a; /* before the thread: what it hands to TLS comes back by this pointer */
	if (!r)
		r = -pthread_create(&a->thread, NULL, run, a);
	if (r) {
		*ret = NULL;
		acceptor_free(a);
		return err_set(e, r, "cannot accept connections: %s", strerror(-r));
	}
	pthread_setname_np(a->thread, "accept");
	return 0;
}

void acceptor_refuse(struct acceptor *a)
{
	listen_refuse(a->conf.listener);
}

void acceptor_close_listener(struct acceptor *a)
{
	pthread_mutex_lock(&a->lock);
	a->close_listener = true;
	wake(a);
	while (!a->listener_closed)
		pthread_cond_wait(&a->closed, &a->lock);
	pthread_mutex_unlock(&a->lock);
}

size_t acceptor_openers(struct acceptor *a)
{
	size_t n = 0;

	pthread_mutex_lock(&a->lock);
	n = a->n;
	pthread_mutex_unlock(&a->lock);
	return n;
}

void acceptor_stop(struct acceptor *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_mutex_unlock(&a->lock);
	wake(a);
	pthread_join(a->thread, NULL);
	acceptor_free(a);
}
