/* An adaptive binary range coder: bits, each at the price of its surprise.
 *
 * A bit with probability p costs -log2 p bits of output, where p is what the coder has learned in
 * the place (struct bit) that the caller names. Encoder and decoder make the same steps, so the
 * decoder knows the same p. After G. N. N. Martin, "Range encoding: an algorithm for removing
 * redundancy from a digitised message" (1979), in the binary form with a carry that is known from
 * LZMA (I. Pavlov, lzma-specification.txt); the rate of learning falls with the number of bits seen
 * in a place, as counts would have it (P. Howard and J. Vitter, "Practical implementations of
 * arithmetic coding", 1992), to 1/128.
 *
 *	struct range_encoder e;
 *	range_encoder_init(&e, out);
 *	range_encode_bit(&e, &place, true);
 *	range_encoder_finish(&e);
 *
 * State: low and range, 64 bits each; 32 bits go out, high byte first, whenever range is below
 * 2^32. The end is the shortest run of bytes within [low, low + range), without zeros at the end: a
 * decoder reads zeros behind it, as many as it wants. It survives any bytes and never fails; what
 * it yields from damaged bytes is the caller's to judge. */
#ifndef GPUTEL_RANGE_CODER_H
#define GPUTEL_RANGE_CODER_H

#include "strbuf.h"

/* A place: the chance of a 1 in 1/65536, and how many bits were seen there, up to BIT_SEEN_MAX. */
struct bit {
	uint16_t p, seen;
};

#define BIT_INIT     ((struct bit){1 << 15, 0})
#define BIT_SEEN_MAX 127
#define BIT_P_MIN    32 /* and 65536 - 32: no bit costs more than 11, none is free */

extern const uint16_t range_rates[BIT_SEEN_MAX + 1]; /* 65536 / (seen + 1.5) */

static inline void bit_learn(struct bit *b, bool v)
{
	int32_t to = v ? 65536 - BIT_P_MIN : BIT_P_MIN;

	b->p = (uint16_t)(b->p + (int32_t)(((int64_t)(to - b->p) * range_rates[b->seen]) >> 16));
	b->seen += b->seen < BIT_SEEN_MAX;
}

/* ---- encoding -------------------------------------------------------------------------------- */

struct range_encoder {
	struct strbuf *out; /* holds what can no longer change but by a carry */
	size_t start;       /* of the stream in it */
	uint64_t low, range;
};

void range_encoder_init(struct range_encoder *e, struct strbuf *out);
void range_encoder_finish(struct range_encoder *e);
void range_encoder_carry(struct range_encoder *e);
void range_encoder_shift(struct range_encoder *e);

/* Takes [from, from + size) of range as the new one. */
static inline void range_encode_part(struct range_encoder *e, uint64_t from, uint64_t size)
{
	e->low += from;
	if (e->low < from)
		range_encoder_carry(e);
	e->range = size;
	if (size < 1ULL << 32)
		range_encoder_shift(e);
}

static inline void range_encode_bit(struct range_encoder *e, struct bit *b, bool v)
{
	uint64_t one = (e->range >> 16) * b->p;

	if (v)
		range_encode_part(e, 0, one);
	else
		range_encode_part(e, one, e->range - one);
	bit_learn(b, v);
}

/* The low bits of v, highest first, in a tree of 2^bits places (place 0 is not used). */
static inline void range_encode_tree(struct range_encoder *e, struct bit *tree, int bits,
				     uint32_t v)
{
	uint32_t node = 1;

	while (bits-- > 0) {
		range_encode_bit(e, &tree[node], v >> bits & 1);
		node = node << 1 | (v >> bits & 1);
	}
}

/* The low bits of v as they are, one for one; up to 64. */
void range_encode_raw(struct range_encoder *e, uint64_t v, int bits);

/* ---- decoding -------------------------------------------------------------------------------- */

struct range_decoder {
	const uint8_t *p, *end;
	uint64_t code, range; /* code: where in range the stream points */
};

void range_decoder_init(struct range_decoder *d, struct slice stream);
void range_decoder_shift(struct range_decoder *d);

static inline void range_decode_part(struct range_decoder *d, uint64_t from, uint64_t size)
{
	d->code -= from;
	d->range = size;
	if (size < 1ULL << 32)
		range_decoder_shift(d);
}

static inline bool range_decode_bit(struct range_decoder *d, struct bit *b)
{
	uint64_t one = (d->range >> 16) * b->p;
	bool v = d->code < one;

	range_decode_part(d, v ? 0 : one, v ? one : d->range - one);
	bit_learn(b, v);
	return v;
}

static inline uint32_t range_decode_tree(struct range_decoder *d, struct bit *tree, int bits)
{
	uint32_t node = 1;

	for (int i = 0; i < bits; i++)
		node = node << 1 | range_decode_bit(d, &tree[node]);
	return node - (1U << bits);
}

uint64_t range_decode_raw(struct range_decoder *d, int bits);

#endif
