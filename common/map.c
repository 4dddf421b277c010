#include "map.h"

#include <endian.h>

#define NO_SLOT UINT32_MAX

void map_release(struct map *m)
{
	map_each (m, i)
		free(m->entries[i].key);
	free(m->entries);
	free(m->slots);
	*m = MAP_INIT;
}

static uint32_t hash_of(const void *key, size_t len)
{
	return (uint32_t)hash64(key, len, 0);
}

static struct map_entry *entry_at(const struct map *m, uint32_t slot)
{
	return &m->entries[m->slots[slot] - 1];
}

static bool entry_is(const struct map_entry *e, uint32_t hash, const void *key, size_t len)
{
	return e->hash == hash && e->key_len == len && (len == 0 || memcmp(e->key, key, len) == 0);
}

/* The slot of the key, or NO_SLOT. */
static uint32_t find(const struct map *m, uint32_t hash, const void *key, size_t len)
{
	if (!m->slots)
		return NO_SLOT;
	for (uint32_t s = hash & m->slot_mask; m->slots[s]; s = (s + 1) & m->slot_mask) {
		if (entry_is(entry_at(m, s), hash, key, len))
			return s;
	}
	return NO_SLOT;
}

void *map_get(const struct map *m, const void *key, size_t len)
{
	uint32_t s = find(m, hash_of(key, len), key, len);

	return s == NO_SLOT ? NULL : entry_at(m, s)->value;
}

static void link_entry(struct map *m, uint32_t index)
{
	uint32_t s = m->entries[index].hash & m->slot_mask;

	while (m->slots[s])
		s = (s + 1) & m->slot_mask;
	m->slots[s] = index + 1;
}

static void grow(struct map *m)
{
	uint32_t n = m->slots ? (m->slot_mask + 1) * 2 : 8;

	free(m->slots);
	m->slots = xcalloc(n, sizeof(*m->slots));
	m->slot_mask = n - 1;
	m->cap = n / 4 * 3;
	m->entries = xrealloc(m->entries, m->cap * sizeof(*m->entries));
	for (uint32_t i = 0; i < m->count; i++)
		link_entry(m, i);
}

void *map_put(struct map *m, const void *key, size_t len, void *value)
{
	uint32_t hash = hash_of(key, len), s = find(m, hash, key, len);

	if (s != NO_SLOT) {
		void *old = entry_at(m, s)->value;

		entry_at(m, s)->value = value;
		return old;
	}
	if (m->count == m->cap)
		grow(m);
	m->entries[m->count] = (struct map_entry){xstrndup(key, len), (uint32_t)len, hash, value};
	link_entry(m, m->count++);
	return NULL;
}

/* Empties slot s and closes the gap: every entry behind it that was pushed on by collisions and may
 * move back does (Knuth 6.4, algorithm R), so no tombstones are needed. */
static void unlink_slot(struct map *m, uint32_t s)
{
	for (uint32_t next = (s + 1) & m->slot_mask; m->slots[next];
	     next = (next + 1) & m->slot_mask) {
		uint32_t home = entry_at(m, next)->hash & m->slot_mask;

		if (((next - home) & m->slot_mask) < ((next - s) & m->slot_mask))
			continue;
		m->slots[s] = m->slots[next];
		s = next;
	}
	m->slots[s] = 0;
}

static void move_last_into(struct map *m, uint32_t index)
{
	uint32_t last = --m->count, s = m->entries[last].hash & m->slot_mask;

	if (last == index)
		return;
	while (m->slots[s] != last + 1)
		s = (s + 1) & m->slot_mask;
	m->slots[s] = index + 1;
	m->entries[index] = m->entries[last];
}

void *map_remove(struct map *m, const void *key, size_t len)
{
	uint32_t s = find(m, hash_of(key, len), key, len), index;
	void *value;

	if (s == NO_SLOT)
		return NULL;
	index = m->slots[s] - 1;
	value = m->entries[index].value;
	free(m->entries[index].key);
	unlink_slot(m, s);
	move_last_into(m, index);
	return value;
}

/* ---- xxHash64 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) --------------- */

#define PRIME1 0x9e3779b185ebca87u
#define PRIME2 0xc2b2ae3d27d4eb4fu
#define PRIME3 0x165667b19e3779f9u
#define PRIME4 0x85ebca77c2b2ae63u
#define PRIME5 0x27d4eb2f165667c5u

static uint64_t rotl(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint64_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t mix(uint64_t acc, uint64_t lane)
{
	return rotl(acc + lane * PRIME2, 31) * PRIME1;
}

static uint64_t merge(uint64_t h, uint64_t acc)
{
	return (h ^ mix(0, acc)) * PRIME1 + PRIME4;
}

/* Takes whole stripes of 32 bytes off *p. */
static uint64_t hash_stripes(const uint8_t **p, const uint8_t *end, uint64_t seed)
{
	uint64_t acc[4] = {seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1};
	uint64_t h;

	for (; end - *p >= 32; *p += 32) {
		for (int i = 0; i < 4; i++)
			acc[i] = mix(acc[i], load64(*p + 8 * i));
	}
	h = rotl(acc[0], 1) + rotl(acc[1], 7) + rotl(acc[2], 12) + rotl(acc[3], 18);
	for (int i = 0; i < 4; i++)
		h = merge(h, acc[i]);
	return h;
}

static uint64_t avalanche(uint64_t h)
{
	h = (h ^ h >> 33) * PRIME2;
	h = (h ^ h >> 29) * PRIME3;
	return h ^ h >> 32;
}

uint64_t hash64(const void *data, size_t n, uint64_t seed)
{
	const uint8_t *p = data, *end = p + n;
	uint64_t h = n < 32 ? seed + PRIME5 : hash_stripes(&p, end, seed);

	h += n;
	for (; end - p >= 8; p += 8)
		h = rotl(h ^ mix(0, load64(p)), 27) * PRIME1 + PRIME4;
	for (; end - p >= 4; p += 4)
		h = rotl(h ^ load32(p) * PRIME1, 23) * PRIME2 + PRIME3;
	for (; p < end; p++)
		h = rotl(h ^ *p * PRIME5, 11) * PRIME1;
	return avalanche(h);
}
