/* Keeping etcd healthy: compaction, the quota, the NOSPACE alarm, records that nobody needs any
 * more.
 *
 * A thread of every collector looks; only the first of those alive (in order of their ids) acts.
 * With ETCD_MAINTENANCE=off none of them touches etcd's own state (compaction, alarms,
 * defragmentation).
 *
 * Compaction stays UPKEEP_HISTORY_MS behind, so that readers can page at a revision. Out of space,
 * etcd refuses every put; retention's deletes still pass. What is done then: compact, defragment
 * one member after the other, and take the alarm back once the data in use fit the quota again.
 * Nothing accepted is lost meanwhile: transactions are repeated until they are answered. */
#ifndef GPUTEL_UPKEEP_H
#define GPUTEL_UPKEEP_H

#include "conf.h"
#include "consumer.h"
#include "keeping.h"

#define UPKEEP_HISTORY_MS   60000
#define UPKEEP_DEAD_LETTERS 10000 /* past it nothing more is dead-lettered; see consumer.h */

struct upkeep;

/* lease: the session's. */
int upkeep_start(struct upkeep **ret, struct etcd *etcd, struct consumer *c, int64_t lease,
		 const struct conf *conf, const struct keeping *keeping) must_check;
/* After etcd_cancel or while etcd answers; NULL is fine. */
void upkeep_stop(struct upkeep *u);

#endif
