#include <stdio.h>

#include "../lib/test.h"
#include "map.h"

static void *number(uintptr_t v)
{
	return (void *)v;
}

static size_t key_of(char buf[32], int i)
{
	return (size_t)snprintf(buf, 32, "key-%d", i);
}

TEST(hash64_agrees_with_xxhash64)
{
	static const char text[] = "Nobody inspects the spammish repetition";

	CHECK(hash64("", 0, 0) == 0xef46db3751d8e999);
	CHECK(hash64("abc", 3, 0) == 0x44bc2cf5ad770999);
	CHECK(hash64(text, sizeof(text) - 1, 0) == 0xfbcea83c8a378bf1);
	CHECK(hash64("abc", 3, 1) != hash64("abc", 3, 0));
}

TEST(an_empty_map_knows_nothing)
{
	struct map m = MAP_INIT;

	CHECK(!map_get_str(&m, "a"));
	CHECK(!map_remove(&m, "a", 1));
	CHECK_EQ_INT(map_count(&m), 0);
	map_release(&m);
}

TEST(putting_again_replaces_and_returns_the_old_value)
{
	struct map m = MAP_INIT;

	CHECK(!map_put(&m, "a", 1, number(1)));
	CHECK(map_put(&m, "a", 1, number(2)) == number(1));
	CHECK(map_get_str(&m, "a") == number(2));
	CHECK_EQ_INT(map_count(&m), 1);
	map_release(&m);
}

TEST(keys_are_bytes_and_are_copied)
{
	struct map m = MAP_INIT;
	char key[] = "a\0b";

	map_put(&m, key, 3, number(1));
	map_put(&m, key, 1, number(2));
	map_put(&m, "", 0, number(3));
	key[2] = 'c';
	CHECK(map_get(&m, "a\0b", 3) == number(1));
	CHECK(!map_get(&m, "a\0c", 3));
	CHECK(map_get(&m, "a", 1) == number(2));
	CHECK(map_get(&m, "", 0) == number(3));
	map_release(&m);
}

/* Adds and removes at random, beside an array that knows the answer. */
TEST(a_map_agrees_with_an_array_under_random_changes)
{
	enum { KEYS = 3000, CHANGES = 200000 };
	static uintptr_t model[KEYS];
	struct map m = MAP_INIT;
	uint64_t x = 1;
	uint32_t count = 0;
	char key[32];

	for (uintptr_t i = 1; i <= CHANGES; i++) {
		x = hash64(&x, sizeof(x), i);
		int k = (int)(x % KEYS);
		size_t n = key_of(key, k);

		if (x >> 32 & 1) {
			CHECK(map_put(&m, key, n, number(i)) == number(model[k]));
			count += !model[k];
			model[k] = i;
		} else {
			CHECK(map_remove(&m, key, n) == number(model[k]));
			count -= model[k] != 0;
			model[k] = 0;
		}
	}
	CHECK_EQ_INT(map_count(&m), count);
	for (int k = 0; k < KEYS; k++)
		CHECK(map_get(&m, key, key_of(key, k)) == number(model[k]));
	map_release(&m);
}

TEST(entries_stand_in_order_of_insertion)
{
	struct map m = MAP_INIT;
	char key[32];

	for (int i = 0; i < 100; i++)
		map_put(&m, key, key_of(key, i), number((uintptr_t)i + 1));
	for (uint32_t i = 0; i < 100; i++)
		CHECK(m.entries[i].value == number(i + 1));
	map_release(&m);
}

TEST(removing_the_entry_under_map_each_visits_all_others_once)
{
	struct map m = MAP_INIT;
	uintptr_t sum = 0;
	char key[32];

	for (int i = 0; i < 100; i++)
		map_put(&m, key, key_of(key, i), number((uintptr_t)i + 1));
	map_each (&m, i) {
		sum += (uintptr_t)m.entries[i].value;
		if (i % 3 == 0)
			map_remove(&m, m.entries[i].key, m.entries[i].key_len);
	}
	CHECK_EQ_INT(sum, 5050);
	CHECK_EQ_INT(map_count(&m), 66);
	map_release(&m);
}
