/* A hash table from byte strings to pointers. Keys are copied; values stay the caller's.
 *
 * Open addressing, grows at three quarters full; the ceiling is the caller's business (map_count).
 * Iteration order is the order of insertion, except that removal moves the last entry into the
 * hole; removing the entry that map_each stands on is allowed if the loop runs backwards.
 * Not thread-safe. */
#ifndef GPUTEL_MAP_H
#define GPUTEL_MAP_H

#include "base.h"

struct map_entry {
	char *key; /* terminated copy */
	uint32_t key_len;
	uint32_t hash;
	void *value;
};

struct map {
	struct map_entry *entries; /* dense */
	uint32_t *slots;           /* index + 1, or 0 */
	uint32_t count, cap, slot_mask;
};

#define MAP_INIT ((struct map){0})

void map_release(struct map *m); /* frees keys, not values */

void *map_get(const struct map *m, const void *key, size_t len); /* NULL: absent */
/* Adds or replaces; returns the value that was there, or NULL. value must not be NULL. */
void *map_put(struct map *m, const void *key, size_t len, void *value);
void *map_remove(struct map *m, const void *key, size_t len); /* the value, or NULL */

static inline uint32_t map_count(const struct map *m)
{
	return m->count;
}

#define map_each(m, i) for (uint32_t i = (m)->count; i-- > 0;)

static inline void *map_get_str(const struct map *m, const char *key)
{
	return map_get(m, key, strlen(key));
}

/* 64-bit hash of bytes (xxHash64's rounds), unkeyed; for tables whose keys an enemy does not
 * choose in bulk, and for rendezvous hashing, where every process must agree on it. */
uint64_t hash64(const void *p, size_t n, uint64_t seed);

#endif
