#include "upgrade.h"

#include <stdio.h>
#include <strings.h>

#include "cors.h"
#include "handlers.h"
#include "head.h"
#include "limit.h"
#include "parse.h"
#include "route.h"
#include "subscriber.h"
#include "ws.h"

#define KEY_BYTES       24 /* 16 in base64 */
#define OWN_HEAD_MAX    2048
#define EXTENSIONS_MAX  1024 /* of an offer that is looked at */
#define SUBPROTOCOL_MAX 1024

/* ---- what is asked for ----------------------------------------------------------------------- */

static bool parse_since(struct opening *o, struct request *q, struct answer *a)
{
	const char *id = request_header(q, "Last-Event-ID"), *since = request_arg(q, "since");
	uint64_t n = 0;

	o->since = SINCE_NOW;
	since = id ? id : since;
	if (since && parse_u64(slice_str(since), INT64_MAX, &n)) {
		answer_problem(a, 400, "%s: expected a revision, got \"%.64s\"",
			       id ? "Last-Event-ID" : "since", since);
		return false;
	}
	if (since)
		o->since = (int64_t)n;
	return true;
}

bool opening_parse(struct opening *o, struct request *q, struct answer *a)
{
	enum filter_kind kind;

	for (size_t i = 0; i < q->n_args; i++) {
		if (filter_kind_of(q->args[i].name, &kind))
			continue;
		o->has_filter = true;
		if (filter_add(&o->filter, kind, slice_str(q->args[i].value))) {
			answer_problem(a, 400, "%s: more than %d", q->args[i].name,
				       FILTER_GLOBS_MAX);
			return false;
		}
	}
	o->deflate = request_arg(q, "deflate") && strcmp(request_arg(q, "deflate"), "true") == 0;
	if (!parse_since(o, q, a))
		return false;
	o->has_filter |= o->since != SINCE_NOW;
	return true;
}

void opening_free(struct opening *o)
{
	if (!o)
		return;
	principal_unref(o->who);
	filter_release(&o->filter);
	free(o->head);
	free(o->subprotocol);
	free(o);
}

/* ---- whether it may be ----------------------------------------------------------------------- */

/* Pages of other sites must not read with what the browser knows (cross-site WebSocket hijacking);
 * who is no browser sends no Origin. */
static bool is_origin_allowed(const struct request *q)
{
	const char *origin = request_header(q, "Origin"), *host = request_header(q, "Host");
	const char *authority = origin ? strstr(origin, "://") : NULL;

	if (!origin)
		return true;
	if (authority && host && strcasecmp(authority + 3, host) == 0)
		return true;
	return origins_have(q->gateway->origins, origin);
}

/* The first of a list as in headers that is the word, or begins with it; p NULL: none. */
static struct slice find_word(const char *list, const char *word, bool begins)
{
	size_t n = strlen(word);

	for (const char *p = list; *p;) {
		size_t len = strcspn(p, ", \t");

		if ((begins ? len > n : len == n) && strncasecmp(p, word, n) == 0)
			return (struct slice){p, len};
		p += len + (p[len] != '\0');
	}
	return (struct slice){0};
}

/* A browser that offers subprotocols wants one of them in the answer. A token's is chosen only
 * where there is no other. */
static struct slice choose_subprotocol(const char *offered)
{
	struct slice s = find_word(offered, "gputel", false);

	return s.p ? s : find_word(offered, BEARER_MARK, true);
}

static bool is_upgrade(const struct request *q)
{
	const char *version = request_header(q, "Sec-WebSocket-Version");
	const char *upgrade = request_header(q, "Upgrade");
	const char *connection = request_header(q, "Connection");

	return upgrade && strcasecmp(upgrade, "websocket") == 0 && connection &&
	       find_word(connection, "upgrade", false).p &&
	       request_header(q, "Sec-WebSocket-Key") && version && strcmp(version, "13") == 0;
}

