#include "view.h"

#include "clock.h"
#include "digest.h"
#include "figures.h"
#include "json.h"
#include "log.h"
#include "stats.h"

#include <pthread.h>

#define TICK_MS         500
#define LATEST_TRIES    10
#define FIGURES_WAIT_MS 1000 /* a reader of .meta/status waits that long for figures of now */
#define FIGURES_ASK_MS  5000 /* and for that long after it they are kept up to date */
#define FIGURES_AGE_MS  1000
#define RELIST_MIN_MS   5000 /* between two lists on account of gaps, */
#define RELIST_FACTOR   20   /* and so many times as long as the last list took */
#define COMPLAINTS_MAX  1024 /* values that are remembered as complained about */
#define COMPLAINTS_RATE 20   /* a minute */

struct view {
	struct etcd *etcd;
	struct tree *tree;
	struct etcd_mirror *mirror;
	const struct hosts *hosts; /* to be shown */

	/* The mirror's thread. */
	struct map complained; /* keys whose value could not be decoded */
	struct mono complaints_since;
	int complaints;
	struct mono list_began;
	int64_t shown_rev; /* newest that was committed */

	pthread_mutex_t feeding; /* of the tree: by the mirror, and by what was looked up */

	pthread_t thread; /* gaps and figures */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* something below */
	bool stop, ready;
	uint64_t asked, answered; /* readings of figures */
	struct mono asked_at, read_at;
	struct figures figures;
	bool have_figures;
	int64_t list_ms; /* the last list took */
};

/* ---- values ---------------------------------------------------------------------------------- */

/* Once for each value, and not a flood of them. */
static void complain(struct view *v, struct slice key, const struct err *e)
{
	if (map_get(&v->complained, key.p, key.len) || map_count(&v->complained) >= COMPLAINTS_MAX)
		return;
	if (v->complaints == 0 || mono_ms_since(v->complaints_since) > 60000) {
		v->complaints_since = mono_now();
		v->complaints = 0;
	}
	if (v->complaints++ >= COMPLAINTS_RATE)
		return;
	map_put(&v->complained, key.p, key.len, v);
	log_warn("%.*s: left out: %s", (int)key.len, key.p, e->text);
}

static void put_chunk(struct view *v, const struct etcd_kv *kv)
{
	struct chunk c = {0};
	struct data_key key;
	struct err e = {"not a chunk's key"};

	if (key_parse_data(kv->key, &key) == 0 && !hosts_match(v->hosts, key.host))
		return;
	if (key_parse_data(kv->key, &key) || chunk_decode(kv->value, &c, &e))
		complain(v, kv->key, &e);
	else
		tree_put_chunk(v->tree, &key, &c, kv->create_rev, kv->value);
	chunk_release(&c);
}

static bool is_named(struct slice encoded, const char *plain)
{
	char name[NAME_MAX_ENCODED + 1];

	return name_encode_to(name, slice_str(plain)) == 0 && slice_eq(encoded, slice_str(name));
}

static void put_identity(struct view *v, const struct etcd_kv *kv)
{
	struct err e = {"not the key of its hostname and gpu_id"};
	struct slice host, gpu;
	struct identity *id = NULL;

	if (key_parse_gpu(kv->key, &host, &gpu) == 0 && !hosts_match(v->hosts, host))
		return;
	if (identity_decode(kv->value, &id, &e) == 0) {
		if (key_parse_gpu(kv->key, &host, &gpu) == 0 && is_named(host, id->host) &&
		    is_named(gpu, id->gpu)) {
			tree_put_identity(v->tree, id, kv->create_rev, kv->mod_rev);
			return;
		}
		identity_free(id);
	}
	complain(v, kv->key, &e);
}

static void put_config(struct view *v, const struct etcd_kv *kv)
{
	struct json *doc;
	struct err e;
	int64_t s;

	if (json_parse(kv->value.p, kv->value.len, &doc, &e)) {
		complain(v, kv->key, &e);
		return;
	}
	s = json_int(json_get(doc, "segment_s"), 0);
	if (s > 0 && s <= 86400)
		tree_set_segment_length(v->tree, s * NS_PER_SEC);
	json_free(doc);
}

