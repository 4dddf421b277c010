#include <stdio.h>
#include <time.h>

#include "../lib/test.h"
#include "map.h"
#include "stamp.h"

static const char *format(struct stamp t)
{
	static char buf[STAMP_MAX];

	buf[stamp_format(t, buf)] = '\0';
	return buf;
}

static void check_shown(const char *in, const char *out)
{
	struct stamp t = {0};

	if (CHECK_EQ_INT(stamp_parse(slice_str(in), &t), 0))
		CHECK_EQ_STR(format(t), out);
}

TEST(stamps_are_shown_in_utc_with_the_digits_that_they_came_with)
{
	check_shown("2025-07-18T20:42:34Z", "2025-07-18T20:42:34Z");
	check_shown("2025-07-18t20:42:34z", "2025-07-18T20:42:34Z");
	check_shown("2025-07-18T20:42:34.5+02:00", "2025-07-18T18:42:34.5Z");
	check_shown("2025-07-18T23:42:34.500-05:30", "2025-07-19T05:12:34.500Z");
	check_shown("2025-07-18 20:42:34+02:00", "2025-07-18T18:42:34Z");
	check_shown("2025-07-18 20:42:34", "2025-07-18T20:42:34Z");
	check_shown("2025-07-18 20:42:34.000000001", "2025-07-18T20:42:34.000000001Z");
	check_shown("1775006190.174", "2026-04-01T01:16:30.174Z");
	check_shown("1775006190", "2026-04-01T01:16:30Z");
	check_shown("0", "1970-01-01T00:00:00Z");
	check_shown("1970-01-01T00:30:00+00:30", "1970-01-01T00:00:00Z");
	check_shown("2024-02-29T23:59:59.0Z", "2024-02-29T23:59:59.0Z");
}

TEST(the_last_nanosecond_of_the_range_is_accepted)
{
	check_shown("2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:16.854775807Z");
	check_shown("9223372036.854775807", "2262-04-11T23:47:16.854775807Z");
}

static void check_refused(const char *in, int code)
{
	struct stamp t = {42, 7};

	if (!CHECK_EQ_INT(stamp_parse(slice_str(in), &t), code))
		CHECK_EQ_STR(in, "");
	CHECK_EQ_INT(t.ns, 42);
}

TEST(whole_epochs_of_13_16_and_19_digits_are_finer_than_seconds)
{
	check_shown("1775006190174", "2026-04-01T01:16:30.174Z");
	check_shown("1775006190174.5", "2026-04-01T01:16:30.1745Z");
	check_shown("1775006190174123", "2026-04-01T01:16:30.174123Z");
	check_shown("1775006190174123456", "2026-04-01T01:16:30.174123456Z");
	check_refused("177500619017", -ERANGE);
	check_refused("1775006190174.", -EINVAL);
}

TEST(slashes_separate_a_date_as_nvidia_smi_writes_it)
{
	check_shown("2025/07/18 20:42:34.123", "2025-07-18T20:42:34.123Z");
	check_refused("2025/07-18 20:42:34", -EINVAL);
	check_refused("2025/07/18T20:42:34", -EINVAL);
}

TEST(stamps_outside_the_range_say_so)
{
	check_refused("1969-12-31T23:59:59Z", -ERANGE);
	check_refused("1970-01-01T00:00:00+00:01", -ERANGE);
	check_refused("2262-04-11T23:47:16.854775808Z", -ERANGE);
	check_refused("9999-12-31T23:59:59Z", -ERANGE);
	check_refused("0000-01-01T00:00:00Z", -ERANGE);
	check_refused("9223372036.854775808", -ERANGE);
	check_refused("17750061901747", -ERANGE);
	check_refused("99999999999999999999999999", -ERANGE);
	check_refused("-1", -ERANGE);
	check_refused("-1.5", -ERANGE);
}

