#include "retention.h"

enum {
	KNOW = 32,  /* segments read in one transaction */
	TRIES = 10, /* of a list whose revision was compacted before it was through */
};

/* A segment of which etcd has chunks. */
struct stored {
	char gpu[NAME_MAX_ENCODED + 1]; /* encoded */
	int64_t start_ns;
};

struct listing {
	struct stored *list;
	size_t n;
	int64_t segment_ns;
};

/* Keys come in order of GPU and time, so that a segment's chunks follow one another. */
static int note_chunk(const struct etcd_kv *kv, void *arg)
{
	struct listing *l = arg;
	struct stored *last = l->n ? &l->list[l->n - 1] : NULL;
	struct data_key key;
	int64_t start_ns;

	if (key_parse_data(kv->key, &key) || key.gpu.len > NAME_MAX_ENCODED)
		return 0;
	start_ns = key.first_ns - key.first_ns % l->segment_ns;
	if (last && last->start_ns == start_ns && slice_eq(slice_str(last->gpu), key.gpu))
		return 0;
	if ((l->n & (l->n - 1)) == 0)
		l->list = xrealloc(l->list, (l->n ? 2 * l->n : 1) * sizeof(*l->list));
	last = &l->list[l->n++];
	*last = (struct stored){.start_ns = start_ns};
	memcpy(last->gpu, key.gpu.p, key.gpu.len);
	return 0;
}

static size_t segments_of(const struct listing *l, const char *gpu)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += !strcmp(l->list[i].gpu, gpu);
	return n;
}

/* That the GPU has no chunk but those of this segment. */
static void if_only_segment(struct etcd_txn *t, const struct writer *w, const char *gpu,
			    struct key begin, struct key end)
{
	etcd_if_range_mod_below(t, key_data_from(w->host, gpu, 0).s, begin.s, 1);
	etcd_if_range_mod_below(t, end.s, key_data_from(w->host, gpu, UINT64_MAX).s, 1);
}

int retention_drop(struct etcd *c, const struct writer *w, const struct fence *f,
		   const struct hold *h, const char *gpu, int64_t start_ns, bool last,
		   int64_t revision, struct err *e)
{
	uint64_t from_ns = (uint64_t)start_ns, end_ns = from_ns + (uint64_t)w->segment_ns;
	struct key begin = key_data_from(w->host, gpu, from_ns);
	struct key end = key_data_from(w->host, gpu, end_ns);
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "drop_segment");
	etcd_if_create(&t, key_consumer(f->consumer).s, f->session);
	etcd_if_mod(&t, key_writer(h->host).s, h->rev);
	etcd_if_range_mod_below(&t, begin.s, end.s, revision + 1);
	etcd_then_delete(&t, begin.s, end.s);
	etcd_then_delete(&t, key_body_from(w->host, gpu, from_ns).s,
			 key_body_from(w->host, gpu, end_ns).s);
	if (last) {
		if_only_segment(&t, w, gpu, begin, end);
		etcd_then_delete(&t, key_gpu(w->host, gpu).s, NULL);
	}
	etcd_else_get(&t, key_consumer(f->consumer).s, NULL);
	etcd_else_get(&t, key_writer(h->host).s, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	if (!reply.succeeded)
		r = writer_why_refused(&reply, f, h, e);
	etcd_reply_release(&reply);
	return r;
}

/* An identity of which etcd has no chunk: their leases have ended. */
static int drop_identity(struct etcd *c, const struct writer *w, const struct fence *f,
			 const struct hold *h, const char *gpu, struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "drop_identity");
	etcd_if_create(&t, key_consumer(f->consumer).s, f->session);
	etcd_if_mod(&t, key_writer(h->host).s, h->rev);
	etcd_if_range_mod_below(&t, key_data_from(w->host, gpu, 0).s,
				key_data_from(w->host, gpu, UINT64_MAX).s, 1);
	etcd_then_delete(&t, key_gpu(w->host, gpu).s, NULL);
	etcd_else_get(&t, key_consumer(f->consumer).s, NULL);
	etcd_else_get(&t, key_writer(h->host).s, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	if (!reply.succeeded)
		r = writer_why_refused(&reply, f, h, e);
	etcd_reply_release(&reply);
	return r;
}

/* ---- sweeping -------------------------------------------------------------------------------- */

