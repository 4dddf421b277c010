/* The values of one series after the other: texts in, the same texts out (part of columns.h).
 *
 * A column's mode is what fits it best:
 *	0 SAME        all are the hint, which both sides have: nothing is stored
 *	1 CONSTANT    one text
 *	2 DECIMAL     integers at one scale (integers.h); texts that are none are exceptions
 *	3 DICTIONARY  distinct texts in order of appearance, and an index for each row
 *	4 LITERAL     text after text
 * A DECIMAL column may be stored as what is left over an earlier one of the same length: x - y or
 * x + y (FB_FREE = C - FB_USED leaves a constant).
 *
 * In the stream: mode (tree of 3 bits), then
 *	CONSTANT    text
 *	DECIMAL     scale (tree of 5 bits), trimmed (bit), reference (number: how many DECIMAL
 *	            columns back, 0: none), if there is one plus (bit: it is x + y that is left),
 *	            integers, exceptions, each a text
 *	DICTIONARY  number of texts, texts, a number each: index
 *	LITERAL     texts
 * Texts of a trimmed column end before the zeros of their fraction, in others all have `scale`
 * digits. Where an exception stands the integer is that of the row before. The hint is the integer
 * of the column's hint, or 0 if that is in another style.
 *
 * Exceptions, here and in columns.h: bit 1, number: rows since the one before, what it is, ...,
 * bit 0. */
#ifndef GPUTEL_VALUES_H
#define GPUTEL_VALUES_H

#include "columns.h"
#include "integers.h"

/* Rows that are not as predicted. What it is instead is up to the writer of the column. */
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

/* The state that the columns of a stream share, on either side: the models that a stream has, each
 * by the name of what it is of, and the columns so far. */
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
