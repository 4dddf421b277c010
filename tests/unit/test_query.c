#include "query.h"

#include "../lib/hostile.h"
#include "../lib/test.h"
#include "../lib/tree_fixture.h"
#include "clock.h"
#include "render.h"

#include <stdio.h>
#include <time.h>

#define PATIENCE_MS 50
#define HOST        "h1"
#define END         INT64_MAX

/* ---- what a query gives, as text: "time/position metric value revision" lines ------------------
 */

static void add_row(struct strbuf *out, const struct query_row *row)
{
	strbuf_addf(out, "%lld/%lld %s %.*s %lld\n", (long long)((row->time.ns - T0) / NS_PER_SEC),
		    (long long)row->seq, row->series->metric, (int)row->value.len, row->value.p,
		    (long long)row->revision);
}

static int read_all(struct tree *t, const struct query_range *range, struct strbuf *out)
{
	struct query_row row;
	struct query *q;
	int r = query_open(&q, t, range);

	if (r)
		return r;
	while ((r = query_next(q, &row)) > 0)
		add_row(out, &row);
	query_close(q);
	return r;
}

static struct query_range all(void)
{
	return (struct query_range){
		.host = HOST, .gpu = "0", .to_ns = END, .max_revision = INT64_MAX};
}

static bool check_rows(struct fixture *x, const struct query_range *range, const char *want)
{
	struct strbuf out;
	bool ok;

	strbuf_init(&out, 1 << 26);
	CHECK_EQ_INT(read_all(x->t, range, &out), 0);
	ok = CHECK_EQ_STR(out.s, want);
	strbuf_release(&out);
	return ok;
}

/* The parts make way for what was merged from them, in one commit. */
static void put_merged(struct fixture *x, struct feed_chunk **parts, size_t n,
		       struct feed_chunk *merged)
{
	for (size_t i = 0; i < n; i++) {
		feed_forget(&x->store, parts[i]);
		feed_drop(x->t, parts[i]);
	}
	feed_put(x->t, merged, false);
	tree_commit(x->t, merged->revision);
}

static struct feed_chunk *merge(struct fixture *x, struct feed_chunk **parts, size_t n)
{
	struct feed_chunk *merged = feed_merge(&x->store, x->f, parts, n, ++x->rev);

	put_merged(x, parts, n, merged);
	return merged;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

TEST(rows_come_in_order_of_time_and_between_equals_of_position)
{
	struct feed_row late[] = {ROW(UTIL, "1", SEC(1)), ROW(UTIL, "3", SEC(3))};
	struct query_range range = all();
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, next, 2);
	store_rows(&x, T0, 2, late, 2);
	store_rows(&x, T0, 4, next, 1);
	store_rows(&x, T0 - HOUR, 0, (struct feed_row[]){ROW(UTIL, "0", SEC(-9))}, 1);
	check_rows(&x, &range,
		   "-9/0 " UTIL " 0 17\n1/2 " UTIL " 1 13\n2/0 " UTIL " 90 11\n"
		   "2/1 " TEMP " 42.5 11\n2/4 " UTIL " 90 15\n3/3 " UTIL " 3 13\n");
	range.descending = true;
	check_rows(&x, &range,
		   "3/3 " UTIL " 3 13\n2/4 " UTIL " 90 15\n2/1 " TEMP " 42.5 11\n"
		   "2/0 " UTIL " 90 11\n1/2 " UTIL " 1 13\n-9/0 " UTIL " 0 17\n");
	end(&x);
}

TEST(both_ends_of_a_range_are_in_it)
{
	struct query_range range = all();
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	store_rows(&x, T0, 2, next, 2);
	store_rows(&x, T0, 4, third, 1);
	range.from_ns = range.to_ns = SEC(2);
	check_rows(&x, &range, "2/2 " UTIL " 90 13\n2/3 " TEMP " 42.5 13\n");
	range.to_ns = SEC(2) - 1;
	check_rows(&x, &range, "");
	range.from_ns = INT64_MIN;
	range.to_ns = INT64_MIN;
	check_rows(&x, &range, "");
	range.descending = true;
	check_rows(&x, &range, "");
	end(&x);
}

static bool is_temp(const struct series *s, void *arg)
{
	++*(int *)arg;
	return !strcmp(s->metric, TEMP);
}

