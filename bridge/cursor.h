/* Cursors: where a page ended, as text that means nothing to whoever keeps it.
 *
 *	base64url of: u8 version | u64 hash of the query | varint ceiling revision
 *	| zz from | zz to | zz time | lstr host | lstr gpu | lstr series | zz seq | u32 CRC-32C
 *
 * The ceiling is the revision of the first page: what was committed later is not in this listing,
 * so that pages fit together. from and to are those of the first page, which settles now-5m. There
 * is no state behind it: any bridge on the same store takes it up. */
#ifndef GPUTEL_BRIDGE_CURSOR_H
#define GPUTEL_BRIDGE_CURSOR_H

#include "row_record.h"
#include "strbuf.h"

struct cursor {
	uint64_t query;
	int64_t ceiling, from_ns, to_ns;
	int64_t time_ns, seq;
	char host[NAME_MAX_ENCODED + 1], gpu[NAME_MAX_ENCODED + 1], series[NAME_MAX_ENCODED + 1];
};

/* Its key; lives as long as the cursor. */
struct key_of_record cursor_key(const struct cursor *c);
void cursor_set_key(struct cursor *c, const struct key_of_record *key);

void cursor_encode(struct strbuf *out, const struct cursor *c);
/* -EINVAL: no cursor of ours. */
int cursor_decode(const char *text, struct cursor *ret) must_check;

#endif
