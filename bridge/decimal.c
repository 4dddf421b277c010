#include "decimal.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

#define EXPONENT_MAX 400
#define TEXT_MAX     512
#define WHOLE_MAX    21 /* digits before the point, */
#define PLACES_MAX   40 /* and behind it, that are written out */

static const char *take_digits(const char *p, const char *end, __int128 *m, int *dropped)
{
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		__int128 next;

		if (*dropped || __builtin_mul_overflow(*m, (__int128)10, &next) ||
		    __builtin_add_overflow(next, (__int128)(*p - '0'), &next))
			++*dropped;
		else
			*m = next;
	}
	return p;
}

static const char *take_exponent(const char *p, const char *end, int *ret)
{
	bool negative;
	int n = 0;

	if (p == end || (*p | 0x20) != 'e')
		return p;
	p++;
	negative = p < end && *p == '-';
	if (p < end && (*p == '-' || *p == '+'))
		p++;
	if (p == end)
		return NULL;
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		n = MIN(n * 10 + (*p - '0'), 100000);
	*ret = negative ? -n : n;
	return p;
}

static struct decimal from_double(double v)
{
	return (struct decimal){.inexact = true, .approx = v};
}

/* More digits or powers than are kept exactly. */
static int parse_approx(struct slice s, struct decimal *ret)
{
	char text[TEXT_MAX];

	if (s.len >= sizeof(text))
		return -EINVAL;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	*ret = from_double(strtod(text, NULL));
	return 0;
}

int decimal_parse(struct slice s, struct decimal *ret)
{
	const char *p = s.p, *end = s.p + s.len, *start;
	bool negative = s.len && *p == '-';
	int dropped = 0, exponent = 0;
	size_t digits, fraction = 0;
	__int128 m = 0;

	p += s.len && (*p == '-' || *p == '+');
	start = p;
	p = take_digits(p, end, &m, &dropped);
	digits = (size_t)(p - start);
	if (p < end && *p == '.') {
		start = ++p;
		p = take_digits(p, end, &m, &dropped);
		fraction = (size_t)(p - start);
	}
	if (digits + fraction == 0)
		return -EINVAL;
	p = take_exponent(p, end, &exponent);
	if (p != end)
		return -EINVAL;
	exponent -= (int)MIN(fraction, (size_t)100000);
	if (dropped || exponent > EXPONENT_MAX || exponent < -EXPONENT_MAX)
		return parse_approx(s, ret);
	*ret = (struct decimal){.mantissa = negative ? -m : m, .exponent = exponent};
	return 0;
}

/* Brings d to the exponent of the other without loss. */
static bool scale_to(struct decimal *d, int exponent)
{
	__int128 m = d->mantissa;

	if (m == 0)
		d->exponent = exponent;
	for (; d->exponent > exponent; d->exponent--)
		if (__builtin_mul_overflow(m, (__int128)10, &m))
			return false;
	d->mantissa = m;
	return d->exponent == exponent;
}

static bool align(struct decimal *a, struct decimal *b)
{
	int exponent = MIN(a->exponent, b->exponent);

	return !a->inexact && !b->inexact && scale_to(a, exponent) && scale_to(b, exponent);
}

struct decimal decimal_add(struct decimal a, struct decimal b)
{
	struct decimal x = a, y = b;

	if (align(&x, &y) && !__builtin_add_overflow(x.mantissa, y.mantissa, &x.mantissa))
		return x;
	return from_double(decimal_double(a) + decimal_double(b));
}

int decimal_cmp(struct decimal a, struct decimal b)
{
	struct decimal x = a, y = b;
	double p, q;

	if (align(&x, &y))
		return (x.mantissa > y.mantissa) - (x.mantissa < y.mantissa);
	p = decimal_double(a);
	q = decimal_double(b);
	return (p > q) - (p < q);
}

static void add_digits(struct strbuf *out, unsigned __int128 m)
{
	char text[48], *at = text + sizeof(text);

	do
		*--at = (char)('0' + (int)(m % 10));
	while (m /= 10);
	strbuf_add(out, at, (size_t)(text + sizeof(text) - at));
}

double decimal_double(struct decimal d)
{
	struct strbuf b;
	double v;

	if (d.inexact)
		return d.approx;
	strbuf_init(&b, TEXT_MAX);
	strbuf_adds(&b, d.mantissa < 0 ? "-" : "");
	add_digits(&b,
		   d.mantissa < 0 ? -(unsigned __int128)d.mantissa : (unsigned __int128)d.mantissa);
	strbuf_addf(&b, "e%d", d.exponent);
	v = strtod(b.s, NULL);
	strbuf_release(&b);
	return v;
}

static void drop_zeros(struct decimal *d)
{
	if (d->mantissa == 0)
		d->exponent = 0;
	while (d->exponent < 0 && d->mantissa % 10 == 0) {
		d->mantissa /= 10;
		d->exponent++;
	}
}

/* 12e3 as 12000, unless that is very long. */
static void add_whole(struct strbuf *out, const struct strbuf *digits, int exponent)
{
	strbuf_add(out, digits->s, digits->len);
	if (digits->len + (size_t)exponent > WHOLE_MAX) {
		strbuf_addf(out, "e%d", exponent);
		return;
	}
	while (exponent-- > 0)
		strbuf_addc(out, '0');
}

static void add_fraction(struct strbuf *out, const struct strbuf *digits, size_t places)
{
	size_t whole = digits->len > places ? digits->len - places : 0;

	if (places > PLACES_MAX) {
		strbuf_add(out, digits->s, digits->len);
		strbuf_addf(out, "e-%zu", places);
		return;
	}
	if (whole)
		strbuf_add(out, digits->s, whole);
	else
		strbuf_addc(out, '0');
	strbuf_addc(out, '.');
	for (size_t i = digits->len; i < places; i++)
		strbuf_addc(out, '0');
	strbuf_add(out, digits->s + whole, digits->len - whole);
}

/* Digits with the point where it belongs; far from the digits, with an exponent. */
void decimal_format(struct strbuf *out, struct decimal d)
{
	struct strbuf digits;

	if (d.inexact) {
		double_format(out, d.approx);
		return;
	}
	drop_zeros(&d);
	strbuf_init(&digits, TEXT_MAX);
	add_digits(&digits,
		   d.mantissa < 0 ? -(unsigned __int128)d.mantissa : (unsigned __int128)d.mantissa);
	strbuf_adds(out, d.mantissa < 0 ? "-" : "");
	if (d.exponent >= 0)
		add_whole(out, &digits, d.exponent);
	else
		add_fraction(out, &digits, (size_t)-d.exponent);
	strbuf_release(&digits);
}

void double_format(struct strbuf *out, double v)
{
	struct decimal d;
	char text[40];

	if (!isfinite(v)) {
		strbuf_adds(out, isnan(v) ? "NaN" : v < 0 ? "-Inf" : "+Inf");
		return;
	}
	for (int digits = 0; digits < 17; digits++) {
		snprintf(text, sizeof(text), "%.*e", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	if (decimal_parse(slice_str(text), &d) == 0 && !d.inexact)
		decimal_format(out, d);
	else
		strbuf_adds(out, text);
}
