#include "row_internal.h"

#include "labels.h"

/* ---- life ----------------------------------------------------------------------------------- */

struct row_parser *row_parser_new(const struct row_conf *conf)
{
	struct row_parser *p = xcalloc(1, sizeof(*p));

	p->conf = (struct shape_conf){.name = conf->name, .host = conf->host, .given = conf->map};
	p->table = series_table_new(conf->series_max ? conf->series_max : SERIES_TABLE_MAX,
				    conf->series_bytes_max ? conf->series_bytes_max
							   : SERIES_TABLE_BYTES);
	strbuf_init(&p->scratch, 2 * CSV_RECORD_MAX);
	strbuf_init(&p->labels, CSV_RECORD_MAX);
	strbuf_init(&p->identity, IDENTITY_MAX);
	return p;
}

void row_parser_free(struct row_parser *p)
{
	if (!p)
		return;
	series_table_free(p->table);
	shape_release(&p->shape);
	strbuf_release(&p->scratch);
	strbuf_release(&p->labels);
	strbuf_release(&p->identity);
	strbuf_release(&p->header);
	free(p->wide);
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

/* Puts the place in front of e's text. */
int row_invalid_at(const struct row_parser *p, const struct csv_record *rec, const char *at,
		   struct err *e)
{
	int64_t line, column;

	csv_position(rec, at, &line, &column);
	return err_prefix(e, ROW_INVALID, "%s:%lld:%lld", p->conf.name, (long long)line,
			  (long long)column);
}

int row_invalid(const struct row_parser *p, const struct csv_record *rec, int column,
		const char *name, struct err *e)
{
	err_prefix(e, 0, "%s", name);
	return row_invalid_at(p, rec, column < 0 ? rec->p : csv_whole(rec, (uint32_t)column).p, e);
}

int row_invalid_field(const struct row_parser *p, const struct csv_record *rec,
		      enum series_field field, struct err *e)
{
	const struct target t = {.kind = TARGET_FIELD, .field = field};
	int at = p->shape.field_at[field];
	char buf[8];

	return row_invalid(
		p, rec, at,
		at < 0 ? target_describe(&t, buf, sizeof(buf)) : p->shape.columns[at].name, e);
}

/* ---- the header ----------------------------------------------------------------------------- */

int row_header(struct row_parser *p, const struct csv_record *header, struct err *e)
{
	int r;

	shape_release(&p->shape);
	strbuf_release(&p->header);
	r = shape_learn(&p->shape, &p->conf, header, e);
	if (r < 0)
		return r;
	strbuf_init(&p->header, CSV_RECORD_MAX);
	strbuf_add(&p->header, header->p, header->len);
	p->settled = false;
	if (p->shape.form == SHAPE_LONG) {
		p->first = (uint32_t)MIN(p->shape.time_at, p->shape.value_at);
		p->second = (uint32_t)MAX(p->shape.time_at, p->shape.value_at);
	}
	return 0;
}

const struct shape *row_shape(const struct row_parser *p)
{
	return &p->shape;
}

/* ---- values --------------------------------------------------------------------------------- */

static int take_value(const struct row_parser *p, const struct csv_record *rec, struct sample *s,
		      struct err *e)
{
	int at = p->shape.value_at;
	struct slice text = trim(csv_raw(rec, (uint32_t)at));

	switch (value_classify(text, s->series->percent)) {
	case VALUE_NUMBER:
		s->value = text;
		return ROW_OK;
	case VALUE_NONE:
		s->value = SLICE_LIT("");
		return ROW_NO_VALUE;
	case VALUE_BAD:
		break;
	}
	reading_complain(text, e);
	return row_invalid(p, rec, at, p->shape.columns[at].name, e);
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

int row_take_time(struct row_parser *p, const struct csv_record *rec, struct stamp *ret,
		  struct err *e)
{
	int at = p->shape.time_at;
	struct slice text = csv_raw(rec, (uint32_t)at);
	int r = parse_time(p, text, ret);

	if (!r)
		return ROW_OK;
	if (slice_eq((struct slice){rec->p, rec->len}, (struct slice){p->header.s, p->header.len}))
		return ROW_END;
	err_set(e, 0, r == -ERANGE ? "outside 1970 to 2262: \"%s\"" : "no time: \"%s\"",
		excerpt(text).s);
	return row_invalid(p, rec, at, p->shape.columns[at].name, e);
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

static bool has_more_labels(const struct shape *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		if (s->columns[i].target.kind == TARGET_LABEL)
			return true;
	}
	return s->labels.len > 0;
}

/* The record's labels, and behind them those of other columns and constant ones. */
static struct slice join_labels(struct row_parser *p, const struct csv_record *rec,
				struct slice raw)
{
	const struct shape *s = &p->shape;

	raw = trim(raw);
	if (raw.len > 1 && *raw.p == '{' && raw.p[raw.len - 1] == '}')
		raw = (struct slice){raw.p + 1, raw.len - 2};
	strbuf_reset(&p->labels);
	strbuf_add_slice(&p->labels, raw);
	for (uint32_t i = 0; i < s->n; i++) {
		if (s->columns[i].target.kind == TARGET_LABEL)
			labels_add(&p->labels, s->columns[i].target.name,
				   trim(csv_text(rec, i, &p->scratch)));
	}
	if (p->labels.len && s->labels.len)
		strbuf_addc(&p->labels, ',');
	strbuf_add_slice(&p->labels, (struct slice){s->labels.s, s->labels.len});
	return (struct slice){p->labels.s, p->labels.len};
}

int row_take_fields(struct row_parser *p, const struct csv_record *rec,
		    struct slice fields[FIELD_COUNT])
{
	const struct shape *s = &p->shape;

	strbuf_reset(&p->scratch);
	/* At once, so that it does not move while slices point into it. */
	strbuf_reserve(&p->scratch, rec->len);
	for (int f = 0; f < FIELD_COUNT; f++) {
		fields[f] = s->constants[f];
		if (s->field_at[f] >= 0)
			fields[f] = csv_text(rec, (uint32_t)s->field_at[f], &p->scratch);
		if (s->form == SHAPE_WIDE)
			fields[f] = trim(fields[f]);
	}
	if (has_more_labels(s))
		fields[FIELD_LABELS] = join_labels(p, rec, fields[FIELD_LABELS]);
	return MIN(p->scratch.err, p->labels.err);
}

static int add_series(struct row_parser *p, const struct csv_record *rec,
		      const struct series_key *key, struct sample *s, struct err *e)
{
	struct slice fields[FIELD_COUNT];
	enum series_field field;
	int r = row_take_fields(p, rec, fields);

	if (r)
		return r;
	r = series_add(p->table, key, fields, &s->series, &field, e);
	return r == -EINVAL ? row_invalid_field(p, rec, field, e) : r;
}

static int ragged(const struct row_parser *p, const struct csv_record *rec, struct err *e)
{
	const char *at = rec->n > p->shape.n ? csv_whole(rec, p->shape.n).p : rec->p + rec->len;

	err_set(e, 0, "expected %u fields, got %u", p->shape.n, rec->n);
	return row_invalid_at(p, rec, at, e);
}

int row_parse(struct row_parser *p, const struct csv_record *rec, struct sample *ret, struct err *e)
{
	struct series_key key;
	struct sample s;
	int r;

	if (rec->n != p->shape.n)
		return ragged(p, rec, e);
	if (p->shape.form == SHAPE_WIDE)
		return row_parse_wide(p, rec, ret, e);
	r = row_take_time(p, rec, &s.time, e);
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
	bool time_first = p->shape.time_at == (int)p->first;
	struct slice known_time = {p->time_text, p->time_len}, none = SLICE_LIT("");
	struct series_key key;
	size_t behind;

	if (p->shape.form == SHAPE_WIDE || !series_expected(p->table, &key) ||
	    !pass(&left, key.piece[0]) ||
	    !pass_field(&left, time_first ? known_time : none, &field[0]) ||
	    !pass(&left, key.piece[1]) ||
	    !pass_field(&left, time_first ? none : known_time, &field[1]) ||
	    !pass(&left, key.piece[2]))
		return false;
	behind = line_end_len(left);
	value = trim(field[time_first]);
	/* What is no value of a percentage only is left to the long way. */
	if (!behind || value_classify(value, true) != VALUE_NUMBER ||
	    parse_time(p, field[!time_first], &ret->time))
		return false;
	ret->value = value;
	ret->series = series_came(p->table);
	csv_take(csv, all.len - left.len, behind, rec);
	return true;
}
