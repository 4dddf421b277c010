#include "../lib/hostile.h"
#include "../lib/test.h"
#include "number_coder.h"

enum { COUNT = 3000 };

/* A number of any length, the ends among them. */
static int64_t any_number(struct rng *g)
{
	static const int64_t ends[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, -1, 0, 1};

	if (rng_one_in(g, 20))
		return ends[rng_below(g, ARRAY_SIZE(ends))];
	return (int64_t)rng_next(g) >> rng_below(g, 64);
}

static size_t numbers_len(const int64_t *v, size_t n)
{
	struct number_model m;
	struct range_encoder e;
	struct range_decoder d;
	struct strbuf out;
	size_t len, wrong = 0;

	strbuf_init(&out, 1 << 20);
	number_model_init(&m);
	range_encoder_init(&e, &out);
	for (size_t i = 0; i < n; i++)
		encode_number(&e, &m, v[i]);
	range_encoder_finish(&e);
	number_model_init(&m);
	range_decoder_init(&d, (struct slice){out.s, out.len});
	for (size_t i = 0; i < n; i++)
		wrong += decode_number(&d, &m) != v[i];
	CHECK_EQ_INT(wrong, 0);
	len = out.len;
	strbuf_release(&out);
	return len;
}

TEST(numbers_of_all_lengths_come_back)
{
	static int64_t v[COUNT];
	struct rng g = {1};

	for (int round = 0; round < 200; round++) {
		size_t n = rng_below(&g, round % 10 ? 20 : COUNT);

		for (size_t i = 0; i < n; i++)
			v[i] = any_number(&g);
		numbers_len(v, n);
	}
}

TEST(what_is_always_the_same_costs_next_to_nothing)
{
	static int64_t v[COUNT];

	CHECK(numbers_len(v, COUNT) < COUNT / 100);
	for (size_t i = 0; i < COUNT; i++)
		v[i] = -5;
	CHECK(numbers_len(v, COUNT) < COUNT / 100);
}

/* Sure bits one after the other keep low close to the end of its range, where carries run far. */
TEST(carries_run_as_far_as_they_must)
{
	struct rng g = {2};
	struct strbuf out;

	strbuf_init(&out, 1 << 20);
	for (int round = 0; round < 2000; round++) {
		struct bit b[2] = {BIT_INIT, BIT_INIT};
		struct range_encoder e;
		struct range_decoder d;
		uint8_t bits[200];
		size_t n = rng_below(&g, sizeof(bits)), wrong = 0;
		bool rare = rng_one_in(&g, 2);

		strbuf_reset(&out);
		strbuf_addc(&out, '\xff'); /* not part of the stream: no carry may reach it */
		range_encoder_init(&e, &out);
		for (size_t i = 0; i < n; i++) {
			bits[i] = rng_one_in(&g, 30) == rare;
			range_encode_bit(&e, &b[i & 1], bits[i]);
		}
		range_encode_raw(&e, UINT64_MAX, 33);
		range_encoder_finish(&e);
		CHECK_EQ_INT(out.s[0], '\xff');
		range_decoder_init(&d, (struct slice){out.s + 1, out.len - 1});
		b[0] = b[1] = BIT_INIT;
		for (size_t i = 0; i < n; i++)
			wrong += range_decode_bit(&d, &b[i & 1]) != bits[i];
		CHECK_EQ_INT(wrong, 0);
		CHECK(range_decode_raw(&d, 33) == (1ULL << 33) - 1);
	}
	strbuf_release(&out);
}

TEST(texts_come_back_and_longer_ones_are_refused)
{
	struct rng g = {3};

	for (int round = 0; round < 2000; round++) {
		struct slice v = hostile_value(&g), got = {0};
		struct text_model m;
		struct range_encoder e;
		struct range_decoder d;
		struct strbuf out;
		char buf[VALUE_MAX];

		strbuf_init(&out, 1000);
		text_model_init(&m);
		range_encoder_init(&e, &out);
		encode_text(&e, &m, v);
		range_encoder_finish(&e);
		text_model_init(&m);
		range_decoder_init(&d, (struct slice){out.s, out.len});
		CHECK_EQ_INT(decode_text(&d, &m, buf, sizeof(buf), &got), 0);
		CHECK_EQ_SLICE(got, v);
		strbuf_release(&out);
	}
}
