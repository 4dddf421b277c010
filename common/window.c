#include "window.h"

#include "map.h"

enum { ROW_COST = 12 /* of a row without its value, in the estimate of a payload */ };

void window_init(struct window *w)
{
	*w = (struct window){0};
	strbuf_init(&w->text, (size_t)WINDOW_ROWS_MAX * WINDOW_ROW_BYTES);
}

void window_release(struct window *w)
{
	free(w->rows);
	strbuf_release(&w->text);
	*w = (struct window){0};
}

void window_begin(struct window *w, int64_t offset, int64_t line)
{
	w->n = 0;
	w->series = w->hosts = 0;
	w->begins_pass = false;
	strbuf_reset(&w->text);
	w->offset = w->end = offset;
	w->line = w->end_line = line;
}

void window_add(struct window *w, const struct sample *s, struct stamp time, int64_t end,
		int64_t end_line)
{
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 1024;
		w->rows = xrealloc(w->rows, w->cap * sizeof(*w->rows));
	}
	w->rows[w->n++] = (struct window_row){
		.series = s->series,
		.time = time,
		.source_ns = s->time.ns,
		.value_at = (uint32_t)w->text.len,
		.value_len = (uint32_t)s->value.len,
	};
	strbuf_add_slice(&w->text, s->value);
	w->series = MAX(w->series, s->series->id + 1);
	w->hosts = MAX(w->hosts, s->series->host_id + 1);
	w->end = end;
	w->end_line = end_line;
}

bool window_full(const struct window *w, size_t rows)
{
	return w->n >= rows || w->end - w->offset >= (int64_t)(rows * WINDOW_ROW_BYTES);
}

void window_truncate(struct window *w, size_t n)
{
	if (n >= w->n)
		return;
	strbuf_truncate(&w->text, w->rows[n].value_at);
	w->n = n;
}

/* ---- grouping -------------------------------------------------------------------------------- */

/* Rows by host, hosts by first row: a counting sort. starts gets one entry per host and one more.
 */
static size_t order_by_host(const struct window *w, uint32_t *order, size_t *starts)
{
	uint32_t *index = xcalloc(w->series + 1, sizeof(*index)); /* host_id → index + 1 */
	size_t hosts = 0, *at;

	memset(starts, 0, (w->series + 2) * sizeof(*starts));
	for (size_t i = 0; i < w->n; i++) {
		uint32_t *h = &index[w->rows[i].series->host_id];

		if (!*h)
			*h = (uint32_t)++hosts;
		starts[*h]++;
	}
	for (size_t h = 0; h < hosts; h++)
		starts[h + 1] += starts[h];
	at = xmalloc((hosts + 1) * sizeof(*at));
	memcpy(at, starts, (hosts + 1) * sizeof(*at));
	for (size_t i = 0; i < w->n; i++)
		order[at[index[w->rows[i].series->host_id] - 1]++] = (uint32_t)i;
	free(at);
	free(index);
	return hosts;
}

static void add_group(struct grouping *g, const struct window *w, size_t at, size_t n)
{
	if (g->n == g->cap) {
		g->cap = g->cap ? 2 * g->cap : 64;
		g->groups = xrealloc(g->groups, g->cap * sizeof(*g->groups));
	}
	g->groups[g->n++] =
		(struct message_group){w->rows[g->order[at]].series, (uint32_t)at, (uint32_t)n};
}

/* What the group being cut has so far. Marks hold the number of the group that set them, so that a
 * new group costs nothing to begin. */
struct cut {
	const struct window *w;
	int64_t segment_ns;
	uint32_t group;        /* from 1 */
	uint32_t *gpu_mark;    /* by gpu_id */
	int64_t *gpu_segment;  /* its last segment, valid where marked */
	uint32_t *series_mark; /* by id */
	struct map pairs;      /* (gpu_id, segment) where a GPU has several */
	size_t rows, bytes, n_pairs;
};

static void cut_begin(struct cut *c)
{
	c->group++;
	c->rows = c->bytes = c->n_pairs = 0;
	map_release(&c->pairs);
}

static size_t series_cost(const struct series_ref *s)
{
	return s->series.gpu.len + s->series.metric.len + s->series.device.len +
	       s->series.model.len + s->series.driver.len + s->series.labels.len +
	       s->attribution.uuid.len + s->attribution.container.len + s->attribution.pod.len +
	       s->attribution.namespace.len + 16;
}

static bool new_pair(struct cut *c, uint32_t gpu, int64_t segment)
{
	int64_t key[2] = {gpu, segment};

	if (c->gpu_mark[gpu] == c->group && c->gpu_segment[gpu] == segment)
		return false;
	return !map_get(&c->pairs, key, sizeof(key));
}

