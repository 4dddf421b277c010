/* What every file of gputel starts from: attributes, small macros, and errors with context.
 *
 * Errors: a function that can fail returns 0 (or a count) or -errno. Results come through
 * parameters named ret_x, untouched on failure. Where the reason is worth more than a number, the
 * function also fills a struct err; the text gains context on the way up and is logged once, by
 * whoever handles it. */
#ifndef GPUTEL_BASE_H
#define GPUTEL_BASE_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define must_check        __attribute__((warn_unused_result))
#define never_null        __attribute__((returns_nonnull))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define hidden_unused     __attribute__((unused))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

/* Hand over ownership: yields the pointer and leaves NULL behind. */
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define NS_PER_SEC 1000000000LL
#define NS_PER_MS  1000000LL

struct err {
	char text[512]; /* "" until something failed; always terminated */
};

/* Sets the text and returns code, so that a failure is one line:
 *	return err_set(e, -EINVAL, "%s: expected a number, got \"%s\"", name, value);
 * e may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) printf_like(3, 4);

/* Puts "context: " in front of the text and returns code. e may be NULL. */
int err_prefix(struct err *e, int code, const char *fmt, ...) printf_like(3, 4);

/* malloc and friends for small fixed-size things whose failure leaves nothing sensible to do: they
 * end the process with a line on stderr. Whatever a peer or a user can make grow does not use them
 * but a container with a ceiling. */
void *xmalloc(size_t n) must_check never_null;
void *xcalloc(size_t n, size_t size) must_check never_null;
void *xrealloc(void *p, size_t n) must_check; /* NULL for n == 0: freed */
char *xstrdup(const char *s) must_check never_null;
char *xstrndup(const char *s, size_t n) must_check never_null;
char *xasprintf(const char *fmt, ...) printf_like(1, 2) must_check never_null;

/* A borrowed piece of text or bytes: not terminated, never owned. */
struct slice {
	const char *p;
	size_t len;
};

#define SLICE_LIT(s) ((struct slice){(s), sizeof(s) - 1})

static inline struct slice slice_str(const char *s)
{
	return (struct slice){s, strlen(s)};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

int slice_cmp(struct slice a, struct slice b);

#endif