TEST(a_chunk_without_a_wanted_series_is_told_by_its_header)
{
	struct query_range range = all();
	struct fixture x;
	int asked = 0;

	begin(&x);
	feed_put_identity(x.t, x.f, 1);
	for (int i = 0; i < 10; i++)
		feed_put(x.t, chunk(&x, T0, i, third, 1), false);
	feed_put(x.t, chunk(&x, T0, 10, next, 2), false);
	feed_put_identity(x.t, x.f, 2);
	commit(&x);
	range.wants = is_temp;
	range.arg = &asked;
	check_rows(&x, &range, "2/11 " TEMP " 42.5 21\n");
	CHECK_EQ_INT(asked, 2);
	CHECK_EQ_INT(x.store.fetches, 11); /* small ones: the header brings the rows */
	check_rows(&x, &range, "2/11 " TEMP " 42.5 21\n");
	CHECK_EQ_INT(x.store.fetches, 11);
	end(&x);
}

TEST(only_chunks_that_are_reached_are_fetched)
{
	struct query_range range = all();
	struct query_row row;
	struct fixture x;
	struct query *q;

	begin(&x);
	feed_put_identity(x.t, x.f, 1);
	for (int i = 0; i < 100; i++) {
		struct feed_row r = ROW(UTIL, "1", SEC(i));

		feed_put(x.t, chunk(&x, T0, i, &r, 1), false);
	}
	feed_put_identity(x.t, x.f, 2);
	commit(&x);
	for (int descending = 0; descending <= 1; descending++) {
		x.store.fetches = 0;
		range.descending = descending;
		CHECK_EQ_INT(query_open(&q, x.t, &range), 0);
		for (int i = 0; i < 5; i++)
			CHECK_EQ_INT(query_next(q, &row), 1);
		CHECK_EQ_INT(row.time.ns, SEC(descending ? 95 : 4));
		CHECK_EQ_INT(x.store.fetches, 5);
		query_close(q);
	}
	end(&x);
}

TEST(rows_committed_later_than_the_ceiling_are_left_out)
{
	struct query_range range = all();
	struct feed_chunk *parts[3];
	struct fixture x;

	begin(&x);
	parts[0] = store_rows(&x, T0, 0, two, 2);
	range.max_revision = x.rev;
	parts[1] = store_rows(&x, T0, 2, next, 2);
	parts[2] = store_rows(&x, T0, 4, two, 2);
	check_rows(&x, &range, "1/0 " UTIL " 87 11\n1/1 " TEMP " 41 11\n");
	merge(&x, parts, 3);
	check_rows(&x, &range, "1/0 " UTIL " 87 11\n1/1 " TEMP " 41 11\n");
	end(&x);
}

/* ---- what changes meanwhile ------------------------------------------------------------------ */

static void *commit_soon(void *arg)
{
	nanosleep(&(struct timespec){0, 30000000}, NULL);
	tree_commit(arg, 99);
	return NULL;
}

TEST(a_query_that_meets_a_merge_waits_for_its_commit)
{
	struct query_range range = all();
	struct feed_chunk *parts[2], *merged;
	struct fixture x;
	pthread_t thread;

	begin(&x);
	feed_put_identity(x.t, x.f, 1);
	parts[0] = chunk(&x, T0, 0, two, 2);
	parts[1] = chunk(&x, T0, 2, next, 2);
	for (int i = 0; i < 2; i++)
		feed_put(x.t, parts[i], false);
	feed_put_identity(x.t, x.f, 2);
	commit(&x);
	merged = feed_merge(&x.store, x.f, parts, 2, 50);
	for (int i = 0; i < 2; i++) {
		feed_forget(&x.store, parts[i]);
		feed_drop(x.t, parts[i]);
	}
	feed_put(x.t, merged, false);
	CHECK_EQ_INT(pthread_create(&thread, NULL, commit_soon, x.t), 0);
	check_rows(&x, &range,
		   "1/0 " UTIL " 87 11\n1/1 " TEMP " 41 11\n2/2 " UTIL " 90 12\n"
		   "2/3 " TEMP " 42.5 12\n");
	pthread_join(thread, NULL);
	end(&x);
}

/* Reads up to row k, lets meanwhile happen, reads the rest. */
static void check_interrupted(struct fixture *x, struct query_range range, int k,
			      void (*meanwhile)(struct fixture *x, void *arg), void *arg,
			      const char *want)
{
	struct query_row row;
	struct strbuf out;
	struct query *q;
	int r = 1;

	strbuf_init(&out, 1 << 20);
	CHECK_EQ_INT(query_open(&q, x->t, &range), 0);
	for (int i = 0; r > 0; i++) {
		if (i == k)
			meanwhile(x, arg);
		r = query_next(q, &row);
		if (r > 0)
			add_row(&out, &row);
	}
	CHECK_EQ_INT(r, 0);
	CHECK_EQ_STR(out.s, want);
	query_close(q);
	strbuf_release(&out);
}

