#include "http.h"

#include "clock.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* A peer that vanished without a word is noticed after idle + interval * probes. */
#define KEEPALIVE_IDLE_S     10
#define KEEPALIVE_INTERVAL_S 5
#define USER_TIMEOUT_MS      25000
/* A call is woken by its socket, curl's timers and http_cancel; this only bounds a lost wake-up. */
#define POLL_MAX_MS 1000

/* An easy handle with a multi handle of its own, which holds its connections. */
struct handle {
	CURL *easy;
	CURLM *multi;
	struct handle *next_idle;
	struct handle *prev, *next; /* in http.all */
	char *h2_url; /* up to its path, of where an HTTP/2 connection is open; or NULL */
	char error[CURL_ERROR_SIZE];
};

struct http {
	int dial_timeout_ms, max_inflight;
	char *cacert, *cert, *key;
	atomic_bool cancelled;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t turn;  /* a handle came back, or cancelled */
	int inflight;
	struct handle
		*idle[2]; /* of HTTP/1.1 and 2; last used first: its connection is the warmest */
	struct handle *all;
};

/* One request under way; lives on its caller's stack. */
struct exchange {
	struct http *http;
	struct handle *handle;
	const struct http_request *request;
	int *ret_status;
	int (*on_data)(const char *p, size_t n, void *arg);
	int (*on_idle)(void *arg);
	void *arg;
	bool stream;
	int idle_ms;
	struct mono begun, active;
	bool sent;  /* bytes of the request may have left */
	int result; /* of on_data */
};

/* ---- handles -------------------------------------------------------------------------------- */

static int on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	unsigned ms = USER_TIMEOUT_MS;

	(void)arg;
	(void)purpose;
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	return CURL_SOCKOPT_OK;
}

static void handle_options(const struct http *h, struct handle *hd)
{
	CURL *c = hd->easy;

	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, hd->error);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_S);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_INTERVAL_S);
	curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, on_socket);
	curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(c, CURLOPT_CAINFO, h->cacert);
	curl_easy_setopt(c, CURLOPT_SSLCERT, h->cert);
	curl_easy_setopt(c, CURLOPT_SSLKEY, h->key);
}

static void handle_link(struct http *h, struct handle *hd)
{
	pthread_mutex_lock(&h->lock);
	hd->next = h->all;
	if (h->all)
		h->all->prev = hd;
	h->all = hd;
	pthread_mutex_unlock(&h->lock);
}

static void handle_unlink(struct http *h, struct handle *hd)
{
	pthread_mutex_lock(&h->lock);
	if (hd->prev)
		hd->prev->next = hd->next;
	else
		h->all = hd->next;
	if (hd->next)
		hd->next->prev = hd->prev;
	pthread_mutex_unlock(&h->lock);
}

static void handle_free(struct http *h, struct handle *hd)
{
	handle_unlink(h, hd);
	curl_easy_cleanup(hd->easy);
	curl_multi_cleanup(hd->multi);
	free(hd->h2_url);
	free(hd);
}

static struct handle *handle_new(struct http *h)
{
	struct handle *hd = xcalloc(1, sizeof(*hd));

	hd->easy = curl_easy_init();
	hd->multi = curl_multi_init();
	if (!hd->easy || !hd->multi) {
		curl_easy_cleanup(hd->easy);
		curl_multi_cleanup(hd->multi);
		free(hd);
		return NULL;
	}
	handle_options(h, hd);
	handle_link(h, hd);
	return hd;
}

