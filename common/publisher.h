/* Publishes the windows of one source, exactly once (common/queue.h, common/producer.h).
 *
 * One transaction is in flight per source. A window that fits one transaction needs no record of
 * its own; of a larger one the record is opened first, so that a restart knows what to read again
 * and how it was cut. Not thread-safe; one publisher per source, any number of sources per process.
 * Waits for etcd and for its turn; daemon_stopping() ends that. Logs each message with its trace
 * id, at debug level.
 */
#ifndef GPUTEL_PUBLISHER_H
#define GPUTEL_PUBLISHER_H

#include "clock.h"
#include "producer.h"
#include "queue.h"
#include "receipt.h"
#include "session.h"
#include "window.h"

#define PUBLISHER_LEASE_KEYS 1000 /* idempotency keys under one lease */
#define PUBLISHER_LEASE_S    60   /* for so long receipts are put under one */

struct publisher_conf {
	struct etcd *etcd;
	const char *streamer_id;
	int64_t batch_size;    /* rows of a message */
	int64_t mq_batch_size; /* messages of a transaction */
	int64_t session_ttl_s, dedup_ttl_s, message_ttl_ms;
	/* Called before each transaction with the rows in it; waits for back-pressure. > 0: it had
	 * to wait. < 0 (-ECANCELED) ends the publishing. */
	int (*admit)(int64_t rows, void *arg);
	/* The share of the full rate that is allowed now (throttle.h). */
	double (*rate)(void *arg);
	/* Told each accepted message. */
	void (*accepted)(const struct message *m, void *arg);
	/* Hex text that knows the bytes [0, before) of the source again. NULL: it cannot be read
	 * again, so that it is of no use to record which window is open. */
	int (*fingerprint)(int64_t before, char ret[2 * SHA256_LEN + 1], void *arg);
	void *arg;
};

/* Counts of this run. */
struct publisher_stats {
	int64_t messages, rows;             /* accepted */
	int64_t duplicates, duplicate_rows; /* that were accepted before, by another run */
};

struct publisher {
	struct publisher_conf conf;
	struct producer record;
	struct session *owner;
	struct publisher_stats stats;
	int64_t batch_size, segment_s; /* that windows are cut with: SEGMENT as etcd has it */
	struct grouping grouping;
	struct outgoing *out;
	size_t n_out;
	size_t out_bytes;
	int64_t out_rows;
	struct receipt *receipt; /* of the window under way, or NULL */
	int64_t receipt_lease, receipt_keys;
	char trace_id[TRACE_ID_LEN + 1]; /* of the next messages; "": each has one of its own */
	struct mono receipt_lease_since;
};

/* Becomes the owner of the source in record (which may have mod_rev 0: it is new); waits while
 * another streamer owns it. Reads the record anew when it has waited. -ECANCELED: a stop was asked
 * for while it waited. */
int publisher_open(struct publisher *p, const struct publisher_conf *conf,
		   const struct producer *record, struct err *e) must_check;
void publisher_close(struct publisher *p);

/* The next window begins anew at offset 0: a new pass over the same source. */
void publisher_new_pass(struct publisher *p);

/* The messages of the windows from here on have this trace id (that of a request: TRACE_ID_LEN hex
 * digits), or with "" again one of their own each. */
void publisher_set_trace(struct publisher *p, const char *trace_id);

/* So many rows of the source were invalid: goes into the record with the next window. */
void publisher_note_invalid(struct publisher *p, int64_t rows);

/* Publishes all of w, or, if it is the window that the record has open, what is not done of it.
 * -EOWNERDEAD: another streamer has taken over. -ECANCELED. */
int publisher_window(struct publisher *p, const struct window *w, struct err *e) must_check;

/* Publishes what is not done of a request by its receipt, and moves that on (receipt.h). w is all
 * of the request's rows, at least one; the source cannot be read again. -EALREADY: somebody else
 * works on the same request. */
int publisher_request(struct publisher *p, const struct window *w, struct receipt *receipt,
		      struct err *e) must_check;

#endif
