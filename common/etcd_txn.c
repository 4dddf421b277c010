#include "etcd_internal.h"
#include "failpoint.h"

#define LIST_MAX      (3 << 20) /* ceiling of each list: more than ETCD_TXN_BYTES */
#define OP_OVERHEAD   32        /* at most, in etcd's encoding */
#define RETRY_BASE_MS 50
#define RETRY_MAX_MS  3000

/* ---- building ------------------------------------------------------------------------------- */

void etcd_txn_init(struct etcd_txn *t, struct etcd *c, const char *name)
{
	*t = (struct etcd_txn){.client = c, .name = name};
	strbuf_init(&t->compare, LIST_MAX);
	strbuf_init(&t->then, LIST_MAX);
	strbuf_init(&t->orelse, LIST_MAX);
}

void etcd_txn_reset(struct etcd_txn *t)
{
	strbuf_reset(&t->compare);
	strbuf_reset(&t->then);
	strbuf_reset(&t->orelse);
	t->n_compare = t->n_then = t->n_else = t->n_gets = 0;
	t->bytes = 0;
}

void etcd_txn_release(struct etcd_txn *t)
{
	strbuf_release(&t->compare);
	strbuf_release(&t->then);
	strbuf_release(&t->orelse);
	etcd_txn_reset(t);
}

static void count(struct etcd_txn *t, const char *key, const char *end)
{
	t->bytes += t->client->prefix_len + strlen(key) + OP_OVERHEAD;
	if (end)
		t->bytes += t->client->prefix_len + strlen(end);
}

static void add_compare(struct etcd_txn *t, const char *key, const char *end, uint64_t result,
			uint64_t target, unsigned field, int64_t rev)
{
	size_t at = proto_begin(&t->compare, TXN_COMPARE);

	proto_add_varint(&t->compare, COMPARE_RESULT, result);
	proto_add_varint(&t->compare, COMPARE_TARGET, target);
	etcd_put_key(&t->compare, t->client, COMPARE_KEY, slice_str(key));
	proto_add_varint(&t->compare, field, (uint64_t)rev);
	etcd_put_end(&t->compare, t->client, COMPARE_END, end);
	proto_end(&t->compare, at);
	t->n_compare++;
	count(t, key, end);
}

void etcd_if_mod(struct etcd_txn *t, const char *key, int64_t rev)
{
	add_compare(t, key, NULL, RESULT_EQUAL, TARGET_MOD, COMPARE_MOD_REVISION, rev);
}

void etcd_if_create(struct etcd_txn *t, const char *key, int64_t rev)
{
	add_compare(t, key, NULL, RESULT_EQUAL, TARGET_CREATE, COMPARE_CREATE_REVISION, rev);
}

void etcd_if_range_mod_below(struct etcd_txn *t, const char *key, const char *end, int64_t rev)
{
	add_compare(t, key, end, RESULT_LESS, TARGET_MOD, COMPARE_MOD_REVISION, rev);
}

/* An operation between the two: a message in a message. */
struct op {
	size_t outer, inner;
};

static struct op op_begin(struct strbuf *list, unsigned branch, unsigned op)
{
	size_t outer = proto_begin(list, branch);

	return (struct op){outer, proto_begin(list, op)};
}

static void op_end(struct strbuf *list, struct op op)
{
	proto_end(list, op.inner);
	proto_end(list, op.outer);
}

void etcd_then_put(struct etcd_txn *t, const char *key, struct slice value, int64_t lease)
{
	struct op op = op_begin(&t->then, TXN_SUCCESS, OP_PUT);

	etcd_put_key(&t->then, t->client, PUT_KEY, slice_str(key));
	proto_add_bytes(&t->then, PUT_VALUE, value);
	if (lease)
		proto_add_varint(&t->then, PUT_LEASE, (uint64_t)lease);
	op_end(&t->then, op);
	t->n_then++;
	count(t, key, NULL);
	t->bytes += value.len;
}

static void add_op(struct etcd_txn *t, struct strbuf *list, unsigned branch, unsigned op,
		   const char *key, const char *end, bool only_count)
{
	struct op at = op_begin(list, branch, op);

	/* RANGE_KEY and RANGE_END are DELETE_KEY and DELETE_END too. */
	etcd_put_key(list, t->client, RANGE_KEY, slice_str(key));
	etcd_put_end(list, t->client, RANGE_END, end);
	if (only_count)
		proto_add_varint(list, RANGE_COUNT_ONLY, 1);
	op_end(list, at);
	count(t, key, end);
}

void etcd_then_delete(struct etcd_txn *t, const char *key, const char *end)
{
	add_op(t, &t->then, TXN_SUCCESS, OP_DELETE, key, end, false);
	t->n_then++;
}

void etcd_then_get(struct etcd_txn *t, const char *key, const char *end)
{
	add_op(t, &t->then, TXN_SUCCESS, OP_RANGE, key, end, false);
	t->n_then++;
	t->n_gets++;
}

