/* What there is: copied under the lock, told without it. */
#include "query.h"

#include "tree_files.h"

static const char *const state_names[] = {
	[GPU_LIVE] = "live",
	[GPU_STALE] = "stale",
	[GPU_LOST] = "lost",
};

const char *gpu_state_name(enum gpu_state s)
{
	return state_names[s];
}

/* ---- GPUs ------------------------------------------------------------------------------------ */

/* A GPU that outlives the lock. */
struct copy {
	struct query_gpu gpu;
	struct ident *ident;
	char *names; /* host and GPU, each with its NUL */
};

struct copies {
	struct copy *list;
	size_t n, cap;
	struct place place; /* for the time of the look */
};

static struct copies copies_of(struct tree *t)
{
	return (struct copies){
		.place = {.t = t, .now_ns = wall_now_ns(), .until_ns = INT64_MAX},
	};
}

static void add_copy(struct copies *to, const struct gpu *g)
{
	size_t host = strlen(g->host->name) + 1, gpu = strlen(g->name) + 1;
	struct copy *c;

	if (to->n == to->cap) {
		to->cap = to->cap ? 2 * to->cap : 16;
		to->list = xrealloc(to->list, to->cap * sizeof(*to->list));
	}
	c = &to->list[to->n++];
	c->ident = ident_ref(g->ident);
	c->names = xmalloc(host + gpu);
	memcpy(c->names, g->host->name, host);
	memcpy(c->names + host, g->name, gpu);
	c->gpu = (struct query_gpu){
		.host = c->names,
		.gpu = c->names + host,
		.id = c->ident->id,
		.state = gpu_state(&to->place, g),
		.last_ns = g->last_ns,
		.revision = g->revision,
	};
}

static void copies_release(struct copies *c)
{
	for (size_t i = 0; i < c->n; i++) {
		ident_unref(c->list[i].ident);
		free(c->list[i].names);
	}
	free(c->list);
}

static int by_names(const void *a, const void *b)
{
	const struct copy *x = a, *y = b;
	int d = strcmp(x->gpu.host, y->gpu.host);

	return d ? d : strcmp(x->gpu.gpu, y->gpu.gpu);
}

static void add_host(struct copies *to, const struct host *h)
{
	map_each (&h->gpus, i) {
		const struct gpu *g = h->gpus.entries[i].value;

		if (g->listed)
			add_copy(to, g);
	}
}

static int tell(struct copies *c, int (*fn)(const struct query_gpu *g, void *arg), void *arg)
{
	int r = 0;

	if (c->n)
		qsort(c->list, c->n, sizeof(*c->list), by_names);
	for (size_t i = 0; i < c->n && !r; i++)
		r = fn(&c->list[i].gpu, arg);
	return r;
}

static int copy_gpus(struct tree *t, const char *host, struct copies *to)
{
	const struct model *m = t->model;
	const struct host *one;

	if (!t->ready)
		return -EIO;
	if (!host) {
		map_each (&m->hosts, i)
			add_host(to, m->hosts.entries[i].value);
		return 0;
	}
	one = map_get_str(&m->hosts, host);
	if (!one || !one->listed)
		return -ENOENT;
	add_host(to, one);
	return 0;
}

int query_gpus(struct tree *t, const char *host, int (*fn)(const struct query_gpu *g, void *arg),
	       void *arg, int64_t *ret_revision)
{
	struct copies c = copies_of(t);
	int64_t revision;
	int r;

	pthread_rwlock_rdlock(&t->lock);
	r = copy_gpus(t, host, &c);
	revision = t->revision;
	pthread_rwlock_unlock(&t->lock);
	if (!r && ret_revision)
		*ret_revision = revision;
	if (!r)
		r = tell(&c, fn, arg);
	copies_release(&c);
	return r;
}

int query_gpus_by_uuid(struct tree *t, const char *uuid,
		       int (*fn)(const struct query_gpu *g, void *arg), void *arg)
{
	char name[NAME_MAX_ENCODED + 1];
	struct copies c = copies_of(t);
	int r = 0;

	if (name_encode_to(name, slice_str(uuid)))
		return 0; /* nobody has such a one */
	pthread_rwlock_rdlock(&t->lock);
	if (!t->ready)
		r = -EIO;
	for (const struct gpu *g = r ? NULL : map_get_str(&t->model->uuids, name); g;
	     g = g->uuid_next)
		if (g->listed)
			add_copy(&c, g);
	pthread_rwlock_unlock(&t->lock);
	if (!r)
		r = tell(&c, fn, arg);
	copies_release(&c);
	return r;
}

/* ---- latest rows ----------------------------------------------------------------------------- */

struct latest_copy {
	struct query_row row;
	struct attribution attribution;
};

/* The latest of one GPU; texts lie behind one another in one piece of memory. */
struct latest_copies {
	struct latest_copy *list;
	size_t n;
	char *texts, *end;
};

static size_t texts_len(const struct attribution *a)
{
	return a->uuid.len + a->container.len + a->pod.len + a->namespace.len;
}

static struct slice keep(struct latest_copies *to, struct slice s)
{
	struct slice copy = {to->end, s.len};

	if (s.len)
		memcpy(to->end, s.p, s.len);
	to->end += s.len;
	return copy;
}

static void copy_row(struct latest_copies *to, const struct cursor *c)
{
	struct latest_copy *out = &to->list[to->n++];
	const struct attribution *a = &c->l->holder->a;

	out->attribution = (struct attribution){
		.uuid = keep(to, a->uuid),
		.container = keep(to, a->container),
		.pod = keep(to, a->pod),
		.namespace = keep(to, a->namespace),
	};
	out->row = (struct query_row){
		.time = latest_time(c->l),
		.series = c->s,
		.attribution = &out->attribution,
		.value = keep(to, latest_value(c->l)),
		.seq = c->l->seq,
		.revision = c->l->revision,
	};
}

static void copy_latest(struct latest_copies *to, const struct gpu *g)
{
	struct cursor c = {.g = g};
	size_t n = 0, bytes = 0;

	while (next_latest(&c)) {
		n++;
		bytes += latest_value(c.l).len + texts_len(&c.l->holder->a);
	}
	to->list = xcalloc(n + 1, sizeof(*to->list));
	to->texts = to->end = xmalloc(bytes + 1);
	c = (struct cursor){.g = g};
	while (next_latest(&c))
		copy_row(to, &c);
}

int query_latest(struct tree *t, const char *host, const char *gpu,
		 int (*fn)(const struct query_gpu *g, const struct query_row *row, void *arg),
		 void *arg)
{
	struct latest_copies latest = {0};
	struct copies c = copies_of(t);
	const struct gpu *g;
	int r = 0;

	pthread_rwlock_rdlock(&t->lock);
	g = model_gpu(t->model, slice_str(host), slice_str(gpu));
	if (!t->ready) {
		r = -EIO;
	} else if (!g || !g->listed) {
		r = -ENOENT;
	} else {
		add_copy(&c, g);
		copy_latest(&latest, g);
	}
	pthread_rwlock_unlock(&t->lock);
	for (size_t i = 0; i < latest.n && !r; i++)
		r = fn(&c.list[0].gpu, &latest.list[i].row, arg);
	free(latest.list);
	free(latest.texts);
	copies_release(&c);
	return r;
}
