#include "scaled.h"

static const int64_t pow10_i64[SCALED_SCALE_MAX + 1] = {1LL,
							10LL,
							100LL,
							1000LL,
							10000LL,
							100000LL,
							1000000LL,
							10000000LL,
							100000000LL,
							1000000000LL,
							10000000000LL,
							100000000000LL,
							1000000000000LL,
							10000000000000LL,
							100000000000000LL,
							1000000000000000LL,
							10000000000000000LL,
							100000000000000000LL,
							1000000000000000000LL};

/* Appends the digits at p to *m; NULL when that would leave int64. */
static const char *take_digits(const char *p, const char *end, int64_t *m)
{
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*m, 10, m) || __builtin_add_overflow(*m, *p - '0', m))
			return NULL;
	return p;
}

bool scaled_parse(struct slice s, struct scaled *ret)
{
	const char *p = s.p, *end = s.p + s.len, *whole, *fraction = end;
	bool negative = p < end && *p == '-';
	int64_t m = 0;

	whole = p += negative;
	p = take_digits(p, end, &m);
	if (!p || p == whole || (*whole == '0' && p - whole > 1))
		return false;
	if (p < end) {
		fraction = p + 1;
		if (*p != '.' || fraction == end)
			return false;
		p = take_digits(fraction, end, &m);
	}
	if (p != end || end - fraction > SCALED_SCALE_MAX || (negative && m == 0))
		return false;
	*ret = (struct scaled){negative ? -m : m, (int)(end - fraction)};
	return true;
}

size_t scaled_format(struct scaled d, char buf[SCALED_TEXT_MAX])
{
	char tmp[SCALED_TEXT_MAX], *p = tmp + sizeof(tmp), *q = buf;
	uint64_t m = d.mantissa < 0 ? -(uint64_t)d.mantissa : (uint64_t)d.mantissa;

	for (int i = 0; i <= d.scale || m; i++) {
		if (i == d.scale && i)
			*--p = '.';
		*--p = (char)('0' + m % 10);
		m /= 10;
	}
	if (d.mantissa < 0)
		*q++ = '-';
	memcpy(q, p, (size_t)(tmp + sizeof(tmp) - p));
	return (size_t)(q - buf) + (size_t)(tmp + sizeof(tmp) - p);
}

struct scaled scaled_trim(struct scaled d)
{
	while (d.scale > 0 && d.mantissa % 10 == 0) {
		d.mantissa /= 10;
		d.scale--;
	}
	return d;
}

bool scaled_to(struct scaled d, int scale, int64_t *ret)
{
	return !__builtin_mul_overflow(d.mantissa, pow10_i64[scale - d.scale], ret);
}
