#include "factor.h"

#define DIGITS_MAX                                                                                 \
	160 /* of a product: the longest number's, the mantissa's and the zeros between */
#define BEHIND_MAX 40

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static struct factor reduced(struct factor f)
{
	while (f.digits > 0 && f.mantissa % 10 == 0) {
		f.mantissa /= 10;
		f.digits--;
	}
	return f;
}

int factor_parse(struct slice s, struct factor *ret)
{
	struct factor f = {0};
	bool point = false, any = false;

	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '.' && !point) {
			point = true;
			continue;
		}
		if (!is_digit(s.p[i]) || f.mantissa >= 100000000000000000u ||
		    f.digits == BEHIND_MAX)
			return -EINVAL;
		f.mantissa = f.mantissa * 10 + (uint64_t)(s.p[i] - '0');
		f.digits += point;
		any = true;
	}
	if (!any || !f.mantissa)
		return -EINVAL;
	*ret = reduced(f);
	return 0;
}

int factor_multiply(struct factor a, struct factor b, struct factor *ret)
{
	struct factor f = {.digits = a.digits + b.digits};

	if (__builtin_mul_overflow(a.mantissa, b.mantissa, &f.mantissa))
		return -ERANGE;
	f = reduced(f);
	if (f.mantissa >= 1000000000000000000u || f.digits > BEHIND_MAX)
		return -ERANGE;
	*ret = f;
	return 0;
}

bool factor_is_one(struct factor f)
{
	return f.mantissa == 1 && f.digits == 0;
}

/* A number's digits, the last ones first. */
struct digits {
	char d[DIGITS_MAX];
	int n, behind; /* of them behind the point */
};

static const char *take_digits(const char *p, const char *end, struct digits *ret)
{
	bool point = false;

	for (; p < end && (is_digit(*p) || (*p == '.' && !point)); p++) {
		if (*p == '.') {
			point = true;
			continue;
		}
		if (ret->n < DIGITS_MAX)
			ret->d[ret->n++] = *p;
		ret->behind += point;
	}
	for (int i = 0; i < ret->n / 2; i++) {
		char c = ret->d[i];

		ret->d[i] = ret->d[ret->n - 1 - i];
		ret->d[ret->n - 1 - i] = c;
	}
	return p;
}

static int multiply(struct digits *x, struct factor f)
{
	unsigned __int128 carry = 0;
	int n = x->n;

	for (x->n = 0; x->n < n || carry; x->n++) {
		if (x->n == DIGITS_MAX)
			return -EMSGSIZE;
		if (x->n < n)
			carry += (unsigned __int128)f.mantissa * (unsigned)(x->d[x->n] - '0');
		x->d[x->n] = (char)('0' + (int)(carry % 10));
		carry /= 10;
	}
	x->behind += f.digits;
	return 0;
}

static void put(const struct digits *x, int keep, struct strbuf *out)
{
	int from = 0, top = x->n;

	while (x->behind - from > keep && (from >= x->n || x->d[from] == '0'))
		from++;
	while (top > x->behind + 1 && x->d[top - 1] == '0')
		top--;
	if (top <= x->behind)
		strbuf_addc(out, '0');
	for (int i = MAX(top, x->behind); i-- > from;) {
		if (i == x->behind - 1)
			strbuf_addc(out, '.');
		strbuf_addc(out, i < x->n ? x->d[i] : '0');
	}
}

int factor_apply(struct factor f, struct slice number, struct strbuf *out)
{
	const char *p = number.p, *end = number.p + number.len;
	struct digits x = {0};
	int behind, r;

	if (p < end && (*p == '-' || *p == '+'))
		strbuf_addc(out, *p++);
	p = take_digits(p, end, &x);
	behind = x.behind;
	r = multiply(&x, f);
	if (r)
		return r;
	put(&x, behind, out);
	strbuf_add(out, p, (size_t)(end - p));
	return out->err;
}
