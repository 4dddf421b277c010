#include <stdio.h>
#include <unistd.h>

#include "../lib/test.h"
#include "conf.h"
#include "conf_table.h"
#include "etcd.h"
#include "log.h"
#include "strbuf.h"

/* What the options of the program below were given. */
static struct strbuf seen;

static int note(const char *value, void *arg, struct err *e)
{
	if (value && strcmp(value, "bad") == 0)
		return err_set(e, -EINVAL, "\"bad\" is refused");
	strbuf_addf(&seen, "%s;", value ? value : "-");
	return 0;
}

static int check_together(const struct conf *c, void *arg, struct err *e)
{
	return c->streamer_batch_size == 13 ? err_set(e, -EINVAL, "13 is unlucky") : 0;
}

static const struct conf_option options[] = {
	{"csv", 'c', "FILE", "rows", note},
	{"loop", 'l', NULL, "for ever", note},
	{"wait", 'w', "[=DURATION]", "wait", note},
};

static struct conf_program program = {
	.name = "gputel-streamer",
	.bit = CONF_STREAMER,
	.synopsis = "--csv FILE",
	.about = "About.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.argument = note,
	.check = check_together,
};

static struct conf conf;
static const char *out, *err;

/* argv without the program's name, ends with NULL; sets out and err. */
static int load(const char *const *args)
{
	const char *argv[32] = {"gputel-streamer"};
	int argc = 1, r;

	while (args[argc - 1]) {
		argv[argc] = args[argc - 1];
		argc++;
	}
	strbuf_release(&seen);
	strbuf_init(&seen, 1000);
	test_capture(STDOUT_FILENO);
	test_capture(STDERR_FILENO);
	r = conf_load(&conf, &program, argc, (char **)(uintptr_t)argv);
	err = test_captured(STDERR_FILENO);
	out = test_captured(STDOUT_FILENO);
	return r;
}

#define LOAD(...) load((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* Loads with one variable of the environment set for that long. */
static int load_with(const char *name, const char *value)
{
	int r;

	setenv(name, value, 1);
	r = LOAD();
	unsetenv(name);
	if (r == 0)
		conf_release(&conf);
	return r;
}

static bool line_in(const char *text, const char *line)
{
	const char *at = strstr(text, line);

	return at && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n';
}

TEST(without_any_source_the_defaults_hold)
{
	char host[256];

	gethostname(host, sizeof(host));
	if (!CHECK_EQ_INT(LOAD(), 0))
		return;
	CHECK_EQ_STR(conf.etcd_endpoints, "localhost:2379");
	CHECK_EQ_INT(conf.etcd_request_timeout, 5000);
	CHECK_EQ_INT(conf.mq_dedup_ttl, 24 * 3600 * 1000);
	CHECK_EQ_INT(conf.throttle_max_queue_bytes, 512 << 20);
	CHECK(conf.throttle_enabled && conf.throttle_rate == 0.5);
	CHECK_EQ_INT(conf.log_level, LOG_LEVEL_INFO);
	CHECK_EQ_STR(conf.etcd_password, "");
	CHECK_EQ_STR(conf.service_id, host);
	CHECK_EQ_STR(conf.streamer_id, host);
	CHECK_EQ_STR(err, "");
	conf_release(&conf);
}

TEST(every_default_is_within_its_own_range)
{
	struct conf c = {0};
	struct err e;

	for (size_t i = 0; i < conf_vars_count; i++) {
		const struct conf_var *v = &conf_vars[i];

		if (!test_check(conf_var_set(v, v->fallback ? v->fallback : "host", true, &c, &e) ==
					0,
				__FILE__, __LINE__, "%s: %s", v->name, e.text))
			continue;
		CHECK(v->help && v->programs);
		if (v->type == CONF_STRING)
			free(*(char **)((char *)&c + v->offset));
	}
}

