#include <sys/mman.h>
#include <unistd.h>

#include "fields.h"
#include "row.h"
#include "../lib/test.h"

/* ---- helpers -------------------------------------------------------------------------------- */

static struct column_map *map_of(const char *text)
{
	struct column_map *m = xcalloc(1, sizeof(*m));
	struct err e = {0};

	if (!CHECK_EQ_INT(column_map_parse(m, "m", slice_str(text), &e), 0))
		CHECK_EQ_STR(e.text, "");
	return m;
}

static void check_map_refused(const char *text, const char *reason)
{
	struct column_map m;
	struct err e = {0};

	CHECK_EQ_INT(column_map_parse(&m, "m", slice_str(text), &e), -EBADMSG);
	CHECK_EQ_STR(e.text, reason);
}

static void tell_sample(struct strbuf *out, int r, const struct sample *s, const struct err *e)
{
	char time[STAMP_MAX];

	if (r == ROW_INVALID) {
		strbuf_addf(out, "%s\n", e->text);
		return;
	}
	strbuf_add(out, time, stamp_format(s->time, time));
	strbuf_addf(out, " %.*s/%.*s %.*s=%.*s", (int)s->series->host.len, s->series->host.p,
		    (int)s->series->series.gpu.len, s->series->series.gpu.p,
		    (int)s->series->series.metric.len, s->series->series.metric.p,
		    (int)s->value.len, s->value.p);
	strbuf_addf(out, "%s%.*s%s%.*s\n", s->series->attribution.container.len ? " c=" : "",
		    (int)s->series->attribution.container.len, s->series->attribution.container.p,
		    s->series->series.labels.len ? " " : "", (int)s->series->series.labels.len,
		    s->series->series.labels.p);
}

static void tell_record(struct strbuf *out, struct row_parser *rows, const struct csv_record *rec)
{
	struct sample s;
	struct err e;
	int r = row_parse(rows, rec, &s, &e);

	if (r == -ENOBUFS) {
		row_forget(rows);
		strbuf_adds(out, "(full)\n");
		r = row_parse(rows, rec, &s, &e);
	}
	for (; r >= 0 && r != ROW_END; r = row_more(rows, rec, &s, &e))
		tell_sample(out, r, &s, &e);
	CHECK(r >= 0);
}

/* What a file is, a line for each sample. */
static void tell_file(struct strbuf *out, const char *text, const struct row_conf *conf)
{
	int fd = memfd_create("csv", MFD_CLOEXEC);
	struct row_parser *rows = row_parser_new(conf);
	struct csv_record rec;
	struct err e = {0};
	struct csv *csv;
	int event, header = 0, n = 0;

	if (write(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) != 0 ||
	    csv_open(&csv, fd, &(struct csv_conf){.name = "f"}) < 0)
		abort();
	while (!header && (event = csv_next(csv, &rec, &e)) > CSV_END) {
		if (n++ == 0 && (header = row_header(rows, &rec, &e)))
			strbuf_adds(out, e.text);
		else if (n > 1)
			tell_record(out, rows, &rec);
	}
	csv_close(csv);
	row_parser_free(rows);
	close(fd);
}

static void check_conf(const char *text, struct row_conf conf, const char *want)
{
	struct strbuf out;

	conf.name = "f";
	strbuf_init(&out, 1 << 16);
	strbuf_adds(&out, "");
	tell_file(&out, text, &conf);
	CHECK_EQ_STR(out.s ? out.s : "", want);
	strbuf_release(&out);
}

static void check_file(const char *text, const char *want)
{
	check_conf(text, (struct row_conf){.host = SLICE_LIT("h")}, want);
}

static void check_mapped(const char *map, const char *text, const char *want)
{
	struct column_map *m = map_of(map);

	check_conf(text, (struct row_conf){.map = m}, want);
	column_map_release(m);
	free(m);
}

/* ---- wide forms ----------------------------------------------------------------------------- */

