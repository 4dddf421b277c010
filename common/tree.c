/* Feeding: operations are staged by a commit and applied in one step, or applied at once to a model
 * of their own by a list, which then takes the place of the old one. */
#include "stats.h"
#include "tree_past.h"

/* In the order in which the kinds of one commit are applied: chunks count by their identity, and a
 * merged chunk stands before its parts go. */
enum op_kind { OP_IDENTITY, OP_PUT_CHUNK, OP_DROP_CHUNK, OP_KINDS };

struct op {
	struct op *next;
	enum op_kind kind;
	struct identity *identity; /* OP_IDENTITY: put; NULL: drop */
	int64_t revision;
	struct data_key key; /* of an identity: host and gpu only */
	struct chunk chunk;
};

/* ---- a tree ---------------------------------------------------------------------------------- */

static void lock_init(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t a;

	pthread_rwlockattr_init(&a);
	/* Readers that never pause must not keep the feed waiting. */
	pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &a);
	pthread_rwlockattr_destroy(&a);
}

static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t a;

	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &a);
	pthread_condattr_destroy(&a);
}

struct tree *tree_new(const struct tree_conf *conf)
{
	struct tree *t = xcalloc(1, sizeof(*t));

	t->conf = *conf;
	t->started_ns = wall_now_ns();
	t->cache = text_cache_new(conf->cache_bytes);
	t->model = model_new();
	t->pasts = pasts_new();
	t->ops_end = &t->ops;
	lock_init(&t->lock);
	cond_init(&t->commit_cond);
	pthread_mutex_init(&t->commit_lock, NULL);
	pthread_mutex_init(&t->node_lock, NULL);
	pthread_mutex_init(&t->status_lock, NULL);
	strbuf_init(&t->status, FILE_MAX);
	for (int i = 0; i < CACHED_FILES; i++) {
		pthread_mutex_init(&t->cached[i].lock, NULL);
		strbuf_init(&t->cached[i].text, FILE_MAX);
	}
	nodes_init(t);
	return t;
}

void tree_set_cache(struct tree *t, size_t bytes)
{
	text_cache_resize(t->cache, bytes);
}

void tree_set_stale_after(struct tree *t, int64_t ms)
{
	pthread_rwlock_wrlock(&t->lock);
	t->conf.stale_after_ms = ms;
	t->version++; /* files over all GPUs are made anew */
	pthread_rwlock_unlock(&t->lock);
}

static void op_free(struct op *op)
{
	identity_free(op->identity);
	free(op);
}

static void drop_ops(struct tree *t)
{
	while (t->ops) {
		struct op *op = t->ops;

		t->ops = op->next;
		op_free(op);
	}
	t->ops_end = &t->ops;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	drop_ops(t);
	model_free(t->fresh);
	model_free(t->model);
	pasts_free(t->pasts);
	text_cache_free(t->cache);
	nodes_release(t);
	for (int i = 0; i < CACHED_FILES; i++) {
		pthread_mutex_destroy(&t->cached[i].lock);
		strbuf_release(&t->cached[i].text);
	}
	strbuf_release(&t->status);
	pthread_mutex_destroy(&t->status_lock);
	pthread_mutex_destroy(&t->node_lock);
	pthread_mutex_destroy(&t->commit_lock);
	pthread_cond_destroy(&t->commit_cond);
	pthread_rwlock_destroy(&t->lock);
	free(t);
}

/* ---- staging --------------------------------------------------------------------------------- */

/* One block holds an op, its tables and its texts; cut off from the front. */
struct arena {
	char *p;
};

static void *arena_copy(struct arena *a, const void *p, size_t n)
{
	void *copy = a->p;

	if (n)
		memcpy(copy, p, n);
	a->p += n;
	return copy;
}

static struct slice arena_slice(struct arena *a, struct slice s)
{
	return (struct slice){arena_copy(a, s.p, s.len), s.len};
}

static size_t tables_size(const struct chunk *c)
{
	return c->n_attributions * sizeof(*c->attributions) + c->n_series * sizeof(*c->series) +
	       c->n_commits * sizeof(*c->commits);
}

static size_t texts_size(const struct data_key *key, const struct chunk *c)
{
	size_t n = key->host.len + key->gpu.len;

	for (uint32_t i = 0; i < c->n_attributions; i++)
		n += c->attributions[i].uuid.len + c->attributions[i].container.len +
		     c->attributions[i].pod.len + c->attributions[i].namespace.len;
	for (uint32_t i = 0; i < c->n_series; i++)
		n += c->series[i].value.len;
	return n;
}

static void copy_texts(struct arena *a, struct chunk *c)
{
	for (uint32_t i = 0; i < c->n_attributions; i++) {
		struct attribution *at = &c->attributions[i];

		at->uuid = arena_slice(a, at->uuid);
		at->container = arena_slice(a, at->container);
		at->pod = arena_slice(a, at->pod);
		at->namespace = arena_slice(a, at->namespace);
	}
	for (uint32_t i = 0; i < c->n_series; i++)
		c->series[i].value = arena_slice(a, c->series[i].value);
	c->inline_body = (struct slice){0};
}

