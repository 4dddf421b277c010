#include "../lib/test.h"
#include "parse.h"

TEST(u64_takes_decimal_digits_up_to_its_maximum)
{
	uint64_t v = 7;

	CHECK_EQ_INT(parse_u64(SLICE_LIT("0"), 10, &v), 0);
	CHECK(v == 0);
	CHECK_EQ_INT(parse_u64(SLICE_LIT("18446744073709551615"), UINT64_MAX, &v), 0);
	CHECK(v == UINT64_MAX);
	CHECK_EQ_INT(parse_u64(SLICE_LIT("18446744073709551616"), UINT64_MAX, &v), -ERANGE);
	CHECK_EQ_INT(parse_u64(SLICE_LIT("99999999999999999999999"), UINT64_MAX, &v), -ERANGE);
	CHECK_EQ_INT(parse_u64(SLICE_LIT("11"), 10, &v), -ERANGE);
	CHECK(v == UINT64_MAX);
}

TEST(u64_refuses_everything_else)
{
	static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x1", "1e3", "1.0", "1a"};
	uint64_t v = 7;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ_INT(parse_u64(slice_str(bad[i]), UINT64_MAX, &v), -EINVAL);
	CHECK_EQ_INT(parse_u64(SLICE_LIT("1\0"), UINT64_MAX, &v), -EINVAL);
	CHECK_EQ_INT(parse_u64(SLICE_LIT("99999999999999999999999x"), UINT64_MAX, &v), -EINVAL);
	CHECK(v == 7);
}

TEST(i64_covers_its_whole_range)
{
	int64_t v = 0;

	CHECK_EQ_INT(parse_i64(SLICE_LIT("-9223372036854775808"), INT64_MIN, INT64_MAX, &v), 0);
	CHECK_EQ_INT(v, INT64_MIN);
	CHECK_EQ_INT(parse_i64(SLICE_LIT("9223372036854775807"), INT64_MIN, INT64_MAX, &v), 0);
	CHECK_EQ_INT(v, INT64_MAX);
	CHECK_EQ_INT(parse_i64(SLICE_LIT("9223372036854775808"), INT64_MIN, INT64_MAX, &v),
		     -ERANGE);
	CHECK_EQ_INT(parse_i64(SLICE_LIT("-9223372036854775809"), INT64_MIN, INT64_MAX, &v),
		     -ERANGE);
	CHECK_EQ_INT(parse_i64(SLICE_LIT("-3"), -2, 2, &v), -ERANGE);
	CHECK_EQ_INT(parse_i64(SLICE_LIT("-"), -2, 2, &v), -EINVAL);
	CHECK_EQ_INT(parse_i64(SLICE_LIT("--1"), -2, 2, &v), -EINVAL);
	CHECK_EQ_INT(v, INT64_MAX);
}

TEST(booleans_have_eight_words)
{
	static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "OFF", "On"};
	bool v;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		v = i % 2 == 0;
		CHECK_EQ_INT(parse_bool(slice_str(words[i]), &v), 0);
		CHECK_EQ_INT(v, i % 2);
	}
	CHECK_EQ_INT(parse_bool(SLICE_LIT(""), &v), -EINVAL);
	CHECK_EQ_INT(parse_bool(SLICE_LIT("truee"), &v), -EINVAL);
	CHECK_EQ_INT(parse_bool(SLICE_LIT("2"), &v), -EINVAL);
}

struct sample {
	const char *text;
	int64_t value;
};

TEST(durations_are_milliseconds)
{
	static const struct sample good[] = {
		{"250ms", 250},
		{"10s", 10000},
		{"5m", 300000},
		{"24h", 86400000},
		{"0", 0},
		{"0s", 0},
		{"1.5h", 5400000},
		{"0.25s", 250},
		{"0.001s", 1},
		{"007s", 7000},
		{"2562047788015h", 9223372036854000000},
	};
	int64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		v = -1;
		CHECK_EQ_INT(parse_duration_ms(slice_str(good[i].text), &v), 0);
		CHECK_EQ_INT(v, good[i].value);
	}
}

TEST(malformed_durations_are_refused)
{
	static const char *const bad[] = {
		"",    "5",     "00",   "5x",      "s",     "-5s", "+5s",          "5 s",
		" 5s", "5s ",   "5S",   "5d",      "1h30m", "1.s", ".5s",          "1..5s",
		"1.5", "0.5ms", "1e3s", "0.0001s", "ms",    "5us", "1.0000000000h"};
	int64_t v = 77;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (!CHECK_EQ_INT(parse_duration_ms(slice_str(bad[i]), &v), -EINVAL))
			CHECK_EQ_STR(bad[i], "");
	}
	CHECK_EQ_INT(v, 77);
}

TEST(durations_that_overflow_are_out_of_range)
{
	int64_t v = 77;

	CHECK_EQ_INT(parse_duration_ms(SLICE_LIT("2562047788016h"), &v), -ERANGE);
	CHECK_EQ_INT(parse_duration_ms(SLICE_LIT("2562047788015.5h"), &v), -ERANGE);
	CHECK_EQ_INT(parse_duration_ms(SLICE_LIT("99999999999999999999999ms"), &v), -ERANGE);
	CHECK_EQ_INT(v, 77);
}

TEST(sizes_are_bytes)
{
	static const struct sample good[] = {
		{"0", 0},
		{"512", 512},
		{"100B", 100},
		{"64KiB", 65536},
		{"8MiB", 8388608},
		{"1GiB", 1073741824},
		{"2TiB", 2199023255552},
		{"1KB", 1000},
		{"3MB", 3000000},
		{"1GB", 1000000000},
		{"9223372036854775807", INT64_MAX},
	};
	static const char *const bad[] = {"",      "KiB", "-1",  "1.5GiB", "1kib",
					  "1 KiB", "1K",  "1Ki", "0x10"};
	int64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		v = -1;
		CHECK_EQ_INT(parse_size(slice_str(good[i].text), &v), 0);
		CHECK_EQ_INT(v, good[i].value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ_INT(parse_size(slice_str(bad[i]), &v), -EINVAL);
	CHECK_EQ_INT(parse_size(SLICE_LIT("9223372036854775807KiB"), &v), -ERANGE);
	CHECK_EQ_INT(parse_size(SLICE_LIT("9223372036854775808"), &v), -ERANGE);
}

TEST(fractions_are_decimal_within_their_range)
{
	static const char *const bad[] = {"",     "abc",  "nan", "inf", "0x1p-1",
					  " 0.5", "0.5 ", "0,5", "1e",  "."};
	double v = 7;

	CHECK_EQ_INT(parse_fraction(SLICE_LIT("0.5"), 0, 1, &v), 0);
	CHECK(v == 0.5);
	CHECK_EQ_INT(parse_fraction(SLICE_LIT("1"), 0, 1, &v), 0);
	CHECK(v == 1);
	CHECK_EQ_INT(parse_fraction(SLICE_LIT("1e-3"), 0, 1, &v), 0);
	CHECK(v == 0.001);
	CHECK_EQ_INT(parse_fraction(SLICE_LIT("1.01"), 0, 1, &v), -ERANGE);
	CHECK_EQ_INT(parse_fraction(SLICE_LIT("-0.1"), 0, 1, &v), -ERANGE);
	CHECK_EQ_INT(parse_fraction(SLICE_LIT("1e999"), 0, 1, &v), -ERANGE);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ_INT(parse_fraction(slice_str(bad[i]), 0, 1, &v), -EINVAL);
	CHECK(v == 0.001);
}
