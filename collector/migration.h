/* Messages of the older schemas, which foreign programs (anything that can write to etcd) and older
 * releases enqueue, and the v1 messages that they become.
 *
 *	v1beta1  a JSON array of wide records (record.h)
 *	v1beta2  a JSON array of long records
 *
 * A message is taken whole or, if one of its records is invalid, not at all. A record without a
 * host is of the pointer's. Rows are grouped as a streamer groups a window (window.h): by host,
 * hosts by first row, cut at BATCH_ROWS_MAX rows and the other limits of a message. So what a
 * message becomes is a pure function of it. If that is one message of the pointer's host, it is
 * stored as if it had come so. If there are several, they take its place in the queue; rows of one
 * host keep their order among themselves, and to what the same pointer's host brings later.
 *
 * Of the pointer, bytes and sha256 are compared with the payload, and rows with the number of
 * records or of values in them, where they are there and not 0. */
#ifndef GPUTEL_MIGRATION_H
#define GPUTEL_MIGRATION_H

#include "queue.h"
#include "window.h"

struct migration {
	struct record_parser *parser;
	struct window window;
	struct grouping groups;
	size_t records, no_value;
};

/* Told of every fault: "record 3: gpu_id: missing" (records count from 0). */
struct migration_faults {
	void (*fn)(const char *text, void *arg);
	void *arg;
};

bool migration_is_older(const char *schema);

/* -EBADMSG with the reason in e: the first fault, and how many more there are. faults may be NULL.
 * Zero *ret before first use; release it in any case. */
int migration_open(struct migration *ret, const struct message *m, struct slice payload,
		   int64_t segment_ns, const struct migration_faults *faults,
		   struct err *e) must_check;
void migration_release(struct migration *g);

static inline size_t migration_count(const struct migration *g)
{
	return g->groups.n;
}

/* It is one message, of the pointer's host. */
bool migration_is_plain(const struct migration *g, const struct message *m);
/* Message i, in place of m. ret is overwritten; free it with migration_outgoing_release. -EMSGSIZE
 */
int migration_outgoing(struct migration *g, size_t i, const struct message *m, struct outgoing *ret,
		       struct err *e) must_check;
void migration_outgoing_release(struct outgoing *o);

#endif
