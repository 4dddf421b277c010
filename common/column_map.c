#include "column_map.h"

#include "fields.h"

#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* ---- names ----------------------------------------------------------------------------------- */

static const char *const forms[] = {
	[READING_NUMBER] = "number",
	[READING_BITS] = "bits",
	[READING_STATE] = "state",
	[READING_FLAG] = "flag",
};

struct slice column_unit(struct slice *name)
{
	struct slice s = trim(*name);
	char open = s.len && s.p[s.len - 1] == ']'   ? '['
		    : s.len && s.p[s.len - 1] == ')' ? '('
						     : '\0';
	const char *at = open ? memrchr(s.p, open, s.len) : NULL;

	*name = s;
	if (!at || at == s.p)
		return (struct slice){0};
	*name = trim((struct slice){s.p, (size_t)(at - s.p)});
	return trim((struct slice){at + 1, (size_t)(s.p + s.len - at) - 2});
}

bool column_squeeze(struct slice name, char ret[COLUMN_NAME_MAX + 1])
{
	size_t n = 0;

	column_unit(&name);
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (!isalnum(c) && c < 0x80)
			continue;
		if (n == COLUMN_NAME_MAX)
			return false;
		ret[n++] = (char)tolower(c);
	}
	ret[n] = '\0';
	return n > 0;
}

const char *target_describe(const struct target *t, char *buf, size_t n)
{
	static const char *const words[] = {
		[TARGET_UNKNOWN] = "not stored",
		[TARGET_IGNORED] = "not stored",
	};

	if (t->kind == TARGET_METRIC || t->kind == TARGET_LABEL) {
		snprintf(buf, n, "%s %s", t->kind == TARGET_METRIC ? "metric" : "label", t->name);
		return buf;
	}
	if (t->kind == TARGET_TIME || t->kind == TARGET_VALUE)
		return field_name(t->kind == TARGET_TIME ? FIELD_TIME : FIELD_VALUE);
	return t->kind == TARGET_FIELD ? field_name((int)t->field) : words[t->kind];
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* A line, being read from its start. */
struct line {
	struct slice left;
	struct err *e;
};

static bool take_char(struct line *l, char c)
{
	l->left = trim(l->left);
	if (!l->left.len || *l->left.p != c)
		return false;
	l->left.p++;
	l->left.len--;
	return true;
}

static struct slice take_word(struct line *l)
{
	struct slice s = trim(l->left);
	size_t n = 0;

	while (n < s.len && s.p[n] != ' ' && s.p[n] != '\t')
		n++;
	l->left = trim((struct slice){s.p + n, s.len - n});
	return (struct slice){s.p, n};
}

/* The text between quotes; doubled ones are undone. */
static int take_quoted(struct line *l, struct strbuf *out)
{
	const char *p = l->left.p + 1, *end = l->left.p + l->left.len;

	for (; p < end; p++) {
		if (*p == '"' && (p + 1 == end || p[1] != '"'))
			break;
		p += *p == '"';
		strbuf_addc(out, *p);
	}
	if (p == end)
		return err_set(l->e, -EBADMSG, "a quote is opened and never closed");
	l->left = trim((struct slice){p + 1, (size_t)(end - p) - 1});
	return 0;
}

/* A column's name, up to what ends it. */
static int take_name(struct line *l, struct strbuf *out)
{
	size_t n = 0;

	strbuf_reset(out);
	l->left = trim(l->left);
	if (l->left.len && *l->left.p == '"')
		return take_quoted(l, out);
	while (n < l->left.len && l->left.p[n] != '|' && l->left.p[n] != '=' &&
	       !(l->left.p[n] == ':' && n + 1 < l->left.len && l->left.p[n + 1] == '='))
		n++;
	strbuf_add_slice(out, trim((struct slice){l->left.p, n}));
	l->left = (struct slice){l->left.p + n, l->left.len - n};
	return 0;
}

static bool find_field(struct slice name, struct target *ret)
{
	int field = field_find(name);

	ret->kind = field == FIELD_TIME    ? TARGET_TIME
		    : field == FIELD_VALUE ? TARGET_VALUE
					   : TARGET_FIELD;
	ret->field = (enum series_field)field;
	return field >= 0;
}

static bool is_label_name(struct slice s)
{
	bool good = s.len && !isdigit((unsigned char)*s.p);

	for (size_t i = 0; i < s.len; i++)
		good = good && (isalnum((unsigned char)s.p[i]) || s.p[i] == '_');
	return good;
}

static int take_form(struct line *l, struct target *t)
{
	struct slice word = take_word(l);

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (slice_eq(word, slice_str(forms[i]))) {
			t->form = (enum reading_form)i;
			return 0;
		}
	}
	return err_set(l->e, -EBADMSG, "as: expected number, bits, state or flag, got \"%s\"",
		       excerpt(word).s);
}

