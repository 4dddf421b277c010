/* How messages become chunks: rows of one completion, sorted by GPU and segment. */
#ifndef GPUTEL_INTAKE_H
#define GPUTEL_INTAKE_H

#include "batch.h"
#include "leases.h"
#include "writer.h"

/* (GPU, segment) pairs stored in one transaction: a header, a body and an identity each, and room
 * for bodies that are cut at CHUNK_BODY_MAX, within ETCD_TXN_OPS. */
#define WRITER_PAIRS_MAX 32

struct intake;

struct intake *intake_new(struct writer *w);
void intake_free(struct intake *in);
/* Adds a message's rows; b must outlive the intake. -EBADMSG: a row cannot be stored (e says which
 * and why); the intake and the writer are then to be thrown away. */
int intake_add(struct intake *in, const struct batch *b, struct err *e) must_check;
/* (GPU, segment) pairs so far, in order of their first row. */
size_t intake_pairs(const struct intake *in);
/* Reads positions that are not known yet, for pairs [from, to). Errors as writer_load. */
int intake_prepare(struct intake *in, struct etcd *c, const struct fence *f, const struct hold *h,
		   size_t from, size_t to, struct err *e) must_check;
/* Adds the puts of pairs [from, to) to t, under the lease, and moves the positions on. */
void intake_store(struct intake *in, struct etcd_txn *t, size_t from, size_t to,
		  const struct lease *lease);

#endif
