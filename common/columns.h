/* Rows in columns: the codec that payloads (batch.h) and chunk bodies (chunk.h) share.
 *
 * A row is a time, a series, an attribution (who used the GPU: uuid, container, pod, namespace) and
 * a value's text; series and attributions are indexes into tables of the container. Every row comes
 * back in its place with its text to the byte. The encoding exploits that rows are periodic: the
 * series that follows a series is predicted from the last time, an attribution from the series'
 * last one, and a value is a decimal integer at a fixed scale, stored as the difference from the
 * series' last. What does not follow is stored as an exception.
 *
 * Layout, version 1 (varints are LEB128, zz is zigzag):
 *	varint rows, varint series
 *	series     varint n, n × (varint rows since the last exception, varint series)
 *	attribution the same, with attributions
 *	digits     the same, with fraction digits of the time (predicted: those of the row before)
 *	time       u8 unit (10^unit ns), zz first, then zz difference per row, in units
 *	values     per series: u8 mode, then
 *	    CONST     lstr
 *	    DECIMAL   u8 scale, u8 style, u8 order (0 plain, 1 first, 2 second differences), the
 *	              integers as zz, varint n exceptions × (varint gap, lstr)
 *	    DICTIONARY varint n, n × lstr, an index per row as varint
 * Columns of a series that no row uses are absent. Compression comes on top, in the container. */
#ifndef GPUTEL_COLUMNS_H
#define GPUTEL_COLUMNS_H

#include "stamp.h"
#include "strbuf.h"

#define VALUE_MAX 64 /* bytes of a value's text */

struct row {
	struct stamp time;
	uint32_t series, attribution;
	struct slice value;
};

/* series, attributions: sizes of the tables that rows index. */
void columns_encode(struct strbuf *out, const struct row *rows, size_t n, uint32_t series);

/* Decoded rows; values point into text. Zero it before first use; it can be used again. */
struct rows {
	struct row *rows;
	size_t n, cap;
	struct strbuf text;
};

/* Survives any bytes. -EBADMSG: malformed, or beyond the limits given. */
int columns_decode(struct reader *r, uint32_t series, uint32_t attributions, size_t max_rows,
		   struct rows *ret) must_check;
void rows_release(struct rows *r);

#endif