TEST(a_wide_record_is_a_sample_of_each_metric_in_the_order_of_its_columns)
{
	check_conf("timestamp,gpu_id,uuid,device,model_name,hostname,gpu_utilization,temperature\n"
		   "2025-07-18T20:42:34Z,3,GPU-1,nvidia3,H100,n1,87,61.50\n"
		   "2025-07-18T20:42:35Z,3,GPU-1,nvidia3,H100,n1,N/A,-0\n",
		   (struct row_conf){0},
		   "2025-07-18T20:42:34Z n1/3 DCGM_FI_DEV_GPU_UTIL=87\n"
		   "2025-07-18T20:42:34Z n1/3 DCGM_FI_DEV_GPU_TEMP=61.50\n"
		   "2025-07-18T20:42:35Z n1/3 DCGM_FI_DEV_GPU_UTIL=\n"
		   "2025-07-18T20:42:35Z n1/3 DCGM_FI_DEV_GPU_TEMP=-0\n");
}

TEST(columns_are_known_without_case_blanks_and_order)
{
	check_conf("Power_Draw , HOST,modelName,GPU ID,Time\n 7 ,n1,x, 2,1752871354\n",
		   (struct row_conf){0}, "2025-07-18T20:42:34Z n1/2 DCGM_FI_DEV_POWER_USAGE=7\n");
}

TEST(nvidia_smi_says_units_in_header_and_cells)
{
	check_file(
		"timestamp, index, name, utilization.gpu [%], memory.used [MiB], power.draw [W], "
		"pstate, clocks_throttle_reasons.active, persistence_mode\n"
		"2025/07/18 20:42:34.123, 0, NVIDIA H100, 87 %, 1234 MiB, 73.20 W, P0, "
		"0x000000000000001F, Enabled\n"
		"2025/07/18 20:42:35.123, 0, NVIDIA H100, [Not Supported], 2 GiB, 73 mW, P2, "
		"Not Active, [N/A]\n",
		"2025-07-18T20:42:34.123Z h/0 DCGM_FI_DEV_GPU_UTIL=87\n"
		"2025-07-18T20:42:34.123Z h/0 DCGM_FI_DEV_FB_USED=1234\n"
		"2025-07-18T20:42:34.123Z h/0 DCGM_FI_DEV_POWER_USAGE=73.20\n"
		"2025-07-18T20:42:34.123Z h/0 DCGM_FI_DEV_PSTATE=0\n"
		"2025-07-18T20:42:34.123Z h/0 DCGM_FI_DEV_CLOCK_THROTTLE_REASONS=31\n"
		"2025-07-18T20:42:34.123Z h/0 DCGM_FI_DEV_PERSISTENCE_MODE=1\n"
		"2025-07-18T20:42:35.123Z h/0 DCGM_FI_DEV_GPU_UTIL=\n"
		"2025-07-18T20:42:35.123Z h/0 DCGM_FI_DEV_FB_USED=2048\n"
		"2025-07-18T20:42:35.123Z h/0 DCGM_FI_DEV_POWER_USAGE=0.073\n"
		"2025-07-18T20:42:35.123Z h/0 DCGM_FI_DEV_PSTATE=2\n"
		"f:3:76: clocks_throttle_reasons.active: expected a number, got \"Not Active\"\n"
		"2025-07-18T20:42:35.123Z h/0 DCGM_FI_DEV_PERSISTENCE_MODE=\n");
}

TEST(a_unit_that_is_another_kind_is_no_reading)
{
	check_file("time,gpu,memory_used\n1,0,5 W\n1,0,5 V\n",
		   "f:2:5: memory_used: expected MiB, got W\n"
		   "f:3:5: memory_used: expected a number, got \"5 V\"\n");
	check_file(
		"time,gpu,memory_used [W]\n",
		"f:1:10: column memory_used [W]: DCGM_FI_DEV_FB_USED is expected in MiB, not in W: "
		"a map (--map) can say a factor");
}

TEST(the_unit_of_the_header_scales_what_has_none_of_its_own)
{
	check_file("time,gpu,memory_used [GiB]\n1,0,1.5\n1,0,2 MiB\n",
		   "1970-01-01T00:00:01Z h/0 DCGM_FI_DEV_FB_USED=1536.0\n"
		   "1970-01-01T00:00:01Z h/0 DCGM_FI_DEV_FB_USED=2\n");
}

