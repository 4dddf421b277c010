#include "parse.h"

#include <strings.h>

#define FRACTION_DIGITS 9
#define RATE_MAX        1000000000

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

int parse_u64(struct slice s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	bool over = false;

	if (s.len == 0)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (!is_digit(s.p[i]))
			return -EINVAL;
		over |= __builtin_mul_overflow(v, 10, &v);
		over |= __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v);
	}
	if (over || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int parse_i64(struct slice s, int64_t min, int64_t max, int64_t *ret)
{
	bool negative = s.len > 0 && s.p[0] == '-';
	struct slice digits = {s.p + negative, s.len - negative};
	uint64_t u = 0;
	int64_t v;
	int r;

	r = parse_u64(digits, (uint64_t)INT64_MAX + negative, &u);
	if (r < 0)
		return r;
	v = (int64_t)(negative ? -u : u);
	if (v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

static bool is_word(struct slice s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.p, word, s.len) == 0;
}

int parse_bool(struct slice s, bool *ret)
{
	static const char *const words[][2] = {
		{"false", "true"}, {"0", "1"}, {"no", "yes"}, {"off", "on"}};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		for (int v = 0; v < 2; v++) {
			if (is_word(s, words[i][v])) {
				*ret = v;
				return 0;
			}
		}
	}
	return -EINVAL;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static uint64_t unit_factor(const struct unit *units, size_t n, struct slice name)
{
	for (size_t i = 0; i < n; i++) {
		if (slice_eq(slice_str(units[i].name), name))
			return units[i].factor;
	}
	return 0;
}

/* Cuts the leading bytes for which take() holds off s. */
static struct slice cut(struct slice *s, bool (*take)(char c))
{
	struct slice head = {s->p, 0};

	while (head.len < s->len && take(s->p[head.len]))
		head.len++;
	s->p += head.len;
	s->len -= head.len;
	return head;
}

static int scaled(struct slice digits, uint64_t factor, uint64_t *ret)
{
	uint64_t v = 0;
	int r = parse_u64(digits, INT64_MAX / factor, &v);

	if (r == 0)
		*ret = v * factor;
	return r;
}

/* The fraction times factor, which must come out whole; factor < 2^33. */
static int scaled_fraction(struct slice digits, uint64_t factor, uint64_t *ret)
{
	uint64_t v = 0, divisor = 1;
	int r;

	if (digits.len > FRACTION_DIGITS)
		return -EINVAL;
	r = parse_u64(digits, UINT64_MAX, &v);
	if (r < 0)
		return r;
	for (size_t i = 0; i < digits.len; i++)
		divisor *= 10;
	if (v * factor % divisor)
		return -EINVAL;
	*ret = v * factor / divisor;
	return 0;
}

int parse_duration_ms(struct slice s, int64_t *ret)
{
	static const struct unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	struct slice whole = cut(&s, is_digit), fraction = {0};
	uint64_t factor, v = 0, part = 0;
	int r;

	if (s.len == 0 && whole.len == 1 && whole.p[0] == '0') {
		*ret = 0;
		return 0;
	}
	if (s.len > 0 && s.p[0] == '.') {
		s = (struct slice){s.p + 1, s.len - 1};
		fraction = cut(&s, is_digit);
		if (fraction.len == 0)
			return -EINVAL;
	}
	factor = unit_factor(units, ARRAY_SIZE(units), s);
	if (factor == 0)
		return -EINVAL;
	r = scaled(whole, factor, &v);
	if (r == 0 && fraction.len)
		r = scaled_fraction(fraction, factor, &part);
	if (r < 0)
		return r;
	if (v > INT64_MAX - part)
		return -ERANGE;
	*ret = (int64_t)(v + part);
	return 0;
}

int parse_size(struct slice s, int64_t *ret)
{
	static const struct unit units[] = {
		{"", 1},           {"B", 1},           {"KB", 1000},
		{"MB", 1000000},   {"GB", 1000000000}, {"TB", 1000000000000},
		{"KiB", 1 << 10},  {"MiB", 1 << 20},   {"GiB", 1 << 30},
		{"TiB", 1LL << 40}};
	struct slice whole = cut(&s, is_digit);
	uint64_t factor = unit_factor(units, ARRAY_SIZE(units), s), v = 0;
	int r = factor ? scaled(whole, factor, &v) : -EINVAL;

	if (r == 0)
		*ret = (int64_t)v;
	return r;
}

int parse_fraction(struct slice s, double min, double max, double *ret)
{
	char text[64], *end;
	double v;

	/* strtod would take blanks, hexadecimal, inf and nan as well */
	if (s.len == 0 || s.len >= sizeof(text))
		return -EINVAL;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	if (strspn(text, "0123456789.-+eE") != s.len)
		return -EINVAL;
	v = strtod(text, &end);
	if (*end)
		return -EINVAL;
	if (!(v >= min && v <= max))
		return -ERANGE;
	*ret = v;
	return 0;
}

int parse_rate(struct slice s, int64_t *ret_rate, int64_t *ret_burst)
{
	struct slice number = cut(&s, is_digit);
	int64_t rate = 0, burst;
	int r = parse_i64(number, 0, RATE_MAX, &rate);

	if (r < 0)
		return r;
	burst = rate;
	if (rate == 0)
		r = s.len ? -EINVAL : 0;
	else if (s.len < 2 || memcmp(s.p, "/s", 2) != 0 || (s.len > 2 && s.p[2] != ':'))
		r = -EINVAL;
	else if (s.len > 2)
		r = parse_i64((struct slice){s.p + 3, s.len - 3}, 1, RATE_MAX, &burst);
	if (r < 0)
		return r;
	*ret_rate = rate;
	*ret_burst = burst;
	return 0;
}
