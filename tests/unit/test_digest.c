#include <pthread.h>

#include "../lib/test.h"
#include "digest.h"
#include "map.h"

static const char *sha256_hex(const char *s)
{
	static char text[2 * SHA256_LEN + 1];
	uint8_t sum[SHA256_LEN];

	sha256(s, strlen(s), sum);
	hex(sum, sizeof(sum), text);
	return text;
}

TEST(sha256_agrees_with_fips_180_4)
{
	CHECK_EQ_INT(digest_init(), 0);
	CHECK_EQ_STR(sha256_hex(""),
		     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	CHECK_EQ_STR(sha256_hex("abc"),
		     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(sha256_in_pieces_equals_sha256_at_once)
{
	struct sha256_state s;
	uint8_t pieces[SHA256_LEN];
	char text[2 * SHA256_LEN + 1];

	sha256_begin(&s);
	sha256_update(&s, "a", 1);
	sha256_update(&s, "", 0);
	sha256_update(&s, "bc", 2);
	sha256_end(&s, pieces);
	hex(pieces, sizeof(pieces), text);
	CHECK_EQ_STR(text, sha256_hex("abc"));
}

TEST(crc32c_agrees_with_rfc_3720)
{
	uint8_t bytes[32] = {0};

	CHECK_EQ_INT(crc32c("", 0), 0);
	CHECK_EQ_INT(crc32c("123456789", 9), 0xe3069283);
	CHECK_EQ_INT(crc32c(bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	CHECK_EQ_INT(crc32c(bytes, 32), 0x62a8ab43);
	for (uint8_t i = 0; i < 32; i++)
		bytes[i] = i;
	CHECK_EQ_INT(crc32c(bytes, 32), 0x46dd794e);
}

TEST(both_ways_to_crc32c_agree_at_every_length_and_alignment)
{
	uint8_t bytes[200];

	random_bytes(bytes, sizeof(bytes));
	for (size_t from = 0; from < 8; from++) {
		for (size_t n = 0; n < sizeof(bytes) - from; n++)
			CHECK(crc32c(bytes + from, n) == crc32c_portable(bytes + from, n));
	}
}

TEST(comparison_finds_any_differing_byte)
{
	uint8_t a[32] = {0}, b[32] = {0};

	CHECK(equal_const_time(a, b, 32));
	for (int i = 0; i < 32; i++) {
		b[i] = 0x80;
		CHECK(!equal_const_time(a, b, 32));
		b[i] = 0;
	}
}

TEST(random_numbers_differ)
{
	CHECK(random_u64() != random_u64());
}

TEST(ulids_are_valid_and_increase)
{
	char last[ULID_LEN + 1] = "", u[ULID_LEN + 1];

	for (int i = 0; i < 100000; i++) {
		ulid_new(u);
		if (!CHECK(strcmp(last, u) < 0) || !CHECK(ulid_valid(slice_str(u))))
			return;
		memcpy(last, u, sizeof(u));
	}
}

enum { THREADS = 4, ULIDS = 5000 };
static char made[THREADS][ULIDS][ULID_LEN + 1];

static void *make_ulids(void *arg)
{
	char(*into)[ULID_LEN + 1] = arg;

	for (int i = 0; i < ULIDS; i++)
		ulid_new(into[i]);
	return NULL;
}

TEST(ulids_of_many_threads_are_unique)
{
	pthread_t threads[THREADS];
	struct map seen = MAP_INIT;

	for (int t = 0; t < THREADS; t++)
		pthread_create(&threads[t], NULL, make_ulids, made[t]);
	for (int t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	for (int t = 0; t < THREADS; t++) {
		for (int i = 0; i < ULIDS; i++)
			map_put(&seen, made[t][i], ULID_LEN, made[t][i]);
	}
	CHECK_EQ_INT(map_count(&seen), THREADS * ULIDS);
	map_release(&seen);
}

TEST(what_is_no_ulid_is_refused)
{
	CHECK(ulid_valid(SLICE_LIT("7ZZZZZZZZZZZZZZZZZZZZZZZZZ")));
	CHECK(!ulid_valid(SLICE_LIT("8ZZZZZZZZZZZZZZZZZZZZZZZZZ")));
	CHECK(!ulid_valid(SLICE_LIT("01ARZ3NDEKTSV4RRFFQ69G5FA")));
	CHECK(!ulid_valid(SLICE_LIT("01ARZ3NDEKTSV4RRFFQ69G5FAVV")));
	CHECK(!ulid_valid(SLICE_LIT("01ARZ3NDEKTSV4RRFFQ69G5FAU")));
	CHECK(!ulid_valid(SLICE_LIT("01arz3ndektsv4rrffq69g5fav")));
	CHECK(!ulid_valid(SLICE_LIT("01ARZ3NDEKTSV4RRFFQ69G5F/V")));
	CHECK(!ulid_valid(SLICE_LIT("01ARZ3NDEKTSV4RRFFQ69G5FA\0")));
	CHECK(!ulid_valid(SLICE_LIT("")));
}
