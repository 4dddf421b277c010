#include "../lib/stage.h"
#include "../lib/test.h"
#include "clock.h"
#include "digest.h"
#include "map.h"
#include "queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { MANY = 6 };

static struct err e;

/* ---- conservation ---------------------------------------------------------------------------- */

/* Q1, looked at in one revision: each ULID has one pointer, and a payload exactly then. */
struct census {
	struct map pointers; /* ULID → place + 1 */
	size_t n[4];         /* queued, processing, dead, payloads */
};

enum { QUEUED, PROCESSING, DEAD, PAYLOADS };

static void count_place(struct census *s, const struct etcd_range *range, int place)
{
	char ulid[ULID_LEN + 1];

	for (size_t i = 0; i < range->n; i++) {
		struct slice key = range->kvs[i].key;
		void *before;

		if (!CHECK_EQ_INT(key_parse_ulid(key, ulid), 0))
			continue;
		s->n[place]++;
		before = map_get(&s->pointers, ulid, ULID_LEN);
		if (place == PAYLOADS)
			test_check(before, __FILE__, __LINE__, "%s: a payload alone", ulid);
		else
			test_check(!before, __FILE__, __LINE__, "%s: two pointers", ulid);
		map_put(&s->pointers, ulid, ULID_LEN, (void *)(uintptr_t)(place + 1));
	}
}

static void check_census(struct etcd *c, size_t queued, size_t processing, size_t dead)
{
	static const char *const places[] = {KEY_QUEUE, KEY_PROCESSING, KEY_DEADLETTER,
					     KEY_PAYLOAD};
	struct census s = {.pointers = MAP_INIT};
	struct etcd_reply reply;
	struct etcd_txn t;

	etcd_txn_init(&t, c, "test");
	for (int i = 0; i < 4; i++)
		etcd_then_get(&t, places[i], key_prefix_end(places[i]).s);
	if (CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0)) {
		for (int i = 0; i < 4; i++)
			count_place(&s, &reply.ranges[i], i);
		etcd_reply_release(&reply);
	}
	etcd_txn_release(&t);
	CHECK_EQ_INT(s.n[QUEUED], queued);
	CHECK_EQ_INT(s.n[PROCESSING], processing);
	CHECK_EQ_INT(s.n[DEAD], dead);
	CHECK_EQ_INT(s.n[PAYLOADS], queued + processing + dead);
	map_release(&s.pointers);
}

/* ---- actors ---------------------------------------------------------------------------------- */

/* One consumer that writes for one host in whose queue n messages wait. */
struct play {
	struct etcd *c;
	struct fence f;
	struct hold h;
	char ulids[MANY][ULID_LEN + 1];
	struct claim claims[MANY];
	size_t n;
	struct ending d;
};

static struct play *play_begin(size_t n)
{
	struct play *p = xcalloc(1, sizeof(*p));

	p->c = stage_open();
	p->f = stage_enter(p->c, "one");
	p->h = stage_take(p->c, &p->f, "h");
	p->n = n;
	for (size_t i = 0; i < n; i++) {
		stage_publish(p->c, "s", "h", SLICE_LIT("rows"), p->ulids[i]);
		p->claims[i] = stage_pending(p->c, p->ulids[i], &p->h);
	}
	ending_init(&p->d, p->c, &p->f);
	check_census(p->c, n, 0, 0);
	return p;
}

static struct play *play_claimed(size_t n)
{
	struct play *p = play_begin(n);

	CHECK_EQ_INT(queue_claim(p->c, &p->f, p->claims, n, &e), 0);
	check_census(p->c, 0, n, 0);
	return p;
}

static void play_end(struct play *p)
{
	for (size_t i = 0; i < p->n; i++)
		stage_claim_release(&p->claims[i]);
	ending_release(&p->d);
	etcd_close(p->c);
	free(p);
}

static struct key claim_key(const struct play *p, size_t i)
{
	return key_processing(p->f.consumer, p->claims[i].claimed_ns, p->ulids[i]);
}

