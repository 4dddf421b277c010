/* The routes: one table, from which come dispatch, 404 and 405 with Allow, the labels of metrics,
 * the check of query parameters, and /openapi.json.
 *
 * To add one: a row in route.c, and a handler. A pattern is matched segment by segment; {name}
 * takes one segment, percent-decoded, {name…} all that is left, as it was sent. */
#ifndef GPUTEL_BRIDGE_ROUTE_H
#define GPUTEL_BRIDGE_ROUTE_H

#include "answer.h"

enum {
	ROUTE_OPEN = 1,  /* needs no token */
	ROUTE_FREE = 2,  /* costs nothing of the rate limit */
	ROUTE_WAITS = 4, /* the handler may wait: it runs on the pool */
	ROUTE_ENDLESS =
		8, /* its answers do not end by themselves: shutdown does not wait for them */
	/* The handler may not wait, and need not be done when it returns: who is then calls
	 * request_answered. */
	ROUTE_LATER = 16,
	ROUTE_WRITES = 32, /* not for tokens that may only read */
};

struct param {
	const char *name;
	const char *about;  /* for OpenAPI */
	const char *schema; /* JSON schema of its value */
	bool many;          /* may be repeated */
};

struct route {
	const char *pattern;
	unsigned methods; /* enum method; GET brings HEAD, all have OPTIONS */
	unsigned flags;
	void (*handle)(struct request *q, struct answer *a);
	const struct param *params; /* of the query, ends with a nameless one; NULL: none */
	const char *types;          /* media types of 200, comma-separated; "" where any may be */
	const char *summary;
	size_t body_max;           /* POST: bytes of a body */
	const char *body_types;    /* and its media types, comma-separated */
	const char *const *fields; /* headers that it knows, for OpenAPI: name, about, …, NULL */
	/* Of ROUTE_WAITS, whether this request may wait. NULL: they all may. */
	bool (*waits)(const struct request *q);
};

extern const struct route routes[];
extern const size_t routes_count;

/* Finds the route of q->path and fills q->route and q->captures. -ENOENT: none. */
int route_find(struct request *q) must_check;
/* "GET, HEAD, OPTIONS" */
void route_allow(const struct route *r, struct strbuf *out);
enum method method_of(const char *name);

/* All that is decided before a handler runs: token, rate limit, route, method, parameters,
 * preflight. True: run it; false: the answer is complete. */
bool route_admit(struct request *q, struct answer *a);

#endif
