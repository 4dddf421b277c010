#include "../lib/test.h"
#include "hosts.h"

static struct hosts h;
static struct hosts_spans spans;
static struct err e;

static void hosts(const char *const *globs)
{
	hosts_release(&h);
	for (; *globs; globs++)
		CHECK_EQ_INT(hosts_add(&h, *globs, &e), 0);
	hosts_spans(&h, &spans);
}

#define HOSTS(...) hosts((const char *const[]){__VA_ARGS__, NULL})

TEST(no_glob_is_every_host)
{
	hosts((const char *const[]){NULL});
	CHECK(hosts_match(&h, SLICE_LIT("anything")));
	CHECK_EQ_INT((int64_t)spans.n, 1);
	CHECK_EQ_STR(spans.list[0].key, KEY_VIEW);
	CHECK_EQ_STR(spans.list[0].end, KEY_VIEW_END);
}

TEST(a_host_is_shown_if_one_of_the_globs_matches_its_whole_name)
{
	HOSTS("ams1-*", "b?", "c[0-4]", "d");
	CHECK(hosts_match(&h, SLICE_LIT("ams1-")) && hosts_match(&h, SLICE_LIT("ams1-r07")));
	CHECK(hosts_match(&h, SLICE_LIT("b1")) && !hosts_match(&h, SLICE_LIT("b12")));
	CHECK(hosts_match(&h, SLICE_LIT("c4")) && !hosts_match(&h, SLICE_LIT("c5")));
	CHECK(hosts_match(&h, SLICE_LIT("d")) && !hosts_match(&h, SLICE_LIT("dd")));
	CHECK(!hosts_match(&h, SLICE_LIT("xams1-")) && !hosts_match(&h, SLICE_LIT("")));
}

TEST(the_ranges_are_those_of_the_names_beginnings)
{
	HOSTS("ams1-*", "d");
	CHECK_EQ_INT((int64_t)spans.n, 5);
	CHECK_EQ_STR(spans.list[0].key, KEY_CONFIG);
	CHECK(spans.list[0].end == NULL);
	CHECK_EQ_STR(spans.list[1].key, KEY_GPUS "ams1-");
	CHECK_EQ_STR(spans.list[1].end, KEY_GPUS "ams1.");
	CHECK_EQ_STR(spans.list[2].key, KEY_DATA "ams1-");
	CHECK_EQ_STR(spans.list[2].end, KEY_DATA "ams1.");
	CHECK_EQ_STR(spans.list[3].key, KEY_GPUS "d/");
	CHECK_EQ_STR(spans.list[3].end, KEY_GPUS "d0");
}

TEST(nothing_is_watched_twice)
{
	HOSTS("ams1-r07", "ams1-*", "ams1-*7", "ams1-?");
	CHECK_EQ_INT((int64_t)spans.n, 3);
	CHECK_EQ_STR(spans.list[2].key, KEY_DATA "ams1-");
}

TEST(a_glob_that_may_begin_with_anything_needs_everything)
{
	HOSTS("ams1-*", "*-r07");
	CHECK_EQ_INT((int64_t)spans.n, 1);
	CHECK_EQ_STR(spans.list[0].key, KEY_VIEW);
}

TEST(what_no_name_can_be_is_refused_and_there_is_a_ceiling)
{
	hosts_release(&h);
	CHECK_EQ_INT(hosts_add(&h, "", &e), -EINVAL);
	CHECK_EQ_INT(hosts_add(&h, "a/b", &e), -EINVAL);
	for (int i = 0; i < HOSTS_MAX; i++)
		CHECK_EQ_INT(hosts_add(&h, "x", &e), 0);
	CHECK_EQ_INT(hosts_add(&h, "x", &e), -ENOSPC);
	hosts_release(&h);
}
