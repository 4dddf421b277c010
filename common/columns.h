/* Rows in columns: the codec that payloads (batch.h) and chunk bodies (chunk.h) share.
 *
 * A row is a time, a series, an attribution (who used the GPU: uuid, container, pod, namespace) and
 * a value's text; series and attributions are indexes into tables of the container. Every row comes
 * back in its place with its text to the byte.
 *
 * The encoding exploits that rows are periodic. The series that follows a series is predicted from
 * the last time, an attribution from the series' last one. Rows in which no series repeats are one
 * scrape: it has one time, and each series its offset from that, so that a time is stored once for
 * all series, whatever their number and even where groups of them are stamped apart. Values are
 * integers at a fixed scale, predicted within the series or from another one (values.h,
 * integers.h). What does not follow is an exception. What remains to be said goes through an
 * adaptive range coder (range_coder.h).
 *
 * Why a range coder and no general compressor: on a day's work of two real GPUs at 100 ms (16
 * metrics) zstd -3 over varints of the same differences takes 1.64 bytes a sample, -19 1.63; this
 * takes 1.4, and encodes faster. tests/bench/columns shows what it takes on any CSV.
 *
 * Layout, version 1 (varints are LEB128; number, tree, raw, text as in number_coder.h):
 *	varint rows, varint series; if there are rows: varint length of the stream, stream:
 *	raw 4       unit: times are in 10^unit ns
 *	series      exceptions (values.h) × number (series). Predicted: what followed the series of
 *	            the row before when that was last seen; at first the next index, circular
 *	attribution exceptions × number. Predicted: the series' last one, at first that of the row
 *	            before, at first 0
 *	digits      exceptions × number: fraction digits of the time. Predicted: the row before, 0
 *	scrapes     number of them, their times as a run of integers (integers.h); hint: base_ns
 *	times       exceptions × number (difference to what is predicted). Predicted: the scrape's
 *time plus the series' offset, which an exception sets; at first that of the row before. The first
 *row of a scrape is never one: it is where the scrape's time comes from values      of each series
 *that has rows, in order (values.h) The models are as fresh at the start of a stream; a time is
 *what its first use leaves behind.
 *
 * Threads: no state between calls. */
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

/* What both sides know besides: a time near the first, and per series a text near its values (one
 * that is equal costs nothing). values may be NULL. */
struct columns_hints {
	int64_t base_ns;
	const struct slice *values;
};

/* How much is tried: FAST for what is soon merged, SMALL for what stays. Decoding costs the same.
 */
enum columns_effort { COLUMNS_FAST, COLUMNS_SMALL };

/* series, attributions: sizes of the tables that rows index. */
void columns_encode(struct strbuf *out, const struct row *rows, size_t n, uint32_t series,
		    const struct columns_hints *hints, enum columns_effort effort);

/* Decoded rows; values point into text. Zero it before first use; it can be used again. */
struct rows {
	struct row *rows;
	size_t n, cap;
	struct strbuf text;
};

/* Survives any bytes. -EBADMSG: malformed, or beyond the limits given. Takes at most about 150
 * bytes of memory a row. */
int columns_decode(struct reader *r, uint32_t series, uint32_t attributions, size_t max_rows,
		   const struct columns_hints *hints, struct rows *ret) must_check;
void rows_release(struct rows *r);

#endif
