/* The short way over expected rows says the same as the long one. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "row.h"
#include "../lib/test.h"

enum { FILES = 300, ROWS = 120 };

/* ---- files ----------------------------------------------------------------------------------- */

struct rng {
	uint64_t s;
};

static uint32_t below(struct rng *g, uint32_t n)
{
	g->s = g->s * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(g->s >> 33) % n;
}

static const char *pick(struct rng *g, const char *const *list, size_t n)
{
	return list[below(g, (uint32_t)n)];
}

static const char *const headers[] = {
	"timestamp,metric_name,gpu_id,Hostname,pod,value,labels_raw",
	"value,timestamp,metric_name,gpu_id,Hostname,pod",
	"metric_name,gpu_id,Hostname,pod,timestamp,value",
	"Hostname,gpu_id,value,metric_name,pod,more,timestamp",
};

static const char *const odd_values[] = {"N/A", "",    "\"\"",   "abc",       "1,5",
					 "1\"", " 7 ", "\" 8\"", "\"9\"\"\"", "2147483632"};
static const char *const odd_times[] = {"now", "", "\"1752871354", "1752871354 ", "99999999999999"};
static const char *const pods[] = {"", "p", "\"a,b\"", "\"two\nlines\"", "\"say \"\"x\"\"\""};
static const char *const ends[] = {"\n", "\n", "\n", "\r\n", "\n\n", " \n", "\r\r\n", "x\n"};

static void add_value(struct strbuf *out, struct rng *g)
{
	if (!below(g, 20))
		strbuf_adds(out, pick(g, odd_values, ARRAY_SIZE(odd_values)));
	else
		strbuf_addf(out, below(g, 2) ? "%u.%u" : "\"%u.%u\"", below(g, 999), below(g, 99));
}

static void add_time(struct strbuf *out, struct rng *g, unsigned row)
{
	if (!below(g, 40))
		strbuf_adds(out, pick(g, odd_times, ARRAY_SIZE(odd_times)));
	else
		strbuf_addf(out, below(g, 2) ? "%u" : "\"%u.50\"", 1752871354 + row / 8);
}

/* A column of the row of series i. */
static void add_field(struct strbuf *out, struct rng *g, struct slice column, unsigned i,
		      unsigned row, const char *pod)
{
	if (slice_eq(column, SLICE_LIT("timestamp")))
		add_time(out, g, row);
	else if (slice_eq(column, SLICE_LIT("value")))
		add_value(out, g);
	else if (slice_eq(column, SLICE_LIT("metric_name")))
		strbuf_addf(out, "M%u", i % 3);
	else if (slice_eq(column, SLICE_LIT("gpu_id")))
		strbuf_addf(out, i % 2 ? "%u" : "\"%u\"", i % 2);
	else if (slice_eq(column, SLICE_LIT("Hostname")))
		strbuf_adds(out, "h");
	else if (slice_eq(column, SLICE_LIT("pod")))
		strbuf_adds(out, pod);
}

static void add_row(struct strbuf *out, struct rng *g, const char *header, unsigned row)
{
	unsigned i = below(g, 10) ? row % 6 : below(g, 6);
	const char *pod = pods[below(g, 30) ? i % 2 : below(g, ARRAY_SIZE(pods))];

	for (const char *p = header; *p;) {
		size_t len = strcspn(p, ",");

		add_field(out, g, (struct slice){p, len}, i, row, pod);
		p += len + (p[len] == ',');
		if (*p)
			strbuf_addc(out, ',');
	}
	strbuf_adds(out, below(g, 8) ? "\n" : pick(g, ends, ARRAY_SIZE(ends)));
}

