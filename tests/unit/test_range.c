#include "../../bridge/range.h"
#include "../lib/test.h"

static void check_range(const char *header, int64_t size, enum range_kind kind, int64_t first,
			int64_t length)
{
	int64_t f = -1, n = -1;

	CHECK_EQ_INT(range_parse(header, size, &f, &n), kind);
	CHECK_EQ_INT(f, kind == RANGE_ONE ? first : -1);
	CHECK_EQ_INT(n, kind == RANGE_ONE ? length : -1);
}

TEST(ranges_are_cut_to_what_there_is)
{
	check_range("bytes=0-", 10, RANGE_ONE, 0, 10);
	check_range("bytes=0-0", 10, RANGE_ONE, 0, 1);
	check_range("bytes=9-9", 10, RANGE_ONE, 9, 1);
	check_range("BYTES=3-99999999999999999999", 10, RANGE_ONE, 3, 7);
	check_range("bytes=-3", 10, RANGE_ONE, 7, 3);
	check_range("bytes=-30", 10, RANGE_ONE, 0, 10);
}

TEST(what_lies_outside_is_not_satisfiable)
{
	check_range("bytes=10-", 10, RANGE_BAD, 0, 0);
	check_range("bytes=99999999999999999999-", 10, RANGE_BAD, 0, 0);
	check_range("bytes=-0", 10, RANGE_BAD, 0, 0);
	check_range("bytes=0-", 0, RANGE_BAD, 0, 0);
	check_range("bytes=-1", 0, RANGE_BAD, 0, 0);
}

TEST(what_is_no_single_range_is_ignored)
{
	static const char *const other[] = {
		NULL,        "",           "bytes",     "bytes=",    "bytes=-",
		"bytes=a-b", "bytes=5-2",  "bytes=1",   "lines=1-2", "bytes=1-2,4-5",
		"bytes=--1", "bytes=1--2", "bytes=+1-2"};

	for (size_t i = 0; i < ARRAY_SIZE(other); i++)
		check_range(other[i], 10, RANGE_NONE, 0, 0);
}

TEST(tags_are_compared_weakly)
{
	CHECK(etag_listed("\"a.10\"", "\"a.10\""));
	CHECK(etag_listed("\"x\", W/\"a.10\"", "\"a.10\""));
	CHECK(etag_listed("\"a.10-gzip\"", "\"a.10\""));
	CHECK(etag_listed("*", "\"a.10\""));
	CHECK(!etag_listed("\"a.1\"", "\"a.10\""));
	CHECK(!etag_listed("", "\"a.10\""));
	CHECK(!etag_listed(NULL, "\"a.10\""));
}

TEST(dates_go_both_ways)
{
	char text[HTTP_DATE_MAX];
	int64_t s = 0;

	http_date_format(784111777LL * NS_PER_SEC + 5, text);
	CHECK_EQ_STR(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	CHECK_EQ_INT(http_date_parse(text, &s), 0);
	CHECK_EQ_INT(s, 784111777);
	CHECK_EQ_INT(http_date_parse("Sunday, 06-Nov-94 08:49:37 GMT", &s), -EINVAL);
	CHECK_EQ_INT(http_date_parse("Sun, 06 Foo 1994 08:49:37 GMT", &s), -EINVAL);
}
