/* Segments of a GPU: records of chunks in order of position. */
#include "tree_internal.h"

/* ---- ULIDs: 26 characters of Crockford's base32 are 130 bits, the first two of them zero
 * --------- */

static const char ulid_digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void ulid_to_id(const char *ulid, uint8_t ret[TEXT_ID_LEN])
{
	unsigned __int128 v = 0;

	for (int i = 0; i < 26 && ulid[i]; i++) {
		const char *at = strchr(ulid_digits, ulid[i]);

		v = (v << 5) | (unsigned)(at ? at - ulid_digits : 0);
	}
	for (int i = TEXT_ID_LEN - 1; i >= 0; i--, v >>= 8)
		ret[i] = (uint8_t)v;
}

void ulid_from_id(const uint8_t id[TEXT_ID_LEN], char ret[27])
{
	unsigned __int128 v = 0;

	for (int i = 0; i < TEXT_ID_LEN; i++)
		v = (v << 8) | id[i];
	for (int i = 25; i >= 0; i--, v >>= 5)
		ret[i] = ulid_digits[(unsigned)v & 31];
	ret[26] = '\0';
}

/* ---- segments -------------------------------------------------------------------------------- */

void segment_free(struct segment *s)
{
	free(s->recs);
	free(s);
}

/* Index of the first segment that is not before (start, incarnation). */
uint32_t gpu_segment_index(const struct gpu *g, int64_t start, uint64_t incarnation)
{
	uint32_t lo = 0, hi = g->n_segments;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		const struct segment *s = g->segments[mid];

		if (s->start_ns < start || (s->start_ns == start && s->incarnation < incarnation))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct segment *gpu_add_segment(struct gpu *g, int64_t start, uint64_t incarnation)
{
	uint32_t i = gpu_segment_index(g, start, incarnation);
	struct segment *s;

	if (i < g->n_segments && g->segments[i]->start_ns == start &&
	    g->segments[i]->incarnation == incarnation)
		return g->segments[i];
	if (g->n_segments == g->cap_segments) {
		g->cap_segments = g->cap_segments ? 2 * g->cap_segments : 4;
		g->segments = xrealloc(g->segments, g->cap_segments * sizeof(struct segment *));
	}
	memmove(g->segments + i + 1, g->segments + i,
		(g->n_segments++ - i) * sizeof(struct segment *));
	s = g->segments[i] = xcalloc(1, sizeof(*s));
	s->start_ns = start;
	s->incarnation = incarnation;
	return s;
}

struct segment *gpu_segment(const struct gpu *g, int64_t start_ns)
{
	for (uint32_t i = gpu_segment_index(g, start_ns, 0);
	     i < g->n_segments && g->segments[i]->start_ns == start_ns; i++)
		if (g->segments[i]->listed)
			return g->segments[i];
	return NULL;
}

struct segment *gpu_newest_segment(const struct gpu *g)
{
	struct segment *ahead = NULL;

	for (uint32_t i = g->n_segments; i-- > 0;) {
		if (!g->segments[i]->listed)
			continue;
		if (g->segments[i]->sane)
			return g->segments[i];
		if (!ahead)
			ahead = g->segments[i];
	}
	return ahead;
}

static void segment_remove(struct segment *s, uint32_t i)
{
	memmove(s->recs + i, s->recs + i + 1, (--s->n - i) * sizeof(*s->recs));
	s->dirty = true;
}

bool segment_drop(struct segment *s, const uint8_t id[TEXT_ID_LEN])
{
	for (uint32_t i = s->n; i-- > 0;)
		if (!memcmp(s->recs[i].id, id, TEXT_ID_LEN)) {
			segment_remove(s, i);
			return true;
		}
	return false;
}

void segment_insert(struct segment *s, const struct chunk_rec *rec)
{
	uint32_t i = s->n;

	while (i > 0 &&
	       (s->recs[i - 1].first_seq > rec->first_seq ||
		(s->recs[i - 1].first_seq == rec->first_seq && s->recs[i - 1].rows < rec->rows)))
		i--;
	if (s->n == s->cap) {
		s->cap += s->cap < 4 ? 1 : s->cap / 2;
		s->recs = xrealloc(s->recs, s->cap * sizeof(*s->recs));
	}
	memmove(s->recs + i + 1, s->recs + i, (s->n++ - i) * sizeof(*s->recs));
	s->recs[i] = *rec;
	s->dirty = true;
}

const struct chunk_rec *segment_next(const struct segment *s, uint32_t *i, int64_t *seq)
{
	for (; *i < s->n; ++*i) {
		const struct chunk_rec *rec = &s->recs[*i];

		if (rec->first_seq > *seq || (rec->first_seq == *seq && rec->waits))
			return NULL;
		if (rec->first_seq == *seq) {
			*seq += rec->rows;
			++*i;
			return rec;
		}
	}
	return NULL;
}
