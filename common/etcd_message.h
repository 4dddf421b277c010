/* etcd's messages on both ways to it: as protobuf, which is how requests are built, and as the
 * JSON of the gateway, into which they are translated where only that is there. Field numbers and
 * names are those of etcd's rpc.proto and kv.proto. Nobody but the client includes this. */
#ifndef GPUTEL_ETCD_MESSAGE_H
#define GPUTEL_ETCD_MESSAGE_H

#include "etcd.h"
#include "proto.h"

enum { TXN_COMPARE = 1, TXN_SUCCESS = 2, TXN_FAILURE = 3 };
enum { OP_RANGE = 1, OP_PUT = 2, OP_DELETE = 3 };
enum {
	RANGE_KEY = 1,
	RANGE_END = 2,
	RANGE_LIMIT = 3,
	RANGE_REVISION = 4,
	RANGE_SERIALIZABLE = 7,
	RANGE_KEYS_ONLY = 8,
	RANGE_COUNT_ONLY = 9,
};
enum { PUT_KEY = 1, PUT_VALUE = 2, PUT_LEASE = 3 };
enum { DELETE_KEY = 1, DELETE_END = 2 };
enum {
	COMPARE_RESULT = 1,
	COMPARE_TARGET = 2,
	COMPARE_KEY = 3,
	COMPARE_CREATE_REVISION = 5,
	COMPARE_MOD_REVISION = 6,
	COMPARE_END = 64,
};
enum { WATCH_CREATE = 1 };
enum { CREATE_KEY = 1, CREATE_END = 2, CREATE_START = 3, CREATE_PROGRESS = 4, CREATE_ID = 7 };
enum { COMPACT_REVISION = 1 };
enum { GRANT_TTL = 1, GRANT_ID = 2, LEASE_ID = 1 };
enum { ALARM_ACTION = 1, ALARM_MEMBER = 2, ALARM_KIND = 3 };
enum { ALARM_GET = 0, ALARM_DEACTIVATE = 2, ALARM_NOSPACE = 1 };
enum { AUTH_NAME = 1, AUTH_PASSWORD = 2 };
enum { RESULT_EQUAL = 0, RESULT_LESS = 2 };
enum { TARGET_CREATE = 1, TARGET_MOD = 2 };

/* What etcd can be asked. */
enum etcd_call {
	CALL_RANGE,
	CALL_TXN,
	CALL_COMPACT,
	CALL_WATCH,
	CALL_GRANT,
	CALL_REVOKE,
	CALL_KEEPALIVE,
	CALL_TIME_TO_LIVE,
	CALL_STATUS,
	CALL_ALARM,
	CALL_DEFRAGMENT,
	CALL_AUTHENTICATE,
};

struct etcd_field; /* one field of a message */
struct etcd_method {
	const char *path;   /* of the gateway */
	const char *method; /* of gRPC */
	const struct etcd_field *request;
	const struct etcd_field *answer; /* NULL: it has a decoder below */
};
extern const struct etcd_method etcd_methods[];

/* Appends a message, which is one of ours or etcd's, as the gateway has it. */
void etcd_message_to_json(struct strbuf *out, const struct etcd_field *fields,
			  struct slice message);

/* Fills a reply from a TxnResponse, or RangeResponse: its ranges in their order, prefix_len bytes
 * taken off each key. Survives any bytes; -EBADMSG. */
int etcd_txn_from_proto(struct slice message, size_t prefix_len, struct etcd_reply *ret) must_check;
int etcd_range_from_proto(struct slice message, size_t prefix_len,
			  struct etcd_reply *ret) must_check;

struct etcd_watch_answer {
	int64_t watch_id, revision, compact_revision;
	bool created, canceled;
	struct slice reason; /* of canceled; borrowed */
	size_t n;            /* events */
};

/* Reads a WatchResponse. Its events, which borrow from it, go to events, or are only counted
 * (NULL). Survives any bytes; -EBADMSG. */
int etcd_watch_from_proto(struct slice message, size_t prefix_len, struct etcd_watch_answer *ret,
			  struct etcd_event *events) must_check;

#endif
