#include "tree_chunks.h"

#define VALUE_BYTES   ((size_t)8 << 20)
#define DECODED_BYTES ((size_t)256 << 20)

/* ---- fetching -------------------------------------------------------------------------------- */

static int fetch(const struct chunk_at *at, bool body, struct strbuf *ret)
{
	const struct tree_source *source = &at->t->conf.source;
	struct data_key key = {
		.host = slice_str(at->host),
		.gpu = slice_str(at->gpu),
		.first_ns = at->rec->key_ns,
	};
	int r;

	ulid_from_id(at->rec->id, key.ulid);
	r = source->fetch ? source->fetch(&key, body, ret, source->arg) : -EIO;
	return r ? r : ret->err;
}

static int build_value(struct strbuf *out, void *arg)
{
	return fetch(arg, false, out);
}

static int outcome(int r)
{
	bool telling = r == -ENOENT || r == -EBADMSG || r == -ENOMEM || r == -ECANCELED;

	return !r || telling ? r : -EIO;
}

int chunk_value(const struct chunk_at *at, struct text **ret)
{
	struct chunk_at asked = *at;

	return outcome(text_cache_get(at->t->cache, TEXT_VALUE, at->rec->id, VALUE_BYTES,
				      build_value, &asked, ret));
}

static int read_body(const struct chunk_at *at, const struct chunk *c, struct rows *ret)
{
	struct strbuf body;
	int r = 0;

	if (c->has_inline_body)
		return chunk_decode_body(c, c->inline_body, ret, NULL);
	strbuf_init(&body, VALUE_BYTES);
	r = fetch(at, true, &body);
	if (!r)
		r = chunk_decode_body(c, (struct slice){body.s, body.len}, ret, NULL);
	strbuf_release(&body);
	return r;
}

int chunk_read(const struct chunk_at *at, struct text **ret_value, struct chunk *ret,
	       struct rows *ret_rows)
{
	int r = chunk_value(at, ret_value);

	if (!r)
		r = chunk_decode((struct slice){(*ret_value)->s, (*ret_value)->len}, ret, NULL);
	if (!r && ret->rows != at->rec->rows)
		r = -EBADMSG;
	if (!r)
		r = read_body(at, ret, ret_rows);
	return outcome(r);
}

/* ---- decoding -------------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
	const struct decoded_row *x = a, *y = b;

	if (x->ns != y->ns)
		return x->ns < y->ns ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

/* Where the parts of a chunk that is being packed lie. */
struct parts {
	struct decoded_row *rows;
	struct decoded_commit *commits;
	struct decoded_attribution *attributions;
	uint32_t *series;
	char *texts;
	uint32_t used; /* of texts */
};

static struct parts parts_of(struct decoded *d)
{
	struct parts p = {.rows = (struct decoded_row *)(d + 1)};

	p.commits = (struct decoded_commit *)(p.rows + d->n_rows);
	p.attributions = (struct decoded_attribution *)(p.commits + d->n_commits);
	p.series = (uint32_t *)(p.attributions + d->n_attributions);
	p.texts = (char *)(p.series + d->n_series);
	return p;
}

static void pack_rows(struct decoded *d, struct parts *p, const struct rows *rows)
{
	d->in_order = true;
	for (uint32_t i = 0; i < d->n_rows; i++) {
		const struct row *row = &rows->rows[i];

		p->rows[i] = (struct decoded_row){
			.ns = row->time.ns,
			.index = i,
			.text = row->value.len ? (uint32_t)(row->value.p - rows->text.s) : 0,
			.attribution = row->attribution,
			.series = (uint16_t)row->series,
			.digits = row->time.digits,
			.len = (uint8_t)row->value.len,
		};
		d->in_order &= i == 0 || p->rows[i - 1].ns <= p->rows[i].ns;
	}
	if (!d->in_order)
		qsort(p->rows, d->n_rows, sizeof(*p->rows), by_time);
	p->used = (uint32_t)rows->text.len;
	if (p->used)
		memcpy(p->texts, rows->text.s, p->used);
}

static void pack_commits(struct parts *p, const struct chunk *c)
{
	int64_t seq = c->first_seq;

	for (uint32_t i = 0; i < c->n_commits; i++) {
		p->commits[i] = (struct decoded_commit){
			.revision = chunk_commit_is_folded(c, i) ? 0 : c->commits[i].revision,
			.first_seq = seq,
		};
		seq += c->commits[i].rows;
	}
}

