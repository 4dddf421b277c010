#include "columns.h"

#include "map.h"

enum mode { MODE_CONST, MODE_DECIMAL, MODE_DICTIONARY };
enum style { STYLE_FIXED, STYLE_TRIMMED };
enum { ORDER_MAX = 2, SCALE_MAX = 18, DIGITS_MAX = 18 };

/* ---- index columns: predicted, with exceptions ---------------------------------------------- */

/* Collects (gap, actual) pairs; the count goes in front, so they are gathered apart. */
struct exceptions {
	struct strbuf body;
	uint64_t n;
	size_t last;
};

static void exceptions_init(struct exceptions *x)
{
	*x = (struct exceptions){0};
	strbuf_init(&x->body, SIZE_MAX);
}

static void exceptions_add(struct exceptions *x, size_t row, uint64_t actual)
{
	strbuf_add_varint(&x->body, row - x->last);
	strbuf_add_varint(&x->body, actual);
	x->last = row;
	x->n++;
}

static void exceptions_flush(struct exceptions *x, struct strbuf *out)
{
	strbuf_add_varint(out, x->n);
	strbuf_add(out, x->body.s, x->body.len);
	strbuf_release(&x->body);
}

static void encode_series(struct strbuf *out, const struct row *rows, size_t n, uint32_t series)
{
	uint32_t *next = xmalloc(series * sizeof(*next)), prev = series - 1;
	struct exceptions x;

	for (uint32_t s = 0; s < series; s++)
		next[s] = (s + 1) % series;
	exceptions_init(&x);
	for (size_t i = 0; i < n; i++) {
		if (next[prev] != rows[i].series)
			exceptions_add(&x, i, rows[i].series);
		next[prev] = rows[i].series;
		prev = rows[i].series;
	}
	exceptions_flush(&x, out);
	free(next);
}

static void encode_attributions(struct strbuf *out, const struct row *rows, size_t n,
				uint32_t series)
{
	uint32_t *last = xcalloc(series, sizeof(*last)); /* attribution + 1; 0: none yet */
	uint32_t prev = 0;
	struct exceptions x;

	exceptions_init(&x);
	for (size_t i = 0; i < n; i++) {
		uint32_t a = rows[i].attribution, *l = &last[rows[i].series];

		if ((*l ? *l - 1 : prev) != a)
			exceptions_add(&x, i, a);
		*l = a + 1;
		prev = a;
	}
	exceptions_flush(&x, out);
	free(last);
}

static void encode_digits(struct strbuf *out, const struct row *rows, size_t n)
{
	struct exceptions x;
	uint8_t prev = 0;

	exceptions_init(&x);
	for (size_t i = 0; i < n; i++) {
		if (rows[i].time.digits != prev)
			exceptions_add(&x, i, rows[i].time.digits);
		prev = rows[i].time.digits;
	}
	exceptions_flush(&x, out);
}

static const int64_t pow10_i64[] = {1LL,
				    10LL,
				    100LL,
				    1000LL,
				    10000LL,
				    100000LL,
				    1000000LL,
				    10000000LL,
				    100000000LL,
				    1000000000LL,
				    10000000000LL,
				    100000000000LL,
				    1000000000000LL,
				    10000000000000LL,
				    100000000000000LL,
				    1000000000000000LL,
				    10000000000000000LL,
				    100000000000000000LL,
				    1000000000000000000LL};

static void encode_times(struct strbuf *out, const struct row *rows, size_t n)
{
	int64_t unit, prev = 0;
	uint8_t digits = 0;

	for (size_t i = 0; i < n; i++)
		digits = MAX(digits, rows[i].time.digits);
	unit = pow10_i64[9 - digits];
	strbuf_add_u8(out, 9 - digits);
	for (size_t i = 0; i < n; i++) {
		int64_t t = rows[i].time.ns / unit;

		strbuf_add_zigzag(out, t - prev);
		prev = t;
	}
}

/* ---- decimals -------------------------------------------------------------------------------- */

struct decimal {
	int64_t mantissa;
	int scale; /* fraction digits */
};

/* Text that a (mantissa, scale) reproduces to the byte: -?(0|[1-9][0-9]*)(\.[0-9]+)?, at most 18
 * digits, no negative zero. */