/* What the pointer under a key says of its attempts; -1: there is none. */
static int64_t field(struct etcd *c, const char *key, const char *name)
{
	char want[40];
	const char *text = stage_read(c, key), *at;

	snprintf(want, sizeof(want), "\"%s\":", name);
	at = strstr(text, want);
	return at ? strtoll(at + strlen(want), NULL, 10) : -1;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static struct producer open_source(struct etcd *c, const char *source)
{
	struct producer p = {.epoch = 0};

	snprintf(p.source, sizeof(p.source), "%s", source);
	CHECK_EQ_INT(queue_open_producer(c, &p, &e), 0);
	return p;
}

static void make_messages(struct outgoing *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		m[i] = stage_message("h", SLICE_LIT("payload"));
}

static void release_messages(struct outgoing *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		stage_message_release(&m[i]);
}

TEST(opening_a_source_makes_its_record_and_raises_the_epoch)
{
	struct etcd *c = stage_open();
	struct producer p = open_source(c, "s"), read = {.epoch = 0};

	CHECK_EQ_INT(p.epoch, 1);
	CHECK_EQ_INT(p.mod_rev, stage_mod_rev(c, key_producer("s").s));
	CHECK_EQ_INT(queue_open_producer(c, &p, &e), 0);
	CHECK_EQ_INT(p.epoch, 2);
	CHECK_EQ_INT(producer_read(c, "s", &read, &e), 0);
	CHECK(read.epoch == 2 && read.mod_rev == p.mod_rev);
	CHECK_EQ_INT(producer_read(c, "other", &read, &e), -ENOENT);
	etcd_close(c);
}

TEST(a_source_that_somebody_opened_meanwhile_is_not_opened)
{
	struct etcd *c = stage_open();
	struct producer a = open_source(c, "s"), b = a, stale = {.source = "s"};

	CHECK_EQ_INT(queue_open_producer(c, &b, &e), 0);
	CHECK_EQ_INT(queue_open_producer(c, &a, &e), -ESTALE);
	CHECK_EQ_INT(a.epoch, 1);
	CHECK_EQ_INT(queue_open_producer(c, &stale, &e), -ESTALE);
	stage_delete(c, key_producer("s").s);
	CHECK_EQ_INT(queue_open_producer(c, &b, &e), -ESTALE);
	etcd_close(c);
}

TEST(publishing_enqueues_messages_and_moves_the_record_in_one_transaction)
{
	struct etcd *c = stage_open();
	struct producer p = open_source(c, "s"), next = p;
	struct outgoing m[3];
	struct key q;

	make_messages(m, 3);
	m[1].m.rows = 40;
	next.offset = 4711;
	CHECK_EQ_INT(queue_publish(c, &p, &next, m, 3, &e), 0);
	CHECK(p.offset == 4711 && p.sequence == 3 && p.messages == 3 && p.rows == 42 &&
	      p.lease_keys == 3 && p.epoch == 1);
	for (size_t i = 0; i < 3; i++) {
		q = key_queue(m[i].m.ulid);
		CHECK_EQ_INT(stage_mod_rev(c, q.s), p.mod_rev);
		CHECK_EQ_INT(field(c, q.s, "sequence"), (int64_t)i + 1);
		CHECK_EQ_INT(field(c, q.s, "epoch"), 1);
		CHECK_EQ_INT(field(c, q.s, "attempt"), 0);
		CHECK_EQ_STR(stage_read(c, key_payload(m[i].m.ulid).s), "payload");
		CHECK_EQ_STR(stage_read(c, key_processed(m[i].idempotency).s), m[i].m.ulid);
	}
	CHECK_EQ_INT(stage_mod_rev(c, key_producer("s").s), p.mod_rev);
	check_census(c, 3, 0, 0);
	release_messages(m, 3);
	etcd_close(c);
}

TEST(publishing_nothing_moves_only_the_record)
{
	struct etcd *c = stage_open();
	struct producer p = open_source(c, "s"), next = p;
	int64_t before = p.mod_rev;

	next.window_end = 100;
	next.batch_size = 10;
	next.segment_s = 3600;
	CHECK_EQ_INT(queue_publish(c, &p, &next, NULL, 0, &e), 0);
	CHECK(p.window_end == 100 && p.mod_rev > before && p.sequence == 0);
	check_census(c, 0, 0, 0);
	etcd_close(c);
}

TEST(the_older_epoch_of_a_source_publishes_nothing_any_more)
{
	struct etcd *c = stage_open();
	struct producer old = open_source(c, "s"), taken = old;
	struct outgoing m[2];

	make_messages(m, 2);
	CHECK_EQ_INT(queue_open_producer(c, &taken, &e), 0);
	CHECK_EQ_INT(queue_publish(c, &old, &old, m, 2, &e), -EOWNERDEAD);
	check_census(c, 0, 0, 0);
	CHECK_EQ_INT(queue_publish(c, &taken, &taken, m, 2, &e), 0);
	CHECK_EQ_INT(queue_publish(c, &old, &old, m, 2, &e), -EOWNERDEAD);
	check_census(c, 2, 0, 0);
	stage_delete(c, key_producer("s").s);
	CHECK_EQ_INT(queue_publish(c, &taken, &taken, NULL, 0, &e), -EOWNERDEAD);
	release_messages(m, 2);
	etcd_close(c);
}

TEST(what_was_accepted_before_is_skipped_and_the_rest_accepted)
{
	struct etcd *c = stage_open();
	struct producer a = open_source(c, "a"), b = open_source(c, "b");
	struct outgoing m[4];

	make_messages(m, 4);
	CHECK_EQ_INT(queue_publish(c, &a, &a, m, 2, &e), 0);
	CHECK_EQ_INT(queue_publish(c, &b, &b, m, 4, &e), 0);
	CHECK(m[0].duplicate && m[1].duplicate && !m[2].duplicate && !m[3].duplicate);
	CHECK(b.sequence == 2 && b.messages == 2 && b.lease_keys == 2);
	CHECK_EQ_INT(field(c, key_queue(m[2].m.ulid).s, "sequence"), 1);
	CHECK_EQ_INT(field(c, key_queue(m[3].m.ulid).s, "sequence"), 2);
	check_census(c, 4, 0, 0);
	for (size_t i = 0; i < 4; i++)
		m[i].duplicate = false;
	CHECK_EQ_INT(queue_publish(c, &b, &b, m, 4, &e), 0);
	CHECK(m[0].duplicate && m[1].duplicate && m[2].duplicate && m[3].duplicate);
	CHECK_EQ_INT(b.sequence, 2);
	check_census(c, 4, 0, 0);
	release_messages(m, 4);
	etcd_close(c);
}

TEST(a_lease_that_is_gone_is_told_and_nothing_is_published)
{
	struct etcd *c = stage_open();
	struct producer p = open_source(c, "s"), next = p;
	struct outgoing m[1];

	make_messages(m, 1);
	next.leases[0] = 123456789;
	CHECK_EQ_INT(queue_publish(c, &p, &next, m, 1, &e), -ENOENT);
	CHECK_EQ_INT(stage_mod_rev(c, key_producer("s").s), p.mod_rev);
	check_census(c, 0, 0, 0);
	CHECK_EQ_INT(etcd_lease_grant(c, 123456789, 600, NULL, &e), 0);
	CHECK_EQ_INT(queue_publish(c, &p, &next, m, 1, &e), 0);
	CHECK_EQ_INT(p.leases[0], 123456789);
	check_census(c, 1, 0, 0);
	CHECK_EQ_INT(etcd_lease_revoke(c, 123456789, &e), 0);
	CHECK_EQ_STR(stage_read(c, key_processed(m[0].idempotency).s), "");
	check_census(c, 1, 0, 0);
	release_messages(m, 1);
	etcd_close(c);
}

TEST(as_many_messages_as_are_allowed_fit_and_more_are_refused)
{
	struct etcd *c = stage_open();
	struct producer p = open_source(c, "s");
	struct outgoing m[QUEUE_PUBLISH_MAX + 4];

	make_messages(m, ARRAY_SIZE(m));
	CHECK_EQ_INT(queue_publish(c, &p, &p, m, ARRAY_SIZE(m), &e), -E2BIG);
	check_census(c, 0, 0, 0);
	CHECK_EQ_INT(queue_publish(c, &p, &p, m, QUEUE_PUBLISH_MAX, &e), 0);
	check_census(c, QUEUE_PUBLISH_MAX, 0, 0);
	release_messages(m, ARRAY_SIZE(m));
	etcd_close(c);
}

/* ---- hosts ----------------------------------------------------------------------------------- */

TEST(a_free_host_is_taken_with_a_mark_in_the_queue)
{
	struct etcd *c = stage_open();
	struct fence f = stage_enter(c, "one");
	struct hold h = stage_take(c, &f, "h");

	CHECK_EQ_STR(h.host, "h");
	CHECK_EQ_STR(stage_read(c, key_writer("h").s), "one");
	CHECK_EQ_INT(stage_mod_rev(c, key_writer("h").s), h.rev);
	CHECK_EQ_INT(stage_mod_rev(c, KEY_QUEUE_MARK), h.rev);
	etcd_close(c);
}

TEST(taking_a_host_twice_is_taking_it_once)
{
	struct etcd *c = stage_open();
	struct fence f = stage_enter(c, "one");
	struct hold h = stage_take(c, &f, "h"), again = {.rev = 0};

	CHECK_EQ_INT(queue_take_host(c, &f, "h", NULL, 0, &again, &e), 0);
	CHECK_EQ_INT(again.rev, h.rev);
	etcd_close(c);
}

TEST(a_living_writer_is_not_robbed)
{
	struct etcd *c = stage_open();
	struct fence one = stage_enter(c, "one"), two = stage_enter(c, "two");
	struct hold h = stage_take(c, &one, "h"), stolen = {.rev = -1};

	CHECK_EQ_INT(queue_take_host(c, &two, "h", NULL, 0, &stolen, &e), -EBUSY);
	CHECK_EQ_INT(queue_take_host(c, &two, "h", "one", h.rev, &stolen, &e), -EBUSY);
	CHECK_EQ_INT(queue_take_host(c, &two, "h", "one", h.rev - 1, &stolen, &e), -EBUSY);
	CHECK_EQ_INT(stolen.rev, -1);
	CHECK_EQ_STR(stage_read(c, key_writer("h").s), "one");
	etcd_close(c);
}

TEST(a_dead_writer_is_followed)
{
	struct etcd *c = stage_open();
	struct fence one = stage_enter(c, "one"), two = stage_enter(c, "two");
	struct hold h = stage_take(c, &one, "h"), mine = {.rev = 0};

	stage_die(c, "one");
	CHECK_EQ_INT(queue_take_host(c, &two, "h", NULL, 0, &mine, &e), -EBUSY);
	CHECK_EQ_INT(queue_take_host(c, &two, "h", "one", h.rev, &mine, &e), 0);
	CHECK(mine.rev > h.rev);
	CHECK_EQ_STR(stage_read(c, key_writer("h").s), "two");
	etcd_close(c);
}

TEST(a_dead_session_takes_nothing)
{
	struct etcd *c = stage_open();
	struct fence one = stage_enter(c, "one"), late = {"one", 0};
	struct hold h = {.rev = -1};

	stage_die(c, "one");
	CHECK_EQ_INT(queue_take_host(c, &one, "h", NULL, 0, &h, &e), -EOWNERDEAD);
	late = stage_enter(c, "one");
	CHECK(late.session != one.session);
	CHECK_EQ_INT(queue_take_host(c, &one, "h", NULL, 0, &h, &e), -EOWNERDEAD);
	CHECK_EQ_INT(h.rev, -1);
	CHECK_EQ_INT(stage_mod_rev(c, key_writer("h").s), 0);
	etcd_close(c);
}

TEST(several_hosts_are_taken_in_one_transaction)
{
	struct etcd *c = stage_open();
	struct fence one = stage_enter(c, "one"), f = stage_enter(c, "two");
	struct hold h = stage_take(c, &one, "b");
	struct taking list[] = {{.host = "a"}, {.host = "b", .old = "one", .old_rev = h.rev}};

	stage_die(c, "one");
	CHECK_EQ_INT(queue_take_hosts(c, &f, list, 2, &e), 0);
	CHECK(list[0].hold.rev > h.rev);
	CHECK_EQ_INT(list[0].hold.rev, list[1].hold.rev);
	CHECK_EQ_STR(list[1].hold.host, "b");
	CHECK_EQ_STR(stage_read(c, key_writer("b").s), "two");
	CHECK_EQ_INT(stage_mod_rev(c, key_writer("a").s), list[0].hold.rev);
	CHECK_EQ_INT(stage_mod_rev(c, KEY_QUEUE_MARK), list[0].hold.rev);
	etcd_close(c);
}

TEST(one_host_that_is_not_to_be_had_leaves_the_others_to_be_taken)
{
	struct etcd *c = stage_open();
	struct fence one = stage_enter(c, "one"), two = stage_enter(c, "two");
	struct hold h = stage_take(c, &one, "b"), mine = stage_take(c, &two, "c");
	struct taking list[] = {{.host = "a"}, {.host = "b"}, {.host = "c"}, {.host = "d"}};

	CHECK_EQ_INT(queue_take_hosts(c, &two, list, 4, &e), 0);
	CHECK(list[0].hold.rev > mine.rev);
	CHECK_EQ_INT(list[1].hold.rev, 0);
	CHECK_EQ_INT(list[2].hold.rev, mine.rev);
	CHECK(list[3].hold.rev > list[0].hold.rev);
	CHECK_EQ_INT(stage_mod_rev(c, key_writer("b").s), h.rev);
	stage_die(c, "two");
	CHECK_EQ_INT(queue_take_hosts(c, &two, list, 2, &e), -EOWNERDEAD);
	CHECK_EQ_INT(queue_take_hosts(c, &two, list, QUEUE_TAKE_MAX + 1, &e), -E2BIG);
	etcd_close(c);
}

struct taker {
	pthread_t thread;
	struct etcd *c;
	struct fence f;
	struct hold h;
	pthread_barrier_t *start;
	int r;
};

static void *take(void *arg)
{
	struct taker *t = arg;
	struct err mine;

	pthread_barrier_wait(t->start);
	t->r = queue_take_host(t->c, &t->f, "h", NULL, 0, &t->h, &mine);
	return NULL;
}

TEST(of_two_takers_one_wins)
{
	static const char *const ids[] = {"a", "b"};

	for (int round = 0; round < 10; round++) {
		struct etcd *c = stage_open();
		struct taker t[2];
		pthread_barrier_t start;

		pthread_barrier_init(&start, NULL, 2);
		for (int i = 0; i < 2; i++) {
			t[i] = (struct taker){.c = c, .f = stage_enter(c, ids[i]), .start = &start};
			pthread_create(&t[i].thread, NULL, take, &t[i]);
		}
		for (int i = 0; i < 2; i++)
			pthread_join(t[i].thread, NULL);
		CHECK((t[0].r == 0 && t[1].r == -EBUSY) || (t[0].r == -EBUSY && t[1].r == 0));
		CHECK_EQ_STR(stage_read(c, key_writer("h").s), t[0].r ? "b" : "a");
		pthread_barrier_destroy(&start);
		etcd_close(c);
	}
}

TEST(a_released_host_is_free_and_a_forgotten_one_leaves_no_key)
{
	struct etcd *c = stage_open();
	struct fence one = stage_enter(c, "one"), two = stage_enter(c, "two");
	struct hold h = stage_take(c, &one, "h"), next = {.rev = 0};

	CHECK_EQ_INT(queue_release_host(c, &one, &h, false, &e), 0);
	CHECK(stage_mod_rev(c, key_writer("h").s) > h.rev);
	CHECK_EQ_STR(stage_read(c, key_writer("h").s), "");
	CHECK_EQ_INT(
		queue_take_host(c, &two, "h", NULL, stage_mod_rev(c, key_writer("h").s), &next, &e),
		0);
	CHECK_EQ_INT(queue_release_host(c, &two, &next, true, &e), 0);
	CHECK_EQ_INT(stage_mod_rev(c, key_writer("h").s), 0);
	etcd_close(c);
}

TEST(releasing_what_is_not_held_changes_nothing)
{
	struct etcd *c = stage_open();
	struct fence one = stage_enter(c, "one"), two = stage_enter(c, "two");
	struct hold h = stage_take(c, &one, "h"), wrong = h;

	wrong.rev--;
	CHECK_EQ_INT(queue_release_host(c, &one, &wrong, true, &e), 0);
	stage_die(c, "one");
	CHECK_EQ_INT(queue_release_host(c, &one, &h, true, &e), 0);
	CHECK_EQ_STR(stage_read(c, key_writer("h").s), "one");
	CHECK_EQ_INT(queue_take_host(c, &two, "h", "one", h.rev, &wrong, &e), 0);
	etcd_close(c);
}

/* ---- claiming -------------------------------------------------------------------------------- */

TEST(a_claim_moves_the_pointer_counts_the_attempt_and_brings_the_payload)
{
	struct play *p = play_claimed(3);

	for (size_t i = 0; i < 3; i++) {
		const struct claim *k = &p->claims[i];

		CHECK_EQ_INT(stage_mod_rev(p->c, claim_key(p, i).s), k->rev);
		CHECK_EQ_INT(k->m.attempt, 1);
		CHECK_EQ_INT(field(p->c, claim_key(p, i).s, "attempt"), 1);
		CHECK_EQ_SLICE(((struct slice){k->payload.s, k->payload.len}), SLICE_LIT("rows"));
	}
	play_end(p);
}

TEST(where_one_pointer_is_gone_the_others_are_claimed)
{
	struct play *p = play_begin(4);
	struct claim other = stage_pending(p->c, p->ulids[2], &p->h);

	CHECK_EQ_INT(queue_claim(p->c, &p->f, &other, 1, &e), 0);
	CHECK_EQ_INT(queue_claim(p->c, &p->f, p->claims, 4, &e), 0);
	CHECK(p->claims[0].rev && p->claims[1].rev && !p->claims[2].rev && p->claims[3].rev);
	check_census(p->c, 0, 4, 0);
	CHECK_EQ_INT(p->claims[3].payload.len, 4);
	stage_claim_release(&other);
	play_end(p);
}

TEST(a_pointer_that_changed_is_not_claimed)
{
	struct play *p = play_begin(2);

	p->claims[0].queue_rev--;
	CHECK_EQ_INT(queue_claim(p->c, &p->f, p->claims, 2, &e), 0);
	CHECK(!p->claims[0].rev && p->claims[1].rev);
	check_census(p->c, 1, 1, 0);
	play_end(p);
}

TEST(where_one_hold_is_lost_the_messages_of_the_others_are_claimed)
{
	struct play *p = play_begin(2);
	struct hold other = stage_take(p->c, &p->f, "other");
	char ulid[ULID_LEN + 1];
	struct claim k[2];

	stage_publish(p->c, "s", "other", SLICE_LIT("rows"), ulid);
	k[0] = stage_pending(p->c, p->ulids[0], &p->h);
	k[1] = stage_pending(p->c, ulid, &other);
	stage_put(p->c, key_writer("h").s, "thief");
	CHECK_EQ_INT(queue_claim(p->c, &p->f, k, 2, &e), 0);
	CHECK(!k[0].rev && k[1].rev);
	check_census(p->c, 2, 1, 0);
	stage_claim_release(&k[0]);
	stage_claim_release(&k[1]);
	play_end(p);
}

TEST(a_dead_session_claims_nothing)
{
	struct play *p = play_begin(2);

	stage_die(p->c, "one");
	CHECK_EQ_INT(queue_claim(p->c, &p->f, p->claims, 2, &e), -EOWNERDEAD);
	stage_enter(p->c, "one");
	CHECK_EQ_INT(queue_claim(p->c, &p->f, p->claims, 2, &e), -EOWNERDEAD);
	check_census(p->c, 2, 0, 0);
	play_end(p);
}

TEST(a_message_without_its_payload_is_claimed_empty)
{
	struct play *p = play_begin(1);

	stage_delete(p->c, key_payload(p->ulids[0]).s);
	CHECK_EQ_INT(queue_claim(p->c, &p->f, p->claims, 1, &e), 0);
	CHECK(p->claims[0].rev && !p->claims[0].payload.len);
	play_end(p);
}

TEST(a_claim_of_too_many_is_refused_and_of_the_most_is_made)
{
	struct play *p = play_begin(1);
	struct claim k[QUEUE_CLAIM_MAX + 1] = {0};
	char ulid[ULID_LEN + 1];

	CHECK_EQ_INT(queue_claim(p->c, &p->f, k, QUEUE_CLAIM_MAX + 1, &e), -E2BIG);
	for (size_t i = 0; i < QUEUE_CLAIM_MAX; i++) {
		stage_publish(p->c, "s", "h", SLICE_LIT("rows"), ulid);
		k[i] = stage_pending(p->c, ulid, &p->h);
	}
	CHECK_EQ_INT(queue_claim(p->c, &p->f, k, QUEUE_CLAIM_MAX, &e), 0);
	check_census(p->c, 1, QUEUE_CLAIM_MAX, 0);
	for (size_t i = 0; i < QUEUE_CLAIM_MAX; i++) {
		CHECK(k[i].rev && k[i].payload.len);
		stage_claim_release(&k[i]);
	}
	play_end(p);
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void complete_all(struct play *p)
{
	ending_reset(&p->d);
	for (size_t i = 0; i < p->n; i++)
		ending_complete(&p->d, &p->claims[i]);
	etcd_then_put(&p->d.t, "/telemetry/data/h/0/x", SLICE_LIT("chunk"), 0);
}

TEST(completing_stores_the_chunks_and_removes_claims_and_payloads)
{
	struct play *p = play_claimed(3);
	int64_t rev = 0;

	complete_all(p);
	CHECK_EQ_INT(ending_send(&p->d, &rev, &e), 0);
	CHECK_EQ_INT(rev, stage_mod_rev(p->c, "/telemetry/data/h/0/x"));
	CHECK(!p->claims[0].rev && !p->claims[1].rev && !p->claims[2].rev);
	check_census(p->c, 0, 0, 0);
	play_end(p);
}

TEST(a_session_that_ended_completes_nothing)
{
	struct play *p = play_claimed(2);

	stage_die(p->c, "one");
	complete_all(p);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), -EOWNERDEAD);
	stage_enter(p->c, "one");
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), -EOWNERDEAD);
	CHECK_EQ_INT(stage_mod_rev(p->c, "/telemetry/data/h/0/x"), 0);
	check_census(p->c, 0, 2, 0);
	play_end(p);
}

