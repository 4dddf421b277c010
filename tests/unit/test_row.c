#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "row.h"
#include "../lib/test.h"

#define HEADER                                                                                     \
	"timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,"     \
	"value,labels_raw\n"
#define ROW_LABELS                                                                                 \
	"DCGM_FI_DRIVER_VERSION=\"\"535.1\"\",Hostname=\"\"h\"\",UUID=\"\"GPU-1\"\","              \
	"__name__=\"\"M\"\",device=\"\"nvidia0\"\",gpu=\"\"0\"\",instance=\"\"h:9400\"\","         \
	"job=\"\"dcgm\"\",modelName=\"\"H100\"\""

/* ---- helpers -------------------------------------------------------------------------------- */

/* A file and its parser; the header is read. */
struct table {
	int fd, header;
	struct csv *csv;
	struct row_parser *rows;
	struct csv_record rec;
	struct sample sample;
	struct err e;
};

static struct table *table_with(const char *text, struct row_conf conf)
{
	struct table *t = xcalloc(1, sizeof(*t));

	t->fd = memfd_create("csv", MFD_CLOEXEC);
	conf.name = "f";
	if (write(t->fd, text, strlen(text)) < 0 || lseek(t->fd, 0, SEEK_SET) != 0 ||
	    csv_open(&t->csv, t->fd, &(struct csv_conf){.name = "f"}) < 0)
		abort();
	t->rows = row_parser_new(&conf);
	CHECK_EQ_INT(csv_next(t->csv, &t->rec, &t->e), CSV_RECORD);
	t->header = row_header(t->rows, &t->rec, &t->e);
	return t;
}

static struct table *table_of(const char *text)
{
	return table_with(text, (struct row_conf){0});
}

static void table_free(struct table *t)
{
	csv_close(t->csv);
	row_parser_free(t->rows);
	close(t->fd);
	free(t);
}

static int next_row(struct table *t)
{
	int event = csv_next(t->csv, &t->rec, &t->e);

	if (event != CSV_RECORD)
		return -ENODATA;
	return row_parse(t->rows, &t->rec, &t->sample, &t->e);
}

/* The first row of a file. */
static void check_row(const char *text, int want, const char *value_or_reason)
{
	struct table *t = table_of(text);

	CHECK_EQ_INT(t->header, 0);
	if (!CHECK_EQ_INT(next_row(t), want))
		CHECK_EQ_STR(t->e.text, "");
	else if (want == ROW_INVALID)
		CHECK_EQ_STR(t->e.text, value_or_reason);
	else
		CHECK_EQ_SLICE(t->sample.value, slice_str(value_or_reason));
	table_free(t);
}

static void check_header(const char *text, const char *reason)
{
	struct table *t = table_of(text);

	CHECK_EQ_INT(t->header, -EBADMSG);
	CHECK_EQ_STR(t->e.text, reason);
	table_free(t);
}

/* ---- headers -------------------------------------------------------------------------------- */

TEST(columns_come_in_any_order_and_case)
{
	check_row("VALUE, hostname ,\"Gpu_ID\",Metric_Name,Timestamp\n1.5,h,0,M,1752871354\n",
		  ROW_OK, "1.5");
	check_row("value,extra,Hostname,gpu_id,metric_name,more,timestamp\n"
		  "2,x,h,0,M,y,2025-07-18T20:42:34Z\n",
		  ROW_OK, "2");
}

TEST(a_header_that_lacks_needed_columns_is_refused_by_name)
{
	check_header("timestamp,metric_name,gpu_id,value\n",
		     "f:1: no header: needed but missing: Hostname (--host NAME says it for a file "
		     "without)");
	check_header("a,b\n", "f:1: no header: needed but missing: Hostname, gpu_id, metric_name, "
			      "timestamp, value");
}

TEST(a_column_that_is_there_twice_is_refused)
{
	check_header("timestamp,metric_name,gpu_id,Hostname,value,HOSTNAME\n",
		     "f:1:45: column HOSTNAME is there twice");
	check_header("timestamp,metric_name,gpu_id,Hostname,value,x,x\n",
		     "f:1:47: column x is there twice");
}

