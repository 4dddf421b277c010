/* The buffer, positions being indexes into it:
 *
 *	0        start   field     scan            end       cap
 *	| done   | the record so far | not looked at | free    |
 *
 * Bytes are looked at in blocks of 64 (scan.h). What a block brought, and csv_next has not used
 * yet, stays in `ends` and `bad`; what reaches from one block into the next in `inside` and the
 * last_*. No decision depends on how the bytes fell into blocks and reads, or records would not be
 * the same when they are read again from the middle. */
#include "csv.h"

#include <stdio.h>

#include "input.h"
#include "scan.h"

#define BINARY_LOOK 4096

struct csv {
	struct input *input;
	struct csv_conf conf;
	char *buf;
	size_t cap, start, field, scan, end;
	int64_t base; /* offset of buf[0] in the file */
	int64_t line; /* that start is on */
	bool eof, looked;

	size_t block;        /* where the block is that ends and bad belong to */
	uint64_t ends;       /* commas and line ends outside quotes, not used yet */
	uint64_t bad;        /* bytes that cannot stand where they do */
	uint64_t inside;     /* all ones: the next byte is inside quotes */
	uint64_t last_quote; /* 1: the byte before the next is a quote, … */
	uint64_t last_plain; /* … part of an unquoted field, */
	uint64_t last_cr;    /* … a CR behind a closing quote */
	size_t odd;          /* behind the last NUL or quoted line break seen */

	char fault[64]; /* what makes the record invalid though it is in one piece, or "" */
	size_t fault_at;

	bool skipping; /* up to the next line end; then the record is reported with this: */
	struct err skip_err;
	int64_t skip_offset, skip_line, skip_next_line;

	uint32_t n;
	struct csv_field fields[CSV_FIELDS_MAX];
};

/* ---- life ----------------------------------------------------------------------------------- */

