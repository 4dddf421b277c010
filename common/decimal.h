/* Decimal numbers as texts and as integers: mantissa / 10^scale, never through a double. */
#ifndef GPUTEL_DECIMAL_H
#define GPUTEL_DECIMAL_H

#include "base.h"

#define DECIMAL_SCALE_MAX 18
#define DECIMAL_TEXT_MAX  24 /* bytes that decimal_format writes at most */

struct decimal {
	int64_t mantissa;
	int scale; /* fraction digits */
};

/* Takes text that decimal_format gives back to the byte from mantissa and scale alone:
 * -?(0|[1-9][0-9]*)(\.[0-9]+)?, a mantissa within int64, at most 18 fraction digits, no negative
 * zero. */
bool decimal_parse(struct slice s, struct decimal *ret);

/* Writes it without a NUL, with exactly scale fraction digits; returns the length. */
size_t decimal_format(struct decimal d, char buf[DECIMAL_TEXT_MAX]);

/* The same number without zeros at the end of its fraction. */
struct decimal decimal_trim(struct decimal d);

/* The same number at a larger scale. False: its mantissa would not fit. */
bool decimal_scale(struct decimal d, int scale, int64_t *ret);

#endif
