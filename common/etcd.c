#include "etcd_internal.h"
#include "stats.h"

#include <time.h>

enum { WORDS_MAX = 200 /* shown of an answer that nobody understands */ };
enum {
	BACK_MS = 1000,
	BACK_MS_MIN = 200 /* for the question whether etcd is back, in all and each */
};
enum { JSON_MAX = 8 << 20 /* ceiling of a request: ETCD_TXN_BYTES in base64, and fields */ };

/* ---- life ----------------------------------------------------------------------------------- */

static char *dup_or_null(const char *s)
{
	return s && s[0] ? xstrdup(s) : NULL;
}

static int conf_check(const struct etcd_conf *conf, struct err *e)
{
	if (conf->request_timeout_ms < 1)
		return err_set(e, -EINVAL, "the request timeout must be positive");
	if (strlen(conf->prefix) > ETCD_KEY_MAX / 2)
		return err_set(e, -EINVAL, "the prefix is longer than %d bytes", ETCD_KEY_MAX / 2);
	if (conf->username && conf->username[0] && !conf->password)
		return err_set(e, -EINVAL, "a user name needs a password");
	return 0;
}

static struct etcd *client_new(const struct etcd_conf *conf)
{
	struct etcd *c = xcalloc(1, sizeof(*c));

	c->prefix = xstrdup(conf->prefix);
	c->prefix_len = strlen(conf->prefix);
	c->request_timeout_ms = conf->request_timeout_ms;
	c->circuit_failures = conf->circuit_failures;
	c->circuit_open_ms = conf->circuit_open_ms;
	c->native = conf->native;
	c->username = dup_or_null(conf->username);
	c->password = dup_or_null(conf->password);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	return c;
}

int etcd_open(struct etcd **ret, const struct etcd_conf *conf, struct err *e)
{
	const struct http_conf http = {
		.dial_timeout_ms = conf->dial_timeout_ms,
		.max_inflight = conf->max_inflight,
		.cacert = conf->cacert,
		.cert = conf->cert,
		.key = conf->key,
	};
	int r = conf_check(conf, e);
	struct etcd *c;

	if (r)
		return r;
	c = client_new(conf);
	r = etcd_endpoints_parse(c, conf->endpoints, e);
	if (!r)
		r = http_open(&c->http, &http, e);
	if (r)
		etcd_close(c);
	else
		*ret = c;
	return r;
}

void etcd_close(struct etcd *c)
{
	if (!c)
		return;
	http_close(c->http);
	for (int i = 0; i < c->n_endpoints; i++)
		free(c->endpoints[i].url);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c->token);
	free(c->prefix);
	free(c->username);
	free(c->password);
	free(c);
}

void etcd_cancel(struct etcd *c)
{
	pthread_mutex_lock(&c->lock);
	c->cancelled = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	http_cancel(c->http);
}

bool etcd_sleep_ms(struct etcd *c, int64_t ms)
{
	struct mono until = mono_in_ms(ms);
	struct timespec ts = {until.ns / NS_PER_SEC, until.ns % NS_PER_SEC};
	bool cancelled;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (!c->cancelled && !r)
		r = pthread_cond_clockwait(&c->changed, &c->lock, CLOCK_MONOTONIC, &ts);
	cancelled = c->cancelled;
	pthread_mutex_unlock(&c->lock);
	return cancelled;
}

int etcd_request_timeout_ms(const struct etcd *c)
{
	return c->request_timeout_ms;
}

/* ---- tokens --------------------------------------------------------------------------------- */

static int authenticate(struct etcd *c, int timeout_ms, char **ret, struct err *e)
{
	struct etcd_request q = {
		.call = CALL_AUTHENTICATE, /* slow on purpose: no half of the time for others */
		.anonymous = true,
		.timeout_ms = timeout_ms,
	};
	struct json *doc = NULL;
	struct strbuf message;
	struct slice token;
	int r;

	strbuf_init(&message, 64 << 10);
	proto_add_bytes(&message, AUTH_NAME, slice_str(c->username));
	proto_add_bytes(&message, AUTH_PASSWORD, slice_str(c->password));
	q.message = (struct slice){message.s, message.len};
	r = message.err ? err_set(e, -EINVAL, "user name or password too long")
			: etcd_call(c, &q, &doc, e);
	strbuf_release(&message);
	if (r && r != -EOPNOTSUPP)
		return r;
	token = json_str(json_get(doc, "token"));
	*ret = xstrndup(token.p, token.len);
	json_free(doc);
	return 0;
}

