#include "../lib/test.h"
#include "render.h"
#include "units.h"

/* Its strings are only read. */
#define SERIES(metric_, labels_)                                                                   \
	{                                                                                          \
		(char *)(uintptr_t)(metric_), (char *)(uintptr_t)(labels_), NULL                   \
	}

static struct series series = SERIES("METRIC", "");
static struct attribution nobody = {.uuid = {"GPU-1", 5}};
static const struct stamp when = {1752869681500000000, 1};

static const char *value_json(const char *value)
{
	static struct strbuf out;

	if (!out.max)
		strbuf_init(&out, 4096);
	strbuf_reset(&out);
	render_value_json(&out, slice_str(value));
	return out.s;
}

static void check_row(const struct series *s, const struct attribution *a, const char *value,
		      const char *want)
{
	struct strbuf out;

	strbuf_init(&out, 4096);
	render_row(&out, when, slice_str(value), s, a);
	CHECK_EQ_STR(out.s, want);
	CHECK_EQ_INT((int64_t)render_row_len(when, slice_str(value), render_names_len(s, a)),
		     (int64_t)out.len);
	strbuf_release(&out);
}

TEST(a_row_is_its_fields_as_stored)
{
	check_row(&series, &nobody, "67.351000",
		  "2025-07-18T20:14:41.5Z,METRIC,67.351000,GPU-1,,,,\n");
}

TEST(fields_are_quoted_only_where_they_must)
{
	struct series labelled = SERIES("METRIC", "a=\"x\",b=\"y\"");
	struct attribution odd = {.uuid = {"GPU 1", 5},
				  .container = {"a\nb", 3},
				  .pod = {"\"", 1},
				  .namespace = {"\r", 1}};

	check_row(&labelled, &odd, "1",
		  "2025-07-18T20:14:41.5Z,METRIC,1,GPU 1,\"a\nb\",\"\"\"\",\"\r\","
		  "\"a=\"\"x\"\",b=\"\"y\"\"\"\n");
}

TEST(a_value_is_a_json_number_as_it_was_written_or_a_string)
{
	static const char *const numbers[] = {
		"0", "-0", "117.77", "67.351000", "7e-06", "1E+9", "18446744073709551616"};
	static const char *const strings[] = {"",   "-",   "01",  "+1",  ".5", "5.",
					      "1e", "1e+", "inf", "0x1", "1 ", "1.2.3"};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		CHECK_EQ_STR(value_json(numbers[i]), numbers[i]);
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		const char *json = value_json(strings[i]);

		CHECK_EQ_INT(json[0], '"');
		CHECK_EQ_INT((int64_t)strlen(json), (int64_t)strlen(strings[i]) + 2);
	}
}

static struct identity *identity(void)
{
	struct identity *id = identity_new(SLICE_LIT("h\"1"), SLICE_LIT("0"), 1, SLICE_LIT(""));

	free(id->driver);
	id->driver = xstrdup("535.1");
	return id;
}

TEST(a_rest_row_has_labels_only_where_there_are_some)
{
	struct series labelled = SERIES("METRIC", "err=\"a\\\"b\"");
	struct identity *id = identity();
	struct strbuf out;

	strbuf_init(&out, 4096);
	render_row_json(&out, id, when, SLICE_LIT("87"), &series, &nobody);
	CHECK_EQ_STR(out.s, "{\"timestamp\":\"2025-07-18T20:14:41.5Z\",\"hostname\":\"h\\\"1\","
			    "\"gpu_id\":\"0\",\"uuid\":\"GPU-1\",\"metric_name\":\"METRIC\","
			    "\"value\":87,\"container\":\"\",\"pod\":\"\",\"namespace\":\"\"}");
	strbuf_reset(&out);
	render_row_json(&out, id, when, SLICE_LIT("x"), &labelled, &nobody);
	CHECK(strstr(out.s, "\"value\":\"x\""));
	CHECK(strstr(out.s, ",\"labels\":{\"err\":\"a\\\"b\"}}"));
	strbuf_release(&out);
	identity_free(id);
}

TEST(a_sample_has_the_exporters_labels_and_no_name_twice)
{
	struct series labelled = SERIES("METRIC-1", "gpu=\"9\",x=\"\\\\y\"");
	struct identity *id = identity();
	struct strbuf out;

	strbuf_init(&out, 4096);
	render_prom(&out, id, when, SLICE_LIT("7e-06"), &labelled, &nobody);
	CHECK_EQ_STR(out.s, "METRIC_1{gpu=\"0\",UUID=\"GPU-1\",device=\"\",modelName=\"\","
			    "Hostname=\"h\\\"1\",DCGM_FI_DRIVER_VERSION=\"535.1\",x=\"\\\\y\"} "
			    "7e-06 1752869681500\n");
	strbuf_release(&out);
	identity_free(id);
}

TEST(a_sample_of_a_mig_instance_names_its_gpu_and_itself)
{
	static const struct {
		const char *gpu, *labels;
	} cases[] = {
		{"0.13",
		 "gpu=\"0\",UUID=\"GPU-1\",device=\"\",modelName=\"\",GPU_I_ID=\"13\",Host"},
		{"a.13", "gpu=\"a.13\",UUID=\"GPU-1\",device=\"\",modelName=\"\",Host"},
		{"0.", "gpu=\"0.\",UUID=\"GPU-1\",device=\"\",modelName=\"\",Host"},
		{".1", "gpu=\".1\",UUID=\"GPU-1\",device=\"\",modelName=\"\",Host"},
	};
	struct identity *id = identity(), instance = *id;
	struct strbuf out;

	strbuf_init(&out, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		instance.gpu = (char *)cases[i].gpu;
		strbuf_reset(&out);
		render_prom(&out, &instance, when, SLICE_LIT("1"), &series, &nobody);
		CHECK(strstr(out.s, cases[i].labels));
	}
	strbuf_release(&out);
	identity_free(id);
}

TEST(what_only_grows_is_a_counter)
{
	static const struct {
		const char *metric, *line;
	} cases[] = {
		{"DCGM_FI_DEV_GPU_UTIL", "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"},
		{"DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "# TYPE DCGM_FI_DEV_ECC_SBE_VOL_TOTAL counter\n"},
		{"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
		 "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\n"},
		{"9 lives", "# TYPE __lives gauge\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct strbuf out;

		strbuf_init(&out, 4096);
		render_prom_type(&out, cases[i].metric);
		CHECK_EQ_STR(out.s, cases[i].line);
		strbuf_release(&out);
	}
}

TEST(units_are_known_by_the_metrics_name)
{
	CHECK_EQ_STR(metric_unit("DCGM_FI_DEV_POWER_USAGE"), "W");
	CHECK_EQ_STR(metric_unit("DCGM_FI_DEV_GPU_UTIL"), "%");
	CHECK_EQ_STR(metric_unit("DCGM_FI_DEV_GPU_TEMP"), "C");
	CHECK_EQ_STR(metric_unit("DCGM_FI_DEV_FB_USED"), "MiB");
	CHECK_EQ_STR(metric_unit("DCGM_FI_DEV_SM_CLOCK"), "MHz");
	CHECK_EQ_STR(metric_unit("DCGM_FI_DEV_XID_ERRORS"), "-");
	CHECK_EQ_STR(metric_unit(""), "-");
}
