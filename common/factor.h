/* Decimal text times a decimal factor, exactly: digits are multiplied, never a double.
 *
 * The product has as many fraction digits as the number had, and more only where they are not zero:
 * 236748496900 by 0.001 is 236748496.9, 1.50 by 2 is 3.00. Sign and exponent of the number stay. */
#ifndef GPUTEL_FACTOR_H
#define GPUTEL_FACTOR_H

#include "strbuf.h"

#define FACTOR_DIGITS_MAX 18

struct factor {
	uint64_t mantissa; /* value = mantissa / 10^digits */
	int digits;
};

#define FACTOR_ONE ((struct factor){1, 0})

/* digits[.digits], more than 0, at most FACTOR_DIGITS_MAX digits that count in front of and 40
 * behind the point. -EINVAL */
int factor_parse(struct slice s, struct factor *ret) must_check;
/* a times b. -ERANGE: too many digits. */
int factor_multiply(struct factor a, struct factor b, struct factor *ret) must_check;
bool factor_is_one(struct factor f);

/* Appends number times f; number is as row.h has it. -EMSGSIZE: out's ceiling. */
int factor_apply(struct factor f, struct slice number, struct strbuf *out) must_check;

#endif
