#include "../../collector/consumer.h"
#include "../lib/test.h"

static struct consumer *consumer_of(const char *const *members, size_t n)
{
	struct consumer *c = xcalloc(1, sizeof(*c));

	consumer_init(c, NULL, "me", 2, 100, 3);
	for (size_t i = 0; i < n; i++) {
		struct key key = key_consumer(members[i]);

		group_member_put(&c->group, slice_str(key.s));
	}
	return c;
}

static void consumer_free(struct consumer *c)
{
	consumer_release(c);
	free(c);
}

TEST(large_chunks_are_stored_as_they_come)
{
	struct consumer *c = consumer_of((const char *const[]){"me"}, 1);

	for (int i = 0; i < 100; i++)
		CHECK_EQ_INT(consumer_pace_ms(c, 1000, 1000 * CONSUMER_SMALL_ROWS), 0);
	CHECK_EQ_INT(consumer_pace_ms(c, 0, 0), 0);
	consumer_free(c);
}

TEST(small_chunks_of_all_collectors_are_held_to_their_number_a_second)
{
	struct consumer *one = consumer_of((const char *const[]){"me"}, 1);
	struct consumer *four = consumer_of((const char *const[]){"a", "b", "c", "me"}, 4);
	int64_t ms = 0;

	/* A thousand a quarter of a second after the other: so long they are apart. */
	for (int i = 0; i < 4; i++)
		ms = consumer_pace_ms(one, CONSUMER_SMALL_S / 4, 5);
	CHECK(ms > 900 && ms <= 1000);
	ms = consumer_pace_ms(four, CONSUMER_SMALL_S / 4, 5);
	CHECK(ms > 900 && ms <= 1000);
	CHECK(consumer_pace_ms(one, 1000000, 5) <= 5000);
	CHECK_EQ_INT(consumer_pace_ms(one, 10, 10 * CONSUMER_SMALL_ROWS), 0);
	consumer_free(one);
	consumer_free(four);
}
