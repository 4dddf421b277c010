/* CSV as in RFC 4180, read from a descriptor (or the archive in it, input.h) in large blocks, one
 *record at a time, in bounded memory.
 *
 *	struct csv *c;
 *	csv_open(&c, fd, &(struct csv_conf){.name = path});
 *	while ((event = csv_next(c, &rec, &e)) > CSV_END)
 *		if (event == CSV_RECORD) ... csv_raw(&rec, 0) ...
 *		else if (event == CSV_INVALID) log_warn("%s", e.text); // "path:line:column: reason"
 *	csv_close(c);
 *
 * Taken as they come: LF and CRLF, a UTF-8 byte order mark at the start, quoted line breaks, a last
 * line without its end. Lines that are empty or blank are skipped and are no records.
 *
 * What is wrong costs one record, and the reader goes on:
 * - a stray quote in an unquoted field, bytes after a closing quote, a NUL, a field of more than
 *   field_max bytes, more than CSV_FIELDS_MAX fields: the record is invalid;
 * - a record of more than record_max bytes is invalid and is skipped up to the end of the line in
 *   which it passed the limit, without being held;
 * - a quote that is never closed: the line in which it opens is invalid, and the next record starts
 *   on the line after it. "Never" is: until the end of the file or for record_max bytes, or a
 *   closing quote on a later line with other bytes right behind it (which is what the opening quote
 *   of a good row looks like from inside).
 *
 * Offsets: reading from any record's `offset` or `end` gives the same records as reading through,
 * whatever the block size, for as long as the bytes are the same. Two verdicts depend on where the
 * file ends: a last line without a line end is a record (`terminated` is false; when the file
 * grows, `end` is in the middle of a line and what was read may have been half of it), and so is a
 * quote left open by the end. With `follow` both wait for more bytes instead.
 *
 * Not thread-safe. The descriptor stays the caller's and must not be moved by others. */
#ifndef GPUTEL_CSV_H
#define GPUTEL_CSV_H

#include "strbuf.h"

#define CSV_BLOCK      (256 * 1024)
#define CSV_RECORD_MAX (1024 * 1024)
#define CSV_FIELD_MAX  (64 * 1024)
#define CSV_FIELDS_MAX 1024

struct csv;
struct input;

struct csv_conf {
	const char *name;             /* of the file, in messages; borrowed */
	bool follow;                  /* the end of the file is CSV_AGAIN, never CSV_END */
	bool nowait;                  /* CSV_AGAIN rather than blocking on a pipe without bytes */
	bool keep;                    /* fingerprints may be asked of csv_input */
	size_t block;                 /* bytes a read; 0: CSV_BLOCK */
	size_t record_max, field_max; /* 0: as above */
};

enum csv_event {
	CSV_END,
	CSV_RECORD,
	CSV_INVALID, /* the record's place is set, it has neither bytes nor fields */
	CSV_AGAIN,   /* no whole record yet; call again when there may be more bytes */
};

struct csv_field {
	uint32_t start, len; /* of the text between the quotes, from the start of the record */
	bool quoted;
};

/* A record; pointers hold until the next call with the same csv. */
struct csv_record {
	const char *p; /* its bytes, without the line end */
	size_t len;
	const struct csv_field *fields;
	uint32_t n;
	int64_t offset, end;     /* in the file: of its first byte, and behind its line end */
	int64_t line, next_line; /* the same as line numbers, from 1 */
	bool terminated;         /* it has a line end */
};

int csv_open(struct csv **ret, int fd, const struct csv_conf *conf) must_check;
void csv_close(struct csv *c); /* NULL is fine */

/* Goes on at offset, which is on line `line`, where a record starts. As input_seek. */
int csv_seek(struct csv *c, int64_t offset, int64_t line) must_check;

/* An enum csv_event, or -errno of a failed read, or -EBADMSG: a binary file (csv_is_binary, looked
 * at once, at offset 0). e is set with CSV_INVALID and with errors. */
int csv_next(struct csv *c, struct csv_record *ret, struct err *e) must_check;

/* For who knows what to expect: the bytes that are read already, from where the next record starts;
 * none where that is not certain. Hold until the next call with the same csv. */
struct slice csv_peek(const struct csv *c);
/* The next record is the first len of these bytes, on one line, and its line end the `behind` ones
 * that follow. As csv_next would give it, but without fields. */
void csv_take(struct csv *c, size_t len, size_t behind, struct csv_record *ret);

/* Ends following: the file will not grow any more, so its end is its end. */
void csv_finish(struct csv *c);

/* What the bytes come from; the reader's. */
struct input *csv_input(struct csv *c);

/* Where the next record is looked for: behind the last one, blank lines included. */
int64_t csv_offset(const struct csv *c);
int64_t csv_line(const struct csv *c);

/* The text of field i as it stands in the file: quotes inside are still doubled. */
static inline struct slice csv_raw(const struct csv_record *r, uint32_t i)
{
	return (struct slice){r->p + r->fields[i].start, r->fields[i].len};
}

/* The bytes of field i with its quotes. */
static inline struct slice csv_whole(const struct csv_record *r, uint32_t i)
{
	const struct csv_field *f = &r->fields[i];

	return (struct slice){r->p + f->start - f->quoted, f->len + 2 * f->quoted};
}

/* The text of field i. Where quotes are doubled it is appended to scratch, and borrows from there
 * (so further appends may move it); else it borrows from the record. */
struct slice csv_text(const struct csv_record *r, uint32_t i, struct strbuf *scratch);

/* Undoubles quotes, appending to out. */
void csv_unescape(struct strbuf *out, struct slice raw);

/* Line and column (both from 1, columns in bytes) of a byte of the record, or of the one behind it;
 * field i starts at csv_whole(r, i).p. */
void csv_position(const struct csv_record *r, const char *at, int64_t *ret_line,
		  int64_t *ret_column);

/* More than one byte in 32 is a control character or NUL: no text. A single NUL in a good file thus
 * costs its row and not the file. */
bool csv_is_binary(const void *p, size_t n);

#endif
