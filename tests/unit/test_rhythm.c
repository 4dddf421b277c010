#include "../../streamer/rhythm.h"
#include "../lib/test.h"

static struct mono at_ms(int64_t ms)
{
	return (struct mono){ms * NS_PER_MS};
}

TEST(beats_come_at_their_offset_and_keep_their_distance)
{
	struct rhythm r;
	int64_t missed = -1;

	rhythm_init(&r, 1000, 2300 * NS_PER_MS, at_ms(5000));
	CHECK_EQ_INT(rhythm_delay_ns(&r, at_ms(5000), &missed), 300 * NS_PER_MS);
	CHECK_EQ_INT(missed, -1);
	CHECK_EQ_INT(rhythm_delay_ns(&r, at_ms(5301), &missed), 0);
	CHECK_EQ_INT(missed, 0);
	CHECK_EQ_INT(rhythm_delay_ns(&r, at_ms(5301), &missed), 999 * NS_PER_MS);
}

TEST(what_takes_too_long_misses_beats_and_is_back_in_time_with_the_next)
{
	struct rhythm r;
	int64_t missed;

	rhythm_init(&r, 1000, 0, at_ms(0));
	CHECK_EQ_INT(rhythm_delay_ns(&r, at_ms(0), &missed), 0);
	CHECK_EQ_INT(rhythm_delay_ns(&r, at_ms(3400), &missed), 0);
	CHECK_EQ_INT(missed, 2);
	CHECK_EQ_INT(rhythm_delay_ns(&r, at_ms(3400), &missed), 600 * NS_PER_MS);
}
