/* Rows of the long form (DESIGN §3): records of a CSV file to samples.
 *
 *	struct row_parser *p = row_parser_new(&(struct row_conf){.name = path});
 *	r = row_header(p, &first_record, &e);
 *	result = row_parse(p, &record, &sample, &e);
 *
 * Needed columns are timestamp, metric_name, gpu_id, Hostname and value; device, uuid, modelName,
 * container, pod, namespace and labels_raw are known; others are part of no sample. Their order is
 * free, names are compared without case and without blanks around them.
 *
 * A value is decimal text, [+-]?(digits[.digits*]|.digits)([eE][+-]?digits)?, at most VALUE_MAX
 * bytes, and is kept as it is but for blanks around it. "No value" are: nothing, N/A, NaN (both
 * also in [], any case) and DCGM's blanks (dcgm_structs.h: DCGM_INT32_BLANK 0x7ffffff0,
 * DCGM_INT64_BLANK 0x7ffffffffffffff0, DCGM_FP64_BLANK 140737488355328.0, and the three codes after
 * each), as integers, with a fraction of zeros or with an exponent.
 *
 * Not thread-safe. One parser per file. */
#ifndef GPUTEL_ROW_H
#define GPUTEL_ROW_H

#include "stamp.h"
#include "csv.h"
#include "series.h"

struct row_parser;

struct row_conf {
	const char *name;  /* of the file, in messages; borrowed */
	struct slice host; /* in place of the column Hostname, which is then not needed; or empty */
	uint32_t series_max;     /* 0: SERIES_TABLE_MAX */
	size_t series_bytes_max; /* 0: SERIES_TABLE_BYTES */
};

struct sample {
	struct stamp time;
	struct slice value;              /* in the record: gone with the next csv_next */
	const struct series_ref *series; /* until row_forget */
};

enum row_result {
	ROW_OK,
	ROW_NO_VALUE, /* the rest of the row is good; time and series are set */
	ROW_INVALID,  /* e says why: file:line:column: column name: reason */
};

struct row_parser *row_parser_new(const struct row_conf *conf);
void row_parser_free(struct row_parser *p); /* NULL is fine */

/* Learns the columns. -EBADMSG: a needed one is missing, or one is there twice; e says which. */
int row_header(struct row_parser *p, const struct csv_record *header, struct err *e) must_check;

/* An enum row_result. -ENOBUFS: the table of series is full: let go of all refs, call row_forget,
 * and give the same record again. -ENOMEM. */
int row_parse(struct row_parser *p, const struct csv_record *rec, struct sample *ret,
	      struct err *e) must_check;

/* The short way, for most rows: where the next bytes of csv are, but for time and value, those of
 * the series that is expected, they are compared and not parsed. True: rec (without fields) and ret
 * are the next row, as csv_next and row_parse would have given them (ROW_OK). False: nothing
 * happened; that is the way to go. Not before row_header. */
bool row_foresee(struct row_parser *p, struct csv *csv, struct csv_record *rec,
		 struct sample *ret) must_check;

void row_forget(struct row_parser *p);
uint32_t row_series_count(const struct row_parser *p);

enum value_kind { VALUE_NUMBER, VALUE_NONE, VALUE_BAD };
/* What a value's text is; blanks around it are not expected here. */
enum value_kind value_classify(struct slice text);

#endif
