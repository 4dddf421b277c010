#include "etcd_message.h"

/* ---- messages as JSON ------------------------------------------------------------------------ */

enum kind { NUMBER, INT64, UINT64, BOOL, BYTES, TEXT, MESSAGE, LIST };

/* A table ends with number 0. */
struct etcd_field {
	unsigned number;
	const char *name;
	enum kind kind;
	const struct etcd_field *message; /* of MESSAGE and LIST */
};

static const struct etcd_field range_fields[] = {
	{RANGE_KEY, "key", BYTES, NULL},
	{RANGE_END, "range_end", BYTES, NULL},
	{RANGE_LIMIT, "limit", INT64, NULL},
	{RANGE_REVISION, "revision", INT64, NULL},
	{RANGE_SERIALIZABLE, "serializable", BOOL, NULL},
	{RANGE_KEYS_ONLY, "keys_only", BOOL, NULL},
	{RANGE_COUNT_ONLY, "count_only", BOOL, NULL},
	{0},
};
static const struct etcd_field put_fields[] = {
	{PUT_KEY, "key", BYTES, NULL},
	{PUT_VALUE, "value", BYTES, NULL},
	{PUT_LEASE, "lease", INT64, NULL},
	{0},
};
static const struct etcd_field delete_fields[] = {
	{DELETE_KEY, "key", BYTES, NULL},
	{DELETE_END, "range_end", BYTES, NULL},
	{0},
};
static const struct etcd_field op_fields[] = {
	{OP_RANGE, "request_range", MESSAGE, range_fields},
	{OP_PUT, "request_put", MESSAGE, put_fields},
	{OP_DELETE, "request_delete_range", MESSAGE, delete_fields},
	{0},
};
static const struct etcd_field compare_fields[] = {
	{COMPARE_RESULT, "result", NUMBER, NULL},
	{COMPARE_TARGET, "target", NUMBER, NULL},
	{COMPARE_KEY, "key", BYTES, NULL},
	{COMPARE_CREATE_REVISION, "create_revision", INT64, NULL},
	{COMPARE_MOD_REVISION, "mod_revision", INT64, NULL},
	{COMPARE_END, "range_end", BYTES, NULL},
	{0},
};
static const struct etcd_field txn_fields[] = {
	{TXN_COMPARE, "compare", LIST, compare_fields},
	{TXN_SUCCESS, "success", LIST, op_fields},
	{TXN_FAILURE, "failure", LIST, op_fields},
	{0},
};

static const struct etcd_field create_fields[] = {
	{CREATE_KEY, "key", BYTES, NULL},
	{CREATE_END, "range_end", BYTES, NULL},
	{CREATE_START, "start_revision", INT64, NULL},
	{CREATE_PROGRESS, "progress_notify", BOOL, NULL},
	{CREATE_ID, "watch_id", INT64, NULL},
	{0},
};
static const struct etcd_field watch_fields[] = {
	{WATCH_CREATE, "create_request", MESSAGE, create_fields},
	{0},
};

static const struct etcd_field compact_fields[] = {{COMPACT_REVISION, "revision", INT64, NULL},
						   {0}};
static const struct etcd_field grant_fields[] = {
	{GRANT_TTL, "TTL", INT64, NULL},
	{GRANT_ID, "ID", INT64, NULL},
	{0},
};
static const struct etcd_field lease_fields[] = {{LEASE_ID, "ID", INT64, NULL}, {0}};
static const struct etcd_field alarm_fields[] = {
	{ALARM_ACTION, "action", NUMBER, NULL},
	{ALARM_MEMBER, "memberID", UINT64, NULL},
	{ALARM_KIND, "alarm", NUMBER, NULL},
	{0},
};
static const struct etcd_field authenticate_fields[] = {
	{AUTH_NAME, "name", TEXT, NULL},
	{AUTH_PASSWORD, "password", TEXT, NULL},
	{0},
};
static const struct etcd_field no_fields[] = {{0}};

static const struct etcd_field header_fields[] = {
	{2, "member_id", UINT64, NULL},
	{3, "revision", INT64, NULL},
	{0},
};
#define HEADER_FIELD                                                                               \
	{                                                                                          \
		1, "header", MESSAGE, header_fields                                                \
	}
