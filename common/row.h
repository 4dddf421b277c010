/* Rows (DESIGN §3): records of a CSV file to samples, one a record in the long form, one for each
 * metric's column in a wide one (shape.h says which it is, reading.h what a value is).
 *
 *	struct row_parser *p = row_parser_new(&(struct row_conf){.name = path});
 *	r = row_header(p, &first_record, &e);
 *	for (r = row_parse(p, &rec, &sample, &e); r >= 0 && r != ROW_END;
 *	     r = row_more(p, &rec, &sample, &e))
 *
 * A record that is invalid as a whole (its time, its names, the number of its fields) says so once.
 * A record with the very bytes of the header, as in files joined together, is no row: ROW_END.
 *
 * Not thread-safe. One parser per file. */
#ifndef GPUTEL_ROW_H
#define GPUTEL_ROW_H

#include "shape.h"
#include "stamp.h"

struct row_parser;

struct row_conf {
	const char *name;  /* of the file, in messages; borrowed */
	struct slice host; /* in place of the column Hostname, which is then not needed; or empty */
	const struct column_map *map; /* of the user's; NULL; borrowed */
	uint32_t series_max;          /* 0: SERIES_TABLE_MAX */
	size_t series_bytes_max;      /* 0: SERIES_TABLE_BYTES */
};

struct sample {
	struct stamp time;
	struct slice value;              /* gone with the next csv_next, row_parse or row_more */
	const struct series_ref *series; /* until row_forget */
};

enum row_result {
	ROW_OK,
	ROW_NO_VALUE, /* the rest of the row is good; time and series are set */
	ROW_INVALID,  /* e says why: file:line:column: column name: reason */
	ROW_END,      /* no sample, or no further one, in this record */
};

struct row_parser *row_parser_new(const struct row_conf *conf);
void row_parser_free(struct row_parser *p); /* NULL is fine */

/* Learns the columns. -EBADMSG: a needed one is missing, or one is there twice; e says which. */
int row_header(struct row_parser *p, const struct csv_record *header, struct err *e) must_check;
const struct shape *row_shape(const struct row_parser *p);

/* The first sample: an enum row_result. -ENOBUFS: the table of series is full: let go of all refs,
 * call row_forget, and give the same record again. -ENOMEM. */
int row_parse(struct row_parser *p, const struct csv_record *rec, struct sample *ret,
	      struct err *e) must_check;
/* The next sample of the record that row_parse had; not after an error of it. */
int row_more(struct row_parser *p, const struct csv_record *rec, struct sample *ret,
	     struct err *e) must_check;

/* The short way, for most rows: where the next bytes of csv are, but for time and value, those of
 * the series that is expected, they are compared and not parsed. True: rec (without fields) and ret
 * are the next row, as csv_next and row_parse would have given them (ROW_OK). False: nothing
 * happened; that is the way to go. Not before row_header. */
bool row_foresee(struct row_parser *p, struct csv *csv, struct csv_record *rec,
		 struct sample *ret) must_check;

void row_forget(struct row_parser *p);
uint32_t row_series_count(const struct row_parser *p);

#endif
