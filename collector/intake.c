#include "intake.h"

#include "clock.h"
#include "digest.h"
#include "labels.h"
#include "render.h"

/* ---- intake ---------------------------------------------------------------------------------- */

/* One chunk to be: rows of one GPU and segment. */
struct pair {
	struct gpu_state *gpu;
	int64_t segment_ns;
	struct row *rows; /* series: id in the identity */
	size_t n, cap;
	struct attribution *attributions;
	uint32_t n_attributions;
};

struct intake {
	struct writer *w;
	struct pair *pairs;
	size_t n, cap;
	struct map index; /* (gpu, segment) → pair + 1 */
	int64_t now_ns;
};

struct intake *intake_new(struct writer *w)
{
	struct intake *in = xcalloc(1, sizeof(*in));

	in->w = w;
	in->now_ns = wall_now_ns();
	return in;
}

void intake_free(struct intake *in)
{
	if (!in)
		return;
	for (size_t i = 0; i < in->n; i++) {
		free(in->pairs[i].rows);
		free(in->pairs[i].attributions);
	}
	free(in->pairs);
	map_release(&in->index);
	free(in);
}

size_t intake_pairs(const struct intake *in)
{
	return in->n;
}

static uint32_t find_pair(struct intake *in, struct gpu_state *g, int64_t segment_ns)
{
	struct {
		struct gpu_state *gpu;
		int64_t segment_ns;
	} key = {g, segment_ns};
	uintptr_t at = (uintptr_t)map_get(&in->index, &key, sizeof(key));

	if (at)
		return (uint32_t)at - 1;
	if (in->n == in->cap) {
		in->cap = in->cap ? 2 * in->cap : 32;
		in->pairs = xrealloc(in->pairs, in->cap * sizeof(*in->pairs));
	}
	in->pairs[in->n] = (struct pair){.gpu = g, .segment_ns = segment_ns};
	map_put(&in->index, &key, sizeof(key), (void *)(uintptr_t)(in->n + 1));
	return (uint32_t)in->n++;
}

static bool same_attribution(const struct attribution *a, const struct attribution *b)
{
	return slice_eq(a->uuid, b->uuid) && slice_eq(a->container, b->container) &&
	       slice_eq(a->pod, b->pod) && slice_eq(a->namespace, b->namespace);
}

/* The newest are looked at first: an attribution lasts. */
static uint32_t find_attribution(struct pair *p, const struct attribution *a)
{
	for (uint32_t i = p->n_attributions; i-- > 0;)
		if (same_attribution(&p->attributions[i], a))
			return i;
	if ((p->n_attributions & (p->n_attributions - 1)) == 0)
		p->attributions =
			xrealloc(p->attributions, (p->n_attributions ? 2 * p->n_attributions : 1) *
							  sizeof(*p->attributions));
	p->attributions[p->n_attributions] = *a;
	return p->n_attributions++;
}

static void add_row(struct pair *p, const struct row *row, uint32_t series, uint32_t attribution)
{
	if (p->n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 64;
		p->rows = xrealloc(p->rows, p->cap * sizeof(*p->rows));
	}
	p->rows[p->n] = *row;
	p->rows[p->n].series = series;
	p->rows[p->n++].attribution = attribution;
}

/* ---- identities ------------------------------------------------------------------------------ */

/* The labels of a GPU seen for the first time: what all its series have in common. */
static void first_labels(struct strbuf *out, const struct batch *b, struct slice gpu)
{
	struct strbuf common;
	bool first = true;

	strbuf_init(&common, LABELS_BYTES);
	for (uint32_t i = 0; i < b->n_series; i++) {
		const struct batch_series *s = &b->series[i];

		if (!slice_eq(s->gpu, gpu))
			continue;
		strbuf_reset(&common);
		labels_common(&common, first ? s->labels : (struct slice){out->s, out->len},
			      s->labels);
		strbuf_reset(out);
		strbuf_add(out, common.s, common.len);
		first = false;
	}
	strbuf_release(&common);
}

