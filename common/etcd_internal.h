/* What the parts of the etcd client share; nobody else includes this, save session.c.
 *
 *	etcd.c           life, one request over the endpoints, tokens
 *	etcd_stream.c    one stream of answers over the endpoints
 *	etcd_endpoint.c  which endpoint is next, circuit breakers, reachability
 *	etcd_error.c     what an answer's error means
 *	etcd_grpc.c      native gRPC: frames, one request, and where it is spoken
 *	etcd_message.h   requests and answers as protobuf, and as JSON
 *	etcd_kv.c        keys out, keys and values in, reads
 *	etcd_txn.c       transactions
 *	etcd_lease.c     leases, status, compaction
 *	etcd_space.c     quota, alarms, defragmentation
 *	etcd_mirror.c    list and watch
 *
 * The client's lock is held for a few instructions, never over a request. */
#ifndef GPUTEL_ETCD_INTERNAL_H
#define GPUTEL_ETCD_INTERNAL_H

#include "clock.h"
#include "etcd.h"
#include "etcd_message.h"
#include "http.h"
#include "json.h"

#include <pthread.h>

#define ETCD_ENDPOINTS_MAX 32
#define ETCD_KEY_MAX       4096 /* with the prefix */

/* The token is not, or no longer, valid. Never leaves etcd.c. */
#define ETCD_TOKEN_REFUSED (-EKEYEXPIRED)

/* closed: requests pass. After circuit_failures in a row open: none does. After circuit_open_ms
 * half-open: one trial passes, and its outcome closes or opens it again. Any other sign that it
 * serves, as a stream's answer or etcd_check_back, closes it too. */
struct endpoint {
	char *url; /* http://host:port */
	int failures;
	bool open, trial;
	struct mono open_until;
	bool native;               /* gRPC is spoken there; else not known before gateway_until */
	struct mono gateway_until; /* the gateway is used until then */

	/* Watches may be quiet for hours; what has said nothing for a while is asked whether it is
	 * still there, by one of them for all. */
	struct mono heard; /* its last sign of life */
	bool probing;
	unsigned losses; /* how often it gave none when asked: streams of before are dead */
};

struct etcd {
	struct http *http;
	char *prefix;
	size_t prefix_len;
	int request_timeout_ms, circuit_failures, circuit_open_ms;
	bool native;               /* gRPC where it is spoken */
	char *username, *password; /* NULL: no authentication */
	int n_endpoints;

	pthread_mutex_t lock;   /* everything below, but for the endpoints' url */
	pthread_cond_t changed; /* cancelled was set, or authenticating reset */
	bool cancelled;
	bool authenticating; /* a thread asks for a token */
	char *token;         /* NULL: none yet; "": etcd wants none */
	struct endpoint endpoints[ETCD_ENDPOINTS_MAX];
	int current; /* where the next request goes */
	int outages; /* requests in a row that reached no endpoint */
	bool down;
	int64_t down_since_ns;
};

/* ---- etcd.c --------------------------------------------------------------------------------- */

struct etcd_request {
	enum etcd_call call;
	struct slice message;
	const char *kind; /* for /metrics; NULL: the name of the call */
	bool repeatable;  /* after an unknown outcome it may go to another endpoint */
	bool anonymous;   /* without a token */
	bool headless;    /* the gateway's answer has no header: alarms and defragmentation */
	int timeout_ms;   /* 0: ETCD_REQUEST_TIMEOUT */
};

/* Sends it and yields the answer as the gateway has it, to be freed. */
int etcd_call(struct etcd *c, const struct etcd_request *q, struct json **ret,
	      struct err *e) must_check;

/* The same for what has a decoder; the answer is one of the two. */
struct etcd_answer {
	struct json *doc;      /* of the gateway; or NULL: */
	struct strbuf message; /* protobuf */
	size_t size;
};
int etcd_call_kv(struct etcd *c, const struct etcd_request *q, struct etcd_answer *ret,
		 struct err *e) must_check;
void etcd_answer_release(struct etcd_answer *a);

/* Yields a copy of the token: a new one if there is none yet or it is the stale one. */
int etcd_token(struct etcd *c, const char *stale, struct mono deadline, char **ret,
	       struct err *e) must_check;
/* What a request to the gateway carries; token: "" or NULL for none. Returns how many. */
size_t etcd_json_headers(const char *token, struct http_header headers[2]);

/* While etcd is away: asks, within about a second, whether an endpoint has a leader again, and
 * closes the circuit breaker of the first that has. 0 also while it is not away. By mirrors, every
 * now and then; so a request that timed out while etcd started does not keep the others from it for
 * all of CIRCUIT_OPEN, and none of a mirror hangs in an etcd that cannot answer yet. */
int etcd_check_back(struct etcd *c, struct err *e) must_check;

#define ETCD_CIRCUITS_OPEN "etcd: every endpoint failed lately; none is tried again yet"

/* Sleeps; less when etcd_cancel is called. Returns whether it was. */
bool etcd_sleep_ms(struct etcd *c, int64_t ms);

/* ---- etcd_stream.c -------------------------------------------------------------------------- */

/* Requests that are all sent at once, and answers without end. */
struct etcd_stream {
	const struct etcd_method *method;
	struct slice lines;  /* for the gateway: JSON */
	struct slice frames; /* for gRPC: etcd_grpc_frame of each message */
	/* An answer: protobuf, or an object of the gateway; non-zero ends the stream with it. */
	int (*on_answer)(struct slice message, bool native, void *arg);
	/* Called about every idle_ms without one; the same. */
	int (*on_idle)(void *arg);
	int idle_ms;
	void *arg;
};

