/* The messages that wait in the queue, as its mirror tells them: per host and source a lane in
 * order of sequence.
 *
 * At most BACKLOG_MAX of them are held. Past that the rest stays in etcd only, and the queue is to
 * be listed again once there is room for half of them; whatever of a lane comes after a message
 * that was not held is not held either, so that its order stays. What stands in the queue and is no
 * message is kept aside as a misfit.
 *
 * Not thread-safe; no I/O. */
#ifndef GPUTEL_BACKLOG_H
#define GPUTEL_BACKLOG_H

#include "roster.h"

#define BACKLOG_MAX         200000 /* pointers held */
#define BACKLOG_MISFITS_MAX 64     /* noted at a time; the rest when the queue is listed again */

struct etcd_kv;

struct pending {
	struct message m;
	int64_t mod_rev;
	struct lane *lane;
};

/* One source's messages for one host, in order of sequence. */
struct lane {
	struct host *host;
	char *source;
	struct pending **list; /* [head, n) */
	size_t head, n, cap;
};

/* A key of the queue that is no message. */
struct misfit {
	char key[KEY_MAX];
	int64_t rev;
	char reason[256];
};

struct backlog {
	struct roster *hosts;
	int64_t max_retries;
	size_t max;         /* BACKLOG_MAX */
	struct map pending; /* by ULID → struct pending */
	struct map listed;  /* keys of the list under way; what is not there at its end is gone */
	bool is_listed;     /* all that was queued at some revision has been told */
	bool overflow;      /* more is queued than is held */
	size_t n_last;      /* pending ones whose next attempt is their last */
	struct misfit *misfits;
	size_t n_misfits;
};

void backlog_init(struct backlog *b, struct roster *hosts, int64_t max_retries);
void backlog_release(struct backlog *b);

/* What the mirror of the queue tells: a list, then changes. */
void backlog_list_begin(struct backlog *b);
void backlog_list_kv(struct backlog *b, const struct etcd_kv *kv);
void backlog_list_end(struct backlog *b);
/* The host that has a message more; NULL: none. */
struct host *backlog_put(struct backlog *b, const struct etcd_kv *kv);
void backlog_delete(struct backlog *b, struct slice key);

/* The next message of the host, of all its lanes; NULL: none. */
const struct pending *backlog_first(const struct host *h);
/* It was tried before, or is stored in part (which counts the pairs of one message alone). */
bool backlog_first_is_redelivery(const struct host *h);
/* The next attempt at it is its last. */
bool backlog_is_last_attempt(const struct backlog *b, const struct message *m);
/* Takes up to max messages of the host, at most bytes of payload (but one), in order, into claims.
 * A redelivered one comes alone. They are no longer pending. */
size_t backlog_take(struct backlog *b, struct host *h, struct claim *claims, size_t max,
		    size_t bytes);
/* Whether the queue is to be listed again because there is room now; true once. */
bool backlog_wants_list(struct backlog *b);
/* Takes the misfits out: at most BACKLOG_MISFITS_MAX; the caller frees them. */
struct misfit *backlog_take_misfits(struct backlog *b, size_t *ret_n);
/* Nothing is queued that is known here. */
bool backlog_is_empty(const struct backlog *b);

#endif
