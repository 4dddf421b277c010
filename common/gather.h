/* From messages to chunks: what rows say of their GPU, and rows of one GPU and segment gathered
 * into chunks. Used by whoever stores rows (collector) and whoever shows them as if they were
 * stored (gputel-fs --csv), so that both make the same of the same rows. Nothing here knows etcd.
 */
#ifndef GPUTEL_GATHER_H
#define GPUTEL_GATHER_H

#include "chunk.h"
#include "identity.h"

/* ---- identities ------------------------------------------------------------------------------ */

/* Of a GPU that is seen for the first time, in this batch: its labels are those that all its series
 * there have in common. */
struct identity *gather_identity(const struct batch *b, struct slice gpu, uint64_t incarnation);

/* The series in the identity, added if new. -EBADMSG: it cannot be stored, e says why. */
int gather_series(struct identity *id, const struct batch_series *s, uint32_t *ret, bool *ret_added,
		  struct err *e) must_check;

/* uuid, device, model and driver are those of the newest row that is not ahead of its time; other
 * rows say only what none has said yet. */
bool gather_is_newest(const struct identity *id, int64_t time_ns, int64_t now_ns);
void gather_note_time(struct identity *id, const struct batch_series *s,
		      const struct attribution *a, int64_t time_ns);
/* Whether the identity changed. */
bool gather_note(struct identity *id, const struct batch_series *s, const struct attribution *a,
		 bool newest);

/* ---- rows ------------------------------------------------------------------------------------ */

/* Rows of one GPU and one segment, in order. A zeroed one is empty. */
struct gather {
	struct row *rows; /* series: id in the identity */
	size_t n, cap;
	struct attribution *attributions; /* slices are borrowed */
	uint32_t n_attributions;
};

void gather_release(struct gather *g);
/* Index of the attribution, added if new. */
uint32_t gather_attribution(struct gather *g, const struct attribution *a);
void gather_add(struct gather *g, const struct row *row, uint32_t series, uint32_t attribution);

/* Where its rows go. */
struct gather_place {
	const struct identity *id;
	uint64_t incarnation; /* of the segment */
	int64_t segment_ns, first_seq, stored_ns;
};

/* Calls put for the chunk that all rows make, or, where its body would be larger than
 * CHUNK_BODY_MAX, for several, in order of position. */
void gather_chunks(const struct gather *g, const struct gather_place *p,
		   void (*put)(const struct chunk *c, struct slice body, void *arg), void *arg);

#endif
