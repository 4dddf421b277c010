#include "../lib/test.h"
#include "../lib/tree_fixture.h"
#include "clock.h"
#include "render.h"

/* ---- row files ------------------------------------------------------------------------------- */

static bool is_dated(struct fixture *x)
{
	struct attr a;

	CHECK_EQ_INT(attr_at(x->t, LOG, &a), 0);
	return a.dated;
}

TEST(a_date_is_known_to_tell_contents_apart_where_the_last_commit_moved_it)
{
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	CHECK(is_dated(&x));
	store_rows(&x, T0, 2, next, 2);
	CHECK(is_dated(&x));
	store_rows(&x, T0, 4, two, 2);
	CHECK(!is_dated(&x));
	end(&x);
}

TEST(a_row_file_grows_by_whole_rows_and_reads_alike_in_any_pieces)
{
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	store_rows(&x, T0, 2, next, 2);
	store_rows(&x, T0, 4, third, 1);
	for (size_t step = 1; step < 300; step += 7) {
		char *text = feed_cat(x.t, LOG, step);

		CHECK_EQ_STR(text, ROW_FILE_HEADER ROWS_TWO ROWS_NEXT ROWS_THIRD);
		free(text);
	}
	end(&x);
}

TEST(rows_after_a_gap_are_shown_when_it_is_filled)
{
	struct feed_chunk *a, *b, *c;
	struct fixture x;

	begin(&x);
	a = chunk(&x, T0, 0, two, 2);
	b = chunk(&x, T0, 2, next, 2);
	c = chunk(&x, T0, 4, third, 1);
	store(&x, c);
	check_cat(x.t, LOG, "!ENOENT");
	check_cat(x.t, GPU "metrics/" UTIL, "91\n");
	store(&x, a);
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_TWO);
	CHECK(!tree_has_gap(x.t)); /* not that long yet */
	store(&x, b);
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_TWO ROWS_NEXT ROWS_THIRD);
	CHECK(!tree_has_gap(x.t));
	end(&x);
}

TEST(a_gap_that_stands_asks_for_a_list_but_not_after_one)
{
	struct feed_chunk *late;
	struct mono deadline = mono_in_ms(10000);
	struct fixture x;

	begin(&x);
	late = chunk(&x, T0, 4, third, 1);
	store(&x, late);
	while (!tree_has_gap(x.t) && mono_ms_until(deadline))
		nanosleep(&(struct timespec){0, 20000000}, NULL);
	CHECK(tree_has_gap(x.t));
	tree_list_begin(x.t);
	feed_put(x.t, late, true);
	feed_put_identity(x.t, x.f, 1);
	tree_list_end(x.t, ++x.rev);
	CHECK(!tree_has_gap(x.t));
	end(&x);
}

TEST(a_merge_changes_nothing_that_is_visible)
{
	struct feed_chunk *parts[3], *merged;
	struct fixture x;
	struct attr before, after;
	char *was, *is;

	begin(&x);
	parts[0] = store_rows(&x, T0, 0, two, 2);
	parts[1] = store_rows(&x, T0, 2, next, 2);
	parts[2] = store_rows(&x, T0, 4, third, 1);
	was = dump(x.t);
	CHECK_EQ_INT(attr_at(x.t, LOG, &before), 0);
	merged = feed_merge(&x.store, x.f, parts, 3, x.rev + 1);
	for (int i = 0; i < 3; i++) {
		feed_drop(x.t, parts[i]);
		feed_forget(&x.store, parts[i]);
	}
	feed_put(x.t, merged, false);
	tree_commit(x.t, x.rev); /* the same number, so that .meta/revision is alike */
	is = dump(x.t);
	CHECK_EQ_STR(was, is);
	CHECK_EQ_INT(attr_at(x.t, LOG, &after), 0);
	before.dated = false; /* what came when is not known of a merged chunk */
	CHECK(!memcmp(&before, &after, sizeof(before)));
	free(was);
	free(is);
	end(&x);
}

struct merge {
	struct fixture x;
	struct feed_chunk *parts[2], *merged;
};

/* The commit that says so comes after many of others. */
static void *commit_late(void *arg)
{
	struct merge *m = arg;

	for (int i = 0; i < 20; i++) {
		nanosleep(&(struct timespec){0, 2000000}, NULL);
		tree_commit(m->x.t, 60 + i);
	}
	for (int i = 0; i < 2; i++)
		feed_drop(m->x.t, m->parts[i]);
	feed_put(m->x.t, m->merged, false);
	tree_commit(m->x.t, 99);
	return NULL;
}

