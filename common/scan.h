/* Which of 64 bytes are of meaning to CSV, as bit masks: bit i is byte i. The masks of quotes make
 * the rest of the reader a matter of arithmetic (after simdjson and its kin: Langdale and Lemire,
 * "Parsing gigabytes of JSON per second", 2019, §3.1). */
#ifndef GPUTEL_SCAN_H
#define GPUTEL_SCAN_H

#include "base.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SCAN_BLOCK 64

struct scan {
	uint64_t quote, comma, newline, cr, nul;
};

static inline struct scan scan_plain(const char *p)
{
	struct scan s = {0};

	for (int i = 0; i < SCAN_BLOCK; i++) {
		uint64_t bit = 1ull << i;

		s.quote |= p[i] == '"' ? bit : 0;
		s.comma |= p[i] == ',' ? bit : 0;
		s.newline |= p[i] == '\n' ? bit : 0;
		s.cr |= p[i] == '\r' ? bit : 0;
		s.nul |= p[i] == '\0' ? bit : 0;
	}
	return s;
}

#ifdef __SSE2__
static inline uint64_t scan_equal(const __m128i v[4], char c)
{
	__m128i want = _mm_set1_epi8(c);
	uint64_t bits = 0;

	for (int i = 3; i >= 0; i--)
		bits = bits << 16 | (uint16_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v[i], want));
	return bits;
}

static inline struct scan scan_block(const char *p)
{
	__m128i v[4];

	for (int i = 0; i < 4; i++)
		v[i] = _mm_loadu_si128((const __m128i *)(const void *)p + i);
	return (struct scan){
		.quote = scan_equal(v, '"'),
		.comma = scan_equal(v, ','),
		.newline = scan_equal(v, '\n'),
		.cr = scan_equal(v, '\r'),
		.nul = scan_equal(v, '\0'),
	};
}
#else
static inline struct scan scan_block(const char *p)
{
	return scan_plain(p);
}
#endif

/* Bit i of the result: the parity of bits 0 to i. */
static inline uint64_t scan_parity(uint64_t x)
{
	for (int shift = 1; shift < 64; shift *= 2)
		x ^= x << shift;
	return x;
}

#endif
