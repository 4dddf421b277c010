#include "join.h"

#include "identity.h"

enum {
	VALUE_BYTES = 64 * 1024,      /* of a header with its body, where that is inline */
	RAW_BYTES = 64 * 1024 * 1024, /* of a body before it turns out too large */
};

/* A part as it was read. */
struct opened {
	struct chunk c;
	struct rows rows;
	uint32_t *attributions; /* here → in the joined one */
	int64_t create_rev;
};

struct join {
	struct opened *parts;
	size_t n;
	uint32_t *entry; /* series id → index in the joined one + 1 */
	struct row *rows;
	int64_t old_ns;
	struct joined *to;
};

/* ---- parts ----------------------------------------------------------------------------------- */

/* A table covers all rows, or there is none. */
static bool covers_all(const struct chunk *c)
{
	int64_t rows = 0;

	for (uint32_t i = 0; i < c->n_commits; i++)
		rows += c->commits[i].rows;
	return !c->n_commits || rows == c->rows;
}

static int open_part(const struct join_part *from, struct opened *p, struct err *e)
{
	int r = chunk_decode(from->value, &p->c, e);

	if (!r)
		r = chunk_decode_body(&p->c, p->c.has_inline_body ? p->c.inline_body : from->body,
				      &p->rows, e);
	if (!r && !covers_all(&p->c))
		r = err_set(e, -EBADMSG, "chunk: its commits are not those of its rows");
	if (r)
		return r;
	p->attributions = xcalloc(p->c.n_attributions + 1, sizeof(*p->attributions));
	p->create_rev = from->create_rev;
	return 0;
}

static bool follows(const struct chunk *a, const struct chunk *b)
{
	return a->identity == b->identity && a->incarnation == b->incarnation &&
	       a->segment_ns == b->segment_ns && a->first_seq + a->rows == b->first_seq;
}

static void part_release(struct opened *p)
{
	chunk_release(&p->c);
	rows_release(&p->rows);
	free(p->attributions);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static bool same_attribution(const struct attribution *a, const struct attribution *b)
{
	return slice_eq(a->uuid, b->uuid) && slice_eq(a->container, b->container) &&
	       slice_eq(a->pod, b->pod) && slice_eq(a->namespace, b->namespace);
}

static uint32_t add_attribution(struct chunk *c, const struct attribution *a)
{
	for (uint32_t i = c->n_attributions; i-- > 0;)
		if (same_attribution(&c->attributions[i], a))
			return i;
	c->attributions[c->n_attributions] = *a;
	return c->n_attributions++;
}

static void join_attributions(struct join *j)
{
	struct chunk *c = &j->to->c;
	size_t most = 1;

	for (size_t i = 0; i < j->n; i++)
		most += j->parts[i].c.n_attributions;
	c->attributions = xcalloc(most, sizeof(*c->attributions));
	for (size_t i = 0; i < j->n; i++)
		for (uint32_t k = 0; k < j->parts[i].c.n_attributions; k++)
			j->parts[i].attributions[k] =
				add_attribution(c, &j->parts[i].c.attributions[k]);
}

static void list_series(struct join *j)
{
	struct chunk *c = &j->to->c;

	for (size_t i = 0; i < j->n; i++)
		for (uint32_t k = 0; k < j->parts[i].c.n_series; k++)
			j->entry[j->parts[i].c.series[k].id] = 1;
	for (uint32_t id = 0; id < IDENTITY_SERIES_MAX; id++)
		if (j->entry[id])
			j->entry[id] = ++c->n_series;
	c->series = xcalloc(c->n_series + 1, sizeof(*c->series));
	for (uint32_t id = 0; id < IDENTITY_SERIES_MAX; id++)
		if (j->entry[id])
			c->series[j->entry[id] - 1] =
				(struct chunk_series){.id = id, .row = UINT32_MAX};
}

/* b comes later in position. */
static bool is_later(const struct chunk_series *a, const struct chunk_series *b)
{
	if (a->row == UINT32_MAX || a->ahead != b->ahead)
		return a->row == UINT32_MAX || a->ahead;
	return b->time.ns >= a->time.ns;
}

static void join_series(struct join *j)
{
	uint32_t before = 0;

	list_series(j);
	for (size_t i = 0; i < j->n; i++) {
		const struct opened *p = &j->parts[i];

		for (uint32_t k = 0; k < p->c.n_series; k++) {
			struct chunk_series s = p->c.series[k];
			struct chunk_series *to = &j->to->c.series[j->entry[s.id] - 1];

			if (!is_later(to, &s))
				continue;
			s.row += before;
			s.attribution = p->attributions[s.attribution];
			*to = s;
		}
		before += (uint32_t)p->c.rows;
	}
}

/* ---- commits --------------------------------------------------------------------------------- */

/* An entry of the table before folding. */
struct entry {
	struct chunk_commit commit;
	bool folded, old, pinned;
};

static size_t list_commits(const struct join *j, struct entry *list)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n; i++) {
		const struct opened *p = &j->parts[i];
		bool old = p->c.stored_ns < j->old_ns;

		for (uint32_t k = 0; k < MAX(p->c.n_commits, 1); k++) {
			struct chunk_commit own = {p->create_rev, (uint32_t)p->c.rows};
			struct chunk_commit c = p->c.n_commits ? p->c.commits[k] : own;

			if (n && !list[n - 1].folded && list[n - 1].commit.revision == c.revision) {
				list[n - 1].commit.rows += c.rows; /* one commit, two chunks */
				list[n - 1].old &= old;
				continue;
			}
			list[n++] = (struct entry){.commit = c,
						   .folded = chunk_commit_is_folded(&p->c, k),
						   .old = old};
		}
	}
	return n;
}

