/* etcd v3: transactions, reads and watches natively by gRPC, where that is spoken, and all else, or
 * all, through its HTTP/JSON gateway.
 *
 * Threads: every function may be called from any thread; calls block. A client keeps up to
 * ETCD_MAX_INFLIGHT requests in flight on kept-alive connections and fails over between its
 * endpoints. Keys are given and returned without the client's prefix (GPUTEL_PREFIX), which is put
 * in front on the way out and taken off on the way in, as clientv3/namespace does.
 *
 * Outcomes. 0 means etcd answered. Otherwise:
 *	-ECONNREFUSED	not sent to any endpoint: surely not carried out
 *	-ETIMEDOUT -ECONNRESET -EIO
 *			unknown: carried out, or not (timeout, reset, leader change, 5xx)
 *	-ENOSPC		"database space exceeded": unknown too, since the write that trips the quota
 *			is applied and then answered so
 *	-ESTALE		the revision asked for is compacted, or not there yet
 *	-ENOENT		lease not found (a txn with it did nothing)
 *	-EEXIST		lease exists already
 *	-EACCES		user, password or permission
 *	-EINVAL -E2BIG	etcd refused the request as malformed or too large: not carried out
 *	-EMSGSIZE	the answer is larger than ETCD_REPLY_MAX
 *	-ECANCELED	etcd_cancel was called
 * etcd_unknown(r) tells the unknown ones. Reads are retried on another endpoint within
 * ETCD_REQUEST_TIMEOUT; writes are not: the caller settles them by sending the same transaction
 * again (every transaction here has compares that make that safe) or by reading.
 *
 * Reachability is the one thing this module logs: once when no endpoint answers, once when one does
 * again, with how long it was away; and once what a mirror is refused for.
 *
 * etcd's rules that callers live with: at most 128 operations and 1.5 MiB in a transaction; int64
 * are strings in JSON, absent fields are zero; a lost lease shows as TTL <= 0, not as an error. */
#ifndef GPUTEL_ETCD_H
#define GPUTEL_ETCD_H

#include "strbuf.h"

#define ETCD_TXN_OPS   128           /* --max-txn-ops' default; compares and operations alike */
#define ETCD_TXN_BYTES (1536 * 1024) /* --max-request-bytes' default */
#define ETCD_REPLY_MAX (64 * 1024 * 1024) /* ceiling of one answer */

struct etcd;

struct etcd_conf {
	const char *endpoints; /* comma-separated; [http://|https://]host:port */
	const char *prefix;    /* put in front of every key; "" for none */
	int dial_timeout_ms, request_timeout_ms;
	int max_inflight;
	const char *username, *password; /* or NULL */
	const char *cacert, *cert, *key; /* PEM files, or NULL */
	bool native;                     /* gRPC where it is spoken; false: only the gateway */
	int circuit_failures, circuit_open_ms; /* failures in a row that open an endpoint's circuit
						* breaker, and for how long; 0: no breaker */
};

/* Does not connect. -EINVAL: the configuration, e says which part. */
int etcd_open(struct etcd **ret, const struct etcd_conf *conf, struct err *e) must_check;
void etcd_close(struct etcd *c);  /* no call may be under way; NULL is fine */
void etcd_cancel(struct etcd *c); /* every call returns -ECANCELED, now and from then on */

bool etcd_unknown(int r);
/* An outage as opposed to a refusal: worth trying the same thing again later. */
bool etcd_transient(int r);

/* false since *ret_since (wall clock, ns; may be NULL) if the last attempts reached no endpoint. */
bool etcd_is_up(struct etcd *c, int64_t *ret_since);
int etcd_request_timeout_ms(const struct etcd *c);

/* ---- keys and values ------------------------------------------------------------------------ */

struct etcd_kv {
	struct slice key, value; /* borrowed from the reply or, in callbacks, until they return */
	int64_t create_rev, mod_rev, version, lease;
};

/* The answer to one range: kvs in key order. */
struct etcd_range {
	struct etcd_kv *kvs;
	size_t n;
	int64_t count; /* of all keys in the range, also where limit cut them */
	bool more;
};

struct etcd_reply {
	int64_t revision;          /* of the store when it answered */
	bool succeeded;            /* txn: the compares held */
	struct etcd_range *ranges; /* one for each get of the branch that ran, in order */
	size_t n_ranges;
	void *mem; /* what the slices point into */
};

