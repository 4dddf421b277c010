/* The model of the tree: what is known of each GPU, as it was put, before publishing. */
#include "tree_internal.h"

/* ---- GPUs ------------------------------------------------------------------------------------ */

void gpu_free(struct gpu *g)
{
	gpu_release_series(g);
	for (uint32_t i = 0; i < g->n_segments; i++)
		segment_free(g->segments[i]);
	free(g->segments);
	free(g->holders);
	free(g->order);
	free(g->uuid_name);
	gpu_release_filed(g);
	free(g->name);
	ident_unref(g->ident);
	free(g);
}

void host_free(struct host *h)
{
	map_each (&h->gpus, i)
		gpu_free(h->gpus.entries[i].value);
	map_release(&h->gpus);
	free(h->name);
	free(h);
}

struct model *model_new(void)
{
	return xcalloc(1, sizeof(struct model));
}

void model_free(struct model *m)
{
	if (!m)
		return;
	map_each (&m->hosts, i)
		host_free(m->hosts.entries[i].value);
	map_release(&m->hosts);
	map_release(&m->uuids);
	facet_release(&m->facets);
	free(m);
}

struct gpu *model_gpu(const struct model *m, struct slice host, struct slice gpu)
{
	struct host *h = map_get(&m->hosts, host.p, host.len);

	return h ? map_get(&h->gpus, gpu.p, gpu.len) : NULL;
}

static struct host *host_get(struct model *m, struct slice name)
{
	struct host *h = map_get(&m->hosts, name.p, name.len);

	if (!h) {
		h = xcalloc(1, sizeof(*h));
		h->name = xstrndup(name.p, name.len);
		map_put(&m->hosts, name.p, name.len, h);
	}
	return h;
}

/* Found or made; marked for publishing. */
static struct gpu *gpu_get(struct model *m, struct slice host, struct slice name)
{
	struct host *h = host_get(m, host);
	struct gpu *g = map_get(&h->gpus, name.p, name.len);

	if (!g) {
		g = xcalloc(1, sizeof(*g));
		g->host = h;
		g->name = xstrndup(name.p, name.len);
		map_put(&h->gpus, name.p, name.len, g);
	}
	gpu_mark(m, g);
	return g;
}

void gpu_mark(struct model *m, struct gpu *g)
{
	if (g->dirty)
		return;
	g->dirty = true;
	g->dirty_next = m->dirty;
	m->dirty = g;
}

void gpu_seek_latest(struct model *m, struct gpu *g)
{
	m->seeking += !g->seeks;
	g->seeks = true;
}

void gpu_stop_seeking(struct model *m, struct gpu *g)
{
	m->seeking -= g->seeks;
	g->seeks = false;
}

/* ---- identities of GPUs ---------------------------------------------------------------------- */

static void uuid_unlink(struct model *m, struct gpu *g)
{
	struct gpu *first, **at;

	if (!g->uuid_name)
		return;
	first = map_get_str(&m->uuids, g->uuid_name);
	for (at = &first; *at && *at != g; at = &(*at)->uuid_next)
		;
	if (*at)
		*at = g->uuid_next;
	if (first)
		map_put(&m->uuids, g->uuid_name, strlen(g->uuid_name), first);
	else
		map_remove(&m->uuids, g->uuid_name, strlen(g->uuid_name));
	g->uuid_next = NULL;
	free(TAKE_PTR(g->uuid_name));
}

static void uuid_link(struct model *m, struct gpu *g)
{
	char name[NAME_MAX_ENCODED + 1];

	if (name_encode_to(name, slice_str(g->ident->id->uuid)))
		return; /* none, or none that could be a name */
	g->uuid_name = xstrdup(name);
	g->uuid_next = map_put(&m->uuids, name, strlen(name), g);
}

/* Of several folders with one uuid the one that was written last: a GPU that has moved. */
static bool uuid_newer(const struct gpu *a, const struct gpu *b)
{
	int64_t x = a->ident->id->as_of_ns, y = b->ident->id->as_of_ns;
	int host = strcmp(a->host->name, b->host->name);

	if (x != y)
		return x > y;
	return host ? host > 0 : strcmp(a->name, b->name) > 0;
}

struct gpu *model_uuid(const struct model *m, const char *uuid_name)
{
	struct gpu *best = NULL;

	for (struct gpu *g = map_get_str(&m->uuids, uuid_name); g; g = g->uuid_next)
		if (g->listed && (!best || uuid_newer(g, best)))
			best = g;
	return best;
}

