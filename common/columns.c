#include "columns.h"

#include "values.h"

enum { UNIT_BITS = 4 };

static const int64_t pow10_i64[] = {1,      10,      100,      1000,      10000,
				    100000, 1000000, 10000000, 100000000, 1000000000};

/* ---- prediction: what both sides know of the rows so far ------------------------------------- */

/* The series that follow one another. */
struct sequence {
	uint32_t *next, series, prev;
};

static void sequence_init(struct sequence *q, uint32_t series)
{
	*q = (struct sequence){xmalloc(series * sizeof(*q->next)), series, series - 1};
	for (uint32_t s = 0; s < series; s++)
		q->next[s] = s + 1 < series ? s + 1 : 0;
}

static uint32_t sequence_predict(const struct sequence *q)
{
	return q->next[q->prev];
}

static void sequence_push(struct sequence *q, uint32_t s)
{
	q->next[q->prev] = s;
	q->prev = s;
}

/* Who the series belonged to. */
struct owners {
	uint32_t *last, prev; /* last: attribution + 1; 0: none yet */
};

static uint32_t owners_predict(const struct owners *o, uint32_t series)
{
	return o->last[series] ? o->last[series] - 1 : o->prev;
}

static void owners_push(struct owners *o, uint32_t series, uint32_t a)
{
	o->last[series] = a + 1;
	o->prev = a;
}

/* Scrapes: runs of rows in which no series repeats. Times are in units and wrap. */
struct scrapes {
	struct scrape_series {
		uint64_t seen, offset; /* seen: number of the scrape, from 1 */
	} * series;
	uint64_t n, offset; /* that of the row before */
};

static void scrapes_init(struct scrapes *s, uint32_t series)
{
	*s = (struct scrapes){xcalloc(series, sizeof(*s->series)), 0, 0};
}

/* Whether a row of the series starts a scrape. *ret_offset is the one to expect. */
static bool scrapes_next(struct scrapes *s, uint32_t series, uint64_t *ret_offset)
{
	struct scrape_series *one = &s->series[series];
	bool starts = !s->n || one->seen == s->n;

	if (!one->seen)
		one->offset = s->offset;
	*ret_offset = one->offset;
	s->n += starts;
	one->seen = s->n;
	return starts;
}

static void scrapes_push(struct scrapes *s, uint32_t series, uint64_t offset)
{
	s->series[series].offset = s->offset = offset;
}

/* Rows in order of series, keeping their order within one: a counting sort. starts has series + 1
 * entries. */
static void gather(const struct row *rows, size_t n, uint32_t series, size_t *starts,
		   uint32_t *order)
{
	size_t *at = xcalloc(series + 1, sizeof(*at));

	memset(starts, 0, (series + 1) * sizeof(*starts));
	for (size_t i = 0; i < n; i++)
		starts[rows[i].series + 1]++;
	for (uint32_t s = 0; s < series; s++)
		starts[s + 1] += starts[s];
	memcpy(at, starts, (series + 1) * sizeof(*at));
	for (size_t i = 0; i < n; i++)
		order[at[rows[i].series]++] = (uint32_t)i;
	free(at);
}

static struct slice hint_of(const struct columns_hints *hints, uint32_t series)
{
	return hints && hints->values ? hints->values[series] : (struct slice){"", 0};
}

static int64_t base_of(const struct columns_hints *hints)
{
	return hints ? hints->base_ns : 0;
}

/* ---- series, attributions and digits --------------------------------------------------------- */

static void encode_series(struct range_encoder *e, struct exceptions *x, const struct row *rows,
			  size_t n, uint32_t series)
{
	struct sequence q;

	sequence_init(&q, series);
	exceptions_begin(x);
	for (size_t i = 0; i < n; i++) {
		if (sequence_predict(&q) != rows[i].series) {
			exceptions_add(x, e, i);
			encode_number(e, &x->value, rows[i].series);
		}
		sequence_push(&q, rows[i].series);
	}
	exceptions_end(x, e);
	free(q.next);
}

