/* What row.c and row_wide.c share. */
#ifndef GPUTEL_ROW_INTERNAL_H
#define GPUTEL_ROW_INTERNAL_H

#include "row.h"

#define TIME_MAX     64
#define IDENTITY_MAX (16 * 1024) /* bytes of a wide record's names and labels */

/* A metric's column of a wide file. */
struct wide_column {
	uint32_t column;
	const struct series_ref *series; /* of the record at hand */
};

struct row_parser {
	struct shape_conf conf;
	struct shape shape;
	struct strbuf header;   /* its bytes, to know it again */
	bool settled;           /* shape_settle has seen the first record */
	uint32_t first, second; /* long: the fields of time and value, in the order of the record */
	struct series_table *table;
	struct strbuf scratch; /* of one record, or of one of its samples */
	struct strbuf labels;
	char time_text[TIME_MAX]; /* of the row before; most rows share theirs */
	size_t time_len;
	struct stamp time;

	struct wide_column *wide; /* one for each metric */
	uint32_t n_wide, next_wide;
	struct strbuf identity; /* names and labels of the record, as raw bytes */
};

/* Both return ROW_INVALID; column < 0: the record's start. */
int row_invalid_at(const struct row_parser *p, const struct csv_record *rec, const char *at,
		   struct err *e);
int row_invalid(const struct row_parser *p, const struct csv_record *rec, int column,
		const char *name, struct err *e);
int row_invalid_field(const struct row_parser *p, const struct csv_record *rec,
		      enum series_field field, struct err *e);

int row_take_time(struct row_parser *p, const struct csv_record *rec, struct stamp *ret,
		  struct err *e);
/* The fields of a record but for a wide one's metric; they borrow from the record, the shape,
 * scratch and labels. -EMSGSIZE */
int row_take_fields(struct row_parser *p, const struct csv_record *rec,
		    struct slice fields[FIELD_COUNT]);

int row_parse_wide(struct row_parser *p, const struct csv_record *rec, struct sample *ret,
		   struct err *e);

#endif
