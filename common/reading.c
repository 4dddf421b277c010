#include "reading.h"

#include <stdio.h>
#include <strings.h>

#include "columns.h"

#define QUOTED_MAX 60  /* bytes of an excerpt */
#define ROOM       256 /* what a cell takes of scratch at most */

/* ---- text ------------------------------------------------------------------------------------ */

struct slice trim(struct slice s)
{
	while (s.len && (*s.p == ' ' || *s.p == '\t')) {
		s.p++;
		s.len--;
	}
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

bool same_name(struct slice a, struct slice b)
{
	return a.len == b.len && strncasecmp(a.p, b.p, a.len) == 0;
}

struct excerpt excerpt(struct slice s)
{
	struct excerpt x = {0};

	for (size_t i = 0; i < MIN(s.len, (size_t)QUOTED_MAX); i++)
		x.s[i] = s.p[i] < ' ' || s.p[i] > '~' ? '?' : s.p[i];
	if (s.len > QUOTED_MAX)
		memcpy(x.s + QUOTED_MAX, "...", 4);
	return x;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static const char *skip_digits(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

struct number {
	const char *integer, *fraction, *exponent, *end; /* fraction and exponent: behind mark */
	size_t integer_len, fraction_len;
};

/* [+-]?(digits[.digits*]|.digits)([eE][+-]?digits)? */
static bool parse_number(struct slice s, struct number *ret)
{
	const char *p = s.p, *end = s.p + s.len, *from;
	struct number n = {0};

	if (p < end && (*p == '+' || *p == '-'))
		p++;
	n.integer = p;
	p = skip_digits(p, end);
	n.integer_len = (size_t)(p - n.integer);
	if (p < end && *p == '.') {
		n.fraction = ++p;
		p = skip_digits(p, end);
		n.fraction_len = (size_t)(p - n.fraction);
	}
	if (!n.integer_len && !n.fraction_len)
		return false;
	if (p < end && (*p | 0x20) == 'e') {
		n.exponent = ++p;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		from = p;
		p = skip_digits(p, end);
		if (p == from)
			return false;
	}
	*ret = n;
	return p == end;
}

/* dcgm_structs.h. The last two are what the 64-bit ones become on their way through a double. */
static const struct {
	uint64_t first, last;
} blanks[] = {
	{2147483632, 2147483635},
	{140737488355328, 140737488355331},
	{9223372036854775792u, 9223372036854775795u},
	{9223372036854775808u, 9223372036854775808u},
};

static bool is_blank_integer(struct slice digits)
{
	uint64_t v = 0;

	for (size_t i = 0; i < digits.len; i++)
		v = v * 10 + (uint64_t)(digits.p[i] - '0');
	for (size_t i = 0; i < ARRAY_SIZE(blanks); i++) {
		if (v >= blanks[i].first && v <= blanks[i].last)
			return true;
	}
	return false;
}

static bool is_blank_double(struct slice s)
{
	char text[VALUE_MAX + 1] = "";
	double v;

	memcpy(text, s.p, s.len);
	v = strtod(text, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(blanks); i++) {
		for (uint64_t b = blanks[i].first; b <= blanks[i].last; b++) {
			if (v == (double)b)
				return true;
		}
	}
	return false;
}

static bool is_zeros(const char *p, size_t n)
{
	while (n && p[n - 1] == '0')
		n--;
	return n == 0;
}

static bool is_dcgm_blank(struct slice text, const struct number *n)
{
	if (!n->integer_len || !strchr("129", *n->integer) || n->integer != text.p)
		return false;
	if (n->exponent)
		return is_blank_double(text);
	return n->integer_len >= 10 && n->integer_len <= 19 &&
	       is_zeros(n->fraction, n->fraction_len) &&
	       is_blank_integer((struct slice){n->integer, n->integer_len});
}

static bool is_no_value(struct slice s)
{
	static const char *const words[] = {
		"",
		"N/A",
		"NA",
		"NaN",
		"-NaN",
		"+NaN",
		"Inf",
		"-Inf",
		"+Inf",
		"Infinity",
		"-Infinity",
		"none",
		"null",
		"ERR!",
		"No data",
		"Not Found",
		"Not Supported",
		"Not Available",
		"Unknown Error",
		"GPU is lost",
		"GPU requires reset",
		"Insufficient Permissions",
		"Requested functionality has been deprecated",
		"<<<NULL>>>",
		"<<<NOT_FOUND>>>",
		"<<<NOT_SUPPORTED>>>",
		"<<<NOT_PERM>>>",
	};

	if (s.len >= 2 && s.p[0] == '[' && s.p[s.len - 1] == ']')
		s = (struct slice){s.p + 1, s.len - 2};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (same_name(s, slice_str(words[i])))
			return true;
	}
	return false;
}

/* NVML's and DCGM's "not known" of a percentage: -1, printed as unsigned. */
static bool is_impossible_share(struct slice text, const struct number *n)
{
	struct slice digits = {n->integer, n->integer_len};

	return n->integer == text.p && !n->exponent && is_zeros(n->fraction, n->fraction_len) &&
	       (slice_eq(digits, SLICE_LIT("4294967295")) ||
		slice_eq(digits, SLICE_LIT("18446744073709551615")));
}

enum value_kind value_classify(struct slice text, bool percent)
{
	struct number n;

