#include "../../collector/join.h"
#include "../../collector/merge.h"
#include "../../collector/retention.h"
#include "../lib/desk.h"
#include "../lib/hostile.h"
#include "../lib/stage.h"
#include "../lib/test.h"

#include <stdio.h>

#define QUIET (MERGE_QUIET_MAX_MS + 1000)

/* ---- merging --------------------------------------------------------------------------------- */

static size_t step(struct desk *d)
{
	size_t parts = 0;

	CHECK_EQ_INT(merge_step(d->w, d->c, &d->f, &d->h, &d->leases, &parts, &d->e), 0);
	return parts;
}

/* Until nothing is due any more. */
static size_t merge_all(struct desk *d)
{
	size_t parts = 0;

	for (int i = 0; i < 100 && merge_due(d->w).ns <= mono_now().ns; i++)
		parts += step(d);
	CHECK(merge_due(d->w).ns > mono_now().ns);
	return parts;
}

static void store_one(struct desk *d, const char *gpu, int64_t ns, int value)
{
	CHECK_EQ_INT(STORE(d, {gpu, "A", "", "u", ns, hostile_textf("%d", value).p}), 0);
}

static void store_many(struct desk *d, int64_t ns, int n)
{
	for (int i = 0; i < n; i++)
		store_one(d, "0", ns + i, i);
}

/* What a reader sees of a GPU, beyond the text of its rows: per segment its incarnation, time of
 * storing, and the revision of each row's commit; per series the latest. Of chunks nothing. */
static char *desk_view(struct desk *d, const char *gpu)
{
	struct library l = desk_read(d, gpu);
	char *rows = desk_rows(d, gpu);
	struct strbuf out;

	strbuf_init(&out, 1 << 26);
	strbuf_adds(&out, rows);
	free(rows);
	for (size_t i = 0; i < l.n; i++) {
		const struct chunk *c = &l.list[i].c;
		uint32_t n = MAX(c->n_commits, 1);
		int64_t stored = 0;

		for (size_t k = 0; k < l.n; k++)
			if (l.list[k].c.segment_ns == c->segment_ns)
				stored = MAX(stored, l.list[k].c.stored_ns);
		for (uint32_t k = 0, row = 0; k < n; k++)
			for (uint32_t m = n > 1 || c->n_commits ? c->commits[k].rows
								: (uint32_t)c->rows;
			     m-- > 0; row++)
				strbuf_addf(&out, "%lld %lld: revision %lld of %llx, stored %lld\n",
					    (long long)c->segment_ns, (long long)c->first_seq + row,
					    (long long)(c->n_commits ? c->commits[k].revision
								     : l.list[i].create_rev),
					    (unsigned long long)c->incarnation, (long long)stored);
	}
	library_release(&l);
	return strbuf_take(&out);
}

/* The latest of each series in all chunks of a GPU, as readers take it from headers. */
static char *desk_latest(struct desk *d, const char *gpu)
{
	struct library l = desk_read(d, gpu);
	struct identity *id = desk_identity(d, gpu);
	struct strbuf out;

	strbuf_init(&out, 1 << 22);
	for (uint32_t s = 0; s < id->n_series; s++) {
		const struct chunk *at = NULL;
		const struct chunk_series *best = NULL;

		for (size_t i = 0; i < l.n; i++)
			for (uint32_t k = 0; k < l.list[i].c.n_series; k++) {
				const struct chunk_series *x = &l.list[i].c.series[k];

				if (x->id != s || (best && x->ahead > best->ahead) ||
				    (best && x->ahead == best->ahead && x->time.ns < best->time.ns))
					continue;
				best = x;
				at = &l.list[i].c;
			}
		if (best)
			strbuf_addf(&out, "%s: %lld %u %lld %.*s\n", id->series[s].name,
				    (long long)best->time.ns, best->ahead,
				    (long long)at->first_seq + best->row, (int)best->value.len,
				    best->value.p);
	}
	identity_free(id);
	library_release(&l);
	return strbuf_take(&out);
}

struct seen {
	char *view, *latest;
};