TEST(a_host_given_stands_for_the_column)
{
	struct table *t = table_with("timestamp,metric_name,gpu_id,value\n1,M,0,5\n",
				     (struct row_conf){.host = SLICE_LIT("given")});

	CHECK_EQ_INT(t->header, 0);
	CHECK_EQ_INT(next_row(t), ROW_OK);
	CHECK_EQ_SLICE(t->sample.series->host, SLICE_LIT("given"));
	table_free(t);
	t = table_with(HEADER "1,M,0,,,,h,,,,5,\n", (struct row_conf){.host = SLICE_LIT("given")});
	CHECK_EQ_INT(next_row(t), ROW_OK);
	CHECK_EQ_SLICE(t->sample.series->host, SLICE_LIT("given"));
	table_free(t);
}

/* ---- rows ----------------------------------------------------------------------------------- */

TEST(a_row_as_dcgm_exporter_dumps_it_becomes_a_sample)
{
	struct table *t = table_of(
		HEADER "\"2025-07-18T20:42:34.5Z\",\"M\",\"0\",\"nvidia0\",\"GPU-1\","
		       "\"H100\",\"h\",\"c\",\"p\",\"n\",\"117.770\",\"" ROW_LABELS "\"\n");
	const struct series_ref *s;

	CHECK_EQ_INT(next_row(t), ROW_OK);
	s = t->sample.series;
	CHECK_EQ_INT(t->sample.time.ns, 1752871354500000000);
	CHECK_EQ_INT(t->sample.time.digits, 1);
	CHECK_EQ_SLICE(t->sample.value, SLICE_LIT("117.770"));
	CHECK_EQ_SLICE(s->host, SLICE_LIT("h"));
	CHECK_EQ_SLICE(s->series.gpu, SLICE_LIT("0"));
	CHECK_EQ_SLICE(s->series.metric, SLICE_LIT("M"));
	CHECK_EQ_SLICE(s->series.device, SLICE_LIT("nvidia0"));
	CHECK_EQ_SLICE(s->series.model, SLICE_LIT("H100"));
	CHECK_EQ_SLICE(s->series.driver, SLICE_LIT("535.1"));
	CHECK_EQ_SLICE(s->series.labels, SLICE_LIT("instance=\"h:9400\",job=\"dcgm\""));
	CHECK_EQ_SLICE(s->attribution.uuid, SLICE_LIT("GPU-1"));
	CHECK_EQ_SLICE(s->attribution.container, SLICE_LIT("c"));
	CHECK_EQ_SLICE(s->attribution.pod, SLICE_LIT("p"));
	CHECK_EQ_SLICE(s->attribution.namespace, SLICE_LIT("n"));
	table_free(t);
}

TEST(what_columns_lack_comes_from_labels)
{
	struct table *t = table_of(HEADER "1,M,0,,,,h,,own,,5,\"UUID=\"\"u\"\",device=\"\"d\"\","
					  "modelName=\"\"m\"\",container=\"\"c\"\",pod=\"\"p\"\","
					  "namespace=\"\"n \\\"\"x\"\",z=\"\"1\"\"\"\n");
	const struct series_ref *s;

	CHECK_EQ_INT(next_row(t), ROW_OK);
	s = t->sample.series;
	CHECK_EQ_SLICE(s->series.device, SLICE_LIT("d"));
	CHECK_EQ_SLICE(s->series.model, SLICE_LIT("m"));
	CHECK_EQ_SLICE(s->series.labels, SLICE_LIT("z=\"1\""));
	CHECK_EQ_SLICE(s->attribution.uuid, SLICE_LIT("u"));
	CHECK_EQ_SLICE(s->attribution.container, SLICE_LIT("c"));
	CHECK_EQ_SLICE(s->attribution.pod, SLICE_LIT("own"));
	CHECK_EQ_SLICE(s->attribution.namespace, SLICE_LIT("n \"x"));
	table_free(t);
}