static void drop_chunk(struct view *v, const struct etcd_kv *kv)
{
	struct data_key key;

	if (key_parse_data(kv->key, &key) == 0)
		tree_drop_chunk(v->tree, &key);
}

static void drop_identity(struct view *v, const struct etcd_kv *kv)
{
	struct slice host, gpu;

	if (key_parse_gpu(kv->key, &host, &gpu) == 0)
		tree_drop_identity(v->tree, host, gpu);
}

/* What the mirrored range holds; other keys in it are not ours to read. */
static const struct {
	const char *prefix;
	void (*put)(struct view *v, const struct etcd_kv *kv);
	void (*drop)(struct view *v, const struct etcd_kv *kv); /* NULL: stays as it was */
} handlers[] = {
	{KEY_DATA, put_chunk, drop_chunk},
	{KEY_GPUS, put_identity, drop_identity},
	{KEY_CONFIG, put_config, NULL},
};

static void apply(struct view *v, const struct etcd_kv *kv, bool deleted)
{
	for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
		size_t n = strlen(handlers[i].prefix);

		if (kv->key.len < n || memcmp(kv->key.p, handlers[i].prefix, n))
			continue;
		if (!deleted)
			handlers[i].put(v, kv);
		else if (handlers[i].drop)
			handlers[i].drop(v, kv);
		return;
	}
}

/* ---- the mirror's callbacks ------------------------------------------------------------------ */

static void on_list_begin(int64_t rev, void *arg)
{
	struct view *v = arg;

	v->list_began = mono_now();
	tree_list_begin(v->tree);
}

static void on_list_kv(const struct etcd_kv *kv, void *arg)
{
	apply(arg, kv, false);
}

static void on_list_end(int64_t rev, void *arg)
{
	struct view *v = arg;

	stats_add(STAT_WATCH_LISTS, 1);
	pthread_mutex_lock(&v->feeding);
	tree_list_end(v->tree, rev);
	pthread_mutex_unlock(&v->feeding);
	v->shown_rev = rev;
	pthread_mutex_lock(&v->lock);
	v->ready = true;
	v->list_ms = mono_ms_since(v->list_began);
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
}

static void show(struct view *v, int64_t rev)
{
	v->shown_rev = MAX(v->shown_rev, rev);
	pthread_mutex_lock(&v->feeding);
	tree_commit(v->tree, v->shown_rev);
	pthread_mutex_unlock(&v->feeding);
}

/* A chunk is named when it is made, right before it is committed. */
static void measure_lag(const struct etcd_event *events, size_t n)
{
	struct data_key key;

	for (size_t i = 0; i < n; i++) {
		if (events[i].deleted || key_parse_data(events[i].kv.key, &key))
			continue;
		stats_observe(STAT_WATCH_LAG,
			      MAX(wall_now_ns() / 1000 - ulid_ms(key.ulid) * 1000, 0));
		return;
	}
}

static void on_commit(int64_t rev, const struct etcd_event *events, size_t n, void *arg)
{
	struct view *v = arg;

	for (size_t i = 0; i < n; i++)
		apply(v, &events[i].kv, events[i].deleted);
	show(v, rev);
	measure_lag(events, n);
}

static void on_progress(int64_t rev, void *arg)
{
	struct view *v = arg;

	show(v, rev);
}

static const struct etcd_mirror_ops mirror_ops = {
	.list_begin = on_list_begin,
	.list_kv = on_list_kv,
	.list_end = on_list_end,
	.commit = on_commit,
	.progress = on_progress,
};

/* ---- the tree's callbacks -------------------------------------------------------------------- */

static int fetch_key(struct view *v, const char *key, struct strbuf *ret)
{
	struct etcd_reply reply = {0};
	int r = etcd_get(v->etcd, key, NULL, 0, 0, 0, &reply, NULL);

	if (r)
		return r;
	if (reply.ranges[0].n)
		strbuf_add_slice(ret, reply.ranges[0].kvs[0].value);
	else
		r = -ENOENT;
	etcd_reply_release(&reply);
	return r ? r : ret->err;
}

static int fetch(const struct data_key *key, bool body, struct strbuf *ret, void *arg)
{
	char *host = xstrndup(key->host.p, key->host.len);
	char *gpu = xstrndup(key->gpu.p, key->gpu.len);
	struct key k = body ? key_body(host, gpu, key->first_ns, key->ulid)
			    : key_data(host, gpu, key->first_ns, key->ulid);

	free(host);
	free(gpu);
	return fetch_key(arg, k.s, ret);
}

