#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "csv.h"
#include "scan.h"
#include "../lib/test.h"

/* ---- helpers -------------------------------------------------------------------------------- */

static int memory_file(const void *p, size_t n)
{
	int fd = memfd_create("csv", MFD_CLOEXEC);

	if (write(fd, p, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) != 0)
		abort();
	return fd;
}

struct trace {
	struct strbuf text; /* one line per event */
	size_t at[4096];    /* where event i starts in text */
	int64_t offset[4096], line[4096];
	size_t n;
};

static void trace_event(struct trace *t, int event, const struct csv_record *r, const struct err *e)
{
	if (t->n == ARRAY_SIZE(t->at))
		abort();
	t->at[t->n] = t->text.len;
	t->offset[t->n] = r->offset;
	t->line[t->n++] = r->line;
	strbuf_addf(&t->text, "%d %lld-%lld %lld-%lld %d", event, (long long)r->offset,
		    (long long)r->end, (long long)r->line, (long long)r->next_line, r->terminated);
	for (uint32_t i = 0; i < r->n; i++) {
		strbuf_addc(&t->text, '|');
		strbuf_add_slice(&t->text, csv_whole(r, i));
	}
	if (event == CSV_INVALID)
		strbuf_adds(&t->text, e->text);
	strbuf_addc(&t->text, '\n');
}

/* All events from offset on, which is on that line. */
static struct trace *trace(int fd, const struct csv_conf *conf, int64_t offset, int64_t line)
{
	struct trace *t = xcalloc(1, sizeof(*t));
	struct csv_record r;
	struct csv *c;
	struct err e;
	int event;

	strbuf_init(&t->text, 64 << 20);
	if (csv_open(&c, fd, conf) < 0 || csv_seek(c, offset, line) < 0)
		abort();
	while ((event = csv_next(c, &r, &e)) > CSV_END && event != CSV_AGAIN) {
		trace_event(t, event, &r, &e);
		CHECK_EQ_INT(csv_offset(c), r.end);
		CHECK_EQ_INT(csv_line(c), r.next_line);
	}
	CHECK_EQ_INT(event, CSV_END);
	CHECK_EQ_INT(csv_offset(c), lseek(fd, 0, SEEK_END));
	csv_close(c);
	return t;
}

static void trace_free(struct trace *t)
{
	strbuf_release(&t->text);
	free(t);
}

static struct slice trace_from(const struct trace *t, size_t i)
{
	size_t at = i < t->n ? t->at[i] : t->text.len;

	return (struct slice){t->text.s + at, t->text.len - at};
}

/* What a text reads as: fields in <>, records ended by ; and E: message for invalid ones. */
static char *reads_as_n(const void *p, size_t n, const struct csv_conf *conf)
{
	int fd = memory_file(p, n), event;
	struct strbuf out, scratch;
	struct csv_record r;
	struct csv *c;
	struct err e;

	strbuf_init(&out, 1 << 20);
	strbuf_init(&scratch, 1 << 20);
	if (csv_open(&c, fd, conf) < 0)
		abort();
	while ((event = csv_next(c, &r, &e)) > CSV_END && event != CSV_AGAIN) {
		for (uint32_t i = 0; i < r.n; i++) {
			struct slice s = csv_text(&r, i, &scratch);

			strbuf_addf(&out, "<%.*s>", (int)s.len, s.p);
		}
		if (event == CSV_INVALID)
			strbuf_addf(&out, "E:%s", e.text);
		strbuf_addc(&out, ';');
	}
	if (event < 0)
		strbuf_addf(&out, "error:%s", e.text);
	csv_close(c);
	close(fd);
	strbuf_release(&scratch);
	return strbuf_take(&out);
}

static void check_reads(const char *text, const char *want)
{
	char *got = reads_as_n(text, strlen(text), &(struct csv_conf){.name = "f"});

	CHECK_EQ_STR(got, want);
	free(got);
}

static uint32_t rnd(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % below;
}

/* ---- what is taken -------------------------------------------------------------------------- */