TEST(a_flag_beats_the_environment_beats_the_file)
{
	const char *file =
		test_file("conf", "MQ_BATCH_SIZE=1\nSTREAMER_BATCH_SIZE=1\nLOG_LEVEL=debug\n");

	setenv("MQ_BATCH_SIZE", "2", 1);
	setenv("STREAMER_BATCH_SIZE", "2", 1);
	CHECK_EQ_INT(LOAD("--mq-batch-size", "3", "--config", file), 0);
	unsetenv("MQ_BATCH_SIZE");
	unsetenv("STREAMER_BATCH_SIZE");
	CHECK_EQ_INT(conf.mq_batch_size, 3);
	CHECK_EQ_INT(conf.streamer_batch_size, 2);
	CHECK_EQ_INT(conf.log_level, LOG_LEVEL_DEBUG);
	conf_release(&conf);
}

TEST(flags_take_their_value_with_or_without_an_equals_sign)
{
	CHECK_EQ_INT(LOAD("--etcd-endpoints=https://a:1,b:2", "--retry", "x"), -EINVAL);
	CHECK(strstr(err, "unknown option --retry"));
	CHECK_EQ_INT(LOAD("--etcd-endpoints=https://a:1,b:2", "--log-format", "json"), 0);
	CHECK_EQ_STR(conf.etcd_endpoints, "https://a:1,b:2");
	CHECK_EQ_INT(conf.log_format, LOG_FORMAT_JSON);
	conf_release(&conf);
}

TEST(options_of_the_program_are_called_in_order)
{
	CHECK_EQ_INT(LOAD("--csv", "a", "-c", "b", "-cd", "-lcx", "--wait", "e", "--wait=5s", "-",
			  "--", "--loop"),
		     0);
	CHECK_EQ_STR(seen.s, "a;b;d;-;x;-;e;5s;-;--loop;");
	conf_release(&conf);
}

TEST(unknown_options_are_named_and_point_to_help)
{
	CHECK(LOAD("--bogus") < 0);
	CHECK_EQ_STR(err, "gputel-streamer: unknown option --bogus (see gputel-streamer --help)\n");
	CHECK(LOAD("--bogus=5", "--help") < 0);
	CHECK_EQ_STR(err, "gputel-streamer: unknown option --bogus (see gputel-streamer --help)\n");
	CHECK(LOAD("-lz") < 0);
	CHECK_EQ_STR(err, "gputel-streamer: unknown option -z (see gputel-streamer --help)\n");
	/* a variable of another program */
	CHECK(LOAD("--fs-workers", "3") < 0);
	CHECK(strstr(err, "unknown option --fs-workers"));
}

TEST(missing_and_needless_values_are_errors)
{
	CHECK(LOAD("--csv") < 0);
	CHECK(strstr(err, "--csv expects a value (FILE)"));
	CHECK(LOAD("-c") < 0);
	CHECK(strstr(err, "-c expects a value (FILE)"));
	CHECK(LOAD("--log-level") < 0);
	CHECK(strstr(err, "--log-level expects a value"));
	CHECK(LOAD("--loop=yes") < 0);
	CHECK(strstr(err, "--loop takes no value"));
	CHECK(LOAD("--csv", "bad") < 0);
	CHECK_EQ_STR(err, "gputel-streamer: \"bad\" is refused\n");
}

TEST(a_malformed_value_names_variable_value_and_form)
{
	static const char *const cases[][3] = {
		{"ETCD_REQUEST_TIMEOUT", "5x",
		 "\"5x\" is not a duration (expected e.g. 250ms, 10s, 5m, 24h)"},
		{"ETCD_REQUEST_TIMEOUT", "",
		 "\"\" is not a duration (expected e.g. 250ms, 10s, 5m, 24h)"},
		{"ETCD_REQUEST_TIMEOUT", "1h", "\"1h\" is out of range (expected 10ms to 10m)"},
		{"MQ_PROCESSING_TIMEOUT", "1s", "\"1s\" is out of range (expected 2s to 24h)"},
		{"MQ_BATCH_SIZE", "many", "\"many\" is not a number (expected 1 to 10000)"},
		{"MQ_BATCH_SIZE", "10001", "\"10001\" is out of range (expected 1 to 10000)"},
		{"MQ_BATCH_SIZE", "0", "\"0\" is out of range (expected 1 to 10000)"},
		{"STREAMER_BATCH_SIZE", "8193", "\"8193\" is out of range (expected 1 to 8192)"},
		{"STREAMER_BUFFER", "1.5MiB",
		 "\"1.5MiB\" is not a size (expected e.g. 64KiB, 8MiB or a number of bytes)"},
		{"STREAMER_BUFFER", "1B", "\"1B\" is out of range (expected 64KiB to 1TiB)"},
		{"THROTTLE_ENABLED", "maybe",
		 "\"maybe\" is not a boolean (expected true or false)"},
		{"THROTTLE_RATE", "2", "\"2\" is out of range (expected 0 to 1)"},
		{"THROTTLE_RATE", "half", "\"half\" is not a fraction (expected 0 to 1)"},
		{"LOG_LEVEL", "loud",
		 "\"loud\" is not known (expected one of error, warn, info, debug)"},
		{"MQ_MESSAGE_TTL", "99999999h",
		 "\"99999999h\" is out of range (expected 0 to 87600h)"},
	};
	char expected[512];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(expected, sizeof(expected), "gputel-streamer: %s: %s\n", cases[i][0],
			 cases[i][2]);
		CHECK(load_with(cases[i][0], cases[i][1]) < 0);
		CHECK_EQ_STR(err, expected);
	}
}

