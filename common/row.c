#include "row.h"

#include <stdio.h>
#include <strings.h>

#define QUOTED_MAX 60 /* bytes of a bad field in a message */
#define TIME_MAX   64

enum { COLUMN_TIME = FIELD_COUNT, COLUMN_VALUE, COLUMN_COUNT };

static const struct {
	const char *name;
	bool needed;
} columns[COLUMN_COUNT] = {
	[FIELD_HOST] = {"Hostname", true},        [FIELD_GPU] = {"gpu_id", true},
	[FIELD_METRIC] = {"metric_name", true},   [FIELD_DEVICE] = {"device", false},
	[FIELD_UUID] = {"uuid", false},           [FIELD_MODEL] = {"modelName", false},
	[FIELD_CONTAINER] = {"container", false}, [FIELD_POD] = {"pod", false},
	[FIELD_NAMESPACE] = {"namespace", false}, [FIELD_LABELS] = {"labels_raw", false},
	[COLUMN_TIME] = {"timestamp", true},      [COLUMN_VALUE] = {"value", true},
};

struct row_parser {
	const char *name;
	struct slice host;
	int at[COLUMN_COUNT]; /* field of the record, or -1 */
	uint32_t n_fields;
	uint32_t first, second; /* the fields of time and value, in the order of the record */
	struct series_table *table;
	struct strbuf scratch;
	char time_text[TIME_MAX]; /* of the row before; most rows share theirs */
	size_t time_len;
	struct stamp time;
};

/* ---- life ----------------------------------------------------------------------------------- */

struct row_parser *row_parser_new(const struct row_conf *conf)
{
	struct row_parser *p = xcalloc(1, sizeof(*p));

	p->name = conf->name;
	p->host = conf->host;
	p->table = series_table_new(conf->series_max ? conf->series_max : SERIES_TABLE_MAX,
				    conf->series_bytes_max ? conf->series_bytes_max
							   : SERIES_TABLE_BYTES);
	strbuf_init(&p->scratch, CSV_RECORD_MAX);
	return p;
}

void row_parser_free(struct row_parser *p)
{
	if (!p)
		return;
	series_table_free(p->table);
	strbuf_release(&p->scratch);
	free(p);
}

void row_forget(struct row_parser *p)
{
	series_forget(p->table);
}

uint32_t row_series_count(const struct row_parser *p)
{
	return series_count(p->table);
}

/* ---- messages ------------------------------------------------------------------------------- */

static struct slice trim(struct slice s)
{
	while (s.len && (*s.p == ' ' || *s.p == '\t')) {
		s.p++;
		s.len--;
	}
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

struct excerpt {
	char s[QUOTED_MAX + 4];
};

/* The start of s, fit for a log line. */
static struct excerpt excerpt(struct slice s)
{
	struct excerpt x = {0};

	for (size_t i = 0; i < MIN(s.len, (size_t)QUOTED_MAX); i++)
		x.s[i] = s.p[i] < ' ' || s.p[i] > '~' ? '?' : s.p[i];
	if (s.len > QUOTED_MAX)
		strcpy(x.s + QUOTED_MAX, "...");
	return x;
}

/* Puts the place in front of e's text. */
static int invalid_at(const struct row_parser *p, const struct csv_record *rec, const char *at,
		      struct err *e)
{
	int64_t line, column;

	csv_position(rec, at, &line, &column);
	return err_prefix(e, ROW_INVALID, "%s:%lld:%lld", p->name, (long long)line,
			  (long long)column);
}

/* Puts the place and name of a column in front of e's text. */
static int invalid(const struct row_parser *p, const struct csv_record *rec, int column,
		   struct err *e)
{
	int i = p->at[column];

	err_prefix(e, 0, "%s", columns[column].name);
	return invalid_at(p, rec, i < 0 ? rec->p : csv_whole(rec, (uint32_t)i).p, e);
}

/* ---- the header ----------------------------------------------------------------------------- */

static struct slice column_name(struct row_parser *p, const struct csv_record *header, uint32_t i)
{
	return trim(csv_text(header, i, &p->scratch));
}

static bool same_name(struct slice a, struct slice b)
{
	return a.len == b.len && strncasecmp(a.p, b.p, a.len) == 0;
}

static int check_twice(struct row_parser *p, const struct csv_record *header, uint32_t i,
		       struct err *e)
{
	struct slice name = column_name(p, header, i);

