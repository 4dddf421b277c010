/* Rows made of any bytes come back from the column codec, with every effort and hint.
 *	clang -fsanitize=fuzzer,address -DFUZZ …    or as it is: fuzz_columns FILE… */
#include <stdio.h>

#include "columns.h"

enum { ROWS_MAX = 2000, SERIES_MAX = 4096, ATTRIBUTIONS = 300 };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void require(bool ok)
{
	if (!ok)
		abort();
}

/* What a row is made of where its bytes do not say otherwise: the row before. */
struct maker {
	struct reader r;
	uint32_t series; /* of the table */
	struct row row;
	int64_t number;
	uint8_t scale;
	struct strbuf text;
	size_t start[ROWS_MAX]; /* of values in text, which moves */
};

static int64_t take(struct maker *m, size_t bytes)
{
	int64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v = (int64_t)((uint64_t)v << 8 | read_u8(&m->r));
	return v;
}

static void take_time(struct maker *m, uint8_t how)
{
	static const int64_t units[] = {1000000000, 100000000, 10000000, 1000000, 100000,
					10000,      1000,      100,      10,      1};
	struct stamp *t = &m->row.time;

	if (how & 1)
		t->ns += (int8_t)read_u8(&m->r) * 100000000LL;
	if (how & 2)
		t->digits = read_u8(&m->r) % 10;
	if (how == 7)
		t->ns = take(m, 8) & INT64_MAX;
	t->ns = MAX(t->ns, 0);
	t->ns -= t->ns % units[t->digits];
}

/* A number near the last one, or any text. */
static void take_value(struct maker *m, uint8_t how)
{
	struct slice text = {0};

	if (how == 3) {
		text = read_bytes(&m->r, MIN(reader_left(&m->r), read_u8(&m->r) % (VALUE_MAX + 1)));
		strbuf_add_slice(&m->text, text);
		return;
	}
	m->number = (int64_t)((uint64_t)m->number +
			      (uint64_t)take(m, how == 2 ? 8 : how)); /* it may wrap */
	if (m->scale)
		strbuf_addf(&m->text, "%lld.%0*d", (long long)(m->number / 1000), m->scale,
			    abs((int)(m->number % 1000)) % 10);
	else
		strbuf_addf(&m->text, "%lld", (long long)m->number);
}

static size_t make_rows(struct maker *m, struct row *rows)
{
	size_t n = 0;

	for (; n < ROWS_MAX && reader_left(&m->r); n++) {
		uint8_t op = read_u8(&m->r);

		m->row.series = (m->row.series + 1) % m->series;
		if (op & 1)
			m->row.series = (uint32_t)take(m, 2) % m->series;
		if (op & 2)
			m->row.attribution = (uint32_t)take(m, 2) % ATTRIBUTIONS;
		if (op == 255)
			m->scale = read_u8(&m->r) % 9;
		take_time(m, op >> 2 & 7);
		m->start[n] = m->text.len;
		take_value(m, op >> 5 & 3);
		rows[n] = m->row;
		rows[n].value.len = m->text.len - m->start[n];
	}
	for (size_t i = 0; i < n; i++)
		rows[i].value.p = m->text.s + m->start[i];
	return n;
}

static void require_same(const struct row *a, size_t n, const struct rows *b)
{
	require(b->n == n);
	for (size_t i = 0; i < n; i++) {
		const struct row *x = &a[i], *y = &b->rows[i];

		require(x->time.ns == y->time.ns && x->time.digits == y->time.digits);
		require(x->series == y->series && x->attribution == y->attribution);
		require(slice_eq(x->value, y->value));
	}
}

static void round_trip(const struct row *rows, size_t n, uint32_t series,
		       const struct columns_hints *hints, enum columns_effort effort)
{
	struct rows got = {0};
	struct strbuf out;
	struct reader r;

	strbuf_init(&out, 1 << 26);
	columns_encode(&out, rows, n, series, hints, effort);
	require(!out.err);
	r = reader_of(out.s, out.len);
	require(columns_decode(&r, series, ATTRIBUTIONS, n, hints, &got) == 0 && !reader_left(&r));
	require_same(rows, n, &got);
	rows_release(&got);
	strbuf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct maker m;
	static struct row rows[ROWS_MAX];
	static struct slice values[SERIES_MAX];
	struct columns_hints hints = {0, values};
	size_t count;

	m = (struct maker){.r = reader_of(p, n)};
	strbuf_init(&m.text, ROWS_MAX * VALUE_MAX + 1);
	m.series = 1 + (uint32_t)take(&m, 2) % (n & 1 ? 10 : SERIES_MAX);
	count = make_rows(&m, rows);
	for (size_t i = 0; i < count; i++)
		values[rows[i].series] = rows[i].value;
	hints.base_ns = count ? rows[0].time.ns : 0;
	round_trip(rows, count, m.series, NULL, COLUMNS_FAST);
	round_trip(rows, count, m.series, &hints, COLUMNS_SMALL);
	memset(values, 0, sizeof(values));
	strbuf_release(&m.text);
	return 0;
}

#ifndef FUZZ
static void run_file(const char *path)
{
	static uint8_t bytes[1 << 22];
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(1);
	}
	LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof(bytes), f));
	fclose(f);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	return 0;
}
#endif
