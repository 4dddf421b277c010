/* What is known of a request that may be sent again and is to be carried out once (the bridge's
 * Idempotency-Key). JSON at /processed/{id}, under a lease of MQ_DEDUP_TTL:
 *	{"v":1,"content":"SHA-256 in hex","batch_size":8192,"segment_s":3600,"done":40,
 *	 "complete":false,"published":960000,"duplicate":0,"messages":40}
 * where id is the SHA-256 of who asks and of the key that they chose.
 *
 * Invariant: the rows of the request's window are cut into messages with batch_size and segment_s
 * (window.h), and of these exactly the first `done` are accepted: each transaction that enqueues
 * some of them moves `done` on, or does not happen. So whoever gets the request again, and by
 * whichever source it publishes, goes on behind them. */
#ifndef GPUTEL_RECEIPT_H
#define GPUTEL_RECEIPT_H

#include "digest.h"
#include "etcd.h"

#define RECEIPT_TEXT_MAX 1024

struct receipt {
	uint8_t id[SHA256_LEN];
	int64_t mod_rev;                  /* 0: there is none yet */
	char content[2 * SHA256_LEN + 1]; /* knows the request again */
	int64_t batch_size, segment_s, done;
	bool complete;
	/* Rows and messages that the last attempt enqueued, and rows of those before it. */
	int64_t published, messages, duplicate;
};

void receipt_encode(struct strbuf *out, const struct receipt *r);
/* Fills *ret but for its id. -EBADMSG with the reason in e. */
int receipt_decode(const struct etcd_kv *kv, struct receipt *ret, struct err *e) must_check;
/* Reads what stands under ret->id. -ENOENT: nothing does. */
int receipt_read(struct etcd *c, struct receipt *ret, struct err *e) must_check;
/* Another attempt at what is not complete begins. */
void receipt_resume(struct receipt *r);

#endif
