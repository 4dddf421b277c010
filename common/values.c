#include "values.h"

#include "scaled.h"
#include "map.h"

enum mode { SAME, CONSTANT, DECIMAL, DICTIONARY, LITERAL, MODES };
enum {
	MODE_BITS = 3,
	SCALE_BITS = 5,
	REFERENCES_MAX = 32,  /* columns back that are tried, and may be named */
	SAMPLE_ROWS = 64,     /* of a column, that they are tried on */
	EXCEPTIONS_SHARE = 4, /* more than a fourth: not a column of decimals */
	WORDS_SHARE = 2,      /* more than a half of the texts differ: no dictionary */
};

/* ---- exceptions ------------------------------------------------------------------------------ */

void exceptions_init(struct exceptions *x)
{
	x->more = BIT_INIT;
	number_model_init(&x->gap);
	number_model_init(&x->value);
}

void exceptions_begin(struct exceptions *x)
{
	x->next = 0;
}

void exceptions_add(struct exceptions *x, struct range_encoder *e, size_t row)
{
	range_encode_bit(e, &x->more, true);
	encode_number(e, &x->gap, (int64_t)(row - x->next));
	x->next = row + 1;
}

void exceptions_end(struct exceptions *x, struct range_encoder *e)
{
	range_encode_bit(e, &x->more, false);
}

static void next_exception(struct exceptions *x, struct range_decoder *d, size_t from)
{
	uint64_t gap =
		range_decode_bit(d, &x->more) ? (uint64_t)decode_number(d, &x->gap) : SIZE_MAX;

	x->next = gap < SIZE_MAX - from ? from + gap : SIZE_MAX;
}

void exceptions_open(struct exceptions *x, struct range_decoder *d)
{
	next_exception(x, d, 0);
}

void exceptions_step(struct exceptions *x, struct range_decoder *d)
{
	next_exception(x, d, x->next + 1);
}

/* ---- state ----------------------------------------------------------------------------------- */

void values_init(struct values_codec *c, size_t rows, size_t columns)
{
	bits_init(c->mode, ARRAY_SIZE(c->mode));
	bits_init(c->scale, ARRAY_SIZE(c->scale));
	c->is_trimmed = c->is_plus = BIT_INIT;
	text_model_init(&c->text);
	integers_model_init(&c->integers);
	number_model_init(&c->reference);
	number_model_init(&c->words);
	number_model_init(&c->index);
	exceptions_init(&c->exceptions);
	c->columns = xmalloc(columns * sizeof(*c->columns));
	c->x = xmalloc(rows * sizeof(*c->x));
	c->scratch = xmalloc(rows * sizeof(*c->scratch));
	c->n_columns = c->used = 0;
}

void values_release(struct values_codec *c)
{
	free(c->columns);
	free(c->x);
	free(c->scratch);
}

static struct value_column *add_column(struct values_codec *c, size_t n, int64_t hint)
{
	struct value_column *column = &c->columns[c->n_columns++];

	*column = (struct value_column){c->x + c->used, n, hint};
	c->used += n;
	return column;
}

/* to = a - b, or a + b. */
static void subtract(int64_t *to, const int64_t *a, const int64_t *b, size_t n, bool plus)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (int64_t)(plus ? (uint64_t)a[i] + (uint64_t)b[i]
				       : (uint64_t)a[i] - (uint64_t)b[i]);
}

/* ---- planning: decimals ---------------------------------------------------------------------- */

/* How the texts of a column are integers. */
struct style {
	int scale;
	bool trimmed;
};

/* A text's integer in a style; false where it is an exception. */
static bool in_style(struct slice v, struct style style, int64_t *ret)
{
	struct scaled d;

	if (!scaled_parse(v, &d) || d.scale > style.scale)
		return false;
	if (style.trimmed ? d.scale && d.mantissa % 10 == 0 : d.scale != style.scale)
		return false;
	return scaled_to(d, style.scale, ret);
}

/* Fixed at the most frequent scale if all decimals have it, else trimmed from the greatest. */
static struct style choose_style(const struct slice *v, size_t n)
{
	size_t by_scale[SCALED_SCALE_MAX + 1] = {0}, decimals = 0, best = 0, top = 0;

	for (size_t i = 0; i < n; i++) {
		struct scaled d;

		if (!scaled_parse(v[i], &d))
			continue;
		decimals++;
		by_scale[d.scale]++;
		top = MAX(top, (size_t)d.scale);
	}
	for (size_t s = 0; s <= top; s++)
		if (by_scale[s] > by_scale[best])
			best = s;
	return by_scale[best] == decimals ? (struct style){(int)best, false}
					  : (struct style){(int)top, true};
}

