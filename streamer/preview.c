#include "preview.h"

#include "daemon.h"
#include "input.h"
#include "missing.h"
#include "render.h"
#include "source.h"

#include <stdio.h>
#include <unistd.h>

enum { ROWS_SHOWN = 10, REASONS_SHOWN = 20 };

struct preview {
	const struct preview_conf *conf;
	struct csv *csv;
	struct row_parser *rows;
	bool has_header, told;
	struct strbuf shown; /* the first rows */
	struct strbuf reasons;
	struct missing missing;
	int64_t n, good, none, invalid;
};

/* ---- printing -------------------------------------------------------------------------------- */

static void print_column(const struct shape_column *c)
{
	char buf[160];
	struct factor f = c->reading.factor;

	printf("  %-28s %s", c->name, target_describe(&c->target, buf, sizeof(buf)));
	if (c->target.kind == TARGET_METRIC && strcmp(c->reading.unit, "-"))
		printf(" [%s]", c->reading.unit);
	if (c->target.kind == TARGET_METRIC && !factor_is_one(f))
		printf(" * %llu / 10^%d", (unsigned long long)f.mantissa, f.digits);
	putchar('\n');
}

static void print_constants(const struct shape *s)
{
	for (int f = 0; f < FIELD_COUNT; f++) {
		const struct target t = {.kind = TARGET_FIELD, .field = (enum series_field)f};
		char buf[8];

		if (s->constants[f].len)
			printf("  (always)                     %s := %.*s\n",
			       target_describe(&t, buf, sizeof(buf)), (int)s->constants[f].len,
			       s->constants[f].p);
	}
	if (s->labels.len)
		printf("  (always)                     labels %s\n", s->labels.s);
}

static void print_shape(struct preview *x)
{
	const struct shape *s = row_shape(x->rows);
	const char *packing = input_packing(csv_input(x->csv));

	printf("%s: the %s form", x->conf->path, s->form == SHAPE_LONG ? "long" : "wide");
	if (x->conf->map)
		printf(", map %s", x->conf->map->name);
	else if (s->form == SHAPE_WIDE)
		printf(", map \"%s\" (built in)", s->map->name);
	printf("%s%s\n", packing ? ", from " : "", packing ? packing : "");
	for (uint32_t i = 0; i < s->n; i++)
		print_column(&s->columns[i]);
	print_constants(s);
}

static void print_missing(const struct missing *m)
{
	for (uint32_t i = 0; i < m->metrics.count; i++) {
		const struct missing_metric *x = m->metrics.entries[i].value;

		printf("no value: %s %llu\n", m->metrics.entries[i].key,
		       (unsigned long long)x->rows);
	}
}

static void print_rest(struct preview *x)
{
	if (x->shown.len)
		printf("first rows:\n%s%s", LATEST_HEADER_WIDE, x->shown.s);
	if (x->invalid)
		printf("rejected:\n%s", x->reasons.s);
	if (x->invalid > REASONS_SHOWN)
		printf("… and %lld more\n", (long long)x->invalid - REASONS_SHOWN);
	print_missing(&x->missing);
	printf("rows=%lld good=%lld no_value=%lld invalid=%lld\n", (long long)x->n,
	       (long long)x->good, (long long)x->none, (long long)x->invalid);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void show_row(struct preview *x, const struct sample *s)
{
	const struct series_ref *r = s->series;
	const struct slice fields[] = {r->series.metric,    s->value,
				       r->attribution.uuid, r->attribution.container,
				       r->attribution.pod,  r->attribution.namespace,
				       r->series.labels};
	char time[STAMP_MAX];

	render_csv_field(&x->shown, r->host);
	strbuf_addc(&x->shown, ',');
	render_csv_field(&x->shown, r->series.gpu);
	strbuf_addc(&x->shown, ',');
	strbuf_add(&x->shown, time, stamp_format(s->time, time));
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		strbuf_addc(&x->shown, ',');
		render_csv_field(&x->shown, fields[i]);
	}
	strbuf_addc(&x->shown, '\n');
}

static void count_invalid(struct preview *x, const struct err *e)
{
	x->n++;
	if (x->invalid++ < REASONS_SHOWN)
		strbuf_addf(&x->reasons, "  %s\n", e->text);
}

static void count(struct preview *x, int result, const struct sample *s, const struct err *e)
{
	if (result == ROW_INVALID) {
		count_invalid(x, e);
		return;
	}
	x->n++;
	if (result == ROW_NO_VALUE) {
		x->none++;
		missing_add(&x->missing, s->series->series.metric);
	} else if (x->good++ < ROWS_SHOWN) {
		show_row(x, s);
	}
}

static int take_record(struct preview *x, const struct csv_record *rec, struct err *e)
{
	struct sample s;
	int r;

	if (!x->has_header) {
		r = row_header(x->rows, rec, e);
		x->has_header = !r;
		return r;
	}
	r = row_parse(x->rows, rec, &s, e);
	if (r == -ENOBUFS) {
		row_forget(x->rows);
		r = row_parse(x->rows, rec, &s, e);
	}
	if (!x->told)
		print_shape(x);
	x->told = true;
	for (; r >= 0 && r != ROW_END; r = row_more(x->rows, rec, &s, e))
		count(x, r, &s, e);
	return MIN(r, 0);
}

static int read_all(struct preview *x, struct err *e)
{
	struct csv_record rec;
	int event, r = 0;

	while (!r && (event = csv_next(x->csv, &rec, e)) != CSV_END) {
		if (event < 0)
			return event;
		if (daemon_stopping())
			return -ECANCELED;
		if (event == CSV_RECORD)
			r = take_record(x, &rec, e);
		else if (event == CSV_INVALID && x->has_header)
			count_invalid(x, e);
		else if (event == CSV_INVALID)
			return -EBADMSG;
	}
	if (!r && !x->has_header)
		r = err_set(e, -ENODATA, "%s: empty: not even a header", x->conf->path);
	return r;
}

static int run(struct preview *x, int fd, struct err *e)
{
	struct csv_conf csv = {.name = x->conf->path};
	struct row_conf rows = {.name = x->conf->path, .host = x->conf->host, .map = x->conf->map};
	int r = csv_open(&x->csv, fd, &csv);

	if (r)
		return err_set(e, r, "%s: %s", x->conf->path, strerror(-r));
	x->rows = row_parser_new(&rows);
	r = read_all(x, e);
	if (r == -ENOMEM)
		err_set(e, r, "%s: out of memory", x->conf->path);
	if (x->has_header && !x->told)
		print_shape(x);
	if (x->has_header)
		print_rest(x);
	if (!r && x->invalid && x->invalid == x->n)
		r = err_set(e, -EBADMSG, "%s: not one of its rows is valid", x->conf->path);
	csv_close(x->csv);
	row_parser_free(x->rows);
	return r;
}

int preview(const struct preview_conf *conf, struct err *e)
{
	struct preview x = {.conf = conf};
	int fd = STDIN_FILENO, r = 0;

	strbuf_init(&x.shown, CSV_RECORD_MAX * ROWS_SHOWN);
	strbuf_init(&x.reasons, sizeof(e->text) * (REASONS_SHOWN + 1));
	if (strcmp(conf->path, "-"))
		r = source_open(conf->path, &fd, e);
	if (!r)
		r = run(&x, fd, e);
	if (fd > STDIN_FILENO)
		close(fd);
	missing_release(&x.missing);
	strbuf_release(&x.reasons);
	strbuf_release(&x.shown);
	return r;
}
