/* What the files of the feed share: feed.c has its life and its passes, feed_rows.c the rows,
 * feed_publish.c the publishing thread, feed_follow.c files that grow. */
#ifndef GPUTEL_FEED_INTERNAL_H
#define GPUTEL_FEED_INTERNAL_H

#include "feed.h"

#include "csv.h"
#include "input.h"
#include "missing.h"

#include <pthread.h>

enum { STAMPS = 64 };

/* Reading fills one window while the publishing thread works on the other. */
struct feed {
	const struct feed_conf *conf;
	struct feed_stats *stats;
	int fd;
	struct follow *growing;  /* not NULL: the file may grow */
	enum follow_event ended; /* of a file that might have grown: over or cut */
	bool is_file;
	bool keep; /* fingerprints are taken as it is read: an archive, or what may be gone by then
		    */
	uint8_t sha[SHA256_LEN]; /* with keep: of what is before the end of the window that is
				    ready; the publishing thread's while there is one */
	int64_t published_to;    /* rows before this offset were published before */
	int64_t open_end;        /* where the window ends that the record has open; 0: none */
	bool begins_pass;        /* another pass: everything is published once more */

	struct csv *csv;
	struct row_parser *rows;
	bool has_header;
	bool told;         /* what of the columns is left out */
	int64_t resume_at; /* once the first record is seen, which settles the columns; 0: no */
	struct missing missing;
	struct pace pace;
	struct window *filling;
	struct mono begun_at;       /* of the filling window, once it has a row */
	struct mono flush_at;       /* the same */
	_Atomic int64_t invalid;    /* rows that the record does not tell of yet */
	_Atomic int64_t stretch_ms; /* how often all hosts of a window may have a message */
	unsigned since_clock;
	struct { /* --time now: one present per source stamp */
		int64_t source_ns, now_ns;
	} stamps[STAMPS];
	unsigned n_stamps;

	struct publisher publisher;
	bool publisher_open, thread_started;
	struct producer record; /* as looked up, until the publisher has it */
	pthread_t thread;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t changed;
	struct window windows[2];
	struct window *ready; /* handed over, being published */
	bool stop;
	int result; /* of publishing; the first failure stays */
	struct err err;
};

enum { BULK_PER_S = 100 }; /* messages of a file that is read as fast as it goes */

/* Nobody waits for a row of it, but for all of the file. */
static inline bool feed_is_bulk(const struct feed *f)
{
	return f->is_file && !f->growing && f->conf->pace == PACE_NONE;
}

/* ---- feed_publish.c -------------------------------------------------------------------------- */

/* Of struct feed: publishes what is handed over, until stop. */
void *feed_publish_windows(void *feed);
/* Hands the filling window over and goes on with the other one. */
int feed_hand_over(struct feed *f) must_check;
/* The same if it holds anything. */
int feed_flush(struct feed *f) must_check;
/* Waits until nothing is being published. */
int feed_settle(struct feed *f) must_check;

/* ---- feed_rows.c ----------------------------------------------------------------------------- */

int feed_take_row(struct feed *f, const struct csv_record *rec) must_check;
void feed_count_invalid(struct feed *f, const struct csv_record *rec, const struct err *e);
/* Rows that are as expected, up to the first that is not. */
int feed_read_expected(struct feed *f) must_check;
/* Hands the window over when it is due; look: asks the clock also where that is not sure to be so.
 */
int feed_maybe_flush(struct feed *f, bool look) must_check;
bool feed_flush_due(struct feed *f, bool look);

/* ---- feed.c ---------------------------------------------------------------------------------- */

/* A file that is open already: growing NULL: it will not grow any more; else the event that ended
 * it in *ret_ended. Other results as feed_run. */
int feed_run_open(const struct feed_conf *conf, int fd, struct follow *growing,
		  struct feed_stats *stats, enum follow_event *ret_ended, struct err *e) must_check;

/* ---- feed_follow.c --------------------------------------------------------------------------- */

/* The file at a path and its successors, until a stop. */
int feed_follow(const struct feed_conf *conf, struct feed_stats *stats, struct err *e) must_check;
/* Waits for what happens to a growing file, handing the window over when it is due. */
int feed_await_growth(struct feed *f) must_check;

#endif
