#include "feed.h"

#include "digest.h"
#include "render.h"
#include "test.h"

#include <stdio.h>

/* ---- the store ------------------------------------------------------------------------------- */

void feed_store_init(struct feed_store *s)
{
	*s = (struct feed_store){0};
	pthread_mutex_init(&s->lock, NULL);
	if (digest_init())
		abort();
}

void feed_store_release(struct feed_store *s)
{
	map_release(&s->values);
	pthread_mutex_destroy(&s->lock);
}

static int fetch(const struct data_key *key, bool body, struct strbuf *ret, void *arg)
{
	struct feed_store *s = arg;
	const struct feed_chunk *c;
	int r;

	pthread_mutex_lock(&s->lock);
	c = map_get_str(&s->values, key->ulid);
	s->fetches++;
	r = s->fail ? s->fail : c ? 0 : -ENOENT;
	if (!r)
		strbuf_add(ret, body ? c->body.s : c->value.s, body ? c->body.len : c->value.len);
	pthread_mutex_unlock(&s->lock);
	return r;
}

struct tree *feed_tree(struct feed_store *s)
{
	return tree_new(&(struct tree_conf){
		.stale_after_ms = 60000,
		.cache_bytes = 1 << 20,
		.source = {fetch, s},
	});
}

/* ---- a GPU ----------------------------------------------------------------------------------- */

struct feed *feed_new(const char *host, const char *gpu, const char *uuid)
{
	struct feed *f = xcalloc(1, sizeof(*f));

	f->id = identity_new(slice_str(host), slice_str(gpu), random_u64(),
			     SLICE_LIT("job=\"dcgm\""));
	free(f->id->uuid);
	f->id->uuid = xstrdup(uuid);
	if (name_encode_to(f->host, slice_str(host)) || name_encode_to(f->gpu, slice_str(gpu)))
		abort();
	return f;
}