TEST(a_writer_whose_host_was_taken_completes_nothing)
{
	struct play *p = play_claimed(2);

	stage_put(p->c, key_writer("h").s, "thief");
	complete_all(p);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), -ESTALE);
	CHECK_EQ_INT(stage_mod_rev(p->c, "/telemetry/data/h/0/x"), 0);
	check_census(p->c, 0, 2, 0);
	play_end(p);
}

/* The answer to the first sending is lost; the second finds what the first did. */
static void send_unheard(struct ending *d)
{
	struct etcd_reply reply;

	CHECK_EQ_INT(etcd_txn_send(&d->t, &reply, &e), 0);
	CHECK(reply.succeeded);
	etcd_reply_release(&reply);
}

TEST(a_completion_sent_again_after_an_unknown_outcome_is_done)
{
	struct play *p = play_claimed(2);
	int64_t stored;

	complete_all(p);
	send_unheard(&p->d);
	stored = stage_mod_rev(p->c, "/telemetry/data/h/0/x");
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	CHECK_EQ_INT(stage_mod_rev(p->c, "/telemetry/data/h/0/x"), stored);
	check_census(p->c, 0, 0, 0);
	play_end(p);
}

TEST(every_other_ending_sent_again_after_an_unknown_outcome_is_done)
{
	struct play *p = play_claimed(3);

	ending_reset(&p->d);
	ending_part(&p->d, &p->claims[0], 1);
	ending_dead_letter(&p->d, &p->claims[1], "why");
	ending_give_back(&p->d, &p->claims[2]);
	send_unheard(&p->d);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	CHECK_EQ_INT(p->claims[0].rev, stage_mod_rev(p->c, claim_key(p, 0).s));
	CHECK_EQ_INT(p->claims[0].m.part, 1);
	check_census(p->c, 1, 1, 1);
	ending_reset(&p->d);
	ending_complete(&p->d, &p->claims[0]);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	check_census(p->c, 1, 0, 1);
	play_end(p);
}

