/* One source on its way: descriptor → csv → row → window → publisher. The rows are read and parsed
 * on the caller's thread; a second one publishes the window before, so that both overlap.
 *
 * Which source a file is, and how far it is published, is looked up in etcd (streamer/source.h has
 * the rules); its published part is read again only to be counted as duplicate. */
#ifndef GPUTEL_FEED_H
#define GPUTEL_FEED_H

#include "follow.h"
#include "pace.h"
#include "publisher.h"

#include <stdatomic.h>

struct feed_conf {
	struct publisher_conf publisher; /* its callbacks and arg are the feed's own business */
	const char *path;                /* "-": standard input */
	bool loop, again, time_now;
	bool follow; /* the file grows, and is rotated: goes on until a stop */
	enum pace_mode pace;
	double pace_factor;
	struct slice host;            /* --host; empty: the column */
	const struct column_map *map; /* --map; NULL */
	int64_t flush_ms;
	size_t buffer_bytes; /* of rows that wait for their message */
	int (*admit)(int64_t rows, bool patient, void *arg);
	double (*rate)(void *arg);
	void (*accepted)(const struct message *m, void *arg);
	/* Told a source that was published before, at least in part. */
	void (*known)(const char *source, void *arg);
	void *arg;
};

/* Rows so far, over all files that are followed; also read by others, for progress. rows =
 * published + duplicate + no_value + invalid once the feed has ended in peace. */
struct feed_stats {
	_Atomic int64_t rows, published, duplicate, no_value, invalid, messages;
	_Atomic int64_t bytes, size; /* read of this pass, and of the file (0: unknown) */
};

/* Runs until the source ends, a stop is asked for (-ECANCELED), or it fails; e says why. Invalid
 * rows are logged one by one and are no failure. */
int feed_run(const struct feed_conf *conf, struct feed_stats *stats, struct err *e) must_check;

#endif
