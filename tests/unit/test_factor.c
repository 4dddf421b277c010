#include "factor.h"
#include "units.h"
#include "../lib/test.h"

static void check_product(const char *number, const char *factor, const char *want)
{
	struct factor f;
	struct strbuf out;

	strbuf_init(&out, 200);
	if (CHECK_EQ_INT(factor_parse(slice_str(factor), &f), 0)) {
		CHECK_EQ_INT(factor_apply(f, slice_str(number), &out), 0);
		CHECK_EQ_STR(out.s, want);
	}
	strbuf_release(&out);
}

TEST(products_are_exact_to_the_last_digit)
{
	check_product("236748496900", "0.001", "236748496.9");
	check_product("5000", "0.001", "5");
	check_product("1.50", "2", "3.00");
	check_product("0.5", "100", "50.0");
	check_product(".5", "1", "0.5");
	check_product("5.", "10", "50");
	check_product("-0", "1000", "-0");
	check_product("+7", "1024", "+7168");
	check_product("7e-06", "1000", "7000e-06");
	check_product("0000", "3", "0");
	check_product("007", "2", "14");
	check_product("0.1234567890123456789", "3", "0.3703703670370370367");
	check_product("18446744073709551615", "0.000000001", "18446744073.709551615");
	check_product("1", "0.00000095367431640625", "0.00000095367431640625");
}

TEST(a_factor_is_a_positive_decimal)
{
	static const char *const bad[] = {"", "0", "0.0", "-1", "1e3", "1.2.3", "abc", "1 "};
	struct factor f;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ_INT(factor_parse(slice_str(bad[i]), &f), -EINVAL);
}

static void check_unit(const char *from, const char *to, uint64_t mantissa, int digits)
{
	struct factor f = {0};

	if (!CHECK(unit_factor(slice_str(from), slice_str(to), &f)))
		return;
	CHECK_EQ_INT((int64_t)f.mantissa, (int64_t)mantissa);
	CHECK_EQ_INT(f.digits, digits);
}

TEST(units_of_one_kind_are_factors_of_each_other)
{
	struct factor f;

	check_unit("GiB", "MiB", 1024, 0);
	check_unit("mib", "MB", 1, 0);
	check_unit("mW", "W", 1, 3);
	check_unit("J", "mJ", 1000, 0);
	check_unit("B", "MiB", 95367431640625, 20);
	check_unit("°C", "C", 1, 0);
	CHECK(!unit_factor(SLICE_LIT("W"), SLICE_LIT("MiB"), &f));
	CHECK(!unit_factor(SLICE_LIT("foo"), SLICE_LIT("MiB"), &f));
}