/* What no value of a type may be. */
static const struct {
	enum conf_type type;
	const char *texts[8];
} wrong_of_type[] = {
	{CONF_NUMBER, {"", "x", "1x", "0x10", " 1", "1.5", "99999999999999999999"}},
	{CONF_DURATION, {"", "x", "5", "5 s", "1h30", "-1s", "999999999999h"}},
	{CONF_SIZE, {"", "x", "1.5MiB", "1 KiB", "-1", "99999999TiB"}},
	{CONF_BOOL, {"", "x", "2", "maybe"}},
	{CONF_FRACTION, {"", "x", "-0.1", "1.1", "nan", "1e"}},
	{CONF_WORD, {"", "x", "INFO "}},
};

/* And what single strings may not be; those without an entry take any text. */
static const struct {
	const char *name, *texts[4];
} wrong_strings[] = {
	{"ETCD_ENDPOINTS", {"", "nothing", "ftp://a:1", "a:0"}},
	{"ETCD_CACERT", {"/no/such/file"}},
	{"ETCD_CERT", {"/no/such/file"}},
	{"ETCD_KEY", {"/no/such/file"}},
	{"GPUTEL_PREFIX", {"a b", "\t"}},
	{"SERVICE_ID", {"", "a b", "a/b"}},
	{"STREAMER_ID", {"", "a b", "a/b"}},
	{"COLLECTOR_ID", {"", "a b", "a/b"}},
	{"GATEWAY_HOST", {"", "a b", "http://a"}},
	{"GATEWAY_CORS_ORIGINS", {"grafana", "://x", "https://a/path"}},
	{"GATEWAY_TOKENS_FILE", {"/no/such/file"}},
	{"GATEWAY_RATE_LIMIT", {"", "fast", "100", "100/m:5"}},
	{"GATEWAY_TRUSTED_PROXIES", {"proxy", "10.0.0.0/33", "1.2.3"}},
	{"GATEWAY_TLS_CERT", {"/no/such/file"}},
	{"GATEWAY_TLS_KEY", {"/no/such/file"}},
};

static const char *const *wrong_texts(const struct conf_var *v, size_t *ret_n)
{
	*ret_n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(wrong_of_type); i++) {
		if (wrong_of_type[i].type != v->type)
			continue;
		*ret_n = ARRAY_SIZE(wrong_of_type[i].texts);
		return wrong_of_type[i].texts;
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong_strings); i++) {
		if (strcmp(wrong_strings[i].name, v->name))
			continue;
		*ret_n = ARRAY_SIZE(wrong_strings[i].texts);
		return wrong_strings[i].texts;
	}
	return NULL;
}

static void refuses(const struct conf_var *v, const char *text)
{
	char start[256];

	snprintf(start, sizeof(start), "gputel-streamer: %s: \"%s\"", v->name, text);
	test_check(load_with(v->name, text) < 0 && strstr(err, start) == err, __FILE__, __LINE__,
		   "%s=\"%s\" gives: %s", v->name, text, err);
}

