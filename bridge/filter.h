/* Which rows a subscriber wants: globs (fnmatch) for host, GPU, uuid and metric, as those stand in
 * REST rows. A row matches where each kind that is given has one that matches; without any, all do.
 */
#ifndef GPUTEL_BRIDGE_FILTER_H
#define GPUTEL_BRIDGE_FILTER_H

#include "strbuf.h"

#define FILTER_GLOBS_MAX 256 /* of a kind */

enum filter_kind { FILTER_HOST, FILTER_GPU, FILTER_UUID, FILTER_METRIC, FILTER_KINDS };

struct glob {
	char *text;
	bool literal; /* nothing in it to expand */
};

struct filter {
	struct glob *globs[FILTER_KINDS];
	size_t n[FILTER_KINDS];
};

/* The kind of that name ("host", …); -ENOENT: none. */
int filter_kind_of(const char *name, enum filter_kind *ret) must_check;
/* -E2BIG: FILTER_GLOBS_MAX. */
int filter_add(struct filter *f, enum filter_kind kind, struct slice glob) must_check;
bool filter_matches(const struct filter *f, enum filter_kind kind, const char *name);
/* Equal text, equal filter. */
void filter_canonical(const struct filter *f, struct strbuf *out);
void filter_copy(struct filter *ret, const struct filter *f);
void filter_release(struct filter *f);

#endif