/* Those that are not known to be damaged go to refs. -EUCLEAN: there are some of no GPU. */
static int note_segments(struct writer *w, const struct listing *l, struct segment_ref *refs,
			 size_t *ret_n, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct gpu_state *g = writer_gpu(w, l->list[i].gpu);
		struct segment_state *s;

		if (!g) {
			r = err_set(e, -EUCLEAN, "%s/%s: chunks without an identity", w->host,
				    l->list[i].gpu);
			continue;
		}
		s = gpu_add_segment_state(g, l->list[i].start_ns);
		s->listed = true;
		if (!s->damaged)
			refs[(*ret_n)++] = (struct segment_ref){g, s->start_ns};
	}
	return r;
}

/* What the writer thinks to be there and is not would be gone on with at a position that nothing
 * leads to. */
static int forget_gone(struct writer *w, struct etcd *c, const struct fence *f,
		       const struct hold *h, struct err *e)
{
	int r = 0;

	map_each (&w->gpus, i) {
		struct gpu_state *g = w->gpus.entries[i].value;

		for (size_t k = g->n_segments; k-- > 0;) {
			if (!g->segments[k].listed)
				writer_drop_segment(g, g->segments[k].start_ns);
			else
				g->segments[k].listed = false;
		}
		if (r || g->n_segments)
			continue;
		r = drop_identity(c, w, f, h, g->name, e);
		if (!r)
			writer_drop_gpu(w, g);
		else if (r == -EAGAIN)
			r = 0;
	}
	return r;
}

static int know_all(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		    const struct segment_ref *refs, size_t n, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < n && (!r || r == -EUCLEAN); i += KNOW) {
		int one = writer_know(w, c, f, h, refs + i, MIN(KNOW, n - i), false, e);

		r = one ? one : r;
	}
	return r;
}

/* Of what is damaged nobody knows when it was stored: its leases end it. */
static bool is_due(const struct retention *conf, const struct segment_state *s)
{
	return s->start_ns < conf->keep_from_ns ||
	       (conf->age_ns && s->known && s->stored_ns <= wall_now_ns() - conf->age_ns);
}

static int drop_due(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		    const struct retention *conf, struct listing *l, int64_t revision,
		    size_t *ret_dropped, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < l->n && !r; i++) {
		struct stored *s = &l->list[i];
		struct gpu_state *g = writer_gpu(w, s->gpu);
		bool last = segments_of(l, s->gpu) == 1;

		if (!g || !is_due(conf, gpu_segment_state(g, s->start_ns)))
			continue;
		r = retention_drop(c, w, f, h, s->gpu, s->start_ns, last, revision, e);
		/* Also where it has changed meanwhile: what is known of it is out of date. */
		if (!r || r == -EAGAIN)
			writer_drop_segment(g, s->start_ns);
		if (!r && last)
			writer_drop_gpu(w, g);
		if (!r) {
			s->gpu[0] = '\0';
			++*ret_dropped;
		}
		r = r == -EAGAIN ? 0 : r;
	}
	return r;
}

static int list_stored(struct listing *l, const struct writer *w, struct etcd *c,
		       int64_t *ret_revision, struct err *e)
{
	struct key prefix = key_under(KEY_DATA, w->host);
	int r = -ESTALE;

	for (int i = 0; i < TRIES && r == -ESTALE; i++) {
		l->n = 0;
		r = etcd_each(c, prefix.s, key_prefix_end(prefix.s).s, 0, ETCD_KEYS_ONLY,
			      note_chunk, l, ret_revision, e);
	}
	return r == -ESTALE ? -ETIMEDOUT : r; /* of no writer that is not one any more */
}

/* -EUCLEAN, for what is damaged, when all else is done. */
static int sweep_listed(struct writer *w, struct etcd *c, const struct fence *f,
			const struct hold *h, const struct retention *conf, struct listing *l,
			int64_t revision, size_t *ret_dropped, struct err *e)
{
	struct segment_ref *refs = xcalloc(l->n + 1, sizeof(*refs));
	size_t n = 0;
	int fault = note_segments(w, l, refs, &n, e);
	int r = forget_gone(w, c, f, h, e);

	if (!r && (conf->age_ns || conf->keep_from_ns != INT64_MIN))
		r = know_all(w, c, f, h, refs, n, e);
	if (r == -EUCLEAN) {
		fault = r;
		r = 0;
	}
	if (!r)
		r = drop_due(w, c, f, h, conf, l, revision, ret_dropped, e);
	free(refs);
	return r ? r : fault;
}

int retention_sweep(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		    const struct retention *conf, size_t *ret_dropped, struct err *e)
{
	struct listing l = {.segment_ns = w->segment_ns};
	int64_t revision;
	int r = list_stored(&l, w, c, &revision, e);

	*ret_dropped = 0;
	if (!r)
		r = sweep_listed(w, c, f, h, conf, &l, revision, ret_dropped, e);
	free(l.list);
	return r;
}
