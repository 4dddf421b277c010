#include "../lib/test.h"
#include "record.h"
#include "fields.h"

#include <stdio.h>

#define WIDE_HEAD "\"timestamp\":\"2025-07-18T20:42:34Z\",\"hostname\":\"h1\",\"gpu_id\":\"0\""
#define LONG_HEAD WIDE_HEAD ",\"metric_name\":\"M\""

/* ---- helpers --------------------------------------------------------------------------------- */

/* A record and what came of it. */
struct reading {
	struct record_parser *parser;
	struct json *doc;
	struct record_rows rows;
	struct strbuf faults; /* a line each */
	size_t n_faults;
	int r;
	struct err e;
};

static void note_fault(const char *text, void *arg)
{
	strbuf_addf(arg, "%s\n", text);
}

static struct reading *read_as(enum record_form form, const char *text, const char *host)
{
	struct reading *x = xcalloc(1, sizeof(*x));

	strbuf_init(&x->faults, 1 << 20);
	x->parser = record_parser_new(&(struct record_conf){
		.host = slice_str(host), .fault = note_fault, .arg = &x->faults});
	if (CHECK_EQ_INT(json_parse(text, strlen(text), &x->doc, &x->e), 0))
		x->r = record_parse(x->parser, x->doc, form, &x->rows, &x->n_faults, &x->e);
	return x;
}

static void release(struct reading *x)
{
	record_parser_free(x->parser);
	json_free(x->doc);
	strbuf_release(&x->faults);
	free(x);
}

static void check_sample(const struct reading *x, size_t i, const char *metric, const char *value)
{
	if (!CHECK_EQ_INT(x->r, 0) || !CHECK(i < x->rows.n))
		return;
	CHECK_EQ_SLICE(x->rows.samples[i].series->series.metric, slice_str(metric));
	CHECK_EQ_SLICE(x->rows.samples[i].value, slice_str(value));
}

/* The whole list of faults, a line each. */
static void check_faults(enum record_form form, const char *text, const char *faults)
{
	struct reading *x = read_as(form, text, "");

	test_check(x->r == -EINVAL, __FILE__, __LINE__, "%s is taken", text);
	CHECK_EQ_STR(x->faults.s ? x->faults.s : "", faults);
	test_check(x->n_faults && !strncmp(x->e.text, faults, strlen(x->e.text)), __FILE__,
		   __LINE__, "%s: \"%s\" is not the first fault", text, x->e.text);
	release(x);
}

/* ---- what is taken --------------------------------------------------------------------------- */

TEST(a_row_of_the_rest_interface_is_a_long_record)
{
	struct reading *x = read_as(
		RECORD_LONG,
		"{\"timestamp\":\"2025-07-18T20:42:34.50Z\",\"hostname\":\"h1\",\"gpu_id\":\"0\","
		"\"uuid\":\"GPU-1\",\"metric_name\":\"M\",\"value\":67.351000,\"container\":\"c\","
		"\"pod\":\"p\",\"namespace\":\"n\",\"labels\":{\"k\":\"a\\\"b\\\\c\\nd\",\"j\":1}}",
		"");
	const struct series_ref *s;

	check_sample(x, 0, "M", "67.351000");
	if (CHECK_EQ_INT(x->rows.n, 1)) {
		s = x->rows.samples[0].series;
		CHECK_EQ_INT(x->rows.samples[0].time.ns, 1752871354500000000);
		CHECK_EQ_INT(x->rows.samples[0].time.digits, 2);
		CHECK_EQ_SLICE(s->host, SLICE_LIT("h1"));
		CHECK_EQ_SLICE(s->series.gpu, SLICE_LIT("0"));
		CHECK_EQ_SLICE(s->attribution.uuid, SLICE_LIT("GPU-1"));
		CHECK_EQ_SLICE(s->attribution.container, SLICE_LIT("c"));
		CHECK_EQ_SLICE(s->attribution.pod, SLICE_LIT("p"));
		CHECK_EQ_SLICE(s->attribution.namespace, SLICE_LIT("n"));
		CHECK_EQ_SLICE(s->series.labels, SLICE_LIT("j=\"1\",k=\"a\\\"b\\\\c\\nd\""));
	}
	release(x);
}

TEST(every_member_of_a_wide_record_that_is_no_field_is_a_metric)
{
	struct reading *x =
		read_as(RECORD_WIDE,
			"{" WIDE_HEAD ",\"power_draw\":431.20,\"model_name\":\"NVIDIA H100\","
			"\"metrics\":{\"uuid\":7,\"T\":\"-0\"},\"U\":\" 87 \"}",
			"");

	CHECK_EQ_INT(x->rows.n, 4);
	check_sample(x, 0, "power_draw", "431.20");
	check_sample(x, 1, "uuid", "7");
	check_sample(x, 2, "T", "-0");
	check_sample(x, 3, "U", "87");
	if (x->rows.n)
		CHECK_EQ_SLICE(x->rows.samples[3].series->series.model, SLICE_LIT("NVIDIA H100"));
	release(x);
}

