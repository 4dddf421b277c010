#include "../../bridge/decimal.h"
#include "../lib/test.h"

static struct decimal decimal(const char *s)
{
	struct decimal d = {0};

	CHECK_EQ_INT(decimal_parse(slice_str(s), &d), 0);
	return d;
}

static void check_text(struct decimal d, const char *expected)
{
	struct strbuf b;

	strbuf_init(&b, 1024);
	decimal_format(&b, d);
	CHECK_EQ_STR(b.s ? b.s : "", expected);
	strbuf_release(&b);
}

static void check_sum(const char *a, const char *b, const char *sum)
{
	check_text(decimal_add(decimal(a), decimal(b)), sum);
	check_text(decimal_add(decimal(b), decimal(a)), sum);
}

TEST(sums_are_exact)
{
	check_sum("0.1", "0.2", "0.3");
	check_sum("67.351000", "0.649", "68");
	check_sum("7e-06", "1", "1.000007");
	check_sum("1e3", "0.5", "1000.5");
	check_sum("-0", "0", "0");
	check_sum("-1.5", "1", "-0.5");
	check_sum("9007199254740993", "1", "9007199254740994");
	check_sum("12345678901234567890", ".12345678901234567",
		  "12345678901234567890.12345678901234567");
}

TEST(what_does_not_fit_goes_on_as_a_double)
{
	check_sum("1e300", "1e-300", "1e300");
	check_sum("1e39", "1", "1e39");
	check_text(decimal("99999999999999999999999999999999999999999"), "1e41");
}

TEST(order_is_that_of_the_numbers)
{
	static const char *const up[] = {"-1e50", "-2.5", "-0.1", "0",  "7e-06",
					 ".5",    "0.51", "007",  "10", "1e40"};

	for (size_t i = 0; i < ARRAY_SIZE(up); i++)
		for (size_t j = 0; j < ARRAY_SIZE(up); j++)
			CHECK_EQ_INT(decimal_cmp(decimal(up[i]), decimal(up[j])),
				     (i > j) - (i < j));
	CHECK_EQ_INT(decimal_cmp(decimal("1.50"), decimal("15e-1")), 0);
	CHECK_EQ_INT(decimal_cmp(decimal("-0"), decimal("0")), 0);
}

TEST(what_is_no_number_is_refused)
{
	static const char *const bad[] = {"",      "-",   ".",   "e5", "1e", "1e+",
					  "1.2.3", "0x1", "nan", "1 ", "--1"};
	struct decimal d;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ_INT(decimal_parse(slice_str(bad[i]), &d), -EINVAL);
}

TEST(doubles_have_the_fewest_digits_that_read_back)
{
	static const struct {
		double v;
		const char *text;
	} cases[] = {{0.1, "0.1"}, {1.0 / 3, "0.3333333333333333"}, {100, "100"},
		     {0, "0"},     {-2.5e-7, "-0.00000025"},        {1e22, "1e22"}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct strbuf b;

		strbuf_init(&b, 64);
		double_format(&b, cases[i].v);
		CHECK(strtod(b.s, NULL) == cases[i].v);
		CHECK_EQ_STR(b.s, cases[i].text);
		strbuf_release(&b);
	}
}
