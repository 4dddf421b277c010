/* The files that --csv names: paths, "-", and patterns (glob(7)) that the shell has left as they
 * are. */
#ifndef GPUTEL_PATHS_H
#define GPUTEL_PATHS_H

#include "base.h"

#define PATHS_MAX 1024

struct paths {
	char *list[PATHS_MAX];
	size_t n;
};

/* A path that is there is itself, whatever is in it; a pattern becomes what it matches, by name, or
 * stays where that is nothing. -E2BIG */
int paths_add(struct paths *p, const char *path, struct err *e) must_check;
void paths_release(struct paths *p);

#endif
