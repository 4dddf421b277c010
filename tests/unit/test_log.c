#include <pthread.h>
#include <unistd.h>

#include "../lib/test.h"
#include "json.h"
#include "log.h"
#include "stamp.h"

static void capture(void)
{
	test_capture(STDERR_FILENO);
}

static const char *result(void)
{
	return test_captured(STDERR_FILENO);
}

TEST(a_text_line_has_time_level_and_program)
{
	struct stamp t = {0};

	log_setup("streamer", "node-1", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	log_info("read %d rows", 7);
	const char *line = result();
	CHECK_EQ_INT(stamp_parse((struct slice){line, strcspn(line, " ")}, &t), 0);
	CHECK_EQ_INT(t.digits, 3);
	CHECK_EQ_STR(strchr(line, ' '), " info streamer: read 7 rows\n");
}

TEST(levels_below_the_threshold_are_silent)
{
	log_setup("streamer", "node-1", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	CHECK(log_enabled(LOG_LEVEL_WARN) && !log_enabled(LOG_LEVEL_INFO));
	capture();
	log_info("no");
	log_debug("no");
	log_warn("yes");
	log_adjust(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	log_debug("now");
	const char *text = result();
	CHECK(!strstr(text, "no\n"));
	CHECK(strstr(text, " warn streamer: yes\n"));
	CHECK(strstr(text, " debug streamer: now\n"));
}

TEST(a_message_cannot_forge_another_line)
{
	log_setup("fs", "x", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	log_error("%s", "a\nb\x1b[31m\rc");
	const char *text = result();
	CHECK(strstr(text, ": a\\nb\\x1b[31m\\x0dc\n"));
	CHECK(strchr(text, '\n') == text + strlen(text) - 1);
}

TEST(a_json_line_is_json)
{
	struct json *doc = NULL;
	struct err e = {""};

	log_setup("collector", "na\"me", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	capture();
	log_error("bad \"value\"\n%c", 0xff);
	const char *line = result();
	if (!CHECK(json_parse(line, strlen(line), &doc, &e) == 0))
		return;
	CHECK_EQ_SLICE(json_str(json_get(doc, "level")), SLICE_LIT("error"));
	CHECK_EQ_SLICE(json_str(json_get(doc, "program")), SLICE_LIT("collector"));
	CHECK_EQ_SLICE(json_str(json_get(doc, "id")), SLICE_LIT("na\"me"));
	CHECK_EQ_SLICE(json_str(json_get(doc, "message")),
		       SLICE_LIT("bad \"value\"\n\xef\xbf\xbd"));
	json_free(doc);
}

TEST(a_long_message_is_cut_but_still_one_whole_line)
{
	static char lots[50000];

	memset(lots, '\x01', sizeof(lots) - 1);
	log_setup("fs", "x", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	log_info("%s", lots);
	const char *text = result();
	CHECK(strlen(text) > 8000 && text[strlen(text) - 1] == '\n');
}

TEST(logging_leaves_errno_alone)
{
	log_setup("fs", "x", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	errno = ENOSPC;
	log_info("text");
	int after = errno;
	result();
	CHECK_EQ_INT(after, ENOSPC);
}

/* ---- what is said too often ------------------------------------------------------------------ */

static int count(const char *text, const char *what)
{
	int n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

static void pass_period(struct log_site *s)
{
	s->since.ns -= (int64_t)LOG_PERIOD_MS * NS_PER_MS;
}

TEST(one_call_writes_so_many_lines_and_another_its_own)
{
	log_setup("fs", "x", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	for (int i = 0; i < LOG_LINES + 5; i++) {
		log_warn("often %d.", i);
		if (i == LOG_LINES + 2)
			log_warn("once");
	}
	log_tell_suppressed(false);
	const char *text = result();
	CHECK_EQ_INT(count(text, "often"), LOG_LINES);
	CHECK_EQ_INT(count(text, "once"), 1);
	CHECK(strstr(text, "often 9.\n") && !strstr(text, "suppressed"));
	capture();
	log_tell_suppressed(true);
	CHECK(strstr(result(), " warn fs: often 9. … (5 more like this suppressed)\n"));
}

TEST(once_the_period_is_over_they_are_told_of_and_it_begins_anew)
{
	static struct log_site site;

	log_setup("fs", "x", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	for (int i = 0; i < LOG_LINES + 42; i++)
		log_limited(&site, LOG_LEVEL_ERROR, "before");
	pass_period(&site);
	for (int i = 0; i < LOG_LINES; i++)
		log_limited(&site, LOG_LEVEL_ERROR, "after");
	pass_period(&site);
	log_limited(&site, LOG_LEVEL_ERROR, "after");
	log_tell_suppressed(true);
	const char *text = result(), *told = strstr(text, "before … (42 more");
	CHECK_EQ_INT(count(text, "before\n"), LOG_LINES);
	CHECK_EQ_INT(count(text, "after\n"), LOG_LINES + 1);
	CHECK_EQ_INT(count(text, "suppressed"), 1);
	CHECK(told && told < strstr(text, "after"));
}

TEST(another_line_tells_of_a_call_that_has_gone_quiet)
{
	static struct log_site site;

	log_setup("fs", "x", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	for (int i = 0; i < LOG_LINES + 1; i++)
		log_limited(&site, LOG_LEVEL_INFO, "often");
	pass_period(&site);
	log_info("another");
	CHECK(strstr(result(), " info fs: often … (1 more like this suppressed)\n"));
}

TEST(lines_of_their_own_rule_are_not_limited_and_while_debugging_none_is)
{
	log_setup("fs", "x", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	for (int i = 0; i < 3 * LOG_LINES; i++)
		log_each(LOG_LEVEL_WARN, "row");
	CHECK_EQ_INT(count(result(), "row"), 3 * LOG_LINES);
	log_adjust(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	capture();
	for (int i = 0; i < 3 * LOG_LINES; i++) {
		log_debug("trace");
		log_info("request");
	}
	const char *text = result();
	CHECK_EQ_INT(count(text, "trace"), 3 * LOG_LINES);
	CHECK_EQ_INT(count(text, "request"), 3 * LOG_LINES);
}

TEST(lines_below_the_level_do_not_count)
{
	static struct log_site site;

	log_setup("fs", "x", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	for (int i = 0; i < 3 * LOG_LINES; i++)
		log_limited(&site, LOG_LEVEL_INFO, "no");
	capture();
	log_limited(&site, LOG_LEVEL_WARN, "yes");
	log_tell_suppressed(true);
	CHECK_EQ_INT(count(result(), "\n"), 1);
}

TEST(what_is_told_of_is_not_cut_within_a_character)
{
	char lots[601] = "x"; /* two bytes each from 1 on: a cut would fall within one */

	log_setup("fs", "x", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	for (size_t i = 1; i + 2 < sizeof(lots); i += 2)
		memcpy(lots + i, "é", 3);
	for (int pad = 0; pad < 2; pad++) {
		static struct log_site sites[2];

		capture();
		for (int i = 0; i < LOG_LINES + 1; i++)
			log_limited(&sites[pad], LOG_LEVEL_WARN, "%s", lots + pad);
		log_tell_suppressed(true);
		CHECK(strstr(result(), "é … (1 more"));
	}
}

enum { THREADS = 4, EACH = 2000 };

static void *say_often(void *arg)
{
	static struct log_site site;

	for (int i = 0; i < EACH; i++) {
		log_limited(&site, LOG_LEVEL_WARN, "of threads");
		if (i % 256 == 255)
			log_tell_suppressed(true);
	}
	return arg;
}

/* Numbers at the start of "N more like this". */
static long suppressed_sum(const char *text)
{
	long sum = 0;

	for (; (text = strstr(text, "… (")); text++)
		sum += strtol(text + strlen("… ("), NULL, 10);
	return sum;
}

TEST(threads_lose_no_count)
{
	pthread_t threads[THREADS];

	log_setup("fs", "x", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, say_often, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	log_tell_suppressed(true);
	const char *text = result();
	CHECK_EQ_INT(count(text, "of threads\n") + suppressed_sum(text), THREADS * EACH);
}