TEST(a_message_is_completed_in_parts)
{
	struct play *p = play_claimed(1);
	struct claim *k = &p->claims[0];

	for (int64_t part = 1; part <= 3; part++) {
		ending_reset(&p->d);
		ending_part(&p->d, k, part);
		CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
		CHECK_EQ_INT(k->m.part, part);
		CHECK_EQ_INT(field(p->c, claim_key(p, 0).s, "part"), part);
		CHECK_EQ_INT(field(p->c, claim_key(p, 0).s, "attempt"), 1);
		check_census(p->c, 0, 1, 0);
	}
	ending_reset(&p->d);
	ending_complete(&p->d, k);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	check_census(p->c, 0, 0, 0);
	play_end(p);
}

TEST(a_message_given_back_keeps_its_parts_and_has_its_attempt_again)
{
	struct play *p = play_claimed(2);
	struct key q = key_queue(p->ulids[0]);

	ending_reset(&p->d);
	ending_part(&p->d, &p->claims[0], 2);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	ending_reset(&p->d);
	ending_give_back(&p->d, &p->claims[0]);
	ending_give_back(&p->d, &p->claims[1]);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	CHECK_EQ_INT(field(p->c, q.s, "attempt"), 0);
	CHECK_EQ_INT(field(p->c, q.s, "part"), 2);
	CHECK_EQ_INT(field(p->c, q.s, "sequence"), 1);
	check_census(p->c, 2, 0, 0);
	play_end(p);
}