static struct decoded_text pack_text(struct parts *p, struct slice s)
{
	struct decoded_text at = {p->used, (uint32_t)s.len};

	if (s.len)
		memcpy(p->texts + p->used, s.p, s.len);
	p->used += at.len;
	return at;
}

static void pack_attributions(struct parts *p, const struct chunk *c)
{
	for (uint32_t i = 0; i < c->n_attributions; i++) {
		const struct attribution *a = &c->attributions[i];

		p->attributions[i].uuid = pack_text(p, a->uuid);
		p->attributions[i].container = pack_text(p, a->container);
		p->attributions[i].pod = pack_text(p, a->pod);
		p->attributions[i].namespace = pack_text(p, a->namespace);
	}
}

static size_t packed_size(const struct chunk *c, const struct rows *rows)
{
	size_t n = sizeof(struct decoded) + rows->n * sizeof(struct decoded_row) +
		   c->n_commits * sizeof(struct decoded_commit) +
		   c->n_attributions * sizeof(struct decoded_attribution) +
		   c->n_series * sizeof(uint32_t) + rows->text.len;

	for (uint32_t i = 0; i < c->n_attributions; i++)
		n += c->attributions[i].uuid.len + c->attributions[i].container.len +
		     c->attributions[i].pod.len + c->attributions[i].namespace.len;
	return n;
}

static int pack(const struct chunk *c, const struct rows *rows, struct strbuf *out)
{
	size_t size = packed_size(c, rows);
	struct decoded *d = (struct decoded *)(void *)strbuf_reserve(out, size);
	struct parts p;

	if (!d)
		return out->err;
	if (c->n_series > IDENTITY_SERIES_MAX)
		return -EBADMSG;
	*d = (struct decoded){
		.identity = c->identity,
		.incarnation = c->incarnation,
		.first_seq = c->first_seq,
		.n_rows = (uint32_t)rows->n,
		.n_commits = c->n_commits,
		.n_attributions = c->n_attributions,
		.n_series = c->n_series,
	};
	p = parts_of(d);
	pack_rows(d, &p, rows);
	pack_commits(&p, c);
	pack_attributions(&p, c);
	for (uint32_t i = 0; i < c->n_series; i++)
		p.series[i] = c->series[i].id;
	out->len += size;
	return 0;
}

static int build_decoded(struct strbuf *out, void *arg)
{
	struct text *value = NULL;
	struct chunk c = {0};
	struct rows rows = {0};
	int r = chunk_read(arg, &value, &c, &rows);

	if (!r)
		r = pack(&c, &rows, out);
	rows_release(&rows);
	chunk_release(&c);
	text_unref(value);
	return r;
}

int chunk_decoded(const struct chunk_at *at, struct text **ret)
{
	struct chunk_at asked = *at;

	return outcome(text_cache_get(at->t->cache, TEXT_DECODED, at->rec->id, DECODED_BYTES,
				      build_decoded, &asked, ret));
}

/* ---- looking into it ------------------------------------------------------------------------- */

struct slice decoded_value(const struct decoded *d, const struct decoded_row *row)
{
	return (struct slice){decoded_texts(d) + row->text, row->len};
}

void decoded_attribution(const struct decoded *d, uint32_t i, struct attribution *ret)
{
	const struct decoded_attribution *a = &decoded_attributions(d)[i];
	const char *texts = decoded_texts(d);

	ret->uuid = (struct slice){texts + a->uuid.at, a->uuid.len};
	ret->container = (struct slice){texts + a->container.at, a->container.len};
	ret->pod = (struct slice){texts + a->pod.at, a->pod.len};
	ret->namespace = (struct slice){texts + a->namespace.at, a->namespace.len};
}

int64_t decoded_revision(const struct decoded *d, uint32_t index, int64_t fresh)
{
	const struct decoded_commit *commits = decoded_commits(d);
	uint32_t lo = 0, hi = d->n_commits; /* the first that begins behind the row */

	if (!d->n_commits)
		return fresh;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (commits[mid].first_seq <= d->first_seq + index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? commits[lo - 1].revision : 0;
}