static struct seen look(struct desk *d, const char *gpu)
{
	return (struct seen){desk_view(d, gpu), desk_latest(d, gpu)};
}

static void check_seen(struct desk *d, const char *gpu, struct seen before)
{
	struct seen now = look(d, gpu);

	CHECK(!strcmp(now.view, before.view));
	CHECK(!strcmp(now.latest, before.latest));
	free(now.view);
	free(now.latest);
	free(before.view);
	free(before.latest);
}

static size_t chunks(struct desk *d)
{
	return stage_count(d->c, KEY_DATA);
}

static int64_t this_hour(void)
{
	return wall_now_ns() / HOUR * HOUR;
}

TEST(eight_chunks_of_an_open_segment_become_one)
{
	struct desk *d = desk_new();
	struct seen before;

	store_many(d, this_hour(), 7);
	CHECK_EQ_INT(merge_all(d), 0);
	store_one(d, "0", this_hour(), 7);
	before = look(d, "0");
	CHECK_EQ_INT(merge_all(d), 8);
	CHECK_EQ_INT(chunks(d), 1);
	check_seen(d, "0", before);
	store_many(d, this_hour() + 100, 56);
	before = look(d, "0");
	merge_all(d);
	CHECK(chunks(d) <= 2);
	check_seen(d, "0", before);
	desk_free(d);
}

TEST(a_gpu_that_is_idle_has_its_open_segment_in_one_chunk)
{
	struct desk *d = desk_new();
	struct library l;

	store_many(d, this_hour(), 8);
	merge_all(d);
	store_many(d, this_hour(), 5);
	merge_all(d);
	CHECK_EQ_INT(chunks(d), 6);
	desk_rest(d, QUIET);
	merge_all(d);
	l = desk_read(d, "0");
	CHECK(l.n == 1 && !l.list[0].c.sealed && l.list[0].c.rows == 13);
	library_release(&l);
	store_one(d, "0", this_hour(), 1);
	CHECK_EQ_INT(chunks(d), 2);
	desk_rest(d, QUIET);
	merge_all(d);
	CHECK_EQ_INT(chunks(d), 1);
	desk_free(d);
}

TEST(a_segment_that_is_over_is_sealed)
{
	struct desk *d = desk_new();
	struct seen before;
	struct library l;

	store_many(d, DAY_1, 3);
	store_many(d, DAY_1 + HOUR, 1);
	before = look(d, "0");
	desk_rest(d, QUIET);
	merge_all(d);
	l = desk_read(d, "0");
	CHECK(l.n == 2 && l.list[0].c.sealed && l.list[1].c.sealed);
	library_release(&l);
	check_seen(d, "0", before);
	CHECK(merge_due(d->w).ns == INT64_MAX);
	/* A late row is stored as ever, and sealed with what was there. */
	store_many(d, DAY_1, 1);
	CHECK_EQ_INT(chunks(d), 3);
	desk_rest(d, QUIET);
	merge_all(d);
	CHECK_EQ_INT(chunks(d), 2);
	desk_free(d);
}

TEST(a_new_writer_goes_on_merging)
{
	struct desk *d = desk_new();
	const struct retention forever = {0, INT64_MIN};
	struct seen before;
	size_t dropped;

	store_many(d, DAY_1, 20);
	before = look(d, "0");
	desk_load(d);
	CHECK(merge_due(d->w).ns == INT64_MAX);
	CHECK_EQ_INT(retention_sweep(d->w, d->c, &d->f, &d->h, &forever, &dropped, &d->e), 0);
	CHECK_EQ_INT(dropped, 0);
	desk_rest(d, QUIET);
	merge_all(d);
	CHECK_EQ_INT(chunks(d), 1);
	check_seen(d, "0", before);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "1"}), 0);
	free(desk_rows(d, "0"));
	desk_free(d);
}

/* ---- any rows -------------------------------------------------------------------------------- */