static void make_file(struct strbuf *out, struct rng *g)
{
	const char *header = pick(g, headers, ARRAY_SIZE(headers));

	strbuf_reset(out);
	strbuf_adds(out, header);
	strbuf_addc(out, '\n');
	for (unsigned row = 0; row < ROWS; row++)
		add_row(out, g, header, row);
	if (!below(g, 3))
		out->len -= 1 + below(g, 5);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void tell_place(struct strbuf *out, const struct csv_record *rec)
{
	strbuf_addf(out, "%lld-%lld lines %lld-%lld len %zu %d: ", (long long)rec->offset,
		    (long long)rec->end, (long long)rec->line, (long long)rec->next_line, rec->len,
		    rec->terminated);
}

static void tell_row(struct strbuf *out, const struct csv_record *rec, int r,
		     const struct sample *s, const struct err *e)
{
	tell_place(out, rec);
	if (r == ROW_INVALID) {
		strbuf_adds(out, e->text);
	} else {
		strbuf_addf(out, "%d %lld/%d series %u value ", r, (long long)s->time.ns,
			    s->time.digits, s->series->id);
		strbuf_add_slice(out, s->value);
	}
	strbuf_addc(out, '\n');
}

/* The next event in words. False: the end. */
static bool tell_next(struct strbuf *out, struct csv *csv, struct row_parser *rows, bool *header)
{
	struct csv_record rec;
	struct sample s;
	struct err e = {0};
	int event = csv_next(csv, &rec, &e);

	if (event <= CSV_END)
		return false;
	if (event == CSV_INVALID) {
		tell_place(out, &rec);
		strbuf_addf(out, "%s\n", e.text);
	} else if (!*header) {
		CHECK_EQ_INT(row_header(rows, &rec, &e), 0);
		*header = true;
	} else {
		int r = row_parse(rows, &rec, &s, &e);

		tell_row(out, &rec, r, &s, &e);
	}
	return true;
}

/* What the rows of a file are, a line each; returns how many went the short way. */
static size_t tell(int fd, size_t block, bool foresee, struct strbuf *out)
{
	struct row_parser *rows = row_parser_new(&(struct row_conf){.name = "f"});
	struct csv_conf conf = {.name = "f", .block = block, .record_max = 400};
	struct csv_record rec;
	struct sample s;
	struct csv *csv;
	bool header = false;
	size_t n = 0;

	strbuf_reset(out);
	CHECK_EQ_INT(csv_open(&csv, fd, &conf), 0);
	CHECK_EQ_INT(csv_seek(csv, 0, 1), 0);
	do
		while (foresee && header && row_foresee(rows, csv, &rec, &s)) {
			tell_row(out, &rec, ROW_OK, &s, NULL);
			n++;
		}
	while (tell_next(out, csv, rows, &header));
	csv_close(csv);
	row_parser_free(rows);
	return n;
}

/* Complains of the first place where they differ only, for they are long. */
static bool check_same(const struct strbuf *got, const struct strbuf *want)
{
	size_t at = 0, line = 0;

	while (at < got->len && at < want->len && got->s[at] == want->s[at])
		if (got->s[at++] == '\n')
			line = at;
	if (at == got->len && at == want->len)
		return true;
	return test_check(false, __FILE__, __LINE__, "got %.120s\nwant %.120s", got->s + line,
			  want->s + line);
}

/* ---- tests ----------------------------------------------------------------------------------- */

TEST(expected_rows_are_what_the_full_parser_says_on_any_file)
{
	struct rng g = {20250718};
	struct strbuf file, want, got;
	size_t seen = 0;

	strbuf_init(&file, 1 << 20);
	strbuf_init(&want, 1 << 20);
	strbuf_init(&got, 1 << 20);
	for (int i = 0; i < FILES; i++) {
		int fd = memfd_create("csv", MFD_CLOEXEC);
		size_t block = i % 3 ? 1 + below(&g, 200) : 4096;

		make_file(&file, &g);
		CHECK(write(fd, file.s, file.len) == (ssize_t)file.len);
		tell(fd, block, false, &want);
		seen += tell(fd, block, true, &got);
		if (!check_same(&got, &want))
			break;
		close(fd);
	}
	CHECK(seen > FILES * ROWS / 20);
	strbuf_release(&file);
	strbuf_release(&want);
	strbuf_release(&got);
}

TEST(most_rows_of_a_periodic_file_are_foreseen)
{
	struct strbuf file, out;
	int fd = memfd_create("csv", MFD_CLOEXEC);

	strbuf_init(&file, 1 << 20);
	strbuf_init(&out, 1 << 20);
	strbuf_addf(&file, "%s\n", headers[0]);
	for (int i = 0; i < 1000; i++)
		strbuf_addf(&file, "\"%d\",\"M%d\",\"0\",\"h\",\"\",\"%d\",\"a=\"\"b\"\"\"\n",
			    1752871354 + i / 10, i % 10, i);
	CHECK(write(fd, file.s, file.len) == (ssize_t)file.len);
	CHECK_EQ_INT(tell(fd, 1 << 20, true, &out), 990 - 1);
	close(fd);
	strbuf_release(&file);
	strbuf_release(&out);
}
