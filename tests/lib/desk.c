#include "desk.h"

#include <stdio.h>

#include "render.h"
#include "stage.h"
#include "test.h"

/* ---- batches --------------------------------------------------------------------------------- */

static struct slice text(const char *s)
{
	return slice_str(s ? s : "");
}

static uint32_t series_of(struct sheet *s, const struct line *l)
{
	uint32_t i = 0;

	for (; i < s->b.n_series; i++)
		if (slice_eq(s->series[i].gpu, text(l->gpu)) &&
		    slice_eq(s->series[i].metric, text(l->metric)) &&
		    slice_eq(s->series[i].labels, text(l->labels)))
			return i;
	s->series[i] = (struct batch_series){.gpu = text(l->gpu),
					     .metric = text(l->metric),
					     .model = text("H100"),
					     .labels = text(l->labels)};
	return s->b.n_series++;
}

static uint32_t attribution_of(struct sheet *s, const struct line *l)
{
	uint32_t i = 0;

	for (; i < s->b.n_attributions; i++)
		if (slice_eq(s->attributions[i].uuid, text(l->uuid)))
			return i;
	s->attributions[i].uuid = text(l->uuid);
	return s->b.n_attributions++;
}

struct sheet *sheet_new(const struct line *lines, size_t n)
{
	struct sheet *s = xcalloc(1, sizeof(*s));

	s->b.host = text("h");
	s->b.series = s->series;
	s->b.attributions = s->attributions;
	s->b.rows.rows = s->rows;
	s->b.rows.n = n;
	for (size_t i = 0; i < n; i++)
		s->rows[i] = (struct row){{lines[i].ns, 9},
					  series_of(s, &lines[i]),
					  attribution_of(s, &lines[i]),
					  text(lines[i].value)};
	return s;
}

/* ---- a writer at work ------------------------------------------------------------------------ */

void desk_load(struct desk *d)
{
	writer_free(TAKE_PTR(d->w));
	CHECK_EQ_INT(writer_load(&d->w, d->c, &d->f, &d->h, HOUR, d->lease_ns, &d->e), 0);
}

struct desk *desk_new(void)
{
	struct desk *d = xcalloc(1, sizeof(*d));

	d->c = stage_open();
	leases_init(&d->leases, d->c);
	d->f = stage_enter(d->c, "me");
	d->h = stage_take(d->c, &d->f, "h");
	desk_load(d);
	return d;
}

void desk_rest(struct desk *d, int64_t ms)
{
	map_each (&d->w->gpus, i) {
		struct gpu_state *g = d->w->gpus.entries[i].value;

		g->touched.ns -= ms * NS_PER_MS;
		for (size_t k = 0; k < g->n_segments; k++) {
			g->segments[k].touched.ns -= ms * NS_PER_MS;
			g->segments[k].merge_at.ns =
				MAX(g->segments[k].merge_at.ns - ms * NS_PER_MS, 0);
		}
	}
}

void desk_free(struct desk *d)
{
	writer_free(d->w);
	leases_release(&d->leases);
	etcd_close(d->c);
	free(d);
}

int desk_store_pairs(struct desk *d, struct intake *in, size_t from, size_t to)
{
	struct ending end;
	struct lease lease;
	int64_t rev = 0;
	int r = intake_prepare(in, d->c, &d->f, &d->h, from, to, &d->e);

	if (r)
		return r;
	ending_init(&end, d->c, &d->f);
	r = leases_get(&d->leases, d->lease_ns ? wall_now_ns() + d->lease_ns : INT64_MAX,
		       2 * (to - from), &lease, &d->e);
	CHECK_EQ_INT(r, 0);
	intake_store(in, &end.t, from, to, &lease);
	r = ending_send(&end, &rev, &d->e);
	if (!r)
		writer_committed(d->w, rev);
	ending_release(&end);
	return r;
}

/* Several messages in one completion. */
int desk_store_sheets(struct desk *d, struct sheet **sheets, size_t n)
{
	struct intake *in = intake_new(d->w);
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = intake_add(in, &sheets[i]->b, &d->e);
	if (!r)
		r = desk_store_pairs(d, in, 0, intake_pairs(in));
	intake_free(in);
	return r;
}

int desk_store(struct desk *d, const struct line *lines, size_t n)
{
	struct sheet *s = sheet_new(lines, n);
	int r = desk_store_sheets(d, &s, 1);

	free(s);
	return r;
}

/* ---- what is stored -------------------------------------------------------------------------- */

struct identity *desk_identity(struct desk *d, const char *gpu)
{
	const char *json = stage_read(d->c, key_gpu("h", gpu).s);
	struct identity *id = NULL;

	if (!CHECK_EQ_INT(identity_decode(slice_str(json), &id, &d->e), 0))
		abort();
	return id;
}

static struct slice body_of(const struct library *l, const struct found *f)
{
	const struct etcd_range *range = &l->bodies.ranges[0];
	struct slice tail;

