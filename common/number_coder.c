#include "number_coder.h"

#include "scaled.h"

#include <pthread.h>

enum {
	LENGTH_BITS = 6,
	LENGTH_LONG = 63, /* or 64 */
	TOP_BITS = 3,
	TOP_SEEN = 2, /* slow enough that the first few bits are not taken for a law */
	SCALE_BITS = 5,
};

void bits_init(struct bit *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		b[i] = BIT_INIT;
}

/* ---- models ---------------------------------------------------------------------------------- */

/* What a fresh model expects of the length when the one before was 3c to 3c + 2: weights that fall
 * by 0.7 a step. In integers, because every machine must come to the same. */
static void expect_length(struct bit *tree, int c)
{
	uint32_t weight[128], by_step[64], w = 1 << 22;

	for (int i = 0; i < 64; i++, w = w / 10 * 7)
		by_step[i] = w + 256;
	for (int l = 0; l < 64; l++)
		weight[64 + l] = by_step[abs(l - (3 * c + (c > 0)))];
	for (int i = 63; i > 0; i--) {
		weight[i] = weight[2 * i] + weight[2 * i + 1];
		tree[i].p = (uint16_t)(((uint64_t)weight[2 * i + 1] << 16) / weight[i]);
		tree[i].p = MIN(MAX(tree[i].p, BIT_P_MIN), 65536 - BIT_P_MIN);
		tree[i].seen = 1;
	}
}

static struct bit expected[NUMBER_CONTEXTS][64];

static void expect_lengths(void)
{
	for (int c = 0; c < NUMBER_CONTEXTS; c++)
		expect_length(expected[c], c);
}

static void meet_context(struct number_model *m)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, expect_lengths);
	memcpy(m->length[m->context], expected[m->context], sizeof(expected[0]));
	m->contexts |= (uint16_t)(1U << m->context);
}

static void meet_length(struct number_model *m, int l)
{
	m->sign[l] = (struct bit){1 << 15, TOP_SEEN};
	for (int k = 0; k < 8; k++)
		m->top[l][k] = (struct bit){1 << 15, TOP_SEEN};
	m->lengths |= 1ULL << l;
}

static struct bit *length_tree(struct number_model *m)
{
	if (!(m->contexts >> m->context & 1))
		meet_context(m);
	return m->length[m->context];
}

void number_model_init(struct number_model *m)
{
	m->lengths = m->contexts = m->context = 0;
}

void text_model_init(struct text_model *m)
{
	m->is_decimal = BIT_INIT;
	bits_init(m->scale, ARRAY_SIZE(m->scale));
	bits_init(m->byte, ARRAY_SIZE(m->byte));
	number_model_init(&m->mantissa);
	number_model_init(&m->length);
}

/* ---- numbers --------------------------------------------------------------------------------- */

void encode_number(struct range_encoder *e, struct number_model *m, int64_t v)
{
	uint64_t magnitude = v < 0 ? -(uint64_t)v : (uint64_t)v;
	int length = bit_length(magnitude), l = MIN(length, LENGTH_LONG);
	int top = MIN(length - 1, TOP_BITS), rest = length - 1 - top;

	range_encode_tree(e, length_tree(m), LENGTH_BITS, (uint32_t)l);
	m->context = (uint8_t)number_context(l);
	if (!length)
		return;
	if (!(m->lengths >> l & 1))
		meet_length(m, l);
	range_encode_bit(e, &m->sign[l], v < 0);
	if (l == LENGTH_LONG)
		range_encode_raw(e, (uint64_t)(length - l), 1);
	range_encode_tree(e, m->top[l], top, (uint32_t)(magnitude >> rest) & ((1U << top) - 1));
	if (rest)
		range_encode_raw(e, magnitude, rest);
}

int64_t decode_number(struct range_decoder *d, struct number_model *m)
{
	int l = (int)range_decode_tree(d, length_tree(m), LENGTH_BITS), length = l, top;
	uint64_t magnitude;
	bool negative;

	m->context = (uint8_t)number_context(l);
	if (!l)
		return 0;
	if (!(m->lengths >> l & 1))
		meet_length(m, l);
	negative = range_decode_bit(d, &m->sign[l]);
	if (l == LENGTH_LONG)
		length += (int)range_decode_raw(d, 1);
	top = MIN(length - 1, TOP_BITS);
	magnitude = 1ULL << top | range_decode_tree(d, m->top[l], top);
	if (length - 1 - top)
		magnitude = magnitude << (length - 1 - top) | range_decode_raw(d, length - 1 - top);
	return (int64_t)(negative ? -magnitude : magnitude);
}

/* ---- texts ----------------------------------------------------------------------------------- */

void encode_text(struct range_encoder *e, struct text_model *m, struct slice v)
{
	struct scaled number;
	bool is_decimal = scaled_parse(v, &number);

	range_encode_bit(e, &m->is_decimal, is_decimal);
	if (is_decimal) {
		range_encode_tree(e, m->scale, SCALE_BITS, (uint32_t)number.scale);
		encode_number(e, &m->mantissa, number.mantissa);
		return;
	}
	encode_number(e, &m->length, (int64_t)v.len);
	for (size_t i = 0; i < v.len; i++)
		range_encode_tree(e, m->byte, 8, (uint8_t)v.p[i]);
}

int decode_text(struct range_decoder *d, struct text_model *m, char *buf, size_t max,
		struct slice *ret)
{
	struct scaled number;
	uint64_t len;

	if (range_decode_bit(d, &m->is_decimal)) {
		number.scale = (int)range_decode_tree(d, m->scale, SCALE_BITS);
		number.mantissa = decode_number(d, &m->mantissa);
		if (number.scale > SCALED_SCALE_MAX)
			return -EBADMSG;
		*ret = (struct slice){buf, scaled_format(number, buf)};
		return 0;
	}
	len = (uint64_t)decode_number(d, &m->length);
	if (len > max)
		return -EBADMSG;
	for (uint64_t i = 0; i < len; i++)
		buf[i] = (char)range_decode_tree(d, m->byte, 8);
	*ret = (struct slice){buf, len};
	return 0;
}
