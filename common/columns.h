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
 * Why a range coder and no general compressor: on 16 metrics of two busy GPUs at 100 ms, zstd -3
 * over varints of differences took 1.76 bytes a row in chunks of 10,000, all included; this takes
 * 1.46, sealed 1.42. On a million generated rows (10 metrics, random walks) 0.63 and 0.41. It
 * encodes as fast, and decodes 7 to 12 million rows a second and core, two thirds of that.
 * `make bench-columns` measures it on any CSV.
 *
 * Layout, version 1 (varints are LEB128; number, tree, raw and text as in number_coder.h):
 *	varint rows, varint series, and if there are rows: varint length, stream
 * Stream:
 *	unit          raw, 4 bits: times are in 10^unit ns
 *	series        exceptions (values.h), each a number: the series
 *	attributions  exceptions, each a number: the attribution
 *	digits        exceptions, each a number: fraction digits of the time
 *	scrapes       number, how many; their times as a run of integers (integers.h)
 *	times         exceptions, each a number: less what is predicted
 *	values        of each series that has rows, in order (values.h)
 * Predicted are: the series that followed that of the row before when it was last seen, at first
 * the next index, circular; the attribution that the series had last, at first that of the row
 * before; the digits of the row before; the time of the scrape and the series' offset, which the
 * last exception has set, at first that of the row before. All start at 0. The first row of a
 * scrape is no exception: the scrape's time is its own less the offset. The hint of the run is
 * base_ns.
 * Models are fresh at the start of a stream and go on from column to column: one each of what
 * struct values_codec (values.h) lists. All exceptions share theirs; the number of scrapes has that
 * of `words`.
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
