/* What is decided before a handler runs (route_admit). */
#include "ask.h"
#include "cors.h"
#include "limit.h"
#include "route.h"

#define ALLOW_MAX 64

static void refuse_token(struct request *q, struct answer *a)
{
	answer_header(a, "WWW-Authenticate", "Bearer realm=\"gputel\"");
	if (request_header(q, "Authorization"))
		answer_problem(a, 401, "the token in Authorization is not known");
	else
		answer_problem(a, 401, "expected a token: Authorization: Bearer TOKEN");
}

/* Browsers cannot set Authorization on a WebSocket. */
static struct principal *find_subprotocol(struct tokens *t, const char *list)
{
	const char *p = list ? strstr(list, BEARER_MARK) : NULL;

	if (!p)
		return NULL;
	p += sizeof(BEARER_MARK) - 1;
	return tokens_find(t, (struct slice){p, strcspn(p, ", \t")});
}

/* An unknown path tells strangers nothing: it needs a token as well. A preflight cannot carry one.
 */
static bool has_token(struct request *q, struct answer *a)
{
	struct tokens *t = q->gateway->tokens;
	bool open = q->route && q->route->flags & ROUTE_OPEN;

	if (!tokens_needed(t) || open || q->method == METHOD_OPTIONS)
		return true;
	q->who = tokens_find_bearer(t, request_header(q, "Authorization"));
	if (!q->who)
		q->who = find_subprotocol(t, request_header(q, "Sec-WebSocket-Protocol"));
	if (!q->who)
		refuse_token(q, a);
	return q->who;
}

static bool may_write(struct request *q, struct answer *a)
{
	if (!(q->route->flags & ROUTE_WRITES) || principal_may_write_any(q->who))
		return true;
	answer_problem(a, 403, "this token may only read");
	return false;
}

static void limit_headers(struct answer *a, const struct limit_state *s)
{
	if (!s->rate)
		return;
	answer_header(a, "RateLimit-Policy", "\"default\";q=%lld;w=%lld", (long long)s->burst,
		      (long long)MAX(1, (s->burst + s->rate - 1) / s->rate));
	answer_header(a, "RateLimit", "\"default\";r=%lld;t=%lld", (long long)s->left,
		      (long long)s->full_s);
}

static bool is_within_limit(struct request *q, struct answer *a)
{
	struct limit_state s;
	bool granted;

	if (q->route && q->route->flags & ROUTE_FREE)
		return true;
	granted = limiter_take(q->gateway->limiter, &q->peer, q->who, &s);
	limit_headers(a, &s);
	q->charged = granted && s.rate;
	if (!granted) {
		answer_header(a, "Retry-After", "%lld", (long long)s.retry_s);
		answer_problem(a, 429, "more than %lld requests a second (%lld at once)",
			       (long long)s.rate, (long long)s.burst);
	}
	return granted;
}

/* 405 and OPTIONS. */
static bool is_method_of_route(struct request *q, struct answer *a)
{
	struct strbuf allow;

	if (q->route->methods & q->method)
		return true;
	strbuf_init(&allow, ALLOW_MAX);
	route_allow(q->route, &allow);
	answer_header(a, "Allow", "%s", allow.s);
	if (q->method != METHOD_OPTIONS) {
		answer_problem(a, 405, "%s takes %s", q->route->pattern, allow.s);
	} else {
		a->status = 204;
		if (request_header(q, "Access-Control-Request-Method"))
			cors_preflight(a, q, allow.s);
	}
	strbuf_release(&allow);
	return false;
}

static const struct param *param_of(const struct route *r, const char *name)
{
	for (const struct param *p = r->params; p && p->name; p++)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

static void refuse_param(struct answer *a, const struct route *r, const char *name)
{
	struct strbuf known;

	strbuf_init(&known, 1024);
	for (const struct param *p = r->params; p && p->name; p++)
		strbuf_addf(&known, "%s%s", known.len ? ", " : "", p->name);
	answer_problem(a, 400, "unknown parameter \"%.100s\" (expected %s)", name,
		       known.len ? known.s : "none");
	strbuf_release(&known);
}

/* A misspelt parameter would otherwise answer something that was not asked for. */
static bool are_params_known(struct request *q, struct answer *a)
{
	for (size_t i = 0; i < q->n_args; i++) {
		const struct param *p = param_of(q->route, q->args[i].name);

		if (!p) {
			refuse_param(a, q->route, q->args[i].name);
			return false;
		}
		if (!p->many && request_arg(q, p->name) != q->args[i].value) {
			answer_problem(a, 400, "parameter %s is given twice", p->name);
			return false;
		}
	}
	return true;
}

/* Of what routes have one kind only; where there are several the handler chooses. */
static bool is_acceptable(struct request *q, struct answer *a)
{
	const char *type = q->route->types;

	if (!*type || strchr(type, ','))
		return true;
	if (accept_choose(request_header(q, "Accept"), &type, 1) < 0)
		answer_problem(a, 406, "nothing in Accept can be had: this is %s", type);
	return !a->problem;
}

bool route_admit(struct request *q, struct answer *a)
{
	int r = route_find(q);

	if (!has_token(q, a) || !is_within_limit(q, a))
		return false;
	if (r == -EINVAL)
		answer_problem(a, 400, "the path is not percent-encoded properly");
	else if (r)
		answer_problem(a, 404, "there is nothing at this path; see /openapi.json");
	return !r && is_method_of_route(q, a) && may_write(q, a) && are_params_known(q, a) &&
	       is_acceptable(q, a);
}
