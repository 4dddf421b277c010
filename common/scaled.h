/* Decimal numbers as texts and as integers: mantissa / 10^scale, never through a double. */
#ifndef GPUTEL_SCALED_H
#define GPUTEL_SCALED_H

#include "base.h"

#define SCALED_SCALE_MAX 18
#define SCALED_TEXT_MAX  24 /* bytes that scaled_format writes at most */

struct scaled {
	int64_t mantissa;
	int scale; /* fraction digits */
};

/* Takes text that scaled_format gives back to the byte from mantissa and scale alone:
 * -?(0|[1-9][0-9]*)(\.[0-9]+)?, a mantissa within int64, at most 18 fraction digits, no negative
 * zero. */
bool scaled_parse(struct slice s, struct scaled *ret);

/* Writes it without a NUL, with exactly scale fraction digits; returns the length. */
size_t scaled_format(struct scaled d, char buf[SCALED_TEXT_MAX]);

/* The same number without zeros at the end of its fraction. */
struct scaled scaled_trim(struct scaled d);

/* The same number at a larger scale. False: its mantissa would not fit. */
bool scaled_to(struct scaled d, int scale, int64_t *ret);

#endif