static const struct etcd_field header_answer[] = {HEADER_FIELD, {0}};
static const struct etcd_field lease_answer[] = {
	HEADER_FIELD,
	{2, "ID", INT64, NULL},
	{3, "TTL", INT64, NULL},
	{0},
};
static const struct etcd_field status_answer[] = {
	HEADER_FIELD,
	{2, "version", TEXT, NULL},
	{3, "dbSize", INT64, NULL},
	{4, "leader", UINT64, NULL},
	{9, "dbSizeInUse", INT64, NULL},
	{0},
};
static const struct etcd_field member_alarm_fields[] = {
	{1, "memberID", UINT64, NULL},
	{2, "alarm", NUMBER, NULL},
	{0},
};
static const struct etcd_field alarm_answer[] = {
	HEADER_FIELD,
	{2, "alarms", LIST, member_alarm_fields},
	{0},
};
static const struct etcd_field authenticate_answer[] = {
	HEADER_FIELD,
	{2, "token", TEXT, NULL},
	{0},
};

#define RPC "/etcdserverpb."
const struct etcd_method etcd_methods[] = {
	[CALL_RANGE] = {"/v3/kv/range", RPC "KV/Range", range_fields, NULL},
	[CALL_TXN] = {"/v3/kv/txn", RPC "KV/Txn", txn_fields, NULL},
	[CALL_COMPACT] = {"/v3/kv/compaction", RPC "KV/Compact", compact_fields, header_answer},
	[CALL_WATCH] = {"/v3/watch", RPC "Watch/Watch", watch_fields, NULL},
	[CALL_GRANT] = {"/v3/lease/grant", RPC "Lease/LeaseGrant", grant_fields, lease_answer},
	[CALL_REVOKE] = {"/v3/lease/revoke", RPC "Lease/LeaseRevoke", lease_fields, header_answer},
	[CALL_KEEPALIVE] = {"/v3/lease/keepalive", RPC "Lease/LeaseKeepAlive", lease_fields,
			    lease_answer},
	[CALL_TIME_TO_LIVE] = {"/v3/lease/timetolive", RPC "Lease/LeaseTimeToLive", lease_fields,
			       lease_answer},
	[CALL_STATUS] = {"/v3/maintenance/status", RPC "Maintenance/Status", no_fields,
			 status_answer},
	[CALL_ALARM] = {"/v3/maintenance/alarm", RPC "Maintenance/Alarm", alarm_fields,
			alarm_answer},
	[CALL_DEFRAGMENT] = {"/v3/maintenance/defragment", RPC "Maintenance/Defragment", no_fields,
			     header_answer},
	[CALL_AUTHENTICATE] = {"/v3/auth/authenticate", RPC "Auth/Authenticate",
			       authenticate_fields, authenticate_answer},
};

static void add_message(struct strbuf *out, const struct etcd_field *fields, struct slice message);

static void add_value(struct strbuf *out, const struct etcd_field *f, const struct proto_field *v)
{
	switch (f->kind) {
	case NUMBER:
		strbuf_addf(out, "%lld", (long long)v->value);
		break;
	case INT64:
		strbuf_addf(out, "\"%lld\"", (long long)v->value);
		break;
	case UINT64:
		strbuf_addf(out, "\"%llu\"", (unsigned long long)v->value);
		break;
	case TEXT:
		strbuf_add_json(out, v->bytes.p, v->bytes.len);
		break;
	case BOOL:
		strbuf_adds(out, v->value ? "true" : "false");
		break;
	case BYTES:
		strbuf_addc(out, '"');
		strbuf_add_base64(out, v->bytes.p, v->bytes.len);
		strbuf_addc(out, '"');
		break;
	case MESSAGE:
	case LIST:
		add_message(out, f->message, v->bytes);
		break;
	}
}

/* Every value of one field of the message, a list where it may have several. */
static void add_field(struct strbuf *out, const struct etcd_field *f, struct slice message,
		      bool *first)
{
	struct reader r = proto_reader(message);
	struct proto_field v;
	size_t n = 0;

	while (proto_next(&r, &v)) {
		if (v.number != f->number)
			continue;
		if (n++)
			strbuf_addc(out, ',');
		else
			strbuf_addf(out, "%s\"%s\":%s", *first ? "" : ",", f->name,
				    f->kind == LIST ? "[" : "");
		*first = false;
		add_value(out, f, &v);
	}
	if (n && f->kind == LIST)
		strbuf_addc(out, ']');
}

