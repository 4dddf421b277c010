#include "intake.h"

#include "clock.h"
#include "digest.h"
#include "gather.h"

/* ---- intake ---------------------------------------------------------------------------------- */

/* One chunk to be: rows of one GPU and segment. */
struct pair {
	struct gpu_state *gpu;
	int64_t segment_ns;
	struct gather rows;
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
	for (size_t i = 0; i < in->n; i++)
		gather_release(&in->pairs[i].rows);
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

/* ---- identities ------------------------------------------------------------------------------ */

static int find_gpu(struct writer *w, const struct batch *b, struct slice gpu,
		    struct gpu_state **ret, struct err *e)
{
	struct gpu_state *g = map_get(&w->gpus, gpu.p, gpu.len);
	char name[NAME_MAX_ENCODED + 1];
	int r;

	if (g) {
		*ret = g;
		return 0;
	}
	r = name_encode_to(name, gpu);
	if (r)
		return err_set(e, -EBADMSG, "gpu_id: %s", r == -EINVAL ? "empty" : "too long");
	g = writer_add_gpu(w, gather_identity(b, gpu, random_u64()));
	memcpy(g->name, name, sizeof(name));
	g->changed = true;
	*ret = g;
	return 0;
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

static void note_identity(struct intake *in, struct series_here *here, const struct batch_series *s,
			  const struct attribution *a, int64_t time_ns)
{
	struct gpu_state *g = here->gpu;
	bool newest = gather_is_newest(g->id, time_ns, in->now_ns), changed;

	if (newest)
		gather_note_time(g->id, s, a, time_ns);
	if (here->agrees == g->looks + 1)
		return;
	changed = gather_note(g->id, s, a, newest);
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
	bool added = false;
	int r = find_gpu(in->w, b, s->gpu, &ret->gpu, e);

	if (r == 0)
		r = gather_series(ret->gpu->id, s, &ret->id, &added, e);
	if (r == 0)
		ret->gpu->changed |= added;
	return r;
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
		s->attribution_here = gather_attribution(&in->pairs[s->pair - 1].rows, a);
		s->agrees = 0;
	}
	note_identity(in, s, &b->series[row->series], a, row->time.ns);
	gather_add(&in->pairs[s->pair - 1].rows, row, s->id, s->attribution_here);
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

/* What the puts of one completion share. */
struct put {
	struct intake *in;
	struct etcd_txn *t;
	const struct lease *lease;
	const struct pair *pair;
	struct segment_state *segment;
};

static void put_chunk(const struct chunk *c, struct slice body, void *arg)
{
	const struct put *put = arg;
	const struct gpu_state *g = put->pair->gpu;
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
	etcd_then_put(put->t, key_data(w->host, g->name, c->min_ns, part.ulid).s,
		      (struct slice){value.s, value.len}, put->lease->id);
	if (part.has_body)
		etcd_then_put(put->t, key_body(w->host, g->name, c->min_ns, part.ulid).s, body,
			      put->lease->id);
	if (value.err && !put->t->then.err)
		put->t->then.err = value.err;
	part.bytes = (uint32_t)(value.len + (part.has_body ? body.len : 0));
	writer_note_part(w, put->pair->gpu, put->segment, &part,
			 (struct slice){value.s, value.len});
	put->segment->next_seq += c->rows;
	strbuf_release(&value);
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
	for (size_t i = from; i < to; i++) {
		struct pair *p = &in->pairs[i];
		struct segment_state *s = gpu_segment_state(p->gpu, p->segment_ns);
		struct gather_place place = {.id = p->gpu->id,
					     .incarnation = s->incarnation,
					     .segment_ns = p->segment_ns,
					     .first_seq = s->next_seq,
					     .stored_ns = in->now_ns};
		struct put put = {in, t, lease, p, s};

		store_identity(in, t, p->gpu);
		gather_chunks(&p->rows, &place, put_chunk, &put);
		s->stored_ns = in->now_ns;
	}
}
