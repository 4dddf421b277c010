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

/* A host of worker w with a message to be stored, as this collector knows it. */
static struct host *busy_host(struct consumer *c)
{
	struct host *h = roster_by_name(&c->hosts, "h");

	c->backlog.is_listed = c->group.members_listed = c->group.writers_listed = true;
	h->mine = true;
	h->n_pending = 1;
	h->due = mono_now();
	h->merge.ns = h->sweep.ns = INT64_MAX;
	return h;
}

static enum task next(struct consumer *c, struct host *h)
{
	struct host *chosen;
	struct mono when;
	enum task task = consumer_next(c, h->worker, &chosen, &when);

	if (task == TASK_STORE)
		consumer_stored(c);
	h->busy = false;
	return task;
}

TEST(a_host_is_served_once_the_queues_mirror_has_passed_its_taking)
{
	struct consumer *c = consumer_of((const char *const[]){"me"}, 1);
	struct host *h = busy_host(c);
	struct recovered rec = {.dead = 1, .listed_rev = 12};

	h->hold.rev = 10;
	c->seen_rev = 9;
	CHECK_EQ_INT(next(c, h), TASK_NONE);
	c->seen_rev = 10;
	/* It has dead-lettered after the taking; no event of the queue tells of that. */
	group_note_recovery(&c->group, &rec);
	CHECK_EQ_INT(next(c, h), TASK_STORE);
	consumer_free(c);
}

TEST(what_is_to_be_dropped_waits_for_what_is_to_be_stored_but_not_for_ever)
{
	struct consumer *c = consumer_of((const char *const[]){"me"}, 1);
	struct host *h = busy_host(c);

	CHECK_EQ_INT(next(c, h), TASK_STORE);
	h->sweep = mono_in_ms(-50000);
	CHECK_EQ_INT(next(c, h), TASK_STORE);
	h->sweep = mono_in_ms(-70000);
	CHECK_EQ_INT(next(c, h), TASK_SWEEP);
	h->sweep.ns = INT64_MAX;
	h->merge = mono_in_ms(-1000);
	CHECK_EQ_INT(next(c, h), TASK_STORE);
	h->merge = mono_in_ms(-3000);
	CHECK_EQ_INT(next(c, h), TASK_MERGE);
	consumer_free(c);
}