static void merge_parts(struct fixture *x, void *arg)
{
	merge(x, arg, 3);
}

#define THREE                                                                                      \
	"1/0 " UTIL " 87 11\n1/1 " TEMP " 41 11\n1/4 " UTIL " 87 15\n1/5 " TEMP " 41 15\n"         \
	"2/2 " UTIL " 90 13\n2/3 " TEMP " 42.5 13\n"
#define THREE_BACKWARDS                                                                            \
	"2/3 " TEMP " 42.5 13\n2/2 " UTIL " 90 13\n1/5 " TEMP " 41 15\n1/4 " UTIL " 87 15\n"       \
	"1/1 " TEMP " 41 11\n1/0 " UTIL " 87 11\n"

TEST(chunks_may_be_merged_at_every_row_of_a_query)
{
	for (int k = 0; k < 14; k++) {
		struct query_range range = all();
		struct feed_chunk *parts[3];
		struct fixture x;

		range.descending = k % 2;
		begin(&x);
		parts[0] = store_rows(&x, T0, 0, two, 2);
		parts[1] = store_rows(&x, T0, 2, next, 2);
		parts[2] = store_rows(&x, T0, 4, two, 2);
		check_interrupted(&x, range, k / 2, merge_parts, parts,
				  k % 2 ? THREE_BACKWARDS : THREE);
		end(&x);
	}
}

static void drop_chunk(struct fixture *x, void *arg)
{
	feed_forget(&x->store, arg);
	feed_drop(x->t, arg);
	commit(x);
}

TEST(a_segment_that_is_dropped_before_it_is_reached_is_missing)
{
	struct query_range range = all();
	struct feed_row later = ROW(UTIL, "5", SEC(3601)), last = ROW(UTIL, "6", SEC(7201));
	struct feed_chunk *c;
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, third, 1);
	c = store_rows(&x, T0 + HOUR, 0, &later, 1);
	store_rows(&x, T0 + 2 * HOUR, 0, &last, 1);
	check_interrupted(&x, range, 1, drop_chunk, c,
			  "3/0 " UTIL " 91 11\n7201/0 " UTIL " 6 15\n");
	end(&x);
}

static void drop_gpu(struct fixture *x, void *arg)
{
	feed_drop_identity(x->t, x->f);
	drop_chunk(x, arg);
}

TEST(a_gpu_that_vanishes_is_stale_and_what_was_never_there_is_not_found)
{
	struct query_range range = all();
	struct query_row row;
	struct feed_chunk *c;
	struct fixture x;
	struct query *q;

	begin(&x);
	CHECK_EQ_INT(query_open(&q, x.t, &range), -ENOENT);
	c = store_rows(&x, T0, 0, two, 2);
	store_rows(&x, T0 + HOUR, 0, (struct feed_row[]){ROW(UTIL, "5", SEC(3601))}, 1);
	CHECK_EQ_INT(query_open(&q, x.t, &range), 0);
	CHECK_EQ_INT(query_next(q, &row), 1);
	drop_gpu(&x, c);
	CHECK_EQ_INT(query_next(q, &row), 1); /* was in hand */
	CHECK_EQ_INT(query_next(q, &row), -ESTALE);
	CHECK_EQ_STR(query_identity(q)->uuid, "GPU-aaaa");
	query_close(q);
	range.gpu = "1";
	CHECK_EQ_INT(query_open(&q, x.t, &range), -ENOENT);
	query_close(NULL);
	end(&x);
}

TEST(rows_that_cannot_be_had_are_an_error_and_before_the_first_list_all_are)
{
	struct query_range range = all();
	struct query_row row;
	struct fixture x;
	struct tree *t;
	struct query *q;

	begin(&x);
	feed_put_identity(x.t, x.f, 1);
	feed_put(x.t, chunk(&x, T0, 0, two, 2), false);
	feed_put_identity(x.t, x.f, 2);
	commit(&x);
	x.store.fail = -ETIMEDOUT;
	CHECK_EQ_INT(query_open(&q, x.t, &range), 0);
	CHECK_EQ_INT(query_next(q, &row), -EIO);
	x.store.fail = 0;
	CHECK_EQ_INT(query_next(q, &row), 1);
	query_close(q);
	t = feed_tree(&x.store);
	CHECK_EQ_INT(query_open(&q, t, &range), -EIO);
	tree_free(t);
	end(&x);
}

