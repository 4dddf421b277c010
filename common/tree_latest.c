/* Latest rows that went with their segment, looked up in the headers of those that remain.
 *
 * Newest segment first, until each series that lacks a latest has one, and of chunks that readers
 * see only. The headers are read without the lock; what they say counts only for chunks that are
 * still there when it is put, and a chunk that was merged in between makes the look start again. */
#include "tree_chunks.h"

#define GPUS_AT_ONCE 64
#define CHUNKS_MAX   4096 /* of a GPU; with more a list is cheaper */

/* A chunk whose header is looked into. */
struct peek {
	struct chunk_rec rec;
	int64_t start_ns;
	uint64_t incarnation;
	struct text *header;
};

struct search {
	char *host, *gpu;
	uint64_t identity;
	uint8_t *lacks; /* by series */
	uint32_t n_lacks, n_series;
	struct peek *peeks;
	size_t n, cap;
};

struct latest_found {
	struct search list[GPUS_AT_ONCE];
	size_t n;
};

void tree_latest_free(struct latest_found *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++) {
		struct search *s = &f->list[i];

		for (size_t k = 0; k < s->n; k++)
			text_unref(s->peeks[k].header);
		free(s->peeks);
		free(s->lacks);
		free(s->host);
		free(s->gpu);
	}
	free(f);
}

/* ---- what to look into ----------------------------------------------------------------------- */

static void add_segment(struct search *to, const struct segment *s)
{
	const struct chunk_rec *rec;
	int64_t seq = 0;
	uint32_t i = 0;

	while ((rec = segment_next(s, &i, &seq))) {
		if (to->n == to->cap) {
			to->cap = to->cap ? 2 * to->cap : 8;
			to->peeks = xrealloc(to->peeks, to->cap * sizeof(*to->peeks));
		}
		to->peeks[to->n++] = (struct peek){*rec, s->start_ns, s->incarnation, NULL};
	}
}

static void add_search(struct latest_found *f, const struct gpu *g)
{
	struct search *s = &f->list[f->n++];

	*s = (struct search){
		.host = xstrdup(g->host->name),
		.gpu = xstrdup(g->name),
		.identity = g->series_of,
		.lacks = xcalloc(g->n_series + 1, 1),
		.n_series = g->n_series,
	};
	for (uint32_t i = 0; i < g->n_series; i++)
		if (!latest_is_set(&g->series[i].sane)) {
			s->lacks[i] = 1;
			s->n_lacks++;
		}
	for (uint32_t i = g->n_segments; i-- > 0;)
		if (g->segments[i]->listed)
			add_segment(s, g->segments[i]);
}

static void plan(struct tree *t, struct latest_found *f)
{
	pthread_rwlock_rdlock(&t->lock);
	map_each (&t->model->hosts, i) {
		const struct host *h = t->model->seeking ? t->model->hosts.entries[i].value : NULL;

		for (uint32_t j = 0; h && j < h->gpus.count && f->n < GPUS_AT_ONCE; j++) {
			const struct gpu *g = h->gpus.entries[j].value;

			if (g->seeks)
				add_search(f, g);
		}
	}
	pthread_rwlock_unlock(&t->lock);
}

/* ---- looking --------------------------------------------------------------------------------- */

static void note_found(struct search *s, const struct chunk *c)
{
	for (uint32_t i = 0; i < c->n_series && c->identity == s->identity; i++) {
		uint32_t id = c->series[i].id;

		if (id >= s->n_series || !s->lacks[id] || c->series[i].ahead)
			continue;
		s->lacks[id] = 0;
		s->n_lacks--;
	}
}

static int peek_into(struct tree *t, struct search *s, struct peek *p)
{
	struct chunk_at at = {t, s->host, s->gpu, &p->rec};
	struct chunk c = {0};
	int r = chunk_value(&at, &p->header);

	if (r)
		return r;
	if (chunk_decode((struct slice){p->header->s, p->header->len}, &c, NULL))
		r = -EIO;
	else
		note_found(s, &c);
	chunk_release(&c);
	return r;
}

/* Segments are looked into whole: the latest may be in any chunk of one. */
static int look(struct tree *t, struct search *s)
{
	int r = s->n > CHUNKS_MAX ? -E2BIG : 0;

	for (size_t i = 0; i < s->n && !r; i++) {
		if (!s->n_lacks && i && s->peeks[i].start_ns != s->peeks[i - 1].start_ns)
			break;
		r = peek_into(t, s, &s->peeks[i]);
	}
	return r;
}

bool tree_seeks_latest(struct tree *t)
{
	bool seeks;

	pthread_rwlock_rdlock(&t->lock);
	seeks = t->model->seeking > 0;
	pthread_rwlock_unlock(&t->lock);
	return seeks;
}

int tree_find_latest(struct tree *t, struct latest_found **ret)
{
	struct latest_found *f = xcalloc(1, sizeof(*f));
	int r = 0;

	plan(t, f);
	for (size_t i = 0; i < f->n && !r; i++)
		r = look(t, &f->list[i]);
	if (r)
		tree_latest_free(f);
	else
		*ret = f;
	return r;
}

/* ---- putting it ------------------------------------------------------------------------------ */

static bool is_there(const struct gpu *g, const struct peek *p)
{
	uint32_t i = gpu_segment_index(g, p->start_ns, p->incarnation);
	const struct segment *s = i < g->n_segments ? g->segments[i] : NULL;

	if (!s || s->start_ns != p->start_ns || s->incarnation != p->incarnation)
		return false;
	for (uint32_t k = 0; k < s->n; k++)
		if (!memcmp(s->recs[k].id, p->rec.id, TEXT_ID_LEN))
			return true;
	return false;
}

static void offer(struct gpu *g, const struct peek *p)
{
	struct chunk c = {0};

	if (!chunk_decode((struct slice){p->header->s, p->header->len}, &c, NULL) &&
	    c.identity == g->series_of)
		for (uint32_t i = 0; i < c.n_series; i++)
			if (c.series[i].id < g->n_series)
				gpu_offer_latest(g, &c, &c.series[i], p->rec.revision);
	chunk_release(&c);
}

/* Whether nothing changed under the search. */
static bool put_search(struct model *m, const struct search *s)
{
	struct gpu *g = model_gpu(m, slice_str(s->host), slice_str(s->gpu));
	bool whole = true;

	if (!g || !g->seeks || g->series_of != s->identity)
		return true;
	gpu_mark(m, g);
	for (size_t i = 0; i < s->n && s->peeks[i].header; i++) {
		if (is_there(g, &s->peeks[i]))
			offer(g, &s->peeks[i]);
		else
			whole = false;
	}
	return whole;
}

void latest_put(struct model *m, const struct latest_found *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct search *s = &f->list[i];
		struct gpu *g = model_gpu(m, slice_str(s->host), slice_str(s->gpu));

		if (put_search(m, s) && g)
			gpu_stop_seeking(m, g);
	}
}