/* Returns how many texts are not in the style; the integer before stands for each. */
static size_t to_integers(const struct slice *v, size_t n, struct style style, int64_t *x)
{
	size_t exceptions = 0;

	for (size_t i = 0; i < n; i++) {
		if (in_style(v[i], style, &x[i]))
			continue;
		x[i] = i ? x[i - 1] : 0;
		exceptions++;
	}
	return exceptions;
}

static int64_t hint_in_style(struct slice hint, struct style style)
{
	int64_t x;

	return in_style(hint, style, &x) ? x : 0;
}

/* ---- planning: references -------------------------------------------------------------------- */

struct reference {
	size_t back; /* 0: none */
	bool plus;
};

static bool is_constant_over(const int64_t *a, const int64_t *b, size_t n, bool plus)
{
	uint64_t first = plus ? (uint64_t)a[0] + (uint64_t)b[0] : (uint64_t)a[0] - (uint64_t)b[0];

	for (size_t i = 1; i < n; i++)
		if ((plus ? (uint64_t)a[i] + (uint64_t)b[i] : (uint64_t)a[i] - (uint64_t)b[i]) !=
		    first)
			return false;
	return true;
}

/* The column before this one over which its first rows are cheapest, where that is cheaper than
 * without: what relates columns (one is the rest of another, two rise together) shows soon. */
static struct reference sample_references(struct values_codec *c, const struct value_column *column)
{
	size_t n = MIN(column->n, SAMPLE_ROWS);
	struct reference best = {0};
	struct integers_plan plan;

	integers_make_plan(column->x, n, true, &plan);
	for (size_t back = 1; back < c->n_columns && back <= REFERENCES_MAX && plan.bits > 0;
	     back++) {
		const struct value_column *other = column - back;

		for (int plus = 0; plus < 2 && other->n == column->n; plus++) {
			struct integers_plan p;

			subtract(c->scratch, column->x, other->x, n, plus);
			integers_make_plan(c->scratch, n, true, &p);
			if (p.bits >= plan.bits)
				continue;
			plan = p;
			best = (struct reference){back, plus};
		}
	}
	return best;
}

/* The first column over which this one is constant. */
static struct reference find_constant(struct values_codec *c, const struct value_column *column)
{
	for (size_t back = 1; back < c->n_columns && back <= REFERENCES_MAX; back++) {
		const struct value_column *other = column - back;

		for (int plus = 0; plus < 2 && other->n == column->n; plus++)
			if (is_constant_over(column->x, other->x, column->n, plus))
				return (struct reference){back, plus};
	}
	return (struct reference){0};
}

/* Looks for the column before this one over which it is cheapest: with little effort only for one
 * that leaves a constant. plan is that without reference, and then that of the choice. */
static struct reference choose_reference(struct values_codec *c, const struct value_column *column,
					 struct integers_plan *plan, enum columns_effort effort)
{
	bool fast = effort == COLUMNS_FAST;
	struct reference best = {0};
	struct integers_plan p;

	if (plan->bits > 0)
		best = fast ? find_constant(c, column) : sample_references(c, column);
	if (!best.back)
		return best;
	subtract(c->scratch, column->x, (column - best.back)->x, column->n, best.plus);
	integers_make_plan(c->scratch, column->n, !fast, &p);
	if (p.bits >= plan->bits)
		return (struct reference){0};
	*plan = p;
	return best;
}

/* ---- decimals -------------------------------------------------------------------------------- */

static void encode_exceptions(struct values_codec *c, struct range_encoder *e,
			      const struct slice *v, size_t n, struct style style, size_t count)
{
	int64_t x;

	exceptions_begin(&c->exceptions);
	for (size_t i = 0; i < n && count > 0; i++) {
		if (in_style(v[i], style, &x))
			continue;
		exceptions_add(&c->exceptions, e, i);
		encode_text(e, &c->text, v[i]);
		count--;
	}
	exceptions_end(&c->exceptions, e);
}

static void encode_integers(struct values_codec *c, struct range_encoder *e,
			    const struct value_column *column, enum columns_effort effort)
{
	struct integers_plan plan;
	struct reference ref = {0};
	const int64_t *x = column->x;
	int64_t hint = column->hint;

	integers_make_plan(x, column->n, effort != COLUMNS_FAST, &plan);
	if (plan.bits > 0)
		ref = choose_reference(c, column, &plan, effort);
	encode_number(e, &c->reference, (int64_t)ref.back);
	if (ref.back) {
		range_encode_bit(e, &c->is_plus, ref.plus);
		subtract(c->scratch, x, (column - ref.back)->x, column->n, ref.plus);
		subtract(&hint, &hint, &(column - ref.back)->hint, 1, ref.plus);
		x = c->scratch;
	}
	integers_encode(e, &c->integers, x, column->n, hint, &plan);
}

