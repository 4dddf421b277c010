/* Attributes of nodes and contents of those that are rendered whole. */
#include "tree_past.h"
#include "units.h"

#define LIVE_NS (600 * NS_PER_SEC) /* a row file that grew since then may grow soon */

/* ---- attributes ------------------------------------------------------------------------------ */

static bool is_live(const struct place *p)
{
	const struct segment *s = p->segment;

	return p->now_ns - s->start_ns < p->t->segment_ns || p->now_ns - s->stored_ns < LIVE_NS;
}

static void set_times(struct attr *a, int64_t mtime, int64_t ctime, int64_t revision)
{
	a->mtime_ns = MAX(a->mtime_ns, mtime);
	a->ctime_ns = MAX(a->ctime_ns, ctime);
	a->revision = MAX(a->revision, revision);
}

static void times_of_host(const struct host *h, struct attr *a)
{
	set_times(a, 0, 0, h->changed_rev);
	map_each (&h->gpus, i) {
		const struct gpu *g = h->gpus.entries[i].value;

		if (g->listed)
			set_times(a, g->last_ns, g->stored_ns, g->revision);
	}
}

static void times_of_facet(const struct facet *f, struct attr *a)
{
	map_each (&f->below, i)
		times_of_facet(f->below.entries[i].value, a);
	map_each (&f->members, i) {
		const struct gpu *g = f->members.entries[i].value;

		set_times(a, g->last_ns, g->stored_ns, g->revision);
	}
}

static void times_of(const struct place *p, enum scope scope, struct attr *a)
{
	const struct gpu *g = p->gpu;
	const struct latest *l;

	switch (scope) {
	case OF_PROGRAM:
		set_times(a, p->t->started_ns, p->t->started_ns, 0);
		break;
	case OF_TREE:
		set_times(a, p->t->model->last_ns, p->t->model->stored_ns, p->t->revision);
		break;
	case OF_HOST:
		times_of_host(p->host, a);
		break;
	case OF_FACET:
		times_of_facet(p->facet, a);
		break;
	case OF_INSTANT:
		set_times(a, p->at_ns, p->at_ns, 0);
		break;
	case OF_IDENTITY:
		set_times(a, g->ident->id->as_of_ns, g->ident->id->as_of_ns, g->ident_rev);
		break;
	case OF_GPU:
		set_times(a, g->last_ns, g->stored_ns, g->revision);
		break;
	case OF_SERIES:
		l = gpu_latest(g, p->series);
		set_times(a, l->time_ns, l->stored_ns, l->revision);
		break;
	case OF_SEGMENT:
		set_times(a, p->segment->max_ns, p->segment->stored_ns, p->segment->revision);
		break;
	}
}

static uint32_t links_of(enum kind_id k, const struct place *p)
{
	const struct facet *f = NULL;

	switch (k) {
	case K_ROOT:
		return 2 + 4 + model_hosts(p->t->model);
	case K_BY_MODEL:
	case K_BY_POD:
		f = facet_below(&p->t->model->facets, k == K_BY_POD ? FACET_POD : FACET_MODEL);
		return 2 + (f ? map_count(&f->below) : 0);
	case K_NAMESPACE:
		return 2 + map_count(&p->facet->below);
	case K_HOST:
		return 2 + p->host->listed;
	case K_META:
		return 2 + 1;
	case K_GPU:
		return 2 + 2;
	default:
		return kinds[k].type == NODE_DIR ? 2 : 1;
	}
}

/* A file over all GPUs is rendered once for its stat and its read. */
static void cached_text(enum kind_id k, struct place *p, struct strbuf *out, size_t *ret_len)
{
	struct cached_file *c = &p->t->cached[kinds[k].cached - 1];

	pthread_mutex_lock(&c->lock);
	if (c->version != p->t->version || p->now_ns < c->from_ns || p->now_ns >= c->until_ns) {
		strbuf_reset(&c->text);
		kinds[k].render(&c->text, p);
		c->version = p->t->version;
		c->from_ns = p->now_ns;
		c->until_ns = p->until_ns;
	}
	p->until_ns = c->until_ns;
	*ret_len = c->text.len;
	if (out)
		strbuf_add(out, c->text.s, c->text.len);
	pthread_mutex_unlock(&c->lock);
}

/* Appends the whole content to out (NULL: only its length is asked for). */
static size_t whole_text(enum kind_id k, struct place *p, struct strbuf *out)
{
	struct strbuf scratch;
	size_t len;

	if (kinds[k].cached) {
		cached_text(k, p, out, &len);
		return len;
	}
	strbuf_init(&scratch, FILE_MAX);
	len = out ? out->len : 0;
	kinds[k].render(out ? out : &scratch, p);
	len = out ? out->len - len : scratch.len;
	strbuf_release(&scratch);
	return len;
}

