#include "../lib/test.h"
#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a child that has ended said of itself. */
static void describe_the_dead(char ret[PROCESS_TEXT_MAX])
{
	int out[2], status;
	pid_t pid;

	CHECK_EQ_INT(pipe(out), 0);
	pid = fork();
	if (pid == 0) {
		process_describe("child", ret);
		_exit(write(out[1], ret, PROCESS_TEXT_MAX) != PROCESS_TEXT_MAX);
	}
	CHECK_EQ_INT(read(out[0], ret, PROCESS_TEXT_MAX), PROCESS_TEXT_MAX);
	CHECK_EQ_INT(waitpid(pid, &status, 0), pid);
	close(out[0]);
	close(out[1]);
}

/* text with the first byte behind key changed to another digit. */
static void alter(char *text, const char *key)
{
	char *at = strstr(text, key);

	if (CHECK(at != NULL)) {
		at += strlen(key);
		*at = *at == '1' ? '2' : '1';
	}
}

TEST(a_process_that_runs_is_not_dead)
{
	char text[PROCESS_TEXT_MAX];

	process_describe("me", text);
	CHECK(!process_is_dead(slice_str(text)));
}

TEST(one_that_has_ended_is_dead)
{
	char text[PROCESS_TEXT_MAX];

	describe_the_dead(text);
	CHECK(process_is_dead(slice_str(text)));
}

TEST(another_that_has_got_its_number_since_does_not_make_it_live)
{
	char text[PROCESS_TEXT_MAX];

	process_describe("me", text);
	alter(text, "\"start\":\"");
	CHECK(process_is_dead(slice_str(text)));
}

TEST(of_other_boots_and_name_spaces_nothing_is_known)
{
	static const char *const keys[] = {"\"boot\":\"", "\"pidns\":\""};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		char text[PROCESS_TEXT_MAX];

		describe_the_dead(text);
		alter(text, keys[i]);
		CHECK(!process_is_dead(slice_str(text)));
	}
}

TEST(what_cannot_be_read_is_not_dead)
{
	static const char *const texts[] = {"", "x", "{}", "{\"id\":\"a\"}", "{\"pid\":1}"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		CHECK(!process_is_dead(slice_str(texts[i])));
}
