#include "stamp.h"

#define DAY 86400

static const uint32_t pow10_of[] = {1,      10,      100,      1000,      10000,
				    100000, 1000000, 10000000, 100000000, 1000000000};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* n digits at p as a number, or -1. */
static int number(const char *p, int n)
{
	int v = 0;

	for (int i = 0; i < n; i++) {
		if (!is_digit(p[i]))
			return -1;
		v = v * 10 + (p[i] - '0');
	}
	return v;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, and back, by arithmetic alone
 * (https://howardhinnant.github.io/date_algorithms.html); years 0 to 9999. */
static int64_t days_from_civil(int y, int m, int d)
{
	int years = y + 400 - (m <= 2), era = years / 400, yoe = years % 400;
	int doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	int doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return (era - 1) * 146097LL + doe - 719468;
}

static void civil_from_days(int64_t days, int *y, int *m, int *d)
{
	int z = (int)days + 719468, era = z / 146097, doe = z % 146097;
	int yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = yoe + era * 400 + (*m <= 2);
}

static int days_in_month(int y, int m)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);

	return days[m - 1] + (m == 2 && leap);
}

/* The ten bytes YYYY-MM-DD, or with another separator. */
static int parse_date(const char *p, char separator, int64_t *ret_days)
{
	int y = number(p, 4), m = number(p + 5, 2), d = number(p + 8, 2);

	if (p[4] != separator || p[7] != separator || y < 0 || m < 1 || m > 12 || d < 1)
		return -EINVAL;
	if (d > days_in_month(y, m))
		return -EINVAL;
	*ret_days = days_from_civil(y, m, d);
	return 0;
}

/* The eight bytes HH:MM:SS. */
static int parse_time(const char *p, int64_t *ret_seconds)
{
	int h = number(p, 2), m = number(p + 3, 2), s = number(p + 6, 2);

	if (p[2] != ':' || p[5] != ':' || h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59)
		return -EINVAL;
	*ret_seconds = h * 3600 + m * 60 + s;
	return 0;
}

/* Takes ".ddd" off s, if it is there. */
static int take_fraction(struct slice *s, int64_t *ret_ns, uint8_t *ret_digits)
{
	uint32_t v = 0;
	size_t n = 0;

	if (s->len > 0 && s->p[0] == '.') {
		for (n = 1; n < s->len && n <= 9 && is_digit(s->p[n]); n++)
			v = v * 10 + (uint32_t)(s->p[n] - '0');
		if (n-- == 1)
			return -EINVAL;
		*s = (struct slice){s->p + n + 1, s->len - n - 1};
	}
	*ret_ns = (int64_t)v * pow10_of[9 - n];
	*ret_digits = (uint8_t)n;
	return 0;
}

/* What stands behind the time: Z, +HH:MM, -HH:MM, or nothing where the form allows that. */
static int parse_offset(struct slice s, bool may_lack, int64_t *ret_seconds)
{
	int h, m;

	*ret_seconds = 0;
	if (s.len == 0)
		return may_lack ? 0 : -EINVAL;
	if (s.len == 1 && (s.p[0] == 'Z' || s.p[0] == 'z'))
		return 0;
	if (s.len != 6 || (s.p[0] != '+' && s.p[0] != '-') || s.p[3] != ':')
		return -EINVAL;
	h = number(s.p + 1, 2);
	m = number(s.p + 4, 2);
	if (h < 0 || h > 23 || m < 0 || m > 59)
		return -EINVAL;
	*ret_seconds = (s.p[0] == '-' ? -60 : 60) * (h * 60 + m);
	return 0;
}

static int in_range(int64_t seconds, int64_t fraction_ns, uint8_t digits, struct stamp *ret)
{
	int64_t ns;

	if (seconds < 0 || __builtin_mul_overflow(seconds, NS_PER_SEC, &ns) ||
	    __builtin_add_overflow(ns, fraction_ns, &ns))
		return -ERANGE;
	*ret = (struct stamp){ns, digits};
	return 0;
}

static int parse_civil(struct slice s, struct stamp *ret)
{
	int64_t days, seconds, fraction, offset;
	bool blank = s.p[10] == ' ';
	uint8_t digits;

	if (!blank && (s.p[4] == '/' || (s.p[10] != 'T' && s.p[10] != 't')))
		return -EINVAL;
	if (parse_date(s.p, s.p[4], &days) < 0 || parse_time(s.p + 11, &seconds) < 0)
		return -EINVAL;
	s = (struct slice){s.p + 19, s.len - 19};
	if (take_fraction(&s, &fraction, &digits) < 0 || parse_offset(s, blank, &offset) < 0)
		return -EINVAL;
	return in_range(days * DAY + seconds - offset, fraction, digits, ret);
}

