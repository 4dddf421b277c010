/* Rows of a stretch of time.
 *
 * Segments are read one after the other. For each, records of its chunks are copied under the lock
 * into a heap, by the time at which they begin; the top is fetched, decoded and put back by its
 * next row, so that the top is always the row that comes next, and only chunks whose times overlap
 * are open together. When a chunk is not there any more, the segment is planned again from behind
 * the last row that was given out: (time, position) of a row never changes.
 *
 * Both directions run alike: times and positions are negated to read backwards. */
#include "query.h"

#include "tree_chunks.h"

#define AHEAD_MS 2000 /* so long a fetch may be ahead of the commit that says what it found */

/* Where a row stands, in the direction of reading. */
struct at {
	int64_t ns, seq;
};

struct item {
	struct at next;    /* its next row; while it is not open: before its first one */
	struct text *text; /* decoded; NULL: not open */
	uint32_t passed;   /* rows, in the direction of reading */
	struct chunk_rec rec;
};

enum wanted { UNASKED, UNWANTED, WANTED };

struct query {
	struct tree *t;
	struct query_range range;
	char host[NAME_MAX_ENCODED + 1], gpu[NAME_MAX_ENCODED + 1];
	struct ident *named; /* what query_identity gives */
	struct at behind;    /* the last row given out */
	int64_t until;       /* time of the last row that may be */

	/* The segment at hand. */
	bool planned;
	int64_t start_ns;
	struct ident *ident; /* names the series */
	struct item *heap;
	size_t n, cap;
	bool given; /* the top's row was */
	uint64_t commits;
	struct mono ahead_until; /* 0: a row was given out since */

	int64_t next_start; /* of segments; where to go on */
	uint8_t *wanted;    /* enum wanted, by series */
	uint32_t n_wanted;
	struct attribution attribution;
};

/* ---- order ----------------------------------------------------------------------------------- */

static int64_t turned(const struct query *q, int64_t v)
{
	return q->range.descending ? -v : v;
}

static bool is_before(struct at a, struct at b)
{
	return a.ns != b.ns ? a.ns < b.ns : a.seq < b.seq;
}

/* The earlier one of two children; 0: it has none that is before it. */
static size_t child_before(const struct query *q, size_t i, struct at at)
{
	size_t child = 2 * i + 1;

	if (child + 1 < q->n && is_before(q->heap[child + 1].next, q->heap[child].next))
		child++;
	return child < q->n && is_before(q->heap[child].next, at) ? child : 0;
}

static void sift_down(struct query *q, size_t i)
{
	size_t child = child_before(q, i, q->heap[i].next);
	struct item item;

	if (!child)
		return; /* mostly: rows of one chunk follow one another */
	item = q->heap[i];
	for (; child; child = child_before(q, i, item.next)) {
		q->heap[i] = q->heap[child];
		i = child;
	}
	q->heap[i] = item;
}

static void drop_top(struct query *q)
{
	text_unref(q->heap[0].text);
	q->heap[0] = q->heap[--q->n];
	if (q->n)
		sift_down(q, 0);
}

static void drop_all(struct query *q)
{
	for (size_t i = 0; i < q->n; i++)
		text_unref(q->heap[i].text);
	q->n = 0;
	q->given = false;
}

/* ---- planning -------------------------------------------------------------------------------- */

static int64_t low_ns(const struct query *q)
{
	return q->range.descending ? -q->until : q->behind.ns;
}

static int64_t high_ns(const struct query *q)
{
	return q->range.descending ? -q->behind.ns : q->until;
}

static const struct segment *pick_ascending(const struct query *q, const struct gpu *g)
{
	for (uint32_t i = gpu_segment_index(g, q->next_start, 0); i < g->n_segments; i++) {
		const struct segment *s = g->segments[i];

		if (s->start_ns > high_ns(q))
			break;
		if (s->listed && s->max_ns >= low_ns(q))
			return s;
	}
	return NULL;
}

static const struct segment *pick_descending(const struct query *q, const struct gpu *g)
{
	for (uint32_t i = gpu_segment_index(g, q->next_start + 1, 0); i-- > 0;) {
		const struct segment *s = g->segments[i];

		if (s->listed && s->start_ns <= high_ns(q) && s->max_ns >= low_ns(q))
			return s;
	}
	return NULL;
}

static bool concerns(const struct query *q, const struct chunk_rec *rec)
{
	return rec->max_ns >= low_ns(q) && rec->min_ns <= high_ns(q) &&
	       (rec->merged || rec->revision <= q->range.max_revision);
}

static void add_item(struct query *q, const struct chunk_rec *rec)
{
	if (q->n == q->cap) {
		q->cap = q->cap ? 2 * q->cap : 16;
		q->heap = xrealloc(q->heap, q->cap * sizeof(*q->heap));
	}
	q->heap[q->n++] = (struct item){
		.next = {q->range.descending ? -rec->max_ns : rec->min_ns, INT64_MIN},
		.rec = *rec,
	};
}

