#include "exporter.h"

#include "../lib/test.h"

/* ---- helpers -------------------------------------------------------------------------------- */

static const struct target_facts facts = {.host = SLICE_LIT("target-1")};

/* The last sample of a text, as a row; prints what is expected of it. */
static void check_fields(const char *text, const struct target_facts *t, const char *host,
			 const char *gpu, const char *metric, const char *labels)
{
	struct exposition x;
	struct exposition_sample s, last = {0};
	struct exported out;
	struct gpus gpus = {0};
	struct err e = {0};

	gpus_gather(&gpus, slice_str(text), EXPOSITION_PROMETHEUS);
	exposition_init(&x, slice_str(text), EXPOSITION_PROMETHEUS);
	while (exposition_next(&x, &s, &e) == EXPOSITION_SAMPLE)
		last = s;
	exported_init(&out);
	CHECK(exporter_may_be_gpu(&last, &gpus));
	CHECK_EQ_INT(exporter_fields(&last, &gpus, t, &out, &e), 0);
	CHECK_EQ_STR(e.text, "");
	CHECK_EQ_SLICE(out.fields[FIELD_HOST], slice_str(host));
	CHECK_EQ_SLICE(out.fields[FIELD_GPU], slice_str(gpu));
	CHECK_EQ_SLICE(out.fields[FIELD_METRIC], slice_str(metric));
	CHECK_EQ_SLICE(out.fields[FIELD_LABELS], slice_str(labels));
	exported_release(&out);
	gpus_release(&gpus);
}

static int result_of(const char *text)
{
	struct exposition x;
	struct exposition_sample s;
	struct exported out;
	struct gpus gpus = {0};
	struct err e;
	int r;

	exposition_init(&x, slice_str(text), EXPOSITION_PROMETHEUS);
	CHECK_EQ_INT(exposition_next(&x, &s, &e), EXPOSITION_SAMPLE);
	exported_init(&out);
	r = exporter_fields(&s, &gpus, &facts, &out, &e);
	exported_release(&out);
	return r;
}

/* ---- hosts ---------------------------------------------------------------------------------- */

TEST(the_host_is_the_label_and_not_the_target)
{
	check_fields("M{gpu=\"0\",Hostname=\"node-1\"} 1\n", &facts, "node-1", "0", "M", "");
}

TEST(without_the_label_the_host_is_the_target)
{
	check_fields("M{gpu=\"0\"} 1\n", &facts, "target-1", "0", "M", "");
}

TEST(a_host_that_is_forced_beats_the_label)
{
	struct target_facts forced = {.host = SLICE_LIT("x"), .host_is_forced = true};

	check_fields("M{gpu=\"0\",Hostname=\"node-1\"} 1\n", &forced, "x", "0", "M", "");
}

/* ---- labels --------------------------------------------------------------------------------- */

TEST(labels_that_are_no_fields_are_kept)
{
	check_fields("M{pci_bus_id=\"0:1\",gpu=\"0\",GPU_I_ID=\"3\",pod=\"p\",exported_pod=\"q\","
		     "a=\"\\\"\"} 1\n",
		     &facts, "target-1", "0", "M", "GPU_I_ID=\"3\",a=\"\\\"\",pci_bus_id=\"0:1\"");
}

TEST(what_has_no_gpu_is_of_none)
{
	CHECK_EQ_INT(result_of("go_goroutines 1\n"), -ENOENT);
	CHECK_EQ_INT(result_of("m{gpus=\"1\"} 1\n"), -ENOENT);
	CHECK_EQ_INT(result_of("nvidia_smi_pstate{uuid=\"x\"} 1\n"), -ENOENT);
	CHECK_EQ_INT(result_of("m{gpu=\"0\",1=\"2\"} 1\n"), -EINVAL);
}

/* ---- nvidia_gpu_exporter -------------------------------------------------------------------- */

TEST(a_uuid_is_a_gpu_by_what_the_same_scrape_says_of_it)
{
	check_fields("nvidia_smi_gpu_info{uuid=\"ab\",name=\"RTX\",driver_version=\"5.1\"} 1\n"
		     "nvidia_smi_index{uuid=\"ab\"} 3\n"
		     "nvidia_smi_temperature_gpu{uuid=\"ab\"} 34\n",
		     &facts, "target-1", "3", "DCGM_FI_DEV_GPU_TEMP",
		     "DCGM_FI_DRIVER_VERSION=\"5.1\"");
}

TEST(a_gpu_without_an_index_is_known_by_its_uuid)
{
	check_fields("nvidia_smi_gpu_info{uuid=\"GPU-ab\"} 1\n", &facts, "target-1", "GPU-ab",
		     "nvidia_smi_gpu_info", "");
}

TEST(names_stay_where_the_unit_is_another)
{
	check_fields("nvidia_smi_index{uuid=\"ab\"} 0\n"
		     "nvidia_smi_mig_memory_used_bytes{uuid=\"ab\",gpu_instance_id=\"2\"} 1\n",
		     &facts, "target-1", "0", "nvidia_smi_mig_memory_used_bytes", "GPU_I_ID=\"2\"");
}

TEST(infinities_are_no_value_and_other_texts_stay_as_they_are)
{
	CHECK_EQ_SLICE(exporter_value(SLICE_LIT("+Inf")), SLICE_LIT(""));
	CHECK_EQ_SLICE(exporter_value(SLICE_LIT("-inf")), SLICE_LIT(""));
	CHECK_EQ_SLICE(exporter_value(SLICE_LIT("NaN")), SLICE_LIT("NaN"));
	CHECK_EQ_SLICE(exporter_value(SLICE_LIT("7e-06")), SLICE_LIT("7e-06"));
}