TEST(a_column_that_nobody_knows_is_a_metric_if_it_begins_with_a_number)
{
	check_file("time,gpu,power,flux [V],note\n1,0,7,2.50,hello\n2,0,8,x,9\n",
		   "1970-01-01T00:00:01Z h/0 DCGM_FI_DEV_POWER_USAGE=7\n"
		   "1970-01-01T00:00:01Z h/0 flux=2.50\n"
		   "1970-01-01T00:00:02Z h/0 DCGM_FI_DEV_POWER_USAGE=8\n"
		   "f:3:7: flux: expected a number, got \"x\"\n");
}

TEST(a_record_that_is_invalid_as_a_whole_says_so_once)
{
	check_file("time,gpu,power,temp\nnever,0,1,2\n1,0,1\n1,,1,2\n",
		   "f:2:1: time: no time: \"never\"\n"
		   "f:3:6: expected 4 fields, got 3\n"
		   "f:4:3: gpu: empty\n");
}

TEST(the_header_once_more_is_no_row)
{
	check_file("time,gpu,power\n1,0,7\ntime,gpu,power\n2,0,8\n",
		   "1970-01-01T00:00:01Z h/0 DCGM_FI_DEV_POWER_USAGE=7\n"
		   "1970-01-01T00:00:02Z h/0 DCGM_FI_DEV_POWER_USAGE=8\n");
}

TEST(minus_one_as_unsigned_is_no_value_of_a_percentage_only)
{
	check_file("time,gpu,gpu_util,memory_used\n1,0,4294967295,4294967295\n",
		   "1970-01-01T00:00:01Z h/0 DCGM_FI_DEV_GPU_UTIL=\n"
		   "1970-01-01T00:00:01Z h/0 DCGM_FI_DEV_FB_USED=4294967295\n");
	check_file("time,gpu,metric,value\n1,0,DCGM_FI_DEV_GPU_UTIL,4294967295.000\n1,0,X,"
		   "4294967295\n",
		   "1970-01-01T00:00:01Z h/0 DCGM_FI_DEV_GPU_UTIL=\n"
		   "1970-01-01T00:00:01Z h/0 X=4294967295\n");
}

TEST(a_full_table_never_shows_in_the_middle_of_a_record)
{
	check_conf("time,gpu,power,temp\n1,0,1,2\n1,1,3,4\n",
		   (struct row_conf){.host = SLICE_LIT("h"), .series_max = 3},
		   "1970-01-01T00:00:01Z h/0 DCGM_FI_DEV_POWER_USAGE=1\n"
		   "1970-01-01T00:00:01Z h/0 DCGM_FI_DEV_GPU_TEMP=2\n"
		   "(full)\n"
		   "1970-01-01T00:00:01Z h/1 DCGM_FI_DEV_POWER_USAGE=3\n"
		   "1970-01-01T00:00:01Z h/1 DCGM_FI_DEV_GPU_TEMP=4\n");
	check_conf("time,gpu,power,temp\n1,0,1,2\n",
		   (struct row_conf){.host = SLICE_LIT("h"), .series_max = 1},
		   "f:2:1: more series than can be held at once\n");
}

/* ---- headers -------------------------------------------------------------------------------- */

TEST(what_a_header_lacks_is_named)
{
	check_conf("time,gpu,power\n", (struct row_conf){0},
		   "f:1: no header: needed but missing: Hostname (--host NAME says it for a file "
		   "without)");
	check_file("time,power\n", "f:1: no header: needed but missing: gpu_id");
	check_file("1752871354,0,7\n", "f:1: no header: needed but missing: gpu_id, metric_name, "
				       "timestamp, value");
}

TEST(two_columns_of_one_metric_are_refused)
{
	check_file(
		"time,gpu,temp,temperature\n",
		"f:1:15: columns temp and temperature are both DCGM_FI_DEV_GPU_TEMP: say in a map "
		"(--map) which one counts");
}

TEST(of_two_columns_of_a_field_its_own_name_counts)
{
	check_file("time,gpu,gpu_id,power\n1,8,9,7\n",
		   "1970-01-01T00:00:01Z h/9 DCGM_FI_DEV_POWER_USAGE=7\n");
	check_file("timestamp,metric_name,gpu_id,gpu,value\n1,M,9,8,7\n",
		   "1970-01-01T00:00:01Z h/9 M=7\n");
}