static bool decimal_parse(struct slice s, struct decimal *ret)
{
	const char *p = s.p, *end = s.p + s.len, *whole;
	bool negative = p < end && *p == '-';
	uint64_t m = 0;
	int digits = 0, scale = 0;

	p += negative;
	for (whole = p; p < end && *p >= '0' && *p <= '9'; p++, digits++)
		m = m * 10 + (uint64_t)(*p - '0');
	if (p == whole || digits > DIGITS_MAX || (*whole == '0' && p - whole > 1))
		return false;
	if (p < end) {
		if (*p++ != '.' || p == end)
			return false;
		for (; p < end && *p >= '0' && *p <= '9' && digits <= DIGITS_MAX;
		     p++, digits++, scale++)
			m = m * 10 + (uint64_t)(*p - '0');
	}
	if (p < end || digits > DIGITS_MAX || (negative && m == 0))
		return false;
	*ret = (struct decimal){negative ? -(int64_t)m : (int64_t)m, scale};
	return true;
}

/* Writes mantissa / 10^scale with exactly scale fraction digits, or with trailing zeros (and a bare
 * point) cut. buf holds at least 24 bytes. */
static size_t decimal_format(int64_t mantissa, int scale, enum style style, char *buf)
{
	char tmp[24], *p = tmp + sizeof(tmp), *q = buf;
	uint64_t m = mantissa < 0 ? -(uint64_t)mantissa : (uint64_t)mantissa;
	int left = scale;

	while (style == STYLE_TRIMMED && left > 0 && m % 10 == 0) {
		m /= 10;
		left--;
	}
	for (int i = 0; i < left || m || i <= left; i++) {
		if (i == left && left)
			*--p = '.';
		*--p = (char)('0' + m % 10);
		m /= 10;
	}
	if (mantissa < 0)
		*q++ = '-';
	memcpy(q, p, (size_t)(tmp + sizeof(tmp) - p));
	return (size_t)(q - buf) + (size_t)(tmp + sizeof(tmp) - p);
}

/* ---- value columns --------------------------------------------------------------------------- */

/* How one series' values are best written as integers, and which do not fit. */
struct plan {
	enum style style;
	int scale;
	size_t exceptions;
};

static bool fits(struct slice v, const struct plan *p, int64_t *ret)
{
	struct decimal d;
	char back[32];

	if (!decimal_parse(v, &d))
		return false;
	if (p->style == STYLE_FIXED && d.scale != p->scale)
		return false;
	if (d.scale > p->scale || d.scale < p->scale - SCALE_MAX)
		return false;
	if (__builtin_mul_overflow(d.mantissa, pow10_i64[p->scale - d.scale], &d.mantissa) ||
	    llabs(d.mantissa) >= pow10_i64[DIGITS_MAX])
		return false;
	if (p->style == STYLE_TRIMMED && d.scale &&
	    !slice_eq(v,
		      (struct slice){back, decimal_format(d.mantissa, p->scale, p->style, back)}))
		return false;
	*ret = d.mantissa;
	return true;
}

static void make_plan(const struct slice *v, size_t n, struct plan *ret)
{
	size_t by_scale[SCALE_MAX + 1] = {0}, decimals = 0, best = 0;
	int top = 0;
	int64_t m;

	for (size_t i = 0; i < n; i++) {
		struct decimal d;

		if (!decimal_parse(v[i], &d))
			continue;
		decimals++;
		by_scale[d.scale]++;
		top = MAX(top, d.scale);
	}
	for (int s = 0; s <= top; s++)
		if (by_scale[s] > by_scale[best])
			best = (size_t)s;
	*ret = (struct plan){STYLE_FIXED, (int)best, 0};
	if (by_scale[best] < decimals)
		*ret = (struct plan){STYLE_TRIMMED, top, 0};
	for (size_t i = 0; i < n; i++)
		ret->exceptions += !fits(v[i], ret, &m);
}

static size_t zigzag_len(int64_t v)
{
	return (size_t)(70 - __builtin_clzll(zigzag(v) | 1)) / 7;
}