/* Waits for a turn until the deadline; then *ret is an idle handle, or NULL for want of one. */
static int turn_take(struct http *h, bool h2, struct mono deadline, struct handle **ret)
{
	struct timespec ts = {deadline.ns / NS_PER_SEC, deadline.ns % NS_PER_SEC};
	int r = 0;

	pthread_mutex_lock(&h->lock);
	while (!r && !h->cancelled && h->inflight >= h->max_inflight)
		r = pthread_cond_clockwait(&h->turn, &h->lock, CLOCK_MONOTONIC, &ts);
	if (!r && !h->cancelled) {
		h->inflight++;
		*ret = h->idle[h2];
		if (h->idle[h2])
			h->idle[h2] = h->idle[h2]->next_idle;
	}
	r = h->cancelled ? -ECANCELED : r ? -ECONNREFUSED : 0;
	pthread_mutex_unlock(&h->lock);
	return r;
}

static void turn_give(struct http *h, bool h2, struct handle *hd)
{
	pthread_mutex_lock(&h->lock);
	if (hd) {
		hd->next_idle = h->idle[h2];
		h->idle[h2] = hd;
	}
	h->inflight--;
	pthread_cond_signal(&h->turn);
	pthread_mutex_unlock(&h->lock);
}

/* ---- one exchange --------------------------------------------------------------------------- */

static int on_connected(void *arg, char *peer, char *local, int peer_port, int local_port)
{
	struct exchange *x = arg;

	(void)peer;
	(void)local;
	(void)peer_port;
	(void)local_port;
	x->sent = true;
	return CURL_PREREQFUNC_OK;
}

static int exchange_status(const struct exchange *x)
{
	long status = 0;

	curl_easy_getinfo(x->handle->easy, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

static size_t on_write(char *p, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;

	*x->ret_status = exchange_status(x);
	x->active = mono_now();
	x->result = x->on_data(p, size * n, x->arg);
	return x->result ? 0 : size * n;
}

/* One line of the head, or of the trailer. */
static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	const char *colon = memchr(p, ':', size * n), *end = p + size * n;
	const char *value = colon ? colon + 1 : end;

	while (value < end && *value == ' ')
		value++;
	while (end > value && (end[-1] == '\r' || end[-1] == '\n'))
		end--;
	if (colon)
		x->request->on_header((struct slice){p, (size_t)(colon - p)},
				      (struct slice){value, (size_t)(end - value)},
				      x->request->header_arg);
	return size * n;
}

static struct curl_slist *header_list(const struct http_request *q)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");

	for (size_t i = 0; i < q->n_headers; i++) {
		char *line = xasprintf("%s: %s", q->headers[i].name, q->headers[i].value);

		list = curl_slist_append(list, line);
		free(line);
	}
	return list;
}

static void exchange_options(struct exchange *x, struct curl_slist *headers, int timeout_ms)
{
	const struct http_request *q = x->request;
	CURL *c = x->handle->easy;

	if (strcmp(q->method, "POST") == 0) {
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->body ? q->body : "");
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
	} else {
		curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
	}
	curl_easy_setopt(c, CURLOPT_URL, q->url);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, q->compressed ? "gzip" : NULL);
	curl_easy_setopt(
		c, CURLOPT_CONNECTTIMEOUT_MS,
		(long)(q->dial_timeout_ms ? q->dial_timeout_ms : x->http->dial_timeout_ms));
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, x->stream ? 0L : (long)timeout_ms);
	curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(c, CURLOPT_PREREQDATA, x);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, q->on_header ? on_header : NULL);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, q->on_header ? x : NULL);
}

/* What has to be looked at between two steps: non-zero ends the exchange. */
static int exchange_tick(struct exchange *x)
{
	if (atomic_load(&x->http->cancelled))
		return -ECANCELED;
	if (!x->stream)
		return 0;
	if (mono_ms_since(x->begun) >= x->request->timeout_ms && exchange_status(x) == 0)
		return x->sent ? -ETIMEDOUT : -ECONNREFUSED;
	if (!x->on_idle || mono_ms_since(x->active) < x->idle_ms)
		return 0;
	x->active = mono_now();
	return x->on_idle(x->arg);
}

