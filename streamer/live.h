/* Rows of sources that cannot be read again (exporters, GPUs) on their way to the queue: a bounded
 * buffer, and a thread that publishes what is in it, window by window, exactly once.
 *
 * All of a process are one source in etcd, new at each start: what was not published when it dies
 * is lost, and nothing is ever published twice. Who has rows puts them, a scrape at a time; where
 * etcd or back-pressure hold the publishing up, they wait here. A scrape for which there is no room
 * left is refused whole; what was taken is never dropped.
 *
 * live_put may be called by many threads. */
#ifndef GPUTEL_LIVE_H
#define GPUTEL_LIVE_H

#include "feed.h"

struct live;

struct live_conf {
	struct publisher_conf publisher; /* its callbacks and arg are live's own business */
	const char *name;                /* of the source, for people */
	int64_t flush_ms;
	size_t buffer_bytes; /* of rows that wait, in all */
	int (*admit)(int64_t rows, bool patient, void *arg);
	double (*rate)(void *arg);
	void (*accepted)(const struct message *m, void *arg);
	void *arg;
};

struct live_row {
	struct series_key key; /* tells its series from all others (series.h) */
	struct slice value;    /* as of a CSV file's cell (reading.h) */
	struct stamp time;
	const struct series_ref *series; /* live's own business, as is has_value */
	bool has_value;
};

struct live_scrape {
	struct live_row *rows;
	size_t n;
	size_t malformed; /* what was to be a row and could not even be read; counts as invalid */
	struct err first_malformed;
	/* Asked for the fields of a row whose key was not seen before; they are used at once. 0;
	 * -ENOENT: the row is none and is skipped; -EINVAL: it is invalid, and e says why. */
	int (*fields)(size_t i, const struct slice **ret, void *arg, struct err *e);
	void *arg;
};

/* What became of the rows of one scrape. */
struct live_verdict {
	size_t taken, no_value, invalid, skipped;
	struct err first_invalid;
};

/* stats: rows of all scrapes that were taken in. */
int live_open(struct live **ret, const struct live_conf *conf, struct feed_stats *stats,
	      struct err *e) must_check;

/* Takes all rows in, or none. -ENOBUFS: there is no room for them, and e says why. -ECANCELED: it
 * is over. */
int live_put(struct live *l, const struct live_scrape *s, struct live_verdict *ret,
	     struct err *e) must_check;

/* Publishes what is left and frees; nobody may put any more. -ECANCELED: etcd_cancel or the drain's
 * deadline came first; *ret_left rows were not published. Else what ended the publishing early, in
 * which case a stop was asked for then. NULL is fine. */
int live_close(struct live *l, int64_t *ret_left, struct err *e);

#endif