static void hostile_lines(struct rng *g, struct line *lines, size_t n)
{
	static const char *const gpus[] = {"0", "1"};

	for (size_t i = 0; i < n; i++)
		lines[i] = (struct line){
			.gpu = gpus[rng_below(g, 2)],
			.metric = hostile_textf("M%d", (int)rng_below(g, 12)).p,
			.labels = "",
			.uuid = rng_one_in(g, 10) ? hostile_name(g).p : "GPU-1",
			.ns = (rng_one_in(g, 4) ? this_hour() : DAY_1) +
			      (int64_t)rng_below(g, rng_one_in(g, 5) ? 2 * HOUR : 1000),
			.value = "",
		};
}

static int store_hostile(struct desk *d, struct rng *g, size_t n)
{
	struct line *lines = xcalloc(n, sizeof(*lines));
	struct sheet *s;
	int r;

	hostile_lines(g, lines, n);
	s = sheet_new(lines, n);
	for (size_t i = 0; i < n; i++) {
		s->rows[i].value = hostile_value(g);
		s->rows[i].time.digits = (uint8_t)rng_below(g, 10);
		s->rows[i].time.ns -=
			s->rows[i].time.ns % (s->rows[i].time.digits == 9 ? 1 : NS_PER_SEC);
	}
	r = desk_store_sheets(d, &s, 1);
	free(s);
	free(lines);
	return r;
}

TEST(whatever_the_rows_are_no_reader_sees_that_chunks_are_merged)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct desk *d = desk_new();
		struct rng g = {seed};
		struct seen before[2];

		for (int round = 0; round < 25; round++) {
			CHECK_EQ_INT(store_hostile(d, &g, 1 + rng_below(&g, seed == 3 ? 900 : 60)),
				     0);
			if (rng_one_in(&g, 3))
				desk_rest(d, QUIET);
			if (rng_one_in(&g, 4) && map_count(&d->w->gpus) == 2) {
				before[0] = look(d, "0");
				before[1] = look(d, "1");
				merge_all(d);
				check_seen(d, "0", before[0]);
				check_seen(d, "1", before[1]);
			}
		}
		before[0] = look(d, "0");
		before[1] = look(d, "1");
		desk_rest(d, QUIET);
		merge_all(d);
		check_seen(d, "0", before[0]);
		check_seen(d, "1", before[1]);
		desk_free(d);
	}
}

TEST(bodies_of_merged_chunks_stay_within_their_limit)
{
	struct desk *d = desk_new();
	struct rng g = {9};
	struct library l;
	struct seen before;

	for (int i = 0; i < 12; i++)
		CHECK_EQ_INT(store_hostile(d, &g, 2000), 0);
	before = look(d, "0");
	desk_rest(d, QUIET);
	merge_all(d);
	l = desk_read(d, "0"); /* checks them */
	CHECK(l.bodies.ranges[0].n >= 2);
	library_release(&l);
	check_seen(d, "0", before);
	desk_free(d);
}

/* ---- faults ---------------------------------------------------------------------------------- */

TEST(a_part_that_is_gone_or_changed_is_not_merged)
{
	struct desk *d = desk_new();
	struct library l;

	store_many(d, this_hour(), 8);
	l = desk_read(d, "0");
	/* Retention or a lease took one away after the writer had last read it. */
	stage_delete(d->c, key_data("h", "0", l.list[3].key.first_ns, l.list[3].key.ulid).s);
	library_release(&l);
	CHECK_EQ_INT(step(d), 0);
	CHECK_EQ_INT(chunks(d), 7);
	desk_rest(d, QUIET);
	merge_all(d);
	CHECK_EQ_INT(chunks(d), 2); /* before and behind the gap */
	desk_free(d);
}

TEST(who_is_no_longer_the_writer_merges_nothing)
{
	struct desk *d = desk_new();
	size_t parts;

	store_many(d, this_hour(), 8);
	stage_put(d->c, key_writer("h").s, "thief");
	CHECK_EQ_INT(merge_step(d->w, d->c, &d->f, &d->h, &d->leases, &parts, &d->e), -ESTALE);
	CHECK_EQ_INT(chunks(d), 8);
	desk_free(d);
}

/* The dead writer's merge reaches etcd only after another has taken over: a copy of everything that
 * it would have deleted is still there, and its session is not. */
