#include "gather.h"

#include "labels.h"
#include "render.h"

/* ---- identities ------------------------------------------------------------------------------ */

static void first_labels(struct strbuf *out, const struct batch *b, struct slice gpu)
{
	struct strbuf common;
	bool first = true;

	strbuf_init(&common, LABELS_BYTES);
	for (uint32_t i = 0; i < b->n_series; i++) {
		const struct batch_series *s = &b->series[i];

		if (!slice_eq(s->gpu, gpu))
			continue;
		strbuf_reset(&common);
		labels_common(&common, first ? s->labels : (struct slice){out->s, out->len},
			      s->labels);
		strbuf_reset(out);
		strbuf_add(out, common.s, common.len);
		first = false;
	}
	strbuf_release(&common);
}

struct identity *gather_identity(const struct batch *b, struct slice gpu, uint64_t incarnation)
{
	struct identity *id;
	struct strbuf labels;

	strbuf_init(&labels, LABELS_BYTES);
	first_labels(&labels, b, gpu);
	id = identity_new(b->host, gpu, incarnation, (struct slice){labels.s, labels.len});
	strbuf_release(&labels);
	return id;
}

int gather_series(struct identity *id, const struct batch_series *s, uint32_t *ret, bool *ret_added,
		  struct err *e)
{
	struct strbuf own;
	int r;

	strbuf_init(&own, LABELS_BYTES);
	labels_difference(&own, s->labels, slice_str(id->labels));
	r = own.err ? own.err
		    : identity_series(id, s->metric, (struct slice){own.s, own.len}, ret,
				      ret_added);
	strbuf_release(&own);
	if (r)
		return err_set(
			e, -EBADMSG, "metric %.*s: %s", (int)MIN(s->metric.len, 64), s->metric.p,
			r == -ENOSPC ? "the GPU has too many series" : "the name is too long");
	return 0;
}

static bool set_field(char **field, struct slice value)
{
	if (!value.len || slice_eq(slice_str(*field), value))
		return false;
	free(*field);
	*field = xstrndup(value.p, value.len);
	return true;
}

bool gather_is_newest(const struct identity *id, int64_t time_ns, int64_t now_ns)
{
	return time_ns >= id->as_of_ns && time_ns <= now_ns + CHUNK_AHEAD_NS;
}

void gather_note_time(struct identity *id, const struct batch_series *s,
		      const struct attribution *a, int64_t time_ns)
{
	if (a->uuid.len || s->device.len || s->model.len || s->driver.len)
		id->as_of_ns = time_ns;
}

bool gather_note(struct identity *id, const struct batch_series *s, const struct attribution *a,
		 bool newest)
{
	bool changed = false;

	changed |= (newest || !id->uuid[0]) && set_field(&id->uuid, a->uuid);
	changed |= (newest || !id->device[0]) && set_field(&id->device, s->device);
	changed |= (newest || !id->model[0]) && set_field(&id->model, s->model);
	changed |= (newest || !id->driver[0]) && set_field(&id->driver, s->driver);
	return changed;
}

/* ---- rows ------------------------------------------------------------------------------------ */

void gather_release(struct gather *g)
{
	free(g->rows);
	free(g->attributions);
	*g = (struct gather){0};
}

static bool same_attribution(const struct attribution *a, const struct attribution *b)
{
	return slice_eq(a->uuid, b->uuid) && slice_eq(a->container, b->container) &&
	       slice_eq(a->pod, b->pod) && slice_eq(a->namespace, b->namespace);
}

/* The newest are looked at first: an attribution lasts. */
uint32_t gather_attribution(struct gather *g, const struct attribution *a)
{
	for (uint32_t i = g->n_attributions; i-- > 0;)
		if (same_attribution(&g->attributions[i], a))
			return i;
	if ((g->n_attributions & (g->n_attributions - 1)) == 0)
		g->attributions =
			xrealloc(g->attributions, (g->n_attributions ? 2 * g->n_attributions : 1) *
							  sizeof(*g->attributions));
	g->attributions[g->n_attributions] = *a;
	return g->n_attributions++;
}

