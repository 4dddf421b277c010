#include "cors.h"

#include <pthread.h>
#include <strings.h>

#define EXPOSED                                                                                    \
	"ETag, Link, Content-Location, Content-Range, Accept-Ranges, Location, Retry-After, "      \
	"RateLimit, RateLimit-Policy, X-Gputel-Revision, X-Request-Id, traceparent"

struct origins {
	pthread_rwlock_t lock;
	char *list; /* under lock */
};

struct origins *origins_new(const char *list)
{
	struct origins *o = xcalloc(1, sizeof(*o));

	pthread_rwlock_init(&o->lock, NULL);
	o->list = xstrdup(list);
	return o;
}

void origins_set(struct origins *o, const char *list)
{
	char *copy = xstrdup(list);

	pthread_rwlock_wrlock(&o->lock);
	free(o->list);
	o->list = copy;
	pthread_rwlock_unlock(&o->lock);
}

void origins_free(struct origins *o)
{
	if (!o)
		return;
	pthread_rwlock_destroy(&o->lock);
	free(o->list);
	free(o);
}

static bool is_listed(const char *list, const char *origin)
{
	for (const char *p = list; *p;) {
		size_t n = strcspn(p, ", \t");

		if ((n == 1 && *p == '*') ||
		    (n && n == strlen(origin) && strncasecmp(p, origin, n) == 0))
			return true;
		p += n + (p[n] != '\0');
	}
	return false;
}

bool origins_have(struct origins *o, const char *origin)
{
	bool have;

	pthread_rwlock_rdlock(&o->lock);
	have = is_listed(o->list, origin);
	pthread_rwlock_unlock(&o->lock);
	return have;
}

static bool are_any(struct origins *o)
{
	bool any;

	pthread_rwlock_rdlock(&o->lock);
	any = *o->list;
	pthread_rwlock_unlock(&o->lock);
	return any;
}

static const char *allowed_origin(const struct request *q)
{
	const char *origin = request_header(q, "Origin");

	return origin && origins_have(q->gateway->origins, origin) ? origin : NULL;
}

void cors_headers(struct answer *a, const struct request *q)
{
	const char *origin = allowed_origin(q);

	if (!are_any(q->gateway->origins))
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
		      "Authorization, Accept, Content-Type, Content-Encoding, Idempotency-Key, "
		      "If-None-Match, If-Range, Range, "
		      "Last-Event-ID, traceparent, X-Request-Id");
	answer_header(a, "Access-Control-Max-Age", "600");
}
