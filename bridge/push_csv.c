/* CSV in the body of a request. The reader wants a descriptor, so the bytes go into a file in
 * memory. */
#include "push.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME "body" /* in messages, from which the place is taken again */

struct csv_parser {
	struct row_parser *rows; /* of the last body: each has a header of its own */
};

static void *parser_new(void)
{
	return xcalloc(1, sizeof(struct csv_parser));
}

static void forget(void *arg)
{
	struct csv_parser *p = arg;

	row_parser_free(TAKE_PTR(p->rows));
}

static void parser_free(void *arg)
{
	forget(arg);
	free(arg);
}

/* "body:17:42: reason" */
static void take_fault(struct push *p, const struct err *e)
{
	long long line = 0, column = 0;
	int n = 0;

	if (sscanf(e->text, NAME ":%lld:%lld: %n", &line, &column, &n) < 2)
		n = 0;
	push_fault(p, line, column, e->text + n);
}

/* A record of the wide form has several samples. */
static int take_record(struct csv_parser *c, struct push *p, const struct csv_record *rec,
		       struct window *w, struct err *e)
{
	struct sample s;
	int r;

	for (r = row_parse(c->rows, rec, &s, e); r >= 0 && r != ROW_END;
	     r = row_more(c->rows, rec, &s, e)) {
		if (r == ROW_OK)
			push_row(p, w, &s, rec->line, 1);
		else if (r == ROW_NO_VALUE)
			push_no_value(p);
		else
			take_fault(p, e);
	}
	return MIN(r, 0);
}

static int take_rows(struct csv_parser *c, struct push *p, struct csv *csv, struct window *w,
		     struct err *e)
{
	struct csv_record rec;
	bool has_header = false;
	int event, r = 0;

	while (!r && (event = csv_next(csv, &rec, e)) != CSV_END) {
		if (event < 0)
			return event;
		if (!has_header)
			r = event == CSV_RECORD ? row_header(c->rows, &rec, e) : -EBADMSG;
		else if (event == CSV_RECORD)
			r = take_record(c, p, &rec, w, e);
		else
			take_fault(p, e);
		has_header = true;
	}
	return r || has_header ? r : err_set(e, -EBADMSG, "not even a header");
}

static int write_all(int fd, struct slice s)
{
	while (s.len) {
		ssize_t n = write(fd, s.p, s.len);

		if (n < 0 && errno != EINTR)
			return -errno;
		s.p += MAX(n, 0);
		s.len -= (size_t)MAX(n, 0);
	}
	return 0;
}

static int parse(void *arg, struct push *p, struct slice plain, struct window *w, struct err *e)
{
	struct csv_conf conf = {.name = NAME};
	struct csv_parser *c = arg;
	struct csv *csv = NULL;
	int fd = memfd_create("ingest", MFD_CLOEXEC), r = fd < 0 ? -errno : write_all(fd, plain);

	forget(c);
	c->rows = row_parser_new(&(struct row_conf){.name = NAME});
	if (!r && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (!r)
		r = csv_open(&csv, fd, &conf);
	r = r ? err_set(e, r, "%s", strerror(-r)) : take_rows(c, p, csv, w, e);
	csv_close(csv);
	if (fd >= 0)
		close(fd);
	return r;
}

const struct push_format push_csv = {
	.type = "text/csv",
	.parser_new = parser_new,
	.parser_free = parser_free,
	.parse = parse,
	.forget = forget,
};