static void add_items(struct query *q, const struct segment *s)
{
	const struct chunk_rec *rec;
	int64_t seq = 0;
	uint32_t i = 0;

	while ((rec = segment_next(s, &i, &seq)))
		if (concerns(q, rec))
			add_item(q, rec);
	for (size_t at = q->n / 2; at-- > 0;)
		sift_down(q, at);
}

/* Under the lock: 1 with the next segment's chunks in the heap, 0 when there is none. */
static int plan_locked(struct query *q)
{
	const struct gpu *g = model_gpu(q->t->model, slice_str(q->host), slice_str(q->gpu));
	const struct segment *s;

	if (!g || !g->listed || g->listed_as != q->named->id->incarnation)
		return -ESTALE;
	s = q->range.descending ? pick_descending(q, g) : pick_ascending(q, g);
	if (!s)
		return 0;
	ident_unref(q->ident);
	q->ident = ident_ref(g->ident);
	q->start_ns = s->start_ns;
	q->planned = true;
	add_items(q, s);
	return 1;
}

static int plan(struct query *q)
{
	int r;

	q->commits = tree_commits(q->t); /* before the look: a commit since then is not missed */
	pthread_rwlock_rdlock(&q->t->lock);
	r = plan_locked(q);
	pthread_rwlock_unlock(&q->t->lock);
	return r;
}

static int plan_next(struct query *q)
{
	if (q->planned) {
		q->next_start = q->start_ns + (q->range.descending ? -1 : 1);
		q->planned = false;
		q->ahead_until = (struct mono){0};
	}
	return plan(q);
}

/* A chunk was not there: what stands in its place comes with a commit. */
static int plan_again(struct query *q)
{
	drop_all(q);
	q->planned = false;
	if (q->ahead_until.ns == 0)
		q->ahead_until = mono_in_ms(AHEAD_MS);
	if (mono_ms_until(q->ahead_until) == 0)
		return -EIO;
	tree_wait_commit(q->t, q->commits, mono_ms_until(q->ahead_until));
	return 1;
}

/* ---- series ---------------------------------------------------------------------------------- */

static bool is_wanted(struct query *q, uint32_t series)
{
	const struct identity *id = q->ident->id;

	if (!q->range.wants)
		return true;
	if (series >= q->n_wanted) {
		q->wanted = xrealloc(q->wanted, id->n_series);
		memset(q->wanted + q->n_wanted, UNASKED, id->n_series - q->n_wanted);
		q->n_wanted = id->n_series;
	}
	if (q->wanted[series] == UNASKED)
		q->wanted[series] =
			q->range.wants(&id->series[series], q->range.arg) ? WANTED : UNWANTED;
	return q->wanted[series] == WANTED;
}

/* 1: some series of the chunk is wanted. */
static int has_wanted(struct query *q, const struct chunk *c)
{
	for (uint32_t i = 0; i < c->n_series; i++)
		if (c->series[i].id >= q->ident->id->n_series)
			return -EIO;
		else if (is_wanted(q, c->series[i].id))
			return 1;
	return 0;
}

/* By its header alone. */
static int may_match(struct query *q, const struct chunk_at *at)
{
	struct chunk c = {0};
	struct text *value;
	int r;

	if (!q->range.wants)
		return 1;
	r = chunk_value(at, &value);
	if (r)
		return r;
	r = chunk_decode((struct slice){value->s, value->len}, &c, NULL);
	r = r ? -EIO : has_wanted(q, &c);
	chunk_release(&c);
	text_unref(value);
	return r;
}

/* ---- rows of a chunk ------------------------------------------------------------------------- */

static const struct decoded_row *row_at(const struct query *q, const struct decoded *d, uint32_t i)
{
	return &decoded_rows(d)[q->range.descending ? d->n_rows - 1 - i : i];
}

static struct at at_of(const struct query *q, const struct decoded *d,
		       const struct decoded_row *row)
{
	return (struct at){turned(q, row->ns), turned(q, d->first_seq + row->index)};
}

