#include "exposition.h"
#include "../lib/test.h"

/* ---- helpers -------------------------------------------------------------------------------- */

struct reading {
	struct exposition x;
	struct exposition_sample s;
	struct err e;
};

static struct reading read_as(const char *text, enum exposition_format format)
{
	struct reading r = {0};

	exposition_init(&r.x, slice_str(text), format);
	return r;
}

static enum exposition_event next(struct reading *r)
{
	r->e.text[0] = '\0';
	return exposition_next(&r->x, &r->s, &r->e);
}

/* The one line of a text, which must be a sample of that value. */
static void check_sample(const char *line, const char *series, const char *value)
{
	struct reading r = read_as(line, EXPOSITION_PROMETHEUS);

	if (!CHECK_EQ_INT(next(&r), EXPOSITION_SAMPLE)) {
		CHECK_EQ_STR(r.e.text, line);
		return;
	}
	CHECK_EQ_SLICE(r.s.series, slice_str(series));
	CHECK_EQ_SLICE(r.s.value, slice_str(value));
	CHECK_EQ_INT(next(&r), EXPOSITION_END);
}

static void check_invalid(const char *line, const char *reason)
{
	struct reading r = read_as(line, EXPOSITION_PROMETHEUS);

	CHECK_EQ_INT(next(&r), EXPOSITION_INVALID);
	CHECK_EQ_STR(r.e.text, reason);
}

static void check_seconds(const char *text, int64_t ns, int digits)
{
	char *line = xasprintf("m 1 %s\n# EOF\n", text);
	struct reading r = read_as(line, EXPOSITION_OPENMETRICS);

	CHECK_EQ_INT(next(&r), EXPOSITION_SAMPLE);
	CHECK_EQ_STR(r.e.text, "");
	CHECK(r.s.has_time);
	CHECK_EQ_INT(r.s.time.ns, ns);
	CHECK_EQ_INT(r.s.time.digits, digits);
	free(line);
}

/* ---- samples -------------------------------------------------------------------------------- */

TEST(a_line_of_dcgm_exporter_gives_its_name_its_labels_and_its_value_as_they_stand)
{
	struct reading r = read_as("# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).\n"
				   "# TYPE DCGM_FI_DEV_SM_CLOCK gauge\n"
				   "DCGM_FI_DEV_SM_CLOCK{gpu=\"0\",UUID=\"GPU-1\"} 67.351000\n",
				   EXPOSITION_PROMETHEUS);

	CHECK_EQ_INT(next(&r), EXPOSITION_SAMPLE);
	CHECK_EQ_SLICE(r.s.name, SLICE_LIT("DCGM_FI_DEV_SM_CLOCK"));
	CHECK_EQ_SLICE(r.s.labels, SLICE_LIT("gpu=\"0\",UUID=\"GPU-1\""));
	CHECK_EQ_SLICE(r.s.value, SLICE_LIT("67.351000"));
	CHECK(!r.s.has_time);
	CHECK_EQ_INT(r.x.line, 3);
	CHECK_EQ_INT(next(&r), EXPOSITION_END);
	CHECK(r.x.complete);
}

TEST(blanks_are_free_where_the_format_lets_them)
{
	check_sample("m 1\n", "m", "1");
	check_sample(" m\t 1 \n", "m", "1");
	check_sample("m{} NaN\r\n", "m{}", "NaN");
	check_sample("m {a=\"b\",} +Inf\n", "m {a=\"b\",}", "+Inf");
	check_sample("m{a=\"b\"}1\n", "m{a=\"b\"}", "1");
	check_sample("\n   \n# x\nns:m_1 1e+06\n", "ns:m_1", "1e+06");
}

TEST(a_brace_or_an_escaped_quote_inside_a_value_does_not_end_the_labels)
{
	check_sample("m{a=\"}{\\\"}\\\\\",b=\"#\"} 2\n", "m{a=\"}{\\\"}\\\\\",b=\"#\"}", "2");
}

TEST(an_invalid_line_costs_itself_alone)
{
	struct reading r = read_as("<html>\nm 1\nm{a=\"b\n} 2\nm 3\n", EXPOSITION_PROMETHEUS);

	CHECK_EQ_INT(next(&r), EXPOSITION_INVALID);
	CHECK_EQ_STR(r.e.text, "line 1: expected a metric's name");
	CHECK_EQ_INT(next(&r), EXPOSITION_SAMPLE);
	CHECK_EQ_INT(next(&r), EXPOSITION_INVALID);
	CHECK_EQ_STR(r.e.text, "line 3: the labels do not end");
	CHECK_EQ_INT(next(&r), EXPOSITION_INVALID);
	CHECK_EQ_INT(next(&r), EXPOSITION_SAMPLE);
	CHECK_EQ_SLICE(r.s.value, SLICE_LIT("3"));
	CHECK_EQ_INT(next(&r), EXPOSITION_END);
}