void gather_add(struct gather *g, const struct row *row, uint32_t series, uint32_t attribution)
{
	if (g->n == g->cap) {
		g->cap = g->cap ? 2 * g->cap : 64;
		g->rows = xrealloc(g->rows, g->cap * sizeof(*g->rows));
	}
	g->rows[g->n] = *row;
	g->rows[g->n].series = series;
	g->rows[g->n++].attribution = attribution;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* Marks of the identity's series used in a run of rows: entry + 1. Filled in order of id, because
 * the header stores differences. */
static void list_series(struct chunk *c, uint32_t *entry, uint32_t n_series, const struct row *rows,
			size_t n)
{
	for (size_t i = 0; i < n; i++)
		entry[rows[i].series] = 1;
	for (uint32_t id = 0; id < n_series; id++) {
		if (!entry[id])
			continue;
		c->series[c->n_series].id = id;
		entry[id] = ++c->n_series;
	}
}

static bool is_later(const struct chunk_series *s, const struct row *row, bool ahead, bool is_first)
{
	if (is_first || s->ahead != ahead)
		return is_first || s->ahead;
	return row->time.ns >= s->time.ns;
}

/* Length of what the last row of a series has besides time and value. */
struct names {
	uint32_t of; /* its attribution + 1; 0: there was none */
	size_t len;
};

/* Header fields that the rows determine; the rows' series become indexes of c->series. */
static void describe_rows(struct chunk *c, const struct identity *id, const uint32_t *entry,
			  struct row *rows, size_t n)
{
	struct names *names = xcalloc(c->n_series + 1, sizeof(*names));

	c->min_ns = c->max_ns = rows[0].time.ns;
	for (size_t i = 0; i < n; i++) {
		uint32_t at = entry[rows[i].series] - 1;
		struct chunk_series *s = &c->series[at];
		bool ahead = rows[i].time.ns > c->stored_ns + CHUNK_AHEAD_NS;

		c->min_ns = MIN(c->min_ns, rows[i].time.ns);
		c->max_ns = MAX(c->max_ns, rows[i].time.ns);
		if (is_later(s, &rows[i], ahead, !names[at].of)) {
			s->time = rows[i].time;
			s->ahead = ahead;
			s->row = (uint32_t)i;
			s->attribution = rows[i].attribution;
			s->value = rows[i].value;
		}
		if (names[at].of != rows[i].attribution + 1) {
			names[at].of = rows[i].attribution + 1;
			names[at].len = render_names_len(&id->series[rows[i].series],
							 &c->attributions[rows[i].attribution]);
		}
		c->csv_bytes += (int64_t)render_row_len(rows[i].time, rows[i].value, names[at].len);
		rows[i].series = at;
	}
	free(names);
}

/* What is being made into chunks. */
struct making {
	const struct gather *g;
	const struct gather_place *place;
	void (*put)(const struct chunk *c, struct slice body, void *arg);
	void *arg;
	int64_t next_seq;
};

/* Rows [at, at + n) as one chunk, or as the chunks of its halves. */
static void make(struct making *m, size_t at, size_t n)
{
	const struct identity *id = m->place->id;
	struct row *rows = xmalloc(n * sizeof(*rows));
	uint32_t *entry = xcalloc(id->n_series, sizeof(*entry));
	struct chunk c = {.identity = id->incarnation,
			  .incarnation = m->place->incarnation,
			  .segment_ns = m->place->segment_ns,
			  .first_seq = m->next_seq,
			  .rows = (int64_t)n,
			  .stored_ns = m->place->stored_ns,
			  .attributions = m->g->attributions,
			  .n_attributions = m->g->n_attributions};
	struct strbuf body;

	memcpy(rows, m->g->rows + at, n * sizeof(*rows));
	c.series = xcalloc(id->n_series, sizeof(*c.series));
	strbuf_init(&body, BATCH_RAW_MAX);
	list_series(&c, entry, id->n_series, rows, n);
	describe_rows(&c, id, entry, rows, n);
	chunk_encode_body(&c, rows, n, &body);
	if (body.len > CHUNK_BODY_MAX && n > 1) {
		make(m, at, n / 2);
		make(m, at + n / 2, n - n / 2);
	} else {
		m->put(&c, (struct slice){body.s, body.len}, m->arg);
		m->next_seq += (int64_t)n;
	}
	strbuf_release(&body);
	free(c.series);
	free(entry);
	free(rows);
}

void gather_chunks(const struct gather *g, const struct gather_place *p,
		   void (*put)(const struct chunk *c, struct slice body, void *arg), void *arg)
{
	struct making m = {g, p, put, arg, p->first_seq};

	if (g->n > 0)
		make(&m, 0, g->n);
}