TEST(a_reader_that_meets_a_merge_waits_for_its_commit)
{
	struct merge m;
	struct fixture *x = &m.x;
	pthread_t thread;

	begin(x);
	feed_put_identity(x->t, x->f, 1);
	m.parts[0] = chunk(x, T0, 0, two, 2);
	m.parts[1] = chunk(x, T0, 2, next, 2);
	feed_put(x->t, m.parts[0], false);
	feed_put(x->t, m.parts[1], false);
	feed_put_identity(x->t, x->f, 2);
	commit(x);
	m.merged = feed_merge(&x->store, x->f, m.parts, 2, 50);
	for (int i = 0; i < 2; i++)
		feed_forget(&x->store, m.parts[i]);
	CHECK_EQ_INT(pthread_create(&thread, NULL, commit_late, &m), 0);
	check_cat(x->t, LOG, ROW_FILE_HEADER ROWS_TWO ROWS_NEXT);
	pthread_join(thread, NULL);
	end(x);
}

TEST(rows_that_cannot_be_had_are_an_io_error_and_the_rest_stays)
{
	struct fixture x;
	struct feed_chunk *c;

	begin(&x);
	c = chunk(&x, T0, 0, two, 2);
	feed_put_identity(x.t, x.f, 1);
	feed_put(x.t, c, false);
	commit(&x);
	x.store.fail = -ETIMEDOUT;
	check_cat(x.t, LOG, "!EIO");
	check_cat(x.t, GPU "metrics/" UTIL, "87\n");
	x.store.fail = 0;
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_TWO);
	x.store.fail = -ETIMEDOUT; /* known now */
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_TWO);
	end(&x);
}

TEST(a_value_that_came_with_the_watch_is_read_without_a_fetch)
{
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_TWO);
	CHECK_EQ_INT(x.store.fetches, 0);
	end(&x);
}

TEST(a_body_that_renders_to_another_length_is_an_io_error)
{
	struct fixture x;
	struct feed_chunk *c;
	struct chunk decoded = {0};

	begin(&x);
	c = chunk(&x, T0, 0, two, 2);
	CHECK_EQ_INT(chunk_decode((struct slice){c->value.s, c->value.len}, &decoded, NULL), 0);
	decoded.csv_bytes++;
	feed_put_identity(x.t, x.f, 1);
	tree_put_chunk(x.t, &c->parsed, &decoded, 5, (struct slice){0});
	commit(&x);
	check_cat(x.t, LOG, "!EIO");
	chunk_release(&decoded);
	end(&x);
}

TEST(a_dropped_segment_is_stale_and_started_anew_another_file)
{
	struct fixture x;
	struct feed_chunk *c;
	struct node *n;
	struct strbuf out;
	struct attr a, b;

	begin(&x);
	c = store_rows(&x, T0, 0, two, 2);
	n = node_at(x.t, LOG);
	CHECK_EQ_INT(tree_attr(x.t, n, &a), 0);
	feed_drop(x.t, c);
	commit(&x);
	strbuf_init(&out, 4096);
	CHECK_EQ_INT(tree_read_rows(x.t, n, 0, 100, &out), -ESTALE);
	CHECK_EQ_INT(tree_attr(x.t, n, &b), -ESTALE);
	x.f->incarnation++;
	store_rows(&x, T0, 0, next, 2);
	CHECK_EQ_INT(tree_read_rows(x.t, n, 0, 100, &out), -ESTALE);
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_NEXT);
	CHECK_EQ_INT(attr_at(x.t, LOG, &b), 0);
	CHECK(a.ino != b.ino);
	node_unref(n);
	strbuf_release(&out);
	end(&x);
}

TEST(a_segment_dropped_and_started_anew_in_one_commit_is_another_file)
{
	struct fixture x;
	struct feed_chunk *old;
	struct attr a, b;

	begin(&x);
	old = store_rows(&x, T0, 0, two, 2);
	CHECK_EQ_INT(attr_at(x.t, LOG, &a), 0);
	x.f->incarnation--;
	feed_drop(x.t, old);
	store_rows(&x, T0, 0, next, 2);
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_NEXT);
	CHECK_EQ_INT(attr_at(x.t, LOG, &b), 0);
	CHECK(a.ino != b.ino);
	end(&x);
}

