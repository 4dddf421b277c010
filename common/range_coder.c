#include "range_coder.h"

enum { RAW_BITS = 16 }; /* at a time: range stays above 2^16 */

#define RATE(seen) ((2 * 65536 + (2 * (seen) + 3) / 2) / (2 * (seen) + 3))
#define RATES4(n)  RATE(n), RATE(n + 1), RATE(n + 2), RATE(n + 3)
#define RATES16(n) RATES4(n), RATES4(n + 4), RATES4(n + 8), RATES4(n + 12)
#define RATES64(n) RATES16(n), RATES16(n + 16), RATES16(n + 32), RATES16(n + 48)

const uint16_t range_rates[BIT_SEEN_MAX + 1] = {RATES64(0), RATES64(64)};

/* ---- encoding -------------------------------------------------------------------------------- */

void range_encoder_init(struct range_encoder *e, struct strbuf *out)
{
	*e = (struct range_encoder){out, out->len, 0, UINT64_MAX};
}

/* low has passed 2^64: one more in what is out already. It cannot run past the start, because the
 * whole is below 1. */
void range_encoder_carry(struct range_encoder *e)
{
	size_t i = e->out->len;

	while (i > e->start && ++e->out->s[--i] == 0)
		;
}

static void put_bytes(struct range_encoder *e, int n)
{
	char *to = strbuf_reserve(e->out, (size_t)n);

	if (!to)
		return;
	for (int i = 0; i < n; i++)
		to[i] = (char)(e->low >> (56 - 8 * i));
	e->out->len += (size_t)n;
}

void range_encoder_shift(struct range_encoder *e)
{
	put_bytes(e, 4);
	e->low <<= 32;
	e->range <<= 32;
}

void range_encode_raw(struct range_encoder *e, uint64_t v, int bits)
{
	while (bits > 0) {
		int n = MIN(bits, RAW_BITS);
		uint64_t size = e->range >> n;

		bits -= n;
		range_encode_part(e, size * (v >> bits & ((1U << n) - 1)), size);
	}
}

void range_encoder_finish(struct range_encoder *e)
{
	int n = 0;

	for (;; n++) {
		uint64_t rest = n < 8 ? UINT64_MAX >> 8 * n : 0, at = (e->low + rest) & ~rest;

		if (at - e->low >= e->range)
			continue;
		if (at < e->low)
			range_encoder_carry(e);
		e->low = at;
		break;
	}
	put_bytes(e, n);
	while (e->out->len > e->start && e->out->s[e->out->len - 1] == '\0')
		e->out->len--;
	strbuf_truncate(e->out, e->out->len);
}

/* ---- decoding -------------------------------------------------------------------------------- */

static uint64_t next_bytes(struct range_decoder *d, uint64_t v, int n)
{
	for (; n > 0; n--)
		v = v << 8 | (d->p < d->end ? *d->p++ : 0);
	return v;
}

void range_decoder_init(struct range_decoder *d, struct slice stream)
{
	struct reader r = reader_of(stream.p, stream.len);

	*d = (struct range_decoder){r.p, r.end, 0, UINT64_MAX};
	d->code = next_bytes(d, 0, 8);
}

void range_decoder_shift(struct range_decoder *d)
{
	d->code = next_bytes(d, d->code, 4);
	d->range <<= 32;
}

uint64_t range_decode_raw(struct range_decoder *d, int bits)
{
	uint64_t v = 0;

	while (bits > 0) {
		int n = MIN(bits, RAW_BITS);
		uint64_t size = d->range >> n, part = MIN(d->code / size, (1ULL << n) - 1);

		range_decode_part(d, size * part, size);
		v = v << n | part;
		bits -= n;
	}
	return v;
}