	for (uint32_t j = 0; j < i; j++) {
		if (!name.len || !same_name(name, trim(csv_raw(header, j))))
			continue;
		err_set(e, 0, "column %s is there twice", excerpt(name).s);
		invalid_at(p, header, csv_whole(header, i).p, e);
		return -EBADMSG;
	}
	return 0;
}

static void learn_column(struct row_parser *p, const struct csv_record *header, uint32_t i)
{
	struct slice name = column_name(p, header, i);

	for (int c = 0; c < COLUMN_COUNT; c++) {
		if (same_name(name, slice_str(columns[c].name)))
			p->at[c] = (int)i;
	}
}

static bool is_missing(const struct row_parser *p, int column)
{
	return columns[column].needed && p->at[column] < 0 &&
	       !(column == FIELD_HOST && p->host.len);
}

static int check_needed(const struct row_parser *p, const struct csv_record *header, struct err *e)
{
	char list[128] = "";
	size_t n = 0;

	for (int c = 0; c < COLUMN_COUNT; c++) {
		if (is_missing(p, c))
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "",
					      columns[c].name);
	}
	if (!n)
		return 0;
	return err_set(e, -EBADMSG, "%s:%lld: no header: needed but missing: %s", p->name,
		       (long long)header->line, list);
}

int row_header(struct row_parser *p, const struct csv_record *header, struct err *e)
{
	int r;

	for (int c = 0; c < COLUMN_COUNT; c++)
		p->at[c] = -1;
	for (uint32_t i = 0; i < header->n; i++) {
		strbuf_reset(&p->scratch);
		learn_column(p, header, i);
		r = check_twice(p, header, i, e);
		if (r < 0)
			return r;
	}
	r = check_needed(p, header, e);
	if (r < 0)
		return r;
	p->n_fields = header->n;
	p->first = (uint32_t)MIN(p->at[COLUMN_TIME], p->at[COLUMN_VALUE]);
	p->second = (uint32_t)MAX(p->at[COLUMN_TIME], p->at[COLUMN_VALUE]);
	return 0;
}

/* ---- values --------------------------------------------------------------------------------- */

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
	static const char *const words[] = {"", "N/A", "NaN", "-NaN"};

	if (s.len >= 2 && s.p[0] == '[' && s.p[s.len - 1] == ']')
		s = (struct slice){s.p + 1, s.len - 2};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (same_name(s, slice_str(words[i])))
			return true;
	}
	return false;
}

enum value_kind value_classify(struct slice text)
{
	struct number n;

	if (text.len > VALUE_MAX)
		return VALUE_BAD;
	if (!parse_number(text, &n))
		return is_no_value(text) ? VALUE_NONE : VALUE_BAD;
	return is_dcgm_blank(text, &n) ? VALUE_NONE : VALUE_NUMBER;
}

static int take_value(const struct row_parser *p, const struct csv_record *rec, struct sample *s,
		      struct err *e)
{
	struct slice text = trim(csv_raw(rec, (uint32_t)p->at[COLUMN_VALUE]));

	switch (value_classify(text)) {
	case VALUE_NUMBER:
		s->value = text;
		return ROW_OK;
	case VALUE_NONE:
		s->value = SLICE_LIT("");
		return ROW_NO_VALUE;
	case VALUE_BAD:
		break;
	}
	if (text.len > VALUE_MAX)
		err_set(e, 0, "expected a number of at most %d bytes, got \"%s\"", VALUE_MAX,
			excerpt(text).s);
	else
		err_set(e, 0, "expected a number, got \"%s\"", excerpt(text).s);
	return invalid(p, rec, COLUMN_VALUE, e);
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* -EINVAL, -ERANGE as stamp_parse. */
static int parse_time(struct row_parser *p, struct slice text, struct stamp *ret)
{
	int r;

	if (slice_eq(text, (struct slice){p->time_text, p->time_len}) && text.len) {
		*ret = p->time;
		return 0;
	}
	r = stamp_parse(trim(text), ret);
	if (r < 0)
		return r;
	p->time_len = text.len <= TIME_MAX ? text.len : 0;
	memcpy(p->time_text, text.p, p->time_len);
	p->time = *ret;
	return 0;
}

static int take_time(struct row_parser *p, const struct csv_record *rec, struct stamp *ret,
		     struct err *e)
{
	struct slice text = csv_raw(rec, (uint32_t)p->at[COLUMN_TIME]);
	int r = parse_time(p, text, ret);

	if (!r)
		return ROW_OK;
	err_set(e, 0, r == -ERANGE ? "outside 1970 to 2262: \"%s\"" : "no time: \"%s\"",
		excerpt(text).s);
	return invalid(p, rec, COLUMN_TIME, e);
}

/* The record without time and value. */
static struct series_key key_of(const struct row_parser *p, const struct csv_record *rec)
{
	struct slice a = csv_whole(rec, p->first), b = csv_whole(rec, p->second);
	const char *behind_a = a.p + a.len, *behind_b = b.p + b.len;