int csv_open(struct csv **ret, int fd, const struct csv_conf *conf)
{
	struct csv *c = xcalloc(1, sizeof(*c));
	int r = input_open(&c->input, fd, conf->keep);

	c->conf = *conf;
	c->conf.block = conf->block ? conf->block : CSV_BLOCK;
	c->conf.record_max = conf->record_max ? conf->record_max : CSV_RECORD_MAX;
	c->conf.field_max = conf->field_max ? conf->field_max : CSV_FIELD_MAX;
	c->cap = c->conf.record_max + 1 + c->conf.block;
	c->line = 1;
	c->buf = r ? NULL : calloc(1, c->cap + SCAN_BLOCK);
	if (!c->buf) {
		csv_close(c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

void csv_close(struct csv *c)
{
	if (!c)
		return;
	input_close(c->input);
	free(c->buf);
	free(c);
}

/* A record starts at pos; what was known about the bytes there is forgotten. */
static void restart(struct csv *c, size_t pos)
{
	c->start = c->field = c->scan = pos;
	c->ends = c->bad = c->inside = c->last_quote = c->last_plain = c->last_cr = 0;
	c->fault[0] = '\0';
	c->n = 0;
}

int csv_seek(struct csv *c, int64_t offset, int64_t line)
{
	int r = input_seek(c->input, offset);

	if (r)
		return r;
	c->end = 0;
	c->odd = 0;
	c->base = offset;
	c->line = line;
	c->eof = c->skipping = c->looked = false;
	restart(c, 0);
	return 0;
}

int64_t csv_offset(const struct csv *c)
{
	return c->skipping ? c->skip_offset : c->base + (int64_t)c->start;
}

int64_t csv_line(const struct csv *c)
{
	return c->skipping ? c->skip_line : c->line;
}

void csv_finish(struct csv *c)
{
	c->conf.follow = false;
}

struct input *csv_input(struct csv *c)
{
	return c->input;
}

/* ---- reading -------------------------------------------------------------------------------- */

bool csv_is_binary(const void *p, size_t n)
{
	const unsigned char *s = p;
	size_t control = 0;

	for (size_t i = 0; i < n; i++)
		control += (s[i] < ' ' && !(s[i] >= '\b' && s[i] <= '\r')) || s[i] == 0x7f;
	return control * 32 > n;
}

/* Drops what is in front of the record, to make room behind it. */
static void compact(struct csv *c)
{
	size_t by = c->start;

	memmove(c->buf, c->buf + by, c->end - by);
	c->base += (int64_t)by;
	c->start -= by;
	c->field -= by;
	c->scan -= by;
	c->end -= by;
	c->odd = c->odd > by ? c->odd - by : 0;
	c->fault_at = c->fault_at > by ? c->fault_at - by : 0;
}

/* More bytes behind end: > 0; 0: none now, or (eof) never again; < 0: -errno. */
static ssize_t fill(struct csv *c)
{
	ssize_t n;

	if (c->eof)
		return 0;
	if (c->cap - c->end < c->conf.block)
		compact(c);
	n = input_read(c->input, c->buf + c->end, c->conf.block, c->conf.nowait);
	if (n < 0)
		return n == -EAGAIN ? 0 : n;
	c->end += (size_t)n;
	c->eof = n == 0 && !c->conf.follow;
	return n;
}

/* At the start of a file: enough of it for the byte order mark, which is skipped. */
static int look(struct csv *c, struct err *e)
{
	ssize_t n = 1;

	while (c->base == 0 && c->end < 3 && n > 0)
		n = fill(c);
	if (n < 0)
		return err_set(e, (int)n, "%s: %s", c->conf.name, input_error(c->input, (int)n));
	if (n == 0 && !c->eof)
		return CSV_AGAIN;
	c->looked = true;
	if (c->base)
		return CSV_END;
	if (csv_is_binary(c->buf, MIN(c->end, (size_t)BINARY_LOOK)))
		return err_set(e, -EBADMSG, "%s: binary file", c->conf.name);
	if (c->end >= 3 && memcmp(c->buf, "\xef\xbb\xbf", 3) == 0)
		restart(c, 3);
	return CSV_END;
}

/* ---- blocks --------------------------------------------------------------------------------- */

static uint64_t bit_at(uint64_t bits, size_t i)
{
	return bits >> i & 1;
}

/* Looks at the n bytes, 1 to 64, at scan. */
static void scan_next(struct csv *c, size_t n)
{
	struct scan s = scan_block(c->buf + c->scan);
	uint64_t valid = n == SCAN_BLOCK ? ~0ull : (1ull << n) - 1;
	uint64_t quote = s.quote & valid;
	uint64_t inside = (quote ? scan_parity(quote) : 0) ^ c->inside;
	uint64_t ends = (s.comma | s.newline) & ~inside & valid;
	uint64_t plain = ~(inside | quote | ends) & valid;
	uint64_t after_quote = quote << 1 | c->last_quote;
	uint64_t cr = s.cr & plain & after_quote;
	uint64_t odd = (s.nul | (s.newline & inside)) & valid;

	/* A field in which quoted and other bytes meet has such a pair of neighbours. */
	c->bad = (plain & after_quote & ~cr) | (quote & inside & (plain << 1 | c->last_plain)) |
		 ((cr << 1 | c->last_cr) & ~s.newline & valid);
	c->ends = ends;
	c->last_quote = bit_at(quote, n - 1);
	c->last_plain = bit_at(plain, n - 1);
	c->last_cr = bit_at(cr, n - 1);
	c->inside = bit_at(inside, n - 1) ? ~0ull : 0;
	if (odd)
		c->odd = c->scan + SCAN_BLOCK - (size_t)__builtin_clzll(odd);
	c->block = c->scan;
	c->scan += n;
}

/* ---- places --------------------------------------------------------------------------------- */

/* Line and column of at, in bytes that start on line `line`. */
static void locate(const char *p, const char *at, int64_t line, int64_t *ret_line,
		   int64_t *ret_column)
{
	const char *nl;

	while (p < at && (nl = memchr(p, '\n', (size_t)(at - p)))) {
		line++;
		p = nl + 1;
	}
	*ret_line = line;
	*ret_column = at - p + 1;
}

void csv_position(const struct csv_record *r, const char *at, int64_t *ret_line,
		  int64_t *ret_column)
{
	locate(r->p, at, r->line, ret_line, ret_column);
}

static int64_t line_of(const struct csv *c, size_t pos)
{
	int64_t line, column;

	locate(c->buf + c->start, c->buf + pos, c->line, &line, &column);
	return line;
}

static void printf_like(4, 5)
	complain(const struct csv *c, size_t pos, struct err *e, const char *fmt, ...)
{
	int64_t line, column;
	char reason[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	locate(c->buf + c->start, c->buf + pos, c->line, &line, &column);
	err_set(e, 0, "%s:%lld:%lld: %s", c->conf.name, (long long)line, (long long)column, reason);
}

/* ---- invalid records ------------------------------------------------------------------------ */

static int give_invalid(const struct csv *c, struct csv_record *ret, int64_t offset, int64_t line,
			bool terminated)
{
	*ret = (struct csv_record){
		.p = "",
		.fields = c->fields,
		.offset = offset,
		.end = c->base + (int64_t)c->start,
		.line = line,
		.next_line = c->line,
		.terminated = terminated,
	};
	return CSV_INVALID;
}

/* The record ends, invalid, at the line end that is at or behind scan. */
static void begin_skip(struct csv *c, size_t from)
{
	c->skipping = true;
	c->skip_offset = c->base + (int64_t)c->start;
	c->skip_line = c->line;
	c->line = c->skip_next_line = line_of(c, from);
	restart(c, from);
}

static int end_skip(struct csv *c, struct csv_record *ret, struct err *e, size_t pos,
		    bool terminated)
{
	c->skipping = false;
	c->line = c->skip_next_line + terminated;
	restart(c, pos);
	if (e)
		*e = c->skip_err;
	return give_invalid(c, ret, c->skip_offset, c->skip_line, terminated);
}

static int read_error(const struct csv *c, ssize_t n, struct err *e)
{
	return err_set(e, (int)n, "%s:%lld: %s", c->conf.name, (long long)c->line,
		       input_error(c->input, (int)n));
}

static int skip_line(struct csv *c, struct csv_record *ret, struct err *e)
{
	for (;;) {
		char *from = c->buf + c->scan;
		char *nl = memchr(from, '\n', c->end - c->scan);
		ssize_t n;

		if (nl)
			return end_skip(c, ret, e, (size_t)(nl + 1 - c->buf), true);
		restart(c, c->end);
		n = fill(c);
		if (n < 0)
			return read_error(c, n, e);
		if (n == 0)
			return c->eof ? end_skip(c, ret, e, c->end, false) : CSV_AGAIN;
	}
}

/* The quote that opened the field is taken as open for ever: its line is lost, the next is not. */
static int never_closed(struct csv *c, struct csv_record *ret, struct err *e)
{
	complain(c, c->field, &c->skip_err, "a quote is opened and never closed");
	begin_skip(c, c->field);
	return skip_line(c, ret, e);
}

static bool is_quoted(const struct csv *c)
{
	return c->field < c->end && c->buf[c->field] == '"';
}

static bool spans_lines(const struct csv *c, size_t to)
{
	return is_quoted(c) && memchr(c->buf + c->field, '\n', to - c->field);
}

static int bad_byte(struct csv *c, size_t pos, struct csv_record *ret, struct err *e)
{
	if (spans_lines(c, pos))
		return never_closed(c, ret, e);
	complain(c, pos, &c->skip_err,
		 is_quoted(c) ? "unexpected bytes after a closing quote"
			      : "a quote in an unquoted field");
	begin_skip(c, pos);
	return skip_line(c, ret, e);
}

static int too_long(struct csv *c, struct csv_record *ret, struct err *e)
{
	bool field = c->scan - c->field > c->conf.field_max;

	if (c->inside && spans_lines(c, c->scan))
		return never_closed(c, ret, e);
	complain(c, c->field, &c->skip_err, "a %s of more than %zu bytes",
		 field ? "field" : "record", field ? c->conf.field_max : c->conf.record_max);
	begin_skip(c, c->scan);
	return skip_line(c, ret, e);
}

/* ---- records -------------------------------------------------------------------------------- */

static void printf_like(3, 4) find_fault(struct csv *c, size_t at, const char *fmt, ...)
{
	va_list ap;

	if (c->fault[0])
		return;
	va_start(ap, fmt);
	vsnprintf(c->fault, sizeof(c->fault), fmt, ap);
	va_end(ap);
	c->fault_at = at;
}

/* The field that started at c->field ends in front of pos. */
static inline void add_field(struct csv *c, size_t pos)
{
	bool quoted = pos > c->field && c->buf[c->field] == '"';
	size_t len = pos - c->field - 2 * quoted;

	if (len > c->conf.field_max)
		find_fault(c, c->field, "a field of more than %zu bytes", c->conf.field_max);
	if (c->n == CSV_FIELDS_MAX) {
		find_fault(c, c->field, "more than %d fields", CSV_FIELDS_MAX);
		return;
	}
	c->fields[c->n++] = (struct csv_field){
		.start = (uint32_t)(c->field - c->start) + quoted,
		.len = (uint32_t)len,
		.quoted = quoted,
	};
}

static bool is_blank_line(const struct csv *c, size_t end)
{
	size_t i = c->start;

	if (c->n > 1)
		return false;
	while (i < end && (c->buf[i] == ' ' || c->buf[i] == '\t' || c->buf[i] == '\r'))
		i++;
	return i == end;
}

/* The record after this one starts behind pos. */
static void go_on(struct csv *c, size_t pos, bool terminated)
{
	c->start = c->field = pos + terminated;
	c->fault[0] = '\0';
}

static int give_fault(struct csv *c, struct csv_record *ret, struct err *e, size_t pos,
		      bool terminated)
{
	int64_t offset = c->base + (int64_t)c->start, line = c->line;

	complain(c, c->fault_at, e, "%s", c->fault);
	c->line = line_of(c, pos) + terminated;
	go_on(c, pos, terminated);
	return give_invalid(c, ret, offset, line, terminated);
}

/* What costs a look at every byte, for the few records in which there is something to find. */
static void look_closely(struct csv *c, size_t pos, int64_t *next_line)
{
	const char *p = c->buf + c->start, *nul = memchr(p, '\0', pos - c->start);

	if (nul)
		find_fault(c, (size_t)(nul - c->buf), "a NUL byte");
	*next_line = line_of(c, pos);
}

/* The record ends at pos. CSV_AGAIN: it is none, look for the next. */
static int end_record(struct csv *c, size_t pos, bool terminated, struct csv_record *ret,
		      struct err *e)
{
	size_t end = pos - (pos > c->field && c->buf[pos - 1] == '\r');
	int64_t next_line = c->line;

	add_field(c, end);
	if (c->odd > c->start)
		look_closely(c, pos, &next_line);
	if (c->fault[0])
		return give_fault(c, ret, e, pos, terminated);
	*ret = (struct csv_record){
		.p = c->buf + c->start,
		.len = end - c->start,
		.fields = c->fields,
		.n = c->n,
		.offset = c->base + (int64_t)c->start,
		.end = c->base + (int64_t)pos + terminated,
		.line = c->line,
		.next_line = next_line + terminated,
		.terminated = terminated,
	};
	c->line = ret->next_line;
	if (!is_blank_line(c, end)) {
		go_on(c, pos, terminated);
		return CSV_RECORD;
	}
	go_on(c, pos, terminated);
	c->n = 0;
	return CSV_AGAIN;
}

/* Uses up what the block brought. CSV_AGAIN: no record ended in it. */
static int use_block(struct csv *c, struct csv_record *ret, struct err *e)
{
	while (c->ends) {
		uint64_t lowest = c->ends & -c->ends;
		size_t pos = c->block + (size_t)__builtin_ctzll(lowest);
		int r;

		if (c->bad & (lowest | (lowest - 1)))
			break;
		c->ends ^= lowest;
		if (c->buf[pos] == ',') {
			add_field(c, pos);
			c->field = pos + 1;
			continue;
		}
		r = end_record(c, pos, true, ret, e);
		if (r != CSV_AGAIN)
			return r;
	}
	if (c->bad)
		return bad_byte(c, c->block + (size_t)__builtin_ctzll(c->bad), ret, e);
	return CSV_AGAIN;
}

static int at_end(struct csv *c, struct csv_record *ret, struct err *e)
{
	int r;

	if (!c->eof)
		return CSV_AGAIN;
	if (c->start == c->end)
		return CSV_END;
	if (c->inside)
		return never_closed(c, ret, e);
	r = end_record(c, c->end, false, ret, e);
	return r == CSV_AGAIN ? CSV_END : r;
}

static size_t bytes_to_scan(const struct csv *c)
{
	size_t limit = c->start + c->conf.record_max + 1;

	return MIN(MIN(c->end, limit) - c->scan, (size_t)SCAN_BLOCK);
}

int csv_next(struct csv *c, struct csv_record *ret, struct err *e)
{
	int r = c->looked ? CSV_END : look(c, e);

	if (r != CSV_END)
		return r;
	if (c->skipping)
		return skip_line(c, ret, e);
	if (c->start == c->field)
		c->n = 0;
	while ((r = use_block(c, ret, e)) == CSV_AGAIN) {
		size_t n = bytes_to_scan(c);
		ssize_t got;

		if (n) {
			scan_next(c, n);
			continue;
		}
		if (c->scan - c->start > c->conf.record_max)
			return too_long(c, ret, e);
		got = fill(c);
		if (got < 0)
			return read_error(c, got, e);
		if (got == 0)
			return at_end(c, ret, e);
	}
	return r;
}

/* ---- expected records ------------------------------------------------------------------------ */

struct slice csv_peek(const struct csv *c)
{
	if (!c->looked || c->skipping)
		return (struct slice){0};
	return (struct slice){c->buf + c->start, MIN(c->end - c->start, c->conf.record_max)};
}

void csv_take(struct csv *c, size_t len, size_t behind, struct csv_record *ret)
{
	int64_t offset = c->base + (int64_t)c->start;

	*ret = (struct csv_record){
		.p = c->buf + c->start,
		.len = len,
		.offset = offset,
		.end = offset + (int64_t)(len + behind),
		.line = c->line,
		.next_line = c->line + 1,
		.terminated = true,
	};
	c->line++;
	restart(c, c->start + len + behind);
}

/* ---- fields --------------------------------------------------------------------------------- */

void csv_unescape(struct strbuf *out, struct slice raw)
{
	const char *p = raw.p, *end = raw.p + raw.len, *quote;

	while (p < end && (quote = memchr(p, '"', (size_t)(end - p)))) {
		strbuf_add(out, p, (size_t)(quote + 1 - p));
		p = quote + 2;
	}
	if (p < end)
		strbuf_add(out, p, (size_t)(end - p));
}

struct slice csv_text(const struct csv_record *r, uint32_t i, struct strbuf *scratch)
{
	struct slice raw = csv_raw(r, i);
	size_t start = scratch->len;

	if (!raw.len || !memchr(raw.p, '"', raw.len))
		return raw;
	csv_unescape(scratch, raw);
	return (struct slice){scratch->s + start, scratch->len - start};
}
