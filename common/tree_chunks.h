/* Chunks of the store as readers use them: fetched through the tree's source, decoded once, kept in
 * the cache. Without the tree's lock, whose holder copied the record.
 *
 * -ENOENT: merged or dropped meanwhile; -EBADMSG: damaged; -ENOMEM, -ECANCELED; -EIO: everything
 * else. */
#ifndef GPUTEL_TREE_CHUNKS_H
#define GPUTEL_TREE_CHUNKS_H

#include "tree_internal.h"

struct chunk_at {
	struct tree *t;
	const char *host, *gpu; /* encoded */
	const struct chunk_rec *rec;
};

/* The data key's value: a reference. */
int chunk_value(const struct chunk_at *at, struct text **ret) must_check;
/* Header and body; *ret points into *ret_value. Zero *ret before first use, release both. */
int chunk_read(const struct chunk_at *at, struct text **ret_value, struct chunk *ret,
	       struct rows *ret_rows) must_check;

/* A decoded chunk is one piece of memory without pointers:
 *	struct decoded
 *	struct decoded_row[n_rows]                 by time, between equals by position
 *	struct decoded_commit[n_commits]           of a merged chunk, by position
 *	struct decoded_attribution[n_attributions]
 *	uint32_t[n_series]                         series ids in the identity
 *	texts */
struct decoded {
	uint64_t identity, incarnation;
	int64_t first_seq;
	uint32_t n_rows, n_commits, n_attributions, n_series;
	bool in_order; /* by time is by position */
};

struct decoded_row {
	int64_t ns;
	uint32_t index;       /* position - first_seq */
	uint32_t text;        /* where its value is in texts */
	uint32_t attribution; /* of the chunk */
	uint16_t series;      /* of the chunk */
	uint8_t digits, len;
};

struct decoded_commit {
	int64_t revision;  /* 0: several, older than are told apart */
	int64_t first_seq; /* up to the next one's */
};

struct decoded_text {
	uint32_t at, len; /* in texts */
};

struct decoded_attribution {
	struct decoded_text uuid, container, pod, namespace;
};

int chunk_decoded(const struct chunk_at *at, struct text **ret) must_check;

static inline const struct decoded *decoded_of(const struct text *text)
{
	return (const struct decoded *)(const void *)text->s;
}

static inline const struct decoded_row *decoded_rows(const struct decoded *d)
{
	return (const struct decoded_row *)(const void *)(d + 1);
}

static inline const struct decoded_commit *decoded_commits(const struct decoded *d)
{
	return (const struct decoded_commit *)(const void *)(decoded_rows(d) + d->n_rows);
}

static inline const struct decoded_attribution *decoded_attributions(const struct decoded *d)
{
	return (const struct decoded_attribution *)(const void *)(decoded_commits(d) +
								  d->n_commits);
}

static inline const uint32_t *decoded_series(const struct decoded *d)
{
	return (const uint32_t *)(const void *)(decoded_attributions(d) + d->n_attributions);
}

static inline const char *decoded_texts(const struct decoded *d)
{
	return (const char *)(decoded_series(d) + d->n_series);
}

struct slice decoded_value(const struct decoded *d, const struct decoded_row *row);
void decoded_attribution(const struct decoded *d, uint32_t i, struct attribution *ret);
/* Of the row at index; 0: older than the chunk tells. fresh: that of a chunk without a table. */
int64_t decoded_revision(const struct decoded *d, uint32_t index, int64_t fresh);

#endif
