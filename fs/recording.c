#include "recording.h"

#include <fcntl.h>
#include <unistd.h>

#include "clock.h"
#include "digest.h"
#include "gather.h"
#include "log.h"
#include "stats.h"
#include "window.h"

#define BATCH_SIZE 8192 /* rows of a message, as a streamer's default */
#define SEED_GPU   0x677075ULL
#define SEED_CHUNK 0x7365676dULL

/* A chunk as it would be in the store. */
struct kept {
	struct strbuf value, body;
};

struct segment_here {
	int64_t start_ns, next_seq;
};

struct gpu_here {
	struct identity *id;
	char host[NAME_MAX_ENCODED + 1], name[NAME_MAX_ENCODED + 1];
	struct map segments; /* start → struct segment_here */
};

/* Rows of one message of one GPU and segment. */
struct pair {
	struct gpu_here *gpu;
	struct segment_here *segment;
	struct gather rows;
};

struct recording {
	struct recording_conf conf;
	struct tree *tree;
	struct map chunks; /* ULID → struct kept; fixed once it is read */
	struct map gpus;   /* host, NUL, gpu, as in rows → struct gpu_here */
	int64_t now_ns, revision, rows, invalid;

	/* Of the message at hand. */
	struct pair *pairs;
	size_t n_pairs, cap_pairs;
};

/* ---- the source of bodies -------------------------------------------------------------------- */

static int fetch(const struct data_key *key, bool body, struct strbuf *ret, void *arg)
{
	struct recording *r = arg;
	const struct kept *k = map_get_str(&r->chunks, key->ulid);
	const struct strbuf *b = !k ? NULL : body ? &k->body : &k->value;

	if (!b)
		return -ENOENT;
	strbuf_add(ret, b->s, b->len);
	return ret->err;
}

static void status(struct strbuf *out, bool fresh, void *arg)
{
	const struct recording *r = arg;

	strbuf_addf(out, "etcd=none\nrecording_files=%zu\nrecording_rows_invalid=%lld\n", r->conf.n,
		    (long long)r->invalid);
	if (r->conf.hosts->n) {
		strbuf_adds(out, "only_hosts=");
		hosts_describe(r->conf.hosts, out);
		strbuf_addc(out, '\n');
	}
}

/* ---- chunks ---------------------------------------------------------------------------------- */

struct put {
	struct recording *r;
	struct pair *pair;
};

static void put_chunk(const struct chunk *c, struct slice body, void *arg)
{
	struct put *p = arg;
	struct gpu_here *g = p->pair->gpu;
	struct kept *k = xcalloc(1, sizeof(*k));
	struct data_key key = {
		.host = slice_str(g->host), .gpu = slice_str(g->name), .first_ns = c->min_ns};

	ulid_new(key.ulid);
	strbuf_init(&k->value, BATCH_RAW_MAX);
	strbuf_init(&k->body, BATCH_RAW_MAX);
	chunk_encode(&k->value, c, body);
	if (!c->has_inline_body)
		strbuf_add_slice(&k->body, body);
	map_put(&p->r->chunks, key.ulid, strlen(key.ulid), k);
	tree_put_chunk(p->r->tree, &key, c, p->r->revision,
		       (struct slice){k->value.s, k->value.len});
	p->pair->segment->next_seq += c->rows;
}

