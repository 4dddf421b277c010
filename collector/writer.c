#include "writer.h"

#include "digest.h"

enum {
	PACE_MAX_MS = 15000,
	KEPT_VALUE = 2048,   /* bytes of a chunk's value that is kept until it is joined, */
	KEPT_PARTS = 64,     /* in a segment of so few chunks */
	DAMAGED_MS = 600000, /* until the chunks of a segment that cannot be read are read again */
};

/* ---- reading as the writer ------------------------------------------------------------------- */

void decision_begin(struct decision *d, struct etcd *c, const struct fence *f, const struct hold *h)
{
	*d = (struct decision){0};
	etcd_txn_init(&d->t, c, "writer_read");
	etcd_if_create(&d->t, key_consumer(f->consumer).s, f->session);
	etcd_if_mod(&d->t, key_writer(h->host).s, h->rev);
	etcd_then_delete(&d->t, KEY_NOTHING, NULL);
}

int decision_read(struct decision *d, struct err *e)
{
	int r = etcd_txn_settle(&d->t, &d->reply, NULL, e);

	return !r && !d->reply.succeeded ? err_set(e, -ESTALE, "no longer the host's writer") : r;
}

void decision_end(struct decision *d)
{
	etcd_txn_release(&d->t);
	etcd_reply_release(&d->reply);
}

int writer_why_refused(const struct etcd_reply *reply, const struct fence *f, const struct hold *h,
		       struct err *e)
{
	const struct etcd_range *session = &reply->ranges[0], *writer = &reply->ranges[1];

	if (!session->n || session->kvs[0].create_rev != f->session || !writer->n ||
	    writer->kvs[0].mod_rev != h->rev)
		return err_set(e, -ESTALE, "host %s: no longer its writer", h->host);
	return -EAGAIN;
}

/* ---- state ----------------------------------------------------------------------------------- */

struct gpu_state *writer_add_gpu(struct writer *w, struct identity *id)
{
	struct gpu_state *g = xcalloc(1, sizeof(*g));

	g->id = id;
	g->touched = mono_now();
	map_put(&w->gpus, id->gpu, strlen(id->gpu), g);
	return g;
}

static void gpu_free(struct gpu_state *g)
{
	for (size_t i = 0; i < g->n_segments; i++)
		parts_release(&g->segments[i].parts);
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
	free(w->stored);
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
	g = writer_add_gpu(w, id);
	g->id_rev = kv->mod_rev;
	memcpy(g->name, gpu.p, gpu.len);
	return 0;
}

/* What is stored of the host: how many chunks, and its identities. */
static void ask_host(struct decision *d, const struct hold *h)
{
	struct key data = key_under(KEY_DATA, h->host), gpus = key_under(KEY_GPUS, h->host);

	etcd_then_count(&d->t, data.s, key_prefix_end(data.s).s);
	etcd_then_get(&d->t, gpus.s, key_prefix_end(gpus.s).s);
}

/* An empty writer and the answer to ask_host. */
static int learn_host(struct writer *w, const struct etcd_range answer[2], struct err *e)
{
	int r = 0;

	w->whole = !answer[0].count;
	for (size_t i = 0; !r && i < answer[1].n; i++)
		r = load_identity(w, &answer[1].kvs[i], e);
	return r;
}

int writer_load_several(struct writer **ret, struct etcd *c, const struct fence *f,
			const struct hold *const *holds, size_t n, int64_t segment_ns,
			int64_t lease_ns, struct err *e)
{
	struct decision d;
	int r;

	decision_begin(&d, c, f, holds[0]);
	for (size_t i = 0; i < n; i++) {
		if (i)
			etcd_if_mod(&d.t, key_writer(holds[i]->host).s, holds[i]->rev);
		ask_host(&d, holds[i]);
	}
	r = decision_read(&d, e);
	for (size_t i = 0; i < n && (!r || r == -EUCLEAN); i++) {
		struct writer *w = xcalloc(1, sizeof(*w));

		memcpy(w->host, holds[i]->host, sizeof(w->host));
		w->segment_ns = segment_ns;
		w->lease_ns = lease_ns;
		ret[i] = w;
		if (learn_host(w, d.reply.ranges + 2 * i, e)) {
			r = -EUCLEAN;
			writer_free(TAKE_PTR(ret[i]));
		}
	}
	decision_end(&d);
	return r;
}

