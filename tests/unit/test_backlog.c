#include "../../collector/backlog.h"
#include "../lib/hostile.h"
#include "../lib/test.h"
#include "etcd.h"

#include <stdio.h>

/* A queue as etcd has it, and the backlog that is told of it. */
enum { MESSAGES = 400, SOURCES = 3, HOSTS = 2, ROOM = 20 };

struct queued {
	char ulid[ULID_LEN + 1];
	int source, host;
	int64_t sequence, attempt;
	bool there;
};

struct scene {
	struct roster roster;
	struct backlog b;
	struct queued list[MESSAGES];
	size_t n;
	int64_t sequences[SOURCES], taken[SOURCES][HOSTS], rev;
};

static void scene_begin(struct scene *s, size_t room)
{
	*s = (struct scene){.roster = {.n_workers = 1}};
	backlog_init(&s->b, &s->roster, 3);
	s->b.max = room;
}

static void scene_end(struct scene *s)
{
	backlog_release(&s->b);
	roster_release(&s->roster);
}

/* Shows the message to fn as etcd would. */
static void tell(struct scene *s, const struct queued *q,
		 void (*fn)(struct backlog *b, const struct etcd_kv *kv))
{
	char host[8], source[8];
	struct message m = {.topic = (char *)"telemetry",
			    .host = host,
			    .source = source,
			    .schema = (char *)MESSAGE_SCHEMA,
			    .trace_id = (char *)"",
			    .sequence = q->sequence,
			    .attempt = q->attempt,
			    .rows = 1,
			    .bytes = 10};
	struct key key = key_queue(q->ulid);
	struct strbuf value;

	snprintf(host, sizeof(host), "h%d", q->host);
	snprintf(source, sizeof(source), "s%d", q->source);
	strbuf_init(&value, 4096);
	message_encode(&value, &m);
	fn(&s->b, &(struct etcd_kv){.key = slice_str(key.s),
				    .value = {value.s, value.len},
				    .mod_rev = ++s->rev});
	strbuf_release(&value);
}

static void put(struct backlog *b, const struct etcd_kv *kv)
{
	backlog_put(b, kv);
}

static struct queued *publish(struct scene *s, int source, int host)
{
	struct queued *q = &s->list[s->n++];

	*q = (struct queued){
		.source = source, .host = host, .sequence = ++s->sequences[source], .there = true};
	ulid_new(q->ulid);
	return q;
}

static void list_again(struct scene *s)
{
	backlog_list_begin(&s->b);
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].there)
			tell(s, &s->list[i], backlog_list_kv);
	backlog_list_end(&s->b);
}

static struct queued *find(struct scene *s, const char *ulid)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->list[i].ulid, ulid))
			return &s->list[i];
	return NULL;
}

static struct host *host(struct scene *s, int i)
{
	char name[8];

	snprintf(name, sizeof(name), "h%d", i);
	return roster_by_name(&s->roster, name);
}

/* Takes at most max of a host's, as a worker would; each must follow what was taken of its source
 * before, and nothing of it may be queued that is older. Returns how many. */
static size_t take(struct scene *s, int h, size_t max)
{
	struct claim claims[ROOM] = {0};
	size_t n = backlog_take(&s->b, host(s, h), claims, MIN(max, ROOM), 1 << 20);

	for (size_t i = 0; i < n; i++) {
		struct queued *q = find(s, claims[i].m.ulid);

		CHECK(q->there && q->host == h);
		CHECK(q->sequence > s->taken[q->source][h]);
		s->taken[q->source][h] = q->sequence;
		q->there = false;
		for (size_t k = 0; k < s->n; k++)
			CHECK(!s->list[k].there || s->list[k].source != q->source ||
			      s->list[k].host != h || s->list[k].sequence > q->sequence);
		message_release(&claims[i].m);
	}
	return n;
}

TEST(messages_of_a_source_come_in_order_however_they_are_told)
{
	struct scene s;

	scene_begin(&s, 1000);
	list_again(&s);
	for (int i = 0; i < 9; i++)
		publish(&s, i % 2, 0);
	for (size_t i = s.n; i-- > 0;)
		tell(&s, &s.list[i], put);
	CHECK_EQ_INT(take(&s, 0, 4), 4);
	CHECK_EQ_INT(take(&s, 0, 9), 5);
	CHECK(backlog_is_empty(&s.b) && !backlog_first(host(&s, 0)));
	scene_end(&s);
}