/* ---- against a naive reader ------------------------------------------------------------------ */

#define HOURS  3
#define CHUNKS 40 /* of a segment, at most */
#define ROWS   (4 * CHUNKS)

struct naive_row {
	struct feed_row row;
	int64_t seq, revision;
};

/* What was stored, chunk by chunk and row by row. */
struct naive {
	struct fixture x;
	struct rng rng;
	struct naive_row rows[HOURS][ROWS];
	size_t n_rows[HOURS], n_chunks[HOURS];
	struct feed_chunk *chunks[HOURS][CHUNKS];
	uint64_t incarnations[HOURS]; /* times that it was dropped */
};

static const char *const metrics[] = {UTIL, TEMP, POWER, "gputel,\"odd\"\nname"};

static const char *some_value(struct rng *g)
{
	struct slice v = hostile_value(g);

	while (memchr(v.p, 0, v.len))
		v = hostile_value(g);
	return hostile_textf("%.*s", (int)v.len, v.p).p;
}

static void naive_append(struct naive *n)
{
	int hour = (int)rng_below(&n->rng, HOURS);
	struct feed_row rows[4];
	size_t count = 1 + rng_below(&n->rng, 4), seq = n->n_rows[hour];
	struct feed_chunk *c;

	if (n->n_chunks[hour] == CHUNKS || seq + count > ROWS)
		return;
	for (size_t i = 0; i < count; i++)
		rows[i] = (struct feed_row)ROW(
			metrics[rng_below(&n->rng, 4)], some_value(&n->rng),
			T0 + hour * HOUR + (int64_t)rng_below(&n->rng, 15) * NS_PER_SEC);
	n->x.f->incarnation = n->incarnations[hour];
	c = store_rows(&n->x, T0 + hour * HOUR, (int64_t)seq, rows, count);
	n->chunks[hour][n->n_chunks[hour]++] = c;
	for (size_t i = 0; i < count; i++)
		n->rows[hour][n->n_rows[hour]++] =
			(struct naive_row){rows[i], (int64_t)(seq + i), c->revision};
}

static void naive_merge(struct naive *n)
{
	int hour = (int)rng_below(&n->rng, HOURS);
	size_t at, count, *left = &n->n_chunks[hour];
	struct feed_chunk **list = n->chunks[hour];

	if (*left < 2)
		return;
	at = rng_below(&n->rng, *left - 1);
	count = 2 + rng_below(&n->rng, MIN(*left - at - 1, 5));
	list[at] = merge(&n->x, list + at, count);
	memmove(list + at + 1, list + at + count,
		(*left - at - count) * sizeof(struct feed_chunk *));
	*left -= count - 1;
}

static void naive_drop(struct naive *n)
{
	int hour = (int)rng_below(&n->rng, HOURS);

	for (size_t i = 0; i < n->n_chunks[hour]; i++) {
		feed_forget(&n->x.store, n->chunks[hour][i]);
		feed_drop(n->x.t, n->chunks[hour][i]);
	}
	commit(&n->x);
	n->n_chunks[hour] = n->n_rows[hour] = 0;
	n->incarnations[hour]++;
}

static int by_time(const void *a, const void *b)
{
	const struct naive_row *x = *(const struct naive_row *const *)a;
	const struct naive_row *y = *(const struct naive_row *const *)b;

	if (x->row.ns != y->row.ns)
		return x->row.ns < y->row.ns ? -1 : 1;
	return (x->seq > y->seq) - (x->seq < y->seq);
}

static bool wants_metric(const struct series *s, void *arg)
{
	return !arg || !strcmp(s->metric, arg);
}

static bool is_behind(const struct query_range *range, const struct naive_row *row)
{
	bool after = row->row.ns > range->after_ns ||
		     (row->row.ns == range->after_ns && row->seq > range->after_seq);
	bool same = row->row.ns == range->after_ns && row->seq == range->after_seq;

	return !range->resume || (!same && after != range->descending);
}

static bool is_asked(const struct query_range *range, const struct naive_row *row)
{
	return row->row.ns >= range->from_ns && row->row.ns <= range->to_ns &&
	       row->revision <= range->max_revision && is_behind(range, row) &&
	       (!range->arg || !strcmp(row->row.metric, range->arg));
}

