/* Answers of etcd are one string after the other, megabytes of them when a store is listed; this
 * parser takes a fifth of the time that jansson took for them, which was most of what a mount's
 * start cost (tests/bench/reads; tests/fuzz/fuzz_json holds the two against each other).
 *
 * It works on a copy of the text, in which strings are unescaped and terminated in place. A value
 * is a node; members of an object and items of an array lie side by side: they are gathered on a
 * stack and move to their own place when the container ends. */
#include "json.h"

#include "parse.h"
#include "strbuf.h"

#include <math.h>
#include <stdio.h>

#define DEPTH_MAX   64
#define BLOCK_NODES 512

enum type { T_NULL, T_FALSE, T_TRUE, T_INTEGER, T_REAL, T_STRING, T_ARRAY, T_OBJECT };

struct json {
	const char *key; /* of a member, terminated */
	union {
		const char *text; /* of a string, terminated; of a number */
		const struct json *items;
	};
	size_t n; /* bytes of text, items */
	uint32_t key_len;
	enum type type;
};

struct block {
	struct block *next;
	struct json nodes[];
};

struct doc {
	struct json root;
	char *text;
	struct block *blocks;
	size_t left; /* nodes of the newest block that are free */
	struct json *free;
};

struct parser {
	struct doc *doc;
	char *at, *end; /* *end is a NUL */
	struct json *stack;
	size_t n, cap;
	const char *what; /* went wrong, at at */
};

/* ---- memory ---------------------------------------------------------------------------------- */

static int fail(struct parser *p, const char *what)
{
	p->what = what;
	return -EBADMSG;
}

static int push(struct parser *p, const struct json *node)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 64;
		struct json *stack = reallocarray(p->stack, cap, sizeof(*stack));

		if (!stack)
			return fail(p, "not enough memory");
		p->stack = stack;
		p->cap = cap;
	}
	p->stack[p->n++] = *node;
	return 0;
}

static struct json *nodes_alloc(struct doc *d, size_t n)
{
	struct json *nodes;

	if (n > d->left) {
		size_t size = MAX(n, (size_t)BLOCK_NODES);
		struct block *b = malloc(sizeof(*b) + size * sizeof(b->nodes[0]));

		if (!b)
			return NULL;
		b->next = d->blocks;
		d->blocks = b;
		d->free = b->nodes;
		d->left = size;
	}
	nodes = d->free;
	d->free += n;
	d->left -= n;
	return nodes;
}

/* What was pushed since base becomes the items of a container. */
static int take_items(struct parser *p, size_t base, struct json *ret)
{
	struct json *items;

	ret->n = p->n - base;
	p->n = base;
	if (!ret->n)
		return 0;
	items = nodes_alloc(p->doc, ret->n);
	if (!items)
		return fail(p, "not enough memory");
	memcpy(items, p->stack + base, ret->n * sizeof(*items));
	ret->items = items;
	return 0;
}

/* ---- strings --------------------------------------------------------------------------------- */

static int hex4(const char *s)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		char c = s[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;

		if (digit < 0)
			return -1;
		v = v << 4 | digit;
	}
	return v;
}