TEST(numbers_keep_the_text_that_they_came_with)
{
	static const char *const texts[] = {"0",    "-0",     "67.351000",        "7e-06", "1E+2",
					    "-1.0", "117.77", "9007199254740993", "1e308", "0.10"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		char *json = xasprintf("{" LONG_HEAD ",\"value\":%s}", texts[i]);
		struct reading *x = read_as(RECORD_LONG, json, "");

		check_sample(x, 0, "M", texts[i]);
		release(x);
		free(json);
	}
}

TEST(fields_have_aliases_in_any_case_and_numbers_for_gpu_and_time)
{
	struct reading *x = read_as(RECORD_LONG,
				    "{\"TS\":1752871354.25,\"Host\":\"h1\",\"GPU\":3,"
				    "\"Metric\":\"M\",\"VALUE\":1,\"unknown\":[]}",
				    "");

	check_sample(x, 0, "M", "1");
	if (x->rows.n) {
		CHECK_EQ_SLICE(x->rows.samples[0].series->series.gpu, SLICE_LIT("3"));
		CHECK_EQ_INT(x->rows.samples[0].time.ns, 1752871354250000000);
	}
	release(x);
}

TEST(what_is_no_value_is_counted_and_is_no_sample)
{
	struct reading *x = read_as(
		RECORD_WIDE,
		"{" WIDE_HEAD ",\"a\":null,\"b\":\"N/A\",\"c\":\"\",\"d\":9223372036854775794,"
		"\"e\":\"[nan]\",\"f\":1}",
		"");

	CHECK_EQ_INT(x->rows.no_value, 5);
	CHECK_EQ_INT(x->rows.n, 1);
	check_sample(x, 0, "f", "1");
	release(x);
}

TEST(a_record_without_a_host_has_the_default)
{
	const char *text = "{\"timestamp\":1,\"gpu_id\":0,\"M\":1}";
	struct reading *x = read_as(RECORD_WIDE, text, "given");

	if (CHECK_EQ_INT(x->rows.n, 1))
		CHECK_EQ_SLICE(x->rows.samples[0].series->host, SLICE_LIT("given"));
	release(x);
	check_faults(RECORD_WIDE, text, "Hostname: missing\n");
}

TEST(the_form_is_told_by_the_name_of_a_metric)
{
	struct reading *wide = read_as(RECORD_ANY, "{" WIDE_HEAD ",\"a\":1,\"b\":2}", "");
	struct reading *tall = read_as(RECORD_ANY, "{" LONG_HEAD ",\"value\":1,\"b\":2}", "");

	CHECK_EQ_INT(wide->rows.n, 2);
	CHECK_EQ_INT(tall->rows.n, 1);
	release(wide);
	release(tall);
}

TEST(records_of_one_parser_share_series_until_it_forgets)
{
	struct reading *x = read_as(RECORD_WIDE, "{" WIDE_HEAD ",\"a\":1,\"b\":2}", "");
	const struct series_ref *a = x->rows.n ? x->rows.samples[0].series : NULL;

	CHECK_EQ_INT(record_parse(x->parser, x->doc, RECORD_WIDE, &x->rows, NULL, &x->e), 0);
	CHECK(a && x->rows.samples[0].series == a);
	record_forget(x->parser);
	CHECK_EQ_INT(record_parse(x->parser, x->doc, RECORD_WIDE, &x->rows, NULL, &x->e), 0);
	CHECK_EQ_INT(x->rows.samples[1].series->id, 1);
	release(x);
}

/* ---- what is refused ------------------------------------------------------------------------- */

