#include "writer.h"

#include "clock.h"
#include "digest.h"
#include "labels.h"
#include "render.h"

/* ---- reading as the writer ------------------------------------------------------------------- */

/* A read that a later transaction relies on. It goes through raft because of the delete (of a key
 * that is never there), so that it cannot be answered from a past state, and fails if we are no
 * longer the writer. */
struct decision {
	struct etcd_txn t;
	struct etcd_reply reply;
};

static void decision_begin(struct decision *d, struct etcd *c, const struct fence *f,
			   const struct hold *h)
{
	*d = (struct decision){0};
	etcd_txn_init(&d->t, c, "writer_read");
	etcd_if_create(&d->t, key_consumer(f->consumer).s, f->session);
	etcd_if_mod(&d->t, key_writer(h->host).s, h->rev);
	etcd_then_delete(&d->t, KEY_WRITERS "-", NULL);
}

static int decision_read(struct decision *d, struct err *e)
{
	int r = etcd_txn_settle(&d->t, &d->reply, NULL, e);

	return !r && !d->reply.succeeded ? err_set(e, -ESTALE, "no longer the host's writer") : r;
}

static void decision_end(struct decision *d)
{
	etcd_txn_release(&d->t);
	etcd_reply_release(&d->reply);
}

/* ---- state ----------------------------------------------------------------------------------- */

static struct gpu_state *add_gpu(struct writer *w, struct identity *id)
{
	struct gpu_state *g = xcalloc(1, sizeof(*g));

	g->id = id;
	map_put(&w->gpus, id->gpu, strlen(id->gpu), g);
	return g;
}

static void gpu_free(struct gpu_state *g)
{
	identity_free(g->id);
	free(g->segments);
	free(g);
}

void writer_free(struct writer *w)
{
	if (!w)
		return;
	map_each (&w->gpus, i)
		gpu_free(w->gpus.entries[i].value);
	map_release(&w->gpus);
	free(w);
}

static int load_identity(struct writer *w, const struct etcd_kv *kv, struct err *e)
{
	struct slice host, gpu;
	struct identity *id;
	struct gpu_state *g;
	int r = identity_decode(kv->value, &id, e);

	if (r)
		return err_prefix(e, -EUCLEAN, "host %s", w->host);
	if (key_parse_gpu(kv->key, &host, &gpu) || gpu.len > NAME_MAX_ENCODED) {
		identity_free(id);
		return err_set(e, -EUCLEAN, "host %s: a damaged key", w->host);
	}
	g = add_gpu(w, id);
	memcpy(g->name, gpu.p, gpu.len);
	return 0;
}

int writer_load(struct writer **ret, struct etcd *c, const struct fence *f, const struct hold *h,
		int64_t segment_ns, struct err *e)
{
	struct writer *w = xcalloc(1, sizeof(*w));
	struct key prefix = key_under(KEY_GPUS, h->host);
	struct decision d;
	int r;

	memcpy(w->host, h->host, sizeof(w->host));
	w->segment_ns = segment_ns;
	decision_begin(&d, c, f, h);
	etcd_then_get(&d.t, prefix.s, key_prefix_end(prefix.s).s);
	r = decision_read(&d, e);
	for (size_t i = 0; !r && i < d.reply.ranges[0].n; i++)
		r = load_identity(w, &d.reply.ranges[0].kvs[i], e);
	decision_end(&d);
	if (r)
		writer_free(w);
	else
		*ret = w;
	return r;
}

/* Asks for the chunks of a segment. */
static void get_segment(struct decision *d, const struct writer *w, const char *gpu,
			int64_t start_ns)
{
	uint64_t from = (uint64_t)start_ns, to = from + (uint64_t)w->segment_ns;

	etcd_then_get(&d->t, key_data_from(w->host, gpu, from).s,
		      key_data_from(w->host, gpu, to).s);
}

static struct segment_state *find_segment(struct gpu_state *g, int64_t start_ns)
{
	for (size_t i = 0; i < g->n_segments; i++)
		if (g->segments[i].start_ns == start_ns)
			return &g->segments[i];
	return NULL;
}

static struct segment_state *add_segment(struct gpu_state *g, int64_t start_ns)
{
	if (g->n_segments == g->cap_segments) {
		g->cap_segments = g->cap_segments ? 2 * g->cap_segments : 4;
		g->segments = xrealloc(g->segments, g->cap_segments * sizeof(*g->segments));
	}
	g->segments[g->n_segments] = (struct segment_state){.start_ns = start_ns};
	return &g->segments[g->n_segments++];
}

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
	g = add_gpu(w,
		    identity_new(b->host, gpu, random_u64(), (struct slice){labels.s, labels.len}));
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

/* What the chunks of a segment say: where the next row goes. */
static int learn_segment(struct gpu_state *g, int64_t start_ns, const struct etcd_range *range,
			 struct err *e)
{
	struct segment_state s = {.start_ns = start_ns, .incarnation = random_u64()};
	struct chunk c = {0};
	int r = 0;

