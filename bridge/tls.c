#include "tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define RELAY_BYTES  (32 << 10)
#define HANDSHAKE_MS 10000
#define CLOSING_MS   10000 /* to take the rest of an answer, once nothing more comes */
#define TICK_MS      500
#define EVENTS       64

/* Bytes on their way in one direction. */
struct flow {
	char *bytes; /* RELAY_BYTES */
	size_t at, len;
	bool ended;  /* no more will come in */
	bool passed; /* and that has been passed on */
};

struct relay {
	struct tls *owner;
	SSL *ssl;
	int fd, inner; /* inner -1: in handshake */
	struct peer peer;
	struct flow in, out; /* in: from the network */
	struct mono until;   /* of the handshake, or of closing; ns 0: none */
	bool flowing, dead;
	struct relay *prev, *next;
};

struct tls {
	char *cert, *key;
	size_t relays_max;
	void (*offer)(int fd, const struct peer *p, void *arg);
	void *arg;
	int epoll, wake;
	pthread_t thread;
	pthread_mutex_t lock;
	/* Under lock. */
	SSL_CTX *ctx;
	struct relay *fresh; /* adopted, for the thread to take in */
	size_t n, flowing;   /* flowing: that may still have something of an answer to pass on */
	bool stop;
	/* The thread's. */
	struct relay *first;
};

/* ---- the context ----------------------------------------------------------------------------- */

static int fail(struct err *e, const char *path)
{
	unsigned long code = ERR_get_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return err_set(e, -EINVAL, "%s: %s", path, reason ? reason : "cannot be used");
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			   const unsigned char *in, unsigned int in_len, void *arg)
{
	static const unsigned char http[] = "\x08http/1.1";
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, out_len, http, sizeof(http) - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int make_context(const struct tls *t, SSL_CTX **ret, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int r = 0;

	if (!ctx)
		return fail(e, "OpenSSL");
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	if (SSL_CTX_use_certificate_chain_file(ctx, t->cert) != 1)
		r = fail(e, t->cert);
	else if (SSL_CTX_use_PrivateKey_file(ctx, t->key, SSL_FILETYPE_PEM) != 1 ||
		 SSL_CTX_check_private_key(ctx) != 1)
		r = fail(e, t->key);
	if (r)
		SSL_CTX_free(ctx);
	else
		*ret = ctx;
	return r;
}

int tls_reload(struct tls *t, struct err *e)
{
	SSL_CTX *fresh, *old;
	int r = make_context(t, &fresh, e);

	if (r)
		return r;
	pthread_mutex_lock(&t->lock);
	old = t->ctx;
	t->ctx = fresh;
	pthread_mutex_unlock(&t->lock);
	SSL_CTX_free(old); /* connections that use it keep it */
	return 0;
}

/* ---- relays ---------------------------------------------------------------------------------- */

static struct relay *relay_new(struct tls *t, int fd, const struct peer *p)
{
	struct relay *x = xcalloc(1, sizeof(*x));

	x->owner = t;
	x->fd = fd;
	x->inner = -1;
	x->peer = *p;
	x->until = mono_in_ms(HANDSHAKE_MS);
	return x;
}

static void relay_free(struct relay *x)
{
	SSL_free(x->ssl);
	close(x->fd);
	if (x->inner >= 0)
		close(x->inner);
	free(x->in.bytes);
	free(x->out.bytes);
	free(x);
}

static void set_flowing(struct relay *x, bool flowing)
{
	struct tls *t = x->owner;

	pthread_mutex_lock(&t->lock);
	t->flowing = t->flowing + flowing - x->flowing;
	pthread_mutex_unlock(&t->lock);
	x->flowing = flowing;
}

/* The thread's list; what is dead goes at the end of a turn, when no event speaks of it. */
static void unlist(struct tls *t, struct relay *x)
{
	*(x->prev ? &x->prev->next : &t->first) = x->next;
	if (x->next)
		x->next->prev = x->prev;
	set_flowing(x, false);
	pthread_mutex_lock(&t->lock);
	t->n--;
	pthread_mutex_unlock(&t->lock);
}

static int watch(struct tls *t, int fd, struct relay *x)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				 .data.ptr = x};

	return epoll_ctl(t->epoll, EPOLL_CTL_ADD, fd, &ev);
}

static size_t room(const struct flow *f)
{
	return f->ended || f->len ? 0 : RELAY_BYTES;
}

