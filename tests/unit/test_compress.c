#include <pthread.h>

#include "../lib/test.h"
#include "compress.h"
#include "digest.h"

enum { MAX = 1 << 20 };

static void check_round_trip(const void *p, size_t n)
{
	struct strbuf packed, back;

	strbuf_init(&packed, MAX);
	strbuf_init(&back, MAX);
	strbuf_adds(&packed, "head");
	CHECK_EQ_INT(compress_zstd(&packed, p, n, 3), 0);
	CHECK_EQ_INT(decompress_zstd(&back, packed.s + 4, packed.len - 4, n), 0);
	CHECK_EQ_SLICE(((struct slice){back.s, back.len}), ((struct slice){p, n}));
	CHECK_EQ_INT(packed.s[packed.len], 0);
	strbuf_release(&packed);
	strbuf_release(&back);
}

TEST(every_kind_of_content_round_trips)
{
	static char bytes[100000];

	check_round_trip("", 0);
	check_round_trip("a", 1);
	check_round_trip(bytes, sizeof(bytes));
	random_bytes(bytes, sizeof(bytes));
	check_round_trip(bytes, sizeof(bytes));
}

TEST(repetition_takes_little_space)
{
	static char zeros[100000];
	struct strbuf packed;

	strbuf_init(&packed, MAX);
	CHECK_EQ_INT(compress_zstd(&packed, zeros, sizeof(zeros), 3), 0);
	CHECK(packed.len < 100);
	strbuf_release(&packed);
}

TEST(ceilings_hold_in_both_directions)
{
	static char zeros[1000];
	struct strbuf packed, back;
	uint8_t noise[1000];

	random_bytes(noise, sizeof(noise));
	strbuf_init(&packed, 500);
	CHECK_EQ_INT(compress_zstd(&packed, noise, sizeof(noise), 3), -EMSGSIZE);
	CHECK_EQ_INT(packed.len, 0);
	CHECK_EQ_INT(compress_zstd(&packed, zeros, sizeof(zeros), 3), 0);
	strbuf_init(&back, MAX);
	CHECK_EQ_INT(decompress_zstd(&back, packed.s, packed.len, 999), -EMSGSIZE);
	strbuf_release(&back);
	strbuf_init(&back, 999);
	CHECK_EQ_INT(decompress_zstd(&back, packed.s, packed.len, 1000), -EMSGSIZE);
	CHECK_EQ_INT(back.len, 0);
	strbuf_release(&back);
	strbuf_release(&packed);
}

TEST(garbage_cut_and_damaged_frames_are_refused)
{
	struct strbuf packed, back;
	uint8_t noise[300];

	strbuf_init(&packed, MAX);
	strbuf_init(&back, MAX);
	random_bytes(noise, sizeof(noise));
	CHECK_EQ_INT(decompress_zstd(&back, "", 0, 1000), -EBADMSG);
	CHECK_EQ_INT(decompress_zstd(&back, "not a frame", 11, 1000), -EBADMSG);
	CHECK_EQ_INT(compress_zstd(&packed, noise, sizeof(noise), 3), 0);
	for (size_t n = 0; n < packed.len; n++)
		CHECK(decompress_zstd(&back, packed.s, n, MAX) == -EBADMSG);
	strbuf_adds(&packed, "more");
	CHECK_EQ_INT(decompress_zstd(&back, packed.s, packed.len, MAX), -EBADMSG);
	CHECK_EQ_INT(back.len, 0);
	strbuf_release(&packed);
	strbuf_release(&back);
}

static void *round_trip_thread(void *arg)
{
	check_round_trip(arg, strlen(arg));
	return NULL;
}

TEST(threads_have_contexts_of_their_own)
{
	static char text[] = "some text some text some text";
	pthread_t threads[8];

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, round_trip_thread, text);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
}