int writer_load(struct writer **ret, struct etcd *c, const struct fence *f, const struct hold *h,
		int64_t segment_ns, int64_t lease_ns, struct err *e)
{
	return writer_load_several(ret, c, f, &h, 1, segment_ns, lease_ns, e);
}

struct gpu_state *writer_gpu(struct writer *w, const char *folder)
{
	map_each (&w->gpus, i) {
		struct gpu_state *g = w->gpus.entries[i].value;

		if (!strcmp(g->name, folder))
			return g;
	}
	return NULL;
}

/* The newest are looked at first. */
struct segment_state *gpu_segment_state(struct gpu_state *g, int64_t start_ns)
{
	for (size_t i = g->n_segments; i-- > 0;)
		if (g->segments[i].start_ns == start_ns)
			return &g->segments[i];
	return NULL;
}

struct segment_state *gpu_add_segment_state(struct gpu_state *g, int64_t start_ns)
{
	struct segment_state *s = gpu_segment_state(g, start_ns);

	if (s)
		return s;
	if (g->n_segments == g->cap_segments) {
		g->cap_segments = g->cap_segments ? 2 * g->cap_segments : 4;
		g->segments = xrealloc(g->segments, g->cap_segments * sizeof(*g->segments));
	}
	s = &g->segments[g->n_segments++];
	*s = (struct segment_state){.start_ns = start_ns};
	s->touched = s->merge_at = mono_now();
	return s;
}

void writer_drop_segment(struct gpu_state *g, int64_t start_ns)
{
	struct segment_state *s = gpu_segment_state(g, start_ns);

	if (!s)
		return;
	parts_release(&s->parts);
	*s = g->segments[--g->n_segments];
}

void writer_drop_gpu(struct writer *w, struct gpu_state *g)
{
	map_remove(&w->gpus, g->id->gpu, strlen(g->id->gpu));
	gpu_free(g);
}

void writer_sizes(const struct writer *w, struct sizes *ret)
{
	sizes_clear(ret);
	map_each (&w->gpus, i) {
		const struct gpu_state *g = w->gpus.entries[i].value;

		for (size_t k = 0; k < g->n_segments; k++)
			if (g->segments[k].known || g->segments[k].damaged)
				sizes_add(ret, g->segments[k].start_ns, g->segments[k].bytes);
	}
}

/* ---- learning segments ----------------------------------------------------------------------- */

/* A segment as its chunks tell of it. */
struct lesson {
	const struct writer *w;
	struct segment_state s;
	struct err why; /* it is damaged */
};

static void add_part(struct lesson *l, const struct etcd_kv *kv, const struct data_key *key,
		     const struct chunk *c)
{
	struct segment_state *s = &l->s;
	struct part p = {.has_body = !c->has_inline_body,
			 .sealed = c->sealed,
			 .level = part_level(c->n_commits),
			 .bytes = (uint32_t)kv->value.len + (c->has_inline_body ? 0 : c->body_len),
			 .key_ns = key->first_ns,
			 .first_seq = c->first_seq,
			 .rows = c->rows,
			 .rev = kv->mod_rev,
			 .until_ns = l->w->lease_ns ? c->stored_ns + l->w->lease_ns : INT64_MAX};

	memcpy(p.ulid, key->ulid, sizeof(p.ulid));
	parts_add(&s->parts, &p);
	s->bytes += part_cost(&p);
	s->next_seq = MAX(s->next_seq, c->first_seq + c->rows);
	s->stored_ns = MAX(s->stored_ns, c->stored_ns);
	s->incarnation = c->incarnation;
}

static int learn_chunk(const struct etcd_kv *kv, void *arg)
{
	struct lesson *l = arg;
	struct chunk c = {0};
	struct data_key key;
	struct err why;
	int r = chunk_decode(kv->value, &c, &why);

	if (!r && key_parse_data(kv->key, &key))
		r = err_set(&why, -EBADMSG, "a damaged key");
	if (!r)
		add_part(l, kv, &key, &c);
	else
		l->s.bytes += (int64_t)kv->value.len + PARTS_KEY_BYTES;
	if (r && !l->s.damaged)
		l->why = why;
	l->s.damaged |= r != 0;
	chunk_release(&c);
	return 0;
}

