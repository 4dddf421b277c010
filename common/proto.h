/* Protobuf's wire format, as far as etcd and Prometheus need it: varints, and bytes, which texts
 *and nested messages are; read also numbers of fixed length.
 *
 *	at = proto_begin(&b, 2);
 *	proto_add_bytes(&b, 1, key);
 *	proto_end(&b, at);
 *
 *	while (proto_next(&r, &f))
 *		if (f.number == 1) ... f.bytes ...
 *
 * The length of a nested message is written over four bytes, which every reader takes. Not
 * thread-safe. */
#ifndef GPUTEL_PROTO_H
#define GPUTEL_PROTO_H

#include "strbuf.h"

void proto_add_varint(struct strbuf *b, unsigned field, uint64_t v);
void proto_add_bytes(struct strbuf *b, unsigned field, struct slice s);
/* A message between the two, of less than 256 MiB. */
size_t proto_begin(struct strbuf *b, unsigned field);
void proto_end(struct strbuf *b, size_t at);

struct proto_field {
	unsigned number;
	uint64_t value;     /* of a varint or a number of fixed length, else 0 */
	struct slice bytes; /* of bytes, else empty; borrowed */
};

/* False at the end, and at what is malformed: r->err says so then. */
bool proto_next(struct reader *r, struct proto_field *ret);

static inline struct reader proto_reader(struct slice message)
{
	return reader_of(message.p, message.len);
}

#endif