	for (size_t i = 0; i < range->n && !r; i++) {
		r = chunk_decode(range->kvs[i].value, &c, e);
		if (r)
			break;
		s.next_seq = MAX(s.next_seq, c.first_seq + c.rows);
		s.stored_ns = MAX(s.stored_ns, c.stored_ns);
		s.incarnation = c.incarnation;
	}
	chunk_release(&c);
	if (r)
		return err_prefix(e, -EUCLEAN, "%s/%s", g->id->host, g->id->gpu);
	*add_segment(g, start_ns) = s;
	return 0;
}

int intake_prepare(struct intake *in, struct etcd *c, const struct fence *f, const struct hold *h,
		   size_t from, size_t to, struct err *e)
{
	struct decision d;
	size_t asked = 0;
	int r = 0;

	decision_begin(&d, c, f, h);
	for (size_t i = from; i < to; i++) {
		const struct pair *p = &in->pairs[i];

		if (find_segment(p->gpu, p->segment_ns))
			continue;
		asked++;
		get_segment(&d, in->w, p->gpu->name, p->segment_ns);
	}
	if (asked)
		r = decision_read(&d, e);
	for (size_t i = from, k = 0; i < to && asked && !r; i++) {
		struct pair *p = &in->pairs[i];

		if (!find_segment(p->gpu, p->segment_ns))
			r = learn_segment(p->gpu, p->segment_ns, &d.reply.ranges[k++], e);
	}
	decision_end(&d);
	return r;
}

static struct gpu_state *gpu_by_folder(struct writer *w, const char *gpu)
{
	map_each (&w->gpus, i) {
		struct gpu_state *g = w->gpus.entries[i].value;

		if (!strcmp(g->name, gpu))
			return g;
	}
	return NULL;
}

int writer_stored_at(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		     const char *gpu, int64_t start_ns, int64_t *ret_ns, struct err *e)
{
	struct gpu_state *g = gpu_by_folder(w, gpu);
	struct decision d;
	int r = 0;

	if (!g)
		return err_set(e, -EUCLEAN, "%s/%s: chunks without an identity", w->host, gpu);
	if (!find_segment(g, start_ns)) {
		decision_begin(&d, c, f, h);
		get_segment(&d, w, gpu, start_ns);
		r = decision_read(&d, e);
		if (!r)
			r = learn_segment(g, start_ns, &d.reply.ranges[0], e);
		decision_end(&d);
	}
	if (!r)
		*ret_ns = find_segment(g, start_ns)->stored_ns;
	return r;
}

void writer_drop_segment(struct writer *w, const char *gpu, int64_t start_ns, bool last)
{
	struct gpu_state *g = gpu_by_folder(w, gpu);
	struct segment_state *s = find_segment(g, start_ns);

	if (last) {
		map_remove(&w->gpus, g->id->gpu, strlen(g->id->gpu));
		gpu_free(g);
	} else if (s) {
		*s = g->segments[--g->n_segments];
	}
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

static void put_chunk(struct intake *in, struct etcd_txn *t, const struct pair *p,
		      const struct chunk *c, struct slice body)
{
	char ulid[ULID_LEN + 1];
	struct strbuf value;

	ulid_new(ulid);
	strbuf_init(&value, ETCD_TXN_BYTES);
	chunk_encode(&value, c, body);
	etcd_then_put(t, key_data(in->w->host, p->gpu->name, c->min_ns, ulid).s,
		      (struct slice){value.s, value.len}, 0);
	if (!c->has_inline_body)
		etcd_then_put(t, key_body(in->w->host, p->gpu->name, c->min_ns, ulid).s, body, 0);
	if (value.err && !t->then.err)
		t->then.err = value.err;
	strbuf_release(&value);
}

/* Puts rows [at, at + n) of the pair as one chunk, or, where the body grows too large, as several.
 */
static void store_rows(struct intake *in, struct etcd_txn *t, struct pair *p,
		       struct segment_state *s, size_t at, size_t n)
{
	struct identity *id = p->gpu->id;
	struct row *rows = xmalloc(n * sizeof(*rows));
	uint32_t *entry = xcalloc(id->n_series, sizeof(*entry));
	struct chunk c = {.identity = id->incarnation,
			  .incarnation = s->incarnation,
			  .segment_ns = p->segment_ns,
			  .first_seq = s->next_seq,
			  .rows = (int64_t)n,
			  .stored_ns = in->now_ns,
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
		store_rows(in, t, p, s, at, n / 2);
		store_rows(in, t, p, s, at + n / 2, n - n / 2);
	} else {
		put_chunk(in, t, p, &c, (struct slice){body.s, body.len});
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
}

void intake_store(struct intake *in, struct etcd_txn *t, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		struct pair *p = &in->pairs[i];
		struct segment_state *s = find_segment(p->gpu, p->segment_ns);

		store_identity(in, t, p->gpu);
		store_rows(in, t, p, s, 0, p->n);
		s->stored_ns = in->now_ns;
	}
}
