/* Protobuf, etcd's messages in it, and the gateway's JSON made of them. */
#include "../lib/hostile.h"
#include "../lib/test.h"
#include "etcd_message.h"

/* ---- the wire -------------------------------------------------------------------------------- */

TEST(a_nested_message_comes_back_with_its_fields)
{
	struct strbuf b;
	struct reader r, inner;
	struct proto_field f;
	size_t at;

	strbuf_init(&b, 1 << 20);
	at = proto_begin(&b, 2);
	proto_add_varint(&b, 1, 300);
	proto_add_bytes(&b, 64, SLICE_LIT("key"));
	proto_end(&b, at);
	proto_add_varint(&b, 3, UINT64_MAX);

	r = proto_reader((struct slice){b.s, b.len});
	CHECK(proto_next(&r, &f) && f.number == 2);
	inner = proto_reader(f.bytes);
	CHECK(proto_next(&inner, &f) && f.number == 1 && f.value == 300);
	CHECK(proto_next(&inner, &f) && f.number == 64);
	CHECK_EQ_SLICE(f.bytes, SLICE_LIT("key"));
	CHECK(!proto_next(&inner, &f) && !inner.err);
	CHECK(proto_next(&r, &f) && f.number == 3 && f.value == UINT64_MAX);
	CHECK(!proto_next(&r, &f) && !r.err);
	strbuf_release(&b);
}

static bool is_malformed(struct slice s)
{
	struct reader r = proto_reader(s);
	struct proto_field f;

	while (proto_next(&r, &f))
		;
	return r.err == -EBADMSG;
}

TEST(what_is_malformed_is_said_to_be)
{
	CHECK(is_malformed(SLICE_LIT("\x0a\x05"
				     "abc")));
	CHECK(is_malformed(SLICE_LIT("\x08\xff")));
	CHECK(is_malformed(SLICE_LIT("\x0b")));
	CHECK(is_malformed(SLICE_LIT("\x02\x00")));
	CHECK(is_malformed(SLICE_LIT("\x0d\x01\x02")));
	CHECK(!is_malformed(SLICE_LIT("\x0d\x01\x02\x03\x04\x11"
				      "12345678")));
	CHECK(!is_malformed(SLICE_LIT("")));
}

/* ---- requests -------------------------------------------------------------------------------- */

static void add_get(struct strbuf *b, unsigned branch, const char *key)
{
	size_t outer = proto_begin(b, branch), inner = proto_begin(b, OP_RANGE);

	proto_add_bytes(b, RANGE_KEY, slice_str(key));
	proto_end(b, inner);
	proto_end(b, outer);
}

TEST(a_transaction_is_what_the_gateway_wants)
{
	struct strbuf b, out;
	size_t outer, inner;

	strbuf_init(&b, 1 << 20);
	strbuf_init(&out, 1 << 20);
	outer = proto_begin(&b, TXN_COMPARE);
	proto_add_varint(&b, COMPARE_RESULT, RESULT_EQUAL);
	proto_add_varint(&b, COMPARE_TARGET, TARGET_MOD);
	proto_add_bytes(&b, COMPARE_KEY, SLICE_LIT("k"));
	proto_add_varint(&b, COMPARE_MOD_REVISION, 7);
	proto_end(&b, outer);
	outer = proto_begin(&b, TXN_SUCCESS);
	inner = proto_begin(&b, OP_PUT);
	proto_add_bytes(&b, PUT_KEY, SLICE_LIT("k"));
	proto_add_bytes(&b, PUT_VALUE, SLICE_LIT("\0\xff"));
	proto_add_varint(&b, PUT_LEASE, 9);
	proto_end(&b, inner);
	proto_end(&b, outer);
	add_get(&b, TXN_FAILURE, "a");
	add_get(&b, TXN_FAILURE, "b");

	etcd_message_to_json(&out, etcd_methods[CALL_TXN].request, (struct slice){b.s, b.len});
	CHECK_EQ_STR(out.s, "{\"compare\":[{\"result\":0,\"target\":2,\"key\":\"aw==\","
			    "\"mod_revision\":\"7\"}],"
			    "\"success\":[{\"request_put\":{\"key\":\"aw==\",\"value\":\"AP8=\","
			    "\"lease\":\"9\"}}],"
			    "\"failure\":[{\"request_range\":{\"key\":\"YQ==\"}},"
			    "{\"request_range\":{\"key\":\"Yg==\"}}]}");
	strbuf_release(&b);
	strbuf_release(&out);
}