static int by_position(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	return (x->first_seq > y->first_seq) - (x->first_seq < y->first_seq);
}

/* No chunk of it is joined, and no position in it is given that was not known before. */
static void take_damaged(struct lesson *l, struct segment_state *s)
{
	parts_release(&l->s.parts);
	parts_release(&s->parts);
	s->damaged = true;
	s->bytes = l->s.bytes;
	s->merge_at = mono_in_ms(DAMAGED_MS);
}

/* What was known of positions stays: they may be in use in a transaction under construction. */
static void take_lesson(struct lesson *l, const struct segment_ref *ref)
{
	struct segment_state *s = gpu_add_segment_state(ref->gpu, ref->start_ns);

	if (l->s.damaged) {
		take_damaged(l, s);
		return;
	}
	s->damaged = false;
	if (l->s.parts.n)
		qsort(l->s.parts.list, l->s.parts.n, sizeof(*l->s.parts.list), by_position);
	l->s.parts.complete = true;
	parts_release(&s->parts);
	s->parts = l->s.parts;
	s->bytes = l->s.bytes;
	if (s->known)
		return;
	s->known = true;
	s->incarnation = l->s.incarnation;
	s->next_seq = l->s.next_seq;
	s->stored_ns = l->s.stored_ns;
	s->merge_at = mono_now();
}

static struct lesson lesson_begin(const struct writer *w)
{
	return (struct lesson){.w = w, .s = {.incarnation = random_u64()}};
}

static int lesson_end(struct lesson *l, const struct segment_ref *ref, struct err *e)
{
	take_lesson(l, ref);
	return l->s.damaged ? err_set(e, -EUCLEAN, "%s/%s: %s", ref->gpu->id->host,
				      ref->gpu->id->gpu, l->why.text)
			    : 0;
}

static void segment_range(const struct writer *w, const struct segment_ref *ref, struct key *from,
			  struct key *to)
{
	uint64_t start = (uint64_t)ref->start_ns;

	*from = key_data_from(w->host, ref->gpu->name, start);
	*to = key_data_from(w->host, ref->gpu->name, start + (uint64_t)w->segment_ns);
}

/* More chunks than one answer holds: page by page, at a revision at which we were the writer.
 * -EAGAIN: it was compacted meanwhile. */
static int learn_pages(struct writer *w, struct etcd *c, const struct fence *f,
		       const struct hold *h, const struct segment_ref *ref, struct err *e)
{
	struct lesson l = lesson_begin(w);
	struct decision d;
	struct key from, to;
	int r;

	decision_begin(&d, c, f, h);
	r = decision_read(&d, e);
	segment_range(w, ref, &from, &to);
	if (!r) {
		r = etcd_each(c, from.s, to.s, d.reply.revision, 0, learn_chunk, &l, NULL, e);
		r = r == -ESTALE ? -EAGAIN : r;
	}
	decision_end(&d);
	if (!r)
		return lesson_end(&l, ref, e);
	parts_release(&l.s.parts);
	return r;
}

static int learn_paged(struct writer *w, struct etcd *c, const struct fence *f,
		       const struct hold *h, const struct segment_ref *ref, struct err *e)
{
	int r;

	do
		r = learn_pages(w, c, f, h, ref, e);
	while (r == -EAGAIN);
	return r;
}

static int learn_together(struct writer *w, struct etcd *c, const struct fence *f,
			  const struct hold *h, const struct segment_ref *refs, size_t n,
			  struct err *e)
{
	struct decision d;
	int r;

	decision_begin(&d, c, f, h);
	for (size_t i = 0; i < n; i++) {
		struct key from, to;

		segment_range(w, &refs[i], &from, &to);
		etcd_then_get(&d.t, from.s, to.s);
	}
	r = decision_read(&d, e);
	for (size_t i = 0; i < n && (!r || r == -EUCLEAN); i++) {
		const struct etcd_range *range = &d.reply.ranges[i];
		struct lesson l = lesson_begin(w);

		for (size_t k = 0; k < range->n; k++)
			learn_chunk(&range->kvs[k], &l);
		r = lesson_end(&l, &refs[i], e) ? -EUCLEAN : r;
	}
	decision_end(&d);
	return r;
}

