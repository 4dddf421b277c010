#include "labels.h"
#include "../lib/test.h"

static char *canonical(const char *text)
{
	struct label labels[LABELS_MAX];
	struct strbuf b;
	struct err e = {0};
	int n = labels_split(slice_str(text), labels, &e);

	strbuf_init(&b, LABELS_BYTES);
	if (n < 0)
		strbuf_addf(&b, "error %s", e.text);
	else
		labels_join(&b, labels, n);
	return strbuf_take(&b);
}

static void check_canonical(const char *text, const char *want)
{
	char *got = canonical(text);

	CHECK_EQ_STR(got, want);
	free(got);
}

TEST(labels_are_sorted_by_name_and_without_empty_ones)
{
	check_canonical("b=\"2\",a=\"1\"", "a=\"1\",b=\"2\"");
	check_canonical("a=\"1\",c=\"\",b=\"2\"", "a=\"1\",b=\"2\"");
	check_canonical("ab=\"2\",a=\"1\",_=\"0\",A9=\"x\"", "A9=\"x\",_=\"0\",a=\"1\",ab=\"2\"");
	check_canonical("a=\"1\",a=\"2\"", "a=\"1\"");
	check_canonical("a=\"\",a=\"2\"", "");
}

TEST(braces_and_blanks_around_commas_are_let_through)
{
	check_canonical("", "");
	check_canonical("  ", "");
	check_canonical("{}", "");
	check_canonical(" { } ", "");
	check_canonical("{a=\"1\"}", "a=\"1\"");
	check_canonical(" {a=\"1\" , b=\"}\",} ", "a=\"1\",b=\"}\"");
}

TEST(values_stay_escaped)
{
	check_canonical("a=\"x\\\\y\\\"z\\n,}\"", "a=\"x\\\\y\\\"z\\n,}\"");
	check_canonical("a=\"x\ny\"", "a=\"x\\ny\"");
	check_canonical("a=\"\xc3\xa4\"", "a=\"\xc3\xa4\"");
}

TEST(malformed_labels_are_refused_with_the_place)
{
	check_canonical("=\"1\"", "error at byte 1: expected a label's name");
	check_canonical("9=\"1\"", "error at byte 1: expected a label's name");
	check_canonical("a", "error at byte 2: expected =");
	check_canonical("a=1", "error at byte 3: expected \"");
	check_canonical("a=\"1", "error at byte 5: a label's value does not end");
	check_canonical("a=\"1\\", "error at byte 6: expected \\\\, \\\" or \\n");
	check_canonical("a=\"\\t\"", "error at byte 5: expected \\\\, \\\" or \\n");
	check_canonical("a=\"1\"b=\"2\"", "error at byte 6: expected a comma");
	check_canonical("a=\"1\",,b=\"2\"", "error at byte 7: expected a label's name");
	check_canonical(",a=\"1\"", "error at byte 1: expected a label's name");
	check_canonical("{a=\"1\"", "error at byte 7: expected }");
	check_canonical("{", "error at byte 2: expected }");
	check_canonical("a=\"1\"}", "error at byte 6: expected a comma");
	check_canonical("a-b=\"1\"", "error at byte 2: expected =");
}

TEST(a_set_has_limits)
{
	struct label labels[LABELS_MAX];
	struct strbuf b;

	strbuf_init(&b, 1 << 20);
	for (int i = 0; i < LABELS_MAX; i++)
		strbuf_addf(&b, "l%d=\"v\",", i);
	CHECK_EQ_INT(labels_split((struct slice){b.s, b.len}, labels, NULL), LABELS_MAX);
	strbuf_adds(&b, "z=\"v\"");
	CHECK_EQ_INT(labels_split((struct slice){b.s, b.len}, labels, NULL), -EINVAL);
	strbuf_reset(&b);
	strbuf_addf(&b, "a=\"%*s\"", LABELS_BYTES, "");
	CHECK_EQ_INT(labels_split((struct slice){b.s, b.len}, labels, NULL), -EINVAL);
	strbuf_release(&b);
}

static void check_pair(void (*fn)(struct strbuf *, struct slice, struct slice), const char *a,
		       const char *b, const char *want)
{
	struct strbuf out;

	strbuf_init(&out, 4096);
	strbuf_adds(&out, "x");
	fn(&out, slice_str(a), slice_str(b));
	CHECK_EQ_STR(out.s + 1, want);
	strbuf_release(&out);
}

TEST(the_difference_says_what_makes_a_from_the_base)
{
	check_pair(labels_difference, "", "", "");
	check_pair(labels_difference, "a=\"1\",b=\"2\"", "a=\"1\",b=\"2\"", "");
	check_pair(labels_difference, "a=\"1\",b=\"2\"", "", "a=\"1\",b=\"2\"");
	check_pair(labels_difference, "", "a=\"1\",b=\"2\"", "a=\"\",b=\"\"");
	check_pair(labels_difference, "a=\"1\",c=\"3\"", "a=\"2\",b=\"2\",c=\"3\"",
		   "a=\"1\",b=\"\"");
	check_pair(labels_difference, "b=\"1\"", "a=\"1\",c=\"1\"", "a=\"\",b=\"1\",c=\"\"");
}

TEST(common_labels_are_those_with_the_same_value)
{
	check_pair(labels_common, "a=\"1\",b=\"2\",d=\"4\"", "a=\"1\",b=\"3\",c=\"3\",d=\"4\"",
		   "a=\"1\",d=\"4\"");
	check_pair(labels_common, "a=\"1\"", "", "");
	check_pair(labels_common, "a=\"1\"", "b=\"1\"", "");
}

TEST(a_label_is_looked_up_and_unescaped)
{
	struct slice text = SLICE_LIT("{b=\"x\\\\n\\\"y\\nz\", a=\"\"}");
	struct strbuf v;

	strbuf_init(&v, 4096);
	CHECK(labels_get(text, "b", &v));
	CHECK_EQ_STR(v.s, "x\\n\"y\nz");
	strbuf_reset(&v);
	CHECK(labels_get(text, "a", &v));
	CHECK_EQ_INT(v.len, 0);
	CHECK(!labels_get(text, "c", &v));
	CHECK(!labels_get(SLICE_LIT("b=\"1\",!"), "b", &v));
	strbuf_release(&v);
}

TEST(canonical_text_stays_as_it_is)
{
	static const char alphabet[] = "ab=\",\\n{} \n";
	uint32_t seed = 3;
	char text[24];

	for (int round = 0; round < 100000; round++) {
		char *once, *twice;
		int n = 0;

		for (; n < (int)sizeof(text) - 1 && (seed >> 28 || n < 6); n++) {
			seed = seed * 1664525 + 1013904223;
			text[n] = n < 3 ? "a=\""[n] : alphabet[(seed >> 16) % 11];
		}
		text[n] = '\0';
		once = canonical(text);
		twice = canonical(once);
		if (strncmp(once, "error", 5) != 0)
			CHECK_EQ_STR(twice, once);
		free(once);
		free(twice);
	}
}