/* Rows that a query must give, in its order; returns their number. */
static size_t naive_query(struct naive *n, const struct query_range *range,
			  const struct naive_row **ret)
{
	size_t count = 0;

	for (int h = 0; h < HOURS; h++)
		for (size_t i = 0; i < n->n_rows[h]; i++)
			if (is_asked(range, &n->rows[h][i]))
				ret[count++] = &n->rows[h][i];
	qsort(ret, count, sizeof(*ret), by_time);
	for (size_t i = 0; range->descending && i < count / 2; i++) {
		const struct naive_row *other = ret[i];

		ret[i] = ret[count - 1 - i];
		ret[count - 1 - i] = other;
	}
	return count;
}

static bool check_naive_row(const struct query_row *got, const struct naive_row *want)
{
	return CHECK_EQ_INT(got->time.ns, want->row.ns) && CHECK_EQ_INT(got->seq, want->seq) &&
	       CHECK_EQ_INT(got->revision, want->revision) &&
	       CHECK_EQ_STR(got->series->metric, want->row.metric) &&
	       CHECK_EQ_SLICE(got->value, slice_str(want->row.value)) &&
	       CHECK_EQ_SLICE(got->attribution->uuid, SLICE_LIT("GPU-aaaa"));
}

/* Merges come in between at times. */
static void check_against_naive(struct naive *n, const struct query_range *range)
{
	const struct naive_row *want[HOURS * ROWS];
	size_t count = naive_query(n, range, want);
	struct query_row row;
	struct query *q;
	int r = 1;

	CHECK_EQ_INT(query_open(&q, n->x.t, range), 0);
	for (size_t i = 0; r > 0; i++) {
		if (rng_one_in(&n->rng, 20))
			naive_merge(n);
		r = query_next(q, &row);
		if (!CHECK_EQ_INT(r, i < count))
			break;
		if (r > 0 && !check_naive_row(&row, want[i]))
			break;
	}
	query_close(q);
}

static struct query_range some_range(struct naive *n)
{
	struct query_range range = all();

	range.from_ns = T0 + (int64_t)rng_below(&n->rng, HOURS + 1) * HOUR +
			(int64_t)rng_below(&n->rng, 15) * NS_PER_SEC;
	range.to_ns = range.from_ns + (int64_t)rng_below(&n->rng, 2) * HOUR +
		      (int64_t)rng_below(&n->rng, 15) * NS_PER_SEC;
	if (rng_one_in(&n->rng, 3))
		range.from_ns = 0;
	if (rng_one_in(&n->rng, 3))
		range.to_ns = END;
	range.descending = rng_one_in(&n->rng, 2);
	if (rng_one_in(&n->rng, 2))
		range.max_revision = 10 + (int64_t)rng_below(&n->rng, (uint64_t)n->x.rev);
	if (rng_one_in(&n->rng, 2)) {
		range.wants = wants_metric;
		range.arg = (void *)(uintptr_t)metrics[rng_below(&n->rng, 4)];
	}
	return range;
}

TEST(a_query_gives_what_a_sort_of_all_rows_gives)
{
	struct naive *n = xcalloc(1, sizeof(*n));

	for (int round = 0; round < 12; round++) {
		n->rng.state = 1000 + (uint64_t)round;
		memset(n->n_rows, 0, sizeof(n->n_rows));
		memset(n->n_chunks, 0, sizeof(n->n_chunks));
		begin(&n->x);
		naive_append(n);
		for (int step = 0; step < 120; step++) {
			struct query_range range = some_range(n);

			(rng_one_in(&n->rng, 4) ? naive_merge : naive_append)(n);
			if (rng_one_in(&n->rng, 60))
				naive_drop(n);
			check_against_naive(n, &range);
		}
		end(&n->x);
	}
	free(n);
}

TEST(a_query_resumes_at_every_row_in_both_directions)
{
	struct naive *n = xcalloc(1, sizeof(*n));
	const struct naive_row *rows[HOURS * ROWS];
	struct query_range range = all();
	size_t count;

	n->rng.state = 7;
	begin(&n->x);
	for (int i = 0; i < 60; i++)
		naive_append(n);
	for (int i = 0; i < 8; i++)
		naive_merge(n);
	count = naive_query(n, &range, rows);
	CHECK(count > 100);
	range.resume = true;
	for (size_t i = 0; i < 2 * count; i++) {
		range.descending = i % 2;
		range.after_ns = rows[i / 2]->row.ns;
		range.after_seq = rows[i / 2]->seq;
		check_against_naive(n, &range);
	}
	end(&n->x);
	free(n);
}

/* ---- commits --------------------------------------------------------------------------------- */