static bool is_handshake(struct request *q, struct answer *a)
{
	const char *protocols = request_header(q, "Sec-WebSocket-Protocol");
	struct slice protocol = protocols ? choose_subprotocol(protocols) : (struct slice){0};
	const char *key = request_header(q, "Sec-WebSocket-Key");

	if (!is_upgrade(q)) {
		answer_header(a, "Upgrade", "websocket");
		answer_header(a, "Sec-WebSocket-Version", "13");
		answer_problem(a, 426, "this path speaks WebSocket (RFC 6455, version 13) only");
	} else if (!*key || strlen(key) > KEY_BYTES) {
		answer_problem(a, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
	} else if (protocols && (!protocol.p || protocol.len > SUBPROTOCOL_MAX)) {
		answer_problem(a, 400,
			       "Sec-WebSocket-Protocol: expected \"gputel\" or \"bearer.TOKEN\" "
			       "among them");
	}
	return !a->problem;
}

static bool may_be(struct request *q, struct answer *a)
{
	struct gateway *g = q->gateway;

	if (!g->ws) {
		answer_problem(a, 404, "WebSockets are switched off here (WS_ENABLED)");
		return false;
	}
	if (!is_handshake(q, a))
		return false;
	if (!is_origin_allowed(q)) {
		answer_problem(a, 403, "Origin %.200s is not in GATEWAY_CORS_ORIGINS",
			       request_header(q, "Origin"));
		return false;
	}
	if (!view_wait_ready(g->view, 0)) {
		answer_header(a, "Retry-After", "1");
		answer_problem(a, 503, "the store's first list is not in yet");
		return false;
	}
	if (!ws_has_room(g->ws)) {
		answer_header(a, "Retry-After", "5");
		answer_problem(a, 503, "all %lld WebSockets are taken (WS_MAX_CONNECTIONS)",
			       (long long)g->conf->ws_max_connections);
		return false;
	}
	return true;
}

/* As libmicrohttpd reads it: everything that ws.c has not been given. */
void handle_websocket(struct request *q, struct answer *a)
{
	struct opening o = {0};

	if (may_be(q, a) && opening_parse(&o, q, a)) {
		/* As proxies that pool their upstreams send it: the connection has carried other
		 * requests before, and closing it makes the next one fresh. */
		answer_header(a, "Connection", "close");
		answer_header(a, "Retry-After", "0");
		answer_problem(a, 503, "an upgrade must be the first request of its connection");
	}
	filter_release(&o.filter);
}

/* ---- the head -------------------------------------------------------------------------------- */

static char *cut_line(char **p)
{
	char *line = *p, *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*p = end + 1;
	*end = '\0';
	if (end > line && end[-1] == '\r')
		end[-1] = '\0';
	return line;
}

static char *decoded(const char *p, size_t n)
{
	struct strbuf b;
	char *text = NULL;

	strbuf_init(&b, n + 1);
	if (percent_decode((struct slice){p, n}, &b) == 0)
		text = b.s ? strbuf_take(&b) : xstrdup("");
	strbuf_release(&b);
	return text;
}

static bool add_arg(struct request *q, const char *p, size_t n)
{
	const char *eq = memchr(p, '=', n);
	size_t name = eq ? (size_t)(eq - p) : n;
	char *k = decoded(p, name), *v = eq ? decoded(eq + 1, n - name - 1) : xstrdup("");

	if (!k || !v || q->n_args == ARGS_MAX) {
		free(k);
		free(v);
		return false;
	}
	q->args[q->n_args++] = (struct pair){k, v};
	return true;
}

static bool parse_query(struct request *q, char *query)
{
	bool ok = true;

	q->args = xcalloc(ARGS_MAX, sizeof(*q->args));
	for (char *plus = query; (plus = strchr(plus, '+'));)
		*plus = ' '; /* as libmicrohttpd does */
	while (*query && ok) {
		size_t n = strcspn(query, "&");

		if (n)
			ok = add_arg(q, query, n);
		query += n + (query[n] == '&');
	}
	return ok;
}

static bool parse_request_line(struct request *q, char *line)
{
	char *target = strchr(line, ' '), *end = strrchr(line, ' '), *query;

	if (!target || target == end)
		return false;
	*target++ = *end = '\0';
	q->method = method_of(line);
	query = strchr(target, '?');
	if (query)
		*query++ = '\0';
	q->path = target;
	return parse_query(q, query ? query : end);
}

/* The grammar has been checked (head.h). text is cut up, and must outlive q. */
static bool parse_head(struct request *q, char *text)
{
	char *line;

	while (*text == '\r' || *text == '\n')
		text++;
	line = cut_line(&text);
	if (!line || !parse_request_line(q, line))
		return false;
	q->headers = xcalloc(HEAD_FIELDS_MAX, sizeof(*q->headers));
	while ((line = cut_line(&text)) && *line && q->n_headers < HEAD_FIELDS_MAX) {
		char *colon = strchr(line, ':'), *value, *end;

		if (!colon)
			return false;
		*colon = '\0';
		value = colon + 1 + strspn(colon + 1, " \t");
		for (end = value + strlen(value); end > value && strchr(" \t", end[-1]); end--)
			end[-1] = '\0';
		q->headers[q->n_headers++] = (struct pair){line, value};
	}
	return true;
}

static void note_handshake(struct opening *o, const struct request *q)
{
	const char *protocols = request_header(q, "Sec-WebSocket-Protocol");
	const char *extensions = request_header(q, "Sec-WebSocket-Extensions");
	struct slice s = protocols ? choose_subprotocol(protocols) : (struct slice){0};
	struct strbuf b;

	if (s.p)
		o->subprotocol = xstrndup(s.p, s.len);
	strbuf_init(&b, OWN_HEAD_MAX);
	strbuf_addf(&b,
		    "GET / HTTP/1.1\r\nHost: gputel\r\nUpgrade: websocket\r\n"
		    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
		    "Sec-WebSocket-Key: %s\r\n",
		    request_header(q, "Sec-WebSocket-Key"));
	if (o->deflate && extensions && strlen(extensions) <= EXTENSIONS_MAX)
		strbuf_addf(&b, "Sec-WebSocket-Extensions: %s\r\n", extensions);
	strbuf_adds(&b, "\r\n");
	o->head = strbuf_take(&b);
}

struct opening *opening_of(struct gateway *g, struct slice head, const struct peer *peer)
{
	struct opening *o = xcalloc(1, sizeof(*o));
	char *text = xstrndup(head.p, head.len);
	struct request q = {.gateway = g, .peer = *peer};
	struct answer a;
	bool ok;

	answer_init(&a);
	ok = parse_head(&q, text);
	if (ok)
		q.peer = proxies_client(g->proxies, peer, request_header(&q, "Forwarded"),
					request_header(&q, "X-Forwarded-For"));
	ok = ok && route_admit(&q, &a) && may_be(&q, &a) && opening_parse(o, &q, &a);
	if (!ok && q.charged) /* it is asked again */
		limiter_give_back(g->limiter, &q.peer, q.who);
	if (ok)
		note_handshake(o, &q);
	o->peer = q.peer;
	o->who = TAKE_PTR(q.who);
	request_release(&q);
	answer_release(&a);
	free(text);
	if (!ok)
		opening_free(TAKE_PTR(o));
	return o;
}