static void put_pair(struct recording *r, struct pair *pair)
{
	const struct identity *id = pair->gpu->id;
	struct put put = {r, pair};
	struct gather_place place = {
		.id = id,
		.incarnation = hash64(&pair->segment->start_ns, sizeof(int64_t),
				      id->incarnation ^ SEED_CHUNK),
		.segment_ns = pair->segment->start_ns,
		.first_seq = pair->segment->next_seq,
		.stored_ns = r->now_ns,
	};

	gather_chunks(&pair->rows, &place, put_chunk, &put);
	gather_release(&pair->rows);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Incarnations are told by names alone, so that inode numbers are the same in the next mount. */
static struct gpu_here *gpu_get(struct recording *r, const struct batch *b, struct slice gpu)
{
	struct gpu_here *g;
	struct strbuf key;

	strbuf_init(&key, 2 * BATCH_PAYLOAD_MAX);
	strbuf_add_slice(&key, b->host);
	strbuf_addc(&key, '\0');
	strbuf_add_slice(&key, gpu);
	g = map_get(&r->gpus, key.s, key.len);
	if (!g) {
		g = xcalloc(1, sizeof(*g));
		g->id = gather_identity(b, gpu, hash64(key.s, key.len, SEED_GPU) | 1);
		map_put(&r->gpus, key.s, key.len, g);
	}
	strbuf_release(&key);
	return g;
}

static struct segment_here *segment_get(struct gpu_here *g, int64_t start_ns)
{
	struct segment_here *s = map_get(&g->segments, &start_ns, sizeof(start_ns));

	if (!s) {
		s = xcalloc(1, sizeof(*s));
		s->start_ns = start_ns;
		map_put(&g->segments, &start_ns, sizeof(start_ns), s);
	}
	return s;
}

static struct pair *pair_get(struct recording *r, struct gpu_here *g, int64_t start_ns)
{
	struct segment_here *s = segment_get(g, start_ns);

	/* Neighbours in time are mostly in the same. */
	for (size_t i = r->n_pairs; i-- > 0;)
		if (r->pairs[i].segment == s)
			return &r->pairs[i];
	if (r->n_pairs == r->cap_pairs) {
		r->cap_pairs = MAX(32, 2 * r->cap_pairs);
		r->pairs = xrealloc(r->pairs, r->cap_pairs * sizeof(*r->pairs));
	}
	r->pairs[r->n_pairs] = (struct pair){.gpu = g, .segment = s};
	return &r->pairs[r->n_pairs++];
}

struct series_here {
	struct gpu_here *gpu;
	uint32_t id;
};

static void take_row(struct recording *r, const struct batch *b, const struct row *row,
		     const struct series_here *s)
{
	const struct attribution *a = &b->attributions[row->attribution];
	struct identity *id = s->gpu->id;
	bool newest = gather_is_newest(id, row->time.ns, r->now_ns);
	struct pair *p = pair_get(r, s->gpu, row->time.ns - row->time.ns % r->conf.segment_ns);

	if (newest)
		gather_note_time(id, &b->series[row->series], a, row->time.ns);
	gather_note(id, &b->series[row->series], a, newest);
	gather_add(&p->rows, row, s->id, gather_attribution(&p->rows, a));
}

static int find_series(struct recording *r, const struct batch *b, struct series_here *here,
		       struct err *e)
{
	bool added;
	int k = 0;

	for (uint32_t i = 0; i < b->n_series && k == 0; i++) {
		struct gpu_here *g = gpu_get(r, b, b->series[i].gpu);

		here[i].gpu = g;
		if (name_encode_to(g->host, b->host) || name_encode_to(g->name, b->series[i].gpu))
			return err_set(e, -EBADMSG, "hostname or gpu_id: empty or too long");
		k = gather_series(g->id, &b->series[i], &here[i].id, &added, e);
	}
	return k;
}

/* One message, as a collector stores it. */
static int take_batch(struct recording *r, const struct batch *b, struct err *e)
{
	struct series_here *here = xcalloc(b->n_series + 1, sizeof(*here));
	int k = find_series(r, b, here, e);

	r->revision++;
	for (size_t i = 0; i < b->rows.n && k == 0; i++)
		take_row(r, b, &b->rows.rows[i], &here[b->rows.rows[i].series]);
	for (size_t i = 0; i < r->n_pairs; i++)
		put_pair(r, &r->pairs[i]);
	r->n_pairs = 0;
	free(here);
	return k;
}

/* ---- messages -------------------------------------------------------------------------------- */

static bool is_shown(const struct recording *r, struct slice host)
{
	char name[NAME_MAX_ENCODED + 1];

	return name_encode_to(name, host) == 0 && hosts_match(r->conf.hosts, slice_str(name));
}

static int take_message(struct recording *r, const struct window *w, struct grouping *g, size_t i,
			struct err *e)
{
	struct batch b = {0};
	struct strbuf payload;
	int k;

	if (!is_shown(r, g->groups[i].first->host))
		return 0;
	strbuf_init(&payload, BATCH_RAW_MAX);
	window_encode(w, g, i, &payload);
	k = payload.err ? payload.err : batch_decode(payload.s, payload.len, &b, e);
	if (k == 0)
		k = take_batch(r, &b, e);
	batch_release(&b);
	strbuf_release(&payload);
	return k;
}

/* Like the collector, which puts aside what cannot be stored: logged, and not shown. */
static void take_window(struct recording *r, struct window *w)
{
	struct grouping g = {0};
	struct err e;

	window_group(w, BATCH_SIZE, r->conf.segment_ns, &g);
	for (size_t i = 0; i < g.n; i++)
		if (take_message(r, w, &g, i, &e) < 0)
			log_each(LOG_LEVEL_WARN, "rows left out: %s", e.text);
	grouping_release(&g);
	window_begin(w, w->end, w->end_line);
}

/* ---- files ----------------------------------------------------------------------------------- */

struct reading {
	struct recording *r;
	struct row_parser *rows;
	struct window window;
	bool has_header;
};

static void take_sample(struct reading *x, const struct csv_record *rec, int k,
			const struct sample *s, const struct err *e)
{
	if (k == ROW_INVALID) {
		log_each(LOG_LEVEL_WARN, "%s", e->text);
		x->r->invalid++;
	} else if (k == ROW_OK) {
		window_add(&x->window, s, s->time, rec->end, rec->next_line);
		x->r->rows++;
	}
}

static int take_record(struct reading *x, const struct csv_record *rec, struct err *e)
{
	struct sample s;
	int k = row_parse(x->rows, rec, &s, e);

	if (k == -ENOBUFS) {
		take_window(x->r, &x->window);
		row_forget(x->rows);
		k = row_parse(x->rows, rec, &s, e);
	}
	for (; k >= 0 && k != ROW_END; k = row_more(x->rows, rec, &s, e))
		take_sample(x, rec, k, &s, e);
	if (window_full(&x->window, WINDOW_ROWS))
		take_window(x->r, &x->window);
	return MIN(k, 0);
}

static int take_event(struct reading *x, int event, const struct csv_record *rec, struct err *e)
{
	int k = 0;

	if (event == CSV_INVALID && !x->has_header)
		return -EBADMSG;
	if (event == CSV_INVALID) {
		log_each(LOG_LEVEL_WARN, "%s", e->text);
		x->r->invalid++;
	} else if (x->has_header) {
		k = take_record(x, rec, e);
	} else {
		k = row_header(x->rows, rec, e);
		x->has_header = k == 0;
		window_begin(&x->window, rec->end, rec->next_line);
	}
	return k;
}

static int read_all(struct reading *x, const char *path, struct csv *csv, struct err *e)
{
	struct csv_record rec;
	int event, k = 0;

	while (k == 0 && (event = csv_next(csv, &rec, e)) != CSV_END)
		k = event < 0 ? event : take_event(x, event, &rec, e);
	if (k == 0 && !x->has_header)
		k = err_set(e, -ENODATA, "%s: empty: not even a header", path);
	if (k == 0)
		take_window(x->r, &x->window);
	return k;
}

static int read_file(struct recording *r, const char *path, struct err *e)
{
	struct csv_conf conf = {.name = path};
	struct reading x = {.r = r};
	struct csv *csv = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC), k;

	if (fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	k = csv_open(&csv, fd, &conf);
	if (k < 0)
		err_set(e, k, "%s: %s", path, strerror(-k));
	x.rows = row_parser_new(&(struct row_conf){.name = path});
	window_init(&x.window);
	if (k == 0)
		k = read_all(&x, path, csv, e);
	window_release(&x.window);
	row_parser_free(x.rows);
	csv_close(csv);
	close(fd);
	return k;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void put_identities(struct recording *r)
{
	map_each (&r->gpus, i) {
		const struct gpu_here *g = r->gpus.entries[i].value;

		tree_put_identity(r->tree, identity_copy(g->id), r->revision, r->revision);
	}
}

static int read_files(struct recording *r, struct err *e)
{
	int k = 0;

	tree_set_segment_length(r->tree, r->conf.segment_ns);
	tree_list_begin(r->tree);
	for (size_t i = 0; i < r->conf.n && k == 0; i++)
		k = read_file(r, r->conf.files[i], e);
	if (k < 0)
		return k;
	put_identities(r);
	tree_list_end(r->tree, r->revision);
	log_info("%lld rows of %zu files", (long long)r->rows, r->conf.n);
	return 0;
}

int recording_open(struct recording **ret, const struct recording_conf *conf, struct err *e)
{
	struct recording *r = xcalloc(1, sizeof(*r));
	struct tree_conf tree = {
		.stale_after_ms = conf->stale_after_ms,
		.cache_bytes = conf->cache_bytes,
		.source = {fetch, r},
		.status = status,
		.status_arg = r,
	};
	int k;

	r->conf = *conf;
	r->now_ns = wall_now_ns();
	r->tree = tree_new(&tree);
	k = read_files(r, e);
	if (k < 0)
		recording_close(r);
	else
		*ret = r;
	if (!k)
		stats_hook(tree_report, r->tree);
	return k;
}

static void gpu_here_free(struct gpu_here *g)
{
	map_each (&g->segments, i)
		free(g->segments.entries[i].value);
	map_release(&g->segments);
	identity_free(g->id);
	free(g);
}

void recording_close(struct recording *r)
{
	if (!r)
		return;
	stats_unhook(tree_report, r->tree);
	tree_free(r->tree);
	map_each (&r->chunks, i) {
		struct kept *k = r->chunks.entries[i].value;

		strbuf_release(&k->value);
		strbuf_release(&k->body);
		free(k);
	}
	map_each (&r->gpus, i)
		gpu_here_free(r->gpus.entries[i].value);
	map_release(&r->chunks);
	map_release(&r->gpus);
	free(r->pairs);
	free(r);
}

struct tree *recording_tree(struct recording *r)
{
	return r->tree;
}