/* Makes this thread the one that asks for a token (*ret NULL) or yields a copy of one that is not
 * the stale one. */
static int token_claim(struct etcd *c, const char *stale, struct mono deadline, char **ret)
{
	struct timespec ts = {deadline.ns / NS_PER_SEC, deadline.ns % NS_PER_SEC};
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (c->authenticating && !c->cancelled && !r)
		r = pthread_cond_clockwait(&c->changed, &c->lock, CLOCK_MONOTONIC, &ts);
	if (c->cancelled)
		r = -ECANCELED;
	else if (r)
		r = -ECONNREFUSED;
	else if (c->token && (!stale || strcmp(stale, c->token) != 0))
		*ret = xstrdup(c->token);
	else
		c->authenticating = true;
	pthread_mutex_unlock(&c->lock);
	return r;
}

static void token_settle(struct etcd *c, const char *fresh)
{
	pthread_mutex_lock(&c->lock);
	if (fresh) {
		free(c->token);
		c->token = xstrdup(fresh);
	}
	c->authenticating = false;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

int etcd_token(struct etcd *c, const char *stale, struct mono deadline, char **ret, struct err *e)
{
	char *token = NULL;
	int r = token_claim(c, stale, deadline, &token);

	if (r)
		return err_set(e, r, "no token from etcd: %s", strerror(-r));
	if (!token) {
		r = authenticate(c, (int)MAX(mono_ms_until(deadline), 1), &token, e);
		token_settle(c, token);
	}
	*ret = token;
	/* the request that wants it has not been sent */
	return etcd_unknown(r) ? -ECONNREFUSED : r;
}

/* ---- one request ---------------------------------------------------------------------------- */

/* A request on its way over the endpoints. */
struct call {
	struct etcd *client;
	const struct etcd_request *request;
	struct mono deadline;
	char *token;                /* or NULL */
	struct strbuf json;         /* the gateway's body, once made */
	struct etcd_answer *answer; /* to be filled */
};

size_t etcd_json_headers(const char *token, struct http_header headers[2])
{
	headers[0] = (struct http_header){"Content-Type", "application/json"};
	headers[1] = (struct http_header){"Authorization", token};
	return token && token[0] ? 2 : 1;
}

/* Answers of etcd have a header, but for a few; what has none is somebody else's. */
static bool is_etcds(const struct json *doc)
{
	return json_get(doc, "header") || json_get(json_get(doc, "result"), "header");
}

static int answer_decode(struct call *k, int status, const struct strbuf *body, struct err *e)
{
	/* a streamed method (keepalive) answers one object a line; the first is the answer */
	const char *end = memchr(body->s, '\n', body->len);
	size_t len = end ? (size_t)(end - body->s) : body->len;
	struct json *doc = NULL;
	int r = json_parse(body->s, len, &doc, e);

	if (status != 200 && !doc)
		r = err_set(e, -EIO, "HTTP status %d: %.*s", status, (int)MIN(len, WORDS_MAX),
			    body->s ? body->s : "");
	else if (status != 200 || json_get(doc, "error"))
		r = etcd_error(status, doc, e);
	else if (r)
		r = -EIO;
	else if (!k->request->headless && !is_etcds(doc))
		r = err_set(e, -EIO, "an answer that is not etcd's");
	if (r) {
		json_free(doc);
		return r;
	}
	k->answer->doc = doc;
	k->answer->size = body->len;
	return 0;
}

/* The last endpoint gets all the time that is left; before that something is kept for the others:
 * half of it if the request may be repeated elsewhere, else what follows a failed dial. */
struct patience {
	int timeout_ms, dial_timeout_ms;
};

static struct patience patience(const struct call *k, bool last)
{
	int left_ms = (int)MAX(mono_ms_until(k->deadline), 1);

	return (struct patience){
		.timeout_ms = !last && k->request->repeatable ? (left_ms + 1) / 2 : left_ms,
		.dial_timeout_ms = last ? 0 : (left_ms + 1) / 2,
	};
}

static const struct etcd_method *method_of(const struct call *k)
{
	return &etcd_methods[k->request->call];
}

static struct slice json_body(struct call *k)
{
	if (!k->json.len)
		etcd_message_to_json(&k->json, method_of(k)->request, k->request->message);
	return (struct slice){k->json.s, k->json.len};
}

static int gateway_attempt(struct call *k, const char *url, bool last, struct err *e)
{
	struct patience p = patience(k, last);
	char *full = xasprintf("%s%s", url, method_of(k)->path);
	struct slice json = json_body(k);
	struct http_header headers[2];
	struct http_request q = {
		.method = "POST",
		.url = full,
		.headers = headers,
		.n_headers = etcd_json_headers(k->token, headers),
		.body = json.p,
		.body_len = json.len,
		.timeout_ms = p.timeout_ms,
		.dial_timeout_ms = p.dial_timeout_ms,
	};
	struct strbuf body;
	int status, r;

	strbuf_init(&body, ETCD_REPLY_MAX);
	r = k->json.err ? err_set(e, k->json.err, "no memory for a request")
			: http_call(k->client->http, &q, &status, &body, e);
	if (!r)
		r = answer_decode(k, status, &body, e);
	strbuf_release(&body);
	if (r && r != ETCD_TOKEN_REFUSED)
		err_prefix(e, r, "etcd %s", full);
	free(full);
	return r;
}

static int native_attempt(struct call *k, int i, bool last, struct err *e)
{
	struct patience p = patience(k, last);
	struct etcd_grpc q = {
		.url = k->client->endpoints[i].url,
		.method = method_of(k)->method,
		.token = k->token,
		.message = k->request->message,
		.timeout_ms = p.timeout_ms,
		.dial_timeout_ms = p.dial_timeout_ms,
	};
	struct etcd_answer *a = k->answer;
	bool spoken;
	int r = etcd_grpc_call(k->client, &q, &a->message, &spoken, e);

	if (r == -EPROTONOSUPPORT) { /* somebody else is there now */
		etcd_grpc_forget(k->client, i);
		return -EIO;
	}
	a->size = a->message.len;
	return r;
}

static int attempt(struct call *k, int i, bool last, struct err *e)
{
	struct etcd *c = k->client;
	bool native;
	int r = etcd_grpc_probe(c, i, patience(k, last).timeout_ms, &native, e);

	if (r)
		return r;
	return native ? native_attempt(k, i, last, e)
		      : gateway_attempt(k, c->endpoints[i].url, last, e);
}

static bool try_next(const struct call *k, int r)
{
	return (r == -ECONNREFUSED || (k->request->repeatable && etcd_outage(r))) &&
	       mono_ms_until(k->deadline) > 0;
}

static int call_endpoints(struct call *k, struct err *e)
{
	struct etcd *c = k->client;
	uint32_t tried = 0;
	bool last;
	int r = -ECONNREFUSED, i;

	err_set(e, r, ETCD_CIRCUITS_OPEN);
	do {
		i = etcd_endpoint_pick(c, &tried, &last);
		if (i < 0)
			break;
		r = attempt(k, i, last, e);
		etcd_endpoint_done(c, i, r);
	} while (try_next(k, r));
	return r;
}

static int call_authenticated(struct call *k, struct err *e)
{
	char *stale;
	int r = etcd_token(k->client, NULL, k->deadline, &k->token, e);

	if (!r)
		r = call_endpoints(k, e);
	if (r != ETCD_TOKEN_REFUSED)
		return r;
	stale = TAKE_PTR(k->token);
	r = etcd_token(k->client, stale, k->deadline, &k->token, e);
	free(stale);
	return r ? r : call_endpoints(k, e);
}

/* For /metrics. What tells that something is not, or is already, is no error. */
static void count_request(const struct etcd_request *q, int r, struct mono begun)
{
	const char *name = strrchr(etcd_methods[q->call].path, '/'),
		   *kind = q->kind ? q->kind : name + 1;

	if (r == -ECANCELED)
		return;
	stat_cell_observe(stats_cell(STAT_ETCD_REQUESTS, kind, NULL),
			  (mono_now().ns - begun.ns) / 1000);
	if (!r || r == -ENOENT || r == -EEXIST || r == -ESTALE)
		return;
	stat_cell_add(stats_cell(STAT_ETCD_FAILURES, kind, NULL), 1);
	stats_add(STAT_DATABASE_ERRORS, 1);
}

int etcd_call_kv(struct etcd *c, const struct etcd_request *q, struct etcd_answer *ret,
		 struct err *e)
{
	struct mono begun = mono_now();
	int timeout_ms = q->timeout_ms ? q->timeout_ms : c->request_timeout_ms, r;
	struct call k = {
		.client = c,
		.request = q,
		.deadline = {begun.ns + timeout_ms * NS_PER_MS},
		.answer = ret,
	};
	struct err reason = {0};

	*ret = (struct etcd_answer){0};
	strbuf_init(&ret->message, ETCD_REPLY_MAX);
	strbuf_init(&k.json, JSON_MAX);
	r = c->username && !q->anonymous ? call_authenticated(&k, &reason)
					 : call_endpoints(&k, &reason);
	if (r == ETCD_TOKEN_REFUSED)
		r = -EACCES;
	free(k.token);
	strbuf_release(&k.json);
	etcd_note(c, r, &reason);
	count_request(q, r, begun);
	if (!r)
		return 0;
	etcd_answer_release(ret);
	return err_set(e, r, "%s", reason.text);
}

void etcd_answer_release(struct etcd_answer *a)
{
	json_free(a->doc);
	strbuf_release(&a->message);
	a->doc = NULL;
}

/* What gRPC has answered, as the gateway would have. */
static int doc_of(struct etcd_answer *a, const struct etcd_field *fields, struct err *e)
{
	struct strbuf json;
	int r;

	if (a->doc)
		return 0;
	strbuf_init(&json, JSON_MAX);
	etcd_message_to_json(&json, fields, (struct slice){a->message.s, a->message.len});
	r = json.err ? json.err : json_parse(json.s, json.len, &a->doc, e);
	strbuf_release(&json);
	return r ? err_set(e, -EIO, "an answer that is not etcd's") : 0;
}

int etcd_call(struct etcd *c, const struct etcd_request *q, struct json **ret, struct err *e)
{
	struct etcd_answer answer;
	int r = etcd_call_kv(c, q, &answer, e);

	if (r)
		return r;
	r = doc_of(&answer, etcd_methods[q->call].answer, e);
	if (!r)
		*ret = TAKE_PTR(answer.doc);
	etcd_answer_release(&answer);
	return r;
}

/* ---- is it back? ---------------------------------------------------------------------------- */

/* What Status of this endpoint says, whatever its circuit breaker; no request of anybody's waits.
 */
static int ask_status(struct etcd *c, int i, int timeout_ms, struct json **ret, struct err *e)
{
	struct etcd_request q = {.call = CALL_STATUS, .anonymous = true};
	struct etcd_answer answer = {0};
	struct call k = {
		.client = c,
		.request = &q,
		.deadline = mono_in_ms(timeout_ms),
		.answer = &answer,
	};
	int r;

	strbuf_init(&answer.message, ETCD_REPLY_MAX);
	strbuf_init(&k.json, JSON_MAX);
	r = attempt(&k, i, true, e);
	if (!r)
		r = doc_of(&answer, etcd_methods[q.call].answer, e);
	if (!r)
		*ret = TAKE_PTR(answer.doc);
	strbuf_release(&k.json);
	etcd_answer_release(&answer);
	return r;
}

/* A member without a leader lets requests wait until they time out. */
static int check_serves(struct etcd *c, int i, int timeout_ms, struct err *e)
{
	struct json *doc = NULL;
	int r = ask_status(c, i, timeout_ms, &doc, e);

	if (!r && !json_str(json_get(doc, "leader")).len)
		r = err_set(e, -ECONNREFUSED, "etcd %s has no leader", c->endpoints[i].url);
	json_free(doc);
	return r;
}

int etcd_check_back(struct etcd *c, struct err *e)
{
	int timeout_ms = MIN(MAX(BACK_MS / c->n_endpoints, BACK_MS_MIN), c->request_timeout_ms);
	int r = 0;

	if (etcd_is_up(c, NULL))
		return 0;
	for (int i = 0; i < c->n_endpoints; i++) {
		r = check_serves(c, i, timeout_ms, e);
		if (!r)
			etcd_endpoint_done(c, i, 0);
		if (!r || r == -ECANCELED)
			return r;
	}
	/* What else it may have said, a request tells better. */
	return r == -ECONNREFUSED || r == -ETIMEDOUT || r == -ECONNRESET ? r : 0;
}