TEST(malformed_stamps_are_refused)
{
	static const char *const bad[] = {
		"",
		"-",
		".5",
		"1.",
		"1.1234567890",
		"1e9",
		"+1",
		" 1",
		"1 ",
		"now",
		"2025-07-18",
		"2025-07-18T20:42:34",
		"2025-07-18T20:42Z",
		"2025-07-18T20:42:34.Z",
		"2025-07-18T20:42:34.1234567890Z",
		"2025-07-18T20:42:34,5Z",
		"2025-07-18T20:42:34+0200",
		"2025-07-18T20:42:34+24:00",
		"2025-07-18T20:42:34+02:60",
		"2025-07-18T20:42:34 Z",
		"2025-07-18T20:42:34ZZ",
		"2025-07-18T24:00:00Z",
		"2025-07-18T20:60:00Z",
		"2025-07-18T20:42:60Z",
		"2025-13-01T00:00:00Z",
		"2025-00-01T00:00:00Z",
		"2025-01-00T00:00:00Z",
		"2025-02-29T00:00:00Z",
		"2100-02-29T00:00:00Z",
		"2025-04-31T00:00:00Z",
		"2025/07/18T20:42:34Z",
		"2025-07-18_20:42:34Z",
		"2025-7-18T20:42:34.00Z",
		"20a5-07-18T20:42:34Z",
		"2025-07-18T-1:42:34Z",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_refused(bad[i], -EINVAL);
}

/* glibc's own calendar is the oracle, over the whole range. */
TEST(dates_agree_with_gmtime)
{
	char expected[32], text[STAMP_MAX];
	uint64_t x = 1;

	for (uint64_t i = 0; i < 200000; i++) {
		x = hash64(&x, sizeof(x), i);
		time_t seconds = (time_t)(i < 110000 ? i * 86400 : x % 9223372036);
		struct stamp t = {seconds * NS_PER_SEC, 0}, back = {0};
		struct tm tm;

		if (seconds > 9223372036)
			continue;
		strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
		size_t n = stamp_format(t, text);
		if (!CHECK_EQ_SLICE(((struct slice){text, n}), slice_str(expected)) ||
		    !CHECK_EQ_INT(stamp_parse((struct slice){text, n}, &back), 0) ||
		    !CHECK_EQ_INT(back.ns, t.ns))
			return;
	}
}

TEST(every_number_of_digits_round_trips)
{
	int64_t ns = 1752871354123456789;

	for (uint8_t digits = 0; digits <= 9; digits++) {
		struct stamp t = {ns, digits}, back = {0};

		for (int64_t i = 0, unit = 1; i < 9 - digits; i++, unit *= 10)
			t.ns -= t.ns % (unit * 10);
		CHECK_EQ_INT(stamp_parse(slice_str(format(t)), &back), 0);
		CHECK_EQ_INT(back.ns, t.ns);
		CHECK_EQ_INT(back.digits, digits);
	}
}

TEST(segments_are_named_by_their_start)
{
	char name[SEGMENT_NAME_MAX];
	int64_t ns = -1;

	segment_name(1752868800 * NS_PER_SEC, name);
	CHECK_EQ_STR(name, "2025-07-18T2000Z");
	CHECK_EQ_INT(segment_name_parse(slice_str(name), &ns), 0);
	CHECK_EQ_INT(ns, 1752868800 * NS_PER_SEC);
	segment_name(0, name);
	CHECK_EQ_STR(name, "1970-01-01T0000Z");
}

TEST(what_is_no_segment_name_is_refused)
{
	static const char *const bad[] = {"",
					  "2025-07-18T2000",
					  "2025-07-18T2000Zx",
					  "2025-07-18T20:00Z",
					  "2025-07-18 2000Z",
					  "2025-07-18T2400Z",
					  "2025-07-18T2060Z",
					  "2025-02-30T0000Z",
					  "1969-12-31T2300Z",
					  "2263-01-01T0000Z"};
	int64_t ns = -1;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ_INT(segment_name_parse(slice_str(bad[i]), &ns), -EINVAL);
	CHECK_EQ_INT(ns, -1);
}
