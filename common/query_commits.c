/* Rows of commits: which chunks got rows by which commit is in the records of fresh chunks and in
 * the headers of merged ones. A chunk that is not there any more makes the whole look start again,
 * or go on from the position that was reached. */
#include "query.h"

#include "tree_chunks.h"

#define AHEAD_MS  2000 /* so long a fetch may be ahead of the commit that says what it found */
#define MERGED_MS 250

/* A chunk, as copied under the lock. */
struct part {
	struct chunk_rec rec;
	int64_t segment_ns;
	uint64_t incarnation;
};

struct parts {
	struct part *list;
	size_t n, cap;
};

struct extents {
	struct extent *list;
	size_t n, cap;
	int64_t after, upto, floor;
};

static void add_part(struct parts *to, const struct segment *s, const struct chunk_rec *rec)
{
	if (to->n == to->cap) {
		to->cap = to->cap ? 2 * to->cap : 16;
		to->list = xrealloc(to->list, to->cap * sizeof(*to->list));
	}
	to->list[to->n++] = (struct part){*rec, s->start_ns, s->incarnation};
}

static void add_extent(struct extents *to, const struct part *part, int64_t revision,
		       int64_t first_seq, uint32_t rows)
{
	if (revision <= to->after || revision > to->upto)
		return;
	if (to->n == to->cap) {
		to->cap = to->cap ? 2 * to->cap : 16;
		to->list = xrealloc(to->list, to->cap * sizeof(*to->list));
	}
	to->list[to->n++] = (struct extent){
		.revision = revision,
		.segment_ns = part->segment_ns,
		.incarnation = part->incarnation,
		.first_seq = first_seq,
		.rows = rows,
	};
}

/* ---- extents --------------------------------------------------------------------------------- */

static void add_parts_after(struct parts *to, const struct gpu *g, int64_t after)
{
	for (uint32_t i = 0; i < g->n_segments; i++) {
		const struct segment *s = g->segments[i];
		const struct chunk_rec *rec;
		int64_t seq = 0;
		uint32_t at = 0;

		if (!s->listed || s->revision <= after)
			continue;
		while ((rec = segment_next(s, &at, &seq)))
			if (rec->revision > after)
				add_part(to, s, rec);
	}
}

static int plan_extents(struct tree *t, const char *host, const char *gpu, int64_t after,
			struct parts *to)
{
	const struct gpu *g;
	int r = 0;

	to->n = 0;
	pthread_rwlock_rdlock(&t->lock);
	g = model_gpu(t->model, slice_str(host), slice_str(gpu));
	if (!t->ready)
		r = -EIO;
	else if (!g || !g->listed)
		r = -ENOENT;
	else
		add_parts_after(to, g, after);
	pthread_rwlock_unlock(&t->lock);
	return r;
}

static void add_commits(struct extents *to, const struct part *part, const struct chunk *c)
{
	int64_t seq = c->first_seq;

	for (uint32_t i = 0; i < c->n_commits; i++) {
		const struct chunk_commit *commit = &c->commits[i];

		if (chunk_commit_is_folded(c, i))
			to->floor = MAX(to->floor, commit->revision - 1);
		else
			add_extent(to, part, commit->revision, seq, commit->rows);
		seq += commit->rows;
	}
}

static int add_chunk(struct extents *to, struct tree *t, const char *host, const char *gpu,
		     const struct part *part)
{
	struct chunk_at at = {t, host, gpu, &part->rec};
	struct chunk c = {0};
	struct text *value;
	int r;

	if (!part->rec.merged) {
		add_extent(to, part, part->rec.revision, part->rec.first_seq, part->rec.rows);
		return 0;
	}
	r = chunk_value(&at, &value);
	if (r)
		return r;
	if (chunk_decode((struct slice){value->s, value->len}, &c, NULL))
		r = -EIO;
	else
		add_commits(to, part, &c);
	chunk_release(&c);
	text_unref(value);
	return r;
}

static int collect(struct extents *to, struct tree *t, const char *host, const char *gpu)
{
	struct parts parts = {0};
	struct mono until = {0};
	uint64_t commits = 0;
	bool missing;
	int r;

	do {
		missing = false;
		if (until.ns)
			tree_wait_commit(t, commits, mono_ms_until(until));
		else
			until = mono_in_ms(AHEAD_MS);
		commits = tree_commits(t); /* before the look */
		to->n = 0;
		to->floor = 0;
		r = plan_extents(t, host, gpu, to->after, &parts);
		if (r)
			break;
		for (size_t i = 0; i < parts.n && !r; i++)
			r = add_chunk(to, t, host, gpu, &parts.list[i]);
		missing = r == -ENOENT;
	} while (missing && mono_ms_until(until) > 0);
	free(parts.list);
	/* Of a chunk, whose end has not been told here yet: that is no GPU without rows. */
	return missing ? -EIO : r;
}

static int by_commit(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	if (x->revision != y->revision)
		return x->revision < y->revision ? -1 : 1;
	if (x->segment_ns != y->segment_ns)
		return x->segment_ns < y->segment_ns ? -1 : 1;
	return (x->first_seq > y->first_seq) - (x->first_seq < y->first_seq);
}

static bool continues(const struct extent *a, const struct extent *b)
{
	return a->revision == b->revision && a->segment_ns == b->segment_ns &&
	       a->incarnation == b->incarnation && a->first_seq + a->rows == b->first_seq;
}

static void join(struct extents *x)
{
	size_t n = 0;

	if (x->n)
		qsort(x->list, x->n, sizeof(*x->list), by_commit);
	for (size_t i = 0; i < x->n; i++) {
		if (n && continues(&x->list[n - 1], &x->list[i]))
			x->list[n - 1].rows += x->list[i].rows;
		else
			x->list[n++] = x->list[i];
	}
	x->n = n;
}

