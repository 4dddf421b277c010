/* What the writer of a host knows of its stored data, and how it turns messages into chunks.
 *
 * Positions in a segment are gapless because one fenced writer gives them (DESIGN §4): next_seq
 * lives here, is read from etcd in a transaction that compares the hold, and moves on only with a
 * completion that committed. After any failed completion the whole struct is thrown away and read
 * again; it is never repaired.
 *
 * Used by one worker thread at a time. */
#ifndef GPUTEL_WRITER_H
#define GPUTEL_WRITER_H

#include "batch.h"
#include "chunk.h"
#include "identity.h"
#include "queue.h"

/* (GPU, segment) pairs stored in one transaction: a header, a body and an identity each, and room
 * for bodies that are cut at CHUNK_BODY_MAX, within ETCD_TXN_OPS. */
#define WRITER_PAIRS_MAX 32

struct segment_state {
	int64_t start_ns;
	uint64_t incarnation;
	int64_t next_seq;
	int64_t stored_ns; /* when its last row was stored */
};

struct gpu_state {
	struct identity *id;
	char name[NAME_MAX_ENCODED + 1]; /* of its folder */
	bool changed;                    /* id differs from what is stored */
	uint32_t looks;                  /* counts changes of uuid, device, model and driver */
	struct segment_state *segments;
	size_t n_segments, cap_segments;
};

struct writer {
	char host[NAME_MAX_ENCODED + 1];
	int64_t segment_ns;
	struct map gpus; /* name as the source writes it → struct gpu_state */
};

/* Reads the host's identities, as its writer. -ESTALE: not its writer any more. -EUCLEAN: what is
 * stored cannot be read; e says what. */
int writer_load(struct writer **ret, struct etcd *c, const struct fence *f, const struct hold *h,
		int64_t segment_ns, struct err *e) must_check;
void writer_free(struct writer *w); /* NULL is fine */

/* When the last row of a segment that has chunks was stored. gpu is encoded. */
int writer_stored_at(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		     const char *gpu, int64_t start_ns, int64_t *ret_ns, struct err *e) must_check;
/* The segment is gone from etcd, and with the last one the GPU's identity. */
void writer_drop_segment(struct writer *w, const char *gpu, int64_t start_ns, bool last);

/* Rows of one completion, sorted into chunks to be. */
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
/* Adds the puts of pairs [from, to) to t and moves the positions on. */
void intake_store(struct intake *in, struct etcd_txn *t, size_t from, size_t to);

#endif
