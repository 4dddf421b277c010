/* The text of a reading, as it stands in a cell: a number, no value, or neither.
 *
 * A number is [+-]?(digits[.digits*]|.digits)([eE][+-]?digits)?, at most VALUE_MAX bytes, and is
 * kept as it is. "No value" are, in any case and also in []: nothing, N/A, NA, NaN, Inf, none, null
 * and what nvidia-smi and DCGM say in place of a value (Not Supported, <<<NOT_FOUND>>>, …); and as
 * integers, with a fraction of zeros or with an exponent, what they put in place of one: DCGM's
 * blanks (dcgm_structs.h: DCGM_INT32_BLANK 0x7ffffff0, DCGM_INT64_BLANK 0x7ffffffffffffff0,
 * DCGM_FP64_BLANK 140737488355328.0, and _NOT_FOUND, _NOT_SUPPORTED and _NOT_PERMISSIONED, the
 * three codes after each), and of percentages -1 as an unsigned number of 32 or 64 bits.
 *
 * A cell of a wide file may have a unit behind its number ("87 %", "73.20 W"), which is taken off;
 * where it is not the metric's own, the number is scaled, exactly. */
#ifndef GPUTEL_READING_H
#define GPUTEL_READING_H

#include "units.h"

enum value_kind { VALUE_NUMBER, VALUE_NONE, VALUE_BAD };

/* Blanks around text are not expected here. percent: of a metric whose unit is %. */
enum value_kind value_classify(struct slice text, bool percent);

/* Why a text is VALUE_BAD. -EBADMSG */
int reading_complain(struct slice text, struct err *e);

/* Other ways in which a cell says a number. */
enum reading_form {
	READING_NUMBER,
	READING_BITS,  /* also 0x1F, which becomes 31 */
	READING_STATE, /* also P0 */
	READING_FLAG,  /* also Active, Enabled, Yes, On: 1, and their opposites: 0 */
};

struct reading_conf {
	enum reading_form form;
	struct factor factor; /* of the number, where the cell has no unit of its own */
	bool fixed;           /* the factor holds whatever the unit is */
	bool percent;
	const char *unit; /* of the metric, "-": not known */
};

/* The number in a cell; ret borrows from it or from scratch, to which it is appended. -EBADMSG with
 * VALUE_BAD's reason in e; else 0 and the kind in *ret_kind. */
int reading_take(const struct reading_conf *c, struct slice cell, struct strbuf *scratch,
		 enum value_kind *ret_kind, struct slice *ret, struct err *e) must_check;

/* Without the blanks around it. */
struct slice trim(struct slice s);
bool same_name(struct slice a, struct slice b); /* without case */

struct excerpt {
	char s[64];
};
/* The start of s, fit for a log line. */
struct excerpt excerpt(struct slice s);

#endif
