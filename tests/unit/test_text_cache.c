#include "../lib/test.h"
#include "text_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

struct source {
	const char *text;
	int error;
	atomic_int builds;
	atomic_bool *go; /* waits for it */
};

static int build(struct strbuf *out, void *arg)
{
	struct source *s = arg;

	atomic_fetch_add(&s->builds, 1);
	while (s->go && !atomic_load(s->go))
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	strbuf_adds(out, s->text);
	return s->error;
}

static void id_of(int n, uint8_t id[TEXT_ID_LEN])
{
	memset(id, 0, TEXT_ID_LEN);
	memcpy(id, &n, sizeof(n));
}

static int get(struct text_cache *c, int n, struct source *s, struct text **ret)
{
	uint8_t id[TEXT_ID_LEN];

	id_of(n, id);
	return text_cache_get(c, TEXT_RENDERED, id, 4096, build, s, ret);
}

TEST(a_text_is_built_once_and_then_known)
{
	struct text_cache *c = text_cache_new(1 << 20);
	struct source s = {.text = "rows\n"};
	struct text_cache_stats stats;
	struct text *a, *b;

	CHECK_EQ_INT(get(c, 1, &s, &a), 0);
	CHECK_EQ_INT(get(c, 1, &s, &b), 0);
	CHECK(a == b);
	CHECK_EQ_SLICE(((struct slice){a->s, a->len}), SLICE_LIT("rows\n"));
	CHECK_EQ_INT(s.builds, 1);
	text_cache_stats(c, &stats);
	CHECK_EQ_INT((int64_t)stats.hits, 1);
	CHECK_EQ_INT((int64_t)stats.misses, 1);
	text_unref(a);
	text_unref(b);
	text_cache_free(c);
}

TEST(a_failure_is_not_kept)
{
	struct text_cache *c = text_cache_new(1 << 20);
	struct source s = {.text = "x", .error = -ENOENT};
	struct text *t;

	CHECK_EQ_INT(get(c, 1, &s, &t), -ENOENT);
	s.error = 0;
	CHECK_EQ_INT(get(c, 1, &s, &t), 0);
	CHECK_EQ_INT(s.builds, 2);
	text_unref(t);
	text_cache_free(c);
}

TEST(a_text_beyond_its_ceiling_is_refused)
{
	struct text_cache *c = text_cache_new(1 << 20);
	struct source s = {.text = "longer than that"};
	uint8_t id[TEXT_ID_LEN];
	struct text *t;

	id_of(1, id);
	CHECK_EQ_INT(text_cache_get(c, TEXT_RENDERED, id, 4, build, &s, &t), -EMSGSIZE);
	text_cache_free(c);
}

TEST(the_least_recently_used_goes_first_and_what_is_held_stays)
{
	struct text_cache *c = text_cache_new(4096);
	struct source s = {.text = "0123456789"};
	struct text_cache_stats stats;
	struct text *held, *t;

	CHECK_EQ_INT(get(c, 0, &s, &held), 0);
	for (int i = 1; i < 100; i++) {
		CHECK_EQ_INT(get(c, i, &s, &t), 0);
		text_unref(t);
	}
	text_cache_stats(c, &stats);
	CHECK(stats.bytes <= 4096);
	CHECK(stats.texts < 30);
	CHECK_EQ_SLICE(((struct slice){held->s, held->len}), SLICE_LIT("0123456789"));
	CHECK_EQ_INT(s.builds, 100);
	CHECK_EQ_INT(get(c, 99, &s, &t), 0);
	CHECK_EQ_INT(s.builds, 100);
	text_unref(t);
	CHECK_EQ_INT(get(c, 0, &s, &t), 0);
	CHECK_EQ_INT(s.builds, 101);
	text_unref(t);
	text_unref(held);
	text_cache_free(c);
}

TEST(values_are_kept_until_dropped)
{
	struct text_cache *c = text_cache_new(1 << 20);
	struct source s = {.text = "fetched"};
	uint8_t id[TEXT_ID_LEN];
	struct text *t;

	id_of(7, id);
	text_cache_put_value(c, id, SLICE_LIT("value"));
	text_cache_put_value(c, id, SLICE_LIT("value"));
	CHECK_EQ_INT(text_cache_get(c, TEXT_VALUE, id, 4096, build, &s, &t), 0);
	CHECK_EQ_STR(t->s, "value");
	text_unref(t);
	text_cache_drop(c, id);
	CHECK_EQ_INT(text_cache_get(c, TEXT_VALUE, id, 4096, build, &s, &t), 0);
	CHECK_EQ_STR(t->s, "fetched");
	text_unref(t);
	text_cache_free(c);
	text_cache_free(NULL);
	text_unref(NULL);
}

TEST(kinds_of_one_chunk_are_told_apart_and_dropped_together)
{
	struct text_cache *c = text_cache_new(1 << 20);
	struct source s[TEXT_KINDS] = {
		{.text = "rendered"}, {.text = "decoded"}, {.text = "value"}};
	uint8_t id[TEXT_ID_LEN];
	struct text *t;

	id_of(7, id);
	for (int round = 1; round <= 2; round++) {
		for (enum text_kind kind = 0; kind < 2 * TEXT_KINDS; kind++) {
			struct source *source = &s[kind % TEXT_KINDS];

			CHECK_EQ_INT(
				text_cache_get(c, kind % TEXT_KINDS, id, 4096, build, source, &t),
				0);
			CHECK_EQ_STR(t->s, source->text);
			CHECK_EQ_INT(source->builds, round);
			text_unref(t);
		}
		text_cache_drop(c, id);
	}
	text_cache_free(c);
}

struct asker {
	struct text_cache *cache;
	struct source *source;
	int result;
};

static void *ask(void *arg)
{
	struct asker *a = arg;
	struct text *t = NULL;

	a->result = get(a->cache, 5, a->source, &t);
	if (!a->result)
		text_unref(t);
	return NULL;
}

static void ask_together(int error)
{
	atomic_bool go = false;
	struct source s = {.text = "t", .error = error, .go = &go};
	struct text_cache *c = text_cache_new(100); /* it does not even fit */
	struct asker askers[8];
	pthread_t threads[8];

	for (int i = 0; i < 8; i++) {
		askers[i] = (struct asker){c, &s, 1};
		CHECK_EQ_INT(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
	}
	for (struct text_cache_stats stats = {0}; stats.hits + stats.misses < 8;)
		text_cache_stats(c, &stats);
	atomic_store(&go, true);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		CHECK_EQ_INT(askers[i].result, error);
	}
	CHECK_EQ_INT(s.builds, 1);
	text_cache_free(c);
}

TEST(who_asks_at_once_waits_for_one_build)
{
	ask_together(0);
	ask_together(-ENOENT);
}
