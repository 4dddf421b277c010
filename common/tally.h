/* Cumulative counters of one worker, stored in the transactions that they count, one key per worker
 * (/stats/{consumerID}/{worker}), so that parallel workers cannot overwrite each other. Those of
 *dead sessions are folded into /stats/total, which also has what belongs to no worker.
 *	{"messages_processed":N,"rows_stored":N,"messages_dead":N,"rows_dead":N,
 *	 "messages_foreign":N,"rows_foreign":N,"messages_dropped":N,"rows_dropped":N,
 *	 "messages_ended":N,"rows_ended":N,"latency_ms_sum":N,"rows_no_value":N,
 *	 "messages_consumed":N,"messages_invalid":N,"batches_processed":N,"database_errors":N,
 *	 "messages_duplicated":N,"messages_throttled":N,"publish_errors":N,"csv_read_errors":N}
 *
 * What is no part of the balance may lag: claims and errors are written with the next completion,
 * and those of a process that ends before it are lost.
 *
 * The balance, at every revision, in messages and in rows (rows of a message that is stored in
 *parts count when its last part is): published + ended = processed - foreign + dropped + those in
 *queue, processing and dead letters where only messages of a producer count in the places on the
 *right. */
#ifndef GPUTEL_TALLY_H
#define GPUTEL_TALLY_H

#include "etcd.h"

struct tally {
	int64_t messages_processed, rows_stored;
	int64_t messages_dead, rows_dead;       /* dead-lettered so far, replayed ones included */
	int64_t messages_foreign, rows_foreign; /* among the processed: without a producer record */
	int64_t messages_dropped,
		rows_dropped;               /* dead letters that were dropped; not the foreign */
	int64_t messages_ended, rows_ended; /* published by producers whose records are gone */
	int64_t latency_ms_sum;             /* from created to stored, of the processed */
	int64_t rows_no_value;     /* of foreign messages: readings without a value; in no sum */
	int64_t messages_consumed; /* claimed, each attempt */
	int64_t messages_invalid;  /* among the dead: for what is in them */
	int64_t batches_processed; /* transactions that completed messages */
	int64_t database_errors;   /* requests to etcd that failed */
	/* Of producers whose records are gone (producer.h). */
	int64_t messages_duplicated, messages_throttled, publish_errors, csv_read_errors;
};

void tally_encode(struct strbuf *out, const struct tally *t);
/* Adds what the JSON says. -EBADMSG. */
int tally_add(struct tally *t, struct slice json, struct err *e) must_check;

/* Folds the counters of consumers that have no session into the total, one transaction each. */
int tally_fold(struct etcd *c, struct err *e) must_check;

#endif
