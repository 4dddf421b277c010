/* --migrate: what an older release has left in etcd, and how much of it.
 *
 * Messages of older schemas (migration.h) that are queued become v1 messages, so that collectors of
 * any release can store them; and so do dead letters that a release which did not know their schema
 * yet has set aside. What is invalid is dead-lettered with what is wrong with it. Each message is
 * changed in a transaction that compares its pointer, so that it can be done beside running
 * collectors and any number of times: what is v1 is left alone. They keep their order, behind what
 * is v1 already.
 *
 * What is stored (chunks, identities, records of sources, configuration) has had one format so far,
 * and a collector reads no other; their versions are looked at, and those that this release does
 * not know are counted. */
#ifndef GPUTEL_MIGRATE_H
#define GPUTEL_MIGRATE_H

#include "etcd.h"

/* Prints counts, a line each. > 0: something is stored that this release cannot read. segment_ns:
 * where etcd does not say what it is. */
int migrate(struct etcd *c, int64_t segment_ns, struct err *e) must_check;

#endif
