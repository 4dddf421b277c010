#include "../../collector/sizes.h"
#include "../lib/stage.h"
#include "../lib/test.h"

#define HOUR (3600 * NS_PER_SEC)

static struct err e;

static struct sizes four_hours(void)
{
	struct sizes s = {0};

	sizes_add(&s, 3 * HOUR, 40);
	sizes_add(&s, 0, 10);
	sizes_add(&s, 2 * HOUR, 20);
	sizes_add(&s, HOUR, 25);
	sizes_add(&s, 2 * HOUR, 10);
	return s;
}

TEST(the_newest_segments_that_fit_are_kept)
{
	struct sizes s = four_hours();

	CHECK_EQ_INT(sizes_total(&s), 105);
	CHECK(sizes_keep_from(&s, 105) == INT64_MIN);
	CHECK_EQ_INT(sizes_keep_from(&s, 104), HOUR);
	CHECK_EQ_INT(sizes_keep_from(&s, 95), HOUR);
	CHECK_EQ_INT(sizes_keep_from(&s, 94), 2 * HOUR);
	CHECK_EQ_INT(sizes_keep_from(&s, 70), 2 * HOUR);
	CHECK_EQ_INT(sizes_keep_from(&s, 69), 3 * HOUR);
	CHECK_EQ_INT(sizes_keep_from(&s, 1), 3 * HOUR);
	sizes_clear(&s);
	CHECK(sizes_keep_from(&s, 1) == INT64_MIN);
	sizes_release(&s);
}

TEST(what_is_said_is_what_is_read)
{
	struct sizes s = four_hours(), back = {0};
	struct strbuf text;

	strbuf_init(&text, 4096);
	sizes_encode(&text, &s);
	CHECK_EQ_STR(text.s, "{\"v\":1,\"segments\":[[0,10],[3600,25],[7200,30],[10800,40]]}");
	CHECK_EQ_INT(sizes_decode(&back, slice_str(text.s), &e), 0);
	CHECK_EQ_INT(sizes_total(&back), 105);
	CHECK_EQ_INT(sizes_decode(&back, SLICE_LIT("{\"v\":2}"), &e), -EBADMSG);
	CHECK_EQ_INT(sizes_decode(&back, SLICE_LIT("{\"v\":1,\"segments\":[[-1,1]]}"), &e),
		     -EBADMSG);
	CHECK_EQ_INT(sizes_decode(&back, SLICE_LIT("[1"), &e), -EBADMSG);
	strbuf_release(&text);
	sizes_release(&s);
	sizes_release(&back);
}

TEST(all_collectors_reckon_with_the_sum)
{
	struct sizes mine = four_hours(), other = {0}, all = {0};
	struct etcd *c = stage_open();

	sizes_add(&other, 3 * HOUR, 60);
	CHECK_EQ_INT(sizes_exchange(c, "b", 0, &other, &all, &e), 0);
	CHECK_EQ_INT(sizes_total(&all), 60);
	sizes_clear(&all);
	stage_put(c, KEY_SIZES "c", "of some other version");
	CHECK_EQ_INT(sizes_exchange(c, "a", 0, &mine, &all, &e), 0);
	CHECK_EQ_INT(sizes_total(&all), 165);
	CHECK_EQ_INT(all.n, 4);
	sizes_release(&mine);
	sizes_release(&other);
	sizes_release(&all);
	etcd_close(c);
}