int query_extents(struct tree *t, const char *host, const char *gpu, int64_t after, int64_t upto,
		  struct extent **ret, size_t *ret_n, int64_t *ret_floor)
{
	struct extents x = {.after = after, .upto = upto};
	int r = collect(&x, t, host, gpu);

	if (r) {
		free(x.list);
		return r;
	}
	join(&x);
	*ret = x.list;
	*ret_n = x.n;
	*ret_floor = x.floor > after ? x.floor : 0;
	return 0;
}

/* ---- rows of an extent ----------------------------------------------------------------------- */

struct reading {
	struct tree *t;
	const char *host, *gpu;
	const struct extent *x;
	int64_t seq, end; /* positions yet to be read */
	struct ident *ident;
	struct parts parts;
	int (*fn)(const struct identity *id, const struct query_row *row, void *arg);
	void *arg;
};

static int plan_rows_locked(struct reading *rd)
{
	const struct gpu *g = model_gpu(rd->t->model, slice_str(rd->host), slice_str(rd->gpu));
	const struct segment *s = g && g->listed ? gpu_segment(g, rd->x->segment_ns) : NULL;
	const struct chunk_rec *rec;
	int64_t seq = 0;
	uint32_t i = 0;

	if (!rd->t->ready)
		return -EIO;
	if (!s || s->incarnation != rd->x->incarnation)
		return -ESTALE;
	ident_unref(rd->ident);
	rd->ident = ident_ref(g->ident);
	rd->parts.n = 0;
	while (seq < rd->end && (rec = segment_next(s, &i, &seq)))
		if (seq > rd->seq)
			add_part(&rd->parts, s, rec);
	return rd->parts.n && seq >= rd->end ? 0 : -ESTALE;
}

static int plan_rows(struct reading *rd)
{
	int r;

	pthread_rwlock_rdlock(&rd->t->lock);
	r = plan_rows_locked(rd);
	pthread_rwlock_unlock(&rd->t->lock);
	return r;
}

static int by_index(const void *a, const void *b)
{
	const struct decoded_row *x = a, *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

/* Rows [from, to) of a chunk by position; to be freed. */
static struct decoded_row *rows_between(const struct decoded *d, uint32_t from, uint32_t to)
{
	struct decoded_row *list = xcalloc(to - from, sizeof(*list));
	const struct decoded_row *rows = decoded_rows(d);
	uint32_t n = 0;

	if (d->in_order) {
		memcpy(list, rows + from, (to - from) * sizeof(*list));
		return list;
	}
	for (uint32_t i = 0; i < d->n_rows; i++)
		if (rows[i].index >= from && rows[i].index < to)
			list[n++] = rows[i];
	qsort(list, n, sizeof(*list), by_index);
	return list;
}

static int tell_row(struct reading *rd, const struct decoded *d, const struct decoded_row *row)
{
	const struct identity *id = rd->ident->id;
	uint32_t series = decoded_series(d)[row->series];
	struct attribution attribution;
	struct query_row out;

	if (series >= id->n_series)
		return -EIO;
	decoded_attribution(d, row->attribution, &attribution);
	out = (struct query_row){
		.time = {row->ns, row->digits},
		.series = &id->series[series],
		.attribution = &attribution,
		.value = decoded_value(d, row),
		.seq = d->first_seq + row->index,
		.revision = rd->x->revision,
	};
	return rd->fn(id, &out, rd->arg);
}

static int tell_rows(struct reading *rd, const struct decoded *d)
{
	uint32_t from = (uint32_t)(rd->seq - d->first_seq);
	uint32_t to = (uint32_t)(MIN(rd->end, d->first_seq + d->n_rows) - d->first_seq);
	struct decoded_row *rows;
	int r = 0;

	if (d->identity != rd->ident->id->incarnation)
		return -EIO;
	rows = rows_between(d, from, to);
	for (uint32_t i = 0; i < to - from && !r; i++)
		r = tell_row(rd, d, &rows[i]);
	free(rows);
	rd->seq = d->first_seq + to;
	return r;
}

/* Reads what was planned; -ENOENT is that of a chunk. */
static int read_parts(struct reading *rd, bool *ret_gone)
{
	int r = 0;

	*ret_gone = false;
	for (size_t i = 0; i < rd->parts.n && !r; i++) {
		struct chunk_at at = {rd->t, rd->host, rd->gpu, &rd->parts.list[i].rec};
		struct text *text = NULL;

		r = chunk_decoded(&at, &text);
		*ret_gone = r == -ENOENT;
		if (!r)
			r = tell_rows(rd, decoded_of(text));
		text_unref(text);
	}
	return r;
}

int query_extent_rows(struct tree *t, const char *host, const char *gpu, const struct extent *x,
		      int64_t patience_ms,
		      int (*fn)(const struct identity *id, const struct query_row *row, void *arg),
		      void *arg)
{
	struct reading rd = {
		.t = t,
		.host = host,
		.gpu = gpu,
		.x = x,
		.seq = x->first_seq,
		.end = x->first_seq + x->rows,
		.fn = fn,
		.arg = arg,
	};
	struct mono until = mono_in_ms(patience_ms);
	uint64_t commits;
	bool gone;
	int r;

	for (;;) {
		commits = tree_commits(t); /* before the look */
		gone = false;
		r = plan_rows(&rd);
		if (!r)
			r = read_parts(&rd, &gone);
		if (!gone || !mono_ms_until(until))
			break;
		tree_wait_commit(t, commits, MIN(mono_ms_until(until), MERGED_MS));
	}
	ident_unref(rd.ident);
	free(rd.parts.list);
	return gone ? -ENODATA : r;
}
