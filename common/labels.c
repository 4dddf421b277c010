#include "labels.h"

/* ---- splitting ------------------------------------------------------------------------------ */

struct cursor {
	struct slice text;
	size_t at;
};

static int fail(const struct cursor *c, struct err *e, const char *what)
{
	return err_set(e, -EINVAL, "at byte %zu: %s", c->at + 1, what);
}

static char peek(const struct cursor *c)
{
	return c->at < c->text.len ? c->text.p[c->at] : '\0';
}

static bool at_end(const struct cursor *c)
{
	return c->at == c->text.len;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct cursor *c)
{
	while (is_blank(peek(c)))
		c->at++;
}

static bool skip_char(struct cursor *c, char want)
{
	skip_blanks(c);
	if (at_end(c) || peek(c) != want)
		return false;
	c->at++;
	return true;
}

static bool is_name_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       (!first && c >= '0' && c <= '9');
}

static int take_name(struct cursor *c, struct slice *ret, struct err *e)
{
	size_t start = c->at;

	while (is_name_char(peek(c), c->at == start))
		c->at++;
	if (c->at == start)
		return fail(c, e, "expected a label's name");
	*ret = (struct slice){c->text.p + start, c->at - start};
	return 0;
}

/* Behind the opening quote: up to and past the closing one. */
static int take_value(struct cursor *c, struct slice *ret, struct err *e)
{
	size_t start = c->at;

	while (!at_end(c) && peek(c) != '"') {
		if (peek(c) == '\\') {
			c->at++;
			if (at_end(c) || !strchr("\\\"n", peek(c)) || !peek(c))
				return fail(c, e, "expected \\\\, \\\" or \\n");
		}
		c->at++;
	}
	if (at_end(c))
		return fail(c, e, "a label's value does not end");
	*ret = (struct slice){c->text.p + start, c->at - start};
	c->at++;
	return 0;
}

static int take_label(struct cursor *c, struct label *ret, struct err *e)
{
	struct label l;
	int r = take_name(c, &l.name, e);

	if (r < 0)
		return r;
	if (!skip_char(c, '='))
		return fail(c, e, "expected =");
	if (!skip_char(c, '"'))
		return fail(c, e, "expected \"");
	r = take_value(c, &l.value, e);
	if (r < 0)
		return r;
	*ret = l;
	return 0;
}

/* The text between braces, if it has them. */
static int strip_braces(struct cursor *c, struct err *e)
{
	size_t end = c->text.len;

	if (!skip_char(c, '{'))
		return 0;
	while (is_blank(c->text.p[end - 1]))
		end--;
	if (c->text.p[end - 1] != '}') {
		c->at = end;
		return fail(c, e, "expected }");
	}
	c->text.len = end - 1;
	return 0;
}