static int decode_series(struct range_decoder *d, struct exceptions *x, struct row *rows, size_t n,
			 uint32_t series)
{
	struct sequence q;
	int err = 0;

	sequence_init(&q, series);
	exceptions_open(x, d);
	for (size_t i = 0; i < n && !err; i++) {
		uint64_t s = sequence_predict(&q);

		if (i == x->next) {
			s = (uint64_t)decode_number(d, &x->value);
			exceptions_step(x, d);
		}
		if (s >= series) {
			err = -EBADMSG;
			break;
		}
		rows[i].series = (uint32_t)s;
		sequence_push(&q, rows[i].series);
	}
	free(q.next);
	return err;
}

static void encode_attributions(struct range_encoder *e, struct exceptions *x,
				const struct row *rows, size_t n, uint32_t series)
{
	struct owners o = {xcalloc(series, sizeof(*o.last)), 0};

	exceptions_begin(x);
	for (size_t i = 0; i < n; i++) {
		const struct row *row = &rows[i];

		if (owners_predict(&o, row->series) != row->attribution) {
			exceptions_add(x, e, i);
			encode_number(e, &x->value, row->attribution);
		}
		owners_push(&o, row->series, row->attribution);
	}
	exceptions_end(x, e);
	free(o.last);
}

static int decode_attributions(struct range_decoder *d, struct exceptions *x, struct row *rows,
			       size_t n, uint32_t series, uint32_t attributions)
{
	struct owners o = {xcalloc(series, sizeof(*o.last)), 0};
	int err = 0;

	exceptions_open(x, d);
	for (size_t i = 0; i < n && !err; i++) {
		uint64_t a = owners_predict(&o, rows[i].series);

		if (i == x->next) {
			a = (uint64_t)decode_number(d, &x->value);
			exceptions_step(x, d);
		}
		if (a >= attributions) {
			err = -EBADMSG;
			break;
		}
		rows[i].attribution = (uint32_t)a;
		owners_push(&o, rows[i].series, rows[i].attribution);
	}
	free(o.last);
	return err;
}

static void encode_digits(struct range_encoder *e, struct exceptions *x, const struct row *rows,
			  size_t n)
{
	uint8_t prev = 0;

	exceptions_begin(x);
	for (size_t i = 0; i < n; i++) {
		if (rows[i].time.digits == prev)
			continue;
		prev = rows[i].time.digits;
		exceptions_add(x, e, i);
		encode_number(e, &x->value, prev);
	}
	exceptions_end(x, e);
}

static int decode_digits(struct range_decoder *d, struct exceptions *x, struct row *rows, size_t n)
{
	uint64_t digits = 0;

	exceptions_open(x, d);
	for (size_t i = 0; i < n; i++) {
		if (i == x->next) {
			digits = (uint64_t)decode_number(d, &x->value);
			exceptions_step(x, d);
		}
		if (digits > 9)
			return -EBADMSG;
		rows[i].time.digits = (uint8_t)digits;
	}
	return 0;
}

/* ---- times ----------------------------------------------------------------------------------- */

static int finest_unit(const struct row *rows, size_t n)
{
	uint8_t digits = 0;

	for (size_t i = 0; i < n; i++)
		digits = MAX(digits, rows[i].time.digits);
	return 9 - digits;
}

/* The times of the scrapes into ret; returns how many there are. */
static size_t list_scrapes(const struct row *rows, size_t n, uint32_t series, int64_t unit,
			   int64_t *ret)
{
	struct scrapes s;

	scrapes_init(&s, series);
	for (size_t i = 0; i < n; i++) {
		uint64_t t = (uint64_t)(rows[i].time.ns / unit), offset;

		if (scrapes_next(&s, rows[i].series, &offset))
			ret[s.n - 1] = (int64_t)(t - offset);
		scrapes_push(&s, rows[i].series, t - (uint64_t)ret[s.n - 1]);
	}
	free(s.series);
	return s.n;
}

