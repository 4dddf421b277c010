#include "extents.h"

#include "log.h"
#include "query.h"

void extents_add_gpu(struct extents *l, const char *host, const char *gpu)
{
	if (l->n_gpus == l->cap_gpus) {
		l->cap_gpus = l->cap_gpus ? 2 * l->cap_gpus : 16;
		l->gpus = xrealloc(l->gpus, l->cap_gpus * sizeof(*l->gpus));
	}
	l->gpus[l->n_gpus].host = xstrdup(host);
	l->gpus[l->n_gpus++].gpu = xstrdup(gpu);
}

static int add_extents(struct extents *l, size_t gpu, const struct extent *x, size_t n)
{
	if (l->n + n > EXTENTS_MAX)
		return -E2BIG;
	if (l->n + n > l->cap) {
		l->cap = MAX(l->n + n, 2 * l->cap);
		l->list = xrealloc(l->list, l->cap * sizeof(*l->list));
	}
	for (size_t i = 0; i < n; i++)
		l->list[l->n++] = (struct gpu_extent){gpu, x[i]};
	return 0;
}

static int list_gpu(struct extents *l, struct tree *t, size_t gpu, int64_t after, int64_t upto)
{
	struct extent *x;
	int64_t floor;
	size_t n;
	int r = query_extents(t, l->gpus[gpu].host, l->gpus[gpu].gpu, after, upto, &x, &n, &floor);

	if (r)
		return r == -ENOENT || r == -ESTALE ? 0 : r;
	l->floor = MAX(l->floor, floor);
	r = add_extents(l, gpu, x, n);
	free(x);
	return r;
}

static int by_revision(const void *a, const void *b)
{
	const struct gpu_extent *x = a, *y = b;

	if (x->x.revision != y->x.revision)
		return x->x.revision < y->x.revision ? -1 : 1;
	if (x->gpu != y->gpu)
		return x->gpu < y->gpu ? -1 : 1;
	if (x->x.segment_ns != y->x.segment_ns)
		return x->x.segment_ns < y->x.segment_ns ? -1 : 1;
	return (x->x.first_seq > y->x.first_seq) - (x->x.first_seq < y->x.first_seq);
}

static int list_all(struct extents *l, struct tree *t, int64_t after, int64_t upto)
{
	int r = 0;

	l->at = l->n = 0;
	l->floor = 0;
	for (size_t i = 0; i < l->n_gpus && !r; i++)
		r = list_gpu(l, t, i, after, upto);
	return r;
}

/* One revision is one transaction of etcd, so halving comes to an end. */
int extents_list(struct extents *l, struct tree *t, int64_t after, int64_t *upto)
{
	int r;

	while ((r = list_all(l, t, after, *upto)) == -E2BIG)
		*upto = after + (*upto - after + 1) / 2;
	if (!r && l->n)
		qsort(l->list, l->n, sizeof(*l->list), by_revision);
	l->after = after;
	l->upto = *upto;
	l->patience_ms = QUERY_PATIENCE_MS;
	return r;
}

struct reading {
	struct event *event;
	const char *host;
	struct selector *selector;
};

static int on_row(const struct identity *id, const struct query_row *row, void *arg)
{
	struct reading *r = arg;

	if (r->selector && !selector_wants_gpu(r->selector, r->host, id->host, id->gpu))
		return 0;
	return event_add(r->event, r->host, id, row);
}

/* What came after it is left. */
static struct event *floor_event(struct extents *l)
{
	struct event *e = event_new(MIN(l->floor, l->upto));

	event_set_gap(e, l->after);
	l->floor = 0;
	while (l->at < l->n && l->list[l->at].x.revision <= event_revision(e))
		l->at++;
	return e;
}

/* -ENOENT and -ESTALE: retention was faster. */
static int read_extent(struct extents *l, struct tree *t, const struct gpu_extent *g,
		       struct reading *to)
{
	const char *gpu = l->gpus[g->gpu].gpu;
	int r;

	to->host = l->gpus[g->gpu].host;
	r = query_extent_rows(t, to->host, gpu, &g->x, l->patience_ms, on_row, to);
	if (r == -ENODATA)
		l->patience_ms = 0;
	if (r == -EBADMSG || r == -ENODATA) {
		log_warn("feed: rows of %s/%s of revision %lld are %s", to->host, gpu,
			 (long long)g->x.revision,
			 r == -ENODATA ? "not in the store any more" : "damaged");
		event_set_gap(to->event, g->x.revision - 1);
		r = 0;
	}
	return r == -ENOENT || r == -ESTALE ? 0 : r;
}

int extents_next(struct extents *l, struct tree *t, struct selector *s, struct event **ret)
{
	struct reading reading = {.selector = s};
	size_t at = l->at;
	int64_t revision;
	int r = 0;

	if (l->floor > l->after) {
		*ret = floor_event(l);
		return 1;
	}
	if (at == l->n)
		return 0;
	revision = l->list[at].x.revision;
	reading.event = event_new(revision);
	for (; at < l->n && l->list[at].x.revision == revision && !r; at++)
		r = read_extent(l, t, &l->list[at], &reading);
	if (r) {
		event_unref(reading.event);
		return r;
	}
	l->at = at;
	*ret = reading.event;
	return 1;
}

void extents_release(struct extents *l)
{
	for (size_t i = 0; i < l->n_gpus; i++) {
		free(l->gpus[i].host);
		free(l->gpus[i].gpu);
	}
	free(l->gpus);
	free(l->list);
	*l = (struct extents){0};
}