int labels_split(struct slice text, struct label ret[LABELS_MAX], struct err *e)
{
	struct cursor c = {text, 0};
	int n = 0, r;

	if (text.len > LABELS_BYTES)
		return err_set(e, -EINVAL, "more than %d bytes", LABELS_BYTES);
	r = strip_braces(&c, e);
	if (r < 0)
		return r;
	skip_blanks(&c);
	while (!at_end(&c)) {
		if (n == LABELS_MAX)
			return err_set(e, -EINVAL, "more than %d labels", LABELS_MAX);
		r = take_label(&c, &ret[n], e);
		if (r < 0)
			return r;
		n++;
		skip_blanks(&c);
		if (!at_end(&c) && !skip_char(&c, ','))
			return fail(&c, e, "expected a comma");
		skip_blanks(&c);
	}
	return n;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* labels_split lets line breaks through as they are; the canonical text has them escaped. */
static void add_value(struct strbuf *out, struct slice v)
{
	const char *p = v.p, *end = v.p + v.len, *nl;

	while (p < end && (nl = memchr(p, '\n', (size_t)(end - p)))) {
		strbuf_add(out, p, (size_t)(nl - p));
		strbuf_adds(out, "\\n");
		p = nl + 1;
	}
	strbuf_add(out, p, (size_t)(end - p));
}

static void add_label(struct strbuf *out, size_t start, struct slice name, struct slice value)
{
	if (out->len > start)
		strbuf_addc(out, ',');
	strbuf_add_slice(out, name);
	strbuf_adds(out, "=\"");
	add_value(out, value);
	strbuf_addc(out, '"');
}

/* Stable, so that the first of equal names stays the first; sets are small and mostly sorted. */
static void sort_by_name(struct label *labels, int n)
{
	for (int i = 1; i < n; i++) {
		struct label l = labels[i];
		int j = i;

		for (; j > 0 && slice_cmp(labels[j - 1].name, l.name) > 0; j--)
			labels[j] = labels[j - 1];
		labels[j] = l;
	}
}

void labels_join(struct strbuf *out, struct label *labels, int n)
{
	size_t start = out->len;

	sort_by_name(labels, n);
	for (int i = 0; i < n; i++) {
		if (i > 0 && slice_eq(labels[i].name, labels[i - 1].name))
			continue;
		if (labels[i].value.len)
			add_label(out, start, labels[i].name, labels[i].value);
	}
}

/* ---- comparing ------------------------------------------------------------------------------ */

struct pair {
	struct label a[LABELS_MAX], b[LABELS_MAX];
	int n_a, n_b;
};

static void split_pair(struct pair *p, struct slice a, struct slice b)
{
	p->n_a = MAX(labels_split(a, p->a, NULL), 0);
	p->n_b = MAX(labels_split(b, p->b, NULL), 0);
}

/* Order of the next labels of both sides; past its end a side comes last. */
static int compare_next(const struct pair *p, int i, int j)
{
	if (i == p->n_a || j == p->n_b)
		return (i == p->n_a) - (j == p->n_b);
	return slice_cmp(p->a[i].name, p->b[j].name);
}

void labels_difference(struct strbuf *out, struct slice a, struct slice base)
{
	size_t start = out->len;
	struct pair p;
	int i = 0, j = 0;

	split_pair(&p, a, base);
	while (i < p.n_a || j < p.n_b) {
		int order = compare_next(&p, i, j);

		if (order < 0)
			add_label(out, start, p.a[i].name, p.a[i].value);
		else if (order > 0)
			add_label(out, start, p.b[j].name, SLICE_LIT(""));
		else if (!slice_eq(p.a[i].value, p.b[j].value))
			add_label(out, start, p.a[i].name, p.a[i].value);
		i += order <= 0;
		j += order >= 0;
	}
}

void labels_common(struct strbuf *out, struct slice a, struct slice b)
{
	size_t start = out->len;
	struct pair p;
	int i = 0, j = 0;

	split_pair(&p, a, b);
	while (i < p.n_a && j < p.n_b) {
		int order = compare_next(&p, i, j);

		if (order == 0 && slice_eq(p.a[i].value, p.b[j].value))
			add_label(out, start, p.a[i].name, p.a[i].value);
		i += order <= 0;
		j += order >= 0;
	}
}

void labels_add(struct strbuf *out, const char *name, struct slice value)
{
	strbuf_addf(out, "%s%s=\"", out->len ? "," : "", name);
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] == '"' || value.p[i] == '\\')
			strbuf_addc(out, '\\');
		if (value.p[i] == '\n')
			strbuf_adds(out, "\\n");
		else
			strbuf_addc(out, value.p[i]);
	}
	strbuf_addc(out, '"');
}

void labels_unescape(struct strbuf *out, struct slice v)
{
	for (size_t i = 0; i < v.len; i++) {
		char c = v.p[i];

		if (c == '\\' && i + 1 < v.len) {
			c = v.p[++i];
			if (c == 'n')
				c = '\n';
		}
		strbuf_addc(out, c);
	}
}

bool labels_get(struct slice text, const char *name, struct strbuf *ret_value)
{
	struct label labels[LABELS_MAX];
	int n = labels_split(text, labels, NULL);

	for (int i = 0; i < n; i++) {
		if (slice_eq(labels[i].name, slice_str(name))) {
			labels_unescape(ret_value, labels[i].value);
			return true;
		}
	}
	return false;
}