TEST(records_end_with_lf_crlf_or_the_file)
{
	check_reads("a,b\nc,d\n", "<a><b>;<c><d>;");
	check_reads("a,b\r\nc,d\r\n", "<a><b>;<c><d>;");
	check_reads("\"a\",\"b\"\r\n\"c\",\"d\"\r\n", "<a><b>;<c><d>;");
	check_reads("a,b\nc,d", "<a><b>;<c><d>;");
	check_reads("\"a\"\r", "<a>;");
	check_reads("", "");
	check_reads("\n\n", "");
	check_reads("a", "<a>;");
}

TEST(quoted_fields_hold_commas_quotes_and_line_breaks)
{
	check_reads("\"a,b\",\"c\"\"d\",\"e\nf\",\"\"\n", "<a,b><c\"d><e\nf><>;");
	check_reads("\"\"\"\"\n\"\"\"a\"\"\",\"\"\"\"\"\"\n", "<\">;<\"a\"><\"\">;");
	check_reads(",,\n\"\"\n", "<><><>;<>;");
}

TEST(byte_order_mark_and_blank_lines_are_skipped)
{
	check_reads("\xef\xbb\xbf\"a\",b\n", "<a><b>;");
	check_reads("\xef\xbb\xbf", "");
	check_reads("\n\r\n \t\na,b\n\n\nc,d\n  ", "<a><b>;<c><d>;");
	check_reads("a\xef\xbb\xbf,b\n", "<a\xef\xbb\xbf><b>;");
}

/* ---- what is not ---------------------------------------------------------------------------- */

TEST(stray_quotes_cost_their_record_and_name_its_column)
{
	check_reads("a,b\nc,d\"e,f\ng,h\n", "<a><b>;E:f:2:4: a quote in an unquoted field;<g><h>;");
	check_reads("a,b\nc,\"d\"e,f\ng,h\n",
		    "<a><b>;E:f:2:6: unexpected bytes after a closing quote;<g><h>;");
	check_reads("a,\"b\" ,c\ng,h\n", "E:f:1:6: unexpected bytes after a closing quote;<g><h>;");
	check_reads("a,\"b\"\rc\ng,h\n", "E:f:1:7: unexpected bytes after a closing quote;<g><h>;");
	check_reads("a,b\"", "E:f:1:4: a quote in an unquoted field;");
}

TEST(rows_after_an_unclosed_quote_arrive)
{
	check_reads("\"a\",\"b\"\n\"c\",\"d\n\"e\",\"f\"\n\"g\",\"h\"\n",
		    "<a><b>;E:f:2:5: a quote is opened and never closed;<e><f>;<g><h>;");
	check_reads("a,b\n\"c,d\ne,f\ng,h\n",
		    "<a><b>;E:f:2:1: a quote is opened and never closed;<e><f>;<g><h>;");
	check_reads("a,b\nc,\"d", "<a><b>;E:f:2:3: a quote is opened and never closed;");
	check_reads("\"x\",\"k=\"\"v\"\"\n\"y\",\"k=\"\"v\"\"\"\n",
		    "E:f:1:5: a quote is opened and never closed;<y><k=\"v\">;");
}

TEST(positions_in_records_of_several_lines_are_those_of_the_line)
{
	check_reads("a,\"b\nc\",d\"\nx,y\n", "E:f:2:5: a quote in an unquoted field;<x><y>;");
	check_reads("a,\"b\nc\"\n\nd,e\"\n", "<a><b\nc>;E:f:4:4: a quote in an unquoted field;");
}

TEST(a_nul_costs_its_record)
{
	static const char good[] = "some,good,row,of,a,file,without,any,control,characters\n";
	struct strbuf b;
	char *got;

	strbuf_init(&b, 4096);
	for (int i = 0; i < 4; i++)
		strbuf_adds(&b, good);
	strbuf_add(&b, "a,\"b\0\"\n\"c\nd\",e\n", 16);
	got = reads_as_n(b.s, b.len, &(struct csv_conf){.name = "f"});
	CHECK(strstr(got, ";E:f:5:5: a NUL byte;<c\nd><e>;") != NULL);
	free(got);
	strbuf_release(&b);
}