TEST(a_mig_instance_is_a_gpu_of_its_own)
{
	struct table *t = table_of(HEADER "1,M,0,,,,h,,,,5,\"GPU_I_ID=\"\"7\"\",z=\"\"1\"\"\"\n"
					  "1,M,0,,,,h,,,,5,\"GPU_I_ID=\"\"\"\",z=\"\"1\"\"\"\n");

	CHECK_EQ_INT(next_row(t), ROW_OK);
	CHECK_EQ_SLICE(t->sample.series->series.gpu, SLICE_LIT("0.7"));
	CHECK_EQ_SLICE(t->sample.series->series.labels, SLICE_LIT("z=\"1\""));
	CHECK_EQ_INT(next_row(t), ROW_OK);
	CHECK_EQ_SLICE(t->sample.series->series.gpu, SLICE_LIT("0"));
	table_free(t);
}

TEST(rows_with_faults_are_invalid_with_place_and_reason)
{
	check_row(HEADER "1,M,0,,,,h,,,,abc,\n", ROW_INVALID,
		  "f:2:15: value: expected a number, got \"abc\"");
	check_row(HEADER "\"1\",\"M\",\"0\",,,,h,,,,\"a\nb\",\n", ROW_INVALID,
		  "f:2:21: value: expected a number, got \"a?b\"");
	check_row(HEADER "1,M,0,,,,h,,,,5\n", ROW_INVALID, "f:2:16: expected 12 fields, got 11");
	check_row(HEADER "1,M,0,,,,h,,,,5,,\n", ROW_INVALID, "f:2:18: expected 12 fields, got 13");
	check_row(HEADER "yesterday,M,0,,,,h,,,,5,\n", ROW_INVALID,
		  "f:2:1: timestamp: no time: \"yesterday\"");
	check_row(HEADER ",M,0,,,,h,,,,5,\n", ROW_INVALID, "f:2:1: timestamp: no time: \"\"");
	check_row(HEADER "1,,0,,,,h,,,,5,\n", ROW_INVALID, "f:2:3: metric_name: empty");
	check_row(HEADER "1,M,,,,,h,,,,5,\n", ROW_INVALID, "f:2:5: gpu_id: empty");
	check_row(HEADER "1,M,0,,,,,,,,5,\n", ROW_INVALID, "f:2:10: Hostname: empty");
	check_row(HEADER "1,M,0,,,,h,,,,5,a=1\n", ROW_INVALID,
		  "f:2:17: labels_raw: malformed labels: at byte 3: expected \"");
}

TEST(long_garbage_is_cut_in_messages)
{
	check_row(HEADER "1,M,0,,,,h,,,,"
			 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx,\n",
		  ROW_INVALID,
		  "f:2:15: value: expected a number of at most 64 bytes, got "
		  "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\"");
}

TEST(names_that_no_file_can_have_are_invalid)
{
	char *row = xasprintf(HEADER "1,M,0,,,,%0256d,,,,5,\n", 0);

	check_row(row, ROW_INVALID, "f:2:10: Hostname: longer than 255 bytes as a file's name");
	free(row);
	row = xasprintf(HEADER "1,M,0,,,%0*d,h,,,,5,\n", 255, 0);
	check_row(row, ROW_OK, "5");
	free(row);
	check_row(HEADER "1,M\xff\n/,0,,,,.h,,,,5,\n" HEADER, ROW_INVALID,
		  "f:2:5: expected 12 fields, got 2");
	check_row(HEADER "1,\"M\xff\n/\",0,,,,.h,,,,5,\n", ROW_INVALID,
		  "f:2:3: metric_name: not UTF-8");
	check_row(HEADER "1,\"M\xc3\xa9\n/\",0,,,,.h,,,,5,\n", ROW_OK, "5");
	check_row(HEADER "1,M,0,,,,h,,,,5,\"a=\"\"\xe9\"\"\"\n", ROW_INVALID,
		  "f:2:17: labels_raw: not UTF-8");
	check_row(HEADER "1,M,0,d\xe9,,,h,,,,5,\n", ROW_INVALID, "f:2:7: device: not UTF-8");
}

TEST(blanks_around_time_and_value_are_not_part_of_them)
{
	check_row(HEADER "\" 2025-07-18 20:42:34 \",M,0,,,,h,,,,\" 85.50\t\",\n", ROW_OK, "85.50");
	check_row(HEADER "1,M,0,,,,h,,,,\"8 5\",\n", ROW_INVALID,
		  "f:2:15: value: expected a number, got \"8 5\"");
}

