/* The shape of a CSV file: what its header, and the maps that know it, say of its columns.
 *
 * Long: a column with the metric's name and one with the value; a record is a sample. Wide: a
 * column for each metric; a record is a sample of each. Which it is follows from the header alone,
 * and with it which of the built-in maps (column_map.h) the columns are looked up in: the one that
 * knows most of them, then the general one, but before both in the map that was given.
 *
 * A column of a wide file that no map knows is a metric under its own name if its cell in the first
 * record is a number or no value; else it is left out (shape_settle).
 *
 * Where two columns mean the same field, the one with the field's own name counts, or else the
 * first; two that mean the same metric are an error. */
#ifndef GPUTEL_SHAPE_H
#define GPUTEL_SHAPE_H

#include "column_map.h"
#include "csv.h"

enum shape_form { SHAPE_LONG, SHAPE_WIDE };

struct shape_column {
	char *name;           /* as in the header, without blanks around it */
	struct target target; /* borrows from a map, or from name */
	struct reading_conf reading;
};

struct shape {
	enum shape_form form;
	const struct column_map *map; /* built in, that knows most; NULL: given only */
	struct shape_column *columns;
	uint32_t n;
	int field_at[FIELD_COUNT], time_at, value_at; /* columns, or -1 */
	struct slice constants[FIELD_COUNT];          /* in place of a column; or empty */
	struct strbuf labels;                         /* constant ones, as in labels_raw */
};

struct shape_conf {
	const char *name;               /* of the file, in messages */
	struct slice host;              /* in place of a column Hostname; or empty */
	const struct column_map *given; /* --map, or NULL */
};

/* -EBADMSG: the header is none; e says what is wrong or missing. s needs no release then. */
int shape_learn(struct shape *s, const struct shape_conf *conf, const struct csv_record *header,
		struct err *e) must_check;
void shape_settle(struct shape *s, const struct csv_record *first);
void shape_release(struct shape *s); /* zeroed is fine */

/* Columns that are left out though nobody said so: appends their names, ", " between them. */
void shape_left_out(const struct shape *s, struct strbuf *out);

#endif
