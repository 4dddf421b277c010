#include "tree_past.h"

#include "query.h"

#include <stdio.h>

#define SEGMENT_MAX_NS (86400 * NS_PER_SEC)
#define PATH_AT        ".at/"
#define KEY_BYTES      (2 * NAME_MAX_ENCODED + 2)

struct past {
	struct instant *instant;
	struct gpu *gpu;  /* NULL: it had no sample then */
	int64_t revision; /* of the live GPU when this was made, */
	struct mono seen; /* or found to be still so */
	size_t bytes;
	int holds;
};

struct instant {
	int64_t at_ns;
	struct map pasts;            /* "host/gpu" → past */
	struct instant *next, *prev; /* by use, the latest first */
};

/* All under lock, which is the last in the tree's order. */
struct pasts {
	pthread_mutex_t lock;
	struct map by_time; /* at_ns → instant */
	struct instant *first, *last;
	size_t bytes;
};

/* ---- names ----------------------------------------------------------------------------------- */

bool past_parse(const char *name, int64_t *ret)
{
	struct stamp t;

	if (strlen(name) < strlen("2025-07-18T20:42:34Z") || name[10] != 'T' ||
	    stamp_parse(slice_str(name), &t))
		return false;
	*ret = t.ns;
	return true;
}

/* What a path in .at leads to. */
struct target {
	int64_t at_ns;
	char time[NAME_MAX_ENCODED + 1], host[NAME_MAX_ENCODED + 1], gpu[NAME_MAX_ENCODED + 1];
};

/* Cuts the next component off; false: there is none. */
static bool cut(const char **path, char ret[NAME_MAX_ENCODED + 1])
{
	size_t len = strcspn(*path, "/");

	if (len == 0 || len > NAME_MAX_ENCODED)
		return false;
	memcpy(ret, *path, len);
	ret[len] = '\0';
	*path += len + ((*path)[len] == '/');
	return true;
}

static bool parse_target(const char *path, const char *name, struct target *ret)
{
	if (strncmp(path, PATH_AT, strlen(PATH_AT)))
		return false;
	path += strlen(PATH_AT);
	if (!cut(&path, ret->time) || !cut(&path, ret->host))
		return false;
	if (!cut(&path, ret->gpu) && (!name || !cut(&name, ret->gpu)))
		return false;
	return past_parse(ret->time, &ret->at_ns);
}

static void key_of(const char *host, const char *gpu, char ret[KEY_BYTES])
{
	snprintf(ret, KEY_BYTES, "%s/%s", host, gpu);
}

bool gpu_has_past(const struct gpu *g, int64_t at_ns)
{
	int64_t from = at_ns - PAST_MS * NS_PER_MS, seq;
	const struct chunk_rec *rec;
	uint32_t i, k;

	for (i = gpu_segment_index(g, at_ns + 1, 0); i-- > 0;) {
		const struct segment *s = g->segments[i];

		if (s->start_ns < from - SEGMENT_MAX_NS)
			return false;
		for (k = 0, seq = 0; s->listed && (rec = segment_next(s, &k, &seq));)
			if (rec->min_ns <= at_ns && rec->max_ns >= from)
				return true;
	}
	return false;
}

/* ---- the cache: under its lock --------------------------------------------------------------- */

struct pasts *pasts_new(void)
{
	struct pasts *p = xcalloc(1, sizeof(*p));

	pthread_mutex_init(&p->lock, NULL);
	return p;
}

static void past_free(struct pasts *all, struct past *p)
{
	all->bytes -= p->bytes;
	if (p->gpu)
		gpu_free(p->gpu);
	free(p);
}

static void unlink_instant(struct pasts *all, struct instant *i)
{
	*(i->prev ? &i->prev->next : &all->first) = i->next;
	*(i->next ? &i->next->prev : &all->last) = i->prev;
}

static void link_first(struct pasts *all, struct instant *i)
{
	i->prev = NULL;
	i->next = all->first;
	*(i->next ? &i->next->prev : &all->last) = i;
	all->first = i;
}