TEST(every_variable_refuses_what_it_cannot_be_and_names_it)
{
	for (size_t i = 0; i < conf_vars_count; i++) {
		const struct conf_var *v = &conf_vars[i];
		size_t n;
		const char *const *texts = wrong_texts(v, &n);

		program.bit = v->programs;
		test_check(texts || !v->check, __FILE__, __LINE__, "%s: nothing is wrong for it",
			   v->name);
		for (size_t k = 0; k < n && texts[k]; k++)
			refuses(v, texts[k]);
	}
	program.bit = CONF_STREAMER;
}

/* As text, one below the least or one above the most. */
static void beyond(const struct conf_var *v, bool above, char ret[64])
{
	const char *unit = v->type == CONF_DURATION ? "ms" : "";

	snprintf(ret, 64, "%lld%s", (long long)(above ? v->max + 1 : v->min - 1), unit);
}

TEST(every_variable_ends_where_its_range_does)
{
	char text[64];

	for (size_t i = 0; i < conf_vars_count; i++) {
		const struct conf_var *v = &conf_vars[i];

		if (v->type != CONF_NUMBER && v->type != CONF_DURATION && v->type != CONF_SIZE)
			continue;
		for (int above = 0; above < 2; above++) {
			beyond(v, above, text);
			refuses(v, text);
		}
	}
}

TEST(a_file_of_another_program_need_not_be_readable_here)
{
	CHECK_EQ_INT(load_with("GATEWAY_TOKENS_FILE", "/no/such/file"), 0);
	program.bit = CONF_BRIDGE;
	CHECK(load_with("GATEWAY_TOKENS_FILE", "/no/such/file") < 0);
	program.bit = CONF_STREAMER;
}

TEST(endpoints_are_checked_in_form)
{
	static const char *const good[] = {"a:1", "http://a:1", "https://[::1]:65535", "a:1, b:2,",
					   "127.0.0.1:2379,http://x.y-z:2"};
	static const char *const bad[] = {
		"",     ",",         "a",       "a:",          ":1",       "a:0",     "a:65536",
		"a:1x", "ftp://a:1", "http://", "http://a:1/", "::1:2379", "u:p@h:1", "a:1,b"};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		CHECK_EQ_INT(load_with("ETCD_ENDPOINTS", good[i]), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK(load_with("ETCD_ENDPOINTS", bad[i]) < 0);
		CHECK(strstr(err, "ETCD_ENDPOINTS: ") && strstr(err, "expected host:port"));
	}
}

TEST(segments_divide_a_day)
{
	program.bit = CONF_COLLECTOR;
	CHECK_EQ_INT(load_with("SEGMENT", "24h"), 0);
	CHECK_EQ_INT(load_with("SEGMENT", "1m"), 0);
	CHECK_EQ_INT(load_with("SEGMENT", "90m"), 0);
	CHECK(load_with("SEGMENT", "7m") < 0);
	CHECK(strstr(err, "SEGMENT: \"7m\" does not divide a day evenly"));
	CHECK(load_with("SEGMENT", "30s") < 0);
	CHECK(load_with("SEGMENT", "25h") < 0);
	program.bit = CONF_STREAMER;
}

TEST(identities_prefixes_and_files_are_checked)
{
	CHECK(load_with("STREAMER_ID", "a/b") < 0);
	CHECK(load_with("STREAMER_ID", "") < 0);
	CHECK(load_with("SERVICE_ID", "two words") < 0);
	CHECK_EQ_INT(load_with("SERVICE_ID", "node-1.example:2_b"), 0);
	CHECK(load_with("GPUTEL_PREFIX", "a b") < 0);
	CHECK_EQ_INT(load_with("GPUTEL_PREFIX", "/cluster/7"), 0);
	CHECK(load_with("ETCD_CACERT", "/no/such/file.pem") < 0);
	CHECK(strstr(err, "ETCD_CACERT: \"/no/such/file.pem\" cannot be read: No such file"));
	CHECK(load_with("ETCD_CERT", "/etc/hostname") < 0);
	CHECK(strstr(err, "ETCD_CERT and ETCD_KEY: expected both or none"));
	CHECK(load_with("ETCD_PASSWORD", "secret") < 0);
	CHECK(strstr(err, "ETCD_USERNAME") && !strstr(err, "secret"));
}

