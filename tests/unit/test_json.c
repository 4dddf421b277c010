#include "../lib/test.h"
#include "json.h"
#include "strbuf.h"

static struct json *parse(const char *s)
{
	struct json *doc = NULL;
	struct err e;

	if (!test_check(json_parse(s, strlen(s), &doc, &e) == 0, __FILE__, __LINE__, "%s: %s", s,
			e.text))
		exit(1);
	return doc;
}

TEST(members_and_items_are_found)
{
	struct json *doc = parse("{\"a\":[1,\"two\",true,null,{}],\"s\":\"x\\u0000y\"}");
	const struct json *a = json_get(doc, "a");

	CHECK(json_is_object(doc) && json_is_array(a));
	CHECK_EQ_INT(json_count(doc), 2);
	CHECK_EQ_INT(json_count(a), 5);
	CHECK_EQ_INT(json_int(json_at(a, 0), -1), 1);
	CHECK(json_is_number(json_at(a, 0)));
	CHECK_EQ_SLICE(json_str(json_at(a, 1)), SLICE_LIT("two"));
	CHECK(json_is_string(json_at(a, 1)));
	CHECK(json_bool(json_at(a, 2)));
	CHECK(json_is_null(json_at(a, 3)));
	CHECK_EQ_SLICE(json_str(json_get(doc, "s")), SLICE_LIT("x\0y"));
	json_free(doc);
}

TEST(absent_members_and_wrong_types_yield_fallbacks)
{
	struct json *doc = parse("{\"s\":\"text\",\"n\":5}");
	const struct json *none = json_get(json_at(json_get(doc, "x"), 3), "y");

	CHECK(!none && !json_is_null(none) && !json_is_object(none) && !json_is_string(none));
	CHECK_EQ_INT(json_int(none, 9), 9);
	CHECK_EQ_INT(json_count(none), 0);
	CHECK_EQ_SLICE(json_str(none), SLICE_LIT(""));
	CHECK(!json_bool(none));
	CHECK_EQ_INT(json_int(json_get(doc, "s"), 9), 9);
	CHECK_EQ_SLICE(json_str(json_get(doc, "n")), SLICE_LIT(""));
	CHECK_EQ_INT(json_count(json_get(doc, "n")), 0);
	CHECK(!json_get(json_get(doc, "n"), "a") && !json_at(doc, 0));
	CHECK(!json_bool(json_get(doc, "n")));
	json_free(doc);
	json_free(NULL);
}

TEST(integers_may_be_decimal_strings)
{
	struct json *doc = parse("[\"9223372036854775807\",\"-1\",\"1x\",\"\",1.5]");

	CHECK_EQ_INT(json_int(json_at(doc, 0), 0), INT64_MAX);
	CHECK_EQ_INT(json_int(json_at(doc, 1), 0), -1);
	CHECK_EQ_INT(json_int(json_at(doc, 2), 7), 7);
	CHECK_EQ_INT(json_int(json_at(doc, 3), 7), 7);
	CHECK_EQ_INT(json_int(json_at(doc, 4), 7), 7);
	json_free(doc);
}

TEST(errors_say_where)
{
	struct json *doc = NULL;
	struct err e = {""};

	CHECK_EQ_INT(json_parse("{\"a\":\n 1,}", 10, &doc, &e), -EBADMSG);
	CHECK(strstr(e.text, "line 2"));
	CHECK(!doc);
}

TEST(what_is_not_json_is_refused)
{
	static const char *const bad[] = {"",
					  " ",
					  "{",
					  "[1,]",
					  "{\"a\"}",
					  "01",
					  "nul",
					  "'a'",
					  "{} x",
					  "\"\xff\"",
					  "\"a\nb\"",
					  "[1e999]",
					  "99999999999999999999999",
					  "\"\\ud800\"",
					  "\"\\udc00\\ud800\"",
					  "\"\\u12\"",
					  "\"\\x\"",
					  "\"\\",
					  "{\"a\\u0000\":1}",
					  "{\"a\":1 \"b\":2}",
					  "[1 2]",
					  "[",
					  "-",
					  "1.",
					  "1e",
					  "+1"};
	struct json *doc = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (!CHECK(json_parse(bad[i], strlen(bad[i]), &doc, NULL) == -EBADMSG))
			CHECK_EQ_STR(bad[i], "");
	}
}

static int parse_nested(int depth, const char *open, const char *close)
{
	struct json *doc = NULL;
	struct strbuf b;
	int r;

	strbuf_init(&b, 10000);
	for (int i = 0; i < depth; i++)
		strbuf_adds(&b, open);
	for (int i = 0; i < depth; i++)
		strbuf_adds(&b, close);
	r = json_parse(b.s, b.len, &doc, NULL);
	json_free(doc);
	strbuf_release(&b);
	return r;
}

TEST(escapes_are_undone_and_of_equal_names_the_last_counts)
{
	struct json *doc =
		parse("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\ud83d\\ude00 \xc3\xa9\","
		      "{\"a\":1,\"b\":{},\"a\":2}, -0, 1.5E+3 ]");

	CHECK_EQ_SLICE(json_str(json_at(doc, 0)),
		       SLICE_LIT("\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \xc3\xa9"));
	CHECK_EQ_INT(json_int(json_get(json_at(doc, 1), "a"), 0), 2);
	CHECK_EQ_INT(json_count(json_get(json_at(doc, 1), "b")), 0);
	CHECK(json_is_object(json_get(json_at(doc, 1), "b")));
	CHECK_EQ_INT(json_int(json_at(doc, 2), 7), 0);
	CHECK(json_is_number(json_at(doc, 3)));
	CHECK_EQ_INT(json_int(json_at(doc, 3), 7), 7);
	json_free(doc);
}

TEST(nesting_ends_at_64_levels)
{
	CHECK_EQ_INT(parse_nested(64, "[", "]"), 0);
	CHECK_EQ_INT(parse_nested(65, "[", "]"), -EBADMSG);
	CHECK_EQ_INT(parse_nested(1000, "[", "]"), -EBADMSG);
	/* brackets in strings are no nesting */
	CHECK_EQ_INT(parse_nested(1,
				  "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
				  "[[[[[\\\"[\"",
				  "]"),
		     0);
}

static int append_key(const char *key, const struct json *value, void *arg)
{
	strbuf_addf(arg, "%s=%d ", key, (int)json_int(value, 0));
	return json_int(value, 0) == 3 ? 42 : 0;
}

TEST(each_goes_in_order_and_stops_when_told)
{
	struct json *doc = parse("{\"z\":1,\"a\":2,\"m\":3,\"b\":4}");
	struct strbuf b;

	strbuf_init(&b, 100);
	CHECK_EQ_INT(json_each(doc, append_key, &b), 42);
	CHECK_EQ_STR(b.s, "z=1 a=2 m=3 ");
	CHECK_EQ_INT(json_each(NULL, append_key, &b), 0);
	strbuf_release(&b);
	json_free(doc);
}
