/* A session: a leased key that lives as long as its process, and whose create revision is the
 * fencing token of all that the process does (DESIGN §4).
 *
 * A thread keeps the lease alive at a third of its TTL. When the lease is lost, or could not be
 * renewed for a whole TTL, the session is lost for ever: session_lost() turns true, and its owner
 * drops what it holds and opens another under a new id. */
#ifndef GPUTEL_SESSION_H
#define GPUTEL_SESSION_H

#include "etcd.h"

struct session;

/* Grants a lease of ttl_s and puts key (absent before) under it. Waits for etcd as long as it
 * takes; *stop (may be NULL) ends the wait with -ECANCELED. -EEXIST: another session holds the key.
 * on_lost (may be NULL) runs once, on the session's thread; it must not close the session. */
int session_open(struct session **ret, struct etcd *c, const char *key, struct slice value,
		 int64_t ttl_s, const volatile bool *stop, void (*on_lost)(void *arg), void *arg,
		 struct err *e) must_check;
/* Revokes the lease (best effort, within ETCD_REQUEST_TIMEOUT) and frees. NULL is fine. */
void session_close(struct session *s);

const char *session_key(const struct session *s);
int64_t session_revision(const struct session *s); /* create revision of the key */
int64_t session_lease(const struct session *s);    /* for other keys that shall live as long */
bool session_lost(const struct session *s);

#endif
