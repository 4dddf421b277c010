#include "integers.h"

#include <math.h>

enum predictor { LEVEL, TREND, LINE, PREDICTORS };
enum {
	SHARED_MAX = 16, /* integers of a run that is too short for a model of its own */
	SAMPLE = 15,     /* integers whose median is taken for that of a run */
};

void integers_model_init(struct integers_model *m)
{
	bits_init(m->predictor, ARRAY_SIZE(m->predictor));
	number_model_init(&m->first);
	number_model_init(&m->step);
	number_model_init(&m->constant);
	number_model_init(&m->shared);
}

static struct number_model *differences_of(struct integers_model *m, size_t n)
{
	if (n <= SHARED_MAX)
		return &m->shared;
	number_model_init(&m->own);
	return &m->own;
}

/* ---- prediction ------------------------------------------------------------------------------ */

/* What is neither LEVEL nor TREND predicts as LINE. z[0] is 0, and so is what would be before it.
 */
struct history {
	enum predictor predictor;
	uint64_t constant, a, b; /* the last two */
};

static uint64_t predict(const struct history *h)
{
	return h->predictor == LEVEL   ? h->constant
	       : h->predictor == TREND ? h->a + h->constant
				       : 2 * h->a - h->b;
}

static void push(struct history *h, uint64_t z)
{
	h->b = h->a;
	h->a = z;
}

/* ---- planning -------------------------------------------------------------------------------- */

static uint64_t magnitude(int64_t v)
{
	return v < 0 ? -(uint64_t)v : (uint64_t)v;
}

static int64_t minus(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a - (uint64_t)b);
}

/* The greatest common divisor of all differences to x[0]; 0 when there are none. */
static int64_t common_step(const int64_t *x, size_t n)
{
	uint64_t g = 0;

	for (size_t i = 1; i < n && g != 1; i++) {
		uint64_t a = magnitude(minus(x[i], x[0]));

		while (a) {
			uint64_t rest = g % a;

			g = a;
			a = rest;
			if (g == 1)
				break;
		}
	}
	return g > INT64_MAX ? 1 : (int64_t)g;
}

static void sort(int64_t *v, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		int64_t x = v[i];
		size_t k = i;

		for (; k > 0 && v[k - 1] > x; k--)
			v[k] = v[k - 1];
		v[k] = x;
	}
}

/* Of a sample that is spread over the run. */
static int64_t median(const int64_t *z, size_t n)
{
	int64_t sample[SAMPLE];
	size_t count = MIN(n, (size_t)SAMPLE);

	for (size_t i = 0; i < count; i++)
		sample[i] = z[i * n / count];
	sort(sample, count);
	return sample[count / 2];
}

/* How often a length followed one of another context, which is how they are stored. */
struct histogram {
	uint32_t count[NUMBER_CONTEXTS][65], total[NUMBER_CONTEXTS];
};

/* The entropy of the lengths, a bit for each other that is stored, and what it takes to learn that
 * a length occurs. */
static double bits_of(const struct histogram *h, size_t n)
{
	double bits = 0, learning = log2((double)n) / 2;

	for (int c = 0; c < NUMBER_CONTEXTS; c++) {
		if (!h->total[c])
			continue;
		for (int l = 0; l <= 64; l++)
			if (h->count[c][l])
				bits += h->count[c][l] *
						(l + log2((double)h->total[c] / h->count[c][l])) +
					learning;
	}
	return bits;
}

static double weigh(const int64_t *z, size_t n, enum predictor p, int64_t constant)
{
	struct history h = {p, (uint64_t)constant, 0, 0};
	struct histogram lengths = {0};
	int context = 0;

	for (size_t i = 1; i < n; i++) {
		int l = bit_length(magnitude(minus(z[i], (int64_t)predict(&h))));

		lengths.count[context][l]++;
		lengths.total[context]++;
		context = number_context(l);
		push(&h, (uint64_t)z[i]);
	}
	return bits_of(&lengths, n) + bit_length(magnitude(constant));
}

/* The same by lengths alone, as if each were known. */
static double weigh_fast(const int64_t *z, size_t n, enum predictor p, int64_t constant)
{
	struct history h = {p, (uint64_t)constant, 0, 0};
	uint64_t bits = 0;

	for (size_t i = 1; i < n; i++) {
		bits += (uint64_t)bit_length(magnitude(minus(z[i], (int64_t)predict(&h))));
		push(&h, (uint64_t)z[i]);
	}
	return (double)bits;
}

void integers_make_plan(const int64_t *x, size_t n, bool thorough, struct integers_plan *ret)
{
	int64_t step = common_step(x, n), *z;

	*ret = (struct integers_plan){.step = step};
	if (!step)
		return;
	z = xmalloc(n * sizeof(*z));
	for (size_t i = 0; i < n; i++)
		z[i] = step == 1 ? minus(x[i], x[0]) : minus(x[i], x[0]) / step;
	struct integers_plan plans[] = {
		{step, 0, TREND, 0},
		{step, z[n - 1] / (int64_t)(n - 1), TREND, 0},
		{step, median(z, n), LEVEL, 0},
		{step, 0, LINE, 0},
		{step, minus(0, x[0] / step), LEVEL, 0}, /* where x is 0, for bursts */
	};
	for (size_t i = 0; i < ARRAY_SIZE(plans) - !thorough; i++) {
		struct integers_plan *p = &plans[i];

		p->bits = (thorough ? weigh : weigh_fast)(z, n, p->predictor, p->constant);
		if (!i || p->bits < ret->bits)
			*ret = *p;
	}
	free(z);
}

/* ---- coding ---------------------------------------------------------------------------------- */

void integers_encode(struct range_encoder *e, struct integers_model *m, const int64_t *x, size_t n,
		     int64_t hint, const struct integers_plan *plan)
{
	struct history h = {(enum predictor)plan->predictor, (uint64_t)plan->constant, 0, 0};
	struct number_model *differences;

	encode_number(e, &m->first, minus(x[0], hint));
	if (n == 1)
		return;
	encode_number(e, &m->step, plan->step);
	if (!plan->step)
		return;
	range_encode_tree(e, m->predictor, 2, h.predictor);
	if (h.predictor != LINE)
		encode_number(e, &m->constant, plan->constant);
	differences = differences_of(m, n);
	for (size_t i = 1; i < n; i++) {
		int64_t z = minus(x[i], x[0]);

		if (plan->step != 1)
			z /= plan->step;
		encode_number(e, differences, minus(z, (int64_t)predict(&h)));
		push(&h, (uint64_t)z);
	}
}

void integers_decode(struct range_decoder *d, struct integers_model *m, int64_t *x, size_t n,
		     int64_t hint)
{
	uint64_t first = (uint64_t)hint + (uint64_t)decode_number(d, &m->first), step = 0;
	struct history h = {0};
	struct number_model *differences;

	x[0] = (int64_t)first;
	if (n > 1)
		step = (uint64_t)decode_number(d, &m->step);
	if (!step) {
		for (size_t i = 1; i < n; i++)
			x[i] = x[0];
		return;
	}
	h.predictor = range_decode_tree(d, m->predictor, 2);
	if (h.predictor != LINE)
		h.constant = (uint64_t)decode_number(d, &m->constant);
	differences = differences_of(m, n);
	for (size_t i = 1; i < n; i++) {
		push(&h, predict(&h) + (uint64_t)decode_number(d, differences));
		x[i] = (int64_t)(first + step * h.a);
	}
}