TEST(the_file_has_the_format_of_an_environment_file)
{
	const char *file = test_file("conf", "# comment = 1\n"
					     "; comment\n"
					     "\n"
					     "  ETCD_USERNAME = plain text  \n"
					     "ETCD_PASSWORD=\"a b\\\"c\\d\"'\\e f'  \n"
					     "GPUTEL_PREFIX=/joined\\\n/#lines\r\n"
					     "MQ_BATCH_SIZE=8");

	if (!CHECK_EQ_INT(LOAD("--config", file), 0)) {
		CHECK_EQ_STR(err, "");
		return;
	}
	CHECK_EQ_STR(conf.etcd_username, "plain text");
	CHECK_EQ_STR(conf.etcd_password, "a b\"c\\d\\e f");
	CHECK_EQ_STR(conf.gputel_prefix, "/joined/#lines");
	CHECK_EQ_INT(conf.mq_batch_size, 8);
	conf_release(&conf);
}

TEST(a_file_may_end_anywhere)
{
	static const char *const ends[] = {"GPUTEL_PREFIX=/a\\",   "GPUTEL_PREFIX=\"/a",
					   "GPUTEL_PREFIX='/a",    "GPUTEL_PREFIX=\"/a\\",
					   "GPUTEL_PREFIX=/a\\\n", "GPUTEL_PREFIX=/a # "};
	static const char *const prefixes[] = {"/a", "/a", "/a", "/a", "/a", NULL};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		int r = LOAD("--config", test_file("conf", ends[i]));

		CHECK_EQ_INT(r, prefixes[i] ? 0 : -EINVAL);
		if (r == 0) {
			CHECK_EQ_STR(conf.gputel_prefix, prefixes[i]);
			conf_release(&conf);
		}
	}
}

TEST(a_file_over_a_mebibyte_is_refused)
{
	static char text[2 << 20];

	memset(text, '#', sizeof(text) - 1);
	CHECK(LOAD("--config", test_file("conf", text)) < 0);
	CHECK(strstr(err, "Message too long"));
}

TEST(faults_in_the_file_have_a_line_and_all_are_named)
{
	const char *file = test_file("conf", "MQ_BATCH_SIZE=none\n"
					     "FS_WORKERS=5\n"
					     "TYPO=1\n"
					     "just text\n"
					     "ETCD_PASSWORD=\"two\nlines\"\n"
					     "LOG_LEVEL=loud\n");
	char expected[2048];

	CHECK(LOAD("--config", file, "--check-config") < 0);
	snprintf(expected, sizeof(expected),
		 "gputel-streamer: %s:1: MQ_BATCH_SIZE: \"none\" is not a number (expected 1 to "
		 "10000)\n"
		 "gputel-streamer: %s:3: TYPO: unknown variable\n"
		 "gputel-streamer: %s:4: \"just text\" is no assignment (expected NAME=value)\n"
		 "gputel-streamer: %s:7: LOG_LEVEL: \"loud\" is not known (expected one of error, "
		 "warn, info, debug)\n"
		 "gputel-streamer: ETCD_PASSWORD: expected ETCD_USERNAME with it\n",
		 file, file, file, file);
	CHECK_EQ_STR(err, expected);
}

TEST(variables_of_other_programs_are_allowed_and_checked)
{
	const char *good = test_file("good", "FS_WORKERS=3\nCOLLECTOR_WORKERS=2\n");
	const char *bad = test_file("bad", "FS_WORKERS=nonsense\n");

	CHECK_EQ_INT(LOAD("--config", good), 0);
	conf_release(&conf);
	CHECK(LOAD("--config", bad) < 0);
	CHECK(load_with("FS_WORKERS", "nonsense") < 0);
}

TEST(a_missing_file_is_a_fault)
{
	CHECK(LOAD("--config", "/no/such/file") < 0);
	CHECK_EQ_STR(err, "gputel-streamer: --config: /no/such/file: No such file or directory\n");
	CHECK(LOAD("--config", "/") < 0);
	CHECK(strstr(err, "Is a directory"));
}