/* A copy of all that the model looks at. */
static struct op *op_new(enum op_kind kind, const struct data_key *key, const struct chunk *c)
{
	struct op *op = xcalloc(1, sizeof(*op) + tables_size(c) + texts_size(key, c));
	struct arena a = {(char *)(op + 1)};

	op->kind = kind;
	op->chunk = *c;
	op->chunk.commits = arena_copy(&a, c->commits, c->n_commits * sizeof(*c->commits));
	op->chunk.series = arena_copy(&a, c->series, c->n_series * sizeof(*c->series));
	op->chunk.attributions =
		arena_copy(&a, c->attributions, c->n_attributions * sizeof(*c->attributions));
	copy_texts(&a, &op->chunk);
	op->key = *key;
	op->key.host = arena_slice(&a, key->host);
	op->key.gpu = arena_slice(&a, key->gpu);
	return op;
}

static void stage(struct tree *t, struct op *op)
{
	*t->ops_end = op;
	t->ops_end = &op->next;
}

void tree_put_identity(struct tree *t, struct identity *id, int64_t create_rev, int64_t mod_rev)
{
	struct op *op;

	if (t->fresh) {
		model_put_identity(t->fresh, id, mod_rev);
		return;
	}
	op = op_new(OP_IDENTITY, &(struct data_key){0}, &(struct chunk){0});
	op->identity = id;
	op->revision = mod_rev;
	stage(t, op);
}

void tree_drop_identity(struct tree *t, struct slice host, struct slice gpu)
{
	struct data_key key = {.host = host, .gpu = gpu};

	if (t->fresh)
		model_drop_identity(t->fresh, host, gpu);
	else
		stage(t, op_new(OP_IDENTITY, &key, &(struct chunk){0}));
}

static void keep_value(struct tree *t, const struct data_key *key, struct slice value)
{
	uint8_t id[TEXT_ID_LEN];

	ulid_to_id(key->ulid, id);
	text_cache_put_value(t->cache, id, value);
}

void tree_put_chunk(struct tree *t, const struct data_key *key, const struct chunk *c,
		    int64_t create_rev, struct slice inline_value)
{
	struct op *op;

	/* Of a list only what is likely to be read soon. */
	if (c->has_inline_body && inline_value.len && !(t->fresh && c->sealed))
		keep_value(t, key, inline_value);
	if (t->fresh) {
		model_put_chunk(t->fresh, key, c, create_rev);
		return;
	}
	op = op_new(OP_PUT_CHUNK, key, c);
	op->revision = create_rev;
	stage(t, op);
}

void tree_drop_chunk(struct tree *t, const struct data_key *key)
{
	if (t->fresh)
		model_drop_chunk(t->fresh, key);
	else
		stage(t, op_new(OP_DROP_CHUNK, key, &(struct chunk){0}));
}

void tree_set_segment_length(struct tree *t, int64_t segment_ns)
{
	pthread_rwlock_wrlock(&t->lock);
	t->segment_ns = segment_ns;
	pthread_rwlock_unlock(&t->lock);
}

/* ---- becoming visible ------------------------------------------------------------------------ */

static void apply(struct model *m, struct op *op)
{
	switch (op->kind) {
	case OP_IDENTITY:
		if (op->identity)
			model_put_identity(m, TAKE_PTR(op->identity), op->revision);
		else
			model_drop_identity(m, op->key.host, op->key.gpu);
		break;
	case OP_PUT_CHUNK:
		model_put_chunk(m, &op->key, &op->chunk, op->revision);
		break;
	case OP_DROP_CHUNK:
		model_drop_chunk(m, &op->key);
		break;
	case OP_KINDS:
		break;
	}
}

static void apply_ops(struct tree *t)
{
	for (enum op_kind kind = 0; kind < OP_KINDS; kind++)
		for (struct op *op = t->ops; op; op = op->next)
			if (op->kind == kind)
				apply(t->model, op);
}

static void forget_texts(struct tree *t)
{
	for (struct op *op = t->ops; op; op = op->next) {
		uint8_t id[TEXT_ID_LEN];

		if (op->kind != OP_DROP_CHUNK)
			continue;
		ulid_to_id(op->key.ulid, id);
		text_cache_drop(t->cache, id);
	}
}

static void announce(struct tree *t, struct changes *ch)
{
	struct watcher watchers[TREE_WATCHERS];
	int64_t revision = t->revision;
	size_t n;

	pthread_mutex_lock(&t->commit_lock);
	n = t->n_watchers;
	memcpy(watchers, t->watchers, sizeof(watchers));
	t->commits++;
	pthread_cond_broadcast(&t->commit_cond);
	pthread_mutex_unlock(&t->commit_lock);
	for (size_t i = 0; i < n; i++)
		watchers[i].fn(revision, ch->list, ch->n, watchers[i].arg);
	changes_release(ch);
}