TEST(a_new_writers_merge_and_a_late_one_of_the_old_do_not_mix)
{
	struct desk *d = desk_new(), old = {0};
	struct seen before;
	size_t parts;

	store_many(d, this_hour(), 8);
	before = look(d, "0");
	old = *d;
	leases_init(&old.leases, d->c);
	stage_die(d->c, "me");
	d->f = stage_enter(d->c, "you");
	CHECK_EQ_INT(queue_take_host(d->c, &d->f, "h", "me", d->h.rev, &d->h, &d->e), 0);
	d->w = NULL;
	desk_load(d);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", this_hour(), "8"}), 0);
	free(before.view);
	free(before.latest);
	before = look(d, "0");
	CHECK_EQ_INT(merge_step(old.w, d->c, &old.f, &old.h, &old.leases, &parts, &d->e), -ESTALE);
	CHECK_EQ_INT(chunks(d), 9);
	desk_rest(d, QUIET);
	merge_all(d);
	CHECK_EQ_INT(chunks(d), 1);
	check_seen(d, "0", before);
	writer_free(old.w);
	leases_release(&old.leases);
	desk_free(d);
}

TEST(a_damaged_chunk_stays_as_it_is_and_the_others_are_merged)
{
	struct desk *d = desk_new();
	char value[CHUNK_INLINE_MAX];
	struct etcd_reply reply;
	struct library l;
	struct etcd_txn t;
	struct key key;
	size_t n;

	store_many(d, DAY_1, 16);
	l = desk_read(d, "0");
	key = key_data("h", "0", l.list[5].key.first_ns, l.list[5].key.ulid);
	library_release(&l);
	CHECK_EQ_INT(etcd_get(d->c, key.s, NULL, 0, 0, 0, &reply, &d->e), 0);
	n = reply.ranges[0].kvs[0].value.len;
	memcpy(value, reply.ranges[0].kvs[0].value.p, n);
	etcd_reply_release(&reply);
	value[n - 1] ^= 1; /* of the body: its header still says what it was */
	etcd_txn_init(&t, d->c, "test");
	etcd_then_put(&t, key.s, (struct slice){value, n}, 0);
	CHECK_EQ_INT(etcd_txn_settle(&t, &reply, NULL, &d->e), 0);
	etcd_txn_release(&t);
	etcd_reply_release(&reply);
	desk_load(d);
	CHECK_EQ_INT(writer_know(d->w, d->c, &d->f, &d->h,
				 &(struct segment_ref){writer_gpu(d->w, "0"), DAY_1}, 1, true,
				 &d->e),
		     0);
	desk_rest(d, QUIET);
	merge_all(d);
	CHECK_EQ_INT(chunks(d), 3);
	CHECK(stage_mod_rev(d->c, key.s) > 0);
	desk_free(d);
}

