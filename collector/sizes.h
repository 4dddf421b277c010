/* How much room the store takes, by when segments start, for RETENTION_BYTES.
 *
 * Every collector adds up what it writes for and puts that under /sizes/{consumerID}, with its
 * session's lease; from the sum of all of them each reckons alike which segments are to go, and
 * drops those of its own hosts (retention.h). What nobody has read yet counts nothing: too little
 * is dropped then, never too much. JSON: {"v":1,"segments":[[start, bytes],…]}, start in seconds.
 */
#ifndef GPUTEL_SIZES_H
#define GPUTEL_SIZES_H

#include "etcd.h"

#define KEY_SIZES "/sizes/"

struct size {
	int64_t start_ns, bytes;
};

struct sizes {
	struct size *list; /* by start */
	size_t n, cap;
};

void sizes_release(struct sizes *s);
void sizes_clear(struct sizes *s);
void sizes_add(struct sizes *s, int64_t start_ns, int64_t bytes);
void sizes_add_all(struct sizes *s, const struct sizes *more);
int64_t sizes_total(const struct sizes *s);

/* The earliest start from which on all fit into max bytes; INT64_MIN: all do. The newest segments
 * are kept in any case. */
int64_t sizes_keep_from(const struct sizes *s, int64_t max);

void sizes_encode(struct strbuf *out, const struct sizes *s);
/* Adds what the JSON says. -EBADMSG. */
int sizes_decode(struct sizes *s, struct slice json, struct err *e) must_check;

/* Tells etcd what this consumer has, under its session's lease, and reads what all have. */
int sizes_exchange(struct etcd *c, const char *consumer, int64_t lease, const struct sizes *mine,
		   struct sizes *ret_all, struct err *e) must_check;

#endif