static void note_row(struct cut *c, const struct window_row *r, int64_t segment, bool is_new)
{
	int64_t key[2] = {r->series->gpu_id, segment};

	c->rows++;
	c->bytes += ROW_COST + r->value_len;
	if (c->series_mark[r->series->id] != c->group) {
		c->series_mark[r->series->id] = c->group;
		c->bytes += series_cost(r->series);
	}
	c->gpu_mark[r->series->gpu_id] = c->group;
	c->gpu_segment[r->series->gpu_id] = segment;
	if (is_new) {
		c->n_pairs++;
		map_put(&c->pairs, key, sizeof(key), c);
	}
}

static bool must_cut(const struct cut *c, int64_t batch_size, bool is_new)
{
	return c->rows >= (size_t)batch_size || c->bytes >= WINDOW_GROUP_BYTES ||
	       (is_new && c->n_pairs >= WINDOW_PAIRS);
}

static void cut_host(struct cut *c, struct grouping *g, size_t from, size_t to, int64_t batch_size)
{
	size_t start = from;

	cut_begin(c);
	for (size_t i = from; i < to; i++) {
		const struct window_row *r = &c->w->rows[g->order[i]];
		int64_t segment = r->source_ns - r->source_ns % c->segment_ns;
		bool is_new = new_pair(c, r->series->gpu_id, segment);

		if (must_cut(c, batch_size, is_new)) {
			add_group(g, c->w, start, i - start);
			start = i;
			cut_begin(c);
			is_new = true;
		}
		note_row(c, r, segment, is_new);
	}
	add_group(g, c->w, start, to - start);
}

void window_group(const struct window *w, int64_t batch_size, int64_t segment_ns,
		  struct grouping *ret)
{
	struct cut c = {.w = w, .segment_ns = segment_ns, .pairs = MAP_INIT};
	size_t *starts = xmalloc((w->series + 2) * sizeof(*starts));

	ret->n = 0;
	ret->encoded = 0;
	free(ret->series_at);
	free(ret->attribution_at);
	ret->series_at = xcalloc(w->series + 1, sizeof(*ret->series_at));
	ret->attribution_at = xcalloc(w->series + 1, sizeof(*ret->attribution_at));
	ret->order = xrealloc(ret->order, (w->n + 1) * sizeof(*ret->order));
	c.gpu_mark = xcalloc(w->series + 1, sizeof(*c.gpu_mark));
	c.gpu_segment = xcalloc(w->series + 1, sizeof(*c.gpu_segment));
	c.series_mark = xcalloc(w->series + 1, sizeof(*c.series_mark));
	ret->hosts = order_by_host(w, ret->order, starts);
	for (size_t h = 0; h < ret->hosts; h++)
		cut_host(&c, ret, starts[h], starts[h + 1], batch_size);
	map_release(&c.pairs);
	free(c.series_mark);
	free(c.gpu_segment);
	free(c.gpu_mark);
	free(starts);
}

void grouping_release(struct grouping *g)
{
	free(g->order);
	free(g->groups);
	free(g->series_at);
	free(g->attribution_at);
	*g = (struct grouping){0};
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Index of id in a table being filled; *ret_new says that it is the next one. */
static uint32_t local_index(uint64_t *at, uint32_t message, uint32_t *count, bool *ret_new)
{
	*ret_new = *at >> 32 != message;
	if (*ret_new)
		*at = (uint64_t)message << 32 | (*count)++;
	return (uint32_t)*at;
}

/* Rows and tables of b as the group has them. */
static void fill_batch(const struct window *w, struct grouping *g,
		       const struct message_group *group, struct batch *b, struct row *rows)
{
	uint32_t message = ++g->encoded;

	for (uint32_t k = 0; k < group->n; k++) {
		const struct window_row *r = &w->rows[g->order[group->at + k]];
		const struct series_ref *s = r->series;
		bool is_new;

		rows[k].time = r->time;
		rows[k].value = (struct slice){w->text.s + r->value_at, r->value_len};
		rows[k].series =
			local_index(&g->series_at[s->series_id], message, &b->n_series, &is_new);
		if (is_new)
			b->series[rows[k].series] = s->series;
		rows[k].attribution = local_index(&g->attribution_at[s->attribution_id], message,
						  &b->n_attributions, &is_new);
		if (is_new)
			b->attributions[rows[k].attribution] = s->attribution;
	}
}

void window_encode(const struct window *w, struct grouping *g, size_t i, struct strbuf *out)
{
	const struct message_group *group = &g->groups[i];
	struct batch b = {.host = group->first->host};
	struct row *rows = xmalloc(group->n * sizeof(*rows));

	b.series = xmalloc(group->n * sizeof(*b.series));
	b.attributions = xmalloc(group->n * sizeof(*b.attributions));
	fill_batch(w, g, group, &b, rows);
	batch_encode(out, &b, rows, group->n);
	free(b.attributions);
	free(b.series);
	free(rows);
}
