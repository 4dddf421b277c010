/* Wide records. The series of all their metrics are looked up before the first sample is given, so
 * that a full table never shows in the middle of a record. */
#include "row_internal.h"

static void settle(struct row_parser *p, const struct csv_record *first)
{
	struct shape *s = &p->shape;

	shape_settle(s, first);
	p->settled = true;
	p->n_wide = p->next_wide = 0;
	free(p->wide);
	p->wide = xcalloc(s->n + 1, sizeof(*p->wide));
	for (uint32_t i = 0; i < s->n; i++) {
		if (s->columns[i].target.kind == TARGET_METRIC)
			p->wide[p->n_wide++].column = i;
	}
}

/* What all samples of the record have in common but for the time. */
static int take_identity(struct row_parser *p, const struct csv_record *rec, struct err *e)
{
	strbuf_reset(&p->identity);
	for (uint32_t i = 0; i < p->shape.n; i++) {
		enum target_kind kind = p->shape.columns[i].target.kind;

		if (kind != TARGET_FIELD && kind != TARGET_LABEL)
			continue;
		strbuf_add_slice(&p->identity, csv_whole(rec, i));
		strbuf_addc(&p->identity, ',');
	}
	if (!p->identity.err)
		return ROW_OK;
	err_set(e, 0, "names and labels of more than %d bytes", IDENTITY_MAX);
	return row_invalid_at(p, rec, rec->p, e);
}

static struct series_key key_of(const struct row_parser *p, const struct wide_column *w)
{
	return (struct series_key){{
		{(const char *)&w->column, sizeof(w->column)},
		{p->identity.s, p->identity.len},
		{"", 0},
	}};
}

static int add_series(struct row_parser *p, const struct csv_record *rec, struct wide_column *w,
		      bool alone, struct err *e)
{
	const struct series_key key = key_of(p, w);
	struct slice fields[FIELD_COUNT];
	enum series_field field;
	int r = row_take_fields(p, rec, fields);

	if (r)
		return r;
	fields[FIELD_METRIC] = slice_str(p->shape.columns[w->column].target.name);
	r = series_add(p->table, &key, fields, &w->series, &field, e);
	if (r == -EINVAL)
		return row_invalid_field(p, rec, field, e);
	if (r == -ENOBUFS && alone) {
		err_set(e, 0, "more series than can be held at once");
		return row_invalid_at(p, rec, rec->p, e);
	}
	return r;
}

static int find_all(struct row_parser *p, const struct csv_record *rec, struct err *e)
{
	bool alone = series_count(p->table) == 0;
	int r = ROW_OK;

	for (uint32_t i = 0; i < p->n_wide && r == ROW_OK; i++) {
		struct wide_column *w = &p->wide[i];
		struct series_key key = key_of(p, w);

		w->series = series_find(p->table, &key);
		if (!w->series)
			r = add_series(p, rec, w, alone, e);
	}
	return r;
}

int row_parse_wide(struct row_parser *p, const struct csv_record *rec, struct sample *ret,
		   struct err *e)
{
	struct stamp time;
	int r;

	if (!p->settled)
		settle(p, rec);
	p->next_wide = p->n_wide;
	r = row_take_time(p, rec, &time, e);
	if (r == ROW_OK)
		r = take_identity(p, rec, e);
	if (r == ROW_OK)
		r = find_all(p, rec, e);
	if (r != ROW_OK)
		return r;
	p->next_wide = 0;
	return row_more(p, rec, ret, e);
}

int row_more(struct row_parser *p, const struct csv_record *rec, struct sample *ret, struct err *e)
{
	const struct wide_column *w;
	const struct shape_column *c;
	enum value_kind kind;
	struct sample s = {.time = p->time};

	if (p->shape.form == SHAPE_LONG || p->next_wide == p->n_wide)
		return ROW_END;
	w = &p->wide[p->next_wide++];
	c = &p->shape.columns[w->column];
	s.series = w->series;
	strbuf_reset(&p->scratch);
	if (reading_take(&c->reading, csv_raw(rec, w->column), &p->scratch, &kind, &s.value, e))
		return row_invalid(p, rec, (int)w->column, c->name, e);
	*ret = s;
	return kind == VALUE_NONE ? ROW_NO_VALUE : ROW_OK;
}
