#include "cors.h"

#include <strings.h>

#define EXPOSED                                                                                    \
	"ETag, Link, Content-Location, Content-Range, Accept-Ranges, Location, Retry-After, "      \
	"RateLimit, RateLimit-Policy, X-Gputel-Revision, X-Request-Id"

struct origins {
	char *list;
	bool all;
};

struct origins *origins_new(const char *list)
{
	struct origins *o = xcalloc(1, sizeof(*o));

	o->list = xstrdup(list);
	o->all = origins_have(o, "*");
	return o;
}

void origins_free(struct origins *o)
{
	if (o)
		free(o->list);
	free(o);
}

bool origins_have(const struct origins *o, const char *origin)
{
	if (o->all)
		return true;
	for (const char *p = o->list; *p;) {
		size_t n = strcspn(p, ", \t");

		if (n && n == strlen(origin) && strncasecmp(p, origin, n) == 0)
			return true;
		p += n + (p[n] != '\0');
	}
	return false;
}

static const char *allowed_origin(const struct request *q)
{
	const char *origin = request_header(q, "Origin");

	return origin && origins_have(q->gateway->origins, origin) ? origin : NULL;
}

void cors_headers(struct answer *a, const struct request *q)
{
	const char *origin = allowed_origin(q);

	if (!*q->gateway->origins->list)
		return;
	answer_header(a, "Vary", "%s",
		      answer_get_header(a, "Vary") ? "Origin, Accept, Accept-Encoding" : "Origin");
	if (!origin)
		return;
	answer_header(a, "Access-Control-Allow-Origin", "%s", origin);
	answer_header(a, "Access-Control-Expose-Headers", EXPOSED);
}

void cors_preflight(struct answer *a, const struct request *q, const char *allow)
{
	if (!allowed_origin(q))
		return;
	answer_header(a, "Access-Control-Allow-Methods", "%s", allow);
	answer_header(a, "Access-Control-Allow-Headers",
		      "Authorization, Accept, Content-Type, If-None-Match, If-Range, Range, "
		      "Last-Event-ID, traceparent, X-Request-Id");
	answer_header(a, "Access-Control-Max-Age", "600");
}
