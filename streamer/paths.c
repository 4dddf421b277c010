#include "paths.h"

#include <glob.h>
#include <unistd.h>

static int add(struct paths *p, const char *path, struct err *e)
{
	if (p->n == PATHS_MAX)
		return err_set(e, -E2BIG, "--csv: at most %d files", PATHS_MAX);
	p->list[p->n++] = xstrdup(path);
	return 0;
}

int paths_add(struct paths *p, const char *path, struct err *e)
{
	glob_t found = {0};
	int r = 0;

	if (!strpbrk(path, "*?[") || !access(path, F_OK) || glob(path, 0, NULL, &found)) {
		globfree(&found);
		return add(p, path, e);
	}
	for (size_t i = 0; i < found.gl_pathc && !r; i++)
		r = add(p, found.gl_pathv[i], e);
	globfree(&found);
	return r;
}

void paths_release(struct paths *p)
{
	while (p->n)
		free(p->list[--p->n]);
}
