#include "ws.h"

#include <libwebsockets.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command.h"
#include "feed.h"
#include "head.h"
#include "limit.h"
#include "log.h"
#include "upgrade.h"

#define TRY_AGAIN_LATER 1013 /* RFC 6455's registry; libwebsockets has no name for it */
#define RX_BYTES        4096
#define FILES_SPARE     64
#define LAST_WORD_S     5    /* for a client that is to hear why it is cut off */
#define FAREWELL_MS     2000 /* for all to hear that it is over */

_Static_assert(FRAME_HEADROOM >= LWS_PRE, "frames are framed in their headroom");

struct client {
	struct lws *wsi;
	struct ws *ws;
	/* Atomic: the subscriber may have a frame. Not beside flags that are read as one word. */
	bool ready;
	struct opening *opening;
	struct subscriber *subscriber;
	struct frame *next; /* to be sent */
	struct frame *sent; /* kept until the next one: libwebsockets may still look at it */
	struct strbuf message;
	bool lagging; /* has LAST_WORD_S to take its last frame */
	int close;    /* the status to close with; 0: none */
	const char *reason;
	struct client *prev, *next_client;
};

/* One that is to be adopted. */
struct arrival {
	int fd;
	struct opening *opening;
	struct arrival *next;
};

struct ws {
	struct gateway *gateway;
	struct lws_context *context;
	struct lws_vhost *plain, *deflating;
	pthread_t thread;
	size_t count; /* atomic: clients, and those that are to be */
	bool woken;   /* atomic: lws_cancel_service has been called and not been heard */
	bool over;    /* atomic: all are to be closed */
	bool stop;    /* atomic: the thread is to end */
	pthread_mutex_t lock;
	struct arrival *arrivals; /* under lock */
	lws_retry_bo_t liveness;
	/* The thread's. */
	struct opening *adopting; /* until its connection is known */
	struct client *clients;
	lws_sorted_usec_list_t tick;
};

static void wake_thread(struct ws *w)
{
	if (!__atomic_exchange_n(&w->woken, true, __ATOMIC_SEQ_CST))
		lws_cancel_service(w->context);
}

/* ---- one client ------------------------------------------------------------------------------ */

static void on_feed(void *arg)
{
	struct client *c = arg;

	__atomic_store_n(&c->ready, true, __ATOMIC_SEQ_CST);
	wake_thread(c->ws);
}

static bool fetch(struct client *c)
{
	if (!c->next && !c->close)
		c->next = subscriber_next(c->subscriber);
	return c->next || c->close;
}

static void ask_to_write(struct client *c)
{
	if (fetch(c))
		lws_callback_on_writable(c->wsi);
}

static int close_with(struct client *c, int status, const char *reason)
{
	if (c->close)
		return 0;
	c->close = status;
	c->reason = reason;
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LAST_WORD_S);
	lws_callback_on_writable(c->wsi);
	return 0;
}

static int subscribe_at_once(struct client *c)
{
	struct opening *o = c->opening;
	struct err e = {""};
	int r = subscriber_add(c->subscriber, o->has_filter ? "" : EVERYTHING, &o->filter, o->since,
			       &e);

	if (r)
		command_refuse(c->subscriber, 400, e.text, NULL);
	return r;
}

static void say_revision(struct client *c)
{
	char text[64];
	int64_t revision = subscriber_revision(c->subscriber);
	int n = snprintf(text, sizeof(text), "{\"rev\":%lld}", (long long)revision);

	subscriber_say(c->subscriber,
		       frame_new(FRAME_REV, revision, (struct slice){text, (size_t)n}));
}

static int on_established(struct ws *w, struct client *c, struct lws *wsi)
{
	*c = (struct client){.wsi = wsi, .ws = w, .opening = lws_get_opaque_user_data(wsi)};
	lws_set_opaque_user_data(wsi, NULL);
	if (!c->opening)
		return -1;
	strbuf_init(&c->message, COMMAND_MAX);
	c->next_client = w->clients;
	if (w->clients)
		w->clients->prev = c;
	w->clients = c;
	c->subscriber = subscriber_new(w->gateway->feed, c->opening->who, on_feed, c);
	say_revision(c);
	if (subscribe_at_once(c))
		return -1;
	if (__atomic_load_n(&w->over, __ATOMIC_SEQ_CST))
		return close_with(c, LWS_CLOSE_STATUS_GOINGAWAY, "shutting down");
	ask_to_write(c);
	return 0;
}

static void on_closed(struct ws *w, struct client *c)
{
	if (!c->subscriber)
		return;
	*(c->prev ? &c->prev->next_client : &w->clients) = c->next_client;
	if (c->next_client)
		c->next_client->prev = c->prev;
	subscriber_free(TAKE_PTR(c->subscriber));
	frame_unref(c->next);
	frame_unref(c->sent);
	strbuf_release(&c->message);
	opening_free(c->opening);
	__atomic_sub_fetch(&w->count, 1, __ATOMIC_SEQ_CST);
}