TEST(a_segment_that_would_shrink_vanishes)
{
	struct fixture x;
	struct feed_chunk *b;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	b = store_rows(&x, T0, 2, next, 2);
	store_rows(&x, T0, 4, third, 1);
	feed_drop(x.t, b); /* a lease that ran out */
	commit(&x);
	check_cat(x.t, LOG, "!ENOENT");
	nanosleep(&(struct timespec){1, 100000000}, NULL);
	CHECK(!tree_has_gap(x.t)); /* nobody would fill it */
	feed_put(x.t, b, true);
	commit(&x);
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_TWO ROWS_NEXT ROWS_THIRD);
	end(&x);
}

/* ---- latest ---------------------------------------------------------------------------------- */

TEST(latest_is_the_greatest_time_and_between_equals_the_later_position)
{
	struct fixture x;

	begin(&x);
	store_rows(&x, T0, 0, (struct feed_row[]){ROW(UTIL, "1", SEC(5))}, 1);
	store_rows(&x, T0, 1, (struct feed_row[]){ROW(UTIL, "2", SEC(4))}, 1);
	check_cat(x.t, GPU "metrics/" UTIL, "1\n");
	store_rows(&x, T0, 2, (struct feed_row[]){ROW(UTIL, "3", SEC(5))}, 1);
	check_cat(x.t, GPU "metrics/" UTIL, "3\n");
	store_rows(&x, T0 - HOUR, 0, (struct feed_row[]){ROW(UTIL, "4", SEC(-5))}, 1);
	check_cat(x.t, GPU "metrics/" UTIL, "3\n");
	end(&x);
}

TEST(rows_ahead_are_latest_only_while_there_is_no_other)
{
	struct feed_row far = ROW(UTIL, "9", SEC(7300));
	struct fixture x;

	begin(&x);
	feed_put_identity(x.t, x.f, 1);
	store(&x, feed_chunk(&x.store, x.f, T0 + 2 * HOUR, 0, &far, 1, SEC(10), 3));
	check_cat(x.t, GPU "metrics/" UTIL, "9\n");
	CHECK_EQ_INT(attr_at(x.t, GPU "telemetry.csv", &(struct attr){0}), 0);
	store_rows(&x, T0, 0, two, 2);
	check_cat(x.t, GPU "metrics/" UTIL, "87\n");
	check_cat(x.t, GPU "telemetry.csv", ROW_FILE_HEADER ROWS_TWO);
	check_cat(x.t, GPU "history/2025-07-18T2200Z.csv",
		  ROW_FILE_HEADER "2025-07-18T22:01:40Z," UTIL ",9,GPU-aaaa,,,,\n");
	end(&x);
}

TEST(with_the_oldest_segment_goes_what_was_latest_in_it)
{
	struct fixture x;
	struct feed_chunk *old;
	struct attr a;

	begin(&x);
	old = store_rows(&x, T0, 0, two, 2);
	store_rows(&x, T0 + HOUR, 0, (struct feed_row[]){ROW(UTIL, "5", SEC(3601))}, 1);
	feed_drop(x.t, old);
	commit(&x);
	check_cat(x.t, GPU "metrics/" UTIL, "5\n");
	check_cat(x.t, GPU "metrics/" TEMP, "!ENOENT");
	CHECK(!tree_has_gap(x.t));
	CHECK_EQ_INT(attr_at(x.t, GPU "history", &a), 0);
	CHECK_EQ_INT(a.mtime_ns, SEC(3601));
	end(&x);
}

/* A newer segment that goes first takes the latest with it. */
static struct feed_chunk *begin_lost(struct fixture *x)
{
	struct feed_chunk *old, *new;

	begin(x);
	store_rows(x, T0 - HOUR, 0, (struct feed_row[]){ROW(UTIL, "1", SEC(-9))}, 1);
	old = store_rows(x, T0, 0, two, 2);
	new = store_rows(x, T0 + HOUR, 0, (struct feed_row[]){ROW(UTIL, "5", SEC(3601))}, 1);
	feed_drop(x->t, new);
	commit(x);
	return old;
}

TEST(a_latest_that_went_is_found_in_headers_of_older_segments)
{
	struct latest_found *found = NULL;
	struct fixture x;
	struct attr a;

	begin_lost(&x);
	CHECK(tree_seeks_latest(x.t) && !tree_has_gap(x.t));
	check_cat(x.t, GPU "metrics/" UTIL, "!ENOENT");
	CHECK_EQ_INT(tree_find_latest(x.t, &found), 0);
	tree_put_latest(x.t, found);
	tree_latest_free(found);
	CHECK(!tree_seeks_latest(x.t));
	check_cat(x.t, GPU "metrics/" UTIL, "87\n");
	CHECK_EQ_INT(attr_at(x.t, GPU "history", &a), 0);
	CHECK_EQ_INT(a.mtime_ns, SEC(1));
	tree_latest_free(NULL);
	end(&x);
}

