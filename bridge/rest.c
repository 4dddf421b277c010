#include "rest.h"

#include <microhttpd.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "cors.h"
#include "daemon.h"
#include "head.h"
#include "log.h"
#include "route.h"
#include "stats.h"
#include "work.h"

#define DAEMONS_MAX 4
/* Room for any head that is not refused as too long here, and for the request it is copied into. */
#define CONNECTION_BYTES (128 << 10)
#define CONNECTIONS_MAX  100000
#define SILENCE_S        60 /* of a connection in the middle of something */
#define BLOCK            (64 << 10)
#define BODY_IGNORED_MAX (64 << 10)          /* what comes with a GET */
#define BODIES_MAX       ((size_t)256 << 20) /* of all requests that are under way */
#define STOP_POLL_MS     5

struct rest {
	struct gateway *gateway;
	struct MHD_Daemon *daemons[DAEMONS_MAX];
	unsigned n, turn; /* turn: atomic */
	size_t busy;      /* atomic */
	size_t suspended; /* atomic */
	size_t bodies;    /* bytes, atomic */
};

/* A request and its answer. Of the connection's thread; while suspended, the pool's. */
struct exchange {
	struct request q;
	struct answer a;
	struct rest *rest;
	struct MHD_Connection *c;
	struct conn *conn;
	struct job job;
	size_t body_seen, body_kept; /* kept: counted in rest->bodies */
	bool answered;               /* a is complete */
	bool counted;                /* in rest->busy */
	int sent;                    /* status; 0: not yet */
};

/* ---- suspending ------------------------------------------------------------------------------ */

void request_suspend(struct request *q)
{
	struct exchange *x = container_of(q, struct exchange, q);

	__atomic_add_fetch(&x->rest->suspended, 1, __ATOMIC_SEQ_CST);
	MHD_suspend_connection(x->c);
}

void request_resume(struct request *q)
{
	struct exchange *x = container_of(q, struct exchange, q);
	struct rest *r = x->rest;

	MHD_resume_connection(x->c); /* x may be gone from here on */
	__atomic_sub_fetch(&r->suspended, 1, __ATOMIC_SEQ_CST);
}

/* ---- the request ----------------------------------------------------------------------------- */

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *name,
				  const char *value)
{
	struct request *q = cls;

	if (q->n_headers == HEAD_FIELDS_MAX)
		return MHD_NO;
	if (!q->headers)
		q->headers = xcalloc(HEAD_FIELDS_MAX, sizeof(*q->headers));
	q->headers[q->n_headers++] = (struct pair){name, value ? value : ""};
	return MHD_YES;
}

static char *decoded(const char *s)
{
	struct strbuf b;
	char *text = NULL;

	strbuf_init(&b, strlen(s) + 1);
	if (!*s)
		text = xstrdup("");
	else if (percent_decode(slice_str(s), &b) == 0)
		text = strbuf_take(&b);
	strbuf_release(&b);
	return text;
}

static enum MHD_Result add_arg(void *cls, enum MHD_ValueKind kind, const char *name,
			       const char *value)
{
	struct exchange *x = cls;
	struct request *q = &x->q;
	char *n, *v;

	if (!*name && (!value || !*value))
		return MHD_YES; /* && */
	n = decoded(name);
	v = decoded(value ? value : "");
	if (!q->args)
		q->args = xcalloc(ARGS_MAX, sizeof(*q->args));
	if (!n || !v || q->n_args == ARGS_MAX) {
		answer_problem(&x->a, 400,
			       n && v ? "more than 256 parameters"
				      : "the query is not percent-encoded properly");
		free(n);
		free(v);
		return MHD_NO;
	}
	q->args[q->n_args++] = (struct pair){n, v};
	return MHD_YES;
}

static struct peer peer_of_connection(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return i && i->client_addr ? peer_of(i->client_addr) : (struct peer){0};
}

static size_t head_bytes(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	return i ? i->header_size : 0;
}