/* What waited for a newer identity has it now. */
static void mark_segments(struct gpu *g)
{
	for (uint32_t i = 0; i < g->n_segments; i++) {
		struct segment *s = g->segments[i];

		s->dirty = true;
		for (uint32_t j = 0; j < s->n; j++)
			s->recs[j].waits = 0;
	}
}

void model_put_identity(struct model *m, struct identity *id, int64_t mod_rev)
{
	char host[NAME_MAX_ENCODED + 1], name[NAME_MAX_ENCODED + 1];
	struct gpu *g;

	if (name_encode_to(host, slice_str(id->host)) || name_encode_to(name, slice_str(id->gpu))) {
		identity_free(id);
		return;
	}
	g = gpu_get(m, slice_str(host), slice_str(name));
	uuid_unlink(m, g);
	ident_unref(g->ident);
	g->ident = ident_new(id);
	g->ident_rev = mod_rev;
	g->changed = true;
	if (g->series_of != id->incarnation) {
		gpu_release_series(g);
		g->series_of = id->incarnation;
	}
	gpu_name_series(g);
	uuid_link(m, g);
	mark_segments(g);
}

void model_drop_identity(struct model *m, struct slice host, struct slice gpu)
{
	struct gpu *g = model_gpu(m, host, gpu);

	if (!g || !g->ident)
		return;
	gpu_mark(m, g);
	uuid_unlink(m, g);
	g->ident_rev = 0;
	mark_segments(g);
	ident_unref(TAKE_PTR(g->ident));
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static struct chunk_rec rec_of(const struct data_key *key, const struct chunk *c,
			       int64_t create_rev)
{
	struct chunk_rec rec = {
		.key_ns = key->first_ns,
		.first_seq = c->first_seq,
		.min_ns = c->min_ns,
		.max_ns = c->max_ns,
		.stored_ns = c->stored_ns,
		.revision = c->n_commits ? c->commits[c->n_commits - 1].revision : create_rev,
		.rows = (uint32_t)c->rows & ((1U << 28) - 1),
		.merged = c->n_commits > 0,
		.alone = c->n_commits <= 1,
		.csv_bytes = (uint32_t)c->csv_bytes,
	};

	for (uint32_t i = 0; i < c->n_series; i++)
		rec.sane |= !c->series[i].ahead;
	ulid_to_id(key->ulid, rec.id);
	return rec;
}

/* Where identity and chunk are watched apart, the chunk of a new series may come first. */
static bool waits_for_identity(const struct gpu *g, const struct chunk *c)
{
	for (uint32_t i = 0; g->ident && i < c->n_series; i++)
		if (c->series[i].id >= g->ident->id->n_series)
			return true;
	return false;
}

static bool is_plausible(const struct chunk *c)
{
	for (uint32_t i = 0; i < c->n_series; i++)
		if (c->series[i].id >= IDENTITY_SERIES_MAX || c->series[i].value.len > VALUE_MAX ||
		    c->series[i].attribution >= c->n_attributions)
			return false;
	return c->rows > 0 && c->rows <= CHUNK_ROWS_MAX && c->first_seq >= 0 && c->csv_bytes > 0 &&
	       c->csv_bytes <= UINT32_MAX;
}

void model_put_chunk(struct model *m, const struct data_key *key, const struct chunk *c,
		     int64_t create_rev)
{
	struct chunk_rec rec;
	struct segment *s;
	struct gpu *g;

	if (!is_plausible(c))
		return;
	rec = rec_of(key, c, create_rev);
	g = gpu_get(m, key->host, key->gpu);
	s = gpu_add_segment(g, c->segment_ns, c->incarnation);
	s->identity = c->identity;
	rec.waits = waits_for_identity(g, c);
	segment_drop(s, rec.id);
	segment_insert(s, &rec);
	if (!gpu_counts_series(g, c->identity, create_rev))
		return;
	for (uint32_t i = 0; i < c->n_series; i++) {
		gpu_grow_series(g, c->series[i].id + 1);
		gpu_offer_latest(g, c, &c->series[i], create_rev);
	}
}

void model_drop_chunk(struct model *m, const struct data_key *key)
{
	struct gpu *g = model_gpu(m, key->host, key->gpu);
	uint8_t id[TEXT_ID_LEN];

	if (!g)
		return;
	ulid_to_id(key->ulid, id);
	/* It lies in the last segment that starts before its first event, or in one of its
	 * namesakes before that; the newest are asked first. */
	for (uint32_t i = gpu_segment_index(g, key->first_ns + 1, 0); i-- > 0;)
		if (segment_drop(g->segments[i], id)) {
			g->segments[i]->dropped = true;
			gpu_mark(m, g);
			return;
		}
}