/* The k-th difference of x at i, x[-1] and x[-2] being 0. Wraps; the decoder wraps back. */
static int64_t difference(const int64_t *x, size_t i, int order)
{
	uint64_t a = (uint64_t)x[i], b = i > 0 ? (uint64_t)x[i - 1] : 0,
		 c = i > 1 ? (uint64_t)x[i - 2] : 0;

	return (int64_t)(order == 0 ? a : order == 1 ? a - b : a - 2 * b + c);
}

static int best_order(const int64_t *x, size_t n)
{
	size_t cost[ORDER_MAX + 1] = {0};
	int best = 0;

	for (int order = 0; order <= ORDER_MAX; order++) {
		for (size_t i = 0; i < n; i++)
			cost[order] += zigzag_len(difference(x, i, order));
		if (cost[order] < cost[best])
			best = order;
	}
	return best;
}

static void encode_decimals(struct strbuf *out, const struct slice *v, size_t n,
			    const struct plan *plan)
{
	int64_t *x = xmalloc(n * sizeof(*x)), prev = 0;
	size_t last = 0;
	int order;

	for (size_t i = 0; i < n; i++) {
		if (!fits(v[i], plan, &x[i]))
			x[i] = prev;
		prev = x[i];
	}
	order = best_order(x, n);
	strbuf_add_u8(out, MODE_DECIMAL);
	strbuf_add_u8(out, (uint8_t)plan->scale);
	strbuf_add_u8(out, plan->style);
	strbuf_add_u8(out, (uint8_t)order);
	for (size_t i = 0; i < n; i++)
		strbuf_add_zigzag(out, difference(x, i, order));
	strbuf_add_varint(out, plan->exceptions);
	for (size_t i = 0; i < n && plan->exceptions; i++) {
		if (fits(v[i], plan, &prev))
			continue;
		strbuf_add_varint(out, i - last);
		strbuf_add_lstr(out, v[i]);
		last = i;
	}
	free(x);
}

static void encode_dictionary(struct strbuf *out, const struct slice *v, size_t n)
{
	struct map index = MAP_INIT;
	struct strbuf words, ids;

	strbuf_init(&words, SIZE_MAX);
	strbuf_init(&ids, SIZE_MAX);
	for (size_t i = 0; i < n; i++) {
		uintptr_t id = (uintptr_t)map_get(&index, v[i].p, v[i].len);

		if (!id) {
			id = map_count(&index) + 1;
			map_put(&index, v[i].p, v[i].len, (void *)id);
			strbuf_add_lstr(&words, v[i]);
		}
		strbuf_add_varint(&ids, id - 1);
	}
	strbuf_add_u8(out, MODE_DICTIONARY);
	strbuf_add_varint(out, map_count(&index));
	strbuf_add(out, words.s, words.len);
	strbuf_add(out, ids.s, ids.len);
	strbuf_release(&words);
	strbuf_release(&ids);
	map_release(&index);
}

