/* A pool of threads for what may wait (etcd, long queries), so that the threads that serve
 * connections never do. A job runs once for each time it is submitted; who owns it sees to it that
 * it is not submitted twice at a time. */
#ifndef GPUTEL_BRIDGE_WORK_H
#define GPUTEL_BRIDGE_WORK_H

#include "base.h"

struct job {
	void (*run)(struct job *j);
	struct job *next; /* the pool's */
};

struct pool;

struct pool *pool_start(unsigned threads); /* NULL: no thread could be started */
void pool_submit(struct pool *p, struct job *j);
size_t pool_waiting(struct pool *p);
/* After all jobs are done. NULL is fine. */
void pool_stop(struct pool *p);

#endif