TEST(check_config_says_ok_without_the_programs_own_demands)
{
	CHECK_EQ_INT(LOAD("--check-config"), 1);
	CHECK_EQ_STR(out, "configuration ok\n");
	CHECK_EQ_INT(LOAD("--check-config", "--streamer-batch-size", "13"), 1);
	CHECK(LOAD("--check-config", "--csv", "x", "--streamer-batch-size", "13") < 0);
	CHECK_EQ_STR(err, "gputel-streamer: 13 is unlucky\n");
	CHECK(LOAD("--streamer-batch-size", "13") < 0);
}

TEST(print_config_tells_sources_and_masks_secrets)
{
	const char *file = test_file("conf", "# x\nETCD_PASSWORD=sesame\n");

	setenv("ETCD_USERNAME", "me", 1);
	CHECK_EQ_INT(LOAD("--print-config", "--config", file, "--mq-dedup-ttl", "90m"), 1);
	unsetenv("ETCD_USERNAME");
	CHECK(line_in(out, "ETCD_ENDPOINTS=localhost:2379  # default"));
	CHECK(line_in(out, "ETCD_USERNAME=me  # environment"));
	CHECK(line_in(out, "ETCD_PASSWORD=***  # file:2"));
	CHECK(line_in(out, "MQ_DEDUP_TTL=90m  # flag"));
	CHECK(!strstr(out, "sesame"));
	CHECK(!strstr(out, "FS_WORKERS"));
}

/* Takes the # from what looks like an assignment. */
static void uncomment(const char *text, struct strbuf *ret)
{
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, "\n");
		bool value = p[0] == '#' && p[1] >= 'A' && p[1] <= 'Z';

		strbuf_add(ret, p + value, n - value);
		strbuf_addc(ret, '\n');
		p += n + (p[n] != '\0');
	}
}

TEST(the_sample_names_every_variable_and_changes_none)
{
	struct strbuf text;

	strbuf_init(&text, 1 << 20);
	CHECK_EQ_INT(LOAD("--print-config=sample"), 1);
	for (size_t i = 0; i < conf_vars_count; i++) {
		char line[300];

		snprintf(line, sizeof(line), "#%s=%s", conf_vars[i].name,
			 conf_vars[i].fallback ? conf_vars[i].fallback : "");
		test_check(line_in(out, line), __FILE__, __LINE__, "no line %s", line);
	}
	CHECK_EQ_INT(LOAD("--config", test_file("sample", out)), 0);
	conf_release(&conf);
	CHECK_EQ_INT(LOAD("--print-config=sample"), 1);
	uncomment(out, &text);
	strbuf_addc(&text, '\0');
	/* identities have no value that is the same everywhere */
	CHECK(LOAD("--config", test_file("sample", text.s)) < 0);
	CHECK(strstr(err, "SERVICE_ID") && strstr(err, "STREAMER_ID") &&
	      strstr(err, "COLLECTOR_ID"));
	CHECK(!strstr(err, "ETCD_") && !strstr(err, "unknown"));
	strbuf_release(&text);
}

TEST(the_manuals_sections_have_all_options_and_variables)
{
	CHECK_EQ_INT(LOAD("--print-config=man"), 1);
	CHECK(strstr(out, ".SH OPTIONS\n") && strstr(out, ".SH ENVIRONMENT\n"));
	CHECK(strstr(out, "\n.B \\-c\\fR, \\fB\\-\\-csv FILE\n"));
	CHECK(strstr(out, "\\fB\\-\\-wait[=DURATION]\n"));
	for (size_t i = 0; i < conf_vars_count; i++) {
		char line[100];

		snprintf(line, sizeof(line), ".B %s", conf_vars[i].name);
		CHECK(line_in(out, line) == !!(conf_vars[i].programs & CONF_STREAMER));
	}
	CHECK(LOAD("--print-config=html") < 0);
	CHECK(strstr(err, "--print-config: \"html\" is neither sample nor man"));
}

TEST(help_lists_options_and_variables_of_the_program)
{
	CHECK_EQ_INT(LOAD("--help", "--bogus"), 1);
	CHECK(strstr(out, "Usage: gputel-streamer --csv FILE\n"));
	CHECK(strstr(out, "-c, --csv FILE"));
	CHECK(strstr(out, "--wait[=DURATION]"));
	CHECK(strstr(out, "--check-config"));
	CHECK(strstr(out, "MQ_DEDUP_TTL"));
	CHECK(!strstr(out, "FS_WORKERS"));
	CHECK_EQ_STR(err, "");
}

