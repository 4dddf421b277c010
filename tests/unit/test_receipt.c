#include "../lib/stage.h"
#include "../lib/test.h"
#include "receipt.h"

static struct err e;

static const struct receipt sample = {
	.content = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	.batch_size = 8192,
	.segment_s = 3600,
	.done = 17,
	.published = 4711,
	.messages = 17,
	.duplicate = 99,
};

static struct strbuf encoded(const struct receipt *r)
{
	struct strbuf text;

	strbuf_init(&text, RECEIPT_TEXT_MAX);
	receipt_encode(&text, r);
	CHECK_EQ_INT(text.err, 0);
	return text;
}

TEST(a_receipt_comes_back)
{
	struct receipt r = sample, got = {.id = {1, 2, 3}};
	struct strbuf text;
	struct etcd_kv kv = {.mod_rev = 5};

	r.complete = true;
	text = encoded(&r);
	kv.value = (struct slice){text.s, text.len};
	CHECK_EQ_INT(receipt_decode(&kv, &got, &e), 0);
	CHECK_EQ_STR(got.content, r.content);
	CHECK(got.id[2] == 3 && got.mod_rev == 5 && got.complete);
	CHECK(got.batch_size == 8192 && got.segment_s == 3600 && got.done == 17);
	CHECK(got.published == 4711 && got.messages == 17 && got.duplicate == 99);
	strbuf_release(&text);
}

TEST(what_is_no_receipt_is_told)
{
	static const char *const bad[] = {
		"", "[]", "{\"v\":2}", "01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"{\"v\":1,\"content\":\"00\",\"batch_size\":1,\"segment_s\":60,\"done\":0,"
		"\"published\":0,\"duplicate\":0,\"messages\":0}"};
	struct receipt got = sample;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct etcd_kv kv = {.value = slice_str(bad[i])};

		CHECK_EQ_INT(receipt_decode(&kv, &got, &e), -EBADMSG);
	}
	CHECK_EQ_INT(got.done, 17);
}

TEST(another_attempt_counts_what_the_ones_before_did)
{
	struct receipt r = sample;

	receipt_resume(&r);
	CHECK(r.duplicate == 4810 && r.published == 0 && r.messages == 0 && r.done == 17);
}

static struct producer open_source(struct etcd *c, const char *name)
{
	struct producer p = {.epoch = 0};

	strcpy(p.source, name);
	CHECK_EQ_INT(queue_open_producer(c, &p, &e), 0);
	return p;
}

TEST(messages_and_their_receipt_go_together_or_not_at_all)
{
	struct etcd *c = stage_open();
	struct producer a = open_source(c, "a"), b = open_source(c, "b");
	struct receipt rc = sample;
	struct strbuf text = encoded(&rc);
	struct rider one = {.key = key_processed(rc.id), .value = {text.s, text.len}}, two = one;
	struct outgoing m[2] = {stage_message("h", SLICE_LIT("x")),
				stage_message("h", SLICE_LIT("y"))};

	CHECK_EQ_INT(receipt_read(c, &rc, &e), -ENOENT);
	CHECK_EQ_INT(queue_publish_with(c, &a, &a, &m[0], 1, &one, &e), 0);
	CHECK_EQ_INT(one.rev, a.mod_rev);
	CHECK_EQ_INT(stage_count(c, KEY_QUEUE), 1);
	CHECK_EQ_INT(receipt_read(c, &rc, &e), 0);
	CHECK_EQ_INT(rc.mod_rev, one.rev);
	CHECK_EQ_INT(queue_publish_with(c, &b, &b, &m[1], 1, &two, &e), -EALREADY);
	CHECK_EQ_INT(stage_count(c, KEY_QUEUE), 1);
	CHECK_EQ_INT(b.sequence, 0);
	two.rev = one.rev;
	CHECK_EQ_INT(queue_publish_with(c, &b, &b, &m[1], 1, &two, &e), 0);
	CHECK_EQ_INT(queue_publish_with(c, &a, &a, NULL, 0, &one, &e), -EALREADY);
	CHECK_EQ_INT(stage_count(c, KEY_QUEUE), 2);
	stage_message_release(&m[0]);
	stage_message_release(&m[1]);
	strbuf_release(&text);
	etcd_close(c);
}

TEST(a_receipt_needs_its_lease)
{
	struct etcd *c = stage_open();
	struct producer p = open_source(c, "s");
	struct rider also = {
		.key = key_processed(sample.id), .value = SLICE_LIT("{}"), .lease = 77};

	CHECK_EQ_INT(queue_publish_with(c, &p, &p, NULL, 0, &also, &e), -ENOENT);
	CHECK_EQ_INT(etcd_lease_grant(c, 77, 60, NULL, &e), 0);
	CHECK_EQ_INT(queue_publish_with(c, &p, &p, NULL, 0, &also, &e), 0);
	etcd_close(c);
}
