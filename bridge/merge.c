#include "merge.h"

struct input {
	const char *host, *gpu; /* of the selection */
	struct query *query;
	struct query_row row; /* its next */
};

struct merge {
	struct selection gpus; /* names; owned */
	bool descending;
	struct input *in;
	struct input **heap; /* those that have a row, the next one first */
	size_t n;
	bool taken; /* heap[0]'s row has been given out */
};

static struct key_of_record key_of_input(const struct input *in)
{
	return (struct key_of_record){in->row.time.ns, in->host, in->gpu, "", in->row.seq};
}

static bool is_before(const struct merge *m, const struct input *a, const struct input *b)
{
	struct key_of_record x = key_of_input(a), y = key_of_input(b);
	int d = key_cmp(&x, &y);

	return m->descending ? d > 0 : d < 0;
}

static void sift_down(struct merge *m, size_t i)
{
	for (;;) {
		size_t next = i, l = 2 * i + 1;
		struct input *x = m->heap[i];

		for (size_t c = l; c < l + 2 && c < m->n; c++)
			if (is_before(m, m->heap[c], m->heap[next]))
				next = c;
		if (next == i)
			return;
		m->heap[i] = m->heap[next];
		m->heap[next] = x;
		i = next;
	}
}

/* The first in order moves on. */
static int advance(struct merge *m)
{
	int r = query_next(m->heap[0]->query, &m->heap[0]->row);

	if (r == 0 || r == -ESTALE || r == -ENOENT) /* dropped meanwhile: as if it had ended */
		m->heap[0] = m->heap[--m->n];
	else if (r < 0)
		return r;
	if (m->n)
		sift_down(m, 0);
	return 0;
}

static int merge_next(void *arg, struct record *ret)
{
	struct merge *m = arg;
	const struct input *in;
	int r = m->taken && m->n ? advance(m) : 0;

	if (r || !m->n)
		return r;
	m->taken = true;
	in = m->heap[0];
	*ret = (struct record){
		.key = key_of_input(in),
		.id = query_identity(in->query),
		.time = in->row.time,
		.attribution = *in->row.attribution,
		.series = in->row.series,
		.value = in->row.value,
	};
	return 1;
}

static void merge_free(void *arg)
{
	struct merge *m = arg;

	for (size_t i = 0; i < m->gpus.n; i++)
		query_close(m->in[i].query);
	selection_release(&m->gpus);
	free(m->in);
	free(m->heap);
	free(m);
}

/* Where one GPU goes on behind a key that may be of another. */
static void resume(struct query_range *r, const struct cursor *c)
{
	int d = strcmp(r->host, c->host);

	d = d ? d : strcmp(r->gpu, c->gpu);
	d = r->descending ? -d : d;
	if (d == 0) {
		r->resume = true;
		r->after_ns = c->time_ns;
		r->after_seq = c->seq;
	} else if (r->descending) {
		r->to_ns = MIN(r->to_ns, c->time_ns - (d < 0));
	} else {
		r->from_ns = MAX(r->from_ns, c->time_ns + (d < 0));
	}
}

static int open_input(struct merge *m, struct tree *t, struct input *in,
		      const struct query_range *range, const struct cursor *after)
{
	struct query_range r = *range;
	int e;

	r.host = in->host;
	r.gpu = in->gpu;
	if (after)
		resume(&r, after);
	if (r.from_ns > r.to_ns)
		return 0;
	e = query_open(&in->query, t, &r);
	if (!e)
		e = query_next(in->query, &in->row);
	if (e == 1)
		m->heap[m->n++] = in;
	return e == 1 || e == -ENOENT || e == -ESTALE ? 0 : e;
}

int merge_open(struct stage *ret, struct tree *t, struct selection *gpus,
	       const struct query_range *range, const struct cursor *after)
{
	struct merge *m = xcalloc(1, sizeof(*m));
	int r = 0;

	m->gpus = *gpus;
	*gpus = (struct selection){0};
	m->descending = range->descending;
	m->in = xcalloc(m->gpus.n + 1, sizeof(*m->in));
	m->heap = xcalloc(m->gpus.n + 1, sizeof(struct input *));
	for (size_t i = 0; i < m->gpus.n && !r; i++) {
		m->in[i].host = m->gpus.g[i].host;
		m->in[i].gpu = m->gpus.g[i].gpu;
		r = open_input(m, t, &m->in[i], range, after);
	}
	if (r) {
		merge_free(m);
		return r;
	}
	for (size_t i = m->n / 2; i-- > 0;)
		sift_down(m, i);
	*ret = (struct stage){merge_next, merge_free, m};
	return 0;
}
