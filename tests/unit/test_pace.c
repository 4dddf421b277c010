#include "../../streamer/pace.h"
#include "../lib/test.h"

#define SEC NS_PER_SEC

static struct mono at(int64_t ns)
{
	return (struct mono){5 * SEC + ns};
}

/* Lets rows go as fast as they may until `until`, looking again only after each delay plus `late`;
 * returns how many went. */
static int64_t rows_in(struct pace *p, int64_t until, int64_t late)
{
	int64_t now = 0, n = 0;

	while (now < until) {
		int64_t delay = pace_delay_ns(p, 0, at(now));

		n += delay == 0;
		now += delay ? delay + late : 0;
	}
	return n;
}

TEST(without_a_pace_every_row_goes_at_once)
{
	struct pace p;

	pace_init(&p, PACE_NONE, 1);
	CHECK_EQ_INT(pace_delay_ns(&p, 100 * SEC, at(0)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 0, at(0)), 0);
	CHECK(!pace_wait(&p, INT64_MAX));
}

TEST(a_rate_holds_on_average_however_coarse_the_sleeps)
{
	static const double rates[] = {0.5, 5, 10, 1000, 100000, 3333333};

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		struct pace p;
		double want = rates[i] * 10, got;

		pace_init(&p, PACE_RATE, rates[i]);
		got = (double)rows_in(&p, 10 * SEC, 1500000);
		CHECK(got > want * 0.98 - 1 && got < want * 1.02 + 2);
	}
}

TEST(a_rate_does_not_make_up_for_a_pause)
{
	struct pace p;
	int64_t n = 0;

	pace_init(&p, PACE_RATE, 100);
	CHECK_EQ_INT(pace_delay_ns(&p, 0, at(0)), 0);
	while (pace_delay_ns(&p, 0, at(3600 * SEC)) == 0)
		n++;
	CHECK_EQ_INT(n, 10);
}

TEST(a_rate_says_when_the_next_row_may_go)
{
	struct pace p;
	int64_t delay;

	pace_init(&p, PACE_RATE, 4);
	CHECK_EQ_INT(pace_delay_ns(&p, 0, at(0)), 0);
	delay = pace_delay_ns(&p, 0, at(0));
	CHECK(delay > SEC / 4 - 10 && delay < SEC / 4 + 10);
	CHECK(pace_delay_ns(&p, 0, at(delay / 2)) > 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 0, at(delay)), 0);
}

TEST(rows_go_at_their_recorded_distance)
{
	struct pace p;

	pace_init(&p, PACE_SPEED, 1);
	CHECK_EQ_INT(pace_delay_ns(&p, 1000 * SEC, at(0)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 1000 * SEC, at(0)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 1002 * SEC, at(0)), 2 * SEC + 1);
	CHECK_EQ_INT(pace_delay_ns(&p, 1002 * SEC, at(SEC)), SEC + 1);
	CHECK_EQ_INT(pace_delay_ns(&p, 1002 * SEC, at(2 * SEC)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 1001 * SEC, at(2 * SEC)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 1003 * SEC, at(5 * SEC)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 1006 * SEC, at(5 * SEC)), SEC + 1);
}

TEST(speed_divides_the_distance)
{
	struct pace p;

	pace_init(&p, PACE_SPEED, 10);
	CHECK_EQ_INT(pace_delay_ns(&p, 0, at(0)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 10 * SEC, at(0)), SEC + 1);
	pace_init(&p, PACE_SPEED, 0.5);
	CHECK_EQ_INT(pace_delay_ns(&p, 0, at(0)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 10 * SEC, at(0)), 20 * SEC + 1);
}

TEST(a_new_pass_starts_over)
{
	struct pace p;

	pace_init(&p, PACE_SPEED, 1);
	CHECK_EQ_INT(pace_delay_ns(&p, 0, at(0)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 10 * SEC, at(10 * SEC)), 0);
	pace_restart(&p);
	CHECK_EQ_INT(pace_delay_ns(&p, 0, at(10 * SEC)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, SEC, at(10 * SEC)), SEC + 1);
}

TEST(a_jump_in_time_is_not_waited_for_and_the_pace_goes_on_from_there)
{
	static const int64_t jump[] = {PACE_JUMP_MAX_NS + 5 * SEC, INT64_MAX / 2};

	for (size_t i = 0; i < ARRAY_SIZE(jump); i++) {
		struct pace p;

		pace_init(&p, PACE_SPEED, 1);
		CHECK_EQ_INT(pace_delay_ns(&p, SEC, at(0)), 0);
		CHECK_EQ_INT(pace_delay_ns(&p, SEC + jump[i], at(0)), 0);
		CHECK_EQ_INT(pace_delay_ns(&p, 2 * SEC, at(0)), 0);
		CHECK_EQ_INT(pace_delay_ns(&p, 3 * SEC, at(0)), SEC + 1);
	}
}

TEST(an_hour_of_recorded_silence_is_waited_for)
{
	struct pace p;

	pace_init(&p, PACE_SPEED, 1);
	CHECK_EQ_INT(pace_delay_ns(&p, 0, at(0)), 0);
	CHECK_EQ_INT(pace_delay_ns(&p, 3600 * SEC, at(0)), 3600 * SEC + 1);
	CHECK_EQ_INT(pace_delay_ns(&p, 3600 * SEC, at(3600 * SEC)), 0);
}

TEST(waiting_ends_when_the_row_is_due)
{
	struct mono start = mono_now();
	struct pace p;

	pace_init(&p, PACE_SPEED, 1);
	CHECK(!pace_wait(&p, 0));
	CHECK(!pace_wait(&p, 30 * NS_PER_MS));
	CHECK(mono_now().ns - start.ns >= 30 * NS_PER_MS);
}
