/* Joins the chunks of a host in etcd, by its writer, while storing leaves time: few large chunks
 * instead of many small ones, so that readers list fewer keys, a new writer reads less, and series
 * compress over time. Which: parts.h. How: join.h.
 *
 *	If session S, writer w, mod(c_i) = r_i for every part  Then delete them, put one each
 *
 * Invariant: at every revision the chunks of a segment have the positions that were stored, each
 * once. It holds whenever such a transaction is applied, late, twice or not at all, because every
 * part is compared: whatever else replaces or removes one (a merge that won, retention, a lease)
 * changes its revision, and nothing puts a key again. A part is read at (or was put in) the very
 *revision that is compared, so what is put is made of what is deleted. After an unknown outcome it
 *is sent again; "false" with the new chunk in place says that it was done.
 *
 * What is sealed stays as it is but for late rows. The identity is not rewritten with the latest
 * rows of what is sealed: readers have the headers of all chunks, where each latest is with its
 * revision, and look there when a segment goes (tree_latest.c). A copy in the identity would cost a
 * put of some 15 KB per GPU and segment, change the revision of info.json, and save no reading.
 *
 * One step is at most one reading and one such transaction of at most 100 compares, 120 operations
 * and about 256 KiB, over as many GPUs and segments as fit. */
#ifndef GPUTEL_MERGE_H
#define GPUTEL_MERGE_H

#include "leases.h"
#include "writer.h"

#define MERGE_QUIET_MS     5000  /* a GPU without rows for so long, */
#define MERGE_QUIET_MAX_MS 60000 /* or for four of its intervals, is idle */

/* When something may be to be joined; INT64_MAX: not before rows come. */
struct mono merge_due(const struct writer *w);

/* Joins what is due, as far as one transaction goes; *ret_parts counts the chunks that went into
 * others. -ESTALE, -EOWNERDEAD: not its writer any more; -ENOENT: a lease is gone. The writer is
 * void then. -EUCLEAN: a segment cannot be read, e says which, and is put off; all else is done. */
int merge_step(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
	       struct leases *leases, size_t *ret_parts, struct err *e) must_check;

#endif
