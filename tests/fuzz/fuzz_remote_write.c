/* Any bytes as a remote-write request: as they are, and where they are a block of snappy's what is
 * in it. */
#include "push_twice.h"

#include "../../bridge/snappy.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct slice body = {(const char *)p, n};
	struct strbuf room;

	strbuf_init(&room, 1 << 20);
	if (unsnap_bytes(body, &room) == 0)
		take_twice(&push_series, (struct slice){room.s, room.len});
	take_twice(&push_series, body);
	strbuf_release(&room);
	return 0;
}