static int find_gpu(struct writer *w, const struct batch *b, struct slice gpu,
		    struct gpu_state **ret, struct err *e)
{
	struct gpu_state *g = map_get(&w->gpus, gpu.p, gpu.len);
	char name[NAME_MAX_ENCODED + 1];
	struct strbuf labels;
	int r;

	if (g) {
		*ret = g;
		return 0;
	}
	r = name_encode_to(name, gpu);
	if (r)
		return err_set(e, -EBADMSG, "gpu_id: %s", r == -EINVAL ? "empty" : "too long");
	strbuf_init(&labels, LABELS_BYTES);
	first_labels(&labels, b, gpu);
	g = writer_add_gpu(
		w, identity_new(b->host, gpu, random_u64(), (struct slice){labels.s, labels.len}));
	strbuf_release(&labels);
	memcpy(g->name, name, sizeof(name));
	g->changed = true;
	*ret = g;
	return 0;
}

static bool set_field(char **field, struct slice value)
{
	if (!value.len || slice_eq(slice_str(*field), value))
		return false;
	free(*field);
	*field = xstrndup(value.p, value.len);
	return true;
}

/* What a batch's series is here, looked up once per batch. */
struct series_here {
	struct gpu_state *gpu;
	uint32_t id;
	uint32_t pair;        /* + 1, of its last row; the next is mostly in the same */
	uint32_t attribution; /* of the batch + 1, of its last row */
	uint32_t attribution_here;
	uint32_t agrees; /* gpu->looks + 1 if its last row says of the GPU what the identity says */
};

/* uuid, device, model and driver are those of the newest row that is not ahead of its time; other
 * rows say only what none has said yet. */
