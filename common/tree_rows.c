/* Contents of row files.
 *
 * A read is planned under the lock: which chunks hold the bytes, where they lie in the file, the
 * identity that names their series. The texts are then taken from the cache, or built without the
 * lock (tree_chunks.h) and rendered, checked against csv_bytes. A chunk that was merged in between
 * is not found; the plan is made anew when the next commit has come in. Since bytes never change,
 * what was read before stays good. */
#include "tree_chunks.h"

#define PIECES   16
#define AHEAD_MS 2000 /* so long a fetch may be ahead of the commit that says what it found */

struct piece {
	struct chunk_rec rec;
	size_t skip, take; /* of its text */
};

struct plan {
	struct ident *ident;
	char host[NAME_MAX_ENCODED + 1], gpu[NAME_MAX_ENCODED + 1];
	struct piece pieces[PIECES];
	size_t n;
	int64_t size; /* of the file */
	uint64_t commits;
};

/* ---- planning -------------------------------------------------------------------------------- */

static void add_pieces(struct plan *plan, const struct segment *s, int64_t offset, int64_t end)
{
	const struct chunk_rec *rec;
	int64_t at = ROW_HEADER_LEN, seq = 0;
	uint32_t i = 0;

	while (at < end && plan->n < PIECES && (rec = segment_next(s, &i, &seq))) {
		int64_t from = MAX(at, offset), to = MIN(at + rec->csv_bytes, end);

		if (from < to)
			plan->pieces[plan->n++] = (struct piece){
				.rec = *rec,
				.skip = (size_t)(from - at),
				.take = (size_t)(to - from),
			};
		at += rec->csv_bytes;
	}
}

/* For bytes [offset, end) of a file, or the first of them. */
static int make_plan(struct tree *t, struct node *n, int64_t offset, int64_t end, struct plan *plan)
{
	struct place p;
	int r;

	plan->n = 0;
	plan->commits = tree_commits(t); /* before the look: a commit since then is not missed */
	pthread_rwlock_rdlock(&t->lock);
	r = node_rows_place(t, n, &p);
	if (!r) {
		plan->size = ROW_HEADER_LEN + p.segment->bytes;
		plan->ident = ident_ref(p.gpu->ident);
		strcpy(plan->host, p.host->name);
		strcpy(plan->gpu, p.gpu->name);
		add_pieces(plan, p.segment, offset, MIN(end, plan->size));
	}
	pthread_rwlock_unlock(&t->lock);
	return r;
}

/* ---- building a text ------------------------------------------------------------------------- */

struct build {
	struct chunk_at at;
	const struct identity *id;
};

static int render_rows(const struct build *b, const struct chunk *c, const struct rows *rows,
		       struct strbuf *out)
{
	if (c->identity != b->id->incarnation)
		return -EIO;
	for (size_t i = 0; i < rows->n; i++) {
		const struct row *row = &rows->rows[i];
		uint32_t series = c->series[row->series].id;

		if (series >= b->id->n_series)
			return -EIO;
		render_row(out, row->time, row->value, &b->id->series[series],
			   &c->attributions[row->attribution]);
	}
	return out->len == b->at.rec->csv_bytes ? out->err : -EIO;
}

static int build_text(struct strbuf *out, void *arg)
{
	const struct build *b = arg;
	struct text *value = NULL;
	struct rows rows = {0};
	struct chunk c = {0};
	int r = chunk_read(&b->at, &value, &c, &rows);

	if (!r && !strbuf_reserve(out, b->at.rec->csv_bytes))
		r = out->err;
	if (!r)
		r = render_rows(b, &c, &rows, out);
	rows_release(&rows);
	chunk_release(&c);
	text_unref(value);
	return r;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int read_piece(struct tree *t, const struct plan *plan, const struct piece *piece,
		      struct strbuf *ret)
{
	struct build b = {{t, plan->host, plan->gpu, &piece->rec}, plan->ident->id};
	struct text *text;
	int r = text_cache_get(t->cache, TEXT_RENDERED, piece->rec.id, piece->rec.csv_bytes,
			       build_text, &b, &text);

	if (r)
		return r == -ENOENT || r == -ENOMEM || r == -ECANCELED ? r : -EIO;
	strbuf_add(ret, text->s + piece->skip, piece->take);
	text_unref(text);
	return ret->err;
}

static int read_pieces(struct tree *t, const struct plan *plan, struct strbuf *ret, int64_t *offset)
{
	int r = 0;

	for (size_t i = 0; i < plan->n && !r; i++) {
		r = read_piece(t, plan, &plan->pieces[i], ret);
		if (!r)
			*offset += (int64_t)plan->pieces[i].take;
	}
	return r;
}

static void read_header(int64_t *offset, int64_t end, struct strbuf *ret)
{
	int64_t to = MIN(end, ROW_HEADER_LEN);

	if (*offset >= to)
		return;
	strbuf_add(ret, ROW_FILE_HEADER + *offset, (size_t)(to - *offset));
	*offset = to;
}

/* Reads [offset, end), as far as the file goes at first. */
static int read_range(struct tree *t, struct node *n, int64_t offset, int64_t end,
		      struct strbuf *ret)
{
	struct mono until = {0};
	struct plan plan;
	int64_t from;
	int r;

	for (bool first = true;; first = false) {
		r = make_plan(t, n, offset, end, &plan);
		if (r)
			return r;
		if (first)
			end = MIN(end, plan.size);
		read_header(&offset, end, ret);
		from = offset;
		r = read_pieces(t, &plan, ret, &offset);
		ident_unref(plan.ident);
		if (offset > from || until.ns == 0)
			until = mono_in_ms(AHEAD_MS);
		if (r == -ENOENT && mono_ms_until(until) > 0)
			tree_wait_commit(t, plan.commits, mono_ms_until(until));
		else if (r || offset >= end)
			return r == -ENOENT ? -EIO : r;
		else if (plan.n == 0)
			return -EIO; /* it has shrunk, which it never does */
	}
}

int tree_read_rows(struct tree *t, struct node *n, int64_t offset, size_t size, struct strbuf *ret)
{
	size_t before = ret->len;
	int64_t end;
	int r;

	if (offset < 0)
		return -EINVAL;
	end = size > (size_t)(INT64_MAX - offset) ? INT64_MAX : offset + (int64_t)size;
	r = read_range(t, n, offset, end, ret);
	if (!r)
		r = ret->err;
	if (r && ret->s) {
		ret->len = before;
		ret->s[before] = '\0';
	}
	return r;
}