/* Sends it to one of the endpoints and returns when the stream has ended: 0 if etcd ended it
 * without a word, -EMSGSIZE after an answer over ETCD_REPLY_MAX. */
int etcd_stream(struct etcd *c, const struct etcd_stream *q, struct err *e) must_check;

/* ---- etcd_endpoint.c ------------------------------------------------------------------------ */

int etcd_endpoints_parse(struct etcd *c, const char *list, struct err *e) must_check;

/* The next endpoint to try that is not in *tried, to which it is added; -1: none. *ret_last (may be
 * NULL): it is the last one. Every pick is followed by etcd_endpoint_done. */
int etcd_endpoint_pick(struct etcd *c, uint32_t *tried, bool *ret_last);
void etcd_endpoint_done(struct etcd *c, int i, int r); /* r: outcome of the attempt */

/* It has given a sign of life. */
void etcd_endpoint_heard(struct etcd *c, int i);
/* What a stream over it does now that it is idle. losses: as when the stream began. */
enum endpoint_state { ENDPOINT_WELL, ENDPOINT_TO_PROBE, ENDPOINT_LOST };
enum endpoint_state etcd_endpoint_state(struct etcd *c, int i, unsigned losses);
unsigned etcd_endpoint_losses(struct etcd *c, int i);
/* Follows ENDPOINT_TO_PROBE; r: as of etcd_endpoint_done. */
void etcd_endpoint_probed(struct etcd *c, int i, int r);

/* Counts a request and reports a change of reachability. */
void etcd_note(struct etcd *c, int r, const struct err *e);

/* ---- etcd_grpc.c ---------------------------------------------------------------------------- */

struct etcd_grpc {
	const char *url, *method, *token; /* token: "" or NULL for none */
	struct slice message;
	int timeout_ms, dial_timeout_ms; /* as of http_request */
};

/* Appends a message as gRPC frames it. */
int etcd_grpc_frame(struct strbuf *out, struct slice message);
/* The first whole frame at p: its message and the bytes that it takes, or 0 for want of more.
 * -EBADMSG: none that we take. */
int etcd_grpc_unframe(const char *p, size_t n, struct slice *ret, size_t *ret_taken) must_check;

/* What the answer's headers and trailers say: on_header and header_arg of an http_request. */
struct etcd_grpc_outcome {
	int64_t code; /* -1: not said */
	char message[300];
};
void etcd_grpc_on_header(struct slice name, struct slice value, void *outcome);
/* Headers of a request; token: "" or NULL for none. Returns how many. */
size_t etcd_grpc_headers(const char *token, struct http_header headers[3]);

/* One request; ret gets the answer's message. *ret_spoken: gRPC answered, be it with an error.
 * Outcomes as of etcd.h. */
int etcd_grpc_call(struct etcd *c, const struct etcd_grpc *q, struct strbuf *ret, bool *ret_spoken,
		   struct err *e) must_check;

/* Whether gRPC is spoken at an endpoint, found out where that is not known. -ECONNREFUSED,
 * -ECANCELED: nobody is there. */
int etcd_grpc_probe(struct etcd *c, int i, int timeout_ms, bool *ret_native,
		    struct err *e) must_check;
/* It is not known any more. */
void etcd_grpc_forget(struct etcd *c, int i);

/* ---- etcd_error.c --------------------------------------------------------------------------- */

/* The outcome that an error of the gateway stands for, its text in e. doc: an object with "error",
 * or NULL if the answer was no JSON. */
int etcd_error(int http_status, const struct json *doc, struct err *e);
/* The same of gRPC's code and message. */
int etcd_meaning(int64_t code, struct slice message, struct err *e);

/* No answer, or one that says that nobody can answer. */
bool etcd_outage(int r);

/* ---- etcd_kv.c ------------------------------------------------------------------------------ */

/* prefix + key as bytes of a message, and an end as etcd.h has it; nothing for NULL. A key over
 * ETCD_KEY_MAX sets b->err. */
void etcd_put_key(struct strbuf *b, const struct etcd *c, unsigned field, struct slice key);
void etcd_put_end(struct strbuf *b, const struct etcd *c, unsigned field, const char *end);

/* Most bytes that the keys and values of these kvs (objects, or events if in_event) decode to. */
size_t etcd_kvs_bytes(const struct json *list, bool in_event);
/* Decodes one into mem, which has room for it and is not moved. */
int etcd_kv_decode(const struct etcd *c, const struct json *j, struct strbuf *mem,
		   struct etcd_kv *ret) must_check;

/* Fills a reply from response_range objects (each may be NULL: empty). */
int etcd_reply_decode(const struct etcd *c, const struct json *doc,
		      const struct json *const *ranges, size_t n_ranges, struct etcd_reply *ret,
		      struct err *e) must_check;

/* What a failure to decode is to the caller. */
int etcd_reply_decoded(int r, struct err *e) must_check;

int64_t etcd_header_revision(const struct json *doc);

/* ---- etcd_lease.c --------------------------------------------------------------------------- */

/* etcd_lease_keepalive and etcd_lease_revoke that take no longer than timeout_ms. */
int etcd_lease_keepalive_within(struct etcd *c, int64_t id, int timeout_ms, int64_t *ret_ttl_s,
				struct err *e) must_check;
int etcd_lease_revoke_within(struct etcd *c, int64_t id, int timeout_ms, struct err *e);

#endif