static int exchange_drive(struct exchange *x)
{
	int running, wait_ms = x->on_idle ? MIN(x->idle_ms, POLL_MAX_MS) : POLL_MAX_MS, r;

	for (;;) {
		if (curl_multi_perform(x->handle->multi, &running))
			return x->sent ? -ECONNRESET : -ECONNREFUSED;
		if (!running)
			return 0;
		r = exchange_tick(x);
		if (r)
			return r;
		curl_multi_poll(x->handle->multi, NULL, 0, wait_ms, NULL);
	}
}

static int exchange_outcome(struct exchange *x, struct err *e)
{
	const char *text = x->handle->error;
	int pending;
	CURLMsg *msg = curl_multi_info_read(x->handle->multi, &pending);
	CURLcode code = msg ? msg->data.result : CURLE_RECV_ERROR;

	if (code == CURLE_OK) {
		*x->ret_status = exchange_status(x);
		return 0;
	}
	if (!text[0])
		text = curl_easy_strerror(code);
	if (x->result)
		return err_set(e, x->result, "%s", strerror(abs(x->result)));
	if (!x->sent)
		return err_set(e, -ECONNREFUSED, "%s", text);
	return err_set(e, code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -ECONNRESET, "%s", text);
}

static int exchange_run(struct exchange *x, int timeout_ms, struct err *e)
{
	struct curl_slist *headers = header_list(x->request);
	int r;

	x->handle->error[0] = '\0';
	exchange_options(x, headers, timeout_ms);
	curl_multi_add_handle(x->handle->multi, x->handle->easy);
	r = exchange_drive(x);
	if (r)
		err_set(e, r, "%s", r < 0 ? strerror(-r) : "stopped");
	else
		r = exchange_outcome(x, e);
	curl_multi_remove_handle(x->handle->multi, x->handle->easy);
	curl_slist_free_all(headers);
	return r;
}

/* ---- HTTP/2 --------------------------------------------------------------------------------- */

static size_t origin_len(const char *url)
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	return (size_t)(host - url) + strcspn(host, "/");
}

static bool is_open(const struct handle *hd, const char *url)
{
	return hd->h2_url && strlen(hd->h2_url) == origin_len(url) &&
	       !strncmp(hd->h2_url, url, origin_len(url));
}

/* On http:// HTTP/2 is either known beforehand, or asked for by an upgrade that etcd does not know.
 * curl 7.88 takes "known" for new connections only and fails with it on one that is open, so there
 * it is told to ask, which it does not do where HTTP/2 is spoken already. */
static void h2_options(struct exchange *x)
{
	const char *url = x->request->url;
	bool open = is_open(x->handle, url), tls = !strncmp(url, "https", 5);
	long version = tls    ? CURL_HTTP_VERSION_2TLS
		       : open ? CURL_HTTP_VERSION_2_0
			      : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;

	curl_easy_setopt(x->handle->easy, CURLOPT_HTTP_VERSION, version);
	curl_easy_setopt(x->handle->easy, CURLOPT_FRESH_CONNECT, open ? 0L : 1L);
}

static bool h2_spoken(const struct exchange *x)
{
	long version = 0;

	curl_easy_getinfo(x->handle->easy, CURLINFO_HTTP_VERSION, &version);
	return version == CURL_HTTP_VERSION_2_0;
}

static int h2_once(struct exchange *x, struct mono deadline, struct err *e)
{
	const char *url = x->request->url;
	int r;

	h2_options(x);
	r = exchange_run(x, (int)MAX(mono_ms_until(deadline), 1), e);
	if (!r && !h2_spoken(x))
		r = err_set(e, -EPROTONOSUPPORT, "no HTTP/2 is spoken there");
	if (!r && is_open(x->handle, url))
		return 0;
	free(x->handle->h2_url);
	x->handle->h2_url = r ? NULL : xstrndup(url, origin_len(url));
	return r;
}

/* Where a connection that was open had gone, curl asked on a new one: nobody understood that, and
 * the request goes again. */