static int take_unit(struct line *l, struct target *t)
{
	struct slice word = take_word(l);
	const char *unit = metric_unit(t->name);

	if (!unit_is_known(word))
		return err_set(l->e, -EBADMSG, "in: \"%s\" is no unit", excerpt(word).s);
	if (!strcmp(unit, "-"))
		return err_set(l->e, -EBADMSG, "in: the unit of %s is not known: say * FACTOR",
			       t->name);
	if (!unit_factor(word, slice_str(unit), &t->factor))
		return err_set(l->e, -EBADMSG, "in: %s is not to be had as %s, the unit of %s",
			       excerpt(word).s, unit, t->name);
	return 0;
}

static int take_factor(struct line *l, struct target *t)
{
	struct slice word = take_word(l);

	t->fixed = true;
	if (factor_parse(word, &t->factor))
		return err_set(l->e, -EBADMSG, "*: expected a positive number, got \"%s\"",
			       excerpt(word).s);
	return 0;
}

static int take_metric(struct line *l, struct target *t)
{
	struct slice name = take_word(l);
	int r = 0;

	if (!name.len || !utf8_valid(name))
		return err_set(l->e, -EBADMSG, "metric: its name is missing");
	t->kind = TARGET_METRIC;
	t->name = xstrndup(name.p, name.len);
	while (!r && l->left.len) {
		struct slice word = take_word(l);

		if (slice_eq(word, SLICE_LIT("*")))
			r = take_factor(l, t);
		else if (slice_eq(word, SLICE_LIT("in")))
			r = take_unit(l, t);
		else if (slice_eq(word, SLICE_LIT("as")))
			r = take_form(l, t);
		else
			r = err_set(l->e, -EBADMSG,
				    "expected \"* FACTOR\", \"in UNIT\" or \"as "
				    "FORM\", got \"%s\"",
				    excerpt(word).s);
	}
	return r;
}

static int take_label(struct line *l, struct target *t)
{
	struct slice name = take_word(l);

	if (!is_label_name(name))
		return err_set(l->e, -EBADMSG, "label: \"%s\" is no name of a label",
			       excerpt(name).s);
	t->kind = TARGET_LABEL;
	t->name = xstrndup(name.p, name.len);
	return 0;
}

static int take_target(struct line *l, struct target *t)
{
	struct slice word = take_word(l);
	int r = 0;

	if (slice_eq(word, SLICE_LIT("ignore")))
		t->kind = TARGET_IGNORED;
	else if (slice_eq(word, SLICE_LIT("metric")))
		return take_metric(l, t);
	else if (slice_eq(word, SLICE_LIT("label")))
		r = take_label(l, t);
	else if (!find_field(word, t))
		return err_set(l->e, -EBADMSG,
			       "expected a field, \"metric NAME\", \"label NAME\" "
			       "or \"ignore\", got \"%s\"",
			       excerpt(word).s);
	if (!r && l->left.len)
		r = err_set(l->e, -EBADMSG, "unexpected \"%s\"", excerpt(l->left).s);
	return r;
}

/* ---- maps ------------------------------------------------------------------------------------ */

static void target_release(struct target *t)
{
	free(t->name);
}

static struct target target_copy(const struct target *t)
{
	struct target copy = *t;