TEST(a_binary_file_is_refused_as_a_whole)
{
	char zeros[5000] = {0}, *got;

	got = reads_as_n(zeros, sizeof(zeros), &(struct csv_conf){.name = "f"});
	CHECK_EQ_STR(got, "error:f: binary file");
	free(got);
	check_reads("\x7f"
		    "ELF\2\1\1",
		    "error:f: binary file");
	CHECK(!csv_is_binary("a\tb\r\n\xc3\xa4", 7));
}

TEST(more_fields_than_the_limit_are_an_invalid_record)
{
	struct strbuf b;
	char *got;

	strbuf_init(&b, 1 << 20);
	for (int i = 0; i < CSV_FIELDS_MAX; i++)
		strbuf_adds(&b, "x,");
	strbuf_adds(&b, "x\na,b\n");
	got = reads_as_n(b.s, b.len, &(struct csv_conf){.name = "f"});
	CHECK_EQ_STR(got, "E:f:1:2049: more than 1024 fields;<a><b>;");
	free(got);
	strbuf_release(&b);
}

/* "a,b\n1,2\n" + before + n times fill + after + "3,4\n" */
static char *reads_with_long(const char *before, size_t n, char fill, const char *after)
{
	struct strbuf b;
	char *got;

	strbuf_init(&b, 32 << 20);
	strbuf_adds(&b, "a,b\n1,2\n");
	strbuf_adds(&b, before);
	memset(strbuf_reserve(&b, n), fill, n);
	b.len += n;
	strbuf_adds(&b, after);
	strbuf_adds(&b, "3,4\n");
	got = reads_as_n(b.s, b.len, &(struct csv_conf){.name = "f"});
	strbuf_release(&b);
	return got;
}

TEST(a_field_of_ten_megabytes_costs_its_record)
{
	static const char *const want =
		"<a><b>;<1><2>;E:f:3:3: a field of more than 65536 bytes;<3><4>;";
	char *got;

	got = reads_with_long("x,", 10 << 20, 'y', "\n");
	CHECK_EQ_STR(got, want);
	free(got);
	got = reads_with_long("x,\"", 10 << 20, 'y', "\",5\n");
	CHECK_EQ_STR(got, want);
	free(got);
	got = reads_with_long("x,\"", 100 << 10, 'y', "\",5\n");
	CHECK_EQ_STR(got, want);
	free(got);
	got = reads_with_long("x,", 10 << 20, ',', "\n");
	CHECK(strstr(got, "a record of more than 1048576 bytes;<3><4>;") != NULL);
	free(got);
}

TEST(a_long_quoted_field_with_line_breaks_is_skipped_as_one)
{
	char *got = reads_with_long("x,\"", 100 << 10, '\n', "\",5\n");

	CHECK_EQ_STR(got, "<a><b>;<1><2>;E:f:3:3: a field of more than 65536 bytes;<3><4>;");
	free(got);
}

TEST(an_unclosed_quote_before_megabytes_of_lines_costs_its_line)
{
	char *got = reads_with_long("x,\"y\nq,r\n", 3 << 20, '\n', "");

	CHECK_EQ_STR(got, "<a><b>;<1><2>;E:f:3:3: a quote is opened and never closed;"
			  "<q><r>;<3><4>;");
	free(got);
}

/* ---- places --------------------------------------------------------------------------------- */

TEST(offsets_and_lines_name_the_record)
{
	static const char text[] = "a,b\r\n\n\"c\nd\",e\nf";
	struct csv_conf conf = {.name = "f"};
	int fd = memory_file(text, strlen(text));
	struct trace *t = trace(fd, &conf, 0, 1);

	CHECK_EQ_STR(t->text.s, "1 0-5 1-2 1|a|b\n"
				"1 6-14 3-5 1|\"c\nd\"|e\n"
				"1 14-15 5-5 0|f\n");
	trace_free(t);
	close(fd);
}