/* Entries that a latest row is of. */
static void pin_latest(const struct chunk *c, struct entry *list, size_t n)
{
	bool *latest = xcalloc((size_t)c->rows + 1, sizeof(*latest));
	size_t row = 0;

	for (uint32_t i = 0; i < c->n_series; i++)
		latest[c->series[i].row] = true;
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < list[i].commit.rows; k++)
			list[i].pinned |= latest[row++];
	free(latest);
}

static void put_commit(struct chunk *c, int64_t revision, uint32_t rows)
{
	c->commits[c->n_commits++] = (struct chunk_commit){revision, rows};
}

/* The newest commit is never folded, nor one with a latest row. */
static void fold(struct chunk *c, const struct entry *list, size_t n, bool all)
{
	uint32_t carry = 0;

	c->n_commits = 0;
	for (size_t i = 0; i < n; i++) {
		if (list[i].folded || ((list[i].old || all) && !list[i].pinned && i + 1 < n)) {
			carry += list[i].commit.rows;
			continue;
		}
		if (carry)
			put_commit(c, list[i].commit.revision, carry);
		put_commit(c, list[i].commit.revision, list[i].commit.rows);
		carry = 0;
	}
}

static int join_commits(struct join *j, struct err *e)
{
	struct chunk *c = &j->to->c;
	size_t n = 0;
	struct entry *list;

	for (size_t i = 0; i < j->n; i++)
		n += MAX(j->parts[i].c.n_commits, 1);
	list = xcalloc(n, sizeof(*list));
	c->commits = xcalloc(2 * n, sizeof(*c->commits));
	n = list_commits(j, list);
	pin_latest(c, list, n);
	fold(c, list, n, false);
	if (c->n_commits > CHUNK_COMMITS_MAX)
		fold(c, list, n, true);
	free(list);
	return c->n_commits > CHUNK_COMMITS_MAX ? err_set(e, -EFBIG, "too many commits") : 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void join_rows(struct join *j)
{
	size_t at = 0;

	j->rows = xmalloc((size_t)j->to->c.rows * sizeof(*j->rows));
	for (size_t i = 0; i < j->n; i++) {
		const struct opened *p = &j->parts[i];

		for (size_t k = 0; k < p->rows.n; k++) {
			struct row *row = &j->rows[at++];

			*row = p->rows.rows[k];
			row->series = j->entry[p->c.series[row->series].id] - 1;
			row->attribution = p->attributions[row->attribution];
		}
	}
}

static void join_fields(struct join *j, bool seal)
{
	const struct chunk *first = &j->parts[0].c;
	struct chunk *c = &j->to->c;

	*c = (struct chunk){.sealed = seal,
			    .identity = first->identity,
			    .incarnation = first->incarnation,
			    .segment_ns = first->segment_ns,
			    .first_seq = first->first_seq,
			    .min_ns = first->min_ns,
			    .max_ns = first->max_ns};
	for (size_t i = 0; i < j->n; i++) {
		const struct chunk *p = &j->parts[i].c;

		c->rows += p->rows;
		c->csv_bytes += p->csv_bytes;
		c->min_ns = MIN(c->min_ns, p->min_ns);
		c->max_ns = MAX(c->max_ns, p->max_ns);
		c->stored_ns = MAX(c->stored_ns, p->stored_ns);
	}
}

/* ---- the check ------------------------------------------------------------------------------- */

static bool same_row(const struct chunk *a, const struct row *x, const struct row *y)
{
	return x->time.ns == y->time.ns && x->time.digits == y->time.digits &&
	       x->series == y->series && x->attribution == y->attribution &&
	       x->series < a->n_series && slice_eq(x->value, y->value);
}

/* That what is about to be written reads as what is about to be deleted. */
static int check(const struct join *j, struct err *e)
{
	struct slice body = {j->to->body.s, j->to->body.len};
	struct slice value = {j->to->value.s, j->to->value.len};
	struct chunk c = {0};
	struct rows rows = {0};
	int r = chunk_decode(value, &c, e);

	if (!r)
		r = chunk_decode_body(&c, c.has_inline_body ? c.inline_body : body, &rows, e);
	for (size_t i = 0; i < rows.n && !r; i++)
		if (!same_row(&c, &rows.rows[i], &j->rows[i]))
			r = err_set(e, -EBADMSG, "row %zu would not read as it was", i);
	chunk_release(&c);
	rows_release(&rows);
	return r;
}

/* ---- joining --------------------------------------------------------------------------------- */

static int encode(struct join *j, struct err *e)
{
	struct joined *to = j->to;

	chunk_encode_body(&to->c, j->rows, (size_t)to->c.rows, &to->body);
	if (to->c.body_len > CHUNK_BODY_MAX)
		return err_set(e, -EFBIG, "a body of %u bytes", to->c.body_len);
	chunk_encode(&to->value, &to->c, (struct slice){to->body.s, to->body.len});
	if (to->c.has_inline_body)
		strbuf_reset(&to->body);
	if (to->value.err || to->body.err)
		return err_set(e, -EFBIG, "a header of more than %d bytes", VALUE_BYTES);
	return check(j, e);
}

static int join(struct join *j, bool seal, struct err *e)
{
	int r;

	for (size_t i = 1; i < j->n; i++)
		if (!follows(&j->parts[i - 1].c, &j->parts[i].c)) {
			j->to->bad = i;
			return err_set(e, -ESTALE, "chunks that do not belong together");
		}
	join_fields(j, seal);
	if (j->to->c.rows > CHUNK_ROWS_MAX)
		return err_set(e, -EFBIG, "too many rows");
	join_attributions(j);
	join_series(j);
	r = join_commits(j, e);
	if (r)
		return r;
	join_rows(j);
	return encode(j, e);
}

int join_chunks(const struct join_part *parts, size_t n, bool seal, int64_t old_ns,
		struct joined *ret, struct err *e)
{
	struct join j = {.n = n, .old_ns = old_ns, .to = ret};
	int r = 0;

	joined_release(ret);
	strbuf_init(&ret->value, VALUE_BYTES);
	strbuf_init(&ret->body, RAW_BYTES);
	j.parts = xcalloc(n, sizeof(*j.parts));
	j.entry = xcalloc(IDENTITY_SERIES_MAX, sizeof(*j.entry));
	for (ret->bad = 0; ret->bad < n && !r; ret->bad += !r)
		r = open_part(&parts[ret->bad], &j.parts[ret->bad], e);
	if (!r)
		r = join(&j, seal, e);
	for (size_t i = 0; i < n; i++)
		part_release(&j.parts[i]);
	free(j.parts);
	free(j.entry);
	free(j.rows);
	return r;
}

void joined_release(struct joined *j)
{
	strbuf_release(&j->value);
	strbuf_release(&j->body);
	chunk_release(&j->c);
	*j = (struct joined){0};
}
