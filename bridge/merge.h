/* Rows of several GPUs as one sequence (row_record.h). */
#ifndef GPUTEL_BRIDGE_MERGE_H
#define GPUTEL_BRIDGE_MERGE_H

#include "cursor.h"
#include "select.h"

/* range: all but host, gpu and resume, which come from the GPUs and from the cursor (NULL: from the
 * start). A GPU that has vanished is left out. Takes the selection over, also where it fails. */
int merge_open(struct stage *ret, struct tree *t, struct selection *gpus,
	       const struct query_range *range, const struct cursor *after) must_check;

#endif