	if (text.len > VALUE_MAX)
		return VALUE_BAD;
	if (!parse_number(text, &n))
		return is_no_value(text) ? VALUE_NONE : VALUE_BAD;
	if (is_dcgm_blank(text, &n) || (percent && is_impossible_share(text, &n)))
		return VALUE_NONE;
	return VALUE_NUMBER;
}

/* ---- cells ----------------------------------------------------------------------------------- */

static const char *digits_of(struct slice s)
{
	const char *p = s.p, *end = s.p + s.len;

	while (p < end && ((*p >= '0' && *p <= '9') || strchr("+-.", *p)))
		p++;
	/* An exponent, if digits follow it. */
	if (p > s.p && end - p > 1 && (*p | 0x20) == 'e') {
		const char *q = p + 1 + (p[1] == '+' || p[1] == '-');

		if (q < end && *q >= '0' && *q <= '9')
			p = skip_digits(q, end);
	}
	return p;
}

/* Takes a unit off the end of s, if what is in front of it is a number. */
static struct slice split_unit(struct slice *s)
{
	const char *p = digits_of(*s);
	struct slice unit = trim((struct slice){p, (size_t)(s->p + s->len - p)});
	struct number n;

	if (!unit.len || !unit_is_known(unit) ||
	    !parse_number((struct slice){s->p, (size_t)(p - s->p)}, &n))
		return (struct slice){0};
	s->len = (size_t)(p - s->p);
	return unit;
}

static bool from_hex(struct slice s, struct strbuf *out)
{
	char text[19] = "", *end;
	unsigned long long v;

	if (s.len < 3 || s.len >= sizeof(text) || s.p[0] != '0' || (s.p[1] | 0x20) != 'x')
		return false;
	memcpy(text, s.p, s.len);
	v = strtoull(text + 2, &end, 16);
	if (*end || text[2] == '-' || text[2] == '+' || text[2] == ' ')
		return false;
	strbuf_addf(out, "%llu", v);
	return true;
}

static bool from_flag(struct slice s, struct strbuf *out)
{
	static const char *const words[] = {"Not Active", "Active", "Disabled", "Enabled",
					    "No",         "Yes",    "Off",      "On"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!same_name(s, slice_str(words[i])))
			continue;
		strbuf_addc(out, i % 2 ? '1' : '0');
		return true;
	}
	return false;
}

/* Words that are numbers in this form. */
static struct slice translate(enum reading_form form, struct slice s, struct strbuf *scratch)
{
	size_t at = scratch->len;

	if (form == READING_STATE && s.len > 1 && (*s.p | 0x20) == 'p')
		return (struct slice){s.p + 1, s.len - 1};
	if ((form == READING_BITS && from_hex(s, scratch)) ||
	    (form == READING_FLAG && from_flag(s, scratch)))
		return (struct slice){scratch->s + at, scratch->len - at};
	return s;
}

int reading_complain(struct slice cell, struct err *e)
{
	if (cell.len > VALUE_MAX)
		return err_set(e, -EBADMSG, "expected a number of at most %d bytes, got \"%s\"",
			       VALUE_MAX, excerpt(cell).s);
	return err_set(e, -EBADMSG, "expected a number, got \"%s\"", excerpt(cell).s);
}

/* What the number of a cell with this unit is to be multiplied by. */
static int factor_of(const struct reading_conf *c, struct slice unit, struct factor *ret,
		     struct err *e)
{
	*ret = c->factor;
	if (!unit.len || c->fixed || !strcmp(c->unit, "-"))
		return 0;
	if (unit_factor(unit, slice_str(c->unit), ret))
		return 0;
	return err_set(e, -EBADMSG, "expected %s, got %s", c->unit, excerpt(unit).s);
}

static int scale(struct factor f, struct slice cell, struct strbuf *scratch, struct slice *ret,
		 struct err *e)
{
	size_t at = scratch->len;

	if (factor_is_one(f))
		return 0;
	if (factor_apply(f, *ret, scratch) || scratch->len - at > VALUE_MAX)
		return reading_complain(cell, e);
	*ret = (struct slice){scratch->s + at, scratch->len - at};
	return 0;
}

int reading_take(const struct reading_conf *c, struct slice cell, struct strbuf *scratch,
		 enum value_kind *ret_kind, struct slice *ret, struct err *e)
{
	struct slice text = trim(cell), unit;
	enum value_kind kind;
	struct factor f;
	int r;

	/* At once, so that it does not move while slices point into it. */
	strbuf_reserve(scratch, ROOM);
	text = translate(c->form, text, scratch);
	unit = split_unit(&text);
	kind = value_classify(text, c->percent);
	if (kind == VALUE_BAD)
		return reading_complain(trim(cell), e);
	*ret_kind = kind;
	*ret = kind == VALUE_NUMBER ? text : SLICE_LIT("");
	if (kind == VALUE_NONE)
		return 0;
	r = factor_of(c, unit, &f, e);
	return r ? r : scale(f, cell, scratch, ret, e);
}
