/* Leases that chunks hang on, as a net for when no collector is left to drop them: they end
 * RETENTION + 2 SEGMENT after the newest row of the segment was stored (DESIGN §4). While there is
 * one, retention comes first (retention.h), and never needs them.
 *
 * A lease takes at most LEASE_KEYS keys, and those of LEASE_SPAN_S seconds, because etcd deletes
 * all of them in one step. Chunks that are joined late hang on a lease that ends when theirs would
 * have: joining makes nothing live longer. A RETENTION that is raised holds for what is stored or
 * joined from then on; leases that exist stay as they are, because etcd cannot lengthen one, and to
 * put every chunk anew under another would rewrite the store. The workers of a collector share
 * them; thread-safe. */
#ifndef GPUTEL_LEASES_H
#define GPUTEL_LEASES_H

#include "etcd.h"

#include <pthread.h>

#define LEASE_KEYS   1000
#define LEASE_SPAN_S 60

struct lease {
	int64_t id;       /* 0: none, the key stays */
	int64_t until_ns; /* wall clock; INT64_MAX: for ever */
};

struct leases {
	struct etcd *etcd;
	pthread_mutex_t lock; /* also held while etcd is asked for one: who waits for it needs it */
	struct {
		struct lease lease;
		size_t keys;
	} open[4]; /* the first is the last one used */
};

void leases_init(struct leases *l, struct etcd *c);
void leases_release(struct leases *l); /* those that keys hang on stay in etcd */

/* A lease for that many keys that ends at until_ns or up to LEASE_SPAN_S later (INT64_MAX: none is
 * needed). Grants one where none of those open fits; waits for etcd as long as it takes. */
int leases_get(struct leases *l, int64_t until_ns, size_t keys, struct lease *ret,
	       struct err *e) must_check;

#endif