TEST(a_dead_letter_keeps_its_payload_and_says_why)
{
	struct play *p = play_claimed(1);
	struct key dead = key_deadletter(p->ulids[0]);

	ending_reset(&p->d);
	ending_dead_letter(&p->d, &p->claims[0], "it \"smells\"");
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	CHECK(strstr(stage_read(p->c, dead.s), "\"reason\":\"it \\\"smells\\\"\""));
	CHECK_EQ_INT(field(p->c, dead.s, "attempt"), 1);
	CHECK_EQ_STR(stage_read(p->c, key_payload(p->ulids[0]).s), "rows");
	CHECK(!p->claims[0].m.reason);
	check_census(p->c, 0, 0, 1);
	play_end(p);
}

TEST(an_ending_too_large_for_etcd_is_refused_and_nothing_is_done)
{
	struct play *p = play_claimed(1);
	char key[64];

	complete_all(p);
	for (int i = 0; i < ETCD_TXN_OPS; i++) {
		snprintf(key, sizeof(key), "/telemetry/data/h/0/%d", i);
		etcd_then_put(&p->d.t, key, SLICE_LIT("x"), 0);
	}
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), -E2BIG);
	check_census(p->c, 0, 1, 0);
	complete_all(p);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	check_census(p->c, 0, 0, 0);
	play_end(p);
}