TEST(a_field_has_a_line_and_a_column)
{
	static const char text[] = "a,\"b\nc\",d\n";
	int fd = memory_file(text, strlen(text));
	struct csv_record r;
	int64_t line, column;
	struct csv *c;

	CHECK_EQ_INT(csv_open(&c, fd, &(struct csv_conf){.name = "f"}), 0);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_RECORD);
	csv_position(&r, csv_whole(&r, 1).p, &line, &column);
	CHECK_EQ_INT(line, 1);
	CHECK_EQ_INT(column, 3);
	csv_position(&r, csv_whole(&r, 2).p, &line, &column);
	CHECK_EQ_INT(line, 2);
	CHECK_EQ_INT(column, 4);
	csv_close(c);
	close(fd);
}

/* ---- pipes and growing files ---------------------------------------------------------------- */

TEST(a_pipe_without_bytes_is_not_waited_for)
{
	struct csv_record r;
	struct csv *c;
	int fds[2];

	if (!CHECK(pipe(fds) == 0))
		return;
	CHECK_EQ_INT(csv_open(&c, fds[0], &(struct csv_conf){.name = "f", .nowait = true}), 0);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_AGAIN);
	CHECK_EQ_INT(write(fds[1], "a,b\nc,\"", 7), 7);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_RECORD);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_AGAIN);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_AGAIN);
	CHECK_EQ_INT(write(fds[1], "d\"\n", 3), 3);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_RECORD);
	CHECK_EQ_INT(r.n, 2);
	CHECK_EQ_SLICE(csv_raw(&r, 1), SLICE_LIT("d"));
	CHECK_EQ_INT(csv_seek(c, 0, 1), -ESPIPE);
	close(fds[1]);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_END);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_END);
	csv_close(c);
	close(fds[0]);
}

TEST(a_followed_file_gives_a_line_when_it_is_whole)
{
	int fd = memory_file("a,b\nc,", 6);
	struct csv_record r;
	struct csv *c;

	CHECK_EQ_INT(csv_open(&c, fd, &(struct csv_conf){.name = "f", .follow = true}), 0);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_RECORD);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_AGAIN);
	CHECK_EQ_INT(pwrite(fd, "d\n", 2, 6), 2);
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_RECORD);
	CHECK_EQ_INT(r.offset, 4);
	CHECK_EQ_INT(r.end, 8);
	CHECK_EQ_SLICE(csv_raw(&r, 1), SLICE_LIT("d"));
	CHECK_EQ_INT(csv_next(c, &r, NULL), CSV_AGAIN);
	csv_close(c);
	close(fd);
}

TEST(a_folder_is_a_read_error)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY);
	struct csv_record r;
	struct err e;
	struct csv *c;

	CHECK_EQ_INT(csv_open(&c, fd, &(struct csv_conf){.name = "f"}), 0);
	CHECK_EQ_INT(csv_next(c, &r, &e), -EISDIR);
	CHECK_EQ_STR(e.text, "f: Is a directory");
	csv_close(c);
	csv_close(NULL);
	close(fd);
}

/* ---- properties ----------------------------------------------------------------------------- */

TEST(both_scanners_see_the_same)
{
	char block[SCAN_BLOCK];
	uint32_t seed = 1;

	for (int round = 0; round < 10000; round++) {
		struct scan a, b;

		for (int i = 0; i < SCAN_BLOCK; i++)
			block[i] =
				rnd(&seed, 2) ? "\",\n\r\0a"[rnd(&seed, 6)] : (char)rnd(&seed, 256);
		a = scan_plain(block);
		b = scan_block(block);
		CHECK(memcmp(&a, &b, sizeof(a)) == 0);
	}
}

static void add_random_field(struct strbuf *doc, struct strbuf *want, uint32_t *seed)
{
	static const char plain[] = "abc0 .-=", any[] = "a\",\n\r b";
	bool quoted = rnd(seed, 2);
	uint32_t n = rnd(seed, 12);

	if (quoted)
		strbuf_addc(doc, '"');
	strbuf_addc(want, '<');
	for (uint32_t i = 0; i < n; i++) {
		char c = quoted ? any[rnd(seed, sizeof(any) - 1)]
				: plain[rnd(seed, sizeof(plain) - 1)];

		strbuf_adds(doc, c == '"' ? "\"" : "");
		strbuf_addc(doc, c);
		strbuf_addc(want, c);
	}
	if (quoted)
		strbuf_addc(doc, '"');
	strbuf_addc(want, '>');
}

