#include "../lib/hostile.h"
#include "../lib/test.h"
#include "producer.h"

#include <stdio.h>

#define SOURCE "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

static int64_t number(struct rng *g)
{
	return (int64_t)(rng_next(g) >> (1 + rng_below(g, 63)));
}

static struct producer random_producer(struct rng *g)
{
	struct producer p = {.source = SOURCE,
			     .mod_rev = 77,
			     .epoch = number(g),
			     .sequence = number(g),
			     .pass = number(g),
			     .offset = number(g) / 2,
			     .line = 1 + number(g) / 2,
			     .window_done = number(g),
			     .batch_size = 1 + (int64_t)rng_below(g, 8192),
			     .segment_s = 60 + (int64_t)rng_below(g, 86341),
			     .prefix_len = number(g),
			     .messages = number(g),
			     .rows = number(g),
			     .leases = {number(g), number(g)},
			     .lease_keys = number(g),
			     .throttle_rate = (double)rng_below(g, 9) / 8,
			     .updated_ns = number(g)};
	struct slice name = hostile_name(g), print = hostile_name(g);

	memcpy(p.name, name.p, name.len);
	if (rng_one_in(g, 2))
		p.window_end = p.offset + 1 + number(g) / 2;
	if (print.len < sizeof(p.fingerprint))
		memcpy(p.fingerprint, print.p, print.len);
	return p;
}

static struct strbuf encoded(const struct producer *p)
{
	struct strbuf out;

	strbuf_init(&out, 1 << 16);
	producer_encode(&out, p);
	CHECK_EQ_INT(out.err, 0);
	return out;
}

static int decode(const void *json, size_t n, struct producer *ret, struct err *e)
{
	struct etcd_kv kv = {.value = {json, n}, .mod_rev = 77};

	return producer_decode(SOURCE, &kv, ret, e);
}

TEST(any_producer_comes_back)
{
	struct rng g = {1};

	for (int round = 0; round < 1000; round++) {
		struct producer p = random_producer(&g), got;
		struct strbuf out = encoded(&p);
		struct err e;

		memset(&got, 0xff, sizeof(got));
		if (CHECK_EQ_INT(decode(out.s, out.len, &got, &e), 0)) {
			CHECK_EQ_STR(got.name, p.name);
			CHECK_EQ_STR(got.fingerprint, p.fingerprint);
			CHECK(!memcmp(&got.epoch, &p.epoch,
				      offsetof(struct producer, fingerprint) -
					      offsetof(struct producer, epoch)));
			CHECK(!memcmp(&got.messages, &p.messages,
				      sizeof(p) - offsetof(struct producer, messages)));
			CHECK_EQ_STR(got.source, SOURCE);
			CHECK_EQ_INT(got.mod_rev, 77);
		}
		strbuf_release(&out);
	}
}

TEST(a_long_name_is_cut_and_goes_on_coming_back)
{
	struct producer p = {.source = SOURCE}, got = {0};
	char name[600], json[900];
	struct strbuf out;

	memset(name, 0xc3, sizeof(name));
	for (size_t i = 1; i < sizeof(name); i += 2)
		name[i] = (char)0xa9;
	name[sizeof(name) - 2] = '\0';
	snprintf(json, sizeof(json),
		 "{\"v\":1,\"name\":\"%s\",\"epoch\":1,\"sequence\":0,\"pass\":0,\"offset\":0}",
		 name);
	CHECK_EQ_INT(decode(json, strlen(json), &p, NULL), 0);
	CHECK_EQ_INT(strlen(p.name), sizeof(p.name) - 1);
	for (int i = 0; i < 3; i++) {
		out = encoded(&p);
		CHECK_EQ_INT(decode(out.s, out.len, &got, NULL), 0);
		CHECK(strlen(got.name) < sizeof(got.name) && !strncmp(got.name, name, 254));
		p = got;
		strbuf_release(&out);
	}
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void check(const char *fields, int want)
{
	struct producer untouched = {.epoch = 4711}, p = untouched;
	struct err e = {""};
	char json[600];
	int r;

	snprintf(json, sizeof(json), "{%s}", fields);
	r = decode(json, strlen(json), &p, &e);
	test_check(r == want, __FILE__, __LINE__, "%s: %d", json, r);
	if (r) {
		CHECK(!memcmp(&p, &untouched, sizeof(p)));
		CHECK(!strncmp(e.text, "producer " SOURCE ": ", 11 + strlen(SOURCE)));
	}
}

#define GOOD "\"v\":1,\"epoch\":3,\"sequence\":2,\"pass\":0,\"offset\":100"

TEST(a_record_that_cannot_be_is_refused)
{
	check(GOOD, 0);
	check("\"epoch\":3,\"sequence\":2,\"pass\":0,\"offset\":100", -EBADMSG);
	check("\"v\":2,\"epoch\":3,\"sequence\":2,\"pass\":0,\"offset\":100", -EBADMSG);
	check("\"v\":1,\"sequence\":2,\"pass\":0,\"offset\":100", -EBADMSG);
	check("\"v\":1,\"epoch\":3,\"pass\":0,\"offset\":100", -EBADMSG);
	check("\"v\":1,\"epoch\":3,\"sequence\":2,\"offset\":100", -EBADMSG);
	check("\"v\":1,\"epoch\":3,\"sequence\":2,\"pass\":0", -EBADMSG);
	check("\"v\":1,\"epoch\":3,\"sequence\":2,\"pass\":0,\"offset\":-100", -EBADMSG);
	check(GOOD ",\"window_done\":-1", -EBADMSG);
}

TEST(an_open_window_can_be_cut_again_or_is_refused)
{
	check(GOOD ",\"window_end\":200,\"batch_size\":10,\"segment_s\":3600", 0);
	check(GOOD ",\"window_end\":99,\"batch_size\":10,\"segment_s\":3600", -EBADMSG);
	check(GOOD ",\"window_end\":200", -EBADMSG);
	check(GOOD ",\"window_end\":200,\"batch_size\":0,\"segment_s\":3600", -EBADMSG);
	check(GOOD ",\"window_end\":200,\"batch_size\":10,\"segment_s\":0", -EBADMSG);
	check(GOOD ",\"window_end\":200,\"batch_size\":10,\"segment_s\":-1", -EBADMSG);
	check(GOOD ",\"window_end\":200,\"batch_size\":10,\"segment_s\":9223372036854775807",
	      -EBADMSG);
}

static void check_truncation(const uint8_t *p, size_t n, size_t at, void *arg)
{
	struct producer got;

	CHECK_EQ_INT(decode(p, n, &got, NULL), -EBADMSG);
}

/* What decodes can be written and read again. */
static void check_survived(const uint8_t *p, size_t n, size_t at, void *arg)
{
	struct producer got, again;
	int r = decode(p, n, &got, NULL);
	struct strbuf out;

	if (r) {
		CHECK_EQ_INT(r, -EBADMSG);
		return;
	}
	out = encoded(&got);
	CHECK_EQ_INT(decode(out.s, out.len, &again, NULL), 0);
	CHECK_EQ_STR(again.fingerprint, got.fingerprint);
	strbuf_release(&out);
}

TEST(damaged_producers_are_survived)
{
	struct rng g = {2};

	for (int round = 0; round < 10; round++) {
		struct producer p = random_producer(&g);
		struct strbuf out = encoded(&p);

		hostile_truncations(out.s, out.len, check_truncation, NULL);
		hostile_flips(out.s, out.len, check_survived, NULL);
		strbuf_release(&out);
	}
	hostile_bytes(&g, 5000, 100, check_survived, NULL);
}