static bool wants_more(int ssl_error)
{
	return ssl_error == SSL_ERROR_WANT_READ || ssl_error == SSL_ERROR_WANT_WRITE;
}

/* Each of the four returns whether it moved something on. */
static bool read_network(struct relay *x)
{
	int n, error;

	if (!room(&x->in))
		return false;
	ERR_clear_error();
	n = SSL_read(x->ssl, x->in.bytes, RELAY_BYTES);
	if (n > 0) {
		x->in.at = 0;
		x->in.len = (size_t)n;
		return true;
	}
	error = SSL_get_error(x->ssl, n);
	if (wants_more(error))
		return false;
	if (error == SSL_ERROR_ZERO_RETURN)
		x->in.ended = true;
	else
		x->dead = true; /* cut off: not an end that may be passed on */
	return x->in.ended;
}

static bool write_inner(struct relay *x)
{
	ssize_t n;

	if (x->in.len) {
		n = send(x->inner, x->in.bytes + x->in.at, x->in.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			/* Closed there: what it has answered still goes out. */
			if (errno != EAGAIN) {
				x->in.len = 0;
				x->in.ended = x->in.passed = true;
			}
			return false;
		}
		x->in.at += (size_t)n;
		x->in.len -= (size_t)n;
		return true;
	}
	if (x->in.ended && !x->in.passed) {
		shutdown(x->inner, SHUT_WR);
		x->in.passed = true;
	}
	return false;
}

static bool read_inner(struct relay *x)
{
	ssize_t n;

	if (!room(&x->out))
		return false;
	n = recv(x->inner, x->out.bytes, RELAY_BYTES, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return false;
	x->out.at = 0;
	x->out.len = (size_t)MAX(n, 0);
	if (n < 0)
		x->dead = true; /* reset: so is the connection */
	x->out.ended = n == 0;
	return !x->dead;
}

static bool write_network(struct relay *x)
{
	int n, error;

	ERR_clear_error();
	if (x->out.len) {
		n = SSL_write(x->ssl, x->out.bytes + x->out.at, (int)x->out.len);
		if (n > 0) {
			x->out.at += (size_t)n;
			x->out.len -= (size_t)n;
			return true;
		}
		error = SSL_get_error(x->ssl, n);
		if (!wants_more(error))
			x->dead = true;
		return false;
	}
	if (x->out.ended && !x->out.passed) {
		SSL_shutdown(x->ssl);
		shutdown(x->fd, SHUT_WR);
		x->out.passed = true;
		x->until = mono_in_ms(CLOSING_MS);
		set_flowing(x, false);
	}
	return false;
}

/* As far as it goes without waiting. */
static void pass_on(struct relay *x)
{
	bool moved;

	do {
		moved = read_network(x);
		moved = (!x->dead && write_inner(x)) || moved;
		moved = (!x->dead && read_inner(x)) || moved;
		moved = (!x->dead && write_network(x)) || moved;
	} while (moved && !x->dead);
	if (x->in.passed && x->out.passed)
		x->dead = true;
}

/* ---- the handshake --------------------------------------------------------------------------- */

/* From here on the acceptor has the other end. */
static void connect_inner(struct relay *x)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
		x->dead = true;
		return;
	}
	x->inner = pair[0];
	x->in.bytes = xmalloc(RELAY_BYTES);
	x->out.bytes = xmalloc(RELAY_BYTES);
	x->until = (struct mono){0};
	set_flowing(x, true);
	x->owner->offer(pair[1], &x->peer, x->owner->arg);
	if (watch(x->owner, x->inner, x) < 0)
		x->dead = true;
}

