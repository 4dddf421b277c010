/* layout=wide: records of one GPU and one time as one record with a column for each series. Of
 * several values of a series at one time the later position counts. */
#ifndef GPUTEL_BRIDGE_WIDE_H
#define GPUTEL_BRIDGE_WIDE_H

#include "map.h"
#include "row_record.h"

/* The columns: names of series, sorted, each once. */
struct columns {
	char **names;
	size_t n, cap;
};

void columns_add(struct columns *c, const char *name);
void columns_sort(struct columns *c); /* after the last was added */
void columns_release(struct columns *c);

/* Takes the stage over; the columns are borrowed. */
struct stage wide_stage(const struct stage *records, const struct columns *columns,
			bool descending);

#endif