TEST(a_row_without_value_still_has_a_good_rest)
{
	check_row(HEADER "1,M,0,,,,h,,,,,\n", ROW_NO_VALUE, "");
	check_row(HEADER "1,M,0,,,,h,,,,\"  \",\n", ROW_NO_VALUE, "");
	check_row(HEADER "1,M,0,,,,h,,,,N/A,\n", ROW_NO_VALUE, "");
	check_row(HEADER "x,M,0,,,,h,,,,N/A,\n", ROW_INVALID, "f:2:1: timestamp: no time: \"x\"");
}

/* ---- values --------------------------------------------------------------------------------- */

TEST(numbers_are_decimal_text)
{
	static const char *const good[] = {"0",
					   "-0",
					   "+1",
					   "117.77",
					   "67.351000",
					   "7e-06",
					   "1.",
					   ".5",
					   "1E9",
					   "1.e+2",
					   "00012",
					   "-.5e-3",
					   "2147483631",
					   "2147483636",
					   "2147483632.5",
					   "140737488355327",
					   "140737488355332.0",
					   "9223372036854775791",
					   "18446744073709551615",
					   "1e400",
					   "1.40737488355327e14",
					   "-2147483632"};
	static const char *const bad[] = {"abc",  ".",    "+",    "-",  "e5",    "1e",
					  "1e+",  "0x10", "1,5",  "1 ", "1.2.3", "--1",
					  "info", "1_0",  "nano", "[",  "N",     "true"};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (!CHECK_EQ_INT(value_classify(slice_str(good[i]), false), VALUE_NUMBER))
			CHECK_EQ_STR(good[i], "");
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (!CHECK_EQ_INT(value_classify(slice_str(bad[i]), false), VALUE_BAD))
			CHECK_EQ_STR(bad[i], "");
	}
}

TEST(no_value_has_many_spellings)
{
	static const char *const none[] = {
		"",
		"N/A",
		"n/a",
		"[N/A]",
		"[Not Supported]",
		"<<<NOT_FOUND>>>",
		"inf",
		"-Infinity",
		"NaN",
		"nan",
		"NAN",
		"-nan",
		"[NaN]",
		"2147483632",
		"2147483633",
		"2147483635",
		"2147483632.000",
		"2147483634.",
		"140737488355328",
		"140737488355328.000000",
		"140737488355331.0",
		"9223372036854775792",
		"9223372036854775795",
		"9223372036854775808",
		"1.40737488355328e+14",
		"2.147483632e+09",
		"9.223372036854776e+18",
	};

	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		if (!CHECK_EQ_INT(value_classify(slice_str(none[i]), false), VALUE_NONE))
			CHECK_EQ_STR(none[i], "");
	}
}

TEST(a_number_has_at_most_64_bytes)
{
	char digits[VALUE_MAX + 1];

	memset(digits, '7', sizeof(digits));
	CHECK_EQ_INT(value_classify((struct slice){digits, VALUE_MAX}, false), VALUE_NUMBER);
	CHECK_EQ_INT(value_classify((struct slice){digits, VALUE_MAX + 1}, false), VALUE_BAD);
	memcpy(digits, "1e", 2);
	CHECK_EQ_INT(value_classify((struct slice){digits, VALUE_MAX}, false), VALUE_NUMBER);
}

/* ---- series --------------------------------------------------------------------------------- */

TEST(rows_of_one_series_share_a_ref_however_they_are_mixed)
{
	struct table *t = table_of(HEADER "1,A,0,,,,h,,,,1,\n1,B,0,,,,h,,,,2,\n2,A,0,,,,h,,,,3,\n"
					  "2,B,0,,,,h,,,,4,\n3,B,0,,,,h,,,,5,\n3,A,0,,,,h,,,,6,\n");
	static const uint32_t want[] = {0, 1, 0, 1, 1, 0};

	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		CHECK_EQ_INT(next_row(t), ROW_OK);
		CHECK_EQ_INT(t->sample.series->id, want[i]);
		CHECK_EQ_INT(t->sample.value.p[0], (int)('1' + i));
	}
	CHECK_EQ_INT(row_series_count(t->rows), 2);
	table_free(t);
}

