/* What etcd knows of a source: how far it is published, and by whom. JSON at /producers/{source}:
 *	{"v":1,"name":"data/x.csv","epoch":3,"sequence":120,"pass":0,"offset":X,"line":17,
 *	 "window_end":Y,"window_done":5,"batch_size":8192,"segment_s":3600,"prefix_len":4096,
 *	 "fingerprint":"…","messages":120,"rows":960000,"leases":[…],"lease_keys":120,
 *	 "throttle_rate":"1","duplicated":0,"throttled":0,"publish_errors":0,"csv_read_errors":0,
 *	 "updated_at":ns}
 *
 * Invariants (DESIGN §4, Publish):
 * - offset is the first byte of the source that no accepted message covers, except that of the open
 *   window [offset, window_end) the first window_done messages are accepted. Grouping a window into
 *   messages is a pure function of its rows, batch_size and segment_s (window.h), so that
 *a restart re-reads exactly that window and skips what is done.
 * - Only the holder of the highest epoch changes the record: every change compares the mod revision
 *   of the one before, and taking over writes epoch + 1.
 * - sequence counts accepted messages of the source for ever, over passes. */
#ifndef GPUTEL_PRODUCER_H
#define GPUTEL_PRODUCER_H

#include "etcd.h"
#include "map.h"
#include "message.h"

#define SOURCE_ID_MAX 72 /* characters of a source's id, with its NUL */

struct producer {
	char source[SOURCE_ID_MAX];
	int64_t mod_rev; /* 0: there is no record */
	char name[256];  /* of the file, for people; cut where longer */
	int64_t epoch, sequence, pass;
	int64_t offset, line;            /* line: of the row at offset, from 1 */
	int64_t window_end, window_done; /* window_end 0: no window is open */
	int64_t batch_size, segment_s;   /* that the open window is grouped with */
	int64_t prefix_len;              /* bytes of the source's start that its id hashes */
	char fingerprint[65];            /* of [0, offset); "" at offset 0 */
	int64_t messages, rows;          /* accepted, over all passes */
	int64_t leases[2];               /* of idempotency keys: the newest two, newest first */
	int64_t lease_keys;              /* keys under the newest */
	double throttle_rate;            /* share of its full rate that it publishes with; 1: all */
	/* For figures.h, each written with the next change of the record: messages that were there
	 * already, that back-pressure made wait; attempts to publish that failed; rows that are
	 * invalid. */
	int64_t duplicated, throttled, publish_errors, csv_read_errors;
	int64_t updated_ns;
};

void producer_encode(struct strbuf *out, const struct producer *p);
/* -EBADMSG with the reason in e. */
int producer_decode(const char *source, const struct etcd_kv *kv, struct producer *ret,
		    struct err *e) must_check;

/* How far a source has published, by its record; kv NULL: it has none, so -1. A record that does
 * not say may have published anything. */
int64_t producer_sequence(const struct etcd_kv *kv);
/* Whether a source that has published so far has published the message; if not, it is foreign. */
bool producer_has_published(int64_t sequence, const struct message *m);

/* How far each source has published, to tell foreign messages among many. */
struct published {
	struct map sequences; /* source → sequence + 1 */
};

void published_add(struct published *s, const char *source, int64_t sequence);
bool published_has(const struct published *s, const struct message *m);
void published_release(struct published *s);

/* The source that a key of /producers names; false: the key is no record's. */
bool producer_source(struct slice key, char ret[SOURCE_ID_MAX]);
/* -ENOENT: there is none; else as in etcd.h. */
int producer_read(struct etcd *c, const char *source, struct producer *ret,
		  struct err *e) must_check;

#endif
