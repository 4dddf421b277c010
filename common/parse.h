/* Parsing of small values from outside. Every function takes the whole text: trailing bytes are
 * -EINVAL, values outside the range -ERANGE; ret is untouched on failure. */
#ifndef GPUTEL_PARSE_H
#define GPUTEL_PARSE_H

#include "base.h"

int parse_u64(struct slice s, uint64_t max, uint64_t *ret) must_check; /* decimal digits only */
int parse_i64(struct slice s, int64_t min, int64_t max, int64_t *ret) must_check;
int parse_bool(struct slice s, bool *ret) must_check; /* true false 1 0 yes no on off */
/* 250ms 10s 5m 24h, also 1.5h and 0; milliseconds. A bare number other than 0 is -EINVAL. */
int parse_duration_ms(struct slice s, int64_t *ret) must_check;
/* 64KiB 8MiB 1GiB 100B, also KB MB GB (powers of 1000) and a bare number of bytes. */
int parse_size(struct slice s, int64_t *ret) must_check;
int parse_fraction(struct slice s, double min, double max, double *ret) must_check;
/* RATE/s or RATE/s:BURST, whole numbers of at least 1 (without BURST: as RATE); 0: both are 0. */
int parse_rate(struct slice s, int64_t *ret_rate, int64_t *ret_burst) must_check;

#endif
