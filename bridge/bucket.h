/* Rows gathered into buckets of event time (step=, agg=): one record for each series that has a
 * row in it, stamped at the bucket's start, which is aligned to the epoch. Holds one bucket at a
 * time. min, max and last keep the text of their row; sum is exact, avg the shortest text that
 * reads back as the same double, count an integer. What is no number counts, but enters nothing
 * else. */
#ifndef GPUTEL_BRIDGE_BUCKET_H
#define GPUTEL_BRIDGE_BUCKET_H

#include "ask.h"
#include "row_record.h"

/* Takes the stage that it reads from over. */
struct stage bucket_stage(const struct stage *rows, int64_t step_ns, enum aggregate aggregate,
			  bool descending);

/* The start of t's bucket. */
int64_t bucket_start(int64_t t_ns, int64_t step_ns);

#endif