	return (struct series_key){{
		{rec->p, (size_t)(a.p - rec->p)},
		{behind_a, (size_t)(b.p - behind_a)},
		{behind_b, (size_t)(rec->p + rec->len - behind_b)},
	}};
}

static void unescape_fields(struct row_parser *p, const struct csv_record *rec,
			    struct slice fields[FIELD_COUNT])
{
	strbuf_reset(&p->scratch);
	/* At once, so that it does not move while slices point into it. */
	strbuf_reserve(&p->scratch, rec->len);
	for (int c = 0; c < FIELD_COUNT; c++) {
		fields[c] = p->at[c] < 0 ? SLICE_LIT("")
					 : csv_text(rec, (uint32_t)p->at[c], &p->scratch);
	}
	if (p->host.len)
		fields[FIELD_HOST] = p->host;
}

static int add_series(struct row_parser *p, const struct csv_record *rec,
		      const struct series_key *key, struct sample *s, struct err *e)
{
	struct slice fields[FIELD_COUNT];
	enum series_field field;
	int r;

	unescape_fields(p, rec, fields);
	if (p->scratch.err)
		return p->scratch.err;
	r = series_add(p->table, key, fields, &s->series, &field, e);
	return r == -EINVAL ? invalid(p, rec, (int)field, e) : r;
}

static int ragged(const struct row_parser *p, const struct csv_record *rec, struct err *e)
{
	const char *at = rec->n > p->n_fields ? csv_whole(rec, p->n_fields).p : rec->p + rec->len;

	err_set(e, 0, "expected %u fields, got %u", p->n_fields, rec->n);
	return invalid_at(p, rec, at, e);
}

int row_parse(struct row_parser *p, const struct csv_record *rec, struct sample *ret, struct err *e)
{
	struct series_key key;
	struct sample s;
	int r;

	if (rec->n != p->n_fields)
		return ragged(p, rec, e);
	r = take_time(p, rec, &s.time, e);
	if (r != ROW_OK)
		return r;
	key = key_of(p, rec);
	s.series = series_find(p->table, &key);
	r = s.series ? ROW_OK : add_series(p, rec, &key, &s, e);
	if (r != ROW_OK)
		return r;
	r = take_value(p, rec, &s, e);
	if (r == ROW_OK || r == ROW_NO_VALUE)
		*ret = s;
	return r;
}

/* ---- expected rows --------------------------------------------------------------------------- */

/* Moves left behind s if it begins so. */
static inline bool pass(struct slice *left, struct slice s)
{
	if (left->len < s.len || memcmp(left->p, s.p, s.len))
		return false;
	left->p += s.len;
	left->len -= s.len;
	return true;
}

static inline bool ends_field(char c)
{
	return c == '"' || c == ',' || (unsigned char)c < ' ';
}

/* Moves left behind a short field whose text is plain, quoted or not. expected: tried first. */
static inline bool pass_field(struct slice *left, struct slice expected, struct slice *ret)
{
	bool quoted = pass(left, SLICE_LIT("\""));
	size_t max = MIN(left->len, (size_t)TIME_MAX + 1), n = 0;

	if (expected.len < max && !memcmp(left->p, expected.p, expected.len))
		n = expected.len;
	while (n < max && !ends_field(left->p[n]))
		n++;
	if (n == max || quoted != (left->p[n] == '"'))
		return false;
	*ret = (struct slice){left->p, n};
	left->p += n + quoted;
	left->len -= n + quoted;
	return true;
}

/* 0: there is none, or it is not there yet. */
static size_t line_end_len(struct slice left)
{
	if (left.len && left.p[0] == '\n')
		return 1;
	return left.len > 1 && left.p[0] == '\r' && left.p[1] == '\n' ? 2 : 0;
}

bool row_foresee(struct row_parser *p, struct csv *csv, struct csv_record *rec, struct sample *ret)
{
	struct slice all = csv_peek(csv), left = all, field[2], value;
	bool time_first = p->at[COLUMN_TIME] == (int)p->first;
	struct slice known_time = {p->time_text, p->time_len}, none = SLICE_LIT("");
	struct series_key key;
	size_t behind;

	if (!series_expected(p->table, &key) || !pass(&left, key.piece[0]) ||
	    !pass_field(&left, time_first ? known_time : none, &field[0]) ||
	    !pass(&left, key.piece[1]) ||
	    !pass_field(&left, time_first ? none : known_time, &field[1]) ||
	    !pass(&left, key.piece[2]))
		return false;
	behind = line_end_len(left);
	value = trim(field[time_first]);
	if (!behind || value_classify(value) != VALUE_NUMBER ||
	    parse_time(p, field[!time_first], &ret->time))
		return false;
	ret->value = value;
	ret->series = series_came(p->table);
	csv_take(csv, all.len - left.len, behind, rec);
	return true;
}