/* Behind how many digits the seconds end: whole numbers of 13, 16 and 19 digits are milli-, micro-
 * and nanoseconds (2001 to 2286), for as seconds they would be beyond 2262. */
static size_t unit_digits(size_t integer_digits)
{
	return integer_digits == 13 ? 3 : integer_digits == 16 ? 6 : integer_digits == 19 ? 9 : 0;
}

static int parse_epoch(struct slice s, struct stamp *ret)
{
	bool negative = s.len > 0 && s.p[0] == '-', over = false;
	int64_t seconds = 0, fraction;
	size_t n = 0, unit;
	char text[STAMP_MAX] = ".";
	uint8_t digits;

	s = (struct slice){s.p + negative, s.len - negative};
	while (n < s.len && is_digit(s.p[n]))
		n++;
	unit = unit_digits(n);
	for (size_t i = 0; i < n - unit; i++) {
		over = over || seconds > INT64_MAX / NS_PER_SEC;
		seconds = over ? 0 : seconds * 10 + (s.p[i] - '0');
	}
	if (!n || (n < s.len && s.p[n] != '.') || s.len - n > 10)
		return -EINVAL;
	/* The digits below a second, and those of a fraction behind them, as far as there is room.
	 */
	memcpy(text + 1, s.p + n - unit, unit);
	if (n < s.len)
		memcpy(text + 1 + unit, s.p + n + 1, s.len - n - 1);
	if (n + 1 == s.len)
		return -EINVAL;
	s = (struct slice){text, MIN(strlen(text), (size_t)10)};
	if (s.len == 1)
		s.len = 0;
	if (take_fraction(&s, &fraction, &digits) < 0 || s.len > 0)
		return -EINVAL;
	return over || negative ? -ERANGE : in_range(seconds, fraction, digits, ret);
}

int stamp_parse(struct slice s, struct stamp *ret)
{
	bool is_civil = s.len >= 19 && (s.p[4] == '-' || s.p[4] == '/');

	return is_civil ? parse_civil(s, ret) : parse_epoch(s, ret);
}

static char *put(char *to, uint32_t v, int n)
{
	for (int i = n - 1; i >= 0; i--, v /= 10)
		to[i] = (char)('0' + v % 10);
	return to + n;
}

static char *put_sep(char *to, char sep, int v)
{
	*to = sep;
	return put(to + 1, (uint32_t)v, 2);
}

static char *put_date(char *to, int64_t seconds)
{
	int y, m, d;

	civil_from_days(seconds / DAY, &y, &m, &d);
	to = put(to, (uint32_t)y, 4);
	to = put_sep(to, '-', m);
	return put_sep(to, '-', d);
}

size_t stamp_format(struct stamp t, char buf[STAMP_MAX])
{
	int64_t seconds = t.ns / NS_PER_SEC;
	uint32_t fraction = (uint32_t)(t.ns % NS_PER_SEC);
	int second = (int)(seconds % DAY);
	char *to = put_date(buf, seconds);

	to = put_sep(to, 'T', second / 3600);
	to = put_sep(to, ':', second / 60 % 60);
	to = put_sep(to, ':', second % 60);
	if (t.digits) {
		*to = '.';
		to = put(to + 1, fraction / pow10_of[9 - t.digits], t.digits);
	}
	*to++ = 'Z';
	return (size_t)(to - buf);
}

void segment_name(int64_t start_ns, char buf[SEGMENT_NAME_MAX])
{
	int64_t seconds = start_ns / NS_PER_SEC;
	int minute = (int)(seconds % DAY / 60);
	char *to = put_date(buf, seconds);

	to = put_sep(to, 'T', minute / 60);
	to = put(to, (uint32_t)(minute % 60), 2);
	memcpy(to, "Z", 2);
}

int segment_name_parse(struct slice s, int64_t *ret_ns)
{
	struct stamp t;
	int64_t days;
	int h, m;

	if (s.len != SEGMENT_NAME_MAX - 1 - 1 || s.p[10] != 'T' || s.p[15] != 'Z')
		return -EINVAL;
	h = number(s.p + 11, 2);
	m = number(s.p + 13, 2);
	if (parse_date(s.p, '-', &days) < 0 || h < 0 || h > 23 || m < 0 || m > 59)
		return -EINVAL;
	if (in_range(days * DAY + h * 3600 + m * 60, 0, 0, &t) < 0)
		return -EINVAL;
	*ret_ns = t.ns;
	return 0;
}
