#include "etcd_internal.h"
#include "failpoint.h"

#define LIST_MAX      (3 << 20) /* ceiling of each list: ETCD_TXN_BYTES in base64, and fields */
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
	t->n_compare = t->n_then = t->n_else = 0;
	t->bytes = 0;
}

void etcd_txn_release(struct etcd_txn *t)
{
	strbuf_release(&t->compare);
	strbuf_release(&t->then);
	strbuf_release(&t->orelse);
	etcd_txn_reset(t);
}

/* Starts a list item: {…"key":"…"[,"range_end":"…"] */
static void item_begin(struct etcd_txn *t, struct strbuf *list, int *n, const char *open,
		       const char *key, const char *end)
{
	if ((*n)++)
		strbuf_addc(list, ',');
	strbuf_adds(list, open);
	etcd_add_key(list, t->client, "key", slice_str(key));
	etcd_add_end(list, t->client, end);
	t->bytes += t->client->prefix_len + strlen(key) + OP_OVERHEAD;
	if (end)
		t->bytes += t->client->prefix_len + strlen(end);
}

static void add_compare(struct etcd_txn *t, const char *key, const char *end, const char *result,
			const char *target, const char *field, int64_t rev)
{
	item_begin(t, &t->compare, &t->n_compare, "{", key, end);
	strbuf_addf(&t->compare, ",\"result\":\"%s\",\"target\":\"%s\",\"%s\":\"%lld\"}", result,
		    target, field, (long long)rev);
}

void etcd_if_mod(struct etcd_txn *t, const char *key, int64_t rev)
{
	add_compare(t, key, NULL, "EQUAL", "MOD", "mod_revision", rev);
}

void etcd_if_create(struct etcd_txn *t, const char *key, int64_t rev)
{
	add_compare(t, key, NULL, "EQUAL", "CREATE", "create_revision", rev);
}

void etcd_if_range_mod_below(struct etcd_txn *t, const char *key, const char *end, int64_t rev)
{
	add_compare(t, key, end, "LESS", "MOD", "mod_revision", rev);
}

void etcd_then_put(struct etcd_txn *t, const char *key, struct slice value, int64_t lease)
{
	item_begin(t, &t->then, &t->n_then, "{\"request_put\":{", key, NULL);
	strbuf_adds(&t->then, ",\"value\":\"");
	strbuf_add_base64(&t->then, value.p, value.len);
	strbuf_addf(&t->then, "\",\"lease\":\"%lld\"}}", (long long)lease);
	t->bytes += value.len;
}

void etcd_then_delete(struct etcd_txn *t, const char *key, const char *end)
{
	item_begin(t, &t->then, &t->n_then, "{\"request_delete_range\":{", key, end);
	strbuf_adds(&t->then, "}}");
}

void etcd_then_get(struct etcd_txn *t, const char *key, const char *end)
{
	item_begin(t, &t->then, &t->n_then, "{\"request_range\":{", key, end);
	strbuf_adds(&t->then, "}}");
}

void etcd_else_get(struct etcd_txn *t, const char *key, const char *end)
{
	item_begin(t, &t->orelse, &t->n_else, "{\"request_range\":{", key, end);
	strbuf_adds(&t->orelse, "}}");
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
	strbuf_adds(b, "{\"compare\":[");
	strbuf_add(b, t->compare.s, t->compare.len);
	strbuf_adds(b, "],\"success\":[");
	strbuf_add(b, t->then.s, t->then.len);
	strbuf_adds(b, "],\"failure\":[");
	strbuf_add(b, t->orelse.s, t->orelse.len);
	strbuf_adds(b, "]}");
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

static int txn_call(struct etcd *c, const struct strbuf *body, struct etcd_reply *ret,
		    struct err *e)
{
	struct etcd_request q = {.path = "/v3/kv/txn", .body = {body->s, body->len}};
	struct json *doc = NULL;
	int r = etcd_call(c, &q, &doc, NULL, e);

	if (r)
		return r;
	r = txn_decode(c, doc, ret, e);
	json_free(doc);
	return r;
}

int etcd_txn_send(struct etcd_txn *t, struct etcd_reply *ret, struct err *e)
{
	struct strbuf body;
	int r;

	strbuf_init(&body, 3 * LIST_MAX);
	r = txn_body(t, &body, e);
	if (!r)
		r = txn_call(t->client, &body, ret, e);
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
		r = txn_call(t->client, &body, ret, e);
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
