/* Decimal numbers as text, added and compared exactly as long as they fit into 38 digits; beyond
 * that as doubles. */
#ifndef GPUTEL_BRIDGE_DECIMAL_H
#define GPUTEL_BRIDGE_DECIMAL_H

#include "strbuf.h"

struct decimal {
	__int128 mantissa; /* value = mantissa × 10^exponent */
	int exponent;
	bool inexact; /* the value is approx, mantissa and exponent mean nothing */
	double approx;
};

/* `117.77`, `7e-06`, `-0`, `+5`, `.5`; -EINVAL: no number. */
int decimal_parse(struct slice s, struct decimal *ret) must_check;
struct decimal decimal_add(struct decimal a, struct decimal b);
int decimal_cmp(struct decimal a, struct decimal b);
double decimal_double(struct decimal d);
void decimal_format(struct strbuf *out, struct decimal d);
/* The fewest digits that read back as the same double. */
void double_format(struct strbuf *out, double v);

#endif
