#include "select.h"

#include <fnmatch.h>

struct globs globs_of(const struct request *q, const char *name)
{
	struct globs g = {.n = 0};

	for (size_t i = 0; i < q->n_args; i++)
		if (strcmp(q->args[i].name, name) == 0)
			g.g[g.n++] = q->args[i].value;
	return g;
}

bool globs_match(const struct globs *g, const char *s)
{
	for (size_t i = 0; i < g->n; i++)
		if (fnmatch(g->g[i], s, 0) == 0)
			return true;
	return g->n == 0;
}

/* ---- telling --------------------------------------------------------------------------------- */

struct telling {
	const struct request *q;
	struct globs host, gpu, uuid;
	const char *hostname, *gpu_id; /* exact; NULL: any */
	size_t told, hidden;           /* hidden: the token may not read them */
	select_fn fn;
	void *arg;
};

static bool is_wanted(const struct telling *x, const struct query_gpu *g)
{
	return (!x->hostname || strcmp(x->hostname, g->id->host) == 0) &&
	       (!x->gpu_id || strcmp(x->gpu_id, g->id->gpu) == 0) &&
	       globs_match(&x->host, g->id->host) && globs_match(&x->gpu, g->id->gpu) &&
	       globs_match(&x->uuid, g->id->uuid);
}

static int on_gpu(const struct query_gpu *g, void *arg)
{
	struct telling *x = arg;

	if (!is_wanted(x, g))
		return 0;
	if (!principal_may_read(x->q->who, g->host)) {
		x->hidden++;
		return 0;
	}
	x->told++;
	return x->fn(g, x->arg);
}

/* Of one host only where it is known. */
static int tell(struct telling *x)
{
	char host[NAME_MAX_ENCODED + 1];

	if (x->hostname && name_encode_to(host, slice_str(x->hostname)))
		return -ENOENT;
	return query_gpus(x->q->gateway->tree, x->hostname ? host : NULL, on_gpu, x, NULL);
}

int select_matching(struct request *q, const char *hostname, select_fn fn, void *arg)
{
	struct telling x = {
		.q = q,
		.host = globs_of(q, "host"),
		.gpu = globs_of(q, "gpu"),
		.uuid = globs_of(q, "uuid"),
		.hostname = hostname,
		.fn = fn,
		.arg = arg,
	};

	return tell(&x);
}

/* ---- {id} ------------------------------------------------------------------------------------ */

static int settled(const struct telling *x, int r)
{
	return r || x->told ? r : x->hidden ? -EACCES : -ENOENT;
}

static int by_uuid(struct telling *x, const char *id)
{
	if (!*id)
		return -ENOENT;
	return settled(x, query_gpus_by_uuid(x->q->gateway->tree, id, on_gpu, x));
}

static int by_place(struct telling *x, const char *id)
{
	const char *colon = strrchr(id, ':'), *hostname = x->hostname;
	char *host;
	int r;

	if (!colon)
		return -ENOENT;
	host = xstrndup(id, (size_t)(colon - id));
	x->hostname = host;
	x->gpu_id = colon + 1;
	r = hostname && strcmp(hostname, host) ? -ENOENT : settled(x, tell(x));
	x->hostname = hostname;
	free(host);
	return r;
}

static int by_index(struct telling *x, const char *id)
{
	x->gpu_id = id;
	return settled(x, tell(x));
}

int select_id(struct request *q, const char *id, const char *hostname, select_fn fn, void *arg)
{
	static int (*const ways[])(struct telling * x, const char *id) = {by_uuid, by_place,
									  by_index};
	int r = -ENOENT;

	for (size_t i = 0; i < ARRAY_SIZE(ways) && r == -ENOENT; i++) {
		struct telling x = {.q = q, .hostname = hostname, .fn = fn, .arg = arg};

		r = ways[i](&x, id);
	}
	return r;
}

/* ---- keeping --------------------------------------------------------------------------------- */

void selection_add(struct selection *s, const struct query_gpu *g)
{
	if (s->n == s->cap) {
		s->cap = MAX(16, 2 * s->cap);
		s->g = xrealloc(s->g, s->cap * sizeof(*s->g));
	}
	s->g[s->n].host = xstrdup(g->host);
	s->g[s->n++].gpu = xstrdup(g->gpu);
}

void selection_release(struct selection *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->g[i].host);
		free(s->g[i].gpu);
	}
	free(s->g);
	*s = (struct selection){0};
}
