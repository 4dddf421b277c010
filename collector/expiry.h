/* Records of sources that nobody publishes any more.
 *
 * A record is what keeps its source from being published twice once the idempotency keys are gone,
 * so it must not go too early, and no machine's clock may decide that: one that is weeks ahead
 *would double rows. Time is counted by etcd instead, in leases, which run on its monotonic clock
 *(and start anew when its leader changes: too late is harmless). For a source at rest there is
 *
 *	/idle/{source}   {"v":1,"rev":N,"lease":N,"periods":N}
 *
 * which says: since the record had mod revision rev, periods leases have run out one after the
 * other, and this one runs now. When the record changes, counting starts again. One lease serves
 *all sources that begin a period in the same sweep.
 *
 * What an ended source has published stays counted (tally.h: ended), and none ends while a message
 * of it is queued, claimed or dead-lettered: those would be foreign then. */
#ifndef GPUTEL_EXPIRY_H
#define GPUTEL_EXPIRY_H

#include "etcd.h"

#define EXPIRY_PERIOD_S 86400
#define EXPIRY_PERIODS  30

/* Looks at all sources once: begins and ends periods, and ends those that were at rest for so many.
 * Any number of collectors may do so at once. */
int expiry_sweep(struct etcd *c, int64_t period_s, int64_t periods, struct err *e) must_check;

#endif
