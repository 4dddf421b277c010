/* Samples without a value, counted per metric, here for one source and in the program's own
 * counters for all. Not thread-safe; zeroed is empty. */
#ifndef GPUTEL_MISSING_H
#define GPUTEL_MISSING_H

#include "map.h"
#include "stats.h"

#define MISSING_METRICS_MAX 1024 /* what comes in further ones is counted as one */

struct missing_metric {
	uint64_t rows;
	struct stat_cell *total;
};

struct missing {
	struct map metrics; /* name → struct missing_metric; owned */
};

void missing_add(struct missing *m, struct slice metric);
void missing_release(struct missing *m);
/* A line in the log for each metric. */
void missing_tell(const struct missing *m, const char *source);

#endif