TEST(bytes_move_between_fields_without_being_taken_for_the_same_key)
{
	struct table *t = table_of("timestamp,metric_name,gpu_id,value,Hostname\n"
				   "1,A,00,5,h\n1,A0,0,5,h\n1,A,0,5,0h\n1,\"A\",00,5,h\n");

	for (int i = 0; i < 4; i++) {
		CHECK_EQ_INT(next_row(t), ROW_OK);
		CHECK_EQ_INT(t->sample.series->id, i);
	}
	CHECK_EQ_INT(t->sample.series->series_id, 0);
	table_free(t);
}

TEST(ids_are_equal_exactly_where_their_meaning_is)
{
	struct table *t = table_of(HEADER "1,A,0,,u,,h,,,,1,\"a=\"\"1\"\",b=\"\"2\"\"\"\n"
					  "1,A,0,,u,,h,,,,1,\"b=\"\"2\"\",a=\"\"1\"\"\"\n"
					  "1,A,0,,u,,h,,pod,,1,\"b=\"\"2\"\",a=\"\"1\"\"\"\n"
					  "1,A,0,,u,,g,,,,1,\"b=\"\"2\"\",a=\"\"1\"\"\"\n"
					  "1,A,1,,u,,h,,,,1,\"b=\"\"2\"\",a=\"\"1\"\"\"\n");
	static const struct {
		uint32_t host, gpu, series, attribution;
	} want[] = {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 1}, {1, 1, 1, 0}, {0, 2, 2, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		CHECK_EQ_INT(next_row(t), ROW_OK);
		CHECK_EQ_INT(t->sample.series->id, i);
		CHECK_EQ_INT(t->sample.series->host_id, want[i].host);
		CHECK_EQ_INT(t->sample.series->gpu_id, want[i].gpu);
		CHECK_EQ_INT(t->sample.series->series_id, want[i].series);
		CHECK_EQ_INT(t->sample.series->attribution_id, want[i].attribution);
	}
	table_free(t);
}

TEST(a_full_table_asks_to_be_forgotten_and_goes_on_with_the_same_row)
{
	struct table *t = table_with(HEADER "1,A,0,,,,h,,,,1,\n1,B,0,,,,h,,,,2,\n"
					    "1,C,0,,,,h,,,,3,\n1,C,0,,,,h,,,,4,\n",
				     (struct row_conf){.series_max = 2});

	CHECK_EQ_INT(next_row(t), ROW_OK);
	CHECK_EQ_INT(next_row(t), ROW_OK);
	CHECK_EQ_INT(next_row(t), -ENOBUFS);
	row_forget(t->rows);
	CHECK_EQ_INT(row_parse(t->rows, &t->rec, &t->sample, &t->e), ROW_OK);
	CHECK_EQ_SLICE(t->sample.series->series.metric, SLICE_LIT("C"));
	CHECK_EQ_INT(t->sample.series->id, 0);
	CHECK_EQ_INT(next_row(t), ROW_OK);
	table_free(t);
}

TEST(a_table_too_small_for_one_series_takes_one)
{
	struct table *t = table_with(HEADER "1,A,0,,,,h,,,,1,\n1,B,0,,,,h,,,,2,\n",
				     (struct row_conf){.series_bytes_max = 1});

	CHECK_EQ_INT(next_row(t), ROW_OK);
	CHECK_EQ_INT(next_row(t), -ENOBUFS);
	row_forget(t->rows);
	CHECK_EQ_INT(row_parse(t->rows, &t->rec, &t->sample, &t->e), ROW_OK);
	table_free(t);
}

TEST(thousands_of_series_stay_apart)
{
	struct strbuf text;
	struct table *t;

	strbuf_init(&text, 16 << 20);
	strbuf_adds(&text, HEADER);
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < 5000; i++)
			strbuf_addf(&text, "%d,M%d,%d,,,,h%d,,,,%d,\n", pass, i % 7, i % 8, i, i);
	}
	t = table_of(text.s);
	for (int i = 0; i < 10000; i++) {
		CHECK_EQ_INT(next_row(t), ROW_OK);
		CHECK_EQ_INT(t->sample.series->host_id, i % 5000);
	}
	CHECK_EQ_INT(row_series_count(t->rows), 5000);
	table_free(t);
	strbuf_release(&text);
}

TEST(nothing_is_released_safely)
{
	row_parser_free(NULL);
	series_table_free(NULL);
}
