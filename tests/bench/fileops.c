/* What single operations on files cost, file systems taking turns.
 *
 *	fileops time SECONDS OP=PATH…   OP: open (open, read from 0, close), pread (of an open one),
 *stat, scan (the whole file, a MiB at a time)
 *	fileops follow PATH             each content that the file takes on, and when: lines of
 *CLOCK_MONOTONIC in ns, a space, content
 *
 * time: in each round a batch of every OP; prints lines of the OP's position, nanoseconds of one
 * operation as the tenth part of batches that was fastest had them at most, and the median. On a
 * machine that does other things too, the first says more. */
#include "clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH = 16, ROUNDS_MAX = 100000, VALUE_MAX = 4096, SCAN = 1 << 20, LOOK_US = 200 };

struct op {
	const char *path;
	int fd;
	int n; /* in a batch */
	void (*run)(const struct op *op);
	double *ns;
};

static char bytes[SCAN];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void run_open(const struct op *op)
{
	int fd = open(op->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, bytes, VALUE_MAX) <= 0)
		fail(op->path);
	close(fd);
}

static void run_pread(const struct op *op)
{
	if (pread(op->fd, bytes, VALUE_MAX, 0) <= 0)
		fail(op->path);
}

static void run_stat(const struct op *op)
{
	struct stat st;

	if (stat(op->path, &st))
		fail(op->path);
}

static void run_scan(const struct op *op)
{
	int64_t at = 0;
	ssize_t n;

	while ((n = pread(op->fd, bytes, SCAN, at)) > 0)
		at += n;
	if (n < 0 || at == 0)
		fail(op->path);
}

static const struct {
	const char *name;
	void (*run)(const struct op *op);
	int n;
} kinds[] = {
	{"open", run_open, BATCH},
	{"pread", run_pread, BATCH},
	{"stat", run_stat, BATCH},
	{"scan", run_scan, 1},
};

static void op_init(struct op *op, char *arg)
{
	const char *name = strsep(&arg, "=");

	for (size_t k = 0; arg && k < ARRAY_SIZE(kinds); k++)
		if (!strcmp(name, kinds[k].name))
			*op = (struct op){.path = arg, .run = kinds[k].run, .n = kinds[k].n};
	if (!op->run) {
		fprintf(stderr, "fileops: no such operation: %s\n", name);
		exit(2);
	}
	op->fd = open(op->path, O_RDONLY | O_CLOEXEC);
	if (op->fd < 0)
		fail(op->path);
	op->ns = xcalloc(ROUNDS_MAX, sizeof(*op->ns));
	op->run(op);
}

static double batch(const struct op *op)
{
	struct mono begun = mono_now();

	for (int i = 0; i < op->n; i++)
		op->run(op);
	return (double)(mono_now().ns - begun.ns) / op->n;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int time_ops(double seconds, int n, char **args)
{
	struct mono until = mono_in_ms((int64_t)(seconds * 1e3));
	struct op *ops = xcalloc((size_t)n, sizeof(*ops));
	int rounds = 0;

	for (int k = 0; k < n; k++)
		op_init(&ops[k], args[k]);
	for (; rounds < ROUNDS_MAX && (rounds == 0 || mono_ms_until(until) > 0); rounds++)
		for (int k = 0; k < n; k++)
			ops[k].ns[rounds] = batch(&ops[k]);
	for (int k = 0; k < n; k++) {
		qsort(ops[k].ns, (size_t)rounds, sizeof(double), by_value);
		printf("%d %.0f %.0f\n", k, ops[k].ns[rounds / 10], ops[k].ns[rounds / 2]);
		free(ops[k].ns);
		close(ops[k].fd);
	}
	free(ops);
	return 0;
}

static _Noreturn void follow(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char last[VALUE_MAX] = "", now[VALUE_MAX];

	if (fd < 0)
		fail(path);
	for (;;) {
		ssize_t n = pread(fd, now, sizeof(now) - 1, 0);

		if (n < 0)
			fail(path);
		now[n] = '\0';
		if (strcmp(now, last)) {
			printf("%lld %s", (long long)mono_now().ns, now);
			fflush(stdout);
			strcpy(last, now);
		}
		usleep(LOOK_US);
	}
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "time"))
		return time_ops(strtod(argv[2], NULL), argc - 3, argv + 3);
	if (argc == 3 && !strcmp(argv[1], "follow"))
		follow(argv[2]);
	fprintf(stderr, "usage: fileops time SECONDS OP=PATH… | follow PATH\n");
	return 2;
}