	copy.name = t->name ? xstrdup(t->name) : NULL;
	return copy;
}

static int add_column(struct column_map *m, struct slice name, const struct target *t,
		      struct err *e)
{
	struct mapped *c;

	if (m->n == COLUMN_MAP_MAX)
		return err_set(e, -EBADMSG, "more than %d columns", COLUMN_MAP_MAX);
	m->columns = xrealloc(m->columns, (m->n + 1) * sizeof(*m->columns));
	c = &m->columns[m->n];
	if (!column_squeeze(name, c->name))
		return err_set(e, -EBADMSG, "\"%s\" is no name of a column", excerpt(name).s);
	if (column_map_find(m, name))
		return err_set(e, -EBADMSG, "column \"%s\" is there twice", excerpt(name).s);
	c->target = target_copy(t);
	m->n++;
	return 0;
}

/* The names in front of "=" wait in names, each with its length in front. */
static int add_columns(struct column_map *m, const struct strbuf *names, struct line *l)
{
	struct target t = {.factor = FACTOR_ONE};
	struct reader left = reader_of(names->s, names->len);
	int r = take_target(l, &t);

	while (!r && reader_left(&left))
		r = add_column(m, read_lstr(&left), &t, l->e);
	target_release(&t);
	return r;
}

static int add_constant(struct column_map *m, struct slice name, struct line *l)
{
	struct target t = {.factor = FACTOR_ONE};
	struct line left = {name, l->e};
	bool is_label = slice_eq(take_word(&left), SLICE_LIT("label")) && left.left.len;
	int r = is_label ? take_label(&left, &t) : 0;

	if (!is_label && (!find_field(name, &t) || t.kind != TARGET_FIELD))
		r = err_set(l->e, -EBADMSG, ":=: \"%s\" is no field that can be constant",
			    excerpt(name).s);
	if (!r && m->n_constants == COLUMN_MAP_MAX)
		r = err_set(l->e, -EBADMSG, "more than %d constants", COLUMN_MAP_MAX);
	if (r) {
		target_release(&t);
		return r;
	}
	m->constants = xrealloc(m->constants, (m->n_constants + 1) * sizeof(*m->constants));
	l->left = trim(l->left);
	m->constants[m->n_constants++] = (struct constant){t, xstrndup(l->left.p, l->left.len)};
	return 0;
}

static int parse_line(struct column_map *m, struct line *l)
{
	struct strbuf name, names;
	int r;

	strbuf_init(&name, COLUMN_MAP_BYTES);
	strbuf_init(&names, 2 * COLUMN_MAP_BYTES);
	do {
		r = take_name(l, &name);
		strbuf_add_lstr(&names, (struct slice){name.s, name.len});
		if (!r && (name.err || names.err))
			r = err_set(l->e, -ENOMEM, "out of memory");
	} while (!r && take_char(l, '|'));
	if (!r && take_char(l, '='))
		r = add_columns(m, &names, l);
	else if (!r && take_char(l, ':') && take_char(l, '='))
		r = add_constant(m, (struct slice){name.s, name.len}, l);
	else if (!r)
		r = err_set(l->e, -EBADMSG, "expected COLUMN = TARGET or FIELD := TEXT");
	strbuf_release(&names);
	strbuf_release(&name);
	return r;
}

static struct slice next_line(struct slice *text)
{
	const char *nl = memchr(text->p, '\n', text->len);
	struct slice s = {text->p, nl ? (size_t)(nl - text->p) : text->len};
	size_t used = s.len + (nl != NULL);

	*text = (struct slice){text->p + used, text->len - used};
	if (s.len && s.p[s.len - 1] == '\r')
		s.len--;
	return trim(s);
}

int column_map_parse(struct column_map *m, const char *name, struct slice text, struct err *e)
{
	int r = 0, number = 0;

	*m = (struct column_map){.name = xstrdup(name)};
	if (text.len > COLUMN_MAP_BYTES)
		r = err_set(e, -EBADMSG, "%s: a map of more than %d bytes", name, COLUMN_MAP_BYTES);
	while (!r && text.len) {
		struct line l = {next_line(&text), e};

		number++;
		if (!l.left.len || *l.left.p == '#')
			continue;
		r = parse_line(m, &l);
		if (r)
			err_prefix(e, r, "%s:%d", name, number);
	}
	if (r)
		column_map_release(m);
	return r;
}

