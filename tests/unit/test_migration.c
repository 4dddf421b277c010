#include "../../collector/migration.h"
#include "../lib/test.h"

#include <stdio.h>

#define HOUR_NS (3600 * NS_PER_SEC)
#define REC(host, value)                                                                           \
	"{\"timestamp\":1,\"gpu\":0,\"host\":\"" host "\",\"metric\":\"M\",\"value\":" value "}"

static struct err e;

/* A message of host h with a payload. */
static struct message message_of(const char *schema)
{
	return (struct message){.topic = (char *)"telemetry",
				.host = (char *)"h",
				.source = (char *)"",
				.schema = (char *)schema,
				.trace_id = (char *)"t",
				.no_sha256 = true};
}

static int open_as(struct migration *g, const struct message *m, const char *payload)
{
	*g = (struct migration){0};
	return migration_open(g, m, slice_str(payload), HOUR_NS, NULL, &e);
}

static void check_refused(const struct message *m, const char *payload, const char *why)
{
	struct migration g;

	CHECK_EQ_INT(open_as(&g, m, payload), -EBADMSG);
	CHECK_EQ_STR(e.text, why);
	migration_release(&g);
}

/* The rows of message i, as the collector reads them. */
static void check_group(struct migration *g, size_t i, const struct message *m, const char *host,
			size_t rows)
{
	struct batch b = {0};
	struct outgoing o;

	if (CHECK_EQ_INT(migration_outgoing(g, i, m, &o, &e), 0) &&
	    CHECK_EQ_INT(batch_decode(o.payload.s, o.payload.len, &b, &e), 0)) {
		CHECK_EQ_STR(o.m.host, host);
		CHECK_EQ_SLICE(b.host, slice_str(host));
		CHECK_EQ_INT(o.m.rows, rows);
		CHECK_EQ_INT(b.rows.n, rows);
		CHECK_EQ_STR(o.m.schema, "v1");
		CHECK_EQ_STR(o.m.source, "");
		CHECK_EQ_STR(o.m.trace_id, "t");
		CHECK(ulid_valid(slice_str(o.m.ulid)) && o.m.created_ns > 0 && !o.m.no_sha256);
	}
	batch_release(&b);
	migration_outgoing_release(&o);
}

TEST(rows_of_the_pointers_host_are_one_message)
{
	struct message m = message_of("v1beta2");
	struct migration g;

	CHECK_EQ_INT(open_as(&g, &m, "[" REC("h", "1") "," REC("h", "null") "," REC("h", "2") "]"),
		     0);
	CHECK_EQ_INT(migration_count(&g), 1);
	CHECK(migration_is_plain(&g, &m));
	CHECK_EQ_INT(g.no_value, 1);
	check_group(&g, 0, &m, "h", 2);
	migration_release(&g);
}

TEST(rows_of_several_hosts_are_a_message_each_in_the_order_of_their_first_rows)
{
	struct message m = message_of("v1beta2");
	struct migration g;

	CHECK_EQ_INT(open_as(&g, &m, "[" REC("b", "1") "," REC("h", "2") "," REC("b", "3") "]"), 0);
	CHECK_EQ_INT(migration_count(&g), 2);
	CHECK(!migration_is_plain(&g, &m));
	check_group(&g, 0, &m, "b", 2);
	check_group(&g, 1, &m, "h", 1);
	migration_release(&g);
}

TEST(one_message_of_another_host_than_the_pointers_is_not_plain)
{
	struct message m = message_of("v1beta2");
	struct migration g;

	CHECK_EQ_INT(open_as(&g, &m, "[" REC("b", "1") "]"), 0);
	CHECK(migration_count(&g) == 1 && !migration_is_plain(&g, &m));
	migration_release(&g);
}

TEST(what_has_no_values_makes_no_message)
{
	struct message m = message_of("v1beta1");
	struct migration g;

	CHECK_EQ_INT(open_as(&g, &m, "[]"), 0);
	CHECK_EQ_INT(migration_count(&g), 0);
	migration_release(&g);
	CHECK_EQ_INT(open_as(&g, &m, "[{\"timestamp\":1,\"gpu\":0,\"M\":null}]"), 0);
	CHECK(migration_count(&g) == 0 && g.no_value == 1);
	migration_release(&g);
}