TEST(a_segment_that_cannot_be_read_stops_merging_of_no_other)
{
	struct desk *d = desk_new();
	struct key junk = key_data("h", "0", DAY_1 + 1000, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
	size_t parts;

	store_many(d, DAY_1, 8);
	store_many(d, DAY_1 + HOUR, 8);
	for (int i = 0; i < 8; i++)
		store_one(d, "1", DAY_1 + i, i);
	stage_put(d->c, junk.s, "junk");
	desk_load(d);
	gpu_add_segment_state(writer_gpu(d->w, "0"), DAY_1);
	gpu_add_segment_state(writer_gpu(d->w, "0"), DAY_1 + HOUR);
	gpu_add_segment_state(writer_gpu(d->w, "1"), DAY_1);
	desk_rest(d, QUIET);
	CHECK_EQ_INT(merge_step(d->w, d->c, &d->f, &d->h, &d->leases, &parts, &d->e), -EUCLEAN);
	CHECK_EQ_STR(d->e.text, "h/0: no chunk");
	merge_all(d);
	CHECK_EQ_INT(chunks(d), 8 + 1 + 1 + 1);
	stage_delete(d->c, junk.s);
	desk_rest(d, 3600 * 1000);
	merge_all(d);
	CHECK_EQ_INT(chunks(d), 3);
	desk_free(d);
}

/* A chunk whose body does not fit its header's value. */
static void store_large(struct desk *d, const char *gpu, int64_t ns)
{
	enum { N = 2000 };
	struct line *lines = xcalloc(N, sizeof(*lines));

	for (int i = 0; i < N; i++)
		lines[i] = (struct line){
			gpu, "A", "", "u", ns + i, hostile_textf("%u", (unsigned)random_u64()).p};
	CHECK_EQ_INT(desk_store(d, lines, N), 0);
	free(lines);
}

TEST(a_chunk_without_its_body_stays_as_it_is_and_is_not_tried_again)
{
	struct desk *d = desk_new();
	struct library l;

	for (int i = 0; i < 3; i++)
		store_large(d, "0", DAY_1 + i * 10000);
	for (int i = 0; i < 8; i++)
		store_one(d, "1", DAY_1 + i, i);
	l = desk_read(d, "0");
	CHECK_EQ_INT(stage_count(d->c, KEY_BODY), 3);
	stage_delete(d->c, key_body("h", "0", l.list[1].key.first_ns, l.list[1].key.ulid).s);
	library_release(&l);
	desk_rest(d, QUIET);
	merge_all(d);
	CHECK_EQ_INT(merge_due(d->w).ns, INT64_MAX);
	CHECK_EQ_INT(stage_count(d->c, KEY_BODY), 2);
	CHECK_EQ_INT(chunks(d), 3 + 1);
	desk_free(d);
}

/* ---- commits --------------------------------------------------------------------------------- */

/* Joins all chunks of a GPU, as parts stored long ago or not. */
static void join_all(struct desk *d, const struct library *l, bool old, struct joined *ret)
{
	struct join_part parts[64];

	for (size_t i = 0; i < l->n; i++)
		parts[i] = (struct join_part){.value = l->data.ranges[0].kvs[i].value,
					      .create_rev = l->data.ranges[0].kvs[i].create_rev};
	CHECK_EQ_INT(join_chunks(parts, l->n, false, old ? INT64_MAX : 0, ret, &d->e), 0);
}

TEST(old_commits_are_folded_but_where_a_latest_row_is)
{
	struct desk *d = desk_new();
	struct joined j = {0};
	struct library l;
	struct chunk c = {0};

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "0"}), 0);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1 + 1, "1"}), 0);
	CHECK_EQ_INT(
		STORE(d, {"0", "B", "", "u", DAY_1 + 2, "2"}, {"0", "A", "", "u", DAY_1 + 2, "2"}),
		0);
	for (int i = 3; i < 8; i++)
		CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1 + i, "3"}), 0);
	l = desk_read(d, "0");
	join_all(d, &l, false, &j);
	CHECK_EQ_INT(j.c.n_commits, 8);
	joined_release(&j);
	join_all(d, &l, true, &j);
	CHECK_EQ_INT(chunk_decode((struct slice){j.value.s, j.value.len}, &c, &d->e), 0);
	if (CHECK_EQ_INT(c.n_commits, 4)) {
		CHECK(chunk_commit_is_folded(&c, 0) && !chunk_commit_is_folded(&c, 1));
		CHECK(c.commits[0].rows == 2 && c.commits[1].rows == 2);
		CHECK_EQ_INT(c.commits[1].revision, l.list[2].create_rev);
		CHECK(chunk_commit_is_folded(&c, 2) && !chunk_commit_is_folded(&c, 3));
		CHECK(c.commits[2].rows == 4 && c.commits[3].rows == 1);
		CHECK_EQ_INT(c.commits[3].revision, l.list[7].create_rev);
	}
	chunk_release(&c);
	joined_release(&j);
	library_release(&l);
	desk_free(d);
}

/* ---- leases ---------------------------------------------------------------------------------- */

static int64_t ttl_of(struct desk *d, int64_t lease)
{
	int64_t ttl = 0;

	CHECK_EQ_INT(etcd_lease_keepalive(d->c, lease, &ttl, &d->e), 0);
	return ttl;
}

