/* Retention: segments are dropped whole, RETENTION after their last row was stored, by their writer
 * (DESIGN §4). Counted from storing, not from event time, so that old recordings live as long as
 * new ones. The identity goes with the last segment of its GPU, and its folder with it. */
#ifndef GPUTEL_RETENTION_H
#define GPUTEL_RETENTION_H

#include "writer.h"

/* Drops what is due of the writer's host, one segment of one GPU in a transaction. *ret_dropped
 * counts them, also on failure. -ESTALE, -EOWNERDEAD: not its writer any more; the writer is void.
 */
int retention_sweep(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		    int64_t retention_ns, size_t *ret_dropped, struct err *e) must_check;

#endif
