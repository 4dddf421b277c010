/* Text and bytes as an enemy would write them, the same at every run: a seeded generator, values
 * and names at the edges of their grammars, and every small damage of an encoding. */
#ifndef GPUTEL_TEST_HOSTILE_H
#define GPUTEL_TEST_HOSTILE_H

#include "columns.h"

struct rng {
	uint64_t state;
};

uint64_t rng_next(struct rng *g);
uint64_t rng_below(struct rng *g, uint64_t n); /* [0, n) */
bool rng_one_in(struct rng *g, uint64_t n);

/* Bytes written once and kept until the end of the program. */
struct slice hostile_keep(const void *p, size_t n);
struct slice hostile_textf(const char *fmt, ...) printf_like(1, 2);

/* What a value may be: numbers at the edges of what the codec takes for a decimal, and up to
 * VALUE_MAX bytes of anything. */
struct slice hostile_value(struct rng *g);
/* What a name may be: with commas, quotes, control characters and all of Unicode; never empty, no
 * NUL, valid UTF-8. */
struct slice hostile_name(struct rng *g);
/* A time of 0 to 9 fraction digits, anywhere in int64. */
struct stamp hostile_stamp(struct rng *g);

/* Calls fn with every truncation of the bytes, then with every single bit flipped. The bytes lie in
 * memory of exactly their size, so that a sanitizer sees a read behind them. at: the length that is
 * left, or the byte that is damaged. */
void hostile_truncations(const void *p, size_t n,
			 void (*fn)(const uint8_t *p, size_t n, size_t at, void *arg), void *arg);
void hostile_flips(const void *p, size_t n,
		   void (*fn)(const uint8_t *p, size_t n, size_t at, void *arg), void *arg);
/* Calls fn count times with up to max random bytes. */
void hostile_bytes(struct rng *g, size_t count, size_t max,
		   void (*fn)(const uint8_t *p, size_t n, size_t at, void *arg), void *arg);

#endif