TEST(what_is_merged_hangs_on_a_lease_that_ends_when_theirs_did)
{
	struct desk *d = desk_new();
	struct library l;

	d->lease_ns = 5 * HOUR;
	desk_load(d);
	store_many(d, this_hour(), 8);
	l = desk_read(d, "0");
	CHECK(l.list[0].lease && l.list[0].lease == l.list[7].lease);
	library_release(&l);
	/* As if the rows had been stored three hours ago. */
	gpu_segment_state(writer_gpu(d->w, "0"), this_hour())->stored_ns -= 3 * HOUR;
	CHECK_EQ_INT(step(d), 8);
	l = desk_read(d, "0");
	CHECK(l.n == 1 && ttl_of(d, l.list[0].lease) <= 2 * 3600 + 2 * LEASE_SPAN_S);
	CHECK(ttl_of(d, l.list[0].lease) > 2 * 3600 - 60);
	library_release(&l);
	desk_free(d);
}

TEST(late_rows_lengthen_the_lease_of_those_before_them)
{
	struct desk *d = desk_new();
	struct segment_state *s;
	struct library l;

	d->lease_ns = 5 * HOUR;
	desk_load(d);
	store_many(d, DAY_1, 3);
	desk_rest(d, QUIET);
	merge_all(d);
	l = desk_read(d, "0");
	CHECK(l.n == 1 && l.list[0].c.sealed);
	library_release(&l);
	CHECK_EQ_INT(chunks(d), 1);
	/* As if they had been stored three hours ago, and another comes now. */
	s = gpu_segment_state(writer_gpu(d->w, "0"), DAY_1);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "1"}), 0);
	CHECK_EQ_INT(writer_know(d->w, d->c, &d->f, &d->h,
				 &(struct segment_ref){writer_gpu(d->w, "0"), DAY_1}, 1, true,
				 &d->e),
		     0);
	s->parts.list[0].until_ns -= 3 * HOUR;
	s->parts.list[0].bytes = PARTS_FULL;
	desk_rest(d, QUIET);
	merge_all(d);
	l = desk_read(d, "0");
	for (size_t i = 0; i < l.n; i++)
		CHECK(ttl_of(d, l.list[i].lease) > 4 * 3600);
	library_release(&l);
	desk_free(d);
}

TEST(a_full_chunk_of_a_segment_that_gets_rows_on_and_on_gets_a_longer_lease)
{
	struct desk *d = desk_new();
	struct segment_state *s;
	struct library l;

	d->lease_ns = 5 * HOUR;
	desk_load(d);
	store_many(d, DAY_1, PARTS_RUN);
	merge_all(d);
	store_one(d, "0", DAY_1 + PARTS_RUN, 1);
	CHECK_EQ_INT(chunks(d), 2);
	s = gpu_segment_state(writer_gpu(d->w, "0"), DAY_1);
	s->parts.list[0].bytes = PARTS_FULL;
	s->parts.list[0].until_ns -= 3 * HOUR; /* as if it had been stored so much earlier */
	s->merge_at = mono_now();
	CHECK_EQ_INT(step(d), 1);
	CHECK_EQ_INT(merge_all(d), 0);
	l = desk_read(d, "0");
	for (size_t i = 0; i < l.n; i++)
		CHECK(ttl_of(d, l.list[i].lease) > 4 * 3600);
	library_release(&l);
	desk_free(d);
}

TEST(what_is_full_is_not_written_again_to_be_sealed)
{
	struct part part = {.bytes = PARTS_FULL, .rows = 1000, .rev = 7, .until_ns = 100};
	struct parts parts = {0};
	struct run run;

	parts_add(&parts, &part);
	CHECK(!parts_next_run(&parts, 0, STAGE_OVER, 100, 50, &run));
	CHECK(parts_next_run(&parts, 0, STAGE_OVER, 101, 50, &run)); /* its lease ends */
	parts.list[0].bytes--;
	CHECK(parts_next_run(&parts, 0, STAGE_OVER, 100, 50, &run));
	CHECK(run.n == 1 && run.seal);
	parts_release(&parts);
}