static int add_extent_row(const struct identity *id, const struct query_row *row, void *arg)
{
	add_row(arg, row);
	return 0;
}

/* "revision: segment hour, first position + rows", each with its rows. */
static void check_extents(struct fixture *x, int64_t after, int64_t upto, int64_t floor,
			  const char *want)
{
	struct extent *list = NULL;
	struct strbuf out;
	int64_t got;
	size_t n = 0;

	strbuf_init(&out, 1 << 20);
	CHECK_EQ_INT(query_extents(x->t, HOST, "0", after, upto, &list, &n, &got), 0);
	CHECK_EQ_INT(got, floor);
	for (size_t i = 0; i < n; i++) {
		strbuf_addf(&out, "%lld: %lld, %lld + %u\n", (long long)list[i].revision,
			    (long long)((list[i].segment_ns - T0) / HOUR),
			    (long long)list[i].first_seq, list[i].rows);
		CHECK_EQ_INT(query_extent_rows(x->t, HOST, "0", &list[i], PATIENCE_MS,
					       add_extent_row, &out),
			     0);
	}
	CHECK_EQ_STR(out.s, want);
	free(list);
	strbuf_release(&out);
}

#define EXTENT_1 "11: 0, 0 + 2\n1/0 " UTIL " 87 11\n1/1 " TEMP " 41 11\n"
#define EXTENT_2 "13: 0, 2 + 2\n2/2 " UTIL " 90 13\n2/3 " TEMP " 42.5 13\n"
#define EXTENT_3 "15: 1, 0 + 1\n3601/0 " UTIL " 5 15\n"
#define EXTENT_4 "17: 0, 4 + 2\n9/4 " UTIL " 3 17\n1/5 " UTIL " 1 17\n"

TEST(commits_are_told_by_revision_before_and_after_merging)
{
	struct feed_row unsorted[] = {ROW(UTIL, "3", SEC(9)), ROW(UTIL, "1", SEC(1))};
	struct feed_chunk *parts[3], *merged;
	struct query_range range = all();
	struct fixture x;

	begin(&x);
	parts[0] = store_rows(&x, T0, 0, two, 2);
	parts[1] = store_rows(&x, T0, 2, next, 2);
	store_rows(&x, T0 + HOUR, 0, (struct feed_row[]){ROW(UTIL, "5", SEC(3601))}, 1);
	parts[2] = store_rows(&x, T0, 4, unsorted, 2);
	for (int merges = 0; merges < 2; merges++) {
		check_extents(&x, 0, INT64_MAX, 0, EXTENT_1 EXTENT_2 EXTENT_3 EXTENT_4);
		check_extents(&x, 11, 15, 0, EXTENT_2 EXTENT_3);
		check_extents(&x, 13, 14, 0, "");
		check_extents(&x, 17, INT64_MAX, 0, "");
		if (!merges)
			merge(&x, parts, 3);
	}
	end(&x);
	begin(&x);
	parts[0] = store_rows(&x, T0, 0, two, 2);
	parts[1] = store_rows(&x, T0, 2, next, 2);
	merged = feed_merge_told(&x.store, x.f, parts, 2, ++x.rev, 1);
	put_merged(&x, parts, 2, merged);
	check_extents(&x, 0, INT64_MAX, 12, EXTENT_2);
	check_extents(&x, 13, INT64_MAX, 0, "");
	check_rows(&x, &range,
		   "1/0 " UTIL " 87 0\n1/1 " TEMP " 41 0\n2/2 " UTIL " 90 13\n2/3 " TEMP
		   " 42.5 13\n");
	end(&x);
}

TEST(an_extent_is_read_across_chunks_and_from_within_one)
{
	struct feed_chunk *parts[2];
	struct strbuf out;
	struct extent x1 = {.revision = 9, .segment_ns = T0, .first_seq = 1, .rows = 3};
	struct fixture x;

	begin(&x);
	parts[0] = store_rows(&x, T0, 0, two, 2);
	parts[1] = store_rows(&x, T0, 2, two, 2);
	store_rows(&x, T0, 4, third, 1);
	x1.incarnation = parts[0]->incarnation;
	strbuf_init(&out, 1 << 20);
	for (int merges = 0; merges < 2; merges++) {
		strbuf_reset(&out);
		CHECK_EQ_INT(
			query_extent_rows(x.t, HOST, "0", &x1, PATIENCE_MS, add_extent_row, &out),
			0);
		CHECK_EQ_STR(out.s, "1/1 " TEMP " 41 9\n1/2 " UTIL " 87 9\n1/3 " TEMP " 41 9\n");
		if (!merges)
			merge(&x, parts, 2);
	}
	x1.rows = 30;
	CHECK_EQ_INT(query_extent_rows(x.t, HOST, "0", &x1, PATIENCE_MS, add_extent_row, &out),
		     -ESTALE);
	x1.incarnation++;
	x1.rows = 3;
	CHECK_EQ_INT(query_extent_rows(x.t, HOST, "0", &x1, PATIENCE_MS, add_extent_row, &out),
		     -ESTALE);
	CHECK_EQ_INT(query_extent_rows(x.t, HOST, "9", &x1, PATIENCE_MS, add_extent_row, &out),
		     -ESTALE);
	strbuf_release(&out);
	end(&x);
}