void feed_free(struct feed *f)
{
	while (f->chunks) {
		struct feed_chunk *c = f->chunks;

		f->chunks = c->next;
		strbuf_release(&c->value);
		strbuf_release(&c->body);
		free(c->rows);
		free(c);
	}
	identity_free(f->id);
	free(f);
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* A chunk being put together, with tables that are large enough. */
struct making {
	struct chunk c;
	struct row rows[FEED_ROWS];
	struct chunk_series series[64];
	struct attribution attributions[16];
	uint32_t ids[64];
};

static uint32_t series_of(struct making *m, struct feed *f, const struct feed_row *row)
{
	const char *labels = row->labels ? row->labels : "";
	uint32_t id, i;

	if (identity_series(f->id, slice_str(row->metric), slice_str(labels), &id, NULL))
		abort();
	for (i = 0; i < m->c.n_series && m->series[i].id < id; i++)
		;
	if (i < m->c.n_series && m->series[i].id == id)
		return i;
	memmove(m->series + i + 1, m->series + i, (m->c.n_series++ - i) * sizeof(m->series[0]));
	m->series[i] = (struct chunk_series){.id = id, .row = UINT32_MAX};
	return i;
}

static uint32_t attribution_of(struct making *m, struct feed *f, const struct feed_row *row)
{
	struct slice pod = slice_str(row->pod ? row->pod : "");

	for (uint32_t i = 0; i < m->c.n_attributions; i++)
		if (slice_eq(m->attributions[i].pod, pod))
			return i;
	m->attributions[m->c.n_attributions] =
		(struct attribution){.uuid = slice_str(f->id->uuid), .pod = pod};
	return m->c.n_attributions++;
}

static void offer(struct chunk_series *s, const struct row *row, uint32_t at, bool ahead)
{
	if (s->row != UINT32_MAX &&
	    (ahead > s->ahead || (ahead == s->ahead && row->time.ns < s->time.ns)))
		return;
	s->time = row->time;
	s->row = at;
	s->ahead = ahead;
	s->attribution = row->attribution;
	s->value = row->value;
}

static void make_row(struct making *m, struct feed *f, const struct feed_row *row, uint32_t i)
{
	m->rows[i] = (struct row){
		.time = {row->ns, row->digits},
		.series = series_of(m, f, row),
		.attribution = attribution_of(m, f, row),
		.value = slice_str(row->value),
	};
	offer(&m->series[m->rows[i].series], &m->rows[i], i,
	      row->ns > m->c.stored_ns + CHUNK_AHEAD_NS);
	m->c.csv_bytes += (int64_t)render_row_len(
		m->rows[i].time, m->rows[i].value,
		render_names_len(&f->id->series[m->series[m->rows[i].series].id],
				 &m->attributions[m->rows[i].attribution]));
	m->c.min_ns = i ? MIN(m->c.min_ns, row->ns) : row->ns;
	m->c.max_ns = MAX(m->c.max_ns, row->ns);
}

static void encode(struct feed_store *s, struct feed *f, struct feed_chunk *out, struct making *m)
{
	char ulid[ULID_LEN + 1];
	struct key key;

	strbuf_init(&out->body, 1 << 20);
	strbuf_init(&out->value, 1 << 20);
	chunk_encode_body(&m->c, m->rows, out->n, &out->body);
	chunk_encode(&out->value, &m->c, (struct slice){out->body.s, out->body.len});
	ulid_new(ulid);
	key = key_data(f->host, f->gpu, m->rows[0].time.ns, ulid);
	strcpy(out->key, key.s);
	if (key_parse_data(slice_str(out->key), &out->parsed))
		abort();
	pthread_mutex_lock(&s->lock);
	map_put(&s->values, ulid, strlen(ulid), out);
	pthread_mutex_unlock(&s->lock);
}

/* Tables were filled in order of appearance; every index of a series is set anew when all are in.
 */
static struct feed_chunk *make(struct feed_store *s, struct feed *f, struct feed_chunk *out,
			       uint32_t n_commits)
{
	struct making *m = xcalloc(1, sizeof(*m));

	m->c = (struct chunk){.identity = f->id->incarnation,
			      .incarnation = out->incarnation,
			      .segment_ns = out->segment_ns,
			      .first_seq = out->first_seq,
			      .rows = (int64_t)out->n,
			      .stored_ns = out->stored_ns,
			      .attributions = m->attributions,
			      .series = m->series,
			      .commits = out->commits,
			      .n_commits = n_commits};
	for (uint32_t i = 0; i < out->n; i++)
		series_of(m, f, &out->rows[i]);
	for (uint32_t i = 0; i < out->n; i++)
		make_row(m, f, &out->rows[i], i);
	encode(s, f, out, m);
	out->csv_bytes = m->c.csv_bytes;
	out->next = f->chunks;
	f->chunks = out;
	free(m);
	return out;
}

struct feed_chunk *feed_chunk(struct feed_store *s, struct feed *f, int64_t segment_ns,
			      int64_t first_seq, const struct feed_row *rows, size_t n,
			      int64_t stored_ns, int64_t revision)
{
	struct feed_chunk *out = xcalloc(1, sizeof(*out));

	out->rows = xcalloc(n, sizeof(*rows));
	memcpy(out->rows, rows, n * sizeof(*rows));
	out->n = n;
	out->segment_ns = segment_ns;
	out->first_seq = first_seq;
	out->stored_ns = stored_ns ? stored_ns : rows[n - 1].ns + 60 * NS_PER_SEC;
	out->revision = revision;
	out->incarnation = f->incarnation + (uint64_t)segment_ns;
	return make(s, f, out, 0);
}

static void add_commits(struct feed_chunk *out, const struct feed_chunk *part)
{
	if (out->n_commits + MAX(part->n_commits, 1) > FEED_COMMITS)
		abort();
	if (!part->n_commits)
		out->commits[out->n_commits++] =
			(struct chunk_commit){part->revision, (uint32_t)part->n};
	for (uint32_t i = 0; i < part->n_commits; i++)
		out->commits[out->n_commits++] = part->commits[i];
}

/* All but the newest told commits become one entry. */
static void fold(struct feed_chunk *out, uint32_t told)
{
	uint32_t n = out->n_commits - told, rows = 0;

	for (uint32_t i = 0; i < n; i++)
		rows += out->commits[i].rows;
	out->commits[n - 1] = (struct chunk_commit){out->commits[n].revision, rows};
	memmove(out->commits, out->commits + n - 1, (told + 1) * sizeof(out->commits[0]));
	out->n_commits = told + 1;
}

struct feed_chunk *feed_merge_told(struct feed_store *s, struct feed *f, struct feed_chunk **parts,
				   size_t n, int64_t revision, uint32_t told)
{
	struct feed_chunk *out = xcalloc(1, sizeof(*out));

	out->rows = xcalloc(FEED_ROWS, sizeof(*out->rows));
	for (size_t i = 0; i < n; i++) {
		memcpy(out->rows + out->n, parts[i]->rows, parts[i]->n * sizeof(*out->rows));
		out->n += parts[i]->n;
		out->stored_ns = MAX(out->stored_ns, parts[i]->stored_ns);
		add_commits(out, parts[i]);
	}
	out->segment_ns = parts[0]->segment_ns;
	out->first_seq = parts[0]->first_seq;
	out->incarnation = parts[0]->incarnation;
	out->revision = revision;
	if (told < out->n_commits)
		fold(out, told);
	return make(s, f, out, out->n_commits);
}

struct feed_chunk *feed_merge(struct feed_store *s, struct feed *f, struct feed_chunk **parts,
			      size_t n, int64_t revision)
{
	return feed_merge_told(s, f, parts, n, revision, FEED_COMMITS);
}

void feed_forget(struct feed_store *s, struct feed_chunk *c)
{
	pthread_mutex_lock(&s->lock);
	map_remove(&s->values, c->parsed.ulid, strlen(c->parsed.ulid));
	pthread_mutex_unlock(&s->lock);
}

/* ---- feeding --------------------------------------------------------------------------------- */

void feed_put(struct tree *t, const struct feed_chunk *c, bool with_value)
{
	struct slice value = {c->value.s, c->value.len};
	struct chunk chunk = {0};
	struct err e = {""};

	if (chunk_decode(value, &chunk, &e)) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
	tree_put_chunk(t, &c->parsed, &chunk, c->revision, with_value ? value : (struct slice){0});
	chunk_release(&chunk);
}

void feed_drop(struct tree *t, const struct feed_chunk *c)
{
	tree_drop_chunk(t, &c->parsed);
}

void feed_put_identity(struct tree *t, const struct feed *f, int64_t revision)
{
	tree_put_identity(t, identity_copy(f->id), revision, revision);
}

void feed_drop_identity(struct tree *t, const struct feed *f)
{
	tree_drop_identity(t, slice_str(f->host), slice_str(f->gpu));
}

/* ---- reading --------------------------------------------------------------------------------- */

static int read_whole(struct tree *t, struct node *n, const struct attr *a, size_t step,
		      struct strbuf *out)
{
	int r = 0;

	if (a->content == CONTENT_SNAPSHOT)
		return tree_snapshot(t, n, out, NULL);
	for (size_t before = SIZE_MAX; !r && before != out->len;) {
		before = out->len;
		r = tree_read_rows(t, n, (int64_t)out->len, step ? step : 1 << 20, out);
	}
	return r;
}

char *feed_cat(struct tree *t, const char *path, size_t step)
{
	struct node *n = NULL;
	struct strbuf out;
	struct attr a;
	int r = tree_resolve(t, path, true, &n);

	strbuf_init(&out, 1 << 26);
	if (!r)
		r = tree_attr(t, n, &a);
	if (!r)
		r = read_whole(t, n, &a, step, &out);
	node_unref(n);
	if (r) {
		strbuf_reset(&out);
		strbuf_addf(&out, "!%s", strerrorname_np(-r));
	}
	strbuf_addc(&out, '\0');
	return strbuf_take(&out);
}
