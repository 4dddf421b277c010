/* Commands of a WebSocket on any bytes: each is taken or refused, once, with a status and JSON. The
 * subscriber that takes them is here.
 *	clang -fsanitize=fuzzer,address -DFUZZ …    or as it is: fuzz_command FILE… */
#include "../../bridge/command.h"
#include "json.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct subscriber {
	int answers;
};

static void require(bool ok)
{
	if (!ok)
		abort();
}

int subscriber_add(struct subscriber *s, const char *id, struct filter *filter, int64_t since,
		   struct err *e)
{
	require(strlen(id) <= SUBSCRIPTION_ID_MAX && (since >= 0 || since == SINCE_NOW));
	filter_release(filter);
	return since == 7 ? err_set(e, -E2BIG, "too many") : 0;
}

int subscriber_follow(struct subscriber *s, const char *id, const char *path, int64_t offset,
		      struct err *e)
{
	require(strlen(id) <= SUBSCRIPTION_ID_MAX && *path && offset >= 0);
	return offset == 7 ? err_set(e, -ERANGE, "not that long") : 0;
}

int subscriber_remove(struct subscriber *s, const char *id)
{
	return *id == 'a' ? 0 : -ENOENT;
}

struct frame *frame_new(enum frame_kind kind, int64_t revision, struct slice text)
{
	struct json *doc = NULL;

	require(kind == FRAME_ERROR && json_parse(text.p, text.len, &doc, NULL) == 0);
	require(json_int(json_get(json_get(doc, "error"), "status"), 0) >= 400);
	require(json_str(json_get(json_get(doc, "error"), "detail")).len > 0);
	json_free(doc);
	return NULL;
}

void subscriber_say(struct subscriber *s, struct frame *f)
{
	s->answers++;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct subscriber s = {0};
	char *text = n ? memcpy(xmalloc(n), p, n) : NULL; /* of exactly its size */

	if (n <= COMMAND_MAX)
		command_run(&s, (struct slice){text, n});
	require(s.answers <= 1);
	free(text);
	return 0;
}

#ifndef FUZZ
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char bytes[COMMAND_MAX];
		FILE *f = fopen(argv[i], "re");
		size_t n = f ? fread(bytes, 1, sizeof(bytes), f) : 0;

		if (f)
			fclose(f);
		LLVMFuzzerTestOneInput((const uint8_t *)bytes, n);
	}
	return 0;
}
#endif