TEST(a_range_is_what_the_gateway_wants)
{
	struct strbuf b, out;

	strbuf_init(&b, 1 << 20);
	strbuf_init(&out, 1 << 20);
	proto_add_bytes(&b, RANGE_KEY, SLICE_LIT("k"));
	proto_add_varint(&b, RANGE_LIMIT, 5);
	proto_add_varint(&b, RANGE_KEYS_ONLY, 1);
	etcd_message_to_json(&out, etcd_methods[CALL_RANGE].request, (struct slice){b.s, b.len});
	CHECK_EQ_STR(out.s, "{\"key\":\"aw==\",\"limit\":\"5\",\"keys_only\":true}");
	strbuf_release(&b);
	strbuf_release(&out);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void add_kv(struct strbuf *b, const char *key, const char *value, uint64_t mod_rev)
{
	size_t at = proto_begin(b, 2);

	proto_add_bytes(b, 1, slice_str(key));
	proto_add_varint(b, 2, mod_rev - 1);
	proto_add_varint(b, 3, mod_rev);
	proto_add_varint(b, 4, 2);
	proto_add_bytes(b, 5, slice_str(value));
	proto_add_varint(b, 6, 77);
	proto_end(b, at);
}

static void add_header(struct strbuf *b, uint64_t revision)
{
	size_t at = proto_begin(b, 1);

	proto_add_varint(b, 1, 1234567890123456789u);
	proto_add_varint(b, 3, revision);
	proto_end(b, at);
}

/* Of a get of two keys, a put, and a get of none. */
static void make_txn_answer(struct strbuf *b)
{
	size_t outer, inner;

	strbuf_init(b, 1 << 20);
	add_header(b, 42);
	proto_add_varint(b, 2, 1);
	outer = proto_begin(b, 3);
	inner = proto_begin(b, 1);
	add_header(b, 5);
	add_kv(b, "/p/a", "1", 10);
	add_kv(b, "/p/b", "", 11);
	proto_add_varint(b, 3, 1);
	proto_add_varint(b, 4, 9);
	proto_end(b, inner);
	proto_end(b, outer);
	outer = proto_begin(b, 3);
	proto_end(b, proto_begin(b, 2));
	proto_end(b, outer);
	outer = proto_begin(b, 3);
	proto_end(b, proto_begin(b, 1));
	proto_end(b, outer);
}

TEST(the_ranges_of_a_transaction_come_in_their_order_without_prefix)
{
	struct etcd_reply reply = {0};
	const struct etcd_range *a;
	struct strbuf b;

	make_txn_answer(&b);
	CHECK_EQ_INT(etcd_txn_from_proto((struct slice){b.s, b.len}, 2, &reply), 0);
	strbuf_release(&b); /* the reply has its own */
	CHECK_EQ_INT(reply.revision, 42);
	CHECK(reply.succeeded);
	CHECK_EQ_INT(reply.n_ranges, 2);
	a = &reply.ranges[0];
	CHECK_EQ_INT(a->n, 2);
	CHECK_EQ_INT(a->count, 9);
	CHECK(a->more);
	CHECK_EQ_SLICE(a->kvs[0].key, SLICE_LIT("/a"));
	CHECK_EQ_SLICE(a->kvs[0].value, SLICE_LIT("1"));
	CHECK_EQ_INT(a->kvs[0].create_rev, 9);
	CHECK_EQ_INT(a->kvs[0].mod_rev, 10);
	CHECK_EQ_INT(a->kvs[0].version, 2);
	CHECK_EQ_INT(a->kvs[0].lease, 77);
	CHECK_EQ_SLICE(a->kvs[1].key, SLICE_LIT("/b"));
	CHECK_EQ_SLICE(a->kvs[1].value, SLICE_LIT(""));
	CHECK_EQ_INT(reply.ranges[1].n, 0);
	etcd_reply_release(&reply);
}

TEST(a_key_shorter_than_the_prefix_is_no_answer_to_us)
{
	struct etcd_reply reply = {0};
	struct strbuf b;

	make_txn_answer(&b);
	CHECK_EQ_INT(etcd_txn_from_proto((struct slice){b.s, b.len}, 5, &reply), -EBADMSG);
	strbuf_release(&b);
}

TEST(what_has_no_header_is_no_answer_of_etcd)
{
	struct etcd_reply reply = {0};

	CHECK_EQ_INT(etcd_txn_from_proto(SLICE_LIT(""), 0, &reply), -EBADMSG);
	CHECK_EQ_INT(etcd_range_from_proto(SLICE_LIT(""), 0, &reply), -EBADMSG);
}

static void decode(const uint8_t *p, size_t n, size_t at, void *arg)
{
	struct slice message = {(const char *)p, n};
	struct etcd_reply reply = {0};

	if (!etcd_txn_from_proto(message, 2, &reply))
		etcd_reply_release(&reply);
	if (!etcd_range_from_proto(message, 0, &reply))
		etcd_reply_release(&reply);
}

TEST(any_bytes_are_survived)
{
	struct rng g = {7};
	struct strbuf b;

	make_txn_answer(&b);
	hostile_truncations(b.s, b.len, decode, NULL);
	hostile_flips(b.s, b.len, decode, NULL);
	hostile_bytes(&g, 20000, 80, decode, NULL);
	strbuf_release(&b);
}

/* ---- watches --------------------------------------------------------------------------------- */

TEST(a_watch_is_what_the_gateway_wants)
{
	struct strbuf b, out;
	size_t at;

	strbuf_init(&b, 1 << 20);
	strbuf_init(&out, 1 << 20);
	at = proto_begin(&b, WATCH_CREATE);
	proto_add_bytes(&b, CREATE_KEY, SLICE_LIT("k"));
	proto_add_bytes(&b, CREATE_END, SLICE_LIT("l"));
	proto_add_varint(&b, CREATE_START, 8);
	proto_add_varint(&b, CREATE_PROGRESS, 1);
	proto_add_varint(&b, CREATE_ID, 2);
	proto_end(&b, at);
	etcd_message_to_json(&out, etcd_methods[CALL_WATCH].request, (struct slice){b.s, b.len});
	CHECK_EQ_STR(out.s, "{\"create_request\":{\"key\":\"aw==\",\"range_end\":\"bA==\","
			    "\"start_revision\":\"8\",\"progress_notify\":true,"
			    "\"watch_id\":\"2\"}}");
	strbuf_release(&b);
	strbuf_release(&out);
}

static void add_event(struct strbuf *b, bool deleted, const char *key, uint64_t mod_rev)
{
	size_t at = proto_begin(b, 11);

	if (deleted)
		proto_add_varint(b, 1, 1);
	add_kv(b, key, "v", mod_rev);
	proto_end(b, at);
}

TEST(the_events_of_a_watch_come_in_their_order_without_prefix)
{
	struct etcd_watch_answer a;
	struct etcd_event events[2];
	struct strbuf b;

	strbuf_init(&b, 1 << 20);
	add_header(&b, 42);
	proto_add_varint(&b, 2, 3);
	add_event(&b, false, "/p/a", 40);
	add_event(&b, true, "/p/b", 41);
	CHECK_EQ_INT(etcd_watch_from_proto((struct slice){b.s, b.len}, 2, &a, NULL), 0);
	CHECK_EQ_INT(a.n, 2);
	CHECK_EQ_INT(a.revision, 42);
	CHECK_EQ_INT(a.watch_id, 3);
	CHECK(!a.created && !a.canceled);
	CHECK_EQ_INT(etcd_watch_from_proto((struct slice){b.s, b.len}, 2, &a, events), 0);
	CHECK(!events[0].deleted && slice_eq(events[0].kv.key, SLICE_LIT("/a")));
	CHECK(slice_eq(events[0].kv.value, SLICE_LIT("v")));
	CHECK_EQ_INT(events[0].kv.mod_rev, 40);
	CHECK(events[1].deleted && slice_eq(events[1].kv.key, SLICE_LIT("/b")));
	/* a key that is shorter than the prefix; and every cut */
	CHECK_EQ_INT(etcd_watch_from_proto((struct slice){b.s, b.len}, 5, &a, events), -EBADMSG);
	for (size_t n = 0; n < b.len; n++) {
		char *copy = memcpy(xmalloc(n + 1), b.s, n);
		int r = etcd_watch_from_proto((struct slice){copy, n}, 2, &a, events);

		CHECK(r == 0 || r == -EBADMSG);
		free(copy);
	}
	strbuf_release(&b);
}

TEST(a_canceled_watch_says_why)
{
	struct etcd_watch_answer a;
	struct strbuf b;

	strbuf_init(&b, 1 << 20);
	proto_add_varint(&b, 4, 1);
	proto_add_varint(&b, 5, 99);
	proto_add_bytes(&b, 6, SLICE_LIT("why"));
	CHECK_EQ_INT(etcd_watch_from_proto((struct slice){b.s, b.len}, 0, &a, NULL), 0);
	CHECK(a.canceled && a.compact_revision == 99 && slice_eq(a.reason, SLICE_LIT("why")));
	strbuf_release(&b);
}