/* The first row's chunk goes while it is told. */
struct merging {
	struct fixture *x;
	struct feed_chunk **parts;
	struct strbuf out;
};

static int merge_at_first(const struct identity *id, const struct query_row *row, void *arg)
{
	struct merging *m = arg;

	if (m->parts)
		merge(m->x, TAKE_PTR(m->parts), 3);
	add_row(&m->out, row);
	return 0;
}

TEST(chunks_may_be_merged_while_an_extent_is_read)
{
	struct feed_chunk *parts[3];
	struct extent x1 = {.revision = 9, .segment_ns = T0, .rows = 5};
	struct merging m;
	struct fixture x;

	begin(&x);
	parts[0] = store_rows(&x, T0, 0, two, 2);
	parts[1] = store_rows(&x, T0, 2, next, 2);
	parts[2] = store_rows(&x, T0, 4, third, 1);
	x1.incarnation = parts[0]->incarnation;
	m = (struct merging){&x, parts, {0}};
	strbuf_init(&m.out, 1 << 20);
	CHECK_EQ_INT(query_extent_rows(x.t, HOST, "0", &x1, PATIENCE_MS, merge_at_first, &m), 0);
	CHECK_EQ_STR(m.out.s, "1/0 " UTIL " 87 9\n1/1 " TEMP " 41 9\n2/2 " UTIL " 90 9\n2/3 " TEMP
			      " 42.5 9\n3/4 " UTIL " 91 9\n");
	strbuf_release(&m.out);
	end(&x);
}

TEST(damaged_rows_are_told_from_rows_that_are_not_to_be_had)
{
	struct extent x1 = {.revision = 11, .segment_ns = T0, .rows = 2};
	struct feed_chunk *c;
	struct fixture x;

	begin(&x);
	c = chunk(&x, T0, 0, two, 2);
	x1.incarnation = c->incarnation;
	feed_put_identity(x.t, x.f, x.rev);
	feed_put(x.t, c, false);
	commit(&x);
	x.store.fail = -ETIMEDOUT;
	CHECK_EQ_INT(query_extent_rows(x.t, HOST, "0", &x1, PATIENCE_MS, add_extent_row, NULL),
		     -EIO);
	x.store.fail = 0;
	c->value.s[c->value.len - 1] ^= 1;
	CHECK_EQ_INT(query_extent_rows(x.t, HOST, "0", &x1, PATIENCE_MS, add_extent_row, NULL),
		     -EBADMSG);
	end(&x);
}

TEST(rows_that_the_store_has_lost_are_told_from_rows_that_are_not_to_be_had)
{
	struct extent x1 = {.revision = 11, .segment_ns = T0, .rows = 2};
	struct feed_chunk *c;
	struct fixture x;

	begin(&x);
	c = chunk(&x, T0, 0, two, 2);
	x1.incarnation = c->incarnation;
	feed_put_identity(x.t, x.f, x.rev);
	feed_put(x.t, c, false);
	commit(&x);
	feed_forget(&x.store, c);
	CHECK_EQ_INT(query_extent_rows(x.t, HOST, "0", &x1, PATIENCE_MS, add_extent_row, NULL),
		     -ENODATA);
	CHECK_EQ_INT(query_extent_rows(x.t, HOST, "0", &x1, 0, add_extent_row, NULL), -ENODATA);
	end(&x);
}

/* A watch that lags behind what etcd has: the GPU is there, and its commits are to be asked for
 * again. */