/* All but the size of a file that is rendered. */
static void attr_of(enum kind_id k, const struct place *p, uint64_t ino, struct attr *a)
{
	*a = (struct attr){
		.ino = ino,
		.type = kinds[k].type,
		.content = kinds[k].content,
		.incarnation = kind_incarnation(k, p),
		.nlink = links_of(k, p),
		.until_ns = INT64_MAX,
		.keep_ms = p->keep_ms,
	};
	times_of(p, kinds[k].scope, a);
	if (kinds[k].content == CONTENT_ROWS) {
		a->live = is_live(p);
		a->dated = p->segment->dated;
		a->size = ROW_HEADER_LEN + p->segment->bytes;
	}
}

void place_attr(enum kind_id k, struct place *p, uint64_t ino, struct attr *a)
{
	attr_of(k, p, ino, a);
	if (!kinds[k].render)
		return;
	a->size = (int64_t)whole_text(k, p, NULL);
	a->until_ns = p->at_ns ? INT64_MAX : p->until_ns;
}

/* What has to be made before the lock is taken. */
static int node_hold(struct tree *t, const struct node *n, struct past **ret)
{
	int r = past_hold(t, n->path, NULL, ret);

	return r == -ENOENT ? -ESTALE : r;
}

int tree_attr(struct tree *t, struct node *n, struct attr *ret)
{
	struct past *past;
	struct place p;
	int r;

	if (n->kind == K_META_STATUS)
		status_refresh(t, false);
	r = node_hold(t, n, &past);
	if (r)
		return r;
	pthread_rwlock_rdlock(&t->lock);
	r = node_place(t, n, &p);
	if (!r)
		place_attr(n->kind, &p, n->ino, ret);
	pthread_rwlock_unlock(&t->lock);
	past_release(t, past);
	return r;
}

static int unit_locked(struct tree *t, struct node *n, const char **ret)
{
	struct place p;
	const char *unit;
	int r = node_place(t, n, &p);

	if (r)
		return r;
	unit = metric_unit(p.gpu->ident->id->series[p.series].metric);
	if (!strcmp(unit, "-"))
		return -ENODATA;
	*ret = unit;
	return 0;
}

int tree_unit(struct tree *t, struct node *n, const char **ret)
{
	struct past *past;
	int r;

	if (kinds[n->kind].scope != OF_SERIES)
		return -ENODATA;
	r = node_hold(t, n, &past);
	if (r)
		return r;
	pthread_rwlock_rdlock(&t->lock);
	r = unit_locked(t, n, ret);
	pthread_rwlock_unlock(&t->lock);
	past_release(t, past);
	return r;
}

/* ---- contents -------------------------------------------------------------------------------- */

static int snapshot_locked(struct tree *t, struct node *n, struct strbuf *ret,
			   struct attr *ret_attr)
{
	struct place p;
	struct attr a;
	int r = node_place(t, n, &p);

	if (r)
		return r;
	if (kinds[n->kind].cached && !t->ready)
		return -EIO;
	attr_of(n->kind, &p, n->ino, &a);
	a.size = (int64_t)whole_text(n->kind, &p, ret);
	a.until_ns = p.at_ns ? INT64_MAX : p.until_ns;
	if (ret->err)
		return ret->err;
	if (ret_attr)
		*ret_attr = a;
	return 0;
}

int tree_snapshot(struct tree *t, struct node *n, struct strbuf *ret, struct attr *ret_attr)
{
	struct past *past;
	int r;

	if (kinds[n->kind].type == NODE_DIR)
		return -EISDIR;
	if (kinds[n->kind].content != CONTENT_SNAPSHOT)
		return -EINVAL;
	if (n->kind == K_META_STATUS)
		status_refresh(t, true);
	r = node_hold(t, n, &past);
	if (r)
		return r;
	pthread_rwlock_rdlock(&t->lock);
	r = snapshot_locked(t, n, ret, ret_attr);
	pthread_rwlock_unlock(&t->lock);
	past_release(t, past);
	return r;
}

int tree_readlink(struct tree *t, struct node *n, struct strbuf *ret)
{
	struct place p;
	int r;

	if (kinds[n->kind].type != NODE_LINK)
		return -EINVAL;
	pthread_rwlock_rdlock(&t->lock);
	r = node_place(t, n, &p);
	if (!r)
		kinds[n->kind].render(ret, &p);
	pthread_rwlock_unlock(&t->lock);
	return r ? r : ret->err;
}
