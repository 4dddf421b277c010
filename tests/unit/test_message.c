#include "../lib/hostile.h"
#include "../lib/test.h"
#include "message.h"

#include <stdio.h>

#define ULID   "01ARZ3NDEKTSV4RRFFQ69G5FAV"
#define SHA256 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static char *text(struct rng *g)
{
	struct slice s = hostile_name(g);

	return xstrndup(s.p, s.len);
}

static int64_t number(struct rng *g)
{
	return (int64_t)(rng_next(g) >> (33 + rng_below(g, 31)));
}

static struct message random_message(struct rng *g)
{
	struct message m = {.topic = text(g),
			    .host = text(g),
			    .source = rng_one_in(g, 3) ? xstrdup("") : text(g),
			    .schema = text(g),
			    .trace_id = text(g),
			    .reason = rng_one_in(g, 2) ? text(g) : NULL,
			    .sequence = (int64_t)(rng_next(g) >> 1),
			    .epoch = (int64_t)(rng_next(g) >> 1),
			    .part = number(g),
			    .attempt = number(g),
			    .rows = number(g),
			    .bytes = number(g),
			    .created_ns = (int64_t)(rng_next(g) >> 1),
			    .expires_ns = (int64_t)(rng_next(g) >> 1)};

	memcpy(m.ulid, ULID, sizeof(m.ulid));
	for (size_t i = 0; i < SHA256_LEN; i++)
		m.sha256[i] = (uint8_t)rng_next(g);
	return m;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same_message(const struct message *a, const struct message *b)
{
	return !strcmp(a->ulid, b->ulid) && same_text(a->topic, b->topic) &&
	       same_text(a->host, b->host) && same_text(a->source, b->source) &&
	       same_text(a->schema, b->schema) && same_text(a->trace_id, b->trace_id) &&
	       same_text(a->reason, b->reason) && a->sequence == b->sequence &&
	       a->epoch == b->epoch && a->part == b->part && a->attempt == b->attempt &&
	       a->rows == b->rows && a->bytes == b->bytes && a->created_ns == b->created_ns &&
	       a->expires_ns == b->expires_ns && !memcmp(a->sha256, b->sha256, SHA256_LEN);
}

static struct strbuf encoded(const struct message *m)
{
	struct strbuf out;