static struct timespec timespec_of(struct mono t)
{
	return (struct timespec){t.ns / NS_PER_SEC, t.ns % NS_PER_SEC};
}

/* Asks the thread for figures and waits for them a little. Under the lock. */
static void wait_figures(struct view *v)
{
	int64_t ms = MIN(FIGURES_WAIT_MS, etcd_request_timeout_ms(v->etcd));
	struct timespec until = timespec_of(mono_in_ms(ms));
	uint64_t mine = ++v->asked;
	int r = 0;

	pthread_cond_broadcast(&v->changed);
	while (v->answered < mine && !v->stop && r == 0)
		r = pthread_cond_timedwait(&v->changed, &v->lock, &until);
}

static void add_reachability(struct strbuf *out, bool up, int64_t since_ns)
{
	char text[STAMP_MAX];
	size_t n = stamp_format((struct stamp){since_ns, 3}, text);

	strbuf_addf(out, "etcd=%s\n", up ? "up" : "down");
	if (!up)
		strbuf_addf(out, "etcd_down_since=%.*s\n", (int)n, text);
}

static bool take_figures(struct view *v, bool fresh, struct figures *ret)
{
	bool have;

	pthread_mutex_lock(&v->lock);
	v->asked_at = mono_now();
	if (fresh)
		wait_figures(v);
	have = v->have_figures;
	if (have)
		*ret = v->figures;
	pthread_mutex_unlock(&v->lock);
	return have;
}

static void status(struct strbuf *out, bool fresh, void *arg)
{
	struct view *v = arg;
	struct figures f;
	int64_t since = 0;
	bool up = etcd_is_up(v->etcd, &since);

	add_reachability(out, up, since);
	if (v->hosts->n) {
		strbuf_adds(out, "only_hosts=");
		hosts_describe(v->hosts, out);
		strbuf_addc(out, '\n');
	}
	if (take_figures(v, fresh && up, &f))
		figures_render(out, &f);
}

bool view_figures(struct view *v, struct figures *ret)
{
	return take_figures(v, etcd_is_up(v->etcd, NULL), ret);
}

/* ---- the thread: gaps and figures ------------------------------------------------------------ */

static bool figures_due(const struct view *v)
{
	if (v->answered < v->asked)
		return true;
	return v->asked_at.ns && mono_ms_since(v->asked_at) < FIGURES_ASK_MS &&
	       mono_ms_since(v->read_at) >= FIGURES_AGE_MS;
}

/* Under the lock, which it lets go while it waits for etcd. */
static void read_figures(struct view *v)
{
	uint64_t asked = v->asked;
	struct figures f;
	int r;

	pthread_mutex_unlock(&v->lock);
	r = figures_read(v->etcd, &f, NULL);
	pthread_mutex_lock(&v->lock);
	if (!r) {
		v->figures = f;
		v->have_figures = true;
	}
	v->answered = asked;
	v->read_at = mono_now();
	pthread_cond_broadcast(&v->changed);
}

/* Where that does not help in LATEST_TRIES ticks, a list does. */
static bool mend_latest(struct view *v, int *tries)
{
	struct latest_found *found = NULL;

	if (!tree_seeks_latest(v->tree)) {
		*tries = 0;
		return true;
	}
	if (tree_find_latest(v->tree, &found))
		return ++*tries <= LATEST_TRIES;
	pthread_mutex_lock(&v->feeding);
	tree_put_latest(v->tree, found);
	pthread_mutex_unlock(&v->feeding);
	tree_latest_free(found);
	return true;
}

static void mend_gap(struct view *v, struct mono *last, bool incomplete)
{
	int64_t pause;

	pthread_mutex_lock(&v->lock);
	pause = MAX(RELIST_MIN_MS, RELIST_FACTOR * v->list_ms);
	pthread_mutex_unlock(&v->lock);
	if ((last->ns && mono_ms_since(*last) < pause) || !(incomplete || tree_has_gap(v->tree)))
		return;
	*last = mono_now();
	log_info("the store's copy here has a gap, listing again");
	etcd_mirror_relist(v->mirror);
}

