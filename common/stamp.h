/* Event times as text: what comes in, and the one form in which they are shown.
 *
 * In: RFC 3339 with 0 to 9 fraction digits and any offset (2025-07-18T20:42:34.5+02:00; also with a
 * blank in place of T), `YYYY-MM-DD HH:MM:SS[.f]` and `YYYY/MM/DD HH:MM:SS[.f]` (taken as UTC),
 * epoch seconds with fraction (1775006190.174), and epoch milli-, micro- or nanoseconds, which are
 * told by having 13, 16 or 19 digits. Range: 1970-01-01 to 2262-04-11 (int64 nanoseconds), leap
 * second 60 refused. Out: RFC 3339 UTC with Z and as many fraction digits as it came with. */
#ifndef GPUTEL_STAMP_H
#define GPUTEL_STAMP_H

#include "base.h"

#define STAMP_MAX 31 /* "2262-04-11T23:47:16.854775807Z" and a NUL */

struct stamp {
	int64_t ns;     /* since 1970-01-01T00:00:00Z */
	uint8_t digits; /* of the fraction, 0-9 */
};

/* -EINVAL: no form matches; -ERANGE: it does, but is outside the range. */
int stamp_parse(struct slice s, struct stamp *ret) must_check;

/* Writes the text without a NUL; returns its length, less than STAMP_MAX. */
size_t stamp_format(struct stamp t, char buf[STAMP_MAX]);
/* What that returns. */
static inline size_t stamp_len(struct stamp t)
{
	return sizeof("2025-07-18T20:42:34Z") - 1 + (t.digits ? 1 + (size_t)t.digits : 0);
}

/* The name of a segment that starts at ns: 2025-07-18T2000Z (16 bytes and a NUL). */
#define SEGMENT_NAME_MAX 18
void segment_name(int64_t start_ns, char buf[SEGMENT_NAME_MAX]);
/* -EINVAL: not such a name. */
int segment_name_parse(struct slice s, int64_t *ret_ns) must_check;

#endif
