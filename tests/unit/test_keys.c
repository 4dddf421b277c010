#include "digest.h"
#include "keys.h"
#include "../lib/test.h"

#define ULID "01ARZ3NDEKTSV4RRFFQ69G5FAV"

static void check_name(struct slice name, const char *encoded)
{
	struct strbuf b;

	strbuf_init(&b, 4096);
	name_encode(&b, name);
	CHECK_EQ_SLICE(((struct slice){b.s, b.len}), slice_str(encoded));
	strbuf_reset(&b);
	strbuf_adds(&b, "x");
	CHECK_EQ_INT(name_decode(&b, slice_str(encoded)), 0);
	CHECK_EQ_SLICE(((struct slice){b.s + 1, b.len - 1}), name);
	strbuf_release(&b);
}

TEST(names_are_percent_encoded_and_come_back)
{
	check_name(SLICE_LIT("mtv5-dgx1-hgpu-031"), "mtv5-dgx1-hgpu-031");
	check_name(SLICE_LIT("AZaz09._:{}=\",-"), "AZaz09._:{}=\",-");
	check_name(SLICE_LIT("a b/c%d"), "a%20b%2Fc%25d");
	check_name(SLICE_LIT(".hidden.x"), "%2Ehidden.x");
	check_name(SLICE_LIT(".."), "%2E.");
	check_name(SLICE_LIT("."), "%2E");
	check_name(SLICE_LIT("\xc3\xa4\n\xff\0z"), "%C3%A4%0A%FF%00z");
}

TEST(every_byte_has_one_spelling)
{
	for (int c = 0; c < 256; c++) {
		char raw[2] = {'x', (char)c}, buf[NAME_MAX_ENCODED + 1];
		struct strbuf b;

		strbuf_init(&b, 16);
		CHECK_EQ_INT(name_encode_to(buf, (struct slice){raw, 2}), 0);
		CHECK_EQ_INT(name_decode(&b, slice_str(buf)), 0);
		CHECK_EQ_SLICE(((struct slice){b.s, b.len}), ((struct slice){raw, 2}));
		strbuf_reset(&b);
		CHECK_EQ_INT(name_decode(&b, (struct slice){raw, 2}),
			     strlen(buf) == 2 ? 0 : -EINVAL);
		strbuf_release(&b);
	}
}

TEST(other_spellings_of_a_name_are_refused)
{
	static const char *const bad[] = {"",     "a b", "%2f", "a%2",    "a%", "%41", ".x",
					  "a%2E", "a/b", "%GG", "a%2 0x", "%%", "%-1"};
	struct strbuf b;

	strbuf_init(&b, 64);
	strbuf_adds(&b, "kept");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (!CHECK_EQ_INT(name_decode(&b, slice_str(bad[i])), -EINVAL))
			CHECK_EQ_STR(bad[i], "");
	}
	CHECK_EQ_STR(b.s, "kept");
	CHECK_EQ_INT(b.len, 4);
	strbuf_release(&b);
}

TEST(names_have_at_most_255_bytes_as_encoded)
{
	char name[NAME_MAX_ENCODED + 2], buf[NAME_MAX_ENCODED + 1];

	memset(name, 'a', sizeof(name));
	CHECK_EQ_INT(name_encode_to(buf, (struct slice){name, 255}), 0);
	CHECK_EQ_INT(strlen(buf), 255);
	CHECK_EQ_INT(name_encode_to(buf, (struct slice){name, 256}), -ENAMETOOLONG);
	memset(name, ' ', sizeof(name));
	CHECK_EQ_INT(name_encode_to(buf, (struct slice){name, 85}), 0);
	CHECK_EQ_INT(name_encode_to(buf, (struct slice){name, 86}), -ENAMETOOLONG);
	CHECK_EQ_INT(name_encode_to(buf, SLICE_LIT("")), -EINVAL);
}

TEST(a_name_past_the_ceiling_is_an_error_of_the_buffer)
{
	struct strbuf b;

	strbuf_init(&b, 4);
	name_encode(&b, SLICE_LIT("a b"));
	CHECK_EQ_INT(b.err, -EMSGSIZE);
	strbuf_reset(&b);
	CHECK_EQ_INT(name_decode(&b, SLICE_LIT("abcdef")), 0);
	CHECK_EQ_INT(b.err, -EMSGSIZE);
	strbuf_release(&b);
}

TEST(keys_are_spelled_as_the_contract_says)
{
	uint8_t sum[SHA256_LEN] = {0xab, 1};

	CHECK_EQ_STR(key_queue(ULID).s, "/queue/telemetry/" ULID);
	CHECK_EQ_STR(key_payload(ULID).s, "/payload/telemetry/" ULID);
	CHECK_EQ_STR(key_deadletter(ULID).s, "/deadletter/telemetry/" ULID);
	CHECK_EQ_STR(key_processing("c-1", 1752871354000000000, ULID).s,
		     "/processing/c-1/01752871354000000000_" ULID);
	CHECK_EQ_STR(key_consumer("c-1").s, "/consumers/c-1");
	CHECK_EQ_STR(key_producer("ab").s, "/producers/ab");
	CHECK_EQ_STR(key_producer_owner("ab").s, "/producers/ab/owner");
	CHECK_EQ_STR(key_processed(sum).s, "/processed/ab01000000000000000000000000000000000000"
					   "000000000000000000000000");
	CHECK_EQ_STR(key_stats("c-1", 3).s, "/stats/c-1/3");
	CHECK_EQ_STR(key_writer("h").s, "/telemetry/writers/h");
	CHECK_EQ_STR(key_gpu("h", "0").s, "/telemetry/gpus/h/0");
	CHECK_EQ_STR(key_data("h", "0.1", 5, ULID).s,
		     "/telemetry/data/h/0.1/00000000000000000005_" ULID);
	CHECK_EQ_STR(key_body("h", "0", 5, ULID).s,
		     "/telemetry/body/h/0/00000000000000000005_" ULID);
	CHECK_EQ_STR(key_data_from("h", "0", UINT64_MAX).s,
		     "/telemetry/data/h/0/18446744073709551615");
	CHECK_EQ_STR(key_body_from("h", "0", 5).s, "/telemetry/body/h/0/00000000000000000005");
	CHECK_EQ_STR(key_under(KEY_DATA, "h").s, "/telemetry/data/h/");
	CHECK(strcmp(KEY_VIEW, KEY_DATA) < 0 && strcmp(KEY_GPUS, KEY_VIEW_END) < 0);
}

