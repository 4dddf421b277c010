#include "../lib/hostile.h"
#include "../lib/test.h"
#include "columns.h"

#include <stdio.h>

enum { ROWS_MAX = 8192, SERIES = 40, ATTRIBUTIONS = 9 };

/* Rows and the sizes of the tables that they index. */
struct table {
	struct row rows[ROWS_MAX];
	size_t n;
	uint32_t series, attributions;
};

static struct table *table_new(uint32_t series, uint32_t attributions)
{
	struct table *t = xcalloc(1, sizeof(*t));

	t->series = series;
	t->attributions = attributions;
	return t;
}

static void add(struct table *t, struct stamp time, uint32_t series, uint32_t attribution,
		struct slice value)
{
	t->rows[t->n++] = (struct row){time, series, attribution, value};
}

static struct strbuf encoded(const struct table *t)
{
	struct strbuf out;

	strbuf_init(&out, 1 << 24);
	columns_encode(&out, t->rows, t->n, t->series, NULL, COLUMNS_SMALL);
	CHECK_EQ_INT(out.err, 0);
	return out;
}

static bool same_row(const struct row *a, const struct row *b)
{
	return a->time.ns == b->time.ns && a->time.digits == b->time.digits &&
	       a->series == b->series && a->attribution == b->attribution &&
	       slice_eq(a->value, b->value);
}

/* The index of the first row that differs, or -1. */
static int64_t first_difference(const struct table *t, const struct rows *got)
{
	for (size_t i = 0; i < t->n; i++)
		if (i >= got->n || !same_row(&t->rows[i], &got->rows[i]))
			return (int64_t)i;
	return got->n == t->n ? -1 : (int64_t)t->n;
}

static int decode(const struct strbuf *b, uint32_t series, uint32_t attributions, size_t max,
		  struct rows *ret)
{
	struct reader r = reader_of(b->s, b->len);
	int err = columns_decode(&r, series, attributions, max, NULL, ret);

	return !err && reader_left(&r) ? -EOVERFLOW : err;
}

/* Encodes, decodes, compares; returns the bytes that it took. */
static size_t round_trip(const struct table *t)
{
	struct strbuf b = encoded(t);
	struct rows got = {0};
	size_t len = b.len;

	if (CHECK_EQ_INT(decode(&b, t->series, t->attributions, t->n, &got), 0))
		CHECK_EQ_INT(first_difference(t, &got), -1);
	rows_release(&got);
	strbuf_release(&b);
	return len;
}

/* ---- one column at a time -------------------------------------------------------------------- */

static size_t values_round_trip(const char *const *values, size_t n)
{
	struct table *t = table_new(1, 1);
	size_t len;

	for (size_t i = 0; i < n; i++)
		add(t, (struct stamp){(int64_t)i * NS_PER_SEC, 0}, 0, 0, slice_str(values[i]));
	len = round_trip(t);
	free(t);
	return len;
}

