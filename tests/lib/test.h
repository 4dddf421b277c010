/* Unit tests: sentences that register themselves.
 *
 *	TEST(a_varint_of_eleven_bytes_is_refused)
 *	{
 *		CHECK_EQ_INT(r.err, -EBADMSG);
 *	}
 *
 * A failed check prints file:line and what was found, and the test goes on; where going on makes no
 * sense: if (!CHECK(p)) return;. Tests of a file run in their order, within 60 s each. Arguments of
 * the program pick tests by a part of the name. Checks may be used from any thread. */
#ifndef GPUTEL_TEST_H
#define GPUTEL_TEST_H

#include "base.h"

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};

void test_register(struct test *t);
bool test_check(bool ok, const char *file, int line, const char *fmt, ...) printf_like(4, 5);
bool test_eq_int(int64_t a, int64_t b, const char *file, int line, const char *text);
bool test_eq_bytes(struct slice a, struct slice b, const char *file, int line, const char *text);

/* A fresh folder, removed with all in it at the end of the program; the string lives as long. */
const char *test_tmpdir(void);
/* Writes a file; returns its path (in a folder of its own), which lives as long as the program. */
const char *test_file(const char *name, const char *content);

/* Sends what goes to descriptor fd (1 or 2) into a file, until test_captured returns what it was;
 * the text lives until the next capture of fd. Checks in between would go the same way. */
void test_capture(int fd);
const char *test_captured(int fd);

#define TEST(name_)                                                                                \
	static void name_(void);                                                                   \
	__attribute__((constructor)) static void register_##name_(void)                            \
	{                                                                                          \
		static struct test t = {#name_, name_, NULL};                                      \
		test_register(&t);                                                                 \
	}                                                                                          \
	static void name_(void)

#define CHECK(cond)          test_check(cond, __FILE__, __LINE__, "%s does not hold", #cond)
#define CHECK_EQ_INT(a, b)   test_eq_int(a, b, __FILE__, __LINE__, #a)
#define CHECK_EQ_STR(a, b)   test_eq_bytes(slice_str(a), slice_str(b), __FILE__, __LINE__, #a)
#define CHECK_EQ_SLICE(a, b) test_eq_bytes(a, b, __FILE__, __LINE__, #a)

#endif