void tree_commit(struct tree *t, int64_t revision)
{
	struct changes ch = {.off = !t->ready};

	pthread_rwlock_wrlock(&t->lock);
	apply_ops(t);
	t->model->revision = revision;
	model_publish(t->model, &ch);
	t->revision = revision;
	t->version += t->ops != NULL;
	pthread_rwlock_unlock(&t->lock);
	forget_texts(t);
	drop_ops(t);
	announce(t, &ch);
}

void tree_put_latest(struct tree *t, const struct latest_found *f)
{
	struct changes ch = {.off = !t->ready};

	pthread_rwlock_wrlock(&t->lock);
	latest_put(t->model, f);
	model_publish(t->model, &ch);
	t->version++;
	pthread_rwlock_unlock(&t->lock);
	announce(t, &ch);
}

void tree_list_begin(struct tree *t)
{
	model_free(t->fresh);
	drop_ops(t);
	t->fresh = model_new();
	t->fresh->listing = true;
}

void tree_list_end(struct tree *t, int64_t revision)
{
	struct changes ch = {.off = !t->ready};
	struct model *m = TAKE_PTR(t->fresh), *old = t->model;

	if (!m)
		return;
	m->revision = revision;
	model_inherit(m, old, &ch);
	model_publish(m, &ch);
	m->newest_rev = MAX(m->newest_rev, old->newest_rev);
	m->listing = false;
	pthread_rwlock_wrlock(&t->lock);
	t->model = m;
	t->ready = true;
	t->revision = revision;
	t->version++;
	pthread_rwlock_unlock(&t->lock);
	announce(t, &ch);
	model_free(old);
}

bool tree_has_gap(struct tree *t)
{
	bool gap;

	pthread_rwlock_rdlock(&t->lock);
	gap = model_has_gap(t->model);
	pthread_rwlock_unlock(&t->lock);
	return gap;
}

void tree_watch(struct tree *t,
		void (*fn)(int64_t revision, const struct change *c, size_t n, void *arg),
		void *arg)
{
	pthread_mutex_lock(&t->commit_lock);
	if (t->n_watchers < TREE_WATCHERS)
		t->watchers[t->n_watchers++] = (struct watcher){fn, arg};
	pthread_mutex_unlock(&t->commit_lock);
}

/* ---- figures --------------------------------------------------------------------------------- */

int64_t tree_revision(struct tree *t)
{
	int64_t revision;

	pthread_rwlock_rdlock(&t->lock);
	revision = t->revision;
	pthread_rwlock_unlock(&t->lock);
	return revision;
}

void tree_stats(struct tree *t, struct tree_stats *ret)
{
	struct text_cache_stats cache;

	text_cache_stats(t->cache, &cache);
	pthread_rwlock_rdlock(&t->lock);
	*ret = (struct tree_stats){
		.hosts = model_hosts(t->model),
		.gpus = t->model->n_gpus,
		.series = t->model->counts.series,
		.segments = t->model->counts.segments,
		.chunks = t->model->counts.chunks,
		.rows = t->model->counts.rows,
		.cache_bytes = cache.bytes,
		.cache_hits = cache.hits,
		.cache_misses = cache.misses,
	};
	pthread_rwlock_unlock(&t->lock);
	pthread_mutex_lock(&t->node_lock);
	ret->nodes = map_count(&t->nodes);
	pthread_mutex_unlock(&t->node_lock);
}

void tree_report(void *tree)
{
	struct tree_stats s;

	tree_stats(tree, &s);
	const struct {
		enum stat_id id;
		uint64_t value;
	} figures[] = {
		{STAT_HOSTS, s.hosts},           {STAT_GPUS, s.gpus},
		{STAT_SERIES, s.series},         {STAT_CHUNKS, s.chunks},
		{STAT_STORED_ROWS, s.rows},      {STAT_CACHE_BYTES, s.cache_bytes},
		{STAT_CACHE_HITS, s.cache_hits}, {STAT_CACHE_MISSES, s.cache_misses},
	};

	for (size_t i = 0; i < ARRAY_SIZE(figures); i++)
		stats_set(figures[i].id, (int64_t)figures[i].value);
	stats_set(STAT_REVISION, tree_revision(tree));
}

uint64_t tree_commits(struct tree *t)
{
	uint64_t n;

	pthread_mutex_lock(&t->commit_lock);
	n = t->commits;
	pthread_mutex_unlock(&t->commit_lock);
	return n;
}

void tree_wait_commit(struct tree *t, uint64_t seen, int64_t ms)
{
	int64_t at = mono_now().ns + ms * NS_PER_MS;
	struct timespec until = {at / NS_PER_SEC, at % NS_PER_SEC};
	int r = 0;

	pthread_mutex_lock(&t->commit_lock);
	while (t->commits == seen && r == 0)
		r = pthread_cond_timedwait(&t->commit_cond, &t->commit_lock, &until);
	pthread_mutex_unlock(&t->commit_lock);
}
