/* GPUs as they were at an instant: what .at shows.
 *
 * Of each series the newest sample at or before the instant and at most PAST_MS older, in a struct
 * gpu of its own, so that whatever shows a GPU shows it too. To make one takes rows, hence the
 * source: it is made before the tree's lock is taken, and held by whoever uses it. Kept are those
 * of PAST_INSTANTS_MAX instants, up to PAST_BYTES_MAX (the instant at hand in any case); for
 * PAST_KEEP_MS without a look at what the store has got meanwhile, for late rows may still come. */
#ifndef GPUTEL_TREE_PAST_H
#define GPUTEL_TREE_PAST_H

#include "tree_kinds.h"

#define PAST_MS           (5 * 60 * 1000)
#define PAST_KEEP_MS      10000
#define PAST_INSTANTS_MAX 1024
#define PAST_BYTES_MAX    ((size_t)64 << 20)

struct pasts;
struct past;

struct pasts *pasts_new(void);
void pasts_free(struct pasts *p);

/* The GPU that a node of this path below a GPU of .at belongs to (name: of a child that is asked
 * for); *ret is NULL where the path is none. Without any lock. -ENOENT: no sample then. */
int past_hold(struct tree *t, const char *path, const char *name, struct past **ret) must_check;
void past_release(struct tree *t, struct past *p); /* NULL is fine */

/* One that somebody holds. *ret_keep_ms: so long it stays as it is. */
struct gpu *past_gpu(struct tree *t, int64_t at_ns, const char *host, const char *gpu,
		     int64_t *ret_keep_ms);

/* The time that a name in .at stands for. */
bool past_parse(const char *name, int64_t *ret);
/* Whether a GPU has rows that may count at that time. Under the tree's lock. */
bool gpu_has_past(const struct gpu *g, int64_t at_ns);

#endif
