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
