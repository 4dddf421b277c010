/* How much is kept: RETENTION and RETENTION_BYTES, which SIGHUP may change while workers store and
 * drop by them. The signal thread writes, everybody reads; each figure counts by itself. */
#ifndef GPUTEL_KEEPING_H
#define GPUTEL_KEEPING_H

#include "base.h"

struct keeping {
	_Atomic int64_t age_ns; /* RETENTION; 0: for ever */
	_Atomic int64_t bytes;  /* RETENTION_BYTES; 0: any */
	int64_t segment_ns;
};

/* How long a chunk's lease lasts (leases.h); 0: it has none. */
static inline int64_t keeping_lease_ns(const struct keeping *k)
{
	int64_t age_ns = k->age_ns;

	return age_ns ? age_ns + 2 * k->segment_ns : 0;
}

#endif
