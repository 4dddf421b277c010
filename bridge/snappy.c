#include "snappy.h"

#include <snappy-c.h>

int unsnap_bytes(struct slice packed, struct strbuf *out)
{
	size_t n;
	char *room;

	if (snappy_uncompressed_length(packed.p, packed.len, &n) != SNAPPY_OK)
		return -EBADMSG;
	if (n > out->max - out->len)
		return -EMSGSIZE;
	room = strbuf_reserve(out, n + 1);
	if (!room)
		return out->err;
	if (snappy_uncompress(packed.p, packed.len, room, &n) != SNAPPY_OK)
		return -EBADMSG;
	out->len += n;
	return 0;
}