	strbuf_init(&out, 1 << 20);
	message_encode(&out, m);
	CHECK_EQ_INT(out.err, 0);
	return out;
}

TEST(any_message_comes_back)
{
	struct rng g = {1};

	for (int round = 0; round < 500; round++) {
		struct message m = random_message(&g), got = {0};
		struct strbuf out = encoded(&m);
		struct err e = {""};

		if (CHECK_EQ_INT(message_decode(ULID, (struct slice){out.s, out.len}, &got, &e), 0))
			CHECK(same_message(&m, &got));
		message_release(&got);
		message_release(&m);
		strbuf_release(&out);
	}
}

TEST(what_is_not_text_is_told_by_the_replacement_character)
{
	struct message m = {.ulid = ULID, .host = (char *)"h\xe9", .schema = (char *)"v1"}, got;
	struct strbuf out = encoded(&m);

	if (CHECK_EQ_INT(message_decode(ULID, (struct slice){out.s, out.len}, &got, NULL), 0)) {
		CHECK_EQ_STR(got.host, "h\xef\xbf\xbd");
		message_release(&got);
	}
	strbuf_release(&out);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static int decode(const char *json, struct err *e)
{
	struct message untouched = {.sequence = 4711}, m = untouched;
	int r = message_decode(ULID, slice_str(json), &m, e);

	if (r)
		CHECK(!memcmp(&m, &untouched, sizeof(m)));
	else
		message_release(&m);
	return r;
}

static void check_refused(const char *json, const char *why)
{
	struct err e = {""};

	test_check(decode(json, &e) == -EBADMSG, __FILE__, __LINE__, "%s is taken", json);
	test_check(strstr(e.text, "message " ULID ": ") == e.text && strstr(e.text, why), __FILE__,
		   __LINE__, "%s: \"%s\", not %s", json, e.text, why);
}

#define MINIMAL "\"host\":\"h\",\"schema\":\"v1\",\"sha256\":\"" SHA256 "\""

TEST(host_schema_and_checksum_are_needed_and_nothing_else)
{
	CHECK_EQ_INT(decode("{" MINIMAL "}", NULL), 0);
	CHECK_EQ_INT(decode("{" MINIMAL ",\"unknown\":{\"x\":[1,null]}}", NULL), 0);
	CHECK_EQ_INT(decode("{" MINIMAL ",\"sequence\":\"17\"}", NULL), 0);
	check_refused("{\"schema\":\"v1\",\"sha256\":\"" SHA256 "\"}", "host");
	check_refused("{\"host\":\"\",\"schema\":\"v1\",\"sha256\":\"" SHA256 "\"}", "host");
	check_refused("{\"host\":7,\"schema\":\"v1\",\"sha256\":\"" SHA256 "\"}", "host");
	check_refused("{\"host\":\"h\",\"sha256\":\"" SHA256 "\"}", "schema");
	check_refused("{\"host\":\"h\",\"schema\":\"v1\"}", "sha256");
	check_refused("{\"host\":\"h\",\"schema\":\"v1\",\"sha256\":\"00\"}", "sha256");
	check_refused("{\"host\":\"h\",\"schema\":\"v1\",\"sha256\":\"" SHA256 "0\"}", "sha256");
	check_refused("{\"host\":\"h\",\"schema\":\"v1\",\"sha256\":\"z00102030405060708090a0b0c0d0"
		      "e0f101112131415161718191a1b1c1d1e1f\"}",
		      "sha256");
}

TEST(what_is_no_object_is_no_message)
{
	check_refused("", "JSON");
	check_refused("{", "JSON");
	check_refused("{" MINIMAL "}}", "JSON");
	check_refused("\xff", "JSON");
	check_refused("null", "object");
	check_refused("17", "object");
	check_refused("\"host\"", "object");
	check_refused("[{" MINIMAL "}]", "object");
}

TEST(numbers_out_of_range_are_refused)
{
	static const char *const counts[] = {"part", "attempt", "rows", "bytes"};
	static const char *const others[] = {"sequence", "epoch", "expires_at"};
	char json[300];

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		snprintf(json, sizeof(json), "{" MINIMAL ",\"%s\":-1}", counts[i]);
		check_refused(json, "number");
		snprintf(json, sizeof(json), "{" MINIMAL ",\"%s\":2147483648}", counts[i]);
		check_refused(json, "number");
		snprintf(json, sizeof(json), "{" MINIMAL ",\"%s\":2147483647}", counts[i]);
		CHECK_EQ_INT(decode(json, NULL), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		snprintf(json, sizeof(json), "{" MINIMAL ",\"%s\":-1}", others[i]);
		check_refused(json, "number");
		snprintf(json, sizeof(json), "{" MINIMAL ",\"%s\":9223372036854775807}", others[i]);
		CHECK_EQ_INT(decode(json, NULL), 0);
		snprintf(json, sizeof(json), "{" MINIMAL ",\"%s\":9223372036854775808}", others[i]);
		CHECK_EQ_INT(decode(json, NULL), -EBADMSG);
	}
}

/* ---- damage ---------------------------------------------------------------------------------- */

static void check_truncation(const uint8_t *p, size_t n, size_t at, void *arg)
{
	struct message m = {0};

	CHECK_EQ_INT(message_decode(ULID, (struct slice){(const char *)p, n}, &m, NULL), -EBADMSG);
}

static void check_survived(const uint8_t *p, size_t n, size_t at, void *arg)
{
	struct message m = {0};
	int r = message_decode(ULID, (struct slice){(const char *)p, n}, &m, NULL);

	CHECK(r == -EBADMSG || (r == 0 && m.host[0] && m.schema[0] && m.rows >= 0));
	message_release(&m);
}

TEST(damaged_messages_are_survived)
{
	struct rng g = {2};

	for (int round = 0; round < 20; round++) {
		struct message m = random_message(&g);
		struct strbuf out = encoded(&m);

		hostile_truncations(out.s, out.len, check_truncation, NULL);
		hostile_flips(out.s, out.len, check_survived, NULL);
		strbuf_release(&out);
		message_release(&m);
	}
	hostile_bytes(&g, 5000, 100, check_survived, NULL);
}
