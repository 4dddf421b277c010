#include "proto.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5, LENGTH_BYTES = 4 };

static void add_tag(struct strbuf *b, unsigned field, unsigned wire)
{
	strbuf_add_varint(b, (uint64_t)field << 3 | wire);
}

void proto_add_varint(struct strbuf *b, unsigned field, uint64_t v)
{
	add_tag(b, field, WIRE_VARINT);
	strbuf_add_varint(b, v);
}

void proto_add_bytes(struct strbuf *b, unsigned field, struct slice s)
{
	add_tag(b, field, WIRE_BYTES);
	strbuf_add_lstr(b, s);
}

size_t proto_begin(struct strbuf *b, unsigned field)
{
	add_tag(b, field, WIRE_BYTES);
	strbuf_add(b, "\0\0\0\0", LENGTH_BYTES);
	return b->len;
}

void proto_end(struct strbuf *b, size_t at)
{
	size_t n = b->len - at;

	if (b->err)
		return;
	for (int i = 0; i < LENGTH_BYTES; i++) {
		bool last = i == LENGTH_BYTES - 1;

		b->s[at - LENGTH_BYTES + (size_t)i] = (char)((n & 0x7f) | (last ? 0 : 0x80));
		n >>= 7;
	}
}

/* Unlike those of our own formats these may be longer than they need. */
static uint64_t read_long_varint(struct reader *r)
{
	uint64_t v = 0;

	for (int shift = 0; shift < 64 && r->p < r->end; shift += 7) {
		uint8_t c = *r->p++;

		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80))
			return v;
	}
	r->err = -EBADMSG;
	return 0;
}

bool proto_next(struct reader *r, struct proto_field *ret)
{
	uint64_t tag;

	if (r->err || !reader_left(r))
		return false;
	tag = read_long_varint(r);
	*ret = (struct proto_field){.number = (unsigned)(tag >> 3)};
	switch (tag & 7) {
	case WIRE_VARINT:
		ret->value = read_long_varint(r);
		break;
	case WIRE_BYTES:
		ret->bytes = read_bytes(r, read_long_varint(r));
		break;
	case WIRE_64:
		ret->value = read_u64(r);
		break;
	case WIRE_32:
		ret->value = read_u32(r);
		break;
	default:
		r->err = -EBADMSG;
	}
	if (tag >> 3 > UINT32_MAX || tag >> 3 == 0)
		r->err = -EBADMSG;
	return !r->err;
}
