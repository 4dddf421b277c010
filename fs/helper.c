#include "helper.h"

#include <unistd.h>

#include "strbuf.h"

#define OPTIONS_BYTES 65536
#define ARGS_MAX      16

enum { STATUS_USAGE = 1, STATUS_FAILED = 32 };

bool helper_is_meant(const char *argv0)
{
	const char *slash = argv0 ? strrchr(argv0, '/') : NULL;

	return argv0 && !strncmp(slash ? slash + 1 : argv0, "mount.", strlen("mount."));
}

struct args {
	char *list[ARGS_MAX];
	size_t n;
};

static void add(struct args *a, const char *s)
{
	a->list[a->n++] = xstrdup(s);
}

/* Flags of gputel-fs go before its own mount options. */
static void add_options(struct args *a, const char *list)
{
	char *copy = xstrdup(list), *rest = copy, *item;
	struct strbuf options;
	const char *config = NULL;
	bool supervise = false;

	strbuf_init(&options, OPTIONS_BYTES);
	while ((item = strsep(&rest, ","))) {
		if (!strncmp(item, "config=", 7)) {
			config = item + 7;
		} else if (!strcmp(item, "supervise")) {
			supervise = true;
		} else {
			strbuf_adds(&options, options.len ? "," : "");
			strbuf_adds(&options, item);
		}
	}
	if (supervise)
		add(a, "--supervise");
	if (config) {
		add(a, "--config");
		add(a, config);
	}
	if (options.len) {
		add(a, "-o");
		add(a, options.s);
	}
	strbuf_release(&options);
	free(copy);
}

static int parse(int argc, char **argv, struct args *a, bool *ret_fake, struct err *e)
{
	struct strbuf options;
	int c, r = 0;

	strbuf_init(&options, OPTIONS_BYTES);
	opterr = 0;
	while (r == 0 && (c = getopt(argc, argv, "sfnvN:t:o:")) != -1) {
		if (c == 'f')
			*ret_fake = true;
		if (c == 'o')
			strbuf_addf(&options, "%s%s", options.len ? "," : "", optarg);
		if (c == '?')
			r = err_set(e, -EINVAL, "unknown option -%c", optopt);
	}
	if (r == 0 && argc - optind != 2)
		r = err_set(e, -EINVAL, "expected SPEC and DIR");
	if (r == 0 && options.err)
		r = err_set(e, -EINVAL, "options: too long");
	if (r == 0 && options.len)
		add_options(a, options.s);
	strbuf_release(&options);
	return r;
}

int helper_argv(int argc, char **argv, char ***ret, struct err *e)
{
	struct args a = {0};
	bool fake = false;
	int r;

	add(&a, "gputel-fs");
	r = parse(argc, argv, &a, &fake, e);
	if (r == 0) {
		add(&a, "--");
		add(&a, argv[optind]);
		add(&a, argv[optind + 1]);
	}
	*ret = xcalloc(a.n + 1, sizeof(**ret));
	memcpy(*ret, a.list, a.n * sizeof(**ret));
	if (r < 0 || fake) {
		helper_free(*ret);
		*ret = NULL;
	}
	return r;
}

void helper_free(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}

int helper_status(int status)
{
	return status == 0 ? 0 : status == 2 ? STATUS_USAGE : STATUS_FAILED;
}
