#include "../lib/test.h"
#include "digest.h"
#include "strbuf.h"

static struct slice content(const struct strbuf *b)
{
	return (struct slice){b->s, b->len};
}

TEST(an_empty_buffer_is_an_empty_string)
{
	struct strbuf b;

	strbuf_init(&b, 10);
	CHECK_EQ_STR(b.s, "");
	strbuf_reset(&b);
	strbuf_consume(&b, 5);
	char *s = strbuf_take(&b);
	CHECK_EQ_STR(s, "");
	free(s);
	strbuf_release(&b);
}

TEST(a_zeroed_buffer_takes_nothing_and_can_be_released)
{
	struct strbuf b = {0};

	strbuf_add(&b, "", 0);
	CHECK_EQ_INT(b.err, 0);
	strbuf_addc(&b, 'x');
	CHECK_EQ_INT(b.err, -EMSGSIZE);
	strbuf_release(&b);
}

TEST(content_up_to_the_ceiling_fits_and_one_byte_more_is_a_sticky_error)
{
	struct strbuf b;

	strbuf_init(&b, 1000);
	for (int i = 0; i < 1000; i++)
		strbuf_addc(&b, 'x');
	CHECK_EQ_INT(b.err, 0);
	CHECK_EQ_INT(b.len, 1000);
	CHECK_EQ_INT(b.s[1000], 0);
	strbuf_addc(&b, 'x');
	CHECK_EQ_INT(b.err, -EMSGSIZE);
	strbuf_consume(&b, 500);
	strbuf_adds(&b, "after");
	CHECK_EQ_INT(b.len, 500);
	strbuf_reset(&b);
	strbuf_adds(&b, "after");
	CHECK_EQ_STR(b.s, "after");
	strbuf_release(&b);
}

TEST(an_unlimited_ceiling_does_not_overflow)
{
	struct strbuf b;

	strbuf_init(&b, SIZE_MAX);
	for (int i = 0; i < 300; i++)
		strbuf_adds(&b, "0123456789");
	CHECK_EQ_INT(b.len, 3000);
	CHECK(b.cap > 3000 && b.cap < 10000);
	CHECK(!strbuf_reserve(&b, SIZE_MAX));
	CHECK_EQ_INT(b.err, -EMSGSIZE);
	strbuf_release(&b);
}

TEST(formatting_grows_the_buffer_as_needed)
{
	struct strbuf b;

	strbuf_init(&b, 4096);
	strbuf_addf(&b, "%s", "");
	strbuf_addf(&b, "%0500d|%s", 7, "end");
	CHECK_EQ_INT(b.len, 504);
	CHECK_EQ_STR(b.s + 499, "7|end");
	strbuf_release(&b);
}

TEST(consume_and_truncate_keep_the_terminator)
{
	struct strbuf b;

	strbuf_init(&b, 100);
	strbuf_adds(&b, "abcdef");
	strbuf_consume(&b, 2);
	CHECK_EQ_STR(b.s, "cdef");
	strbuf_truncate(&b, 100);
	CHECK_EQ_STR(b.s, "cdef");
	strbuf_truncate(&b, 1);
	CHECK_EQ_STR(b.s, "c");
	strbuf_consume(&b, 9);
	CHECK_EQ_STR(b.s, "");
	strbuf_release(&b);
}

TEST(taking_leaves_an_empty_buffer_with_the_same_ceiling)
{
	struct strbuf b;

	strbuf_init(&b, 3);
	strbuf_adds(&b, "abc");
	char *s = strbuf_take(&b);
	CHECK_EQ_STR(s, "abc");
	CHECK_EQ_INT(b.len, 0);
	CHECK_EQ_INT(b.max, 3);
	free(s);
	strbuf_release(&b);
}

static void check_json(struct slice in, const char *expected)
{
	struct strbuf b;

	strbuf_init(&b, 1000);
	strbuf_add_json(&b, in.p, in.len);
	CHECK_EQ_STR(b.s, expected);
	strbuf_release(&b);
}

