/* Integers and short texts through a range coder, with models that learn their sizes.
 *
 * A number is the length of its magnitude in bits, its sign, the three bits below the leading one,
 * and the rest as it is. The length is predicted from that of the number before it in the same
 * model, so that quiet and busy times of a series have prices of their own; a fresh model expects
 * it to stay about the same (chances fall by 0.7 a step), which is what a column of a hundred
 * values would otherwise spend some percent of its bits on finding out.
 *
 * In the stream, L being the length (0 to 64):
 *	number  tree of 6 bits: min(L, 63), in the context of the length before. If it is not 0:
 *	        bit, by L: negative. If it is 63, raw 1 bit: L - 63. Tree of min(L - 1, 3)
 *	        bits, by L: those below the leading one. Raw: the other bits.
 *	text    bit: it is a decimal (scaled.h). If so, tree of 5 bits: scale, number: mantissa.
 *	        Else number: length, and a tree of 8 bits for each byte. */
#ifndef GPUTEL_NUMBER_CODER_H
#define GPUTEL_NUMBER_CODER_H

#include "range_coder.h"

#define NUMBER_CONTEXTS 16

/* That of a length, for the number after it. */
static inline int number_context(int length)
{
	return length < 48 ? length / 3 : NUMBER_CONTEXTS - 1;
}

/* Places are set up when they are first met, because most never are: a fresh model costs nothing.
 */
struct number_model {
	struct bit length[NUMBER_CONTEXTS][64];
	struct bit sign[64];
	struct bit top[64][8]; /* by length: the bits below the leading one */
	uint64_t lengths;      /* met: a bit each */
	uint16_t contexts;     /* met */
	uint8_t context;
};

void number_model_init(struct number_model *m);
void encode_number(struct range_encoder *e, struct number_model *m, int64_t v);
int64_t decode_number(struct range_decoder *d, struct number_model *m);

struct text_model {
	struct bit is_decimal, scale[32], byte[256];
	struct number_model mantissa, length;
};

void text_model_init(struct text_model *m);
void encode_text(struct range_encoder *e, struct text_model *m, struct slice v);
/* buf holds max bytes, at least SCALED_TEXT_MAX; *ret lies in it. -EBADMSG: longer, or no text. */
int decode_text(struct range_decoder *d, struct text_model *m, char *buf, size_t max,
		struct slice *ret) must_check;

void bits_init(struct bit *b, size_t n);

/* Bits of v without leading zeros: 0 for 0, 64 for UINT64_MAX. */
static inline int bit_length(uint64_t v)
{
	return v ? 64 - __builtin_clzll(v) : 0;
}

#endif