#define VALUES(...)                                                                                \
	values_round_trip((const char *const[]){__VA_ARGS__},                                      \
			  sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

TEST(values_come_back_to_the_byte_whatever_stands_next_to_them)
{
	VALUES("117.77", "117.78", "117.7", "118", "117.770");
	VALUES("67.351000", "67.351001", "67.35", "7e-06", "67.351000");
	VALUES("0", "-0", "+5", "007", ".5", "5", "1.0", "1");
	VALUES("1", "2", "3", "4", "1.0", "5", "6", "7", "8");
	VALUES("-0.0", "0.0", "0", "-0", "0.00");
	VALUES("999999999999999999", "-999999999999999999", "0", "1");
	VALUES("1000000000000000000", "1", "2", "3", "4", "-1000000000000000000");
	VALUES("0.999999999999999999", "-0.999999999999999999", "0.000000000000000001", "0");
	VALUES("0.000000000000000001", "999999999999999999", "1", "2");
	VALUES("12345678901234567890", "12345678901234567891");
	VALUES("1.5", "1.50", "1.500", "1.5000", "1", "1.");
	VALUES("", "1", "");
	VALUES("");
	VALUES("", "");
	VALUES("1234567890123456789012345678901234567890123456789012345678901234");
}

TEST(integers_that_swing_from_end_to_end_come_back)
{
	struct table *t = table_new(1, 1);

	for (int64_t i = 0; i < 400; i++)
		add(t, (struct stamp){i, 9}, 0, 0,
		    hostile_textf("%s99999999999999999%d", i & 1 ? "-" : "", (int)(i % 10)));
	round_trip(t);
	free(t);
}

TEST(times_of_all_precisions_mix)
{
	struct rng g = {1};

	for (int round = 0; round < 200; round++) {
		struct table *t = table_new(1, 1);
		size_t n = 1 + rng_below(&g, 50);

		for (size_t i = 0; i < n; i++)
			add(t, hostile_stamp(&g), 0, 0, SLICE_LIT("1"));
		round_trip(t);
		free(t);
	}
}

TEST(both_ends_of_time_come_back)
{
	struct table *t = table_new(1, 1);

	for (int i = 0; i < 10; i++)
		add(t, (struct stamp){i & 1 ? INT64_MAX : 0, 9}, 0, 0, SLICE_LIT("1"));
	round_trip(t);
	free(t);
}

TEST(no_rows_are_rows)
{
	struct table *t = table_new(3, 1);

	round_trip(t);
	t->series = 0;
	round_trip(t);
	free(t);
}

TEST(rows_of_one_column_set_are_reused_for_the_next)
{
	struct table *t = table_new(2, 1);
	struct rows got = {0};

	for (int64_t i = 0; i < 30; i++) {
		struct strbuf b;

		add(t, (struct stamp){i, 9}, (uint32_t)i % 2, 0, hostile_textf("%d.5", (int)i));
		b = encoded(t);
		CHECK_EQ_INT(decode(&b, 2, 1, ROWS_MAX, &got), 0);
		CHECK_EQ_INT(first_difference(t, &got), -1);
		strbuf_release(&b);
	}
	rows_release(&got);
	free(t);
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* How the values of one series go on. */
static struct slice next_value(struct rng *g, uint32_t series, size_t i)
{
	switch (series % 7) {
	case 0:
		return SLICE_LIT("0");
	case 1:
		return hostile_textf("%zu", i * 1000003);
	case 2:
		return hostile_textf("%.6f", (double)rng_below(g, 1000000) / 997);
	case 3:
		return hostile_textf("%g", (double)rng_below(g, 100000) / 1000);
	case 4:
		return rng_one_in(g, 50) ? hostile_value(g) : hostile_textf("%zu", i % 7);
	case 5:
		return hostile_textf("%lld", (long long)rng_next(g));
	default:
		return hostile_value(g);
	}
}

static uint32_t next_series(struct rng *g, uint32_t series, size_t i, int order)
{
	if (order == 0 || (order == 1 && !rng_one_in(g, 20)))
		return (uint32_t)(i % series);
	return (uint32_t)rng_below(g, series);
}

static struct table *random_table(struct rng *g)
{
	struct table *t = table_new(1 + (uint32_t)rng_below(g, SERIES),
				    1 + (uint32_t)rng_below(g, ATTRIBUTIONS));
	int order = (int)rng_below(g, 3), times = (int)rng_below(g, 3);
	size_t n = rng_one_in(g, 5) ? 1 : 1 + rng_below(g, 700);
	uint32_t attribution = 0;

	for (size_t i = 0; i < n; i++) {
		int64_t ns = (int64_t)(1750000000 + i / t->series) * NS_PER_SEC;
		struct stamp time = {ns, (uint8_t)(times ? 3 : 0)};

		if (times == 2 && rng_one_in(g, 10))
			time = hostile_stamp(g);
		if (rng_one_in(g, 30))
			attribution = (uint32_t)rng_below(g, t->attributions);
		t->rows[i].series = next_series(g, t->series, i, order);
		add(t, time, t->rows[i].series, attribution, next_value(g, t->rows[i].series, i));
	}
	return t;
}

TEST(any_rows_come_back_in_their_places)
{
	struct rng g = {42};

	for (int round = 0; round < 400; round++) {
		struct table *t = random_table(&g);

		round_trip(t);
		free(t);
	}
}

TEST(periodic_rows_take_less_than_three_bytes_each)
{
	struct table *t = table_new(SERIES, 2);
	struct rng g = {7};

	for (size_t i = 0; i < ROWS_MAX; i++) {
		uint32_t s = (uint32_t)(i % SERIES);
		int64_t ms = (int64_t)(1750000000123 + i / SERIES * 1000);

		add(t, (struct stamp){ms * NS_PER_MS, 3}, s, s % 2,
		    hostile_textf("%.3f", 60 + s + (double)rng_below(&g, 50) / 1000));
	}
	CHECK(round_trip(t) < 3 * t->n);
	free(t);
}

TEST(what_never_repeats_costs_little_more_than_its_text)
{
	struct table *t = table_new(SERIES, ATTRIBUTIONS);
	struct rng g = {9};
	size_t text = 0;

	for (size_t i = 0; i < 4000; i++) {
		struct slice v = hostile_textf("%016llx%016llx", (unsigned long long)rng_next(&g),
					       (unsigned long long)rng_next(&g));

		text += v.len;
		add(t, hostile_stamp(&g), (uint32_t)rng_below(&g, SERIES),
		    (uint32_t)rng_below(&g, ATTRIBUTIONS), v);
	}
	CHECK(round_trip(t) < text + 24 * t->n);
	free(t);
}

/* ---- what costs little ----------------------------------------------------------------------- */

TEST(times_that_stand_or_run_backwards_come_back)
{
	struct table *t = table_new(3, 1);

	for (int64_t i = 0; i < 300; i++)
		add(t, (struct stamp){(1000 - i / 100 * 7) * NS_PER_SEC, 0}, (uint32_t)i % 3, 0,
		    SLICE_LIT("1"));
	for (int64_t i = 0; i < 300; i++)
		add(t, (struct stamp){(5000 - i * i % 91) * NS_PER_SEC, 0}, (uint32_t)i % 3, 0,
		    SLICE_LIT("1"));
	round_trip(t);
	free(t);
}

/* Scrapes of 40 series, stamped apart by `apart` seconds for every 10 of them. */
static size_t scrapes_len(int64_t apart)
{
	struct table *t = table_new(SERIES, 1);
	size_t len;

	for (int64_t i = 0; i < 200 * SERIES; i++)
		add(t, (struct stamp){(i / SERIES * 15 + i % SERIES / 10 * apart) * NS_PER_SEC, 0},
		    (uint32_t)(i % SERIES), 0, SLICE_LIT("1"));
	len = round_trip(t);
	free(t);
	return len;
}

TEST(a_time_is_stored_once_for_all_series_of_a_scrape)
{
	size_t together = scrapes_len(0);

	CHECK(together < 60);
	CHECK(scrapes_len(1) < together + 10);
}

TEST(a_series_that_is_missing_from_a_scrape_moves_no_other)
{
	struct table *t = table_new(SERIES, 1);

	for (int64_t i = 0; i < 200 * SERIES; i++)
		if (i % 1777)
			add(t, (struct stamp){i / SERIES * NS_PER_SEC, 0}, (uint32_t)(i % SERIES),
			    0, SLICE_LIT("1"));
	CHECK(round_trip(t) < 110);
	free(t);
}

/* Random readings, and how much of a constant they leave. */
static size_t used_and_free_len(int64_t total)
{
	struct table *t = table_new(2, 1);
	struct rng g = {21};
	size_t len;

	for (int64_t i = 0; i < 1000; i++) {
		int64_t used = (int64_t)rng_below(&g, 80000);

		add(t, (struct stamp){i * NS_PER_SEC, 0}, 0, 0,
		    hostile_textf("%lld", (long long)used));
		add(t, (struct stamp){i * NS_PER_SEC, 0}, 1, 0,
		    total ? hostile_textf("%lld", (long long)(total - used)) : SLICE_LIT("7"));
	}
	len = round_trip(t);
	free(t);
	return len;
}

TEST(what_is_the_rest_of_another_series_costs_nothing)
{
	CHECK(used_and_free_len(81559) < used_and_free_len(0) + 16);
}

TEST(few_texts_that_are_no_decimals_are_a_dictionary)
{
	static const char *const texts[] = {"7e-06", "1.2e-05", "0x1f", "1e10"};
	struct table *t = table_new(1, 1);
	struct rng g = {22};

	for (int64_t i = 0; i < 1000; i++)
		add(t, (struct stamp){i * NS_PER_SEC, 0}, 0, 0, slice_str(texts[rng_below(&g, 4)]));
	CHECK(round_trip(t) < 1000 * 3 / 8);
	free(t);
}

TEST(steps_are_what_is_stored_of_values_in_steps)
{
	struct table *t = table_new(1, 1);
	struct rng g = {23};

	for (int64_t i = 0; i < 1000; i++)
		add(t, (struct stamp){i * NS_PER_SEC, 0}, 0, 0,
		    hostile_textf("%d", 345 + 12345 * (int)rng_below(&g, 4)));
	CHECK(round_trip(t) < 1000 * 3 / 8);
	free(t);
}

TEST(as_many_series_as_an_identity_holds_come_back)
{
	struct table *t = table_new(4096, 3);

	for (uint32_t i = 0; i < ROWS_MAX; i++)
		add(t, (struct stamp){i / 4096 * NS_PER_SEC, 0}, i % 4096, i % 3,
		    hostile_textf("%u", i * 7919));
	round_trip(t);
	free(t);
}

/* The values that the hints say, in a scrape at the time that they say. */
TEST(a_scrape_that_is_known_takes_some_bytes)
{
	static const struct slice values[] = {SLICE_LIT("1"), SLICE_LIT("7e-06"), SLICE_LIT("")};
	struct columns_hints hints = {1752868800 * NS_PER_SEC, values};
	struct row rows[3];
	struct rows got = {0};
	struct strbuf out;
	struct reader r;

	for (uint32_t i = 0; i < 3; i++)
		rows[i] = (struct row){{hints.base_ns, 0}, i, 0, values[i]};
	strbuf_init(&out, 1000);
	columns_encode(&out, rows, 3, 3, &hints, COLUMNS_FAST);
	CHECK(out.len <= 6);
	r = reader_of(out.s, out.len);
	CHECK_EQ_INT(columns_decode(&r, 3, 1, 3, &hints, &got), 0);
	for (uint32_t i = 0; i < 3 && i < got.n; i++)
		CHECK(same_row(&rows[i], &got.rows[i]));
	rows_release(&got);
	strbuf_release(&out);
}

TEST(little_effort_and_much_read_alike)
{
	struct rng g = {24};

	for (int round = 0; round < 100; round++) {
		struct table *t = random_table(&g);
		struct rows got = {0};
		struct strbuf out;

		strbuf_init(&out, 1 << 24);
		columns_encode(&out, t->rows, t->n, t->series, NULL, COLUMNS_FAST);
		CHECK_EQ_INT(decode(&out, t->series, t->attributions, t->n, &got), 0);
		CHECK_EQ_INT(first_difference(t, &got), -1);
		rows_release(&got);
		strbuf_release(&out);
		free(t);
	}
}

/* ---- refusals -------------------------------------------------------------------------------- */

TEST(columns_for_other_tables_are_refused)
{
	struct table *t = table_new(3, 4);
	struct rows got = {0};
	struct strbuf b;

	for (uint32_t i = 0; i < 12; i++)
		add(t, (struct stamp){i, 9}, i % 3, i % 4, SLICE_LIT("1"));
	b = encoded(t);
	CHECK_EQ_INT(decode(&b, 3, 4, 12, &got), 0);
	CHECK_EQ_INT(decode(&b, 3, 4, 11, &got), -EBADMSG);
	CHECK_EQ_INT(got.n, 0);
	CHECK_EQ_INT(decode(&b, 2, 4, 12, &got), -EBADMSG);
	CHECK_EQ_INT(decode(&b, 4, 4, 12, &got), -EBADMSG);
	CHECK_EQ_INT(decode(&b, 0, 4, 12, &got), -EBADMSG);
	CHECK_EQ_INT(decode(&b, 3, 3, 12, &got), -EBADMSG);
	CHECK_EQ_INT(decode(&b, 3, 0, 12, &got), -EBADMSG);
	CHECK_EQ_INT(decode(&b, 3, 5, 12, &got), 0);
	CHECK_EQ_INT(first_difference(t, &got), -1);
	rows_release(&got);
	rows_release(&got);
	strbuf_release(&b);
	free(t);
}

/* Without a checksum damage may go unseen here, but what comes out stays within its limits. */
static void check_limits(const uint8_t *p, size_t n, size_t at, void *arg)
{
	const struct table *t = arg;
	struct reader r = reader_of(p, n);
	struct rows got = {0};
	int err = columns_decode(&r, t->series, t->attributions, t->n, NULL, &got);
	bool good = err ? err == -EBADMSG && got.n == 0 : got.n <= t->n;

	for (size_t i = 0; i < got.n && !err; i++) {
		const struct row *row = &got.rows[i];

		good &= row->series < t->series && row->attribution < t->attributions &&
			row->time.ns >= 0 && row->time.digits <= 9 && row->value.len <= VALUE_MAX;
		for (size_t k = 0; k < row->value.len; k++)
			good &= row->value.p[k] == row->value.p[k]; /* reads it */
	}
	test_check(good, __FILE__, __LINE__, "damage at %zu of %zu: %d, %zu rows", at, n, err,
		   got.n);
	rows_release(&got);
}

static void check_refused(const uint8_t *p, size_t n, size_t at, void *arg)
{
	const struct table *t = arg;
	struct reader r = reader_of(p, n);
	struct rows got = {0};
	int err = columns_decode(&r, t->series, t->attributions, t->n, NULL, &got);

	test_check(err == -EBADMSG, __FILE__, __LINE__, "%zu bytes of it decode", n);
	rows_release(&got);
}

TEST(a_truncated_encoding_is_refused_at_every_length)
{
	struct rng g = {3};

	for (int round = 0; round < 6; round++) {
		struct table *t = random_table(&g);
		struct strbuf b;

		t->n = MIN(t->n, (size_t)200);
		b = encoded(t);
		hostile_truncations(b.s, b.len, check_refused, t);
		strbuf_release(&b);
		free(t);
	}
}

TEST(damage_stays_within_the_limits)
{
	struct rng g = {5};

	for (int round = 0; round < 12; round++) {
		struct table *t = random_table(&g);
		struct strbuf b;

		t->n = MIN(t->n, (size_t)120);
		b = encoded(t);
		hostile_flips(b.s, b.len, check_limits, t);
		strbuf_release(&b);
		free(t);
	}
}

TEST(random_bytes_stay_within_the_limits)
{
	struct rng g = {11};
	struct table *t = table_new(2, 2);

	t->n = 4;
	hostile_bytes(&g, 100000, 60, check_limits, t);
	free(t);
}
