#include "test.h"

#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST_SECONDS 60

static struct test *tests, **tests_end = &tests;
static const struct test *running;
static int failures; /* of the running test; lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void test_register(struct test *t)
{
	*tests_end = t;
	tests_end = &t->next;
}

bool test_check(bool ok, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (ok)
		return true;
	pthread_mutex_lock(&lock);
	failures++;
	printf("%s:%d: %s: ", file, line, running->name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	pthread_mutex_unlock(&lock);
	return false;
}

bool test_eq_int(int64_t a, int64_t b, const char *file, int line, const char *text)
{
	return test_check(a == b, file, line, "%s is %lld, expected %lld", text, (long long)a,
			  (long long)b);
}

bool test_eq_bytes(struct slice a, struct slice b, const char *file, int line, const char *text)
{
	return test_check(slice_eq(a, b), file, line, "%s is \"%.*s\", expected \"%.*s\"", text,
			  (int)a.len, a.p, (int)b.len, b.p);
}

/* ---- folders --------------------------------------------------------------------------------- */

static char root[4096];
static char *paths[1024];
static size_t n_paths;

static const char *keep(char *path)
{
	if (n_paths == ARRAY_SIZE(paths))
		abort();
	paths[n_paths++] = path;
	return path;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static void remove_root(void)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	while (n_paths > 0)
		free(paths[--n_paths]);
}

static void make_root(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(root, sizeof(root), "%s/gputel-test.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(root)) {
		perror(root);
		exit(1);
	}
	atexit(remove_root);
}

const char *test_tmpdir(void)
{
	static int n;
	const char *dir;

	if (!root[0])
		make_root();
	dir = keep(xasprintf("%s/%d", root, n++));
	if (mkdir(dir, 0755) < 0)
		abort();
	return dir;
}

const char *test_file(const char *name, const char *content)
{
	const char *path = keep(xasprintf("%s/%s", test_tmpdir(), name));
	FILE *f = fopen(path, "w");

	if (!f || fputs(content, f) < 0 || fclose(f))
		abort();
	return path;
}

/* ---- capturing ------------------------------------------------------------------------------- */

static struct capture {
	int file, real;
	char text[100000];
} captures[3];

void test_capture(int fd)
{
	FILE *f = tmpfile();

	if (!f)
		abort();
	fflush(NULL);
	captures[fd].real = dup(fd);
	captures[fd].file = dup(fileno(f));
	dup2(fileno(f), fd);
	fclose(f);
}

const char *test_captured(int fd)
{
	struct capture *c = &captures[fd];
	ssize_t n;

	fflush(NULL);
	dup2(c->real, fd);
	close(c->real);
	n = pread(c->file, c->text, sizeof(c->text) - 1, 0);
	close(c->file);
	c->text[MAX(n, 0)] = '\0';
	return c->text;
}

/* ---- running --------------------------------------------------------------------------------- */

static void on_alarm(int sig)
{
	static const char what[] = ": still running after its time\n";
	ssize_t n = write(STDOUT_FILENO, running->name, strlen(running->name));

	n = write(STDOUT_FILENO, what, sizeof(what) - 1);
	(void)n;
	_exit(1);
}

/* GPUTEL_SLOW stretches deadlines: sanitizers, busy machines. */
static double slow(void)
{
	const char *s = getenv("GPUTEL_SLOW");
	double n = s ? strtod(s, NULL) : 1;

	return n >= 1 && n < 1000 ? n : 1;
}

static bool picked(const struct test *t, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strstr(t->name, argv[i]))
			return true;
	}
	return argc < 2;
}

static bool run(const struct test *t)
{
	running = t;
	failures = 0;
	alarm((unsigned)(TEST_SECONDS * slow()));
	t->run();
	alarm(0);
	return failures == 0;
}

int main(int argc, char **argv)
{
	int count[2] = {0};

	signal(SIGALRM, on_alarm);
	for (const struct test *t = tests; t; t = t->next) {
		if (picked(t, argc, argv))
			count[run(t)]++;
	}
	printf("%d passed, %d failed\n", count[true], count[false]);
	return count[false] > 0 || count[true] == 0;
}