static void shake_hands(struct relay *x)
{
	int n, error;

	ERR_clear_error();
	n = SSL_accept(x->ssl);
	if (n == 1) {
		connect_inner(x);
		return;
	}
	error = SSL_get_error(x->ssl, n);
	if (wants_more(error))
		return;
	x->dead = true;
	log_debug("TLS handshake failed");
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void on_event(struct relay *x)
{
	if (x->dead)
		return;
	if (x->inner < 0)
		shake_hands(x);
	if (x->inner >= 0 && !x->dead)
		pass_on(x);
}

static bool begin(struct tls *t, struct relay *x)
{
	pthread_mutex_lock(&t->lock);
	x->ssl = SSL_new(t->ctx);
	pthread_mutex_unlock(&t->lock);
	if (!x->ssl || !SSL_set_fd(x->ssl, x->fd) || watch(t, x->fd, x) < 0)
		return false;
	x->next = t->first;
	if (x->next)
		x->next->prev = x;
	t->first = x;
	return true;
}

static void take_in(struct tls *t)
{
	struct relay *x, *next;

	pthread_mutex_lock(&t->lock);
	x = TAKE_PTR(t->fresh);
	pthread_mutex_unlock(&t->lock);
	for (; x; x = next) {
		next = x->next;
		x->next = NULL;
		if (begin(t, x))
			continue;
		relay_free(x);
		pthread_mutex_lock(&t->lock);
		t->n--;
		pthread_mutex_unlock(&t->lock);
	}
}

static void bury(struct tls *t, bool all)
{
	struct relay *next;

	for (struct relay *x = t->first; x; x = next) {
		next = x->next;
		if (!all && !x->dead && (!x->until.ns || mono_ms_until(x->until)))
			continue;
		unlist(t, x);
		relay_free(x);
	}
}

static bool is_over(struct tls *t)
{
	bool stop;

	pthread_mutex_lock(&t->lock);
	stop = t->stop;
	pthread_mutex_unlock(&t->lock);
	return stop;
}

static void on_wake(struct tls *t)
{
	uint64_t n;

	if (read(t->wake, &n, sizeof(n)) > 0)
		take_in(t);
}

static void *run(void *arg)
{
	struct tls *t = arg;
	struct epoll_event ev[EVENTS];
	struct mono swept = mono_now();

	while (!is_over(t)) {
		int n = epoll_wait(t->epoll, ev, EVENTS, TICK_MS);
		bool dead = mono_ms_since(swept) >= TICK_MS;

		for (int i = 0; i < n; i++) {
			struct relay *x = ev[i].data.ptr;

			if (x)
				on_event(x);
			else
				on_wake(t);
			dead = dead || (x && x->dead);
		}
		if (dead) {
			bury(t, false);
			swept = mono_now();
		}
	}
	take_in(t);
	bury(t, true);
	return NULL;
}

static void wake(struct tls *t)
{
	uint64_t one = 1;

	if (write(t->wake, &one, sizeof(one)) < 0)
		return; /* it is awake already */
}

void tls_adopt(struct tls *t, int fd, const struct peer *p)
{
	struct relay *x = relay_new(t, fd, p);
	bool room_left;

	pthread_mutex_lock(&t->lock);
	room_left = t->n < t->relays_max;
	if (room_left) {
		t->n++;
		x->next = t->fresh;
		t->fresh = x;
	}
	pthread_mutex_unlock(&t->lock);
	if (room_left)
		wake(t);
	else
		relay_free(x);
}

size_t tls_flowing(struct tls *t)
{
	size_t n;

	pthread_mutex_lock(&t->lock);
	n = t->flowing;
	pthread_mutex_unlock(&t->lock);
	return n;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void tls_free(struct tls *t)
{
	SSL_CTX_free(t->ctx);
	if (t->epoll >= 0)
		close(t->epoll);
	if (t->wake >= 0)
		close(t->wake);
	pthread_mutex_destroy(&t->lock);
	free(t->cert);
	free(t->key);
	free(t);
}

static int open_events(struct tls *t)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};

	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->epoll < 0 || t->wake < 0)
		return -errno;
	return epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &ev) < 0 ? -errno : 0;
}

int tls_start(struct tls **ret, const char *cert, const char *key, size_t relays_max,
	      void (*offer)(int fd, const struct peer *p, void *arg), void *arg, struct err *e)
{
	struct tls *t = xcalloc(1, sizeof(*t));
	int r;

	*t = (struct tls){
		.relays_max = relays_max, .offer = offer, .arg = arg, .epoll = -1, .wake = -1};
	t->cert = xstrdup(cert);
	t->key = xstrdup(key);
	pthread_mutex_init(&t->lock, NULL);
	r = make_context(t, &t->ctx, e);
	if (!r && (r = open_events(t)))
		err_set(e, r, "TLS: %s", strerror(-r));
	if (!r && (r = -pthread_create(&t->thread, NULL, run, t)))
		err_set(e, r, "TLS: %s", strerror(-r));
	if (r) {
		tls_free(t);
		return r;
	}
	pthread_setname_np(t->thread, "tls");
	*ret = t;
	return 0;
}

void tls_stop(struct tls *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_mutex_unlock(&t->lock);
	wake(t);
	pthread_join(t->thread, NULL);
	tls_free(t);
}