/* ---- maps ----------------------------------------------------------------------------------- */

TEST(a_map_says_what_columns_are)
{
	check_mapped("# a comment\n"
		     "\n"
		     "when = timestamp\n"
		     "card | board = gpu_id\r\n"
		     "\"odd = | \"\"name\"\"\" = metric M * 0.001\n"
		     "fb = metric DCGM_FI_DEV_FB_USED in GiB\n"
		     "phase = label phase\n"
		     "power = ignore\n"
		     "Hostname := my host\n"
		     "label job := a \"b\"\n",
		     "When,Card,\"odd = | \"\"name\"\"\",fb,phase,power\n1,0,2500,1.5,init,9\n",
		     "1970-01-01T00:00:01Z my host/0 M=2.5 job=\"a \\\"b\\\"\",phase=\"init\"\n"
		     "1970-01-01T00:00:01Z my host/0 DCGM_FI_DEV_FB_USED=1536.0 "
		     "job=\"a \\\"b\\\"\",phase=\"init\"\n");
}

TEST(a_map_may_name_the_columns_of_a_long_file)
{
	check_mapped("t = timestamp\nm = metric_name\nv = value\nn = Hostname\nc = container\n",
		     "t,m,v,n,c,gpu\n1,M,5,h,x,0\n", "1970-01-01T00:00:01Z h/0 M=5 c=x\n");
}

TEST(faults_of_a_map_are_named_with_their_line)
{
	check_map_refused("a\n", "m:1: expected COLUMN = TARGET or FIELD := TEXT");
	check_map_refused("# x\na = b\n",
			  "m:2: expected a field, \"metric NAME\", \"label NAME\" or "
			  "\"ignore\", got \"b\"");
	check_map_refused("a = metric\n", "m:1: metric: its name is missing");
	check_map_refused("a = metric M * x\n", "m:1: *: expected a positive number, got \"x\"");
	check_map_refused("a = metric DCGM_FI_DEV_FB_USED in W\n",
			  "m:1: in: W is not to be had as MiB, the unit of DCGM_FI_DEV_FB_USED");
	check_map_refused("a = metric M in MiB\n",
			  "m:1: in: the unit of M is not known: say * FACTOR");
	check_map_refused("a = metric M as words\n",
			  "m:1: as: expected number, bits, state or flag, got \"words\"");
	check_map_refused("a = gpu_id 0\n", "m:1: unexpected \"0\"");
	check_map_refused("a = gpu_id\nA = uuid\n", "m:2: column \"A\" is there twice");
	check_map_refused("a | = gpu_id\n", "m:1: \"\" is no name of a column");
	check_map_refused("a = label 0x\n", "m:1: label: \"0x\" is no name of a label");
	check_map_refused("value := 5\n", "m:1: :=: \"value\" is no field that can be constant");
	check_map_refused("\"a = gpu_id\n", "m:1: a quote is opened and never closed");
}

TEST(every_map_built_in_can_be_read)
{
	size_t n = 0;

	while (column_map_builtin(n))
		n++;
	CHECK_EQ_INT((int64_t)n, 5);
}

static int field_of(const struct column_map *m, const char *column)
{
	const struct mapped *c = column_map_find(m, slice_str(column));

	if (!c)
		return -1;
	return c->target.kind == TARGET_TIME    ? FIELD_TIME
	       : c->target.kind == TARGET_VALUE ? FIELD_VALUE
						: (int)c->target.field;
}

TEST(the_general_map_has_each_fields_names_and_more)
{
	const struct column_map *general = column_map_builtin(4);
	const char *name;

	for (int f = 0; f < FIELD_ALL; f++)
		for (size_t i = 0; (name = field_alias(f, i)); i++)
			CHECK_EQ_INT(field_of(general, name), f);
	CHECK_EQ_INT(field_of(general, "Event-Time"), FIELD_TIME);
	CHECK_EQ_INT(field_of(general, "server"), FIELD_HOST);
	CHECK_EQ_INT(field_of(general, "something"), -1);
}