TEST(a_latest_is_not_taken_from_a_chunk_that_went_meanwhile)
{
	struct latest_found *found = NULL;
	struct feed_chunk *old;
	struct fixture x;

	old = begin_lost(&x);
	CHECK_EQ_INT(tree_find_latest(x.t, &found), 0);
	feed_drop(x.t, old);
	feed_forget(&x.store, old);
	commit(&x);
	tree_put_latest(x.t, found);
	tree_latest_free(found);
	check_cat(x.t, GPU "metrics/" UTIL, "!ENOENT");
	CHECK(tree_seeks_latest(x.t));
	CHECK_EQ_INT(tree_find_latest(x.t, &found), 0);
	tree_put_latest(x.t, found);
	tree_latest_free(found);
	check_cat(x.t, GPU "metrics/" UTIL, "1\n");
	CHECK(!tree_seeks_latest(x.t));
	end(&x);
}

TEST(a_search_for_a_latest_ends_with_its_gpu_or_with_a_list)
{
	struct latest_found *found = NULL;
	struct feed_chunk *old;
	struct fixture x;

	old = begin_lost(&x);
	x.store.fail = -ETIMEDOUT;
	feed_forget(&x.store, old);
	tree_list_begin(x.t);
	feed_put(x.t, old, true);
	feed_put_identity(x.t, x.f, 1);
	tree_list_end(x.t, ++x.rev);
	CHECK(!tree_seeks_latest(x.t));
	check_cat(x.t, GPU "metrics/" UTIL, "87\n");
	end(&x);
	begin_lost(&x);
	for (struct feed_chunk *c = x.f->chunks; c; c = c->next)
		feed_drop(x.t, c);
	feed_drop_identity(x.t, x.f);
	CHECK_EQ_INT(tree_find_latest(x.t, &found), 0);
	commit(&x);
	CHECK(!tree_seeks_latest(x.t));
	tree_put_latest(x.t, found);
	tree_latest_free(found);
	check_cat(x.t, "h1", "!ENOENT");
	end(&x);
}

TEST(a_gpu_vanishes_with_its_identity)
{
	struct fixture x;
	struct feed_chunk *c;
	struct node *n;
	struct tree_stats s;
	struct attr a;

	begin(&x);
	c = store_rows(&x, T0, 0, two, 2);
	n = node_at(x.t, "h1/0");
	feed_drop(x.t, c);
	feed_drop_identity(x.t, x.f);
	commit(&x);
	CHECK_EQ_INT(tree_attr(x.t, n, &a), -ESTALE);
	check_cat(x.t, "h1", "!ENOENT");
	check_cat(x.t, ".by-uuid/GPU-aaaa", "!ENOENT");
	tree_stats(x.t, &s);
	CHECK_EQ_INT((int64_t)(s.hosts + s.gpus + s.series + s.segments + s.chunks + s.rows), 0);
	node_unref(n);
	end(&x);
}

/* As when leases have ended while no collector was there. */
TEST(a_gpu_whose_last_chunk_is_gone_vanishes_and_comes_back_with_the_next)
{
	struct fixture x;
	struct feed_chunk *c;

	begin(&x);
	c = store_rows(&x, T0, 0, two, 2);
	feed_drop(x.t, c);
	commit(&x);
	check_cat(x.t, LOG, "!ENOENT");
	CHECK_EQ_INT(attr_at(x.t, "h1", &(struct attr){0}), -ENOENT);
	feed_put(x.t, chunk(&x, T0, 0, next, 2), true);
	commit(&x);
	check_cat(x.t, "h1/0/metrics/" UTIL, "90\n");
	end(&x);
}

TEST(by_uuid_shows_the_place_that_was_written_last)
{
	struct fixture x;
	struct feed_chunk *there;
	struct feed *moved;

	begin(&x);
	moved = feed_new("h2", "7", "GPU-aaaa");
	moved->id->as_of_ns = SEC(100);
	there = feed_chunk(&x.store, moved, T0, 0, next, 2, 0, 1);
	feed_put_identity(x.t, moved, 1);
	feed_put(x.t, there, true);
	store_rows(&x, T0, 0, two, 2);
	check_cat(x.t, ".by-uuid/GPU-aaaa/metrics/" UTIL, "90\n"); /* of h2/7 */
	feed_drop_identity(x.t, moved);
	commit(&x);
	check_cat(x.t, ".by-uuid/GPU-aaaa/metrics/" UTIL, "87\n");
	feed_free(moved);
	end(&x);
}
