/* Series of a GPU: their names, the latest row of each, and who used the GPU then. */
#include "tree_internal.h"

/* ---- identities ------------------------------------------------------------------------------ */

struct ident *ident_new(struct identity *id)
{
	struct ident *i = xcalloc(1, sizeof(*i));

	i->refs = 1;
	i->id = id;
	return i;
}

struct ident *ident_ref(struct ident *id)
{
	__atomic_fetch_add(&id->refs, 1, __ATOMIC_RELAXED);
	return id;
}

void ident_unref(struct ident *id)
{
	if (!id || __atomic_fetch_sub(&id->refs, 1, __ATOMIC_ACQ_REL) > 1)
		return;
	identity_free(id->id);
	free(id);
}

/* ---- holders --------------------------------------------------------------------------------- */

static bool same_attribution(const struct attribution *a, const struct attribution *b)
{
	return slice_eq(a->uuid, b->uuid) && slice_eq(a->pod, b->pod) &&
	       slice_eq(a->namespace, b->namespace) && slice_eq(a->container, b->container);
}

static struct slice copy_text(char **mem, struct slice s)
{
	struct slice copy = {*mem, s.len};

	if (s.len)
		memcpy(*mem, s.p, s.len);
	*mem += s.len;
	return copy;
}

static struct holder *holder_new(const struct attribution *a)
{
	struct holder *h = xcalloc(1, sizeof(*h) + a->uuid.len + a->container.len + a->pod.len +
					      a->namespace.len);
	char *mem = h->mem;

	h->a.uuid = copy_text(&mem, a->uuid);
	h->a.container = copy_text(&mem, a->container);
	h->a.pod = copy_text(&mem, a->pod);
	h->a.namespace = copy_text(&mem, a->namespace);
	return h;
}

static struct holder *holder_get(struct gpu *g, const struct attribution *a)
{
	for (uint32_t i = 0; i < g->n_holders; i++)
		if (same_attribution(&g->holders[i]->a, a)) {
			g->holders[i]->refs++;
			return g->holders[i];
		}
	g->holders = xrealloc(g->holders, (g->n_holders + 1) * sizeof(struct holder *));
	g->holders[g->n_holders] = holder_new(a);
	g->holders[g->n_holders]->refs = 1;
	return g->holders[g->n_holders++];
}

static void holder_put(struct gpu *g, struct holder *h)
{
	if (--h->refs)
		return;
	for (uint32_t i = 0; i < g->n_holders; i++)
		if (g->holders[i] == h)
			g->holders[i] = g->holders[--g->n_holders];
	free(h);
}

/* ---- latest ---------------------------------------------------------------------------------- */

bool latest_is_set(const struct latest *l)
{
	return l && l->holder;
}

struct slice latest_value(const struct latest *l)
{
	return (struct slice){l->len > sizeof(l->text) ? l->heap : l->text, l->len};
}

void gpu_forget_latest(struct gpu *g, struct latest *l)
{
	if (!latest_is_set(l))
		return;
	holder_put(g, l->holder);
	if (l->len > sizeof(l->text))
		free(l->heap);
	*l = (struct latest){0};
}

static void set_value(struct latest *l, struct slice v)
{
	l->len = (uint8_t)v.len;
	if (v.len > sizeof(l->text))
		l->heap = xstrndup(v.p, v.len);
	else if (v.len)
		memcpy(l->text, v.p, v.len);
}

/* The revision in which a row was committed, as far back as the chunk's table goes. */
static int64_t row_revision(const struct chunk *c, uint32_t row, int64_t create_rev)
{
	int64_t left = c->rows - row; /* rows from this one to the end */

	for (uint32_t i = c->n_commits; i-- > 0;) {
		left -= c->commits[i].rows;
		if (left <= 0 || i == 0)
			return c->commits[i].revision;
	}
	return create_rev;
}

static struct latest *latest_slot(struct series_state *s, bool ahead)
{
	if (!ahead)
		return &s->sane;
	if (!s->ahead)
		s->ahead = xcalloc(1, sizeof(*s->ahead));
	return s->ahead;
}

