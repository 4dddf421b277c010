/* What the columns of a CSV file are: a text that names them, one of the maps built in
 * (common/maps/) or a file of the user's (--map).
 *
 *	# a comment
 *	when | time      = timestamp                        either name, without case
 *	gpu              = gpu_id                           a field, by its name in the long form
 *	util [%]         = metric DCGM_FI_DEV_GPU_UTIL
 *	energy_uj        = metric DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION * 0.001
 *	fb               = metric DCGM_FI_DEV_FB_USED in GiB
 *	pstate           = metric DCGM_FI_DEV_PSTATE as state
 *	phase            = label phase
 *	"odd = | name"   = ignore                           "" inside is a quote
 *	Hostname        := node-17                          a constant, to the end of the line
 *	label job       := training
 *
 * Fields are those of fields.h. "* F" multiplies, whatever the unit; "in UNIT" is the unit of
 *numbers that have none in their cell or header; "as": bits (also hexadecimal), state (also P0),
 *flag (also Active, …). A column is known by its letters and digits alone, without case and without
 *a unit in brackets at its end: gpu_id, "GPU ID" and gpu.id are one.
 *
 * Read-only once parsed, so that threads may share it. */
#ifndef GPUTEL_COLUMN_MAP_H
#define GPUTEL_COLUMN_MAP_H

#include "reading.h"
#include "series.h"

#define COLUMN_MAP_BYTES (64 * 1024) /* of a map's text */
#define COLUMN_MAP_MAX   1024        /* lines that say something */
#define COLUMN_NAME_MAX  128         /* bytes of a known column's letters and digits */

enum target_kind {
	TARGET_UNKNOWN,
	TARGET_IGNORED,
	TARGET_TIME,
	TARGET_VALUE,
	TARGET_FIELD,
	TARGET_METRIC, /* of a wide form */
	TARGET_LABEL,
};

struct target {
	enum target_kind kind;
	enum series_field field;
	char *name; /* of the metric or label; owned */
	struct factor factor;
	bool fixed; /* "* F" was said */
	enum reading_form form;
};

struct column_map {
	char *name; /* of the file, for messages */
	struct mapped {
		char name[COLUMN_NAME_MAX + 1]; /* squeezed */
		struct target target;
	} * columns;
	struct constant {
		struct target target; /* a field or a label */
		char *text;
	} * constants;
	size_t n, n_constants;
};

/* -EBADMSG: "name:line: reason" in e; m needs no release then. */
int column_map_parse(struct column_map *m, const char *name, struct slice text,
		     struct err *e) must_check;
/* The same from a file. */
int column_map_read(struct column_map *m, const char *path, struct err *e) must_check;
void column_map_release(struct column_map *m);

/* NULL: it does not name the column. */
const struct mapped *column_map_find(const struct column_map *m, struct slice column);

/* The maps built in; NULL behind the last, the general one, which has the names of fields.h too. */
const struct column_map *column_map_builtin(size_t i);

/* Takes the unit in brackets at the end of a column's name, if there is one, off it. */
struct slice column_unit(struct slice *name);
/* A column's letters and digits, without its unit and in lower case. False: too many, or none. */
bool column_squeeze(struct slice name, char ret[COLUMN_NAME_MAX + 1]);
/* What a target is, in words: "gpu_id", "metric DCGM_FI_DEV_GPU_UTIL", … */
const char *target_describe(const struct target *t, char *buf, size_t n);

#endif