/* Every function with a ret_reply fills it on success only; release it then. Releasing a zeroed or
 * released one is fine. */
void etcd_reply_release(struct etcd_reply *r);

enum {
	ETCD_KEYS_ONLY = 1,
	ETCD_COUNT_ONLY = 2,
	ETCD_SERIALIZABLE = 4, /* may be stale; for bulk pages at a known revision */
};

/* Where a prefix ends: the range end that covers every key starting with it. As everywhere here,
 * the end "" means: all keys from the first one on. */
void etcd_prefix_end(const char *prefix, struct strbuf *ret);

/* Reads [key, end); end NULL: the one key. limit 0: all. revision 0: the newest. One request. */
int etcd_get(struct etcd *c, const char *key, const char *end, int64_t limit, int64_t revision,
	     int flags, struct etcd_reply *ret, struct err *e) must_check;

/* Reads [key, end) page by page at one revision (revision 0: that of the first page), calling fn
 * for each key in order; a non-zero return of fn ends it and is passed on. ret_revision may be
 * NULL; it is set before the first call of fn. */
int etcd_each(struct etcd *c, const char *key, const char *end, int64_t revision, int flags,
	      int (*fn)(const struct etcd_kv *kv, void *arg), void *arg, int64_t *ret_revision,
	      struct err *e) must_check;

/* ---- transactions --------------------------------------------------------------------------- */

/* A transaction being put together, by one thread. It can be sent any number of times. Errors (too
 * many operations, too large) are sticky and come out at etcd_txn_send as -E2BIG.
 *
 *	struct etcd_txn t;
 *	etcd_txn_init(&t, c, "example");
 *	etcd_if_mod(&t, key, 17);
 *	etcd_then_put(&t, key, value, 0);
 *	etcd_else_get(&t, key, NULL);
 *	r = etcd_txn_send(&t, &reply, &e);
 *	etcd_txn_release(&t);
 */
struct etcd_txn {
	struct etcd *client;
	const char *name;
	struct strbuf compare, then, orelse; /* parts of a TxnRequest, as protobuf */
	int n_compare, n_then, n_else;
	int n_gets;   /* of those in then */
	size_t bytes; /* about what etcd counts, for packing: keys, values, 32 per operation */
};

/* name: what it does, for failpoints (failpoint.h) and /metrics; borrowed. */
void etcd_txn_init(struct etcd_txn *t, struct etcd *c, const char *name);
void etcd_txn_reset(struct etcd_txn *t);
void etcd_txn_release(struct etcd_txn *t);

void etcd_if_mod(struct etcd_txn *t, const char *key, int64_t rev);    /* 0: absent */
void etcd_if_create(struct etcd_txn *t, const char *key, int64_t rev); /* 0: absent */
/* Every key in [key, end) has a mod revision < rev; with rev 1: there is none. */
void etcd_if_range_mod_below(struct etcd_txn *t, const char *key, const char *end, int64_t rev);
void etcd_then_put(struct etcd_txn *t, const char *key, struct slice value, int64_t lease);
void etcd_then_delete(struct etcd_txn *t, const char *key, const char *end); /* end NULL: one key */
void etcd_then_get(struct etcd_txn *t, const char *key, const char *end);
void etcd_then_count(struct etcd_txn *t, const char *key, const char *end); /* range.count alone */
/* What from does where its compares hold; it has no compares and no Else. */
void etcd_then_append(struct etcd_txn *t, const struct etcd_txn *from);
void etcd_else_get(struct etcd_txn *t, const char *key, const char *end);

int etcd_txn_send(struct etcd_txn *t, struct etcd_reply *ret, struct err *e) must_check;

/* Sends until the outcome is known: after an unknown one it waits (exponential, jittered, up to
 * 3 s; -ENOSPC and -ECONNREFUSED too) and sends the same again. For transactions whose repetition
 * is harmless and whose Else tells "mine had committed" from "refused". Ends with an answer, a
 * definite refusal, or -ECANCELED. *ret_resent (may be NULL, also set on failure) says whether an
 * earlier sending may have been carried out. */
int etcd_txn_settle(struct etcd_txn *t, struct etcd_reply *ret, bool *ret_resent,
		    struct err *e) must_check;

/* ---- leases --------------------------------------------------------------------------------- */

/* With an id chosen by the caller (positive, random), a repeat after an unknown outcome answers
 * -EEXIST, which then means success. *ret_ttl_s may be NULL. */