static void set_latest(struct gpu *g, struct latest *l, struct stamp time, struct slice value,
		       const struct attribution *a)
{
	struct holder *holder = holder_get(g, a);

	gpu_forget_latest(g, l);
	*l = (struct latest){.time_ns = time.ns, .digits = time.digits, .holder = holder};
	set_value(l, value);
}

void gpu_offer_latest(struct gpu *g, const struct chunk *c, const struct chunk_series *cs,
		      int64_t create_rev)
{
	struct series_state *s = &g->series[cs->id];
	struct latest *l = latest_slot(s, cs->ahead);
	int64_t seq = c->first_seq + cs->row;

	if (latest_is_set(l) &&
	    (cs->time.ns < l->time_ns || (cs->time.ns == l->time_ns && seq <= l->seq)))
		return;
	set_latest(g, l, cs->time, cs->value, &c->attributions[cs->attribution]);
	l->seq = seq;
	l->segment_ns = c->segment_ns;
	l->stored_ns = c->stored_ns;
	l->revision = row_revision(c, cs->row, create_rev);
	s->dirty = true;
}

void gpu_put_latest(struct gpu *g, uint32_t series, struct stamp time, int64_t seq,
		    struct slice value, const struct attribution *a, int64_t revision)
{
	struct latest *l = &g->series[series].sane;

	set_latest(g, l, time, value, a);
	l->seq = seq;
	l->stored_ns = time.ns;
	l->revision = revision;
}

/* ---- tables of series ------------------------------------------------------------------------ */

void gpu_release_series(struct gpu *g)
{
	for (uint32_t i = 0; i < g->n_series; i++) {
		gpu_forget_latest(g, &g->series[i].sane);
		gpu_forget_latest(g, g->series[i].ahead);
		free(g->series[i].ahead);
		free(g->series[i].file);
	}
	free(g->series);
	g->series = NULL;
	g->n_series = 0;
}

void gpu_grow_series(struct gpu *g, uint32_t n)
{
	if (n <= g->n_series)
		return;
	g->series = xrealloc(g->series, n * sizeof(*g->series));
	memset(g->series + g->n_series, 0, (n - g->n_series) * sizeof(*g->series));
	g->n_series = n;
}

const char *gpu_series_file(const struct gpu *g, uint32_t i)
{
	return g->series[i].file ? g->series[i].file : g->ident->id->series[i].name;
}

const struct latest *gpu_latest(const struct gpu *g, uint32_t i)
{
	const struct series_state *s = &g->series[i];

	if (latest_is_set(&s->sane))
		return &s->sane;
	return latest_is_set(s->ahead) ? s->ahead : NULL;
}

static int by_file(const void *a, const void *b, void *arg)
{
	const struct gpu *g = arg;

	return strcmp(gpu_series_file(g, *(const uint32_t *)a),
		      gpu_series_file(g, *(const uint32_t *)b));
}

void gpu_name_series(struct gpu *g)
{
	uint32_t n = g->ident->id->n_series;
	char name[NAME_MAX_ENCODED + 1];

	gpu_grow_series(g, n);
	g->order = xrealloc(g->order, (n + 1) * sizeof(*g->order));
	for (uint32_t i = 0; i < n; i++) {
		const char *plain = g->ident->id->series[i].name;

		g->order[i] = i;
		free(TAKE_PTR(g->series[i].file));
		if (name_encode_to(name, slice_str(plain)) == 0 && strcmp(name, plain))
			g->series[i].file = xstrdup(name);
	}
	qsort_r(g->order, n, sizeof(*g->order), by_file, g);
}

/* Whether the ids of a chunk's series are those that this GPU counts by. Without an identity (a
 * list brings chunks first) the newest chunk decides. */
bool gpu_counts_series(struct gpu *g, uint64_t identity, int64_t create_rev)
{
	if (g->series_of != identity) {
		if (g->ident || (g->n_series && create_rev < g->series_rev))
			return false;
		gpu_release_series(g);
		g->series_of = identity;
	}
	g->series_rev = MAX(g->series_rev, create_rev);
	return true;
}
