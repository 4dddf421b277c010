#include "hostile.h"

#include <stdio.h>

/* splitmix64 (https://prng.di.unimi.it/splitmix64.c) */
uint64_t rng_next(struct rng *g)
{
	uint64_t z = g->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *g, uint64_t n)
{
	return rng_next(g) % n;
}

bool rng_one_in(struct rng *g, uint64_t n)
{
	return rng_below(g, n) == 0;
}

/* ---- keeping --------------------------------------------------------------------------------- */

struct kept {
	struct kept *next;
	char bytes[];
};

static struct kept *all_kept;

static void free_all(void)
{
	while (all_kept) {
		struct kept *k = all_kept;

		all_kept = k->next;
		free(k);
	}
}

struct slice hostile_keep(const void *p, size_t n)
{
	struct kept *k = xmalloc(sizeof(*k) + n + 1);

	if (!all_kept && atexit(free_all))
		abort();
	k->next = all_kept;
	all_kept = k;
	memcpy(k->bytes, p, n);
	k->bytes[n] = '\0';
	return (struct slice){k->bytes, n};
}

struct slice hostile_textf(const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return hostile_keep(text, MIN((size_t)n, sizeof(text) - 1));
}

/* ---- texts ----------------------------------------------------------------------------------- */

static const char *const values[] = {
	"117.77",
	"67.351000",
	"7e-06",
	"-0",
	"+5",
	"007",
	".5",
	"1.0",
	"-0.0",
	"0",
	"0.0",
	"00",
	"0.00",
	"-1",
	"1",
	"10",
	"100",
	"-100.00",
	"1.",
	"1.10",
	"0.1",
	"-.5",
	"1e5",
	"1E+05",
	"NaN",
	"",
	"-",
	"--1",
	"1.2.3",
	"1 ",
	" 1",
	"0x10",
	"999999999999999999",
	"1000000000000000000",
	"-999999999999999999",
	"-1000000000000000000",
	"9223372036854775807",
	"-9223372036854775808",
	"18446744073709551616",
	"0.000000000000000001",
	"-0.000000000000000001",
	"0.0000000000000000001",
	"99999999999999999.9",
	"999999999999999999.9",
	"0.999999999999999999",
	"1.00000000000000000",
	"1.000000000000000000",
	"12345678.123456789",
	"100000000000000000.0",
	"-0.10",
	"0000000000000000000000000000000000000000000000000000000000000001",
	"1234567890123456789012345678901234567890123456789012345678901234",
	"1.23456789012345678901234567890123456789012345678901234567890123",
	"'\"\\,\n\r\t;{}[]()<>|&%$#@!~`^*=+-_/?: \x01\x02\x03\x7f\x80\xfe\xff",
};

static struct slice garbage(struct rng *g, size_t max)
{
	char text[256];
	size_t n = rng_below(g, max + 1);

	for (size_t i = 0; i < n; i++)
		text[i] = (char)rng_next(g);
	return hostile_keep(text, n);
}

struct slice hostile_value(struct rng *g)
{
	if (rng_one_in(g, 16))
		return garbage(g, VALUE_MAX);
	return slice_str(values[rng_below(g, ARRAY_SIZE(values))]);
}

struct slice hostile_name(struct rng *g)
{
	static const char *const pieces[] = {"a",
					     "GPU",
					     "0",
					     "..",
					     "/",
					     "%",
					     "\"",
					     "\\",
					     "\n",
					     "\t",
					     "\x01",
					     "\x7f",
					     "\xc3\xa9",
					     "\xe2\x82\xac",
					     "\xf0\x9f\x94\xa5",
					     ",",
					     "{",
					     "}",
					     " ",
					     "'",
					     "=",
					     "\xef\xbf\xbd",
					     "\xed\x9f\xbf",
					     "\xf4\x8f\xbf\xbf"};
	char text[128];
	size_t n = 0, count = 1 + rng_below(g, 12);

	for (size_t i = 0; i < count; i++) {
		const char *piece = pieces[rng_below(g, ARRAY_SIZE(pieces))];

		memcpy(text + n, piece, strlen(piece));
		n += strlen(piece);
	}
	return hostile_keep(text, n);
}

struct stamp hostile_stamp(struct rng *g)
{
	static const int64_t edges[] = {0, 1, NS_PER_SEC, INT64_MAX, INT64_MAX / 2};
	struct stamp t = {.digits = (uint8_t)rng_below(g, 10)};
	int64_t unit = 1;

	t.ns = rng_one_in(g, 4) ? edges[rng_below(g, ARRAY_SIZE(edges))]
				: (int64_t)(rng_next(g) >> (1 + rng_below(g, 40)));
	for (uint8_t d = t.digits; d < 9; d++)
		unit *= 10;
	t.ns -= t.ns % unit;
	return t;
}

/* ---- damage ---------------------------------------------------------------------------------- */

static uint8_t *exactly(const void *p, size_t n)
{
	uint8_t *copy = malloc(n);

	if (!copy && n)
		abort();
	if (n)
		memcpy(copy, p, n);
	return copy;
}

void hostile_truncations(const void *p, size_t n,
			 void (*fn)(const uint8_t *p, size_t n, size_t at, void *arg), void *arg)
{
	for (size_t len = 0; len < n; len++) {
		uint8_t *copy = exactly(p, len);

		fn(copy, len, len, arg);
		free(copy);
	}
}

void hostile_flips(const void *p, size_t n,
		   void (*fn)(const uint8_t *p, size_t n, size_t at, void *arg), void *arg)
{
	uint8_t *copy = exactly(p, n);

	for (size_t bit = 0; bit < 8 * n; bit++) {
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		fn(copy, n, bit / 8, arg);
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	free(copy);
}

void hostile_bytes(struct rng *g, size_t count, size_t max,
		   void (*fn)(const uint8_t *p, size_t n, size_t at, void *arg), void *arg)
{
	uint8_t *bytes = xmalloc(max);

	for (size_t i = 0; i < count; i++) {
		size_t n = rng_below(g, max + 1);
		uint8_t *copy;

		/* Mostly small numbers: they get a decoder further. */
		for (size_t k = 0; k < n; k++)
			bytes[k] = (uint8_t)(rng_next(g) & (rng_one_in(g, 3) ? 0xff : 3));
		copy = exactly(bytes, n);
		fn(copy, n, i, arg);
		free(copy);
	}
	free(bytes);
}
