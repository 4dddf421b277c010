/* What was made of chunks' bodies, least recently used first out: rows as rendered text, for the
 * mount, and decoded, for queries. Beside them the values of data keys: those that came with the
 * watch and hold rows, so that what is new is read without asking etcd, and headers that were
 * fetched. All are keyed by the chunk's ULID, since a chunk never changes.
 *
 * Of max bytes, a quarter is for the values. What a reader holds stays until it lets go, also when
 * the cache has dropped it, and is not counted then. Thread-safe; a lock of its own, a leaf in the
 * lock order, not held while a text is built. */
#ifndef GPUTEL_TEXT_CACHE_H
#define GPUTEL_TEXT_CACHE_H

#include "strbuf.h"

#define TEXT_ID_LEN 16

struct text_cache;

enum text_kind {
	TEXT_RENDERED,
	TEXT_DECODED, /* tree_chunks.h */
	TEXT_VALUE,
	TEXT_KINDS
};

/* Shared, immutable; bytes of any kind, aligned as malloc does. */
struct text {
	int refs; /* atomic */
	size_t len;
	char *s;
};

void text_unref(struct text *t); /* NULL is fine */

struct text_cache *text_cache_new(size_t max);
void text_cache_free(struct text_cache *c); /* NULL is fine */

/* Another ceiling, to which it shrinks at once. */
void text_cache_resize(struct text_cache *c, size_t max);

/* The text of id as a reference. Where it is missing build makes it into out (a ceiling of max
 * bytes); who asks for the same meanwhile waits and gets the same outcome. */
int text_cache_get(struct text_cache *c, enum text_kind kind, const uint8_t id[TEXT_ID_LEN],
		   size_t max, int (*build)(struct strbuf *out, void *arg), void *arg,
		   struct text **ret) must_check;

void text_cache_put_value(struct text_cache *c, const uint8_t id[TEXT_ID_LEN], struct slice value);
/* The chunk is gone. */
void text_cache_drop(struct text_cache *c, const uint8_t id[TEXT_ID_LEN]);

struct text_cache_stats {
	uint64_t bytes, texts, values, hits, misses;
};
void text_cache_stats(struct text_cache *c, struct text_cache_stats *ret);

#endif