/* ---- recovery -------------------------------------------------------------------------------- */

static struct recovered recover(struct etcd *c, int64_t max_retries)
{
	struct recovered r = {0};

	CHECK_EQ_INT(queue_recover(c, max_retries, &r, &e), 0);
	map_release(&r.alive);
	return r;
}

TEST(what_a_dead_consumer_held_is_queued_again_with_its_attempts)
{
	struct play *p = play_claimed(3);
	struct recovered r;

	stage_die(p->c, "one");
	r = recover(p->c, 3);
	CHECK(r.requeued == 3 && !r.dead && !r.dead_rows);
	CHECK_EQ_INT(field(p->c, key_queue(p->ulids[0]).s, "attempt"), 1);
	check_census(p->c, 3, 0, 0);
	r = recover(p->c, 3);
	CHECK(!r.requeued && !r.dead);
	complete_all(p);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), -EOWNERDEAD);
	check_census(p->c, 3, 0, 0);
	play_end(p);
}

TEST(a_message_whose_consumers_die_is_dead_at_its_last_attempt)
{
	struct play *p = play_begin(1);
	struct fence f = p->f;
	struct hold h = p->h, next;
	struct recovered r;

	for (int attempt = 1; attempt <= 3; attempt++) {
		struct claim k = stage_pending(p->c, p->ulids[0], &h);

		CHECK_EQ_INT(queue_claim(p->c, &f, &k, 1, &e), 0);
		CHECK_EQ_INT(k.m.attempt, attempt);
		stage_claim_release(&k);
		stage_die(p->c, f.consumer);
		r = recover(p->c, 3);
		CHECK_EQ_INT(r.requeued, attempt < 3);
		CHECK_EQ_INT(r.dead, attempt == 3);
		CHECK_EQ_INT(r.dead_rows, attempt == 3);
		f = stage_enter(p->c, attempt == 1 ? "two" : attempt == 2 ? "three" : "four");
		CHECK_EQ_INT(queue_take_host(p->c, &f, "h", stage_read(p->c, key_writer("h").s),
					     stage_mod_rev(p->c, key_writer("h").s), &next, &e),
			     0);
		h = next;
	}
	CHECK(strstr(stage_read(p->c, key_deadletter(p->ulids[0]).s),
		     "\"reason\":\"its collector"));
	check_census(p->c, 0, 0, 1);
	play_end(p);
}

TEST(the_claims_of_the_living_are_left_alone)
{
	struct play *p = play_claimed(2);
	struct fence two = stage_enter(p->c, "two");
	struct hold h = stage_take(p->c, &two, "other");
	char ulid[ULID_LEN + 1];
	struct recovered r;
	struct claim k;

	stage_publish(p->c, "s", "other", SLICE_LIT("rows"), ulid);
	k = stage_pending(p->c, ulid, &h);
	CHECK_EQ_INT(queue_claim(p->c, &two, &k, 1, &e), 0);
	r = recover(p->c, 1);
	CHECK(!r.requeued && !r.dead);
	stage_die(p->c, "two");
	r = recover(p->c, 5);
	CHECK(r.requeued == 1 && !r.dead);
	check_census(p->c, 1, 2, 0);
	complete_all(p);
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	check_census(p->c, 1, 0, 0);
	stage_claim_release(&k);
	play_end(p);
}

/* More than one transaction of them; half have no attempt left. */
TEST(many_orphans_are_recovered_each_by_its_own_count)
{
	struct play *p = play_begin(0);
	char ulid[ULID_LEN + 1], id[16], text[4096];
	struct recovered r;
	struct key key;

	for (int i = 0; i < 70; i++) {
		stage_publish(p->c, "s", "h", SLICE_LIT("rows"), ulid);
		snprintf(text, sizeof(text), "%s", stage_read(p->c, key_queue(ulid).s));
		*(strstr(text, "\"attempt\":") + strlen("\"attempt\":")) = i % 2 ? '2' : '1';
		snprintf(id, sizeof(id), "dead%d", i % 3);
		key = key_processing(id, wall_now_ns(), ulid);
		stage_delete(p->c, key_queue(ulid).s);
		stage_put(p->c, key.s, text);
	}
	check_census(p->c, 0, 70, 0);
	r = recover(p->c, 2);
	CHECK(r.requeued == 35 && r.dead == 35 && r.dead_rows == 35);
	check_census(p->c, 35, 0, 35);
	play_end(p);
}

struct recoverer {
	pthread_t thread;
	struct etcd *c;
	struct recovered r;
	int err;
};

static void *recover_now(void *arg)
{
	struct recoverer *x = arg;
	struct err mine;

	x->err = queue_recover(x->c, 3, &x->r, &mine);
	map_release(&x->r.alive);
	return NULL;
}

TEST(several_may_recover_at_once)
{
	struct play *p = play_claimed(MANY);
	struct recoverer x[3];
	int64_t sum = 0;

	stage_die(p->c, "one");
	for (int i = 0; i < 3; i++) {
		x[i] = (struct recoverer){.c = p->c};
		pthread_create(&x[i].thread, NULL, recover_now, &x[i]);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(x[i].thread, NULL);
		CHECK_EQ_INT(x[i].err, 0);
		sum += x[i].r.requeued;
	}
	CHECK_EQ_INT(sum, MANY);
	check_census(p->c, MANY, 0, 0);
	play_end(p);
}