static void encode_offsets(struct range_encoder *e, struct exceptions *x, const struct row *rows,
			   size_t n, uint32_t series, int64_t unit, const int64_t *times)
{
	struct scrapes s;

	scrapes_init(&s, series);
	exceptions_begin(x);
	for (size_t i = 0; i < n; i++) {
		uint64_t t = (uint64_t)(rows[i].time.ns / unit), expected, offset;
		bool starts = scrapes_next(&s, rows[i].series, &expected);

		offset = t - (uint64_t)times[s.n - 1];
		if (!starts && offset != expected) {
			exceptions_add(x, e, i);
			encode_number(e, &x->value, (int64_t)(offset - expected));
		}
		scrapes_push(&s, rows[i].series, offset);
	}
	exceptions_end(x, e);
	free(s.series);
}

static void encode_times(struct range_encoder *e, struct values_codec *c, const struct row *rows,
			 size_t n, uint32_t series, int64_t unit, int64_t base_ns)
{
	int64_t *times = xmalloc(n * sizeof(*times));
	size_t scrapes = list_scrapes(rows, n, series, unit, times);
	struct integers_plan plan;

	encode_number(e, &c->words, (int64_t)scrapes);
	integers_make_plan(times, scrapes, true, &plan);
	integers_encode(e, &c->integers, times, scrapes, base_ns / unit, &plan);
	encode_offsets(e, &c->exceptions, rows, n, series, unit, times);
	free(times);
}

static int decode_offsets(struct range_decoder *d, struct exceptions *x, struct row *rows, size_t n,
			  uint32_t series, int64_t unit, const int64_t *times, size_t scrapes)
{
	struct scrapes s;
	int err = 0;

	scrapes_init(&s, series);
	exceptions_open(x, d);
	for (size_t i = 0; i < n && !err; i++) {
		uint64_t offset, t;

		scrapes_next(&s, rows[i].series, &offset);
		if (s.n > scrapes) {
			err = -EBADMSG;
			break;
		}
		if (i == x->next) {
			offset += (uint64_t)decode_number(d, &x->value);
			exceptions_step(x, d);
		}
		t = (uint64_t)times[s.n - 1] + offset;
		if (t > INT64_MAX || __builtin_mul_overflow((int64_t)t, unit, &rows[i].time.ns))
			err = -EBADMSG;
		scrapes_push(&s, rows[i].series, offset);
	}
	free(s.series);
	return err;
}

