#include "../lib/hostile.h"
#include "../lib/test.h"
#include "scaled.h"

static void check_back(struct slice text, bool want)
{
	char buf[SCALED_TEXT_MAX];
	struct scaled d;
	bool is = scaled_parse(text, &d);

	test_check(is == want, __FILE__, __LINE__, "%.*s: %d", (int)text.len, text.p, is);
	if (is)
		CHECK_EQ_SLICE(((struct slice){buf, scaled_format(d, buf)}), text);
}

TEST(decimals_are_taken_if_they_come_back)
{
	static const char *const good[] = {"0",
					   "-1",
					   "10",
					   "0.0",
					   "0.000000",
					   "-0.5",
					   "67.351000",
					   "1.10",
					   "9223372036854775807",
					   "-9223372036854775807",
					   "0.999999999999999999",
					   "9.223372036854775807"};
	static const char *const bad[] = {"",     "-",   "-0",  "-0.00",
					  "+1",   "01",  ".5",  "1.",
					  "1e3",  " 1",  "1 ",  "1..2",
					  "1.2.", "0x1", "NaN", "9223372036854775808",
					  "00.1", "--1", "1-",  "0.0000000000000000001"};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		check_back(slice_str(good[i]), true);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_back(slice_str(bad[i]), false);
}

TEST(whatever_is_taken_comes_back)
{
	struct rng g = {1};

	for (int i = 0; i < 20000; i++) {
		struct slice text = hostile_value(&g);
		struct scaled d;

		check_back(text, scaled_parse(text, &d));
	}
}

TEST(trimming_and_scaling_keep_the_number)
{
	struct scaled d = scaled_trim((struct scaled){117700, 4});
	int64_t x;

	CHECK_EQ_INT(d.mantissa, 1177);
	CHECK_EQ_INT(d.scale, 2);
	CHECK(scaled_to(d, 4, &x));
	CHECK_EQ_INT(x, 117700);
	CHECK(!scaled_to((struct scaled){INT64_MAX / 9, 0}, 1, &x));
	CHECK(scaled_to((struct scaled){-9, 0}, SCALED_SCALE_MAX, &x));
	CHECK(!scaled_to((struct scaled){-10, 0}, SCALED_SCALE_MAX, &x));
	d = scaled_trim((struct scaled){0, 6});
	CHECK_EQ_INT(d.scale, 0);
}
