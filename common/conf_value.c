#include "conf_table.h"
#include "parse.h"
#include "strbuf.h"

#define TEXT_MAX 512

struct unit {
	const char *name;
	int64_t factor;
};

/* For showing limits: the largest that leaves no rest is taken. */
static const struct unit durations[] = {
	{"h", 3600 * 1000}, {"m", 60 * 1000}, {"s", 1000}, {"ms", 1}};
static const struct unit sizes[] = {
	{"TiB", 1LL << 40}, {"GiB", 1LL << 30}, {"MiB", 1LL << 20}, {"KiB", 1LL << 10}, {"B", 1}};

static const struct type {
	const char *noun, *example;
	const struct unit *units;
} types[] = {
	[CONF_NUMBER] = {"number", NULL, NULL},
	[CONF_BOOL] = {"boolean", "true or false", NULL},
	[CONF_DURATION] = {"duration", "e.g. 250ms, 10s, 5m, 24h", durations},
	[CONF_SIZE] = {"size", "e.g. 64KiB, 8MiB or a number of bytes", sizes},
	[CONF_FRACTION] = {"fraction", NULL, NULL},
};

static void add_limit(struct strbuf *b, const struct unit *u, int64_t v)
{
	if (!u || v == 0) {
		strbuf_addf(b, "%lld", (long long)v);
		return;
	}
	while (v % u->factor)
		u++;
	strbuf_addf(b, "%lld%s", (long long)(v / u->factor), u->name);
}

static void add_range(struct strbuf *b, const struct conf_var *v)
{
	add_limit(b, types[v->type].units, v->min);
	strbuf_adds(b, " to ");
	add_limit(b, types[v->type].units, v->max);
}

static void add_words(struct strbuf *b, const struct conf_var *v)
{
	for (size_t i = 0; v->words[i]; i++)
		strbuf_addf(b, "%s%s", i ? ", " : "", v->words[i]);
}

void conf_var_form(const struct conf_var *v, struct strbuf *out)
{
	if (v->type == CONF_WORD)
		add_words(out, v);
	else if (v->type == CONF_BOOL)
		strbuf_adds(out, types[v->type].example);
	else if (v->type != CONF_STRING)
		add_range(out, v);
}

static int out_of_range(const struct conf_var *v, const char *text, struct err *e)
{
	struct strbuf range;

	strbuf_init(&range, TEXT_MAX);
	add_range(&range, v);
	err_set(e, -EINVAL, "\"%.200s\" is out of range (expected %s)", text, range.s);
	strbuf_release(&range);
	return -EINVAL;
}

static int malformed(const struct conf_var *v, const char *text, struct err *e)
{
	const struct type *t = &types[v->type];

	if (t->example)
		return err_set(e, -EINVAL, "\"%.200s\" is not a %s (expected %s)", text, t->noun,
			       t->example);
	return err_set(e, -EINVAL, "\"%.200s\" is not a %s (expected %lld to %lld)", text, t->noun,
		       (long long)v->min, (long long)v->max);
}

static int unknown_word(const struct conf_var *v, const char *text, struct err *e)
{
	struct strbuf list;

	strbuf_init(&list, TEXT_MAX);
	add_words(&list, v);
	err_set(e, -EINVAL, "\"%.200s\" is not known (expected one of %s)", text, list.s);
	strbuf_release(&list);
	return -EINVAL;
}

static int parse_word(const struct conf_var *v, const char *text, int64_t *ret)
{
	for (size_t i = 0; v->words[i]; i++) {
		if (strcmp(v->words[i], text) == 0) {
			*ret = (int64_t)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_whole(const struct conf_var *v, const char *text, int64_t *ret)
{
	struct slice s = slice_str(text);
	int r;

	if (v->type == CONF_NUMBER)
		return parse_i64(s, v->min, v->max, ret);
	r = v->type == CONF_DURATION ? parse_duration_ms(s, ret) : parse_size(s, ret);
	return r == 0 && (*ret < v->min || *ret > v->max) ? -ERANGE : r;
}

static int store(const struct conf_var *v, const char *text, void *at, int64_t *ret)
{
	struct slice s = slice_str(text);
	int r;

	switch (v->type) {
	case CONF_STRING:
		free(*(char **)at);
		*(char **)at = xstrdup(text);
		return 0;
	case CONF_BOOL:
		return parse_bool(s, at);
	case CONF_FRACTION:
		return parse_fraction(s, (double)v->min, (double)v->max, at);
	case CONF_WORD:
		return parse_word(v, text, at);
	default:
		r = parse_whole(v, text, ret);
		if (r == 0)
			*(int64_t *)at = *ret;
		return r;
	}
}

int conf_var_set(const struct conf_var *v, const char *text, bool used, struct conf *c,
		 struct err *e)
{
	int64_t value = 0;
	int r = store(v, text, (char *)c + v->offset, &value);

	if (r == -ERANGE)
		return out_of_range(v, text, e);
	if (r < 0)
		return v->type == CONF_WORD ? unknown_word(v, text, e) : malformed(v, text, e);
	return v->check && (used || !v->file) ? v->check(text, value, e) : 0;
}

void conf_var_take(const struct conf_var *v, struct conf *to, struct conf *from)
{
	char *a = (char *)to + v->offset, *b = (char *)from + v->offset;

	switch (v->type) {
	case CONF_STRING:
		free(*(char **)a);
		*(char **)a = TAKE_PTR(*(char **)b);
		break;
	case CONF_BOOL:
		*(bool *)a = *(bool *)b;
		break;
	case CONF_FRACTION:
		*(double *)a = *(double *)b;
		break;
	default:
		*(int64_t *)a = *(int64_t *)b;
	}
}