TEST(version_is_one_line)
{
	char expected[64];

	snprintf(expected, sizeof(expected), "gputel-streamer %s\n", gputel_version);
	CHECK_EQ_INT(LOAD("--version"), 1);
	CHECK_EQ_STR(out, expected);
}

static void rewrite(const char *file, const char *text)
{
	FILE *f = fopen(file, "w");

	fputs(text, f);
	fclose(f);
}

static const char *reload(void)
{
	test_capture(STDERR_FILENO);
	conf_reload(&conf);
	return test_captured(STDERR_FILENO);
}

TEST(reloading_takes_over_what_is_live_and_reports_the_rest)
{
	const char *file = test_file("conf", "LOG_LEVEL=warn\nMQ_BATCH_SIZE=8\n"), *log;

	CHECK_EQ_INT(LOAD("--config", file, "--log-format", "text"), 0);
	CHECK(!log_enabled(LOG_LEVEL_INFO));
	rewrite(file, "LOG_LEVEL=info\nMQ_BATCH_SIZE=9\nLOG_FORMAT=json\nTHROTTLE_RATE=0.25\n"
		      "THROTTLE_ENABLED=no\nTHROTTLE_MAX_LAG=5s\nFS_WORKERS=3\n");
	log_adjust(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log = reload();
	CHECK(strstr(log, "LOG_LEVEL changed from \"warn\" to \"info\"; in force now"));
	CHECK(strstr(log, "MQ_BATCH_SIZE changed from \"8\" to \"9\"; a restart is needed"));
	CHECK(!strstr(log, "LOG_FORMAT") && !strstr(log, "FS_WORKERS"));
	CHECK(log_enabled(LOG_LEVEL_INFO));
	CHECK_EQ_INT(conf.mq_batch_size, 8);
	CHECK_EQ_INT(conf.throttle_max_lag, 5000);
	CHECK(!conf.throttle_enabled && conf.throttle_rate == 0.25);

	log = reload(); /* what waits for a restart is said each time, until it is taken back */
	CHECK(strstr(log, "MQ_BATCH_SIZE") && !strstr(log, "in force now"));
	rewrite(file, "LOG_LEVEL=info\nMQ_BATCH_SIZE=8\nTHROTTLE_RATE=0.25\nTHROTTLE_ENABLED=no\n"
		      "THROTTLE_MAX_LAG=5s\n");
	CHECK_EQ_STR(reload(), "");

	rewrite(file, "LOG_LEVEL=debug\nMQ_BATCH_SIZE=x\n");
	CHECK(strstr(reload(), "not reloaded: 1 fault"));
	CHECK(!log_enabled(LOG_LEVEL_DEBUG));
	conf_release(&conf);
}

TEST(a_secret_that_changes_is_not_shown)
{
	const char *file = test_file("conf", "ETCD_USERNAME=me\nETCD_PASSWORD=sesame\n"), *log;

	CHECK_EQ_INT(LOAD("--config", file), 0);
	rewrite(file, "ETCD_USERNAME=me\nETCD_PASSWORD=tahini\n");
	log = reload();
	CHECK(strstr(log, "ETCD_PASSWORD changed; a restart is needed for it"));
	CHECK(!strstr(log, "sesame") && !strstr(log, "tahini"));
	conf_release(&conf);
}

TEST(the_clients_part_has_null_for_what_is_not_set)
{
	struct etcd_conf e;

	CHECK_EQ_INT(LOAD("--etcd-username", "me", "--gputel-prefix", "/p", "--circuit-open", "2s"),
		     0);
	conf_etcd(&conf, &e);
	CHECK_EQ_STR(e.endpoints, "localhost:2379");
	CHECK_EQ_STR(e.prefix, "/p");
	CHECK_EQ_STR(e.username, "me");
	CHECK(!e.password && !e.cacert && !e.cert && !e.key);
	CHECK_EQ_INT(e.request_timeout_ms, 5000);
	CHECK_EQ_INT(e.circuit_open_ms, 2000);
	conf_release(&conf);
}