static void instant_free(struct pasts *all, struct instant *i)
{
	map_each (&i->pasts, k)
		past_free(all, i->pasts.entries[k].value);
	map_release(&i->pasts);
	map_remove(&all->by_time, &i->at_ns, sizeof(i->at_ns));
	unlink_instant(all, i);
	free(i);
}

void pasts_free(struct pasts *p)
{
	while (p->first)
		instant_free(p, p->first);
	map_release(&p->by_time);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static bool is_held(const struct instant *i)
{
	map_each (&i->pasts, k)
		if (((const struct past *)i->pasts.entries[k].value)->holds)
			return true;
	return false;
}

static void make_room(struct pasts *all)
{
	struct instant *i = all->last, *prev;

	for (; i && i != all->first; i = prev) {
		prev = i->prev;
		if (map_count(&all->by_time) <= PAST_INSTANTS_MAX && all->bytes <= PAST_BYTES_MAX)
			return;
		if (!is_held(i))
			instant_free(all, i);
	}
}

static struct instant *instant_get(struct pasts *all, int64_t at_ns)
{
	struct instant *i = map_get(&all->by_time, &at_ns, sizeof(at_ns));

	if (i) {
		unlink_instant(all, i);
	} else {
		i = xcalloc(1, sizeof(*i));
		i->at_ns = at_ns;
		map_put(&all->by_time, &at_ns, sizeof(at_ns), i);
	}
	link_first(all, i);
	return i;
}

static struct past *find(struct pasts *all, int64_t at_ns, const char *key)
{
	struct instant *i = map_get(&all->by_time, &at_ns, sizeof(at_ns));

	return i ? map_get_str(&i->pasts, key) : NULL;
}

/* ---- making one ------------------------------------------------------------------------------ */

/* The live GPU's names and revision. */
static int look_at(struct tree *t, const struct target *x, struct ident **ret_ident,
		   int64_t *ret_revision)
{
	const struct gpu *g;
	int r = -ENOENT;

	pthread_rwlock_rdlock(&t->lock);
	g = t->ready ? model_gpu(t->model, slice_str(x->host), slice_str(x->gpu)) : NULL;
	if (!t->ready)
		r = -EIO;
	if (g && g->listed && gpu_has_past(g, x->at_ns)) {
		*ret_ident = ident_ref(g->ident);
		*ret_revision = g->revision;
		r = 0;
	}
	pthread_rwlock_unlock(&t->lock);
	return r;
}

static int64_t live_revision(struct tree *t, const struct target *x)
{
	const struct gpu *g;
	int64_t revision = -1;

	pthread_rwlock_rdlock(&t->lock);
	g = model_gpu(t->model, slice_str(x->host), slice_str(x->gpu));
	if (g && g->listed)
		revision = g->revision;
	pthread_rwlock_unlock(&t->lock);
	return revision;
}

/* Takes ident over. */
static struct gpu *gpu_of_past(const struct target *x, struct ident *ident)
{
	struct gpu *g = xcalloc(1, sizeof(*g));

	g->name = xstrdup(x->gpu);
	g->ident = ident;
	g->series_of = g->listed_as = ident->id->incarnation;
	g->listed = true;
	gpu_name_series(g);
	return g;
}

static void take_row(struct gpu *g, const struct query_row *row, uint32_t *seen)
{
	uint32_t i = (uint32_t)(uintptr_t)map_get_str(&g->ident->id->by_name, row->series->name);

	if (i == 0 || gpu_latest(g, i - 1))
		return;
	gpu_put_latest(g, i - 1, row->time, row->seq, row->value, row->attribution, row->revision);
	g->last_ns = MAX(g->last_ns, row->time.ns);
	g->revision = MAX(g->revision, row->revision);
	g->stored_ns = g->last_ns;
	++*seen;
}

/* Backwards from the instant, until each series was seen. */
static int read_rows(struct tree *t, const struct target *x, struct gpu *g)
{
	struct query_range range = {.host = x->host,
				    .gpu = x->gpu,
				    .from_ns = x->at_ns - PAST_MS * NS_PER_MS,
				    .to_ns = x->at_ns,
				    .descending = true,
				    .max_revision = INT64_MAX};
	struct query_row row;
	struct query *q;
	uint32_t seen = 0;
	int r = query_open(&q, t, &range);

	if (r)
		return r;
	while (seen < g->ident->id->n_series && (r = query_next(q, &row)) > 0)
		take_row(g, &row, &seen);
	query_close(q);
	return MIN(r, 0);
}

static int past_make(struct tree *t, const struct target *x, struct past **ret)
{
	struct ident *ident = NULL;
	struct past *p;
	int64_t revision = 0;
	struct gpu *g = NULL;
	int r = look_at(t, x, &ident, &revision);

	if (r)
		return r;
	g = gpu_of_past(x, ident);
	r = read_rows(t, x, g);
	if (r < 0 || g->last_ns == 0) {
		gpu_free(g);
		g = NULL;
	}
	if (r < 0)
		return r;
	p = xcalloc(1, sizeof(*p));
	p->gpu = g;
	p->revision = revision;
	p->seen = mono_now();
	p->bytes = sizeof(*p) + (g ? sizeof(*g) + g->n_series * (sizeof(*g->series) + 64) : 0);
	*ret = p;
	return 0;
}

/* ---- holding --------------------------------------------------------------------------------- */

/* One that is there and may be used; what is too old and nobody holds goes. */
static struct past *hold_known(struct tree *t, const struct target *x, const char *key)
{
	int64_t revision = live_revision(t, x);
	struct past *p;

	pthread_mutex_lock(&t->pasts->lock);
	p = find(t->pasts, x->at_ns, key);
	if (p && p->revision == revision && mono_ms_since(p->seen) >= PAST_KEEP_MS)
		p->seen = mono_now();
	if (p && !p->holds && mono_ms_since(p->seen) >= PAST_KEEP_MS) {
		map_remove(&p->instant->pasts, key, strlen(key));
		past_free(t->pasts, p);
		p = NULL;
	}
	if (p)
		p->holds++;
	pthread_mutex_unlock(&t->pasts->lock);
	return p;
}

/* Takes p over; another may have been made meanwhile. */
static struct past *hold_made(struct pasts *all, const struct target *x, const char *key,
			      struct past *p)
{
	struct past *other;

	pthread_mutex_lock(&all->lock);
	p->instant = instant_get(all, x->at_ns);
	all->bytes += p->bytes;
	other = map_get_str(&p->instant->pasts, key);
	if (other) {
		past_free(all, p);
		p = other;
	} else {
		map_put(&p->instant->pasts, key, strlen(key), p);
	}
	p->holds++;
	make_room(all);
	pthread_mutex_unlock(&all->lock);
	return p;
}

int past_hold(struct tree *t, const char *path, const char *name, struct past **ret)
{
	char key[KEY_BYTES];
	struct target x;
	struct past *p;
	int r = 0;

	*ret = NULL;
	if (!parse_target(path, name, &x))
		return 0;
	if (x.at_ns > wall_now_ns())
		return -ENOENT;
	key_of(x.host, x.gpu, key);
	p = hold_known(t, &x, key);
	if (!p) {
		r = past_make(t, &x, &p);
		if (r == 0)
			p = hold_made(t->pasts, &x, key, p);
	}
	if (r == 0 && !p->gpu) {
		past_release(t, p);
		r = -ENOENT;
	}
	if (r == 0)
		*ret = p;
	return r == -ESTALE ? -ENOENT : r;
}

void past_release(struct tree *t, struct past *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&t->pasts->lock);
	p->holds--;
	pthread_mutex_unlock(&t->pasts->lock);
}

struct gpu *past_gpu(struct tree *t, int64_t at_ns, const char *host, const char *gpu,
		     int64_t *ret_keep_ms)
{
	char key[KEY_BYTES];
	struct past *p;

	key_of(host, gpu, key);
	pthread_mutex_lock(&t->pasts->lock);
	p = find(t->pasts, at_ns, key);
	if (p && !p->holds)
		p = NULL;
	if (p)
		*ret_keep_ms = MAX(0, PAST_KEEP_MS - mono_ms_since(p->seen));
	pthread_mutex_unlock(&t->pasts->lock);
	return p ? p->gpu : NULL;
}