int column_map_read(struct column_map *m, const char *path, struct err *e)
{
	char *text = xmalloc(COLUMN_MAP_BYTES + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
	size_t len = 0;
	ssize_t n = 1;

	while (fd >= 0 && len <= COLUMN_MAP_BYTES && n > 0) {
		n = read(fd, text + len, COLUMN_MAP_BYTES + 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (fd < 0 || n < 0)
		r = err_set(e, -errno, "%s: %s", path, strerror(errno));
	else
		r = column_map_parse(m, path, (struct slice){text, len}, e);
	if (fd >= 0)
		close(fd);
	free(text);
	return r;
}

void column_map_release(struct column_map *m)
{
	for (size_t i = 0; i < m->n; i++)
		target_release(&m->columns[i].target);
	for (size_t i = 0; i < m->n_constants; i++) {
		target_release(&m->constants[i].target);
		free(m->constants[i].text);
	}
	free(m->columns);
	free(m->constants);
	free(m->name);
	*m = (struct column_map){0};
}

const struct mapped *column_map_find(const struct column_map *m, struct slice column)
{
	char name[COLUMN_NAME_MAX + 1];

	if (!column_squeeze(column, name))
		return NULL;
	for (size_t i = 0; i < m->n; i++) {
		if (!strcmp(m->columns[i].name, name))
			return &m->columns[i];
	}
	return NULL;
}

/* ---- built in -------------------------------------------------------------------------------- */

#define MAP(symbol, file)                                                                          \
	__asm__(".pushsection .rodata\n" #symbol ":\n.incbin \"" file "\"\n" #symbol "_end:\n"     \
		".popsection\n");                                                                  \
	extern const char symbol[] __attribute__((visibility("hidden"))),                          \
		symbol##_end[] __attribute__((visibility("hidden")))

MAP(map_nvidia_smi, "nvidia-smi.map");
MAP(map_training, "training.map");
MAP(map_amd_monitor, "amd-smi-monitor.map");
MAP(map_amd_metric, "amd-smi-metric.map");
MAP(map_general, "general.map");

static const struct {
	const char *name, *text, *end;
} texts[] = {
	{"nvidia-smi", map_nvidia_smi, map_nvidia_smi_end},
	{"training", map_training, map_training_end},
	{"amd-smi monitor", map_amd_monitor, map_amd_monitor_end},
	{"amd-smi metric", map_amd_metric, map_amd_metric_end},
	{"general", map_general, map_general_end},
};

static struct column_map builtin[ARRAY_SIZE(texts)];

/* What a field is called everywhere; of names that are one as columns the first. */
static int add_aliases(struct column_map *m, int field, struct err *e)
{
	struct target t = {.factor = FACTOR_ONE};
	const char *alias;
	int r = 0;

	for (size_t i = 0; !r && (alias = field_alias(field, i)); i++) {
		find_field(slice_str(alias), &t);
		if (!column_map_find(m, slice_str(alias)))
			r = add_column(m, slice_str(alias), &t, e);
	}
	return r;
}

static int parse_text(size_t i, struct err *e)
{
	struct slice text = {texts[i].text, (size_t)(texts[i].end - texts[i].text)};
	int r = column_map_parse(&builtin[i], texts[i].name, text, e);

	for (int f = 0; f < FIELD_ALL && !r && i == ARRAY_SIZE(texts) - 1; f++)
		r = add_aliases(&builtin[i], f, e);
	return r;
}

static void parse_builtin(void)
{
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (parse_text(i, &e)) {
			fprintf(stderr, "%s\n", e.text);
			abort();
		}
	}
}

const struct column_map *column_map_builtin(size_t i)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, parse_builtin);
	return i < ARRAY_SIZE(builtin) ? &builtin[i] : NULL;
}