void etcd_then_count(struct etcd_txn *t, const char *key, const char *end)
{
	add_op(t, &t->then, TXN_SUCCESS, OP_RANGE, key, end, true);
	t->n_then++;
	t->n_gets++;
}

void etcd_then_append(struct etcd_txn *t, const struct etcd_txn *from)
{
	strbuf_add(&t->then, from->then.s, from->then.len);
	if (from->then.err && !t->then.err)
		t->then.err = from->then.err;
	t->n_then += from->n_then;
	t->n_gets += from->n_gets;
	t->bytes += from->bytes;
}

void etcd_else_get(struct etcd_txn *t, const char *key, const char *end)
{
	add_op(t, &t->orelse, TXN_FAILURE, OP_RANGE, key, end, false);
	t->n_else++;
}

/* ---- sending -------------------------------------------------------------------------------- */

static int txn_check(const struct etcd_txn *t, struct err *e)
{
	if (MAX(MAX(t->n_compare, t->n_then), t->n_else) > ETCD_TXN_OPS)
		return err_set(e, -E2BIG,
			       "transaction of %d compares and %d or %d operations, "
			       "etcd takes %d",
			       t->n_compare, t->n_then, t->n_else, ETCD_TXN_OPS);
	if (t->bytes > ETCD_TXN_BYTES || t->compare.err || t->then.err || t->orelse.err)
		return err_set(e, -E2BIG,
			       "transaction of %zu bytes, or a key of over %d; etcd "
			       "takes %d",
			       t->bytes, ETCD_KEY_MAX, ETCD_TXN_BYTES);
	return 0;
}

static int txn_body(const struct etcd_txn *t, struct strbuf *b, struct err *e)
{
	int r = txn_check(t, e);

	if (r)
		return r;
	strbuf_add(b, t->compare.s, t->compare.len);
	strbuf_add(b, t->then.s, t->then.len);
	strbuf_add(b, t->orelse.s, t->orelse.len);
	return b->err ? err_set(e, b->err, "no memory for a transaction") : 0;
}

static int txn_decode(const struct etcd *c, const struct json *doc, struct etcd_reply *ret,
		      struct err *e)
{
	const struct json *list = json_get(doc, "responses"), *ranges[ETCD_TXN_OPS];
	size_t n = MIN(json_count(list), (size_t)ETCD_TXN_OPS), n_ranges = 0;

	for (size_t i = 0; i < n; i++) {
		const struct json *range = json_get(json_at(list, i), "response_range");

		if (range)
			ranges[n_ranges++] = range;
	}
	return etcd_reply_decode(c, doc, ranges, n_ranges, ret, e);
}

/* That there is a range for each get, which callers count on. */
static int txn_answered(const struct etcd_txn *t, struct etcd_reply *ret, struct err *e)
{
	if (ret->n_ranges == (size_t)(ret->succeeded ? t->n_gets : t->n_else))
		return 0;
	etcd_reply_release(ret);
	return err_set(e, -EIO, "etcd: an answer to another transaction");
}

static int txn_call(const struct etcd_txn *t, const struct strbuf *body, struct etcd_reply *ret,
		    struct err *e)
{
	struct etcd *c = t->client;
	struct etcd_request q = {
		.call = CALL_TXN, .message = {body->s, body->len}, .kind = t->name};
	struct etcd_answer answer;
	int r = etcd_call_kv(c, &q, &answer, e);

	if (r)
		return r;
	if (answer.doc)
		r = txn_decode(c, answer.doc, ret, e);
	else
		r = etcd_reply_decoded(
			etcd_txn_from_proto((struct slice){answer.message.s, answer.message.len},
					    c->prefix_len, ret),
			e);
	etcd_answer_release(&answer);
	return r ? r : txn_answered(t, ret, e);
}

int etcd_txn_send(struct etcd_txn *t, struct etcd_reply *ret, struct err *e)
{
	struct strbuf body;
	int r;

	strbuf_init(&body, 3 * LIST_MAX);
	r = txn_body(t, &body, e);
	if (!r)
		r = txn_call(t, &body, ret, e);
	strbuf_release(&body);
	return r;
}

int etcd_txn_settle(struct etcd_txn *t, struct etcd_reply *ret, bool *ret_resent, struct err *e)
{
	struct backoff backoff = {0};
	bool maybe_done = false;
	struct strbuf body;
	int r;

	strbuf_init(&body, 3 * LIST_MAX);
	r = txn_body(t, &body, e);
	while (!r) {
		if (ret_resent)
			*ret_resent = maybe_done;
		failpoint(t->name, "send");
		r = txn_call(t, &body, ret, e);
		failpoint(t->name, "receive");
		if (!etcd_transient(r))
			break;
		maybe_done |= etcd_unknown(r);
		r = etcd_sleep_ms(t->client, backoff_next_ms(&backoff, RETRY_BASE_MS, RETRY_MAX_MS))
			    ? err_set(e, -ECANCELED, "%s", strerror(ECANCELED))
			    : 0;
	}
	strbuf_release(&body);
	return r;
}