static int send_next(struct client *c)
{
	struct frame *f = TAKE_PTR(c->next);
	int n = lws_write(c->wsi, (unsigned char *)f->data, f->len, LWS_WRITE_TEXT);

	frame_unref(c->sent);
	c->sent = f;
	if (n < (int)f->len)
		return -1;
	if (f->kind == FRAME_LAG)
		close_with(c, TRY_AGAIN_LATER, "too slow");
	return 0;
}

static int on_writable(struct client *c)
{
	if (c->next && send_next(c))
		return -1;
	if (c->close && !c->next) {
		lws_close_reason(c->wsi, (enum lws_close_status)c->close,
				 (unsigned char *)(uintptr_t)c->reason, strlen(c->reason));
		return -1;
	}
	ask_to_write(c);
	return 0;
}

static void run_message(struct client *c)
{
	struct limit_state state;

	if (limiter_take(c->ws->gateway->limiter, &c->opening->peer, c->opening->who, &state))
		command_run(c->subscriber, (struct slice){c->message.s, c->message.len});
	else
		command_refuse(c->subscriber, 429, "more commands than the rate limit allows",
			       NULL);
	strbuf_reset(&c->message);
	ask_to_write(c);
}

static int on_receive(struct client *c, const void *p, size_t n)
{
	if (c->close)
		return 0;
	if (lws_frame_is_binary(c->wsi))
		return close_with(c, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE, "expected text");
	strbuf_add(&c->message, p, n);
	if (c->message.err)
		return close_with(c, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "longer than 64 KiB");
	if (lws_is_final_fragment(c->wsi) && !lws_remaining_packet_payload(c->wsi))
		run_message(c);
	return 0;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void drop_opening(struct ws *w, struct opening *o)
{
	if (!o)
		return;
	opening_free(o);
	__atomic_sub_fetch(&w->count, 1, __ATOMIC_SEQ_CST);
}

static void adopt(struct ws *w, struct arrival *x)
{
	struct lws_vhost *vhost = x->opening->deflate ? w->deflating : w->plain;
	const char *head = x->opening->head;

	w->adopting = x->opening;
	lws_adopt_socket_vhost_readbuf(vhost, x->fd, head, strlen(head));
	drop_opening(w, TAKE_PTR(w->adopting)); /* nothing came of it */
	free(x);
}

static void adopt_all(struct ws *w)
{
	struct arrival *list;

	pthread_mutex_lock(&w->lock);
	list = TAKE_PTR(w->arrivals);
	pthread_mutex_unlock(&w->lock);
	while (list) {
		struct arrival *x = list;

		list = x->next;
		adopt(w, x);
	}
}

static void on_wake(struct ws *w)
{
	__atomic_store_n(&w->woken, false, __ATOMIC_SEQ_CST);
	adopt_all(w);
	for (struct client *c = w->clients; c; c = c->next_client) {
		if (__atomic_load_n(&w->over, __ATOMIC_SEQ_CST))
			close_with(c, LWS_CLOSE_STATUS_GOINGAWAY, "shutting down");
		if (__atomic_exchange_n(&c->ready, false, __ATOMIC_SEQ_CST))
			ask_to_write(c);
	}
}

/* A client that does not read makes no callback, so it is asked for here. */
static void on_tick(lws_sorted_usec_list_t *sul)
{
	struct ws *w = container_of(sul, struct ws, tick);

	for (struct client *c = w->clients; c; c = c->next_client) {
		if (c->close || c->lagging || !subscriber_lags(c->subscriber))
			continue;
		c->lagging = true;
		lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LAST_WORD_S);
		ask_to_write(c);
	}
	lws_sul_schedule(w->context, 0, &w->tick, on_tick, LWS_US_PER_SEC);
}