static void know_empty(const struct writer *w, const struct segment_ref *ref)
{
	struct lesson l = lesson_begin(w);

	take_lesson(&l, ref);
}

static bool is_to_learn(const struct segment_ref *ref, bool parts)
{
	const struct segment_state *s = gpu_segment_state(ref->gpu, ref->start_ns);

	return !s || !s->known || (parts && !s->parts.complete);
}

int writer_know(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		const struct segment_ref *refs, size_t n, bool parts, struct err *e)
{
	struct segment_ref *unknown = xcalloc(n + 1, sizeof(*unknown));
	size_t n_unknown = 0;
	int r = 0;

	for (size_t i = 0; i < n; i++)
		if (w->whole && !gpu_segment_state(refs[i].gpu, refs[i].start_ns))
			know_empty(w, &refs[i]);
		else if (is_to_learn(&refs[i], parts))
			unknown[n_unknown++] = refs[i];
	if (n_unknown)
		r = learn_together(w, c, f, h, unknown, n_unknown, e);
	if (r == -EMSGSIZE) {
		r = 0;
		for (size_t i = 0; i < n_unknown && (!r || r == -EUCLEAN); i++) {
			int one = learn_paged(w, c, f, h, &unknown[i], e);

			r = one ? one : r;
		}
	}
	free(unknown);
	return r;
}

/* ---- what is being stored -------------------------------------------------------------------- */

static void note_pace(struct gpu_state *g)
{
	int64_t ms = MIN(mono_ms_since(g->touched), PACE_MAX_MS);

	g->pace_ms = g->pace_ms ? (3 * g->pace_ms + ms) / 4 : ms;
	g->touched = mono_now();
}

static bool is_noted(const struct writer *w, const struct gpu_state *g, int64_t start_ns)
{
	for (size_t i = w->n_stored; i-- > 0;)
		if (w->stored[i].gpu == g && w->stored[i].start_ns == start_ns)
			return true;
	return false;
}

void writer_note_part(struct writer *w, struct gpu_state *g, struct segment_state *s,
		      const struct part *part, struct slice value)
{
	struct part p = *part;

	if (s->parts.n || !part->first_seq) {
		p.value = part->has_body || value.len > KEPT_VALUE || s->parts.n >= KEPT_PARTS
				  ? NULL
				  : xstrndup(value.p, value.len);
		p.value_len = (uint32_t)value.len;
		parts_add(&s->parts, &p);
	}
	if (!part->first_seq)
		s->parts.complete = true;
	s->bytes += part_cost(part);
	if (is_noted(w, g, s->start_ns))
		return;
	if ((w->n_stored & (w->n_stored - 1)) == 0)
		w->stored = xrealloc(w->stored,
				     (w->n_stored ? 2 * w->n_stored : 1) * sizeof(*w->stored));
	w->stored[w->n_stored++] = (struct segment_ref){g, s->start_ns};
}

static void stamp(struct parts *p, int64_t rev)
{
	for (size_t i = p->n; i-- > 0 && !p->list[i].rev;)
		p->list[i].rev = rev;
	if (!rev)
		parts_release(p); /* to be read again when they are wanted */
}

void writer_committed(struct writer *w, int64_t rev)
{
	for (size_t i = 0; i < w->n_stored; i++) {
		struct segment_ref *ref = &w->stored[i];
		struct segment_state *s = gpu_segment_state(ref->gpu, ref->start_ns);

		if (i == 0 || ref->gpu != ref[-1].gpu)
			note_pace(ref->gpu);
		stamp(&s->parts, rev);
		s->touched = mono_now();
		/* What has been due since before has waited since then. */
		if (!s->damaged && (!s->merge_at.ns || s->merge_at.ns > s->touched.ns))
			s->merge_at = s->touched;
	}
	w->n_stored = 0;
}