TEST(each_fault_has_its_reason)
{
	check_invalid("m\n", "line 1: expected a value");
	check_invalid("m{a=\"b\"}\n", "line 1: expected a value");
	check_invalid("1m 2\n", "line 1: expected a metric's name");
	check_invalid("m(x) 2\n", "line 1: expected a metric's name");
	check_invalid("m 1 soon\n", "line 1: no timestamp: \"soon\"");
	check_invalid("m 1 -5\n", "line 1: no timestamp: \"-5\"");
	check_invalid("m 1 5 6\n", "line 1: something behind the timestamp");
	check_invalid("m 1 # {a=\"b\"} 1\n", "line 1: no timestamp: \"#\"");
}

TEST(a_last_line_without_its_end_may_have_lost_digits_and_is_no_sample)
{
	check_invalid("m 12", "line 1: no line end: the answer was cut");
}

TEST(a_line_of_more_than_the_most_bytes_is_invalid)
{
	char *line = xcalloc(1, EXPOSITION_LINE_MAX + 3);

	memset(line, 'm', EXPOSITION_LINE_MAX + 1);
	line[EXPOSITION_LINE_MAX + 1] = '\n';
	check_invalid(line, "line 1: more than 65536 bytes");
	free(line);
}

/* ---- times ---------------------------------------------------------------------------------- */

TEST(a_timestamp_of_prometheus_is_in_milliseconds)
{
	struct reading r = read_as("m 1 1752871354123\n", EXPOSITION_PROMETHEUS);

	CHECK_EQ_INT(next(&r), EXPOSITION_SAMPLE);
	CHECK(r.s.has_time);
	CHECK_EQ_INT(r.s.time.ns, 1752871354123 * NS_PER_MS);
	CHECK_EQ_INT(r.s.time.digits, 3);
}

TEST(a_timestamp_of_openmetrics_is_in_seconds_also_with_an_exponent)
{
	check_seconds("1520879607.789", 1520879607789 * NS_PER_MS, 3);
	check_seconds("1520879607", 1520879607 * NS_PER_SEC, 0);
	check_seconds("1.520879607789e+09", 1520879607789 * NS_PER_MS, 3);
	check_seconds("1.5208796e+09", 1520879600 * NS_PER_SEC, 0);
	check_seconds("1.520879607e9", 1520879607 * NS_PER_SEC, 0);
	check_seconds("2e9", 2000000000 * NS_PER_SEC, 0);
}

TEST(a_timestamp_with_an_exponent_that_leads_nowhere_is_none)
{
	static const char *const texts[] = {"1e",   "1e+",   "e9",     "1e-3",
					    "1e99", "1e+9x", "1.e9.1", "1.2.3e5"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		char *line = xasprintf("m 1 %s\n# EOF\n", texts[i]);
		struct reading r = read_as(line, EXPOSITION_OPENMETRICS);

		if (!CHECK_EQ_INT(next(&r), EXPOSITION_INVALID))
			CHECK_EQ_STR(texts[i], "");
		free(line);
	}
}

/* ---- OpenMetrics ---------------------------------------------------------------------------- */

TEST(openmetrics_has_exemplars_and_ends_with_its_mark)
{
	struct reading r = read_as("a_total 1 # {trace_id=\"x\"} 0.5\n"
				   "b 2 1.5 # {} 1\n# EOF\nc 3\n",
				   EXPOSITION_OPENMETRICS);

	CHECK_EQ_INT(next(&r), EXPOSITION_SAMPLE);
	CHECK(!r.s.has_time);
	CHECK_EQ_INT(next(&r), EXPOSITION_SAMPLE);
	CHECK(r.s.has_time);
	CHECK(!r.x.complete);
	CHECK_EQ_INT(next(&r), EXPOSITION_END);
	CHECK(r.x.complete);
}

TEST(openmetrics_without_its_mark_is_not_complete)
{
	struct reading r = read_as("a 1\n", EXPOSITION_OPENMETRICS);

	CHECK_EQ_INT(next(&r), EXPOSITION_SAMPLE);
	CHECK_EQ_INT(next(&r), EXPOSITION_END);
	CHECK(!r.x.complete);
}

TEST(the_format_is_told_by_the_content_type)
{
	CHECK_EQ_INT(exposition_format_of(SLICE_LIT("application/openmetrics-text; version=1.0.0")),
		     EXPOSITION_OPENMETRICS);
	CHECK_EQ_INT(exposition_format_of(SLICE_LIT("text/plain; version=0.0.4")),
		     EXPOSITION_PROMETHEUS);
	CHECK_EQ_INT(exposition_format_of(SLICE_LIT("")), EXPOSITION_PROMETHEUS);
}