static void add_message(struct strbuf *out, const struct etcd_field *fields, struct slice message)
{
	bool first = true;

	strbuf_addc(out, '{');
	for (const struct etcd_field *f = fields; f->number; f++)
		add_field(out, f, message, &first);
	strbuf_addc(out, '}');
}

void etcd_message_to_json(struct strbuf *out, const struct etcd_field *fields, struct slice message)
{
	add_message(out, fields, message);
}

/* ---- answers as protobuf --------------------------------------------------------------------- */

enum { HEADER = 1, HEADER_REVISION = 3 };
enum { TXN_SUCCEEDED = 2, TXN_RESPONSES = 3, RESPONSE_RANGE = 1 };
enum { RANGE_KVS = 2, RANGE_MORE = 3, RANGE_COUNT = 4 };
enum {
	ANSWER_ID = 2,
	ANSWER_CREATED = 3,
	ANSWER_CANCELED = 4,
	ANSWER_COMPACTED = 5,
	ANSWER_REASON = 6,
	ANSWER_EVENTS = 11,
};
enum { EVENT_TYPE = 1, EVENT_KV = 2, TYPE_DELETE = 1 };
enum { KV_KEY = 1, KV_CREATE = 2, KV_MOD = 3, KV_VERSION = 4, KV_VALUE = 5, KV_LEASE = 6 };

/* Where the tables of a reply are being filled. With ranges NULL, entries are only counted. */
struct filling {
	struct etcd_reply *reply;
	struct etcd_range *ranges;
	struct etcd_kv *kvs;
	size_t n_ranges, n_kvs, prefix_len;
};

static int take_header(struct etcd_reply *reply, struct slice message)
{
	struct reader r = proto_reader(message);
	struct proto_field f;

	while (proto_next(&r, &f))
		if (f.number == HEADER_REVISION)
			reply->revision = (int64_t)f.value;
	return r.err;
}

static int kv_from_proto(struct slice message, size_t prefix_len, struct etcd_kv *ret)
{
	struct reader r = proto_reader(message);
	struct etcd_kv kv = {.key = SLICE_LIT(""), .value = SLICE_LIT("")};
	struct proto_field f;

	while (proto_next(&r, &f)) {
		switch (f.number) {
		case KV_KEY:
			kv.key = f.bytes;
			break;
		case KV_CREATE:
			kv.create_rev = (int64_t)f.value;
			break;
		case KV_MOD:
			kv.mod_rev = (int64_t)f.value;
			break;
		case KV_VERSION:
			kv.version = (int64_t)f.value;
			break;
		case KV_VALUE:
			kv.value = f.bytes;
			break;
		case KV_LEASE:
			kv.lease = (int64_t)f.value;
			break;
		}
	}
	if (r.err || kv.key.len < prefix_len)
		return -EBADMSG;
	kv.key.p += prefix_len;
	kv.key.len -= prefix_len;
	*ret = kv;
	return 0;
}

static int take_kv(struct filling *t, struct slice message)
{
	size_t i = t->n_kvs++;

	return t->ranges ? kv_from_proto(message, t->prefix_len, &t->kvs[i]) : 0;
}

static int take_range(struct filling *t, struct slice message)
{
	struct etcd_range range = {.kvs = t->ranges ? t->kvs + t->n_kvs : NULL};
	size_t first = t->n_kvs;
	struct reader r = proto_reader(message);
	struct proto_field f;
	int err = 0;

	while (!err && proto_next(&r, &f)) {
		if (f.number == HEADER)
			err = take_header(t->reply, f.bytes);
		else if (f.number == RANGE_KVS)
			err = take_kv(t, f.bytes);
		else if (f.number == RANGE_MORE)
			range.more = f.value != 0;
		else if (f.number == RANGE_COUNT)
			range.count = (int64_t)f.value;
	}
	range.n = t->n_kvs - first;
	if (t->ranges)
		t->ranges[t->n_ranges] = range;
	t->n_ranges++;
	return err ? err : r.err;
}

static int take_response(struct filling *t, struct slice message)
{
	struct reader r = proto_reader(message);
	struct proto_field f;
	int err = 0;

	while (!err && proto_next(&r, &f))
		if (f.number == RESPONSE_RANGE)
			err = take_range(t, f.bytes);
	return err ? err : r.err;
}

