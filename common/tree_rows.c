/* Contents of row files.
 *
 * A read is planned under the lock: which chunks hold the bytes, where they lie in the file, the
 * identity that names their series. The texts are then taken from the cache, or built without the
 * lock: fetch → decode → render, checked against csv_bytes. A chunk that was merged in between is
 * not found; the plan is made anew when the next commit has come in. Since bytes never change, what
 * was read before stays good. */
#include "tree_internal.h"

#define PIECES       16
#define MERGED_TRIES 8
#define MERGED_MS    250 /* waiting for the commit that a fetch was ahead of */
#define VALUE_BYTES  (8 * 1024 * 1024)

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
	struct tree *t;
	const struct plan *plan;
	const struct chunk_rec *rec;
};

static int fetch(const struct build *b, bool body, struct strbuf *ret)
{
	struct data_key key = {
		.host = slice_str(b->plan->host),
		.gpu = slice_str(b->plan->gpu),
		.first_ns = b->rec->key_ns,
	};
	const struct tree_source *source = &b->t->conf.source;
	int r;

	ulid_from_id(b->rec->id, key.ulid);
	r = source->fetch ? source->fetch(&key, body, ret, source->arg) : -EIO;
	return r ? r : ret->err;
}

static int render_rows(const struct build *b, const struct chunk *c, const struct rows *rows,
		       struct strbuf *out)
{
	const struct identity *id = b->plan->ident->id;

	if (c->identity != id->incarnation || rows->n != b->rec->rows)
		return -EIO;
	for (size_t i = 0; i < rows->n; i++) {
		const struct row *row = &rows->rows[i];
		uint32_t series = c->series[row->series].id;

		if (series >= id->n_series)
			return -EIO;
		render_row(out, row->time, row->value, &id->series[series],
			   &c->attributions[row->attribution]);
	}
	return out->len == b->rec->csv_bytes ? out->err : -EIO;
}

static int build_body(const struct build *b, const struct chunk *c, struct strbuf *out)
{
	struct rows rows = {0};
	struct strbuf body;
	int r = 0;

	strbuf_init(&body, VALUE_BYTES);
	if (!c->has_inline_body)
		r = fetch(b, true, &body);
	if (!r)
		r = chunk_decode_body(
			c, c->has_inline_body ? c->inline_body : (struct slice){body.s, body.len},
			&rows, NULL);
	if (!r)
		r = render_rows(b, c, &rows, out);
	rows_release(&rows);
	strbuf_release(&body);
	return r;
}

static int build_text(struct strbuf *out, void *arg)
{
	const struct build *b = arg;
	struct chunk c = {0};
	struct strbuf value;
	int r = 0;

	strbuf_init(&value, VALUE_BYTES);
	if (!text_cache_value(b->t->cache, b->rec->id, &value))
		r = fetch(b, false, &value);
	if (!r)
		r = chunk_decode((struct slice){value.s, value.len}, &c, NULL);
	if (!r && !strbuf_reserve(out, b->rec->csv_bytes))
		r = out->err;
	if (!r)
		r = build_body(b, &c, out);
	chunk_release(&c);
	strbuf_release(&value);
	return r;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int read_piece(struct tree *t, const struct plan *plan, const struct piece *piece,
		      struct strbuf *ret)
{
	struct build b = {t, plan, &piece->rec};
	struct text *text;
	int r = text_cache_get(t->cache, piece->rec.id, piece->rec.csv_bytes, build_text, &b,
			       &text);

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
	struct plan plan;
	int tries = 0, r;

	for (bool first = true;; first = false) {
		r = make_plan(t, n, offset, end, &plan);
		if (r)
			return r;
		if (first)
			end = MIN(end, plan.size);
		read_header(&offset, end, ret);
		r = read_pieces(t, &plan, ret, &offset);
		ident_unref(plan.ident);
		if (r == -ENOENT && ++tries < MERGED_TRIES)
			tree_wait_commit(t, plan.commits, MERGED_MS);
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