/* How many rows are not behind what was given out. */
static uint32_t count_passed(const struct query *q, const struct decoded *d)
{
	uint32_t lo = 0, hi = d->n_rows;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (is_before(q->behind, at_of(q, d, row_at(q, d, mid))))
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static bool is_too_new(const struct query *q, const struct item *item,
		       const struct decoded_row *row)
{
	return item->rec.revision > q->range.max_revision &&
	       decoded_revision(decoded_of(item->text), row->index, item->rec.revision) >
		       q->range.max_revision;
}

/* Moves on to the next row that is asked for; false: there is none. */
static bool find_row(struct query *q, struct item *item)
{
	const struct decoded *d = decoded_of(item->text);
	const uint32_t *series = decoded_series(d);

	for (; item->passed < d->n_rows; item->passed++) {
		const struct decoded_row *row = row_at(q, d, item->passed);

		if (turned(q, row->ns) > q->until)
			return false;
		if (!is_wanted(q, series[row->series]) || is_too_new(q, item, row))
			continue;
		item->next = at_of(q, d, row);
		return true;
	}
	return false;
}

/* The top's place among the others, from its next row on. */
static void settle_top(struct query *q)
{
	if (find_row(q, &q->heap[0]))
		sift_down(q, 0);
	else
		drop_top(q);
}

static int check_decoded(const struct query *q, const struct decoded *d)
{
	const uint32_t *series = decoded_series(d);

	if (d->identity != q->ident->id->incarnation)
		return -EIO;
	for (uint32_t i = 0; i < d->n_series; i++)
		if (series[i] >= q->ident->id->n_series)
			return -EIO;
	return 0;
}

/* 1, also where none of its rows is asked for. */
static int open_top(struct query *q)
{
	struct item *top = &q->heap[0];
	struct chunk_at at = {q->t, q->host, q->gpu, &top->rec};
	int r = may_match(q, &at);

	if (r < 0)
		return r;
	if (r == 0) {
		drop_top(q);
		return 1;
	}
	r = chunk_decoded(&at, &top->text);
	if (!r)
		r = check_decoded(q, decoded_of(top->text));
	if (r)
		return r == -EBADMSG ? -EIO : r;
	top->passed = count_passed(q, decoded_of(top->text));
	settle_top(q);
	return 1;
}

static void give(struct query *q, struct query_row *ret)
{
	const struct item *top = &q->heap[0];
	const struct decoded *d = decoded_of(top->text);
	const struct decoded_row *row = row_at(q, d, top->passed);

	decoded_attribution(d, row->attribution, &q->attribution);
	*ret = (struct query_row){
		.time = {row->ns, row->digits},
		.series = &q->ident->id->series[decoded_series(d)[row->series]],
		.attribution = &q->attribution,
		.value = decoded_value(d, row),
		.seq = d->first_seq + row->index,
		.revision = decoded_revision(d, row->index, top->rec.revision),
	};
	q->behind = top->next;
	q->given = true;
	q->ahead_until = (struct mono){0};
}

/* ---- queries --------------------------------------------------------------------------------- */

/* Brings the next row to the top: 1, or 0 when there is none. */
static int reach_row(struct query *q)
{
	int r = 1;

	while (r > 0 && !(q->n && q->heap[0].text)) {
		r = q->n ? open_top(q) : plan_next(q);
		if (r == -ENOENT)
			r = plan_again(q);
	}
	return r;
}

int query_next(struct query *q, struct query_row *ret)
{
	int r;

	if (q->given) {
		q->given = false;
		q->heap[0].passed++;
		settle_top(q);
	}
	r = reach_row(q);
	if (r > 0)
		give(q, ret);
	return r;
}

static void set_bounds(struct query *q)
{
	struct query_range *range = &q->range;
	int64_t from = MAX(range->from_ns, 0), to = MAX(range->to_ns, -1);
	struct at after = {turned(q, MAX(range->after_ns, -INT64_MAX)),
			   turned(q, MAX(range->after_seq, -INT64_MAX))};

	q->behind = (struct at){range->descending ? -to : from, INT64_MIN};
	q->until = range->descending ? -from : to;
	if (range->resume && is_before(q->behind, after))
		q->behind = after;
	q->next_start = range->descending ? INT64_MAX - 1 : 0;
}

static int name_locked(struct query *q)
{
	const struct gpu *g = model_gpu(q->t->model, slice_str(q->host), slice_str(q->gpu));

	if (!q->t->ready)
		return -EIO;
	if (!g || !g->listed)
		return -ENOENT;
	q->named = ident_ref(g->ident);
	return 0;
}

int query_open(struct query **ret, struct tree *t, const struct query_range *range)
{
	struct query *q;
	int r;

	if (strlen(range->host) > NAME_MAX_ENCODED || strlen(range->gpu) > NAME_MAX_ENCODED)
		return -ENOENT;
	q = xcalloc(1, sizeof(*q));
	q->t = t;
	q->range = *range;
	strcpy(q->host, range->host);
	strcpy(q->gpu, range->gpu);
	set_bounds(q);
	pthread_rwlock_rdlock(&t->lock);
	r = name_locked(q);
	pthread_rwlock_unlock(&t->lock);
	if (r)
		query_close(q);
	else
		*ret = q;
	return r;
}

const struct identity *query_identity(const struct query *q)
{
	return q->named->id;
}

void query_close(struct query *q)
{
	if (!q)
		return;
	drop_all(q);
	ident_unref(q->named);
	ident_unref(q->ident);
	free(q->wanted);
	free(q->heap);
	free(q);
}
