/* Retention: segments are dropped whole, RETENTION after their last row was stored, by their writer
 * (DESIGN §4). Counted from storing, not from event time, so that old recordings live as long as
 * new ones. With RETENTION_BYTES the oldest by event time go too, those before keep_from_ns, which
 * all collectors reckon alike (sizes.h). The identity goes with the last segment of its GPU, and
 * its folder with it. */
#ifndef GPUTEL_RETENTION_H
#define GPUTEL_RETENTION_H

#include "writer.h"

struct retention {
	int64_t age_ns;       /* 0: for ever */
	int64_t keep_from_ns; /* segments that start before that go; INT64_MIN: none */
};

/* Looks through what etcd has of the writer's host: makes known to it segments that it has not
 * heard of, forgets those that are gone, and drops what is due, one segment of one GPU in a
 * transaction. *ret_dropped counts them, also on failure. -ESTALE, -EOWNERDEAD: not its writer any
 * more; the writer is void. -ETIMEDOUT: etcd is compacted faster than it lists. -EUCLEAN: something
 * of the host cannot be read, e says what; all else is done. A damaged segment goes with its
 * leases, or when it is before keep_from_ns. It is told once, and again when merging comes upon it.
 */
int retention_sweep(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		    const struct retention *conf, size_t *ret_dropped, struct err *e) must_check;

/* Drops one segment of a GPU (encoded), and with the last one the GPU's identity. revision: at
 * which the segment was listed. Nothing may have been stored in it since, or a copy of this
 * transaction that is applied late would delete rows it was not meant for. -EAGAIN: something was;
 * look again another time. */
int retention_drop(struct etcd *c, const struct writer *w, const struct fence *f,
		   const struct hold *h, const char *gpu, int64_t start_ns, bool last,
		   int64_t revision, struct err *e) must_check;

#endif