TEST(json_strings_escape_what_json_demands)
{
	check_json(SLICE_LIT(""), "\"\"");
	check_json(SLICE_LIT("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
	check_json(SLICE_LIT("\b\f\n\r\t\0\x1f\x7f"), "\"\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\"");
}

TEST(json_strings_keep_utf8_and_replace_what_is_none)
{
#define FFFD "\xef\xbf\xbd"
	check_json(SLICE_LIT("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
		   "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
	check_json(SLICE_LIT("a\xff"), "\"a" FFFD "\"");
	check_json(SLICE_LIT("\xc0\xaf"), "\"" FFFD FFFD "\"");                   /* overlong */
	check_json(SLICE_LIT("\xe0\x80\xaf"), "\"" FFFD FFFD FFFD "\"");          /* overlong */
	check_json(SLICE_LIT("\xed\xa0\x80"), "\"" FFFD FFFD FFFD "\"");          /* surrogate */
	check_json(SLICE_LIT("\xf4\x90\x80\x80"), "\"" FFFD FFFD FFFD FFFD "\""); /* > 10FFFF */
	check_json(SLICE_LIT("\xe2\x82"), "\"" FFFD FFFD "\"");                   /* cut short */
	check_json(SLICE_LIT("\xe2\x82x"), "\"" FFFD FFFD "x\"");
}

static void check_base64(const char *plain, const char *coded)
{
	struct strbuf b;

	strbuf_init(&b, 100);
	strbuf_add_base64(&b, plain, strlen(plain));
	CHECK_EQ_STR(b.s, coded);
	strbuf_reset(&b);
	CHECK_EQ_INT(strbuf_add_unbase64(&b, coded, strlen(coded)), 0);
	CHECK_EQ_STR(b.s, plain);
	strbuf_release(&b);
}

TEST(base64_agrees_with_rfc_4648_section_10)
{
	check_base64("", "");
	check_base64("f", "Zg==");
	check_base64("fo", "Zm8=");
	check_base64("foo", "Zm9v");
	check_base64("foob", "Zm9vYg==");
	check_base64("fooba", "Zm9vYmE=");
	check_base64("foobar", "Zm9vYmFy");
	check_base64("\xfb\xff\xbf", "+/+/");
}

TEST(base64_round_trips_random_bytes_of_every_length)
{
	struct strbuf coded, plain;
	uint8_t bytes[300];

	strbuf_init(&coded, 1000);
	strbuf_init(&plain, 1000);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		random_bytes(bytes, n);
		strbuf_reset(&coded);
		strbuf_reset(&plain);
		strbuf_add_base64(&coded, bytes, n);
		CHECK_EQ_INT(coded.len, (n + 2) / 3 * 4);
		CHECK_EQ_INT(strbuf_add_unbase64(&plain, coded.s, coded.len), 0);
		if (!CHECK_EQ_SLICE(content(&plain), ((struct slice){(char *)bytes, n})))
			break;
	}
	strbuf_release(&coded);
	strbuf_release(&plain);
}

TEST(what_is_not_base64_is_refused_and_adds_nothing)
{
	static const char *const bad[] = {"Z",        "Zg",      "Zg=",  "Zg=a",     "=g==",
					  "====",     "Zh==",    "Zm9=", "Z\ng=",    "Zm9v\n",
					  "Zg==Zg==", "Zm-v",    "Zm9_", "Zm9vZ===", "\377AAA",
					  "AA A",     "ZZ==AAAA"};
	struct strbuf b;

	strbuf_init(&b, 100);
	strbuf_adds(&b, "kept");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK(strbuf_add_unbase64(&b, bad[i], strlen(bad[i])) == -EBADMSG);
		CHECK_EQ_STR(b.s, "kept");
	}
	CHECK_EQ_INT(b.err, 0);
	strbuf_release(&b);
}

TEST(base64_past_the_ceiling_is_an_error)
{
	struct strbuf b;

	strbuf_init(&b, 7);
	strbuf_add_base64(&b, "abcdef", 6);
	CHECK_EQ_INT(b.err, -EMSGSIZE);
	strbuf_reset(&b);
	CHECK_EQ_INT(strbuf_add_unbase64(&b, "Zm9vYmFyZm9v", 12), -EMSGSIZE);
	CHECK_EQ_INT(b.len, 0);
	strbuf_release(&b);
}

TEST(integers_are_little_endian)
{
	struct strbuf b;

	strbuf_init(&b, 100);
	strbuf_add_u8(&b, 0xfe);
	strbuf_add_u32(&b, 0x04030201);
	strbuf_add_u64(&b, 0x0807060504030201);
	CHECK_EQ_SLICE(content(&b), SLICE_LIT("\xfe\1\2\3\4\1\2\3\4\5\6\7\10"));

	struct reader r = reader_of(b.s, b.len);
	CHECK_EQ_INT(read_u8(&r), 0xfe);
	CHECK_EQ_INT(read_u32(&r), 0x04030201);
	CHECK_EQ_INT(read_u64(&r), 0x0807060504030201);
	CHECK_EQ_INT(reader_left(&r), 0);
	CHECK_EQ_INT(r.err, 0);
	strbuf_release(&b);
}

TEST(varints_and_zigzags_round_trip_at_every_boundary)
{
	struct strbuf b;

	strbuf_init(&b, 100);
	for (int shift = 0; shift < 64; shift++) {
		for (int d = -1; d <= 1; d++) {
			uint64_t v = (1ull << shift) + (uint64_t)d;

			strbuf_reset(&b);
			strbuf_add_varint(&b, v);
			strbuf_add_zigzag(&b, (int64_t)v);
			strbuf_add_zigzag(&b, -(int64_t)(v >> 1));
			struct reader r = reader_of(b.s, b.len);
			CHECK(read_varint(&r) == v);
			CHECK(read_zigzag(&r) == (int64_t)v);
			CHECK(read_zigzag(&r) == -(int64_t)(v >> 1));
			CHECK(r.err == 0 && reader_left(&r) == 0);
		}
	}
	strbuf_release(&b);
	CHECK_EQ_INT(unzigzag(zigzag(INT64_MIN)), INT64_MIN);
}

static void check_bad_varint(struct slice s)
{
	struct reader r = reader_of(s.p, s.len);

	CHECK_EQ_INT(read_varint(&r), 0);
	CHECK_EQ_INT(r.err, -EBADMSG);
	CHECK_EQ_INT(reader_left(&r), 0);
}

TEST(malformed_varints_are_refused)
{
	check_bad_varint(SLICE_LIT(""));
	check_bad_varint(SLICE_LIT("\x80"));
	check_bad_varint(SLICE_LIT("\x80\x00"));                                 /* not shortest */
	check_bad_varint(SLICE_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")); /* 65 bits */
	check_bad_varint(SLICE_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
}

TEST(a_read_past_the_end_yields_nothing_from_then_on)
{
	struct reader r = reader_of("\5abc", 4);
	struct slice s = read_lstr(&r);

	CHECK_EQ_INT(s.len, 0);
	CHECK_EQ_INT(r.err, -EBADMSG);
	CHECK_EQ_INT(read_u8(&r), 0);
	CHECK_EQ_INT(read_u64(&r), 0);
	r = reader_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
		      "a",
		      11);
	CHECK_EQ_INT(read_lstr(&r).len, 0);
	CHECK_EQ_INT(r.err, -EBADMSG);
}