/* The same limits as on a connection's first request (head.h). */
static bool is_short(struct exchange *x, const char *path)
{
	size_t n = head_bytes(x->c);
	int headers = MHD_get_connection_values(x->c, MHD_HEADER_KIND, NULL, NULL);

	if (strlen(path) > HEAD_TARGET_MAX)
		answer_problem(&x->a, 414, "the target of the request is longer than 8 KiB");
	else if (n > HEAD_MAX)
		answer_problem(&x->a, 431, "the head of the request is longer than 32 KiB");
	else if (headers > HEAD_FIELDS_MAX)
		answer_problem(&x->a, 431, "more than 100 headers");
	return !x->a.problem;
}

static void read_head(struct exchange *x, const char *path, const char *method)
{
	struct request *q = &x->q;

	q->gateway = x->rest->gateway;
	q->method = method_of(method);
	q->path = path;
	q->since = mono_now();
	MHD_get_connection_values(x->c, MHD_HEADER_KIND, add_header, q);
	q->peer = peer_of_connection(x->c);
	q->peer = proxies_client(q->gateway->proxies, &q->peer, request_header(q, "Forwarded"),
				 request_header(q, "X-Forwarded-For"));
	request_identify(q);
	if (is_short(x, path))
		MHD_get_connection_values(x->c, MHD_GET_ARGUMENT_KIND, add_arg, x);
}

static size_t body_max(const struct request *q)
{
	return q->route && q->route->body_max ? q->route->body_max : BODY_IGNORED_MAX;
}

static bool has_fitting_body(struct exchange *x)
{
	const char *length = request_header(&x->q, "Content-Length");

	if (length && strtoull(length, NULL, 10) > body_max(&x->q))
		answer_problem(&x->a, 413, "the body is longer than %zu bytes", body_max(&x->q));
	return !x->a.problem;
}

static struct conn *conn_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return i ? i->socket_context : NULL;
}

static struct exchange *exchange_new(struct rest *r, struct MHD_Connection *c)
{
	struct exchange *x = xcalloc(1, sizeof(*x));

	x->rest = r;
	x->c = c;
	x->conn = conn_of(c);
	answer_init(&x->a);
	return x;
}

static void count(struct exchange *x)
{
	if (x->q.route && x->q.route->flags & ROUTE_ENDLESS)
		return;
	x->counted = true;
	__atomic_add_fetch(&x->rest->busy, 1, __ATOMIC_SEQ_CST);
}

static void exchange_free(struct exchange *x)
{
	if (x->counted)
		__atomic_sub_fetch(&x->rest->busy, 1, __ATOMIC_SEQ_CST);
	__atomic_sub_fetch(&x->rest->bodies, x->body_kept, __ATOMIC_SEQ_CST);
	answer_release(&x->a);
	request_release(&x->q);
	free(x);
}

/* ---- the answer ------------------------------------------------------------------------------ */