TEST(each_schema_has_its_form)
{
	struct message wide = message_of("v1beta1"), tall = message_of("v1beta2");

	check_refused(&tall, "[{\"timestamp\":1,\"gpu\":0,\"M\":1}]",
		      "record 0: metric_name: missing; 2 faults in all");
	check_refused(&wide, "[" REC("h", "1") "]",
		      "record 0: metric: this is no wide record: the members of one are metrics; "
		      "2 faults in all");
	CHECK(migration_is_older("v1beta1") && migration_is_older("v1beta2"));
	CHECK(!migration_is_older("v1") && !migration_is_older("v2") && !migration_is_older(""));
}

TEST(a_message_is_taken_whole_or_not_at_all)
{
	struct message m = message_of("v1beta2");

	check_refused(&m, "[" REC("h", "1") "," REC("h", "true") "," REC("h", "3") "]",
		      "record 1: value: expected a number, got true");
}

TEST(what_the_pointer_says_of_the_payload_is_compared)
{
	struct message m = message_of("v1beta2");
	const char *payload = "[" REC("h", "1") "," REC("h", "null") "]";
	struct migration g;

	m.bytes = (int64_t)strlen(payload);
	for (m.rows = 0; m.rows <= 2; m.rows++) { /* not said, values, records */
		CHECK_EQ_INT(open_as(&g, &m, payload), 0);
		migration_release(&g);
	}
	check_refused(&m, payload, "rows: the payload has 2 records, the pointer says 3");
	m.rows = 0;
	m.part = 2;
	check_refused(&m, payload, "part: expected at most 1, got 2");
	m.part = 0;
	m.bytes++;
	check_refused(&m, "[]", "bytes: the payload has 2, the pointer says 121");
	m.bytes = 0;
	m.no_sha256 = false;
	check_refused(&m, payload, "payload: SHA-256 mismatch");
	sha256(payload, strlen(payload), m.sha256);
	CHECK_EQ_INT(open_as(&g, &m, payload), 0);
	migration_release(&g);
}

static void add_line(const char *text, void *arg)
{
	strbuf_addf(arg, "%s\n", text);
}

TEST(all_faults_are_told_to_who_asks)
{
	struct message m = message_of("v1beta2");
	struct migration g = {0};
	struct strbuf told;
	struct migration_faults faults = {add_line, &told};

	strbuf_init(&told, 1 << 16);
	CHECK_EQ_INT(migration_open(&g, &m, slice_str("[1," REC("", "1") "," REC("h", "\"x\"") "]"),
				    HOUR_NS, &faults, &e),
		     -EBADMSG);
	CHECK_EQ_STR(told.s ? told.s : "", "record 0: expected an object, got 1\n"
					   "record 1: Hostname: empty\n"
					   "record 2: value: expected a number, got \"x\"\n");
	CHECK_EQ_STR(e.text, "record 0: expected an object, got 1; 3 faults in all");
	strbuf_release(&told);
	migration_release(&g);
}

TEST(what_a_message_becomes_depends_on_it_alone)
{
	struct message m = message_of("v1beta2");
	struct migration a, b;
	struct strbuf text;

	strbuf_init(&text, 8 << 20);
	for (int i = 0; i < 9000; i++)
		strbuf_addf(&text, "%c{\"timestamp\":%d,\"gpu\":%d,\"metric\":\"M\",\"value\":%d}",
			    i ? ',' : '[', i, i % 3, i);
	strbuf_addc(&text, ']');
	CHECK_EQ_INT(open_as(&a, &m, text.s), 0);
	CHECK_EQ_INT(open_as(&b, &m, text.s), 0);
	CHECK(migration_count(&a) > 1 && migration_count(&a) == migration_count(&b));
	for (size_t i = 0; i < migration_count(&a); i++) {
		struct outgoing x, y;

		CHECK_EQ_INT(migration_outgoing(&a, i, &m, &x, &e), 0);
		CHECK_EQ_INT(migration_outgoing(&b, i, &m, &y, &e), 0);
		CHECK_EQ_SLICE(((struct slice){x.payload.s, x.payload.len}),
			       ((struct slice){y.payload.s, y.payload.len}));
		migration_outgoing_release(&x);
		migration_outgoing_release(&y);
	}
	migration_release(&a);
	migration_release(&b);
	strbuf_release(&text);
}