TEST(a_redelivered_message_comes_alone)
{
	struct scene s;

	scene_begin(&s, 1000);
	for (int i = 0; i < 5; i++)
		publish(&s, 0, 0)->attempt = i == 2;
	list_again(&s);
	CHECK(!backlog_first_is_redelivery(host(&s, 0)));
	CHECK_EQ_INT(take(&s, 0, 9), 2);
	CHECK(backlog_first_is_redelivery(host(&s, 0)));
	CHECK_EQ_INT(take(&s, 0, 9), 1);
	CHECK_EQ_INT(take(&s, 0, 9), 2);
	scene_end(&s);
}

TEST(past_its_room_nothing_is_held_until_half_is_gone_and_the_queue_is_listed_again)
{
	struct scene s;

	scene_begin(&s, ROOM);
	list_again(&s);
	for (int i = 0; i < 3 * ROOM; i++)
		tell(&s, publish(&s, 0, 0), put);
	CHECK_EQ_INT(host(&s, 0)->n_pending, ROOM);
	CHECK(!backlog_is_empty(&s.b) && !backlog_wants_list(&s.b));
	CHECK_EQ_INT(take(&s, 0, ROOM / 2), ROOM / 2);
	CHECK(!backlog_wants_list(&s.b));
	CHECK_EQ_INT(take(&s, 0, 1), 1);
	CHECK(backlog_wants_list(&s.b) && !backlog_wants_list(&s.b));
	for (int i = 0; i < 3; i++) {
		list_again(&s);
		while (take(&s, 0, ROOM))
			continue;
		backlog_wants_list(&s.b);
	}
	list_again(&s);
	CHECK(backlog_is_empty(&s.b));
	CHECK_EQ_INT(s.taken[0][0], 3 * ROOM);
	scene_end(&s);
}

/* A message that comes back to a full backlog is older than what its lane holds. */
TEST(what_follows_a_message_that_there_was_no_room_for_is_not_held_either)
{
	struct scene s;
	struct queued *first;

	scene_begin(&s, ROOM);
	list_again(&s);
	first = publish(&s, 0, 0);
	for (int i = 0; i < ROOM / 2; i++)
		tell(&s, publish(&s, 0, 0), put);
	for (int i = 0; i < ROOM / 2; i++)
		tell(&s, publish(&s, 1, 0), put);
	tell(&s, first, put);
	CHECK_EQ_INT(host(&s, 0)->n_pending, ROOM / 2); /* of the other source */
	while (take(&s, 0, 3))
		continue;
	CHECK_EQ_INT(s.taken[0][0], 0);
	CHECK(backlog_wants_list(&s.b));
	list_again(&s);
	while (take(&s, 0, 3))
		continue;
	CHECK_EQ_INT(s.taken[0][0], 1 + ROOM / 2);
	scene_end(&s);
}

/* Publishing, taking, giving back and listing in any order, with too little room: order holds, and
 * in the end everything was taken. */
TEST(a_random_walk_takes_every_message_once_and_in_order)
{
	static struct scene s;
	struct rng g = {2026};

	scene_begin(&s, ROOM);
	list_again(&s);
	while (s.n < MESSAGES) {
		uint64_t dice = rng_below(&g, 10);

		if (dice < 6)
			tell(&s,
			     publish(&s, (int)rng_below(&g, SOURCES), (int)rng_below(&g, HOSTS)),
			     put);
		else if (dice < 9)
			take(&s, (int)rng_below(&g, HOSTS), 1 + rng_below(&g, 5));
		if (backlog_wants_list(&s.b) || !rng_below(&g, 50))
			list_again(&s);
	}
	for (int left = MESSAGES; left && !backlog_is_empty(&s.b); left--) {
		while (take(&s, 0, 7) + take(&s, 1, 7))
			continue;
		backlog_wants_list(&s.b);
		list_again(&s);
	}
	for (size_t i = 0; i < s.n; i++)
		CHECK(!s.list[i].there);
	scene_end(&s);
}

TEST(what_is_no_message_is_kept_aside_with_the_reason)
{
	struct scene s;
	struct misfit *list;
	size_t n;

	scene_begin(&s, ROOM);
	list_again(&s);
	backlog_put(&s.b, &(struct etcd_kv){.key = slice_str(KEY_QUEUE "x"), .mod_rev = 7});
	backlog_put(&s.b, &(struct etcd_kv){.key = slice_str(key_queue(publish(&s, 0, 0)->ulid).s),
					    .value = slice_str("{}"),
					    .mod_rev = 8});
	CHECK(!backlog_is_empty(&s.b));
	list = backlog_take_misfits(&s.b, &n);
	CHECK_EQ_INT(n, 2);
	CHECK(!strcmp(list[0].key, KEY_QUEUE "x") && list[0].rev == 7 && list[0].reason[0]);
	CHECK(list[1].rev == 8 && strstr(list[1].reason, "host"));
	CHECK(backlog_is_empty(&s.b));
	free(list);
	scene_end(&s);
}
