#include "../lib/test.h"
#include "../lib/tree_fixture.h"
#include "render.h"

#include <stdio.h>

#define AT(time) ".at/2025-07-18T" time "/"

TEST(a_value_of_then_is_that_of_the_newest_sample_at_or_before)
{
	static const struct {
		const char *path, *want;
	} cases[] = {
		{AT("20:00:00Z") GPU "metrics/" UTIL, "!ENOENT"},
		{AT("20:00:01Z") GPU "metrics/" UTIL, "87\n"},
		{AT("20:00:01.5Z") GPU "metrics/" TEMP, "41\n"},
		{AT("20:00:02Z") GPU "metrics/" TEMP, "42.5\n"},
		{AT("22:00:02+02:00") GPU "metrics/" UTIL, "90\n"},
		{AT("20:05:02Z") GPU "metrics/" TEMP, "42.5\n"},
		{AT("20:05:02.1Z") GPU "metrics/" TEMP, "!ENOENT"},
		{AT("20:05:03Z") GPU "metrics/" UTIL, "91\n"},
		{AT("20:05:04Z") GPU "metrics/" UTIL, "!ENOENT"},
		{AT("20:00:02Z") "h2/0/metrics/" UTIL, "!ENOENT"},
		{AT("20:00:02Z") "h1/1/metrics/" UTIL, "!ENOENT"},
		{AT("20:00:02Z") GPU "metrics/NONE", "!ENOENT"},
		{".at/yesterday/" GPU "metrics/" UTIL, "!ENOENT"},
		{".at/1752868802/" GPU "metrics/" UTIL, "!ENOENT"},
	};
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	store_rows(&x, T0, 2, next, 2);
	store_rows(&x, T0, 4, third, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (!check_cat(x.t, cases[i].path, cases[i].want))
			printf("  %s\n", cases[i].path);
	end(&x);
}

TEST(a_gpu_of_then_has_its_latest_files)
{
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	store_rows(&x, T0, 2, next, 2);
	check_cat(x.t, AT("20:00:01Z") GPU "latest.csv",
		  ROW_FILE_HEADER "2025-07-18T20:00:01Z," TEMP ",41,GPU-aaaa,,,,\n"
				  "2025-07-18T20:00:01Z," UTIL ",87,GPU-aaaa,,,,\n");
	check_cat(x.t, AT("20:00:01Z") GPU "stat",
		  TEMP " 41 C 2025-07-18T20:00:01Z\n" UTIL " 87 % 2025-07-18T20:00:01Z\n");
	end(&x);
}

TEST(what_comes_late_for_an_instant_is_seen_by_who_asks_for_another)
{
	static const struct feed_row late[1] = {ROW(UTIL, "55", SEC(2))};
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	check_cat(x.t, AT("20:00:02Z") GPU "metrics/" UTIL, "87\n");
	store_rows(&x, T0, 2, late, 1);
	check_cat(x.t, AT("20:00:02.001Z") GPU "metrics/" UTIL, "55\n");
	end(&x);
}

TEST(rows_of_then_that_cannot_be_fetched_are_an_io_error_and_asked_for_again)
{
	struct feed_chunk *c;
	struct fixture x;

	begin(&x);
	c = chunk(&x, T0, 0, two, 2);
	feed_put_identity(x.t, x.f, 1);
	feed_put(x.t, c, false);
	commit(&x);
	store_rows(&x, T0, 2, next, 2);
	x.store.fail = -ETIMEDOUT;
	check_cat(x.t, AT("20:00:01Z") GPU "metrics/" UTIL, "!EIO");
	x.store.fail = 0;
	check_cat(x.t, AT("20:00:01Z") GPU "metrics/" UTIL, "87\n");
	end(&x);
}

TEST(many_instants_are_forgotten_oldest_first_and_made_anew)
{
	struct fixture x;
	char path[128];

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	for (int i = 0; i < 2200; i++) {
		snprintf(path, sizeof(path), AT("20:00:02.%06dZ") GPU "metrics/" UTIL, i % 1100);
		check_cat(x.t, path, "87\n");
	}
	end(&x);
}
