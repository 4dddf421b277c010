#include "exposition.h"

#include <strings.h>

#include "parse.h"

#define DIGITS_OF_MS 3

struct cursor {
	const char *p, *end;
};

static bool at_end(const struct cursor *c)
{
	return c->p == c->end;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* False: there was none. */
static bool skip_blanks(struct cursor *c)
{
	const char *from = c->p;

	while (!at_end(c) && is_blank(*c->p))
		c->p++;
	return c->p != from;
}

static bool is_name_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
	       (!first && c >= '0' && c <= '9');
}

static struct slice take_name(struct cursor *c)
{
	const char *from = c->p;

	while (!at_end(c) && is_name_char(*c->p, c->p == from))
		c->p++;
	return (struct slice){from, (size_t)(c->p - from)};
}

static struct slice take_word(struct cursor *c)
{
	const char *from = c->p;

	while (!at_end(c) && !is_blank(*c->p))
		c->p++;
	return (struct slice){from, (size_t)(c->p - from)};
}

/* Behind the opening brace: up to and past the closing one, which is none inside quotes. */
static bool take_labels(struct cursor *c, struct slice *ret)
{
	const char *from = c->p;
	bool quoted = false;

	for (; !at_end(c) && (quoted || *c->p != '}'); c->p++) {
		if (*c->p == '"')
			quoted = !quoted;
		else if (quoted && *c->p == '\\' && c->p + 1 < c->end)
			c->p++;
	}
	if (at_end(c))
		return false;
	*ret = (struct slice){from, (size_t)(c->p++ - from)};
	return true;
}

#define SECONDS_MAX 40 /* bytes of a timestamp in plain digits */

/* 1.5208796e+09, as Go prints seconds, is 1520879600. Only exponents that move the point to the
 * right, as far as there is room. */
static int parse_seconds(struct slice text, struct stamp *ret)
{
	const char *e = memchr(text.p, 'e', text.len), *p = text.p;
	char plain[SECONDS_MAX + 1];
	size_t n = 0, shift, point;
	uint64_t exponent;

	if (!e)
		return stamp_parse(text, ret);
	shift = (size_t)(e - p) + 1 + (e + 1 < p + text.len && e[1] == '+');
	if (parse_u64((struct slice){p + shift, text.len - shift}, SECONDS_MAX / 2, &exponent) ||
	    e == p || e - p > SECONDS_MAX / 2)
		return -EINVAL;
	for (point = 0; p + point < e && p[point] != '.'; point++)
		plain[n++] = p[point];
	point += (size_t)exponent;
	for (const char *f = p + n + 1; f < e; f++) {
		if (*f < '0' || *f > '9')
			return -EINVAL;
		if (n == point)
			plain[n++] = '.';
		plain[n++] = *f;
	}
	while (n < point)
		plain[n++] = '0';
	return stamp_parse((struct slice){plain, n}, ret);
}

/* Milliseconds in the one format, seconds in the other. */
static int parse_time(enum exposition_format format, struct slice text, struct stamp *ret)
{
	int64_t ms;
	int r;

	if (format == EXPOSITION_OPENMETRICS)
		return parse_seconds(text, ret);
	r = parse_i64(text, 0, INT64_MAX / NS_PER_MS, &ms);
	if (!r)
		*ret = (struct stamp){ms * NS_PER_MS, DIGITS_OF_MS};
	return r;
}

/* What may stand behind the value. */
static int take_rest(const struct exposition *x, struct cursor *c, struct exposition_sample *s,
		     struct err *e)
{
	bool may_follow = x->format == EXPOSITION_OPENMETRICS;
	struct slice text;

	skip_blanks(c);
	s->has_time = !at_end(c) && !(may_follow && *c->p == '#');
	if (s->has_time) {
		text = take_word(c);
		if (parse_time(x->format, text, &s->time))
			return err_set(e, -EINVAL, "no timestamp: \"%.*s\"",
				       (int)MIN(text.len, (size_t)60), text.p);
		skip_blanks(c);
	}
	if (!at_end(c) && !(may_follow && *c->p == '#'))
		return err_set(e, -EINVAL, "something behind the timestamp");
	return 0;
}

static int parse_line(const struct exposition *x, struct slice line, struct exposition_sample *ret,
		      struct err *e)
{
	struct cursor c = {line.p, line.p + line.len};
	struct exposition_sample s = {0};

	skip_blanks(&c);
	s.name = take_name(&c);
	s.labels = SLICE_LIT("");
	if (!s.name.len)
		return err_set(e, -EINVAL, "expected a metric's name");
	s.series = s.name;
	skip_blanks(&c);
	if (!at_end(&c) && *c.p == '{') {
		c.p++;
		if (!take_labels(&c, &s.labels))
			return err_set(e, -EINVAL, "the labels do not end");
		s.series.len = (size_t)(c.p - s.series.p);
		skip_blanks(&c);
	} else if (!at_end(&c) && !is_blank(c.p[-1])) {
		return err_set(e, -EINVAL, "expected a metric's name");
	}
	s.value = take_word(&c);
	if (!s.value.len)
		return err_set(e, -EINVAL, "expected a value");
	if (take_rest(x, &c, &s, e))
		return -EINVAL;
	*ret = s;
	return 0;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static bool is_comment(struct slice line)
{
	struct cursor c = {line.p, line.p + line.len};

	skip_blanks(&c);
	return at_end(&c) || *c.p == '#';
}

/* False: the text ends without another line end. */
static bool take_line(struct exposition *x, struct slice *ret)
{
	const char *newline = memchr(x->left.p, '\n', x->left.len);
	size_t len = newline ? (size_t)(newline - x->left.p) : x->left.len;

	*ret = (struct slice){x->left.p, len};
	if (newline && len && ret->p[len - 1] == '\r')
		ret->len--;
	x->left.p += len + (newline != NULL);
	x->left.len -= len + (newline != NULL);
	x->line++;
	return newline;
}

/* Nothing counts behind "# EOF". */
static bool is_eof(struct exposition *x, struct slice line)
{
	if (x->format != EXPOSITION_OPENMETRICS || !slice_eq(line, SLICE_LIT("# EOF")))
		return false;
	x->complete = true;
	x->left.len = 0;
	return true;
}

enum exposition_event exposition_next(struct exposition *x, struct exposition_sample *ret,
				      struct err *e)
{
	struct slice line;
	int r;

	while (x->left.len) {
		bool ended = take_line(x, &line);

		if (is_eof(x, line) || is_comment(line))
			continue;
		if (!ended)
			r = err_set(e, -EINVAL, "no line end: the answer was cut");
		else if (line.len > EXPOSITION_LINE_MAX)
			r = err_set(e, -EINVAL, "more than %d bytes", EXPOSITION_LINE_MAX);
		else
			r = parse_line(x, line, ret, e);
		if (!r)
			return EXPOSITION_SAMPLE;
		err_prefix(e, r, "line %lld", (long long)x->line);
		return EXPOSITION_INVALID;
	}
	return EXPOSITION_END;
}

void exposition_init(struct exposition *x, struct slice text, enum exposition_format format)
{
	*x = (struct exposition){
		.left = text, .format = format, .complete = format == EXPOSITION_PROMETHEUS};
}

enum exposition_format exposition_format_of(struct slice content_type)
{
	static const struct slice name = SLICE_LIT("application/openmetrics-text");
	bool is = content_type.len >= name.len && !strncasecmp(content_type.p, name.p, name.len);

	return is ? EXPOSITION_OPENMETRICS : EXPOSITION_PROMETHEUS;
}
