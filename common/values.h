/* The values of one series after the other: texts in, the same texts out (part of columns.h).
 *
 * A column's mode is what fits it best:
 *	SAME        all are the hint, which both sides have: nothing is stored
 *	CONSTANT    one text
 *	DECIMAL     integers at one scale (integers.h), for most of the texts; the others as
 *exceptions DICTIONARY  distinct texts in order of appearance, and an index for each LITERAL text
 *after text A DECIMAL column may be stored as what is left over an earlier one of the same length:
 *x - y or x + y (FB_FREE = C - FB_USED leaves a constant).
 *
 * In the stream: mode (tree of 3 bits), then
 *	CONSTANT    text
 *	DECIMAL     scale (tree of 5), trimmed? (1 bit: texts end before the zeros of their
 *fraction; else all have scale fraction digits), reference (number: how many DECIMAL columns back,
 *0: none; a bit of its own says plus), integers, exceptions: (1, number: rows since the one before,
 *text)…, 0. In the place of an exception the integer before it stands. DICTIONARY  number of texts,
 *texts, indexes as numbers LITERAL     texts */
#ifndef GPUTEL_VALUES_H
#define GPUTEL_VALUES_H

#include "columns.h"
#include "integers.h"

/* Positions that are not as predicted: (1, gap, …)…, 0. The writer of a column says what follows.
 */
struct exceptions {
	struct bit more;
	struct number_model gap, value;
	size_t next; /* row: free for the next one (encoding), or where it is (decoding) */
};

void exceptions_init(struct exceptions *x);
void exceptions_begin(struct exceptions *x);
void exceptions_add(struct exceptions *x, struct range_encoder *e, size_t row);
void exceptions_end(struct exceptions *x, struct range_encoder *e);
/* Decoding: x->next is the row of the next one, SIZE_MAX behind the last. */
void exceptions_open(struct exceptions *x, struct range_decoder *d);
void exceptions_step(struct exceptions *x, struct range_decoder *d);

/* What a column was, for those that may refer to it. */
struct value_column {
	int64_t *x; /* within the codec's integers */
	size_t n;
	int64_t hint;
};

/* The state that the columns of a stream share, on either side. */
struct values_codec {
	struct bit mode[8], scale[32], is_trimmed, is_plus;
	struct text_model text;
	struct integers_model integers;
	struct number_model reference, words, index;
	struct exceptions exceptions;
	struct value_column *columns; /* the DECIMAL ones so far */
	size_t n_columns;
	int64_t *x, *scratch; /* room for every row */
	size_t used;
};

/* rows, columns: how many there will be at most. */
void values_init(struct values_codec *c, size_t rows, size_t columns);
void values_release(struct values_codec *c);

/* One column; n is at least 1. */
void values_encode(struct values_codec *c, struct range_encoder *e, const struct slice *v, size_t n,
		   struct slice hint, enum columns_effort effort);
/* Sets the values of rows order[0..n) of t; as offsets into t->text until all are in. */
int values_decode(struct values_codec *c, struct range_decoder *d, struct rows *t,
		  const uint32_t *order, size_t n, struct slice hint) must_check;

#endif
