/* One turn of storing: messages of a host, and of others that are due, are claimed, decoded, sorted
 * into chunks and completed, in as few transactions as they fit. What cannot be stored is
 * dead-lettered or, where that may not be, given back. */
#ifndef GPUTEL_STORE_H
#define GPUTEL_STORE_H

#include "worker.h"

/* first is busy with TASK_STORE; frees it and all that it takes along. */
int store_turn(struct worker *w, struct host *first, struct err *e) must_check;

#endif