static void *run(void *arg)
{
	struct view *v = arg;
	struct mono relisted = {0}, tick = mono_in_ms(TICK_MS);
	int latest_tries = 0;

	pthread_mutex_lock(&v->lock);
	while (!v->stop) {
		struct timespec until = timespec_of(tick);

		if (figures_due(v))
			read_figures(v);
		else
			pthread_cond_timedwait(&v->changed, &v->lock, &until);
		if (v->stop || mono_ms_until(tick))
			continue;
		pthread_mutex_unlock(&v->lock);
		mend_gap(v, &relisted, !mend_latest(v, &latest_tries));
		tick = mono_in_ms(TICK_MS);
		pthread_mutex_lock(&v->lock);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void report(void *arg)
{
	struct view *v = arg;

	stats_set(STAT_ETCD_UP, etcd_is_up(v->etcd, NULL));
	tree_report(v->tree);
}

static void sync_init(struct view *v)
{
	pthread_condattr_t a;

	pthread_mutex_init(&v->lock, NULL);
	pthread_mutex_init(&v->feeding, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&v->changed, &a);
	pthread_condattr_destroy(&a);
}

static void view_free(struct view *v)
{
	tree_free(v->tree);
	map_release(&v->complained);
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->feeding);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

int view_open(struct view **ret, struct etcd *c, int64_t stale_after_ms, size_t cache_bytes,
	      struct err *e)
{
	static const struct hosts all;

	return view_open_hosts(ret, c, stale_after_ms, cache_bytes, &all, e);
}

static int mirror_start(struct view *v, struct err *e)
{
	struct hosts_spans *spans = xcalloc(1, sizeof(*spans));
	int r;

	hosts_spans(v->hosts, spans);
	r = etcd_mirror_start_ranges(&v->mirror, v->etcd, spans->list, spans->n, &mirror_ops, v, e);
	free(spans);
	return r;
}

int view_open_hosts(struct view **ret, struct etcd *c, int64_t stale_after_ms, size_t cache_bytes,
		    const struct hosts *hosts, struct err *e)
{
	struct view *v = xcalloc(1, sizeof(*v));
	struct tree_conf conf = {
		.stale_after_ms = stale_after_ms,
		.cache_bytes = cache_bytes,
		.source = {fetch, v},
		.status = status,
		.status_arg = v,
	};
	int r;

	v->etcd = c;
	v->hosts = hosts;
	sync_init(v);
	v->tree = tree_new(&conf);
	r = mirror_start(v, e);
	if (!r) {
		r = -pthread_create(&v->thread, NULL, run, v);
		if (r) {
			etcd_mirror_stop(v->mirror);
			err_set(e, r, "cannot start a thread: %s", strerror(-r));
		}
	}
	if (r) {
		view_free(v);
		return r;
	}
	stats_hook(report, v);
	*ret = v;
	return 0;
}

void view_close(struct view *v)
{
	if (!v)
		return;
	stats_unhook(report, v);
	pthread_mutex_lock(&v->lock);
	v->stop = true;
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	etcd_mirror_stop(v->mirror);
	view_free(v);
}

struct tree *view_tree(struct view *v)
{
	return v->tree;
}

/* Each commit also puts its collector's counters. */
int view_newest(struct view *v, int64_t *ret_newest, int64_t *ret_last_commit)
{
	struct etcd_reply reply = {0};
	int64_t last = 0;
	int r = etcd_get(v->etcd, KEY_STATS, key_prefix_end(KEY_STATS).s, 0, 0, ETCD_KEYS_ONLY,
			 &reply, NULL);

	if (r)
		return r;
	for (size_t i = 0; i < reply.ranges[0].n; i++)
		last = MAX(last, reply.ranges[0].kvs[i].mod_rev);
	*ret_newest = reply.revision;
	*ret_last_commit = last;
	etcd_reply_release(&reply);
	return 0;
}

bool view_wait_ready(struct view *v, int64_t ms)
{
	struct timespec until = timespec_of(mono_in_ms(ms));
	bool ready;
	int r = 0;

	pthread_mutex_lock(&v->lock);
	while (!v->ready && !v->stop && r == 0)
		r = pthread_cond_timedwait(&v->changed, &v->lock, &until);
	ready = v->ready;
	pthread_mutex_unlock(&v->lock);
	return ready;
}