static ssize_t read_piece(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct exchange *x = cls;
	ssize_t n = x->a.ops->read(x->a.ops_arg, buf, max);

	if (n >= 0)
		return n;
	if (n == BODY_END && x->a.length == ANSWER_LENGTH_UNKNOWN)
		return MHD_CONTENT_READER_END_OF_STREAM;
	conn_will_reset(x->conn);
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

/* Of an answer to HEAD nothing is read. */
static ssize_t read_nothing(void *cls, uint64_t pos, char *buf, size_t max)
{
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *response_of(struct exchange *x)
{
	struct answer *a = &x->a;
	uint64_t length = a->length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)a->length;
	size_t n = a->body.len;

	if (a->ops)
		return MHD_create_response_from_callback(length, BLOCK, read_piece, x, NULL);
	if (a->length != ANSWER_LENGTH_UNKNOWN)
		return MHD_create_response_from_callback(length, BLOCK, read_nothing, x, NULL);
	return MHD_create_response_from_buffer(n, a->body.s, MHD_RESPMEM_PERSISTENT);
}

/* The exchange outlives its response: both end in on_completed. */
static enum MHD_Result send_answer(struct exchange *x)
{
	struct MHD_Response *m;
	enum MHD_Result r;

	cors_headers(&x->a, &x->q);
	if (daemon_stopping())
		answer_header(&x->a, "Connection", "close");
	answer_finish(&x->a, &x->q);
	m = response_of(x);
	if (!m)
		return MHD_NO;
	for (size_t i = 0; i < x->a.n_headers; i++)
		MHD_add_response_header(m, x->a.headers[i].name, x->a.headers[i].value);
	conn_set(x->conn, CONN_BUSY);
	x->sent = x->a.status;
	r = MHD_queue_response(x->c, (unsigned)x->a.status, m);
	MHD_destroy_response(m);
	return r;
}

void request_answered(struct request *q)
{
	container_of(q, struct exchange, q)->answered = true;
	request_resume(q);
}

static void run_handler(struct job *j)
{
	struct exchange *x = container_of(j, struct exchange, job);

	x->q.route->handle(&x->q, &x->a);
	request_answered(&x->q);
}

static bool may_wait(const struct request *q)
{
	return q->route->flags & ROUTE_WAITS && (!q->route->waits || q->route->waits(q));
}

/* The request is complete. */
static enum MHD_Result handle(struct exchange *x)
{
	conn_set(x->conn, CONN_BUSY);
	if (!may_wait(&x->q) && !(x->q.route->flags & ROUTE_LATER)) {
		x->q.route->handle(&x->q, &x->a);
		return send_answer(x);
	}
	request_suspend(&x->q);
	if (x->q.route->flags & ROUTE_LATER) {
		x->q.route->handle(&x->q, &x->a);
		return MHD_YES;
	}
	x->job.run = run_handler;
	pool_submit(x->rest->gateway->pool, &x->job);
	return MHD_YES;
}

/* Keeps a piece of a body, within what all of them may take together. */
static void keep_body(struct exchange *x, const char *data, size_t size)
{
	size_t all = __atomic_add_fetch(&x->rest->bodies, size, __ATOMIC_SEQ_CST);

	x->body_kept += size;
	if (all <= BODIES_MAX) {
		strbuf_add(&x->q.body, data, size);
		return;
	}
	answer_header(&x->a, "Retry-After", "1");
	answer_problem(&x->a, 503,
		       "the bodies of other requests take all memory there is for them");
}

/* A problem with it is sent when libmicrohttpd lets us: not in the middle. */
static enum MHD_Result take_body(struct exchange *x, const char *data, size_t *size)
{
	x->body_seen += *size;
	if (x->body_seen > body_max(&x->q))
		answer_problem(&x->a, 413, "the body is longer than %zu bytes", body_max(&x->q));
	else if (x->q.route->body_max)
		keep_body(x, data, *size);
	x->answered = x->a.problem;
	*size = 0;
	return MHD_YES;
}

static bool is_body_coming(const struct request *q)
{
	const char *length = request_header(q, "Content-Length");

	return (length && strcmp(length, "0") != 0) || request_header(q, "Transfer-Encoding");
}

/* The head is there. Where it is answered at once and a body was announced, that is before the body
 * comes, and libmicrohttpd ends the connection; else at the end of the request. */
static enum MHD_Result begin(struct exchange *x, const char *path, const char *method)
{
	read_head(x, path, method);
	x->answered = x->a.problem || !route_admit(&x->q, &x->a) || !has_fitting_body(x);
	count(x);
	if (x->answered)
		return is_body_coming(&x->q) ? send_answer(x) : MHD_YES;
	strbuf_init(&x->q.body, x->q.route->body_max);
	conn_set(x->conn, CONN_BODY);
	return MHD_YES;
}

/* Called with the head, then for each piece of the body, then at its end, and again after a resume.
 */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *path,
				  const char *method, const char *version, const char *data,
				  size_t *size, void **con_cls)
{
	struct exchange *x = *con_cls;

	if (!x) {
		*con_cls = x = exchange_new(cls, c);
		return begin(x, path, method);
	}
	if (*size && !x->answered)
		return take_body(x, data, size);
	if (*size) {
		x->body_seen += *size;
		*size = 0;
		return x->body_seen > 2 * body_max(&x->q) ? MHD_NO : MHD_YES;
	}
	return x->answered ? send_answer(x) : handle(x);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* Probes ask often, and a 503 is what they are for. */
static enum log_level level_of(const struct route *r, int status)
{
	if (r && r->flags & ROUTE_FREE)
		return LOG_LEVEL_DEBUG;
	return status >= 500 ? LOG_LEVEL_WARN : status >= 400 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
}

static void log_request(const struct exchange *x, int64_t us)
{
	const struct request *q = &x->q;
	enum log_level level = level_of(q->route, x->sent);
	static struct log_site sites[LOG_LEVEL_DEBUG + 1]; /* those of 4xx do not hide a 5xx */
	char peer[PEER_TEXT_MAX];

	if (!log_enabled(level))
		return;
	peer_format(&q->peer, peer);
	log_limited(&sites[level], level,
		    "request %s: trace %s span %s: %s %s %.200s: %d in %lld us%s%.200s", q->id,
		    q->trace, q->span, peer, q->route ? q->route->pattern : "-", q->path, x->sent,
		    (long long)us, x->a.problem ? ": " : "", x->a.problem ? x->a.detail.text : "");
}

/* 0: the client went before an answer. */
static void count_request(const struct exchange *x, int64_t us)
{
	const char *route = x->q.route ? x->q.route->pattern : "none";
	char code[16] = "gone";

	if (x->sent)
		snprintf(code, sizeof(code), "%d", x->sent);
	stat_cell_add(stats_cell(STAT_HTTP_REQUESTS, route, code), 1);
	stat_cell_observe(stats_cell(STAT_HTTP_DURATION, route, NULL), us);
}

static void on_completed(void *cls, struct MHD_Connection *c, void **con_cls,
			 enum MHD_RequestTerminationCode why)
{
	struct exchange *x = *con_cls;
	int64_t us;

	if (!x)
		return;
	*con_cls = NULL;
	us = (mono_now().ns - x->q.since.ns) / 1000;
	count_request(x, us);
	log_request(x, us);
	conn_set(x->conn, CONN_IDLE);
	exchange_free(x);
}

static void on_connection(void *cls, struct MHD_Connection *c, void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	struct rest *r = cls;
	const union MHD_ConnectionInfo *i;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		conn_close(TAKE_PTR(*context));
		return;
	}
	i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	*context = conn_open(r->gateway->conns, i->connect_fd);
}