static void encode_values(struct strbuf *out, const struct slice *v, size_t n)
{
	struct plan plan;
	size_t same = 1;

	while (same < n && slice_eq(v[0], v[same]))
		same++;
	if (same == n) {
		strbuf_add_u8(out, MODE_CONST);
		strbuf_add_lstr(out, v[0]);
		return;
	}
	make_plan(v, n, &plan);
	if (plan.exceptions * 4 > n)
		encode_dictionary(out, v, n);
	else
		encode_decimals(out, v, n, &plan);
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

void columns_encode(struct strbuf *out, const struct row *rows, size_t n, uint32_t series)
{
	size_t *starts = xmalloc((series + 1) * sizeof(*starts));
	uint32_t *order = xmalloc((n + 1) * sizeof(*order));
	struct slice *values = xmalloc((n + 1) * sizeof(*values));

	strbuf_add_varint(out, n);
	strbuf_add_varint(out, series);
	if (n) {
		encode_series(out, rows, n, series);
		encode_attributions(out, rows, n, series);
		encode_digits(out, rows, n);
		encode_times(out, rows, n);
		gather(rows, n, series, starts, order);
		for (size_t i = 0; i < n; i++)
			values[i] = rows[order[i]].value;
		for (uint32_t s = 0; s < series; s++)
			if (starts[s + 1] > starts[s])
				encode_values(out, values + starts[s], starts[s + 1] - starts[s]);
	}
	free(values);
	free(order);
	free(starts);
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* Walks an exception column in step with the rows. */
struct exception_reader {
	uint64_t left;
	size_t next;
	uint64_t value;
	struct reader r;
};

static void exception_next(struct exception_reader *x)
{
	if (!x->left)
		return;
	x->left--;
	x->next += read_varint(&x->r);
	x->value = read_varint(&x->r);
	if (x->r.err)
		x->left = 0;
	x->left++; /* counts the one that stands ready */
}

/* Starts on the column at r and moves r behind it. */
static int exception_open(struct exception_reader *x, struct reader *r)
{
	uint64_t n = read_varint(r);

	*x = (struct exception_reader){.left = n, .r = *r};
	if (r->err || n > reader_left(r) / 2)
		return -EBADMSG;
	for (uint64_t i = 0; i < 2 * n; i++)
		read_varint(r);
	if (r->err)
		return -EBADMSG;
	exception_next(x);
	return 0;
}

static uint64_t exception_at(struct exception_reader *x, size_t row, uint64_t predicted)
{
	if (!x->left || x->next != row)
		return predicted;
	predicted = x->value;
	x->left--;
	exception_next(x);
	return predicted;
}

static int decode_series(struct reader *r, struct row *rows, size_t n, uint32_t series)
{
	uint32_t *next = xmalloc(series * sizeof(*next)), prev = series - 1;
	struct exception_reader x;
	int err = exception_open(&x, r);

	for (uint32_t s = 0; s < series; s++)
		next[s] = (s + 1) % series;
	for (size_t i = 0; i < n && !err; i++) {
		uint64_t s = exception_at(&x, i, next[prev]);

		if (s >= series) {
			err = -EBADMSG;
			break;
		}
		rows[i].series = next[prev] = (uint32_t)s;
		prev = (uint32_t)s;
	}
	free(next);
	return err;
}

static int decode_attributions(struct reader *r, struct row *rows, size_t n, uint32_t series,
			       uint32_t attributions)
{
	uint32_t *last = xcalloc(series, sizeof(*last)), prev = 0;
	struct exception_reader x;
	int err = exception_open(&x, r);

	for (size_t i = 0; i < n && !err; i++) {
		uint32_t *l = &last[rows[i].series];
		uint64_t a = exception_at(&x, i, *l ? *l - 1 : prev);

		if (a >= attributions) {
			err = -EBADMSG;
			break;
		}
		rows[i].attribution = prev = (uint32_t)a;
		*l = prev + 1;
	}
	free(last);
	return err;
}

static int decode_times(struct reader *r, struct row *rows, size_t n)
{
	struct exception_reader x;
	uint64_t digits = 0;
	int64_t t = 0, ns;
	uint8_t unit;
	int err = exception_open(&x, r);

	for (size_t i = 0; i < n && !err; i++) {
		digits = exception_at(&x, i, digits);
		if (digits > 9)
			err = -EBADMSG;
		rows[i].time.digits = (uint8_t)digits;
	}
	unit = read_u8(r);
	if (err || unit > 9)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		if (__builtin_add_overflow(t, read_zigzag(r), &t) ||
		    __builtin_mul_overflow(t, pow10_i64[unit], &ns) || ns < 0)
			return -EBADMSG;
		rows[i].time.ns = ns;
	}
	return r->err;
}

static int put_value(struct rows *t, struct row *row, const char *p, size_t len)
{
	/* The offset for now: the buffer may move until the last value is in. */
	row->value = (struct slice){(const char *)(uintptr_t)t->text.len, len};
	strbuf_add(&t->text, p, len);
	return t->text.err;
}

static int decode_const(struct reader *r, struct rows *t, const uint32_t *order, size_t n)
{
	struct slice v = read_lstr(r);
	size_t at = t->text.len;

	if (r->err || v.len > VALUE_MAX)
		return -EBADMSG;
	strbuf_add(&t->text, v.p, v.len);
	for (size_t i = 0; i < n; i++)
		t->rows[order[i]].value = (struct slice){(const char *)(uintptr_t)at, v.len};
	return t->text.err;
}

static int decode_dictionary(struct reader *r, struct rows *t, const uint32_t *order, size_t n)
{
	uint64_t words = read_varint(r);
	struct slice *dict;
	int err = 0;

	if (r->err || !words || words > n || words > reader_left(r))
		return -EBADMSG;
	dict = xmalloc(words * sizeof(*dict));
	for (uint64_t i = 0; i < words && !err; i++) {
		dict[i] = read_lstr(r);
		if (r->err || dict[i].len > VALUE_MAX)
			err = -EBADMSG;
	}
	for (size_t i = 0; i < n && !err; i++) {
		uint64_t w = read_varint(r);

		err = r->err || w >= words
			      ? -EBADMSG
			      : put_value(t, &t->rows[order[i]], dict[w].p, dict[w].len);
	}
	free(dict);
	return err;
}

static int decode_decimal_exceptions(struct reader *r, struct rows *t, const uint32_t *order,
				     size_t n)
{
	uint64_t count = read_varint(r);
	size_t at = 0;

	if (r->err || count > n)
		return -EBADMSG;
	for (; count > 0; count--) {
		struct slice v;

		at += read_varint(r);
		v = read_lstr(r);
		if (r->err || at >= n || v.len > VALUE_MAX ||
		    put_value(t, &t->rows[order[at]], v.p, v.len))
			return -EBADMSG;
	}
	return 0;
}

static int decode_decimals(struct reader *r, struct rows *t, const uint32_t *order, size_t n)
{
	uint8_t scale = read_u8(r), style = read_u8(r), diff = read_u8(r);
	uint64_t a = 0, b = 0; /* the two values before */
	char buf[32];

	if (r->err || scale > SCALE_MAX || style > STYLE_TRIMMED || diff > ORDER_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		uint64_t d = (uint64_t)read_zigzag(r);
		uint64_t v = diff == 0 ? d : diff == 1 ? d + a : d + 2 * a - b;

		b = a;
		a = v;
		if (r->err || (int64_t)v <= -pow10_i64[18] || (int64_t)v >= pow10_i64[18] ||
		    put_value(t, &t->rows[order[i]], buf,
			      decimal_format((int64_t)v, scale, style, buf)))
			return -EBADMSG;
	}
	return decode_decimal_exceptions(r, t, order, n);
}

static int decode_values(struct reader *r, struct rows *t, const uint32_t *order, size_t n)
{
	switch (read_u8(r)) {
	case MODE_CONST:
		return decode_const(r, t, order, n);
	case MODE_DECIMAL:
		return decode_decimals(r, t, order, n);
	case MODE_DICTIONARY:
		return decode_dictionary(r, t, order, n);
	default:
		return -EBADMSG;
	}
}

static int decode_all_values(struct reader *r, struct rows *t, uint32_t series)
{
	size_t *starts = xmalloc((series + 1) * sizeof(*starts));
	uint32_t *order = xmalloc((t->n + 1) * sizeof(*order));
	int err = 0;

	gather(t->rows, t->n, series, starts, order);
	for (uint32_t s = 0; s < series && !err; s++)
		if (starts[s + 1] > starts[s])
			err = decode_values(r, t, order + starts[s], starts[s + 1] - starts[s]);
	for (size_t i = 0; i < t->n && !err; i++)
		t->rows[i].value.p = t->text.s + (uintptr_t)t->rows[i].value.p;
	free(order);
	free(starts);
	return err;
}

static void rows_reserve(struct rows *t, size_t n)
{
	if (n > t->cap) {
		t->rows = xrealloc(t->rows, n * sizeof(*t->rows));
		t->cap = n;
	}
}

int columns_decode(struct reader *r, uint32_t series, uint32_t attributions, size_t max_rows,
		   struct rows *ret)
{
	uint64_t n = read_varint(r), own_series = read_varint(r);
	int err;

	if (!ret->text.max)
		strbuf_init(&ret->text, SIZE_MAX);
	strbuf_reset(&ret->text);
	ret->n = 0;
	if (r->err || n > max_rows || own_series != series || (n && !series))
		return -EBADMSG;
	if (!n)
		return 0;
	rows_reserve(ret, n);
	ret->n = n;
	err = decode_series(r, ret->rows, n, series);
	if (!err)
		err = decode_attributions(r, ret->rows, n, series, attributions);
	if (!err)
		err = decode_times(r, ret->rows, n);
	if (!err)
		err = decode_all_values(r, ret, series);
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