int etcd_lease_grant(struct etcd *c, int64_t id, int64_t ttl_s, int64_t *ret_ttl_s,
		     struct err *e) must_check;
/* *ret_ttl_s <= 0: the lease is lost. */
int etcd_lease_keepalive(struct etcd *c, int64_t id, int64_t *ret_ttl_s, struct err *e) must_check;
/* How long it lives if nobody renews it, by etcd's clock, in whole seconds; *ret_ttl_s < 0: it is
 * gone. */
int etcd_lease_left(struct etcd *c, int64_t id, int64_t *ret_ttl_s, struct err *e) must_check;
int etcd_lease_revoke(struct etcd *c, int64_t id, struct err *e) must_check; /* -ENOENT: gone */

/* ---- maintenance ---------------------------------------------------------------------------- */

struct etcd_status {
	int64_t revision_hint; /* header revision */
	int64_t db_size, db_size_in_use;
	uint64_t member_id, leader_id;
	char version[32];
};
int etcd_status(struct etcd *c, struct etcd_status *ret, struct err *e) must_check;
int etcd_compact(struct etcd *c, int64_t revision, struct err *e) must_check; /* -ESTALE: already */

/* The quota of the database as etcd itself says in GET /metrics (etcd_server_quota_backend_bytes);
 * -ENODATA: it does not. */
int etcd_quota(struct etcd *c, int64_t *ret_bytes, struct err *e) must_check;
/* Whether a member has raised the NOSPACE alarm, and taking it back everywhere. */
int etcd_nospace(struct etcd *c, bool *ret_armed, struct err *e) must_check;
int etcd_disarm(struct etcd *c, struct err *e) must_check;
/* Gives freed pages of the member that answers back to its file system; it stands still meanwhile.
 * timeout_ms: it can take long. */
int etcd_defragment(struct etcd *c, int timeout_ms, struct err *e) must_check;

/* ---- mirrors: list, then watch, for ever ----------------------------------------------------- */

/* A local copy of a range of keys, kept by one thread of its own: it lists the range at one
 * revision R (paged), then watches from R + 1, resumes where it was after an interruption, and
 * lists again after "compacted" or when a gap is possible. Callbacks run on that thread, never two
 * at once:
 *	list_begin(R), list_kv()*, list_end(R)   the whole content at R; what was known and is not
 *	                                         listed is gone; a list that breaks off starts
 *	                                         again with list_begin, without list_end
 *	commit(rev, events)                      all events of one revision in the range, in one
 *	                                         call; rev only grows
 *	progress(rev)                            (may be NULL) nothing happened in the range up to
 *	                                         rev
 *	up(bool)                                 (may be NULL) the watch is established or lost */
struct etcd_event {
	struct etcd_kv kv; /* of a delete: key and mod_rev (the revision of the delete) only */
	bool deleted;
};

struct etcd_mirror_ops {
	void (*list_begin)(int64_t rev, void *arg);
	void (*list_kv)(const struct etcd_kv *kv, void *arg);
	void (*list_end)(int64_t rev, void *arg);
	void (*commit)(int64_t rev, const struct etcd_event *events, size_t n, void *arg);
	void (*progress)(int64_t rev, void *arg);
	void (*up)(bool up, void *arg);
};

struct etcd_mirror;

struct etcd_span {
	const char *key, *end;
};

/* The range is [key, end). ops and arg must outlive the mirror. */
int etcd_mirror_start(struct etcd_mirror **ret, struct etcd *c, const char *key, const char *end,
		      const struct etcd_mirror_ops *ops, void *arg, struct err *e) must_check;
/* The same of several ranges (at least one; end NULL: one key), listed at one revision. What one
 * revision changed in several ranges comes in so many commits, mostly one right after the other;
 * after an interruption a range may be ahead of the others for a moment, and rev grows within each
 * range only. */
int etcd_mirror_start_ranges(struct etcd_mirror **ret, struct etcd *c,
			     const struct etcd_span *ranges, size_t n,
			     const struct etcd_mirror_ops *ops, void *arg,
			     struct err *e) must_check;
void etcd_mirror_stop(struct etcd_mirror *m); /* ends its thread; NULL is fine */
/* Asks for a fresh list, as after a gap that a reader saw. From any thread, callbacks included. */
void etcd_mirror_relist(struct etcd_mirror *m);

#endif