static int take_txn(struct filling *t, struct slice message)
{
	struct slice header = {0};
	struct reader r = proto_reader(message);
	struct proto_field f;
	int err = 0;

	while (!err && proto_next(&r, &f)) {
		if (f.number == HEADER)
			header = f.bytes;
		else if (f.number == TXN_SUCCEEDED)
			t->reply->succeeded = f.value != 0;
		else if (f.number == TXN_RESPONSES)
			err = take_response(t, f.bytes);
	}
	/* The last word: ranges inside have headers too. */
	if (!err)
		err = take_header(t->reply, header);
	return err ? err : r.err;
}

/* One piece of memory: etcd_range[], etcd_kv[], the message that they point into. Read twice: to
 * count, then to fill. */
static int from_proto(int (*take)(struct filling *t, struct slice message), struct slice message,
		      size_t prefix_len, struct etcd_reply *ret)
{
	struct etcd_reply reply = {0};
	struct filling t = {.reply = &reply, .prefix_len = prefix_len};
	int err = take(&t, message);
	size_t head;
	char *copy;

	if (!err && reply.revision <= 0)
		err = -EBADMSG; /* etcd's have a header */
	if (err)
		return err;
	head = t.n_ranges * sizeof(*t.ranges) + t.n_kvs * sizeof(*t.kvs);
	reply.mem = malloc(head + message.len + 1);
	if (!reply.mem)
		return -ENOMEM;
	t.ranges = reply.mem;
	t.kvs = (struct etcd_kv *)(t.ranges + t.n_ranges);
	copy = (char *)reply.mem + head;
	if (message.len)
		memcpy(copy, message.p, message.len);
	reply.n_ranges = t.n_ranges;
	reply.ranges = t.ranges;
	t.n_ranges = t.n_kvs = 0;
	err = take(&t, (struct slice){copy, message.len});
	if (err) {
		free(reply.mem);
		return err;
	}
	*ret = reply;
	return 0;
}

int etcd_txn_from_proto(struct slice message, size_t prefix_len, struct etcd_reply *ret)
{
	return from_proto(take_txn, message, prefix_len, ret);
}

int etcd_range_from_proto(struct slice message, size_t prefix_len, struct etcd_reply *ret)
{
	return from_proto(take_range, message, prefix_len, ret);
}

/* ---- answers of a watch ---------------------------------------------------------------------- */

static int event_from_proto(struct slice message, size_t prefix_len, struct etcd_event *ret)
{
	struct slice kv = {0};
	struct reader r = proto_reader(message);
	struct proto_field f;

	ret->deleted = false;
	while (proto_next(&r, &f)) {
		if (f.number == EVENT_TYPE)
			ret->deleted = f.value == TYPE_DELETE;
		else if (f.number == EVENT_KV)
			kv = f.bytes;
	}
	return r.err ? -EBADMSG : kv_from_proto(kv, prefix_len, &ret->kv);
}

static void take_answer(struct etcd_watch_answer *a, const struct proto_field *f)
{
	switch (f->number) {
	case ANSWER_ID:
		a->watch_id = (int64_t)f->value;
		break;
	case ANSWER_CREATED:
		a->created = f->value != 0;
		break;
	case ANSWER_CANCELED:
		a->canceled = f->value != 0;
		break;
	case ANSWER_COMPACTED:
		a->compact_revision = (int64_t)f->value;
		break;
	case ANSWER_REASON:
		a->reason = f->bytes;
		break;
	}
}

int etcd_watch_from_proto(struct slice message, size_t prefix_len, struct etcd_watch_answer *ret,
			  struct etcd_event *events)
{
	struct etcd_watch_answer a = {.reason = SLICE_LIT("")};
	struct etcd_reply head = {0};
	struct reader r = proto_reader(message);
	struct proto_field f;
	int err = 0;

	while (!err && proto_next(&r, &f)) {
		if (f.number == HEADER)
			err = take_header(&head, f.bytes);
		else if (f.number != ANSWER_EVENTS)
			take_answer(&a, &f);
		else if (events)
			err = event_from_proto(f.bytes, prefix_len, &events[a.n++]);
		else
			a.n++;
	}
	if (err || r.err)
		return -EBADMSG;
	a.revision = head.revision;
	*ret = a;
	return 0;
}
