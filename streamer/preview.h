/* --check: what a file is taken for, its first rows as they would be stored, what would be rejected
 * and why, and how many of each; without etcd. */
#ifndef GPUTEL_PREVIEW_H
#define GPUTEL_PREVIEW_H

#include "row.h"

struct preview_conf {
	const char *path; /* "-": standard input */
	struct slice host;
	const struct column_map *map; /* --map; NULL */
};

/* Prints to standard output; what is wrong with the file as a whole comes back in e, as it would
 * end its publishing. -ECANCELED: a stop was asked for. */
int preview(const struct preview_conf *conf, struct err *e) must_check;

#endif