TEST(commits_in_a_merged_chunk_that_is_gone_are_not_to_be_had)
{
	struct feed_chunk *parts[2], *merged;
	struct extent *list;
	struct fixture x;
	int64_t floor;
	size_t n;

	begin(&x);
	parts[0] = store_rows(&x, T0, 0, two, 2);
	parts[1] = store_rows(&x, T0, 2, next, 2);
	merged = feed_merge(&x.store, x.f, parts, 2, ++x.rev);
	feed_put(x.t, merged, false);
	feed_drop(x.t, parts[0]);
	feed_drop(x.t, parts[1]);
	commit(&x);
	feed_forget(&x.store, merged);
	CHECK_EQ_INT(query_extents(x.t, HOST, "0", 0, 99, &list, &n, &floor), -EIO);
	CHECK_EQ_INT(query_extents(x.t, HOST, "7", 0, 99, &list, &n, &floor), -ENOENT);
	end(&x);
}

/* ---- what there is --------------------------------------------------------------------------- */

static int add_gpu(const struct query_gpu *g, void *arg)
{
	strbuf_addf(arg, "%s/%s %s %s %lld %lld\n", g->host, g->gpu, g->id->uuid,
		    gpu_state_name(g->state), (long long)g->last_ns, (long long)g->revision);
	return 0;
}

static int add_latest(const struct query_gpu *g, const struct query_row *row, void *arg)
{
	strbuf_addf(arg, "%s ", g->gpu);
	add_row(arg, row);
	return 0;
}

static int stop_at_once(const struct query_gpu *g, void *arg)
{
	++*(int *)arg;
	return 7;
}

TEST(gpus_are_told_by_name_with_their_state)
{
	struct feed *others[2];
	struct strbuf out;
	struct fixture x;
	int64_t revision;
	int told = 0;

	begin(&x);
	others[0] = feed_new("h1", "10", "GPU-bbbb");
	others[1] = feed_new("h0", "1", "GPU-aaaa");
	store_rows(&x, T0, 0, two, 2);
	for (int i = 0; i < 2; i++) {
		feed_put_identity(x.t, others[i], 20);
		feed_put(x.t, feed_chunk(&x.store, others[i], T0, 0, two, 2, 0, 20), false);
	}
	commit(&x);
	strbuf_init(&out, 1 << 20);
	CHECK_EQ_INT(query_gpus(x.t, NULL, add_gpu, &out, &revision), 0);
	CHECK_EQ_INT(revision, x.rev);
	CHECK_EQ_STR(out.s, "h0/1 GPU-aaaa lost 1752868801000000000 20\nh1/0 GPU-aaaa lost "
			    "1752868801000000000 11\n"
			    "h1/10 GPU-bbbb lost 1752868801000000000 20\n");
	strbuf_reset(&out);
	CHECK_EQ_INT(query_gpus(x.t, "h0", add_gpu, &out, NULL), 0);
	CHECK_EQ_STR(out.s, "h0/1 GPU-aaaa lost 1752868801000000000 20\n");
	strbuf_reset(&out);
	CHECK_EQ_INT(query_gpus_by_uuid(x.t, "GPU-aaaa", add_gpu, &out), 0);
	CHECK_EQ_STR(out.s, "h0/1 GPU-aaaa lost 1752868801000000000 20\nh1/0 GPU-aaaa lost "
			    "1752868801000000000 11\n");
	CHECK_EQ_INT(query_gpus(x.t, "h9", add_gpu, &out, NULL), -ENOENT);
	CHECK_EQ_INT(query_gpus(x.t, NULL, stop_at_once, &told, NULL), 7);
	CHECK_EQ_INT(told, 1);
	strbuf_reset(&out);
	CHECK_EQ_INT(query_gpus_by_uuid(x.t, "GPU-none", add_gpu, &out), 0);
	CHECK_EQ_INT(query_gpus_by_uuid(x.t, "", add_gpu, &out), 0);
	CHECK_EQ_STR(out.s, "");
	strbuf_release(&out);
	for (int i = 0; i < 2; i++)
		feed_free(others[i]);
	end(&x);
}

TEST(latest_rows_are_told_by_file_name)
{
	struct strbuf out;
	struct fixture x;

	begin(&x);
	strbuf_init(&out, 1 << 20);
	CHECK_EQ_INT(query_latest(x.t, HOST, "0", add_latest, &out), -ENOENT);
	store_rows(&x, T0, 0, two, 2);
	store_rows(&x, T0, 2, third, 1);
	CHECK_EQ_INT(query_latest(x.t, HOST, "0", add_latest, &out), 0);
	CHECK_EQ_STR(out.s, "0 1/1 " TEMP " 41 11\n0 3/2 " UTIL " 91 13\n");
	strbuf_release(&out);
	end(&x);
}