static int add_subprotocol(struct lws *wsi, struct lws_process_html_args *to)
{
	static const unsigned char name[] = "Sec-WebSocket-Protocol:";
	const struct opening *o = lws_get_opaque_user_data(wsi);
	const char *s = o ? o->subprotocol : NULL;
	unsigned char *p = (unsigned char *)to->p, *end = p + to->max_len;

	if (!s)
		return 0;
	if (lws_add_http_header_by_name(wsi, name, (const unsigned char *)s, (int)strlen(s), &p,
					end))
		return -1;
	to->p = (char *)p;
	return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons why, void *user, void *in, size_t n)
{
	struct ws *w = wsi ? lws_context_user(lws_get_context(wsi)) : NULL;

	switch (why) {
	case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
		on_wake(w);
		return 0;
	case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
		lws_set_opaque_user_data(wsi, TAKE_PTR(w->adopting));
		return 0;
	case LWS_CALLBACK_ADD_HEADERS:
		return add_subprotocol(wsi, in);
	case LWS_CALLBACK_ESTABLISHED:
		return on_established(w, user, wsi);
	case LWS_CALLBACK_CLOSED:
		on_closed(w, user);
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		drop_opening(w, lws_get_opaque_user_data(wsi)); /* its handshake has failed */
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return on_writable(user);
	case LWS_CALLBACK_RECEIVE:
		return on_receive(user, in, n);
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{.name = "gputel",
	 .callback = on_event,
	 .per_session_data_size = sizeof(struct client),
	 .rx_buffer_size = RX_BYTES},
	{0},
};

static const struct lws_extension extensions[] = {
	{"permessage-deflate", lws_extension_callback_pm_deflate,
	 "permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
	{0},
};

/* ---- the thread ------------------------------------------------------------------------------ */

static void on_log(int level, const char *line)
{
	log_debug("libwebsockets: %.*s", (int)strcspn(line, "\n"), line);
}

static bool is_over(struct ws *w, struct mono since)
{
	return __atomic_load_n(&w->stop, __ATOMIC_SEQ_CST) &&
	       (!w->clients || mono_ms_since(since) > FAREWELL_MS);
}

static void *run(void *arg)
{
	struct ws *w = arg;
	struct mono stopping = {0};

	lws_sul_schedule(w->context, 0, &w->tick, on_tick, LWS_US_PER_SEC);
	while (!is_over(w, stopping)) {
		lws_service(w->context, 0);
		if (!stopping.ns && __atomic_load_n(&w->stop, __ATOMIC_SEQ_CST))
			stopping = mono_now();
	}
	lws_context_destroy(w->context);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct lws_vhost *make_vhost(struct ws *w, struct lws_context_creation_info *info,
				    const char *name, const struct lws_extension *x)
{
	info->vhost_name = name;
	info->extensions = x;
	return lws_create_vhost(w->context, info);
}

static int make_context(struct ws *w, struct err *e)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.protocols = protocols,
		.options = LWS_SERVER_OPTION_VALIDATE_UTF8 | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.user = w,
		.fd_limit_per_thread = (unsigned)w->gateway->conf->ws_max_connections + FILES_SPARE,
		.retry_and_idle_policy = &w->liveness,
	};
	int64_t ping_s = MAX(1, w->gateway->conf->ws_ping_interval / 1000);

	w->liveness.secs_since_valid_ping = (uint16_t)MIN(ping_s, UINT16_MAX / 2);
	w->liveness.secs_since_valid_hangup = (uint16_t)(2 * w->liveness.secs_since_valid_ping);
	lws_set_log_level(LLL_ERR | LLL_WARN, on_log);
	w->context = lws_create_context(&info);
	if (w->context) {
		w->plain = make_vhost(w, &info, "plain", NULL);
		w->deflating = make_vhost(w, &info, "deflating", extensions);
	}
	return w->plain && w->deflating ? 0 : err_set(e, -ENOMEM, "libwebsockets does not start");
}

static void ws_free(struct ws *w)
{
	while (w->arrivals) {
		struct arrival *x = w->arrivals;

		w->arrivals = x->next;
		close(x->fd);
		opening_free(x->opening);
		free(x);
	}
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int ws_start(struct ws **ret, struct gateway *g, struct err *e)
{
	struct ws *w = xcalloc(1, sizeof(*w));
	int r;

	w->gateway = g;
	pthread_mutex_init(&w->lock, NULL);
	r = make_context(w, e);
	if (!r && pthread_create(&w->thread, NULL, run, w))
		r = err_set(e, -EAGAIN, "no thread can be started");
	if (r) {
		if (w->context)
			lws_context_destroy(w->context);
		ws_free(w);
		return r;
	}
	pthread_setname_np(w->thread, "ws");
	*ret = w;
	return 0;
}

size_t ws_count(struct ws *w)
{
	return __atomic_load_n(&w->count, __ATOMIC_SEQ_CST);
}

bool ws_has_room(struct ws *w)
{
	return ws_count(w) < (size_t)w->gateway->conf->ws_max_connections;
}

/* The head is read only where it is not to be left for libmicrohttpd. */
static struct opening *take_head(struct ws *w, int fd, const struct peer *peer)
{
	char *head = xmalloc(HEAD_MAX);
	ssize_t seen = recv(fd, head, HEAD_MAX, MSG_PEEK | MSG_DONTWAIT);
	size_t n = seen > 0 ? head_length(head, (size_t)seen) : 0;
	struct opening *o = n ? opening_of(w->gateway, (struct slice){head, n}, peer) : NULL;

	if (o && recv(fd, head, n, MSG_DONTWAIT) != (ssize_t)n)
		opening_free(TAKE_PTR(o)); /* it has been reset */
	free(head);
	return o;
}

bool ws_adopt(struct ws *w, int fd, const struct peer *peer)
{
	struct opening *o = take_head(w, fd, peer);
	struct arrival *x;

	if (!o)
		return false;
	x = xcalloc(1, sizeof(*x));
	x->fd = fd;
	x->opening = o;
	__atomic_add_fetch(&w->count, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&w->lock);
	x->next = w->arrivals;
	w->arrivals = x;
	pthread_mutex_unlock(&w->lock);
	wake_thread(w);
	return true;
}

void ws_end(struct ws *w)
{
	__atomic_store_n(&w->over, true, __ATOMIC_SEQ_CST);
	wake_thread(w);
}

void ws_stop(struct ws *w)
{
	if (!w)
		return;
	__atomic_store_n(&w->stop, true, __ATOMIC_SEQ_CST);
	ws_end(w);
	lws_cancel_service(w->context);
	pthread_join(w->thread, NULL);
	ws_free(w);
}
