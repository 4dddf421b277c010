/* LD_PRELOAD: the FAIL_AT-th allocation of the process, over all of its threads, has no memory, and
 * a line on standard error says so. Those of libraries count, too. */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* glibc's own, so that none has to be looked up while allocations are made. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static _Atomic long count;
static long fail_at;

static __attribute__((constructor)) void begin(void)
{
	const char *at = getenv("FAIL_AT");

	fail_at = at ? strtol(at, NULL, 10) : 0;
	atomic_store(&count, 0);
}

static bool fails(void)
{
	bool now = atomic_fetch_add(&count, 1) + 1 == fail_at;

	if (now) {
		dprintf(STDERR_FILENO, "fail_malloc: allocation %ld\n", fail_at);
		errno = ENOMEM;
	}
	return now;
}

void *malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}