struct janitor {
	pthread_t thread;
	struct etcd *c;
	atomic_int rounds;
	atomic_bool stop;
	struct recovered r;
};

static void *recover_always(void *arg)
{
	struct janitor *j = arg;
	struct err mine;

	while (!j->stop) {
		if (queue_recover(j->c, 3, &j->r, &mine))
			break;
		j->rounds++;
	}
	map_release(&j->r.alive);
	return NULL;
}

static void await_rounds(struct janitor *j, int n)
{
	struct mono deadline = mono_in_ms(20000);
	int until = j->rounds + n;

	while (j->rounds < until && mono_ms_until(deadline) > 0)
		usleep(200);
	CHECK(j->rounds >= until);
}

/* A session and its first claim, both after the recovery has listed who lives. */
static void come_with_a_claim(struct etcd *c, const char *id, const char *claim)
{
	struct etcd_reply reply;
	struct etcd_txn t;

	etcd_txn_init(&t, c, "test");
	etcd_then_put(&t, key_consumer(id).s, SLICE_LIT("{}"), 0);
	etcd_then_put(&t, claim,
		      SLICE_LIT("{\"host\":\"h\",\"schema\":\"v1\",\"sha256\":"
				"\"00000000000000000000000000000000"
				"00000000000000000000000000000000\"}"),
		      0);
	if (CHECK_EQ_INT(etcd_txn_send(&t, &reply, &e), 0))
		etcd_reply_release(&reply);
	etcd_txn_release(&t);
}

TEST(a_consumer_that_comes_during_a_recovery_is_left_alone)
{
	struct janitor j = {.c = stage_open()};
	char id[16], ulid[ULID_LEN + 1];

	pthread_create(&j.thread, NULL, recover_always, &j);
	await_rounds(&j, 1);
	for (int i = 0; i < 100; i++) {
		struct key claim;

		snprintf(id, sizeof(id), "c%d", i);
		ulid_new(ulid);
		claim = key_processing(id, i, ulid);
		come_with_a_claim(j.c, id, claim.s);
		await_rounds(&j, 2);
		CHECK(stage_mod_rev(j.c, claim.s) != 0);
		stage_delete(j.c, claim.s);
		stage_die(j.c, id);
	}
	j.stop = true;
	pthread_join(j.thread, NULL);
	CHECK(!j.r.requeued && !j.r.dead);
	etcd_close(j.c);
}

/* ---- replacing ------------------------------------------------------------------------------- */

TEST(a_message_is_replaced_by_others_step_by_step_and_only_as_it_was_read)
{
	struct play *p = play_begin(1);
	struct key key = key_queue(p->ulids[0]);
	int64_t rev = p->claims[0].queue_rev;
	struct message *m = &p->claims[0].m;
	struct outgoing out[3];

	make_messages(out, 3);
	CHECK_EQ_INT(queue_replace(p->c, key.s, rev - 1, m, 0, out, 3, &e), -EAGAIN);
	check_census(p->c, 1, 0, 0);
	CHECK_EQ_INT(queue_replace(p->c, key.s, rev, m, 2, out, 2, &e), 0);
	check_census(p->c, 3, 0, 0);
	CHECK_EQ_INT(field(p->c, key.s, "part"), 2);
	CHECK_EQ_INT(queue_replace(p->c, key.s, rev, m, 0, &out[2], 1, &e), -EAGAIN);
	rev = stage_mod_rev(p->c, key.s);
	CHECK_EQ_INT(queue_replace(p->c, key.s, rev, m, 0, &out[2], 1, &e), 0);
	check_census(p->c, 3, 0, 0);
	CHECK_EQ_INT(stage_mod_rev(p->c, key.s), 0);
	release_messages(out, 3);
	play_end(p);
}

TEST(a_message_is_buried_with_a_reason_and_only_as_it_was_read)
{
	struct play *p = play_begin(1);
	struct key key = key_queue(p->ulids[0]), dead = key_deadletter(p->ulids[0]);
	int64_t rev = p->claims[0].queue_rev;

	CHECK_EQ_INT(queue_bury(p->c, key.s, rev + 1, &p->claims[0].m, "bad", &e), -EAGAIN);
	check_census(p->c, 1, 0, 0);
	CHECK_EQ_INT(queue_bury(p->c, key.s, rev, &p->claims[0].m, "bad", &e), 0);
	check_census(p->c, 0, 0, 1);
	rev = stage_mod_rev(p->c, dead.s);
	CHECK_EQ_INT(queue_bury(p->c, dead.s, rev, &p->claims[0].m, "worse", &e), 0);
	CHECK(strstr(stage_read(p->c, dead.s), "\"reason\":\"worse\""));
	check_census(p->c, 0, 0, 1);
	play_end(p);
}

/* ---- misfits --------------------------------------------------------------------------------- */

TEST(what_has_no_ulid_in_its_key_is_dead_lettered_with_its_payload_under_a_new_one)
{
	struct play *p = play_begin(0);
	int64_t rev;

	stage_put(p->c, KEY_QUEUE "mine", "{}");
	stage_put(p->c, KEY_PAYLOAD "mine", "rows");
	rev = stage_mod_rev(p->c, KEY_QUEUE "mine");
	CHECK_EQ_INT(queue_refuse(p->c, &p->f, KEY_QUEUE "mine", rev - 1, "why", &e), 0);
	CHECK_EQ_INT(stage_count(p->c, KEY_QUEUE), 1);
	CHECK_EQ_INT(queue_refuse(p->c, &p->f, KEY_QUEUE "mine", rev, "why", &e), 0);
	check_census(p->c, 0, 0, 1);
	play_end(p);
}

TEST(what_a_dead_consumer_left_that_is_no_claim_is_dead_lettered_with_its_bytes)
{
	static const char ulid[] = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
	struct play *p = play_claimed(1);
	struct recovered r;
	struct key letter = key_deadletter(ulid);
	const char *text;

	stage_put(p->c, KEY_PROCESSING "dead/00000000000000000001_01ARZ3NDEKTSV4RRFFQ69G5FAV",
		  "no JSON");
	stage_put(p->c, KEY_PROCESSING "dead/x", "{}");
	stage_put(p->c, KEY_PROCESSING "x", "");
	stage_die(p->c, "one");
	r = recover(p->c, 3);
	CHECK(r.requeued == 1 && r.dead == 3 && r.unreadable == 3 && !r.dead_rows);
	CHECK(strstr(r.unreadable_why.text, KEY_PROCESSING "x"));
	CHECK_EQ_INT(stage_count(p->c, KEY_PROCESSING), 0);
	CHECK_EQ_INT(stage_count(p->c, KEY_DEADLETTER), 3);
	text = stage_read(p->c, letter.s);
	CHECK(strstr(text, "\"raw\":\"bm8gSlNPTg==\"") && strstr(text, "JSON line 1"));
	play_end(p);
}