static int decode_times(struct range_decoder *d, struct values_codec *c, struct row *rows, size_t n,
			uint32_t series, int64_t unit, int64_t base_ns)
{
	uint64_t scrapes = (uint64_t)decode_number(d, &c->words);
	int64_t *times;
	int err;

	if (!scrapes || scrapes > n)
		return -EBADMSG;
	times = xmalloc(scrapes * sizeof(*times));
	integers_decode(d, &c->integers, times, scrapes, base_ns / unit);
	err = decode_offsets(d, &c->exceptions, rows, n, series, unit, times, scrapes);
	free(times);
	return err;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void encode_values(struct range_encoder *e, struct values_codec *c, const struct row *rows,
			  size_t n, uint32_t series, const struct columns_hints *hints,
			  enum columns_effort effort)
{
	size_t *starts = xmalloc((series + 1) * sizeof(*starts));
	uint32_t *order = xmalloc(n * sizeof(*order));
	struct slice *values = xmalloc(n * sizeof(*values));

	gather(rows, n, series, starts, order);
	for (size_t i = 0; i < n; i++)
		values[i] = rows[order[i]].value;
	for (uint32_t s = 0; s < series; s++)
		if (starts[s + 1] > starts[s])
			values_encode(c, e, values + starts[s], starts[s + 1] - starts[s],
				      hint_of(hints, s), effort);
	free(values);
	free(order);
	free(starts);
}

static int decode_values(struct range_decoder *d, struct values_codec *c, struct rows *t,
			 uint32_t series, const struct columns_hints *hints)
{
	size_t *starts = xmalloc((series + 1) * sizeof(*starts));
	uint32_t *order = xmalloc(t->n * sizeof(*order));
	int err = 0;

	gather(t->rows, t->n, series, starts, order);
	strbuf_reserve(&t->text, 1);
	for (uint32_t s = 0; s < series && !err; s++)
		if (starts[s + 1] > starts[s])
			err = values_decode(c, d, t, order + starts[s], starts[s + 1] - starts[s],
					    hint_of(hints, s));
	for (size_t i = 0; i < t->n && !err; i++)
		t->rows[i].value.p = t->text.s + (uintptr_t)t->rows[i].value.p;
	free(order);
	free(starts);
	return err ? err : t->text.err;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void encode_stream(struct strbuf *out, const struct row *rows, size_t n, uint32_t series,
			  const struct columns_hints *hints, enum columns_effort effort)
{
	struct values_codec c;
	struct range_encoder e;
	int unit = finest_unit(rows, n);

	values_init(&c, n, series);
	range_encoder_init(&e, out);
	range_encode_raw(&e, (uint64_t)unit, UNIT_BITS);
	encode_series(&e, &c.exceptions, rows, n, series);
	encode_attributions(&e, &c.exceptions, rows, n, series);
	encode_digits(&e, &c.exceptions, rows, n);
	encode_times(&e, &c, rows, n, series, pow10_i64[unit], base_of(hints));
	encode_values(&e, &c, rows, n, series, hints, effort);
	range_encoder_finish(&e);
	values_release(&c);
}

static int decode_stream(struct slice stream, uint32_t series, uint32_t attributions,
			 const struct columns_hints *hints, struct rows *t)
{
	struct values_codec c;
	struct range_decoder d;
	int unit, err;

	values_init(&c, t->n, series);
	range_decoder_init(&d, stream);
	unit = (int)range_decode_raw(&d, UNIT_BITS);
	err = unit > 9 ? -EBADMSG : decode_series(&d, &c.exceptions, t->rows, t->n, series);
	if (!err)
		err = decode_attributions(&d, &c.exceptions, t->rows, t->n, series, attributions);
	if (!err)
		err = decode_digits(&d, &c.exceptions, t->rows, t->n);
	if (!err)
		err = decode_times(&d, &c, t->rows, t->n, series, pow10_i64[unit], base_of(hints));
	if (!err)
		err = decode_values(&d, &c, t, series, hints);
	values_release(&c);
	return err;
}

void columns_encode(struct strbuf *out, const struct row *rows, size_t n, uint32_t series,
		    const struct columns_hints *hints, enum columns_effort effort)
{
	struct strbuf stream;

	strbuf_add_varint(out, n);
	strbuf_add_varint(out, series);
	if (!n)
		return;
	strbuf_init(&stream, out->max);
	encode_stream(&stream, rows, n, series, hints, effort);
	strbuf_add_lstr(out, (struct slice){stream.s, stream.len});
	if (stream.err && !out->err)
		out->err = stream.err;
	strbuf_release(&stream);
}

static void rows_reserve(struct rows *t, size_t n)
{
	if (n > t->cap) {
		t->rows = xrealloc(t->rows, n * sizeof(*t->rows));
		t->cap = n;
	}
}

int columns_decode(struct reader *r, uint32_t series, uint32_t attributions, size_t max_rows,
		   const struct columns_hints *hints, struct rows *ret)
{
	uint64_t n = read_varint(r), own_series = read_varint(r);
	struct slice stream;
	int err;

	if (!ret->text.max)
		strbuf_init(&ret->text, SIZE_MAX);
	strbuf_reset(&ret->text);
	ret->n = 0;
	if (r->err || n > max_rows || own_series != series || (n && !series))
		return -EBADMSG;
	if (!n)
		return 0;
	stream = read_lstr(r);
	if (r->err)
		return -EBADMSG;
	rows_reserve(ret, n);
	ret->n = n;
	err = decode_stream(stream, series, attributions, hints, ret);
	if (err)
		ret->n = 0;
	return err ? -EBADMSG : 0;
}

void rows_release(struct rows *r)
{
	free(r->rows);
	strbuf_release(&r->text);
	*r = (struct rows){0};
}