static char *put_utf8(char *to, unsigned c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* Behind "\u". */
static int parse_unicode(struct parser *p, char **to)
{
	int high = hex4(p->at), low;

	if (high < 0)
		return fail(p, "bad \\u escape");
	p->at += 4;
	if (high >= 0xd800 && high <= 0xdfff) {
		low = p->at[0] == '\\' && p->at[1] == 'u' ? hex4(p->at + 2) : -1;
		if (high > 0xdbff || low < 0xdc00 || low > 0xdfff)
			return fail(p, "half of a surrogate pair");
		p->at += 6;
		high = 0x10000 + ((high & 0x3ff) << 10 | (low & 0x3ff));
	}
	*to = put_utf8(*to, (unsigned)high);
	return 0;
}

static int parse_escape(struct parser *p, char **to)
{
	static const char plain[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
					['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
	unsigned char c = (unsigned char)*++p->at;

	if (c == 'u') {
		p->at++;
		return parse_unicode(p, to);
	}
	if (!plain[c])
		return fail(p, "bad escape");
	*(*to)++ = plain[c];
	p->at++;
	return 0;
}

/* How many bytes from s on stand for themselves; all of them are or'ed to *seen. */
static size_t plain_len(const char *s, unsigned char *seen)
{
	const unsigned char *at = (const unsigned char *)s;
	unsigned char all = 0;

	for (; *at >= 0x20 && *at != '"' && *at != '\\'; at++)
		all |= *at;
	*seen |= all;
	return (size_t)(at - (const unsigned char *)s);
}

/* From the opening quote to behind the closing one. */
static int parse_string(struct parser *p, const char **ret, size_t *ret_n)
{
	char *begin = ++p->at, *to = begin;
	unsigned char seen = 0;
	int r = 0;

	while (!r) {
		size_t n = plain_len(p->at, &seen);

		if (to != p->at)
			memmove(to, p->at, n);
		to += n;
		p->at += n;
		if (*p->at == '"')
			break;
		r = *p->at == '\\' ? parse_escape(p, &to)
				   : fail(p, p->at < p->end ? "control character in a string"
							    : "string does not end");
	}
	if (r)
		return r;
	if (seen >= 0x80 && !utf8_valid((struct slice){begin, (size_t)(to - begin)}))
		return fail(p, "string is not UTF-8");
	p->at++;
	*to = '\0';
	*ret = begin;
	*ret_n = (size_t)(to - begin);
	return 0;
}

/* ---- numbers and words ----------------------------------------------------------------------- */

static size_t digits(struct parser *p)
{
	size_t n = strspn(p->at, "0123456789");

	p->at += n;
	return n;
}

/* A fraction and an exponent; whether there was one. */
static int parse_real_part(struct parser *p, bool *ret)
{
	*ret = false;
	if (*p->at == '.') {
		p->at++;
		*ret = true;
		if (!digits(p))
			return fail(p, "digits expected");
	}
	if (*p->at == 'e' || *p->at == 'E') {
		p->at++;
		*ret = true;
		p->at += *p->at == '+' || *p->at == '-';
		if (!digits(p))
			return fail(p, "digits expected");
	}
	return 0;
}

static int parse_number(struct parser *p, struct json *ret)
{
	char *begin = p->at;
	int64_t v;
	bool real;

	p->at += *p->at == '-';
	if (*p->at == '0')
		p->at++;
	else if (!digits(p))
		return fail(p, "value expected");
	if (parse_real_part(p, &real))
		return -EBADMSG;
	ret->type = real ? T_REAL : T_INTEGER;
	ret->text = begin;
	ret->n = (size_t)(p->at - begin);
	if (real ? isinf(strtod(begin, NULL))
		 : parse_i64((struct slice){begin, ret->n}, INT64_MIN, INT64_MAX, &v))
		return fail(p, "number out of range");
	return 0;
}

static int parse_word(struct parser *p, struct json *ret)
{
	static const struct {
		const char *word;
		enum type type;
	} words[] = {{"null", T_NULL}, {"false", T_FALSE}, {"true", T_TRUE}};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		size_t n = strlen(words[i].word);

		if (strncmp(p->at, words[i].word, n))
			continue;
		p->at += n;
		ret->type = words[i].type;
		return 0;
	}
	return fail(p, "value expected");
}

/* ---- values ---------------------------------------------------------------------------------- */

static int parse_value(struct parser *p, int depth, struct json *ret);

static void skip_blanks(struct parser *p)
{
	while (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r')
		p->at++;
}

static int parse_key(struct parser *p, struct json *ret)
{
	size_t n;

	if (*p->at != '"')
		return fail(p, "string expected");
	if (parse_string(p, &ret->key, &n))
		return -EBADMSG;
	if (memchr(ret->key, 0, n))
		return fail(p, "NUL in a name");
	ret->key_len = (uint32_t)n;
	skip_blanks(p);
	if (*p->at != ':')
		return fail(p, "':' expected");
	p->at++;
	skip_blanks(p);
	return 0;
}

/* From the opening bracket to behind the closing one. */
static int parse_items(struct parser *p, int depth, struct json *ret)
{
	char close = ret->type == T_OBJECT ? '}' : ']';
	size_t base = p->n;
	int r = 0;

	if (depth == DEPTH_MAX)
		return fail(p, "nested deeper than 64 levels");
	p->at++;
	skip_blanks(p);
	for (bool first = true; !r && (*p->at != close || !first); first = false) {
		struct json item = {0};

		if (ret->type == T_OBJECT)
			r = parse_key(p, &item);
		if (!r)
			r = parse_value(p, depth + 1, &item);
		if (!r)
			r = push(p, &item);
		skip_blanks(p);
		if (r || *p->at == close)
			break;
		if (*p->at != ',')
			return fail(p,
				    close == '}' ? "',' or '}' expected" : "',' or ']' expected");
		p->at++;
		skip_blanks(p);
	}
	if (r)
		return r;
	p->at++;
	return take_items(p, base, ret);
}

static int parse_value(struct parser *p, int depth, struct json *ret)
{
	switch (*p->at) {
	case '"':
		ret->type = T_STRING;
		return parse_string(p, &ret->text, &ret->n);
	case '{':
	case '[':
		ret->type = *p->at == '{' ? T_OBJECT : T_ARRAY;
		return parse_items(p, depth, ret);
	case '-':
	case '0' ... '9':
		return parse_number(p, ret);
	default:
		return parse_word(p, ret);
	}
}

/* ---- documents ------------------------------------------------------------------------------- */

static int explain(const struct parser *p, const char *begin, struct err *e)
{
	int line = 1, column = 1;

	for (const char *s = begin; s < p->at; s++) {
		column = *s == '\n' ? 1 : column + 1;
		line += *s == '\n';
	}
	return err_set(e, -EBADMSG, "JSON line %d, column %d: %s", line, column, p->what);
}

static void doc_free(struct doc *d)
{
	while (d->blocks) {
		struct block *b = d->blocks;

		d->blocks = b->next;
		free(b);
	}
	free(d->text);
	free(d);
}

static int parse_document(struct parser *p)
{
	int r;

	skip_blanks(p);
	r = parse_value(p, 0, &p->doc->root);
	if (r)
		return r;
	skip_blanks(p);
	return p->at == p->end ? 0 : fail(p, "end expected");
}

int json_parse(const char *s, size_t n, struct json **ret, struct err *e)
{
	struct doc *d = n < UINT32_MAX ? calloc(1, sizeof(*d)) : NULL;
	struct parser p = {.doc = d};
	int r;

	if (d)
		d->text = malloc(n + 1);
	if (!d || !d->text) {
		free(d);
		return err_set(e, -EBADMSG, "JSON: not enough memory for %zu bytes", n);
	}
	if (n)
		memcpy(d->text, s, n);
	d->text[n] = '\0';
	p.at = d->text;
	p.end = d->text + n;
	r = parse_document(&p);
	free(p.stack);
	if (r) {
		explain(&p, d->text, e);
		doc_free(d);
		return r;
	}
	*ret = &d->root;
	return 0;
}

void json_free(struct json *doc)
{
	if (doc)
		doc_free(container_of(doc, struct doc, root));
}

/* ---- accessors ------------------------------------------------------------------------------- */

static bool is_type(const struct json *j, enum type type)
{
	return j && j->type == type;
}

const struct json *json_get(const struct json *object, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = json_is_object(object) ? object->n : 0; i-- > 0;)
		if (object->items[i].key_len == len && !memcmp(object->items[i].key, key, len))
			return &object->items[i];
	return NULL;
}

const struct json *json_at(const struct json *array, size_t i)
{
	return json_is_array(array) && i < array->n ? &array->items[i] : NULL;
}

size_t json_count(const struct json *j)
{
	return json_is_array(j) || json_is_object(j) ? j->n : 0;
}

bool json_is_object(const struct json *j)
{
	return is_type(j, T_OBJECT);
}

bool json_is_array(const struct json *j)
{
	return is_type(j, T_ARRAY);
}

bool json_is_string(const struct json *j)
{
	return is_type(j, T_STRING);
}

bool json_is_number(const struct json *j)
{
	return is_type(j, T_INTEGER) || is_type(j, T_REAL);
}

bool json_is_null(const struct json *j)
{
	return is_type(j, T_NULL);
}

bool json_is_bool(const struct json *j)
{
	return is_type(j, T_TRUE) || is_type(j, T_FALSE);
}

struct slice json_str(const struct json *j)
{
	return json_is_string(j) ? (struct slice){j->text, j->n} : SLICE_LIT("");
}

struct slice json_number_text(const struct json *j)
{
	return json_is_number(j) ? (struct slice){j->text, j->n} : SLICE_LIT("");
}

int64_t json_int(const struct json *j, int64_t fallback)
{
	int64_t v = fallback;

	if (!is_type(j, T_INTEGER) && !json_is_string(j))
		return fallback;
	return parse_i64((struct slice){j->text, j->n}, INT64_MIN, INT64_MAX, &v) < 0 ? fallback
										      : v;
}

bool json_bool(const struct json *j)
{
	return is_type(j, T_TRUE);
}

const char *json_excerpt(const struct json *j, char buf[JSON_EXCERPT_MAX])
{
	static const char *const words[] = {
		[T_NULL] = "null",      [T_FALSE] = "false",      [T_TRUE] = "true",
		[T_ARRAY] = "an array", [T_OBJECT] = "an object",
	};
	const char *quote = json_is_string(j) ? "\"" : "";
	int max = JSON_EXCERPT_MAX - 8;

	if (!json_is_string(j) && !json_is_number(j))
		return strcpy(buf, j ? words[j->type] : "nothing");
	snprintf(buf, JSON_EXCERPT_MAX, "%s%.*s%s%s", quote, (int)MIN(j->n, (size_t)max), j->text,
		 j->n > (size_t)max ? "..." : "", quote);
	for (char *c = buf; *c; c++)
		*c = *c < ' ' || *c > '~' ? '?' : *c;
	return buf;
}

int json_each(const struct json *object,
	      int (*fn)(const char *key, const struct json *value, void *arg), void *arg)
{
	int r = 0;

	for (size_t i = 0; !r && i < (json_is_object(object) ? object->n : 0); i++)
		r = fn(object->items[i].key, &object->items[i], arg);
	return r;
}
