/* A queue on stage: a private etcd, and in it the actors of common/queue.h. */
#ifndef GPUTEL_TEST_STAGE_H
#define GPUTEL_TEST_STAGE_H

#include "queue.h"

/* A client of the program's one etcd, with a prefix that no other test has. */
struct etcd *stage_open(void);

/* A consumer's session: its key, without a lease; and its end, as when the lease runs out. */
struct fence stage_enter(struct etcd *c, const char *id);
void stage_die(struct etcd *c, const char *id);

/* The value of a key as text, "" if it is absent; lives until the next call. */
const char *stage_read(struct etcd *c, const char *key);
int64_t stage_mod_rev(struct etcd *c, const char *key); /* 0: absent */
size_t stage_count(struct etcd *c, const char *prefix);
void stage_put(struct etcd *c, const char *key, const char *value);
void stage_delete(struct etcd *c, const char *key);

/* A host's first writer. */
struct hold stage_take(struct etcd *c, const struct fence *f, const char *host);

/* A message of host with this payload, as from source, numbered by the caller. */
struct outgoing stage_message(const char *host, struct slice payload);
void stage_message_release(struct outgoing *o);
/* Opens a source and publishes one such message; its ULID goes to ret. */
void stage_publish(struct etcd *c, const char *source, const char *host, struct slice payload,
		   char ret[ULID_LEN + 1]);

/* The queued message as a claim that is not made yet. */
struct claim stage_pending(struct etcd *c, const char *ulid, const struct hold *h);
void stage_claim_release(struct claim *k);

#endif