static void encode_decimals(struct values_codec *c, struct range_encoder *e, const struct slice *v,
			    size_t n, struct slice hint, struct style style, size_t exceptions,
			    enum columns_effort effort)
{
	struct value_column *column = add_column(c, n, hint_in_style(hint, style));

	range_encode_tree(e, c->mode, MODE_BITS, DECIMAL);
	range_encode_tree(e, c->scale, SCALE_BITS, (uint32_t)style.scale);
	range_encode_bit(e, &c->is_trimmed, style.trimmed);
	encode_integers(c, e, column, effort);
	encode_exceptions(c, e, v, n, style, exceptions);
}

static int decode_integers(struct values_codec *c, struct range_decoder *d,
			   struct value_column *column)
{
	uint64_t back = (uint64_t)decode_number(d, &c->reference);
	const struct value_column *other;
	int64_t hint = column->hint;
	bool plus;

	if (!back) {
		integers_decode(d, &c->integers, column->x, column->n, hint);
		return 0;
	}
	if (back > REFERENCES_MAX || back >= c->n_columns)
		return -EBADMSG;
	other = column - back;
	if (other->n != column->n)
		return -EBADMSG;
	plus = range_decode_bit(d, &c->is_plus);
	subtract(&hint, &hint, &other->hint, 1, plus);
	integers_decode(d, &c->integers, column->x, column->n, hint);
	/* x = left - y, or left + y: the opposite of what the encoder did. */
	subtract(column->x, column->x, other->x, column->n, !plus);
	return 0;
}

/* ---- texts into rows ------------------------------------------------------------------------- */

/* Until the last text is in, the buffer may move: values are offsets. */
static struct slice offset_slice(const struct rows *t, size_t len)
{
	return (struct slice){(const char *)(uintptr_t)t->text.len, len};
}

static int put_text(struct rows *t, struct row *row, struct slice v)
{
	row->value = offset_slice(t, v.len);
	strbuf_add_slice(&t->text, v);
	return t->text.err;
}

/* One text for all rows. */
static int put_constant(struct rows *t, const uint32_t *order, size_t n, struct slice v)
{
	struct slice at = offset_slice(t, v.len);

	strbuf_add_slice(&t->text, v);
	for (size_t i = 0; i < n; i++)
		t->rows[order[i]].value = at;
	return t->text.err;
}

/* Equal neighbours share their text. */
static int put_integers(struct rows *t, const uint32_t *order, const int64_t *x, size_t n,
			struct style style)
{
	for (size_t i = 0; i < n; i++) {
		struct scaled number = {x[i], style.scale};
		struct row *row = &t->rows[order[i]];
		char *to;

		if (i && x[i] == x[i - 1]) {
			row->value = t->rows[order[i - 1]].value;
			continue;
		}
		to = strbuf_reserve(&t->text, SCALED_TEXT_MAX);
		if (!to)
			return t->text.err;
		if (style.trimmed)
			number = scaled_trim(number);
		row->value = offset_slice(t, scaled_format(number, to));
		t->text.len += row->value.len;
	}
	return 0;
}

static int decode_exceptions(struct values_codec *c, struct range_decoder *d, struct rows *t,
			     const uint32_t *order, size_t n)
{
	char buf[VALUE_MAX];
	struct slice v;

	for (exceptions_open(&c->exceptions, d); c->exceptions.next < n;
	     exceptions_step(&c->exceptions, d))
		if (decode_text(d, &c->text, buf, sizeof(buf), &v) ||
		    put_text(t, &t->rows[order[c->exceptions.next]], v))
			return -EBADMSG;
	return 0;
}

static int decode_decimals(struct values_codec *c, struct range_decoder *d, struct rows *t,
			   const uint32_t *order, size_t n, struct slice hint)
{
	int scale = (int)range_decode_tree(d, c->scale, SCALE_BITS);
	struct style style = {scale, range_decode_bit(d, &c->is_trimmed)};
	struct value_column *column;
	int err;

	if (scale > SCALED_SCALE_MAX)
		return -EBADMSG;
	column = add_column(c, n, hint_in_style(hint, style));
	err = decode_integers(c, d, column);
	if (!err)
		err = put_integers(t, order, column->x, n, style);
	return err ? err : decode_exceptions(c, d, t, order, n);
}

/* ---- dictionaries ---------------------------------------------------------------------------- */