/* Paths and queries are decoded here, once per segment: libmicrohttpd's own would cut at %00 and
 * make slashes of %2F. */
static size_t keep_encoded(void *cls, struct MHD_Connection *c, char *s)
{
	return strlen(s);
}

static void on_log(void *cls, const char *fmt, va_list ap) printf_like(2, 0);

static void on_log(void *cls, const char *fmt, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	log_debug("libmicrohttpd: %s", text);
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct MHD_Daemon *start_daemon(struct rest *r)
{
	return MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_NO_LISTEN_SOCKET |
			MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
		0, NULL, NULL, on_request, r, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, r, MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded, NULL,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_END);
}

int rest_start(struct rest **ret, struct gateway *g, struct err *e)
{
	struct rest *r = xcalloc(1, sizeof(*r));
	unsigned n = (unsigned)MAX(2, MIN(get_nprocs(), DAEMONS_MAX));

	r->gateway = g;
	while (r->n < n) {
		r->daemons[r->n] = start_daemon(r);
		if (!r->daemons[r->n]) {
			rest_stop(r);
			return err_set(e, -EAGAIN, "libmicrohttpd does not start");
		}
		r->n++;
	}
	*ret = r;
	return 0;
}

void rest_adopt(struct rest *r, int fd, const struct peer *peer)
{
	unsigned turn = __atomic_fetch_add(&r->turn, 1, __ATOMIC_RELAXED);
	struct sockaddr_storage sa;
	socklen_t n = peer_sockaddr(peer, &sa);

	/* It closes the descriptor itself where it fails. */
	if (MHD_add_connection(r->daemons[turn % r->n], fd, (struct sockaddr *)&sa, n) != MHD_YES)
		log_debug("libmicrohttpd does not take a connection");
}

size_t rest_busy(struct rest *r)
{
	return __atomic_load_n(&r->busy, __ATOMIC_SEQ_CST);
}

void rest_stop(struct rest *r)
{
	if (!r)
		return;
	while (__atomic_load_n(&r->suspended, __ATOMIC_SEQ_CST))
		usleep(STOP_POLL_MS * 1000);
	for (unsigned i = 0; i < r->n; i++)
		MHD_stop_daemon(r->daemons[i]);
	free(r);
}
