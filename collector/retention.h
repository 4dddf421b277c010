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

/* Drops one segment of a GPU (encoded), and with the last one the GPU's identity. revision: at
 * which the segment was listed. Nothing may have been stored in it since, or a copy of this
 * transaction that is applied late would delete rows it was not meant for. -EAGAIN: something was;
 * look again another time. */
int retention_drop(struct etcd *c, const struct writer *w, const struct fence *f,
		   const struct hold *h, const char *gpu, int64_t start_ns, bool last,
		   int64_t revision, struct err *e) must_check;

#endif