/* Indexes of the texts into words, both of n entries at most; returns how many words there are. */
static size_t list_words(const struct slice *v, size_t n, struct slice *words, int64_t *index)
{
	struct map known = MAP_INIT;
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		uintptr_t id = (uintptr_t)map_get(&known, v[i].p, v[i].len);

		if (!id) {
			words[count++] = v[i];
			id = count;
			map_put(&known, v[i].p, v[i].len, (void *)id);
		}
		index[i] = (int64_t)id - 1;
	}
	map_release(&known);
	return count;
}

static void encode_literals(struct values_codec *c, struct range_encoder *e, const struct slice *v,
			    size_t n)
{
	for (size_t i = 0; i < n; i++)
		encode_text(e, &c->text, v[i]);
}

static void encode_texts(struct values_codec *c, struct range_encoder *e, const struct slice *v,
			 size_t n)
{
	struct slice *words = xmalloc(n * sizeof(*words));
	size_t count = list_words(v, n, words, c->scratch);
	bool repeats = count * WORDS_SHARE <= n;

	range_encode_tree(e, c->mode, MODE_BITS, repeats ? DICTIONARY : LITERAL);
	if (repeats) {
		encode_number(e, &c->words, (int64_t)count);
		encode_literals(c, e, words, count);
		for (size_t i = 0; i < n; i++)
			encode_number(e, &c->index, c->scratch[i]);
	} else {
		encode_literals(c, e, v, n);
	}
	free(words);
}

static int decode_literals(struct values_codec *c, struct range_decoder *d, struct rows *t,
			   const uint32_t *order, size_t n)
{
	char buf[VALUE_MAX];
	struct slice v;

	for (size_t i = 0; i < n; i++)
		if (decode_text(d, &c->text, buf, sizeof(buf), &v) ||
		    put_text(t, &t->rows[order[i]], v))
			return -EBADMSG;
	return 0;
}

/* The words are put where the first rows have their texts, and shared from there. */
static int decode_dictionary(struct values_codec *c, struct range_decoder *d, struct rows *t,
			     const uint32_t *order, size_t n)
{
	uint64_t count = (uint64_t)decode_number(d, &c->words);
	struct slice *words;
	int err;

	if (!count || count > n)
		return -EBADMSG;
	err = decode_literals(c, d, t, order, count);
	if (err)
		return err;
	words = xmalloc(count * sizeof(*words));
	for (uint64_t i = 0; i < count; i++)
		words[i] = t->rows[order[i]].value;
	for (size_t i = 0; i < n && !err; i++) {
		uint64_t w = (uint64_t)decode_number(d, &c->index);

		if (w < count)
			t->rows[order[i]].value = words[w];
		else
			err = -EBADMSG;
	}
	free(words);
	return err;
}

/* ---- columns --------------------------------------------------------------------------------- */

static bool are_all(const struct slice *v, size_t n, struct slice text)
{
	for (size_t i = 0; i < n; i++)
		if (!slice_eq(v[i], text))
			return false;
	return true;
}

void values_encode(struct values_codec *c, struct range_encoder *e, const struct slice *v, size_t n,
		   struct slice hint, enum columns_effort effort)
{
	struct style style;
	size_t exceptions;

	if (are_all(v + 1, n - 1, v[0])) {
		bool same = slice_eq(v[0], hint);

		range_encode_tree(e, c->mode, MODE_BITS, same ? SAME : CONSTANT);
		if (!same)
			encode_text(e, &c->text, v[0]);
		return;
	}
	style = choose_style(v, n);
	exceptions = to_integers(v, n, style, c->x + c->used);
	if (exceptions * EXCEPTIONS_SHARE > n)
		encode_texts(c, e, v, n);
	else
		encode_decimals(c, e, v, n, hint, style, exceptions, effort);
}

int values_decode(struct values_codec *c, struct range_decoder *d, struct rows *t,
		  const uint32_t *order, size_t n, struct slice hint)
{
	char buf[VALUE_MAX];
	struct slice v;

	switch (range_decode_tree(d, c->mode, MODE_BITS)) {
	case SAME:
		return put_constant(t, order, n, hint);
	case CONSTANT:
		if (decode_text(d, &c->text, buf, sizeof(buf), &v))
			return -EBADMSG;
		return put_constant(t, order, n, v);
	case DECIMAL:
		return decode_decimals(c, d, t, order, n, hint);
	case DICTIONARY:
		return decode_dictionary(c, d, t, order, n);
	case LITERAL:
		return decode_literals(c, d, t, order, n);
	default:
		return -EBADMSG;
	}
}