static int h2_run(struct exchange *x, struct mono deadline, struct err *e)
{
	bool was_open = is_open(x->handle, x->request->url);
	int r = h2_once(x, deadline, e);

	if (r != -EPROTONOSUPPORT || !was_open)
		return r;
	strbuf_reset(x->arg);
	return h2_once(x, deadline, e);
}

/* ---- public --------------------------------------------------------------------------------- */

static void curl_setup(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

static char *dup_or_null(const char *s)
{
	return s && s[0] ? xstrdup(s) : NULL;
}

int http_open(struct http **ret, const struct http_conf *conf, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http *h;

	if (conf->max_inflight < 1 || conf->dial_timeout_ms < 1)
		return err_set(e, -EINVAL, "connections and dial timeout must be positive");
	pthread_once(&once, curl_setup);
	h = xcalloc(1, sizeof(*h));
	h->dial_timeout_ms = conf->dial_timeout_ms;
	h->max_inflight = conf->max_inflight;
	h->cacert = dup_or_null(conf->cacert);
	h->cert = dup_or_null(conf->cert);
	h->key = dup_or_null(conf->key);
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->turn, NULL);
	*ret = h;
	return 0;
}

void http_close(struct http *h)
{
	if (!h)
		return;
	while (h->all)
		handle_free(h, h->all);
	pthread_cond_destroy(&h->turn);
	pthread_mutex_destroy(&h->lock);
	free(h->cacert);
	free(h->cert);
	free(h->key);
	free(h);
}

void http_cancel(struct http *h)
{
	pthread_mutex_lock(&h->lock);
	atomic_store(&h->cancelled, true);
	for (struct handle *hd = h->all; hd; hd = hd->next)
		curl_multi_wakeup(hd->multi);
	pthread_cond_broadcast(&h->turn);
	pthread_mutex_unlock(&h->lock);
}

static int append(const char *p, size_t n, void *arg)
{
	struct strbuf *b = arg;

	strbuf_add(b, p, n);
	return b->err;
}

int http_call(struct http *h, const struct http_request *q, int *ret_status,
	      struct strbuf *ret_body, struct err *e)
{
	struct mono deadline = mono_in_ms(q->timeout_ms);
	int status = 0, r;
	struct exchange x = {
		.http = h,
		.request = q,
		.ret_status = &status,
		.on_data = append,
		.arg = ret_body,
	};

	strbuf_reset(ret_body);
	r = turn_take(h, q->h2, deadline, &x.handle);
	if (r)
		return err_set(e, r, "%s",
			       r == -ECANCELED ? strerror(ECANCELED)
					       : "no connection came free in time");
	if (!x.handle)
		x.handle = handle_new(h);
	if (x.handle && q->h2)
		r = h2_run(&x, deadline, e);
	else if (x.handle)
		r = exchange_run(&x, (int)MAX(mono_ms_until(deadline), 1), e);
	else
		r = err_set(e, -ECONNREFUSED, "out of memory");
	turn_give(h, q->h2, x.handle);
	if (r == 0)
		*ret_status = status;
	return r;
}

int http_stream(struct http *h, const struct http_request *q, int *ret_status,
		int (*on_data)(const char *p, size_t n, void *arg), int (*on_idle)(void *arg),
		int idle_ms, void *arg, struct err *e)
{
	struct mono now = mono_now();
	struct exchange x = {
		.http = h,
		.handle = handle_new(h),
		.request = q,
		.ret_status = ret_status,
		.on_data = on_data,
		.on_idle = on_idle,
		.arg = arg,
		.stream = true,
		.idle_ms = idle_ms,
		.begun = now,
		.active = now,
	};
	int r;

	if (!x.handle)
		return err_set(e, -ECONNREFUSED, "out of memory");
	if (q->h2)
		h2_options(&x);
	r = exchange_run(&x, q->timeout_ms, e);
	handle_free(h, x.handle);
	return r;
}