TEST(the_longest_names_leave_a_key_whole)
{
	char name[NAME_MAX_ENCODED + 1];
	struct data_key d;
	struct key k;

	memset(name, 'n', sizeof(name) - 1);
	name[NAME_MAX_ENCODED] = '\0';
	k = key_data(name, name, INT64_MAX, ULID);
	CHECK_EQ_INT(key_parse_data(slice_str(k.s), &d), 0);
	CHECK_EQ_SLICE(d.host, slice_str(name));
	CHECK_EQ_SLICE(d.gpu, slice_str(name));
	CHECK_EQ_INT(d.first_ns, INT64_MAX);
	CHECK_EQ_STR(d.ulid, ULID);
}

TEST(keys_of_chunks_and_gpus_are_parsed)
{
	struct slice host, gpu;
	struct data_key d;

	CHECK_EQ_INT(key_parse_data(slice_str(key_data("h", "0", 42, ULID).s), &d), 0);
	CHECK_EQ_SLICE(d.host, SLICE_LIT("h"));
	CHECK_EQ_SLICE(d.gpu, SLICE_LIT("0"));
	CHECK_EQ_INT(d.first_ns, 42);
	CHECK_EQ_INT(key_parse_gpu(SLICE_LIT("/telemetry/gpus/h/0"), &host, &gpu), 0);
	CHECK_EQ_SLICE(host, SLICE_LIT("h"));
	CHECK_EQ_SLICE(gpu, SLICE_LIT("0"));
}

TEST(malformed_keys_of_chunks_are_refused)
{
	static const char *const bad[] = {
		"/telemetry/data/",
		"/telemetry/data/h/0",
		"/telemetry/data//0/00000000000000000042_" ULID,
		"/telemetry/data/h//00000000000000000042_" ULID,
		"/telemetry/data/h/0/0000000000000000042_" ULID,
		"/telemetry/data/h/0/00000000000000000042-" ULID,
		"/telemetry/data/h/0/0000000000000000004x_" ULID,
		"/telemetry/data/h/0/99999999999999999999_" ULID,
		"/telemetry/data/h/0/00000000000000000042_" ULID "0",
		"/telemetry/data/h/0/00000000000000000042_01ARZ3NDEKTSV4RRFFQ69G5FAU/",
		"/telemetry/data/h/0/1/00000000000000000042_" ULID,
		"/telemetry/body/h/0/00000000000000000042_" ULID,
	};
	struct data_key d;
	struct slice s;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (!CHECK_EQ_INT(key_parse_data(slice_str(bad[i]), &d), -EINVAL))
			CHECK_EQ_STR(bad[i], "");
	}
	CHECK_EQ_INT(key_parse_gpu(SLICE_LIT("/telemetry/gpus/h"), &s, &s), -EINVAL);
	CHECK_EQ_INT(key_parse_gpu(SLICE_LIT("/telemetry/gpus/h/"), &s, &s), -EINVAL);
	CHECK_EQ_INT(key_parse_gpu(SLICE_LIT("/telemetry/gpus/h/0/1"), &s, &s), -EINVAL);
	CHECK_EQ_INT(key_parse_gpu(SLICE_LIT(""), &s, &s), -EINVAL);
}

TEST(the_ulid_of_a_message_is_found_in_its_keys)
{
	struct slice consumer;
	char ulid[ULID_LEN + 1];

	CHECK_EQ_INT(key_parse_ulid(slice_str(key_queue(ULID).s), ulid), 0);
	CHECK_EQ_STR(ulid, ULID);
	CHECK_EQ_INT(key_parse_ulid(slice_str(key_payload(ULID).s), ulid), 0);
	CHECK_EQ_INT(key_parse_ulid(slice_str(key_deadletter(ULID).s), ulid), 0);
	CHECK_EQ_INT(key_parse_ulid(slice_str(key_processing("c", 7, ULID).s), ulid), 0);
	CHECK_EQ_INT(key_parse_ulid(SLICE_LIT("/queue/telemetry/x"), ulid), -EINVAL);
	CHECK_EQ_INT(key_parse_ulid(SLICE_LIT("/queue/other/" ULID), ulid), -EINVAL);
	CHECK_EQ_INT(
		key_parse_processing(slice_str(key_processing("c", 7, ULID).s), &consumer, ulid),
		0);
	CHECK_EQ_SLICE(consumer, SLICE_LIT("c"));
	CHECK_EQ_INT(key_parse_processing(SLICE_LIT("/processing/c"), &consumer, ulid), -EINVAL);
}