TEST(every_field_is_refused_with_what_was_expected_and_what_was_there)
{
	static const struct {
		const char *members, *fault;
	} cases[] = {
		{"\"timestamp\":true",
		 "timestamp: expected a time (RFC 3339, or epoch seconds), got true"},
		{"\"timestamp\":\"yesterday\"",
		 "timestamp: expected a time (RFC 3339, or epoch seconds), got \"yesterday\""},
		{"\"timestamp\":17528713540000",
		 "timestamp: expected a time from 1970 to 2262, got 17528713540000"},
		{"\"timestamp\":null", "timestamp: missing"},
		{"\"hostname\":7", "Hostname: expected a string, got 7"},
		{"\"hostname\":\"\"", "Hostname: empty"},
		{"\"gpu_id\":1.5", "gpu_id: expected a string or a whole number, got 1.5"},
		{"\"gpu_id\":-1", "gpu_id: expected a string or a whole number, got -1"},
		{"\"gpu_id\":\"\"", "gpu_id: empty"},
		{"\"metric_name\":[]", "metric_name: expected a string, got an array"},
		{"\"metric_name\":\"a\\u0000b\"", "metric_name: expected text, got a NUL in it"},
		{"\"value\":\"fast\"", "value: expected a number, got \"fast\""},
		{"\"value\":false", "value: expected a number, got false"},
		{"\"value\":{}", "value: expected a number, got an object"},
		{"\"uuid\":1", "uuid: expected a string, got 1"},
		{"\"device\":1", "device: expected a string, got 1"},
		{"\"modelName\":1", "modelName: expected a string, got 1"},
		{"\"container\":1", "container: expected a string, got 1"},
		{"\"pod\":{}", "pod: expected a string, got an object"},
		{"\"namespace\":[]", "namespace: expected a string, got an array"},
		{"\"labels\":3", "labels_raw: expected a string or an object, got 3"},
		{"\"labels\":{\"a\":[]}", "labels_raw: a: expected a string, got an array"},
	};
	static const char *const good[][2] = {
		{"\"timestamp\"", "\"timestamp\":1"}, {"\"hostname\"", "\"hostname\":\"h\""},
		{"\"gpu_id\"", "\"gpu_id\":0"},       {"\"metric_name\"", "\"metric_name\":\"M\""},
		{"\"value\"", "\"value\":1"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct strbuf text;
		char *fault = xasprintf("%s\n", cases[i].fault);

		strbuf_init(&text, 4096);
		strbuf_addf(&text, "{%s", cases[i].members);
		for (size_t k = 0; k < ARRAY_SIZE(good); k++)
			if (strncmp(cases[i].members, good[k][0], strlen(good[k][0])))
				strbuf_addf(&text, ",%s", good[k][1]);
		strbuf_addc(&text, '}');
		check_faults(RECORD_LONG, text.s, fault);
		strbuf_release(&text);
		free(fault);
	}
}

TEST(all_faults_of_a_record_are_told)
{
	check_faults(RECORD_LONG, "{}",
		     "timestamp: missing\nHostname: missing\ngpu_id: missing\n"
		     "metric_name: missing\nvalue: missing\n");
	check_faults(RECORD_WIDE, "{" WIDE_HEAD ",\"a\":\"x\",\"b\":1,\"c\":[]}",
		     "a: expected a number, got \"x\"\nc: expected a number, got an array\n");
	check_faults(RECORD_WIDE, "[1]", "expected an object, got an array\n");
	check_faults(RECORD_WIDE, "{" WIDE_HEAD ",\"metrics\":3}",
		     "metrics: expected an object, got 3\n");
}

TEST(nothing_that_is_there_twice_is_chosen_from)
{
	check_faults(RECORD_WIDE, "{" WIDE_HEAD ",\"gpu\":1}", "gpu: gpu_id is there twice\n");
	check_faults(RECORD_WIDE, "{" WIDE_HEAD ",\"a\":1,\"metrics\":{\"a\":2}}",
		     "a: is there twice\n");
}

TEST(a_long_record_is_not_read_as_a_wide_one)
{
	check_faults(RECORD_WIDE, "{" LONG_HEAD ",\"value\":1}",
		     "metric_name: this is no wide record: the members of one are metrics\n"
		     "value: this is no wide record: the members of one are metrics\n");
}

TEST(names_that_no_file_can_have_are_refused_with_the_metric)
{
	struct strbuf name, text, fault;

	strbuf_init(&name, 4096);
	strbuf_init(&text, 4096);
	strbuf_init(&fault, 4096);
	for (int i = 0; i < 300; i++)
		strbuf_addc(&name, 'm');
	strbuf_addf(&text, "{" WIDE_HEAD ",\"%s\":1}", name.s);
	strbuf_addf(&fault, "%.60s: longer than 255 bytes as a file's name\n", name.s);
	check_faults(RECORD_WIDE, text.s, fault.s);
	strbuf_release(&name);
	strbuf_release(&text);
	strbuf_release(&fault);
}

TEST(a_record_of_too_many_members_is_refused)
{
	struct strbuf text;

	strbuf_init(&text, 1 << 20);
	strbuf_adds(&text, "{" WIDE_HEAD);
	for (int i = 0; i < RECORD_MEMBERS_MAX; i++)
		strbuf_addf(&text, ",\"m%d\":1", i);
	strbuf_addc(&text, '}');
	check_faults(RECORD_WIDE, text.s, "more than 1024 members\n");
	strbuf_release(&text);
}

TEST(every_field_is_found_by_its_name)
{
	for (int i = 0; i < FIELD_ALL; i++)
		CHECK_EQ_INT(field_find(slice_str(field_name(i))), i);
	CHECK_EQ_INT(field_find(SLICE_LIT("HOST")), FIELD_HOST);
	CHECK_EQ_INT(field_find(SLICE_LIT("")), -1);
	CHECK_EQ_INT(field_find(SLICE_LIT("gpu_i")), -1);
}