static void note_identity(struct intake *in, struct series_here *here, const struct batch_series *s,
			  const struct attribution *a, int64_t time_ns)
{
	struct gpu_state *g = here->gpu;
	struct identity *id = g->id;
	bool newest = time_ns >= id->as_of_ns && time_ns <= in->now_ns + CHUNK_AHEAD_NS;
	bool changed = false;

	if (newest && (a->uuid.len || s->device.len || s->model.len || s->driver.len))
		id->as_of_ns = time_ns;
	if (here->agrees == g->looks + 1)
		return;
	changed |= (newest || !id->uuid[0]) && set_field(&id->uuid, a->uuid);
	changed |= (newest || !id->device[0]) && set_field(&id->device, s->device);
	changed |= (newest || !id->model[0]) && set_field(&id->model, s->model);
	changed |= (newest || !id->driver[0]) && set_field(&id->driver, s->driver);
	g->looks += changed;
	g->changed |= changed;
	if (newest)
		here->agrees = g->looks + 1;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int find_series(struct intake *in, const struct batch *b, uint32_t i,
		       struct series_here *ret, struct err *e)
{
	const struct batch_series *s = &b->series[i];
	struct strbuf own;
	bool added;
	int r = find_gpu(in->w, b, s->gpu, &ret->gpu, e);

	if (r)
		return r;
	strbuf_init(&own, LABELS_BYTES);
	labels_difference(&own, s->labels, slice_str(ret->gpu->id->labels));
	r = own.err ? own.err
		    : identity_series(ret->gpu->id, s->metric, (struct slice){own.s, own.len},
				      &ret->id, &added);
	strbuf_release(&own);
	if (r)
		return err_set(
			e, -EBADMSG, "metric %.*s: %s", (int)MIN(s->metric.len, 64), s->metric.p,
			r == -ENOSPC ? "the GPU has too many series" : "the name is too long");
	ret->gpu->changed |= added;
	return 0;
}

static void take_row(struct intake *in, const struct batch *b, const struct row *row,
		     struct series_here *s)
{
	int64_t segment_ns = row->time.ns - row->time.ns % in->w->segment_ns;
	const struct attribution *a = &b->attributions[row->attribution];

	if (!s->pair || in->pairs[s->pair - 1].segment_ns != segment_ns) {
		s->pair = find_pair(in, s->gpu, segment_ns) + 1;
		s->attribution = 0;
	}
	if (s->attribution != row->attribution + 1) {
		s->attribution = row->attribution + 1;
		s->attribution_here = find_attribution(&in->pairs[s->pair - 1], a);
		s->agrees = 0;
	}
	note_identity(in, s, &b->series[row->series], a, row->time.ns);
	add_row(&in->pairs[s->pair - 1], row, s->id, s->attribution_here);
}

int intake_add(struct intake *in, const struct batch *b, struct err *e)
{
	struct series_here *here = xcalloc(b->n_series + 1, sizeof(*here));
	int r = 0;

	for (uint32_t i = 0; i < b->n_series && !r; i++)
		r = find_series(in, b, i, &here[i], e);
	for (size_t i = 0; i < b->rows.n && !r; i++)
		take_row(in, b, &b->rows.rows[i], &here[b->rows.rows[i].series]);
	free(here);
	return r;
}

/* ---- positions ------------------------------------------------------------------------------- */

int intake_prepare(struct intake *in, struct etcd *c, const struct fence *f, const struct hold *h,
		   size_t from, size_t to, struct err *e)
{
	struct segment_ref *refs = xcalloc(to - from + 1, sizeof(*refs));
	int r;

	for (size_t i = from; i < to; i++)
		refs[i - from] = (struct segment_ref){in->pairs[i].gpu, in->pairs[i].segment_ns};
	r = writer_know(in->w, c, f, h, refs, to - from, false, e);
	free(refs);
	return r;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* Marks of the identity's series used in a run of rows: entry + 1. Filled in order of id, because
 * the header stores differences. */
static void list_series(struct chunk *c, uint32_t *entry, uint32_t n_series, const struct row *rows,
			size_t n)
{
	for (size_t i = 0; i < n; i++)
		entry[rows[i].series] = 1;
	for (uint32_t id = 0; id < n_series; id++) {
		if (!entry[id])
			continue;
		c->series[c->n_series].id = id;
		entry[id] = ++c->n_series;
	}
}

static bool is_later(const struct chunk_series *s, const struct row *row, bool ahead, bool is_first)
{
	if (is_first || s->ahead != ahead)
		return is_first || s->ahead;
	return row->time.ns >= s->time.ns;
}

/* Header fields that the rows determine; the rows' series become indexes of c->series. */
static void describe_rows(struct chunk *c, const struct identity *id, const uint32_t *entry,
			  struct row *rows, size_t n)
{
	bool *seen = xcalloc(c->n_series + 1, sizeof(*seen));

	c->min_ns = c->max_ns = rows[0].time.ns;
	for (size_t i = 0; i < n; i++) {
		uint32_t at = entry[rows[i].series] - 1;
		struct chunk_series *s = &c->series[at];
		bool ahead = rows[i].time.ns > c->stored_ns + CHUNK_AHEAD_NS;

		c->min_ns = MIN(c->min_ns, rows[i].time.ns);
		c->max_ns = MAX(c->max_ns, rows[i].time.ns);
		c->csv_bytes += (int64_t)render_row_len(rows[i].time, rows[i].value,
							&id->series[rows[i].series],
							&c->attributions[rows[i].attribution]);
		if (is_later(s, &rows[i], ahead, !seen[at])) {
			s->time = rows[i].time;
			s->ahead = ahead;
			s->row = (uint32_t)i;
			s->attribution = rows[i].attribution;
			s->value = rows[i].value;
		}
		seen[at] = true;
		rows[i].series = at;
	}
	free(seen);
}

/* What the puts of one completion share. */
struct put {
	struct intake *in;
	struct etcd_txn *t;
	const struct lease *lease;
};

static void put_chunk(const struct put *put, const struct pair *p, struct segment_state *s,
		      const struct chunk *c, struct slice body)
{
	struct writer *w = put->in->w;
	struct strbuf value;
	struct part part = {.has_body = !c->has_inline_body,
			    .key_ns = c->min_ns,
			    .first_seq = c->first_seq,
			    .rows = c->rows,
			    .until_ns = put->lease->until_ns};

	ulid_new(part.ulid);
	strbuf_init(&value, ETCD_TXN_BYTES);
	chunk_encode(&value, c, body);
	etcd_then_put(put->t, key_data(w->host, p->gpu->name, c->min_ns, part.ulid).s,
		      (struct slice){value.s, value.len}, put->lease->id);
	if (part.has_body)
		etcd_then_put(put->t, key_body(w->host, p->gpu->name, c->min_ns, part.ulid).s, body,
			      put->lease->id);
	if (value.err && !put->t->then.err)
		put->t->then.err = value.err;
	part.bytes = (uint32_t)(value.len + (part.has_body ? body.len : 0));
	writer_note_part(w, p->gpu, s, &part);
	strbuf_release(&value);
}

/* Puts rows [at, at + n) of the pair as one chunk, or, where the body grows too large, as several.
 */
static void store_rows(const struct put *put, struct pair *p, struct segment_state *s, size_t at,
		       size_t n)
{
	struct identity *id = p->gpu->id;
	struct row *rows = xmalloc(n * sizeof(*rows));
	uint32_t *entry = xcalloc(id->n_series, sizeof(*entry));
	struct chunk c = {.identity = id->incarnation,
			  .incarnation = s->incarnation,
			  .segment_ns = p->segment_ns,
			  .first_seq = s->next_seq,
			  .rows = (int64_t)n,
			  .stored_ns = put->in->now_ns,
			  .attributions = p->attributions,
			  .n_attributions = p->n_attributions};
	struct strbuf body;

	memcpy(rows, p->rows + at, n * sizeof(*rows));
	c.series = xcalloc(id->n_series, sizeof(*c.series));
	strbuf_init(&body, ETCD_REPLY_MAX);
	list_series(&c, entry, id->n_series, rows, n);
	describe_rows(&c, id, entry, rows, n);
	chunk_encode_body(&c, rows, n, &body);
	if (body.len > CHUNK_BODY_MAX && n > 1) {
		store_rows(put, p, s, at, n / 2);
		store_rows(put, p, s, at + n / 2, n - n / 2);
	} else {
		put_chunk(put, p, s, &c, (struct slice){body.s, body.len});
		s->next_seq += (int64_t)n;
	}
	strbuf_release(&body);
	free(c.series);
	free(entry);
	free(rows);
}

static void store_identity(struct intake *in, struct etcd_txn *t, struct gpu_state *g)
{
	struct strbuf value;

	if (!g->changed)
		return;
	strbuf_init(&value, ETCD_TXN_BYTES);
	identity_encode(&value, g->id);
	etcd_then_put(t, key_gpu(in->w->host, g->name).s, (struct slice){value.s, value.len}, 0);
	if (value.err && !t->then.err)
		t->then.err = value.err;
	strbuf_release(&value);
	g->changed = false;
	g->id_rev = 0; /* that of the commit, which is looked up when it is wanted */
}

void intake_store(struct intake *in, struct etcd_txn *t, size_t from, size_t to,
		  const struct lease *lease)
{
	const struct put put = {in, t, lease};

	for (size_t i = from; i < to; i++) {
		struct pair *p = &in->pairs[i];
		struct segment_state *s = gpu_segment_state(p->gpu, p->segment_ns);

		store_identity(in, t, p->gpu);
		store_rows(&put, p, s, 0, p->n);
		s->stored_ns = in->now_ns;
	}
}
