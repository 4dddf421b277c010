/* Samples without a value, counted per metric. Not thread-safe; zeroed is empty. */
#ifndef GPUTEL_MISSING_H
#define GPUTEL_MISSING_H

#include "map.h"

#define MISSING_METRICS_MAX 1024 /* what comes in further ones is counted as one */

struct missing {
	struct map counts; /* metric → count */
};

void missing_add(struct missing *m, struct slice metric);
void missing_release(struct missing *m);
/* A line in the log for each metric. */
void missing_tell(const struct missing *m, const char *source);

#endif
