/* Which hosts somebody wants to see: globs over host names as the tree spells them, and the ranges
 * of keys that hold what such a view needs. */
#ifndef GPUTEL_HOSTS_H
#define GPUTEL_HOSTS_H

#include "etcd.h"
#include "keys.h"

#define HOSTS_MAX       32 /* globs */
#define HOSTS_SPANS_MAX (2 * HOSTS_MAX + 1)

struct hosts {
	char *globs[HOSTS_MAX]; /* owned; none: all hosts */
	size_t n;
};

/* -EINVAL: empty, or no host's name can match it; -ENOSPC: too many. */
int hosts_add(struct hosts *h, const char *glob, struct err *e) must_check;
void hosts_release(struct hosts *h);

bool hosts_match(const struct hosts *h, struct slice encoded);
/* "a*,b", for people. */
void hosts_describe(const struct hosts *h, struct strbuf *out);

/* The ranges to mirror: all that is of the hosts that begin as the globs do, up to their first
 * wildcard; KEY_VIEW where one begins with a wildcard. */
struct hosts_spans {
	struct etcd_span list[HOSTS_SPANS_MAX];
	struct key keys[2 * HOSTS_SPANS_MAX]; /* what list points to */
	size_t n;
};
void hosts_spans(const struct hosts *h, struct hosts_spans *ret);

#endif
