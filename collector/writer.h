/* What the writer of a host knows of its stored data: identities of its GPUs, and per segment where
 * the next row goes and which chunks there are.
 *
 * Positions in a segment are gapless because one fenced writer gives them (DESIGN §4): next_seq
 * lives here, is read from etcd in a transaction that compares the hold, and moves on only with a
 * completion that committed. After any failed completion the whole struct is thrown away and read
 * again; it is never repaired. What is known of chunks is a hint: whoever replaces one compares its
 * revision (merge.h).
 *
 * intake.h stores rows, merge.h joins chunks, retention.h drops segments. Used by one worker thread
 * at a time. */
#ifndef GPUTEL_WRITER_H
#define GPUTEL_WRITER_H

#include "clock.h"
#include "etcd.h"
#include "identity.h"
#include "parts.h"
#include "queue.h"
#include "sizes.h"

struct segment_state {
	int64_t start_ns;
	bool listed;  /* by the retention sweep under way */
	bool known;   /* was read; all below but bytes is unset before that */
	bool damaged; /* when its chunks were read last, one of them could not be */
	uint64_t incarnation;
	int64_t next_seq;
	int64_t stored_ns;    /* when its last row was stored */
	int64_t bytes;        /* that its chunks take in etcd, about */
	struct parts parts;   /* let go when nothing is to be joined */
	struct mono touched;  /* rows came, or it was read first */
	struct mono merge_at; /* something may be to be joined; ns 0: nothing is */
};

struct gpu_state {
	struct identity *id;
	char name[NAME_MAX_ENCODED + 1]; /* of its folder */
	bool changed;                    /* id differs from what is stored */
	int64_t id_rev;                  /* mod revision of what is stored; 0: not known */
	uint32_t looks;                  /* counts changes of uuid, device, model and driver */
	struct mono touched;             /* rows came */
	int64_t pace_ms;                 /* between completions with rows of it, smoothed */
	struct segment_state *segments;
	size_t n_segments, cap_segments;
};

struct segment_ref {
	struct gpu_state *gpu;
	int64_t start_ns;
};

struct writer {
	char host[NAME_MAX_ENCODED + 1];
	int64_t segment_ns;
	int64_t lease_ns; /* RETENTION + 2 SEGMENT; 0: chunks live for ever */
	bool whole; /* nothing was stored when it was loaded: what is not known here is not there */
	struct map gpus;            /* name as the source writes it → struct gpu_state */
	struct segment_ref *stored; /* in the transaction under way */
	size_t n_stored;
};

/* Reads the host's identities, as its writer. -ESTALE: not its writer any more. -EUCLEAN: what is
 * stored cannot be read; e says what. */
int writer_load(struct writer **ret, struct etcd *c, const struct fence *f, const struct hold *h,
		int64_t segment_ns, int64_t lease_ns, struct err *e) must_check;
/* The same of 1 to WRITER_LOAD_MAX hosts in one transaction. -ESTALE: one of them is not ours any
 * more, and none was read. -EUCLEAN: some cannot be read and are NULL in ret, e tells of one. */
#define WRITER_LOAD_MAX 40
int writer_load_several(struct writer **ret, struct etcd *c, const struct fence *f,
			const struct hold *const *holds, size_t n, int64_t segment_ns,
			int64_t lease_ns, struct err *e) must_check;
void writer_free(struct writer *w); /* NULL is fine */

/* id is taken over. */
struct gpu_state *writer_add_gpu(struct writer *w, struct identity *id);
struct gpu_state *writer_gpu(struct writer *w, const char *folder); /* NULL: none */

struct segment_state *gpu_segment_state(struct gpu_state *g, int64_t start_ns); /* NULL: none */
/* Found or made, unknown then. Moves others in memory. */
struct segment_state *gpu_add_segment_state(struct gpu_state *g, int64_t start_ns);

/* Reads the segments that are not known yet; with parts also those whose chunks are not. Errors as
 * writer_load; -EUCLEAN: some cannot be read and are noted as damaged, e tells of one; the others
 * are known. */
int writer_know(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
		const struct segment_ref *refs, size_t n, bool parts, struct err *e) must_check;

/* A chunk of a segment is put in the transaction under way; value: of its data key. */
void writer_note_part(struct writer *w, struct gpu_state *g, struct segment_state *s,
		      const struct part *part, struct slice value);
/* That transaction has committed, at revision rev; 0: at one that is not known. */
void writer_committed(struct writer *w, int64_t rev);

/* The segment is gone from etcd. */
void writer_drop_segment(struct gpu_state *g, int64_t start_ns);
/* With its last segment, the GPU's identity. */
void writer_drop_gpu(struct writer *w, struct gpu_state *g);

/* What its host's segments take, by start. */
void writer_sizes(const struct writer *w, struct sizes *ret);

/* A read that a later transaction relies on. It goes through raft because of a delete of
 * KEY_NOTHING, so that it cannot be answered from a past state, and fails with -ESTALE if
 * we are no longer the writer. */
struct decision {
	struct etcd_txn t;
	struct etcd_reply reply;
};
void decision_begin(struct decision *d, struct etcd *c, const struct fence *f,
		    const struct hold *h);
int decision_read(struct decision *d, struct err *e) must_check;
void decision_end(struct decision *d);

/* Whether we are still the writer, after a "false" whose first two Else gets are the session and
 * the writer key: -ESTALE, or -EAGAIN where another compare failed. */
int writer_why_refused(const struct etcd_reply *reply, const struct fence *f, const struct hold *h,
		       struct err *e);

#endif
