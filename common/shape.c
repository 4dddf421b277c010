#include "shape.h"

#include "labels.h"

/* ---- looking up ------------------------------------------------------------------------------ */

/* How many columns of the header a map knows; metrics count for more than all the others. */
static size_t knows(const struct column_map *m, const struct shape *s)
{
	size_t n = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		const struct mapped *c = column_map_find(m, slice_str(s->columns[i].name));

		if (c)
			n += c->target.kind == TARGET_METRIC ? CSV_FIELDS_MAX + 1 : 1;
	}
	return n;
}

static const struct column_map *best_map(const struct shape *s)
{
	const struct column_map *m, *best = NULL;
	size_t most = 0;

	for (size_t i = 0; (m = column_map_builtin(i)); i++) {
		size_t n = knows(m, s);

		if (n > most) {
			most = n;
			best = m;
		}
	}
	return best;
}

static const struct column_map *general_map(void)
{
	const struct column_map *m, *last = NULL;

	for (size_t i = 0; (m = column_map_builtin(i)); i++)
		last = m;
	return last;
}

static void look_up(struct shape *s, const struct shape_conf *conf)
{
	const struct column_map *const order[] = {conf->given, s->map, general_map()};

	for (uint32_t i = 0; i < s->n; i++) {
		const struct mapped *c = NULL;

		for (size_t k = 0; k < ARRAY_SIZE(order) && !c; k++) {
			if (order[k])
				c = column_map_find(order[k], slice_str(s->columns[i].name));
		}
		if (c)
			s->columns[i].target = c->target;
	}
}

/* ---- places ---------------------------------------------------------------------------------- */

static bool has_own_name(const struct shape_column *c)
{
	char buf[8];

	return same_name(slice_str(c->name),
			 slice_str(target_describe(&c->target, buf, sizeof(buf))));
}

/* Column i means what *at is for: it, or the one that is there already, is left out. */
static void place(struct shape *s, int *at, uint32_t i)
{
	uint32_t loser = i;

	if (*at < 0 || (has_own_name(&s->columns[i]) && !has_own_name(&s->columns[*at]))) {
		loser = *at < 0 ? i : (uint32_t)*at;
		*at = (int)i;
	}
	if (loser != (uint32_t)*at)
		s->columns[loser].target = (struct target){.kind = TARGET_IGNORED};
}

static void place_all(struct shape *s)
{
	s->time_at = s->value_at = -1;
	for (int f = 0; f < FIELD_COUNT; f++)
		s->field_at[f] = -1;
	for (uint32_t i = 0; i < s->n; i++) {
		const struct target *t = &s->columns[i].target;

		if (t->kind == TARGET_TIME)
			place(s, &s->time_at, i);
		else if (t->kind == TARGET_VALUE)
			place(s, &s->value_at, i);
		else if (t->kind == TARGET_FIELD)
			place(s, &s->field_at[t->field], i);
	}
}

static void place_constants(struct shape *s, const struct shape_conf *conf)
{
	for (size_t i = 0; conf->given && i < conf->given->n_constants; i++) {
		const struct constant *c = &conf->given->constants[i];

		if (c->target.kind == TARGET_LABEL)
			labels_add(&s->labels, c->target.name, slice_str(c->text));
		else
			s->constants[c->target.field] = slice_str(c->text);
	}
	if (conf->host.len)
		s->constants[FIELD_HOST] = conf->host;
	for (int f = 0; f < FIELD_COUNT; f++) {
		if (!s->constants[f].len || s->field_at[f] < 0)
			continue;
		s->columns[s->field_at[f]].target.kind = TARGET_IGNORED;
		s->field_at[f] = -1;
	}
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int at_column(const struct shape_conf *conf, const struct csv_record *header, uint32_t i,
		     struct err *e)
{
	int64_t line, column;

	csv_position(header, csv_whole(header, i).p, &line, &column);
	return err_prefix(e, -EBADMSG, "%s:%lld:%lld", conf->name, (long long)line,
			  (long long)column);
}

static int check_twice(const struct shape *s, const struct shape_conf *conf,
		       const struct csv_record *header, struct err *e)
{
	for (uint32_t i = 0; i < s->n; i++) {
		const char *name = s->columns[i].name;

		for (uint32_t j = 0; j < i && *name; j++) {
			if (!same_name(slice_str(name), slice_str(s->columns[j].name)))
				continue;
			err_set(e, 0, "column %s is there twice", excerpt(slice_str(name)).s);
			return at_column(conf, header, i, e);
		}
	}
	return 0;
}

static bool is_same_metric(const struct shape_column *a, const struct shape_column *b)
{
	return a->target.kind == TARGET_METRIC && b->target.kind == TARGET_METRIC &&
	       !strcmp(a->target.name, b->target.name);
}

static int check_metrics(const struct shape *s, const struct shape_conf *conf,
			 const struct csv_record *header, struct err *e)
{
	for (uint32_t i = 0; i < s->n; i++) {
		for (uint32_t j = 0; j < i; j++) {
			const struct shape_column *a = &s->columns[i], *b = &s->columns[j];

			if (!is_same_metric(a, b))
				continue;
			err_set(e, 0,
				"columns %s and %s are both %s: say in a map (--map) which one "
				"counts",
				excerpt(slice_str(b->name)).s, excerpt(slice_str(a->name)).s,
				a->target.name);
			return at_column(conf, header, i, e);
		}
	}
	return 0;
}

static void miss(struct strbuf *out, bool is_there, const char *name)
{
	if (!is_there)
		strbuf_addf(out, "%s%s", out->len ? ", " : "", name);
}

static bool has(const struct shape *s, enum series_field f)
{
	return s->field_at[f] >= 0 || s->constants[f].len;
}

static int check_needed(const struct shape *s, const struct shape_conf *conf,
			const struct csv_record *header, struct err *e)
{
	struct strbuf list;
	int r = 0;

	strbuf_init(&list, 128);
	miss(&list, has(s, FIELD_HOST), "Hostname");
	miss(&list, has(s, FIELD_GPU), "gpu_id");
	miss(&list, s->form == SHAPE_WIDE || has(s, FIELD_METRIC), "metric_name");
	miss(&list, s->time_at >= 0, "timestamp");
	miss(&list, s->form == SHAPE_WIDE || s->value_at >= 0, "value");
	if (list.len)
		r = err_set(e, -EBADMSG, "%s:%lld: no header: needed but missing: %s%s", conf->name,
			    (long long)header->line, list.s,
			    !strcmp(list.s, "Hostname")
				    ? " (--host NAME says it for a file without)"
				    : "");
	strbuf_release(&list);
	return r;
}

/* ---- metrics --------------------------------------------------------------------------------- */

/* How the cells of a metric's column are read. */
static int learn_reading(struct shape_column *c, const struct shape_conf *conf,
			 const struct csv_record *header, uint32_t i, struct err *e)
{
	const char *unit = metric_unit(c->target.name);
	struct slice name = slice_str(c->name), in_header = column_unit(&name);

	c->reading = (struct reading_conf){
		.form = c->target.form,
		.factor = c->target.factor,
		.fixed = c->target.fixed,
		.percent = !strcmp(unit, "%"),
		.unit = unit,
	};
	if (c->target.fixed || !in_header.len || !strcmp(unit, "-") || !unit_is_known(in_header) ||
	    unit_factor(in_header, slice_str(unit), &c->reading.factor))
		return 0;
	err_set(e, 0, "column %s: %s is expected in %s, not in %s: a map (--map) can say a factor",
		excerpt(slice_str(c->name)).s, c->target.name, unit, excerpt(in_header).s);
	return at_column(conf, header, i, e);
}

static int learn_metrics(struct shape *s, const struct shape_conf *conf,
			 const struct csv_record *header, struct err *e)
{
	int r = check_metrics(s, conf, header, e);

	for (uint32_t i = 0; i < s->n && !r; i++) {
		if (s->columns[i].target.kind == TARGET_METRIC)
			r = learn_reading(&s->columns[i], conf, header, i, e);
	}
	return r;
}

static bool has_metrics(const struct shape *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		if (s->columns[i].target.kind == TARGET_METRIC)
			return true;
	}
	return false;
}