TEST(what_a_living_consumer_has_that_is_no_claim_is_left_to_it)
{
	struct play *p = play_claimed(1);
	struct recovered r;

	stage_put(p->c, KEY_PROCESSING "one/x", "{}");
	r = recover(p->c, 3);
	CHECK(!r.dead && !r.requeued);
	CHECK_EQ_INT(stage_count(p->c, KEY_PROCESSING), 2);
	play_end(p);
}

TEST(while_there_are_too_many_dead_letters_a_recovery_adds_none)
{
	struct play *p = play_claimed(1);
	struct recovered r;

	stage_put(p->c, KEY_PROCESSING "dead/x", "{}");
	stage_die(p->c, "one");
	r = recover(p->c, QUEUE_NO_DEAD_LETTERS);
	CHECK(r.requeued == 1 && !r.dead);
	CHECK_EQ_STR(stage_read(p->c, KEY_PROCESSING "dead/x"), "{}");
	play_end(p);
}

/* ---- whose messages they are ----------------------------------------------------------------- */

static void check_foreign(struct play *p, bool first, bool second)
{
	CHECK_EQ_INT(queue_claim(p->c, &p->f, p->claims, p->n, &e), 0);
	CHECK(p->claims[0].rev && p->claims[1].rev);
	CHECK_EQ_INT(p->claims[0].foreign, first);
	CHECK_EQ_INT(p->claims[1].foreign, second);
	play_end(p);
}

TEST(what_a_record_has_published_is_not_foreign)
{
	check_foreign(play_begin(2), false, false);
}

TEST(a_message_whose_source_has_no_record_is_foreign)
{
	struct play *p = play_begin(2);

	stage_delete(p->c, key_producer("s").s);
	check_foreign(p, true, true);
}

/* As when the record was deleted and its source begun anew. */
TEST(a_message_past_what_its_record_has_published_is_foreign)
{
	struct play *p = play_begin(2);

	stage_put(p->c, key_producer("s").s, "{\"sequence\":1}");
	check_foreign(p, false, true);
}

TEST(a_message_without_a_source_or_with_an_impossible_one_is_foreign)
{
	struct play *p = play_begin(2);

	p->claims[0].m.source[0] = '\0';
	free(p->claims[1].m.source);
	p->claims[1].m.source = xstrdup("s/owner");
	stage_put(p->c, key_producer_owner("s").s, "{\"sequence\":100}");
	check_foreign(p, true, true);
}

/* More than the claim's own transaction asks for. */
TEST(each_of_many_sources_is_asked_for)
{
	struct play *p = play_begin(0);
	struct claim claims[QUEUE_CLAIM_MAX];
	char ulid[ULID_LEN + 1], source[16];

	for (size_t i = 0; i < QUEUE_CLAIM_MAX; i++) {
		snprintf(source, sizeof(source), "s%zu", i);
		stage_publish(p->c, source, "h", SLICE_LIT("rows"), ulid);
		claims[i] = stage_pending(p->c, ulid, &p->h);
		if (i % 3 == 0)
			stage_delete(p->c, key_producer(source).s);
	}
	CHECK_EQ_INT(queue_claim(p->c, &p->f, claims, QUEUE_CLAIM_MAX, &e), 0);
	for (size_t i = 0; i < QUEUE_CLAIM_MAX; i++) {
		CHECK_EQ_INT(claims[i].foreign, i % 3 == 0);
		stage_claim_release(&claims[i]);
	}
	play_end(p);
}

/* ---- all together ---------------------------------------------------------------------------- */

/* A random walk of one message through all places: never lost, never twice. */
static void random_step(struct play *p, struct claim *k, uint64_t dice)
{
	struct key dead = key_deadletter(p->ulids[0]);

	ending_reset(&p->d);
	if (dice % 4 == 0) {
		ending_give_back(&p->d, k);
	} else if (dice % 4 == 1) {
		ending_part(&p->d, k, k->m.part + 1);
	} else if (dice % 4 == 2) {
		ending_dead_letter(&p->d, k, "by chance");
	} else {
		stage_die(p->c, p->f.consumer);
		recover(p->c, 1000);
		p->f = stage_enter(p->c, p->f.consumer);
		CHECK_EQ_INT(queue_take_host(p->c, &p->f, "h", "nobody",
					     stage_mod_rev(p->c, key_writer("h").s), &p->h, &e),
			     0);
		return;
	}
	CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	if (dice % 4 == 1) {
		ending_reset(&p->d);
		ending_give_back(&p->d, k);
		CHECK_EQ_INT(ending_send(&p->d, NULL, &e), 0);
	} else if (dice % 4 == 2) { /* replayed, as --dead-letters does */
		char text[4096];

		check_census(p->c, 0, 0, 1);
		snprintf(text, sizeof(text), "%s", stage_read(p->c, dead.s));
		stage_delete(p->c, dead.s);
		stage_put(p->c, key_queue(p->ulids[0]).s, text);
	}
}

TEST(a_message_is_in_one_place_after_every_step)
{
	struct play *p = play_begin(1);
	uint64_t state = 12345;

	for (int i = 0; i < 60; i++) {
		struct claim k = stage_pending(p->c, p->ulids[0], &p->h);

		CHECK_EQ_INT(queue_claim(p->c, &p->f, &k, 1, &e), 0);
		CHECK(k.rev != 0);
		check_census(p->c, 0, 1, 0);
		state = state * 6364136223846793005 + 1442695040888963407;
		random_step(p, &k, state >> 40);
		check_census(p->c, 1, 0, 0);
		stage_claim_release(&k);
	}
	play_end(p);
}
