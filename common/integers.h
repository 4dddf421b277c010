/* A run of integers: the column codec's core.
 *
 * x[0] is stored against a hint that both sides have, all others as z = (x - x[0]) / step, where
 * step is the greatest divisor that they share (clocks move in steps of 15 MHz, energy in 100 mJ).
 * z is predicted by whichever of three is cheapest for the run:
 *	0 LEVEL   a constant                        noise around a level
 *	1 TREND   the one before, plus a constant   random walks, counters
 *	2 LINE    2a - b of the two before          ramps
 * and the differences are numbers (number_coder.h). All arithmetic wraps at 2^64, so that any int64
 * comes back. In the stream: x[0] - hint, and if n > 1: step (0: all are the same), and if that is
 * not 0: predictor, its constant (but for LINE), n - 1 differences. */
#ifndef GPUTEL_INTEGERS_H
#define GPUTEL_INTEGERS_H

#include "number_coder.h"

/* Shared by the runs of a stream. Runs of at most 16 integers share the model of differences too;
 * the others start one of their own, because what one column does says little of the next. */
struct integers_model {
	struct bit predictor[4];
	struct number_model first, step, constant, shared, own;
};

/* How a run is stored, and about how many bits that takes. */
struct integers_plan {
	int64_t step, constant;
	int predictor;
	double bits;
};

void integers_model_init(struct integers_model *m);

/* thorough: tries more, and weighs by what the coder will make of it. */
void integers_make_plan(const int64_t *x, size_t n, bool thorough, struct integers_plan *ret);
void integers_encode(struct range_encoder *e, struct integers_model *m, const int64_t *x, size_t n,
		     int64_t hint, const struct integers_plan *plan);
void integers_decode(struct range_decoder *d, struct integers_model *m, int64_t *x, size_t n,
		     int64_t hint);

#endif