/* ---- learning -------------------------------------------------------------------------------- */

static void take_names(struct shape *s, const struct csv_record *header)
{
	struct strbuf scratch;

	strbuf_init(&scratch, CSV_RECORD_MAX);
	s->n = header->n;
	s->columns = xcalloc(s->n + 1, sizeof(*s->columns));
	for (uint32_t i = 0; i < s->n; i++) {
		struct slice name;

		strbuf_reset(&scratch);
		name = trim(csv_text(header, i, &scratch));
		s->columns[i].name = xstrndup(name.p, name.len);
	}
	strbuf_release(&scratch);
}

int shape_learn(struct shape *s, const struct shape_conf *conf, const struct csv_record *header,
		struct err *e)
{
	int r;

	*s = (struct shape){0};
	strbuf_init(&s->labels, LABELS_BYTES);
	take_names(s, header);
	s->map = best_map(s);
	look_up(s, conf);
	place_all(s);
	place_constants(s, conf);
	s->form = s->value_at < 0 && !has(s, FIELD_METRIC) && has_metrics(s) ? SHAPE_WIDE
									     : SHAPE_LONG;
	r = check_twice(s, conf, header, e);
	if (!r)
		r = check_needed(s, conf, header, e);
	if (!r && s->form == SHAPE_WIDE)
		r = learn_metrics(s, conf, header, e);
	if (r)
		shape_release(s);
	return r;
}

void shape_settle(struct shape *s, const struct csv_record *first)
{
	struct reading_conf any = {.factor = FACTOR_ONE, .unit = "-"};
	struct strbuf scratch;

	strbuf_init(&scratch, CSV_RECORD_MAX);
	for (uint32_t i = 0; s->form == SHAPE_WIDE && i < MIN(s->n, first->n); i++) {
		struct shape_column *c = &s->columns[i];
		struct slice name = slice_str(c->name), unit = column_unit(&name), text;
		enum value_kind kind;

		any.percent = slice_eq(unit, SLICE_LIT("%"));
		if (c->target.kind != TARGET_UNKNOWN || !name.len ||
		    reading_take(&any, csv_raw(first, i), &scratch, &kind, &text, NULL))
			continue;
		c->name[name.p + name.len - c->name] = '\0';
		c->reading = any;
		c->target = (struct target){
			.kind = TARGET_METRIC, .name = c->name, .factor = FACTOR_ONE};
	}
	strbuf_release(&scratch);
}

void shape_left_out(const struct shape *s, struct strbuf *out)
{
	for (uint32_t i = 0; i < s->n; i++) {
		if (s->columns[i].target.kind == TARGET_UNKNOWN)
			strbuf_addf(out, "%s%s", out->len ? ", " : "", s->columns[i].name);
	}
}

void shape_release(struct shape *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		free(s->columns[i].name);
	free(s->columns);
	strbuf_release(&s->labels);
	*s = (struct shape){0};
}