static void make_document(struct strbuf *doc, struct strbuf *want, uint32_t *seed)
{
	uint32_t records = rnd(seed, 8);

	if (rnd(seed, 4) == 0)
		strbuf_adds(doc, "\xef\xbb\xbf");
	for (uint32_t i = 0; i < records; i++) {
		uint32_t fields = 1 + rnd(seed, 6);

		strbuf_adds(doc, "r"); /* so that no line is blank */
		strbuf_adds(want, "<r>");
		for (uint32_t f = 0; f < fields; f++) {
			strbuf_addc(doc, ',');
			add_random_field(doc, want, seed);
		}
		strbuf_adds(want, ";");
		strbuf_adds(doc, i + 1 < records || rnd(seed, 2) ? &"\r\n"[rnd(seed, 2)] : "");
	}
}

TEST(what_was_written_by_the_rules_is_read_back_in_blocks_of_any_size)
{
	uint32_t seed = 7;

	for (int round = 0; round < 3000; round++) {
		struct csv_conf conf = {.name = "f", .block = 1 + rnd(&seed, 80)};
		struct strbuf doc, want;
		char *got;

		strbuf_init(&doc, 1 << 16);
		strbuf_init(&want, 1 << 16);
		make_document(&doc, &want, &seed);
		got = reads_as_n(doc.s, doc.len, &conf);
		if (!CHECK_EQ_STR(got, want.len ? want.s : ""))
			round = 3000;
		free(got);
		strbuf_release(&doc);
		strbuf_release(&want);
	}
}

/* Two bytes in front keep the reader from judging the whole as binary. */
static size_t make_hostile(char *doc, size_t max, uint32_t *seed)
{
	static const char alphabet[] = "\"\"\",,\n\nab\r\0";
	size_t n = 2 + rnd(seed, (uint32_t)max - 2);

	memcpy(doc, "x\n", 2);
	for (size_t i = 2; i < n; i++)
		doc[i] = alphabet[rnd(seed, sizeof(alphabet) - 1)];
	return n;
}

static bool same_from_every_record(int fd, const struct csv_conf *conf, const struct trace *whole)
{
	bool same = true;

	for (size_t i = 0; i < whole->n && same; i++) {
		struct trace *t = trace(fd, conf, whole->offset[i], whole->line[i]);

		same = CHECK_EQ_SLICE(trace_from(t, 0), trace_from(whole, i));
		trace_free(t);
	}
	return same;
}

static bool same_in_any_blocks(int fd, struct csv_conf conf, const struct trace *whole)
{
	bool same = true;

	for (conf.block = 1; conf.block < 200 && same; conf.block += 1 + conf.block / 3) {
		struct trace *t = trace(fd, &conf, 2, 2);

		same = CHECK_EQ_SLICE(trace_from(t, 0), trace_from(whole, 0));
		trace_free(t);
	}
	return same;
}

TEST(hostile_bytes_read_the_same_in_any_blocks_and_from_any_record)
{
	uint32_t seed = 11;
	char doc[400];

	for (int round = 0; round < 1000; round++) {
		struct csv_conf conf = {
			.name = "f",
			.record_max = round % 2 ? 0 : 10 + rnd(&seed, 100),
			.field_max = round % 3 ? 0 : 1 + rnd(&seed, 20),
		};
		int fd = memory_file(doc, make_hostile(doc, sizeof(doc), &seed));
		struct trace *whole = trace(fd, &conf, 2, 2);
		bool same = same_in_any_blocks(fd, conf, whole);

		same = same && same_from_every_record(fd, &conf, whole);
		trace_free(whole);
		close(fd);
		if (!same)
			break;
	}
}
