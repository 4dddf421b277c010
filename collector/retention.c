#include "retention.h"

#include "clock.h"

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

/* Whether we are still the writer, after a "false". */
static int why_refused(const struct etcd_reply *reply, const struct fence *f, const struct hold *h,
		       struct err *e)
{
	const struct etcd_range *session = &reply->ranges[0], *writer = &reply->ranges[1];

	if (!session->n || session->kvs[0].create_rev != f->session || !writer->n ||
	    writer->kvs[0].mod_rev != h->rev)
		return err_set(e, -ESTALE, "host %s: no longer its writer", h->host);
	return -EAGAIN;
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
		r = why_refused(&reply, f, h, e);
	etcd_reply_release(&reply);
	return r;
}

int retention_sweep(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		    int64_t retention_ns, size_t *ret_dropped, struct err *e)
{
	struct listing l = {.segment_ns = w->segment_ns};
	struct key prefix = key_under(KEY_DATA, w->host);
	int64_t now_ns = wall_now_ns(), stored_ns, revision;
	int r = etcd_each(c, prefix.s, key_prefix_end(prefix.s).s, 0, ETCD_KEYS_ONLY, note_chunk,
			  &l, &revision, e);

	*ret_dropped = 0;
	for (size_t i = 0; i < l.n && !r; i++) {
		struct stored *s = &l.list[i];
		bool last = segments_of(&l, s->gpu) == 1;

		r = writer_stored_at(w, c, f, h, s->gpu, s->start_ns, &stored_ns, e);
		if (r || stored_ns + retention_ns > now_ns)
			continue;
		r = retention_drop(c, w, f, h, s->gpu, s->start_ns, last, revision, e);
		if (r == -EAGAIN) {
			/* What is known of the segment is out of date with it. */
			writer_drop_segment(w, s->gpu, s->start_ns, false);
			r = 0;
			continue;
		}
		if (r)
			continue;
		writer_drop_segment(w, s->gpu, s->start_ns, last);
		s->gpu[0] = '\0';
		++*ret_dropped;
	}
	free(l.list);
	return r;
}