	if (f->c.has_inline_body)
		return f->c.inline_body;
	for (size_t i = 0; i < range->n; i++) {
		tail = range->kvs[i].key;
		if (tail.len > ULID_LEN &&
		    !memcmp(tail.p + tail.len - ULID_LEN, f->key.ulid, ULID_LEN))
			return range->kvs[i].value;
	}
	CHECK(!"a body without its chunk");
	return (struct slice){"", 0};
}

static int by_position(const void *a, const void *b)
{
	const struct chunk *x = &((const struct found *)a)->c, *y = &((const struct found *)b)->c;

	if (x->segment_ns != y->segment_ns)
		return x->segment_ns < y->segment_ns ? -1 : 1;
	return (x->first_seq > y->first_seq) - (x->first_seq < y->first_seq);
}

static void read_range(struct desk *d, const char *base, const char *gpu, struct etcd_reply *ret)
{
	struct key from;

	snprintf(from.s, sizeof(from.s), "%sh/%s/", base, gpu);
	CHECK_EQ_INT(etcd_get(d->c, from.s, key_prefix_end(from.s).s, 0, 0, 0, ret, &d->e), 0);
}

struct library desk_read(struct desk *d, const char *gpu)
{
	struct library l = {.n = 0};

	read_range(d, KEY_DATA, gpu, &l.data);
	read_range(d, KEY_BODY, gpu, &l.bodies);
	l.list = xcalloc(l.data.ranges[0].n + 1, sizeof(*l.list));
	for (size_t i = 0; i < l.data.ranges[0].n; i++) {
		struct found *f = &l.list[l.n++];
		struct slice body;

		CHECK_EQ_INT(key_parse_data(l.data.ranges[0].kvs[i].key, &f->key), 0);
		CHECK_EQ_INT(chunk_decode(l.data.ranges[0].kvs[i].value, &f->c, &d->e), 0);
		f->create_rev = l.data.ranges[0].kvs[i].create_rev;
		f->lease = l.data.ranges[0].kvs[i].lease;
		body = body_of(&l, f);
		f->body_len = body.len;
		CHECK_EQ_INT(chunk_decode_body(&f->c, body, &f->rows, &d->e), 0);
	}
	qsort(l.list, l.n, sizeof(*l.list), by_position);
	return l;
}

void library_release(struct library *l)
{
	for (size_t i = 0; i < l->n; i++) {
		chunk_release(&l->list[i].c);
		rows_release(&l->list[i].rows);
	}
	free(l->list);
	etcd_reply_release(&l->data);
	etcd_reply_release(&l->bodies);
}

/* What a chunk's header says of its rows is so. */
static void check_header(const struct found *f, const struct identity *id)
{
	const struct chunk *c = &f->c;
	int64_t csv = 0, min = INT64_MAX, max = 0;

	for (size_t i = 0; i < f->rows.n; i++) {
		const struct row *r = &f->rows.rows[i];

		csv += (int64_t)render_row_len(
			r->time, r->value,
			render_names_len(&id->series[c->series[r->series].id],
					 &c->attributions[r->attribution]));
		min = MIN(min, r->time.ns);
		max = MAX(max, r->time.ns);
		CHECK(r->time.ns / HOUR * HOUR == c->segment_ns);
	}
	CHECK_EQ_INT(c->csv_bytes, csv);
	CHECK(c->min_ns == min && c->max_ns == max && f->key.first_ns == min);
	CHECK(c->identity == id->incarnation);
	CHECK(f->body_len <= CHUNK_BODY_MAX);
	for (uint32_t i = 0; i < c->n_series; i++) {
		const struct row *r = &f->rows.rows[c->series[i].row];

		CHECK(r->series == i && r->time.ns == c->series[i].time.ns &&
		      slice_eq(r->value, c->series[i].value) &&
		      r->attribution == c->series[i].attribution);
	}
}

/* The rows of one GPU as one text, a line each, segments in their order; checks that the positions
 * of each segment are gapless from 0. */
char *desk_rows(struct desk *d, const char *gpu)
{
	struct library l = desk_read(d, gpu);
	struct identity *id = desk_identity(d, gpu);
	struct strbuf out;
	int64_t next = 0;

	strbuf_init(&out, 1 << 26);
	for (size_t i = 0; i < l.n; i++) {
		const struct found *f = &l.list[i];
		bool same = i && l.list[i - 1].c.segment_ns == f->c.segment_ns;

		CHECK_EQ_INT(f->c.first_seq, same ? next : 0);
		CHECK(!same || l.list[i - 1].c.incarnation == f->c.incarnation);
		next = f->c.first_seq + f->c.rows;
		check_header(f, id);
		for (size_t k = 0; k < f->rows.n; k++) {
			const struct row *r = &f->rows.rows[k];

			render_row(&out, r->time, r->value, &id->series[f->c.series[r->series].id],
				   &f->c.attributions[r->attribution]);
		}
	}
	identity_free(id);
	library_release(&l);
	return strbuf_take(&out);
}
