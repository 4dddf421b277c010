#include "../../collector/expiry.h"
#include "../lib/stage.h"
#include "../lib/test.h"
#include "clock.h"
#include "tally.h"

#include <stdio.h>
#include <unistd.h>

/* etcd grants leases of at least 2 s. */
enum { PERIOD_S = 2, PERIODS = 2, WAIT_MS = 30000 };

static struct err e;

/* A record that was last touched long ago by the clock of whoever looks: as seen by a machine that
 * is forty days ahead. */
static void put_source(struct etcd *c, const char *source, int64_t sequence, int64_t lease)
{
	struct producer p = {.epoch = 1,
			     .sequence = sequence,
			     .messages = sequence,
			     .rows = 10 * sequence,
			     .leases = {lease, 0},
			     .throttle_rate = 1,
			     .updated_ns = wall_now_ns() - 40 * 86400 * NS_PER_SEC};
	struct strbuf text;

	strbuf_init(&text, 4096);
	producer_encode(&text, &p);
	stage_put(c, key_producer(source).s, text.s);
	strbuf_release(&text);
}

static void sweep(struct etcd *c)
{
	CHECK_EQ_INT(expiry_sweep(c, PERIOD_S, PERIODS, &e), 0);
}

static bool is_there(struct etcd *c, const char *source)
{
	return stage_mod_rev(c, key_producer(source).s) != 0;
}

/* The number of periods that /idle says, -1: none. */
static int64_t periods_of(struct etcd *c, const char *source)
{
	const char *at = strstr(stage_read(c, key_idle(source).s), "\"periods\":");

	return at ? strtoll(at + 10, NULL, 10) : -1;
}

/* Sweeps until the source is gone. Returns the milliseconds. */
static int64_t sweep_until_gone(struct etcd *c, const char *source)
{
	struct mono begun = mono_now();

	while (is_there(c, source) && mono_ms_since(begun) < WAIT_MS) {
		sweep(c);
		usleep(50000);
	}
	CHECK(!is_there(c, source));
	return mono_ms_since(begun);
}

TEST(a_clock_that_is_ahead_ends_no_source)
{
	struct etcd *c = stage_open();

	put_source(c, "s", 3, 0);
	for (int i = 0; i < 5; i++)
		sweep(c);
	CHECK(is_there(c, "s"));
	CHECK_EQ_INT(periods_of(c, "s"), 0);
	etcd_close(c);
}

TEST(a_source_ends_when_it_was_at_rest_for_so_many_leases_and_stays_counted)
{
	struct etcd *c = stage_open();
	struct tally total = {0};

	put_source(c, "s", 3, 0);
	CHECK(sweep_until_gone(c, "s") >= PERIODS * PERIOD_S * 1000 - 100);
	CHECK_EQ_INT(tally_add(&total, slice_str(stage_read(c, KEY_STATS_TOTAL)), &e), 0);
	CHECK_EQ_INT(total.messages_ended, 3);
	CHECK_EQ_INT(total.rows_ended, 30);
	CHECK_EQ_INT(stage_count(c, KEY_IDLE), 0);
	etcd_close(c);
}

TEST(counting_starts_again_when_a_source_publishes)
{
	struct etcd *c = stage_open();
	struct mono begun = mono_now();

	put_source(c, "s", 3, 0);
	while (periods_of(c, "s") < 1 && mono_ms_since(begun) < WAIT_MS) {
		sweep(c);
		usleep(50000);
	}
	put_source(c, "s", 4, 0);
	sweep(c);
	CHECK_EQ_INT(periods_of(c, "s"), 0);
	etcd_close(c);
}

TEST(a_source_whose_idempotency_keys_live_is_not_at_rest)
{
	struct etcd *c = stage_open();

	CHECK_EQ_INT(etcd_lease_grant(c, 4711, 600, NULL, &e), 0);
	put_source(c, "s", 3, 4711);
	sweep(c);
	CHECK_EQ_INT(periods_of(c, "s"), -1);
	CHECK_EQ_INT(etcd_lease_revoke(c, 4711, &e), 0);
	sweep(c);
	CHECK_EQ_INT(periods_of(c, "s"), 0);
	etcd_close(c);
}

/* Or they would be foreign from then on, and the balance off. */
TEST(a_source_with_an_owner_or_a_dead_letter_stays)
{
	static const char letter[] =
		"{\"topic\":\"telemetry\",\"host\":\"h\",\"source\":\"s\",\"sequence\":1,"
		"\"schema\":\"v1\",\"sha256\":"
		"\"0000000000000000000000000000000000000000000000000000"
		"000000000000\"}";
	struct etcd *c = stage_open();
	char ulid[ULID_LEN + 1];

	ulid_new(ulid);
	put_source(c, "other", 1, 0);
	put_source(c, "owned", 1, 0);
	put_source(c, "s", 3, 0);
	stage_put(c, key_deadletter(ulid).s, letter);
	stage_put(c, key_producer_owner("owned").s, "{}");
	sweep_until_gone(c, "other");
	for (int i = 0; i < 3; i++)
		sweep(c);
	CHECK(is_there(c, "s") && is_there(c, "owned"));
	stage_delete(c, key_deadletter(ulid).s);
	stage_delete(c, key_producer_owner("owned").s);
	sweep(c);
	sweep(c); /* both count into the same total */
	CHECK(!is_there(c, "s") && !is_there(c, "owned"));
	etcd_close(c);
}
