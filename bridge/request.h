/* One request, as handlers see it: nothing here knows libmicrohttpd (rest.c does). */
#ifndef GPUTEL_BRIDGE_REQUEST_H
#define GPUTEL_BRIDGE_REQUEST_H

#include "clock.h"
#include "gateway.h"
#include "peer.h"
#include "strbuf.h"
#include "tokens.h"

enum method {
	METHOD_GET = 1,
	METHOD_HEAD = 2,
	METHOD_POST = 4,
	METHOD_OPTIONS = 8,
	METHOD_OTHER = 16,
};

struct pair {
	const char *name, *value; /* value is never NULL */
};

struct route;

#define REQUEST_ID_MAX 65
#define CAPTURES_MAX   2
#define ARGS_MAX       256

struct request {
	struct gateway *gateway;
	const struct route *route; /* NULL: none fits the path */
	enum method method;
	const char *path; /* as it was sent, without the query */
	/* What stands for {…} in the route's pattern, in order; decoded, but a {path…} is left as
	 * it was sent. */
	char *captures[CAPTURES_MAX];
	struct pair *headers; /* as they came; borrowed */
	size_t n_headers;
	struct pair *args; /* of the query, decoded, in order */
	size_t n_args;
	struct strbuf body;
	struct peer peer;      /* who asks: behind a trusted proxy its client */
	struct principal *who; /* whose token it is; NULL where none are set */
	bool charged;          /* the rate limit has counted it */
	struct mono since;
	char id[REQUEST_ID_MAX]; /* X-Request-Id, theirs or ours */
	/* https://www.w3.org/TR/trace-context/ */
	char trace[33]; /* id of traceparent, or a new one */
	char span[17];  /* id of this request in it */
	bool sampled;   /* traceparent says that who asked records it */
};

void request_release(struct request *q);

/* The first header or argument of that name (headers: any case), or NULL. */
const char *request_header(const struct request *q, const char *name);
const char *request_arg(const struct request *q, const char *name);

/* Takes id and trace from the headers, or makes them; the span is always new. */
void request_identify(struct request *q);

/* Percent-decoding of one segment of a path or one name or value of a query, once. -EINVAL: a bad
 * %XX, or %00. */
int percent_decode(struct slice s, struct strbuf *out) must_check;
/* What paths need encoded, slashes excepted. */
void percent_encode(struct strbuf *out, const char *s);
void percent_encode_arg(struct strbuf *out, const char *s); /* a name or value of a query */

/* While there is nothing to send yet (answer.h: body_ops). Only from within read(); afterwards read
 * is not called again before request_resume(), which any thread may call, once. Both are called
 * under the lock of whoever produces, so that neither gets lost. */
void request_suspend(struct request *q);
void request_resume(struct request *q);

/* The answer to a request of a ROUTE_LATER is complete: it goes out. Any thread, once. */
void request_answered(struct request *q);

#endif
