#include "../lib/test.h"
#include "../lib/tree_fixture.h"
#include "clock.h"
#include "render.h"

#include <stdatomic.h>

/* ---- lists ----------------------------------------------------------------------------------- */

/* Some GPUs with some chunks, some of them merged. */
struct world {
	struct feed_store store;
	struct feed *feeds[4];
	struct feed_chunk *chunks[4][6], *merged[4];
};

static void world_make(struct world *w)
{
	static const char *const values[] = {"1", "2.50", "-0", "7e-06", "1000000", "x"};

	feed_store_init(&w->store);
	for (int g = 0; g < 4; g++) {
		char gpu[2] = {(char)('0' + g), 0};

		w->feeds[g] = feed_new(g < 2 ? "h1" : "h2", gpu, gpu);
		for (int i = 0; i < 6; i++) {
			int64_t seg = i < 4 ? T0 : T0 + HOUR, at = seg + i * NS_PER_SEC;
			struct feed_row rows[] = {
				ROW(UTIL, values[(g + i) % 6], at),
				ROW(TEMP, values[(g + 2 * i) % 6], at,
				    .labels = i % 2 ? "a=\"b\"" : NULL),
				ROW(POWER, values[i], at + NS_PER_SEC / 2,
				    .pod = i % 3 ? "p" : NULL, .digits = 3),
			};

			w->chunks[g][i] = feed_chunk(&w->store, w->feeds[g], seg, i % 4 * 3, rows,
						     3, at + NS_PER_SEC, 20 + i);
		}
		w->merged[g] = feed_merge(&w->store, w->feeds[g], w->chunks[g], 3, 40);
	}
}

static void world_free(struct world *w)
{
	for (int g = 0; g < 4; g++)
		feed_free(w->feeds[g]);
	feed_store_release(&w->store);
}

static struct tree *world_list(struct world *w)
{
	struct tree *t = feed_tree(&w->store);

	tree_list_begin(t);
	for (int g = 0; g < 4; g++) {
		feed_put(t, w->merged[g], false);
		for (int i = 3; i < 6; i++)
			feed_put(t, w->chunks[g][i], i % 2);
	}
	for (int g = 0; g < 4; g++)
		feed_put_identity(t, w->feeds[g], 30);
	tree_list_end(t, 50);
	return t;
}

/* In commits, backwards or forwards, with the merge in one of them. */
static struct tree *world_watch(struct world *w, bool backwards)
{
	struct tree *t = feed_tree(&w->store);

	tree_list_begin(t);
	tree_list_end(t, 10);
	for (int k = 0; k < 24; k++) {
		int at = backwards ? 23 - k : k;

		feed_put_identity(t, w->feeds[at / 6], 30);
		feed_put(t, w->chunks[at / 6][at % 6], true);
		tree_commit(t, 20 + k);
	}
	for (int g = 0; g < 4; g++) {
		feed_put(t, w->merged[g], true);
		for (int i = 0; i < 3; i++)
			feed_drop(t, w->chunks[g][i]);
	}
	tree_commit(t, 50);
	return t;
}

TEST(trees_fed_in_any_order_show_the_same)
{
	struct world w;
	struct tree *listed, *forwards, *backwards;
	struct tree_stats a, b;

	world_make(&w);
	listed = world_list(&w);
	forwards = world_watch(&w, false);
	backwards = world_watch(&w, true);
	check_same(listed, forwards);
	check_same(listed, backwards);
	tree_stats(listed, &a);
	tree_stats(forwards, &b);
	CHECK_EQ_INT((int64_t)a.rows, 72);
	CHECK_EQ_INT((int64_t)a.chunks, (int64_t)b.chunks);
	CHECK_EQ_INT((int64_t)a.series, (int64_t)b.series);
	CHECK_EQ_INT((int64_t)a.segments, 8);
	tree_free(listed);
	tree_free(forwards);
	tree_free(backwards);
	world_free(&w);
}

TEST(listing_again_drops_what_is_gone_and_keeps_the_rest)
{
	struct world w;
	struct tree *t;
	struct node *stays, *goes;
	struct tree_stats s;
	struct attr a;

	world_make(&w);
	t = world_list(&w);
	stays = node_at(t, "h1/0/history/2025-07-18T2000Z.csv");
	goes = node_at(t, "h2/3/metrics/" UTIL);
	tree_list_begin(t);
	for (int i = 0; i < 4; i++)
		feed_put(t, w.chunks[0][i], false);
	feed_put_identity(t, w.feeds[0], 30);
	tree_list_end(t, 60);
	CHECK_EQ_INT(tree_attr(t, stays, &a), 0);
	CHECK_EQ_INT(tree_attr(t, goes, &a), -ESTALE);
	check_cat(t, "h2", "!ENOENT");
	tree_stats(t, &s);
	CHECK_EQ_INT((int64_t)s.gpus, 1);
	CHECK_EQ_INT((int64_t)s.rows, 12);
	node_unref(stays);
	node_unref(goes);
	tree_free(t);
	world_free(&w);
}

TEST(a_list_that_is_cut_short_leaves_everything_as_it_was)
{
	struct world w;
	struct tree *t, *u;

	world_make(&w);
	t = world_list(&w);
	u = world_list(&w);
	tree_list_begin(t);
	feed_put(t, w.chunks[0][0], false);
	check_same(t, u);
	tree_list_begin(t);
	for (int g = 0; g < 4; g++) {
		feed_put(t, w.merged[g], false);
		for (int i = 3; i < 6; i++)
			feed_put(t, w.chunks[g][i], false);
		feed_put_identity(t, w.feeds[g], 30);
	}
	tree_list_end(t, 50);
	check_same(t, u);
	tree_free(t);
	tree_free(u);
	world_free(&w);
}

TEST(what_is_put_is_seen_at_the_commit_and_not_before)
{
	struct fixture x;

	begin(&x);
	feed_put_identity(x.t, x.f, 1);
	feed_put(x.t, chunk(&x, T0, 0, two, 2), true);
	check_cat(x.t, "h1", "!ENOENT");
	CHECK_EQ_INT(tree_revision(x.t), 10);
	feed_put_identity(x.t, x.f, 1);
	tree_commit(x.t, 77);
	check_cat(x.t, GPU "metrics/" UTIL, "87\n");
	CHECK_EQ_INT(tree_revision(x.t), 77);
	check_cat(x.t, ".meta/revision", "11\n"); /* of the newest chunk, in every mount */
	end(&x);
}

/* ---- changes --------------------------------------------------------------------------------- */

static void note_changes(int64_t revision, const struct change *c, size_t n, void *arg)
{
	static const char *const kinds[] = {"host+", "host-", "gpu+", "gpu-",   "gpu", "seg+",
					    "seg-",  "seg",   "ser+", "latest", "ser-"};
	struct strbuf *out = arg;

	strbuf_addf(out, "%lld:", (long long)revision);
	for (size_t i = 0; i < n; i++)
		strbuf_addf(out, " %s%s%s%s", kinds[c[i].kind], c[i].series ? "=" : "",
			    c[i].series ? c[i].series : "", c[i].same_value ? "(same)" : "");
	strbuf_addc(out, '\n');
}

TEST(watchers_are_told_what_a_commit_did)
{
	struct feed_chunk *parts[2], *merged;
	struct fixture x;
	struct strbuf log;

	begin(&x);
	strbuf_init(&log, 65536);
	tree_watch(x.t, note_changes, &log);
	parts[0] = chunk(&x, T0, 0, two, 2);
	feed_put_identity(x.t, x.f, 1);
	feed_put(x.t, parts[0], true);
	tree_commit(x.t, 1);
	parts[1] = chunk(&x, T0, 2, third, 1);
	feed_put(x.t, parts[1], true);
	tree_commit(x.t, 2);
	merged = feed_merge(&x.store, x.f, parts, 2, 3);
	feed_drop(x.t, parts[0]);
	feed_drop(x.t, parts[1]);
	feed_put(x.t, merged, true);
	tree_commit(x.t, 3);
	feed_put(x.t, chunk(&x, T0, 3, (struct feed_row[]){ROW(POWER, "5", SEC(3))}, 1), true);
	feed_put_identity(x.t, x.f, 2);
	tree_commit(x.t, 4);
	tree_list_begin(x.t);
	feed_put(x.t, merged, true);
	feed_put_identity(x.t, x.f, 2);
	tree_list_end(x.t, 5);
	feed_drop(x.t, merged);
	feed_drop_identity(x.t, x.f);
	tree_commit(x.t, 6);
	CHECK_EQ_STR(log.s, "1: gpu+ host+\n"
			    "2: seg latest=" UTIL "\n"
			    "3:\n"
			    "4: gpu seg ser+=" POWER "\n"
			    "5: seg- ser-=" POWER "\n"
			    "6: gpu- host-\n");
	strbuf_release(&log);
	end(&x);
}

TEST(watchers_are_told_whether_a_value_reads_as_before)
{
	struct fixture x;
	struct strbuf log;

	begin(&x);
	strbuf_init(&log, 65536);
	feed_put(x.t, chunk(&x, T0, 0, (struct feed_row[]){ROW(POWER, "5", SEC(1))}, 1), true);
	feed_put_identity(x.t, x.f, 1);
	tree_commit(x.t, 1);
	tree_watch(x.t, note_changes, &log);
	feed_put(x.t, chunk(&x, T0, 1, (struct feed_row[]){ROW(POWER, "5", SEC(2))}, 1), true);
	tree_commit(x.t, 2);
	feed_put(x.t, chunk(&x, T0, 2, (struct feed_row[]){ROW(POWER, "5.0", SEC(3))}, 1), true);
	tree_commit(x.t, 3);
	CHECK_EQ_STR(log.s, "2: seg latest=" POWER "(same)\n"
			    "3: seg latest=" POWER "\n");
	strbuf_release(&log);
	end(&x);
}

/* ---- threads --------------------------------------------------------------------------------- */

struct reading {
	struct tree *t;
	atomic_bool *stop;
	atomic_int *reads;
};

/* The log only grows by whole rows that never change, and the value is whole. */
static void read_once(struct tree *t, char **seen)
{
	char *text = feed_cat(t, LOG, 333), *value = feed_cat(t, GPU "metrics/" UTIL, 0);
	char *fleet = feed_cat(t, ".meta/latest.csv", 0);

	CHECK(value[0] == '!' || value[strlen(value) - 1] == '\n');
	CHECK(!strncmp(fleet, LATEST_HEADER_WIDE, sizeof(LATEST_HEADER_WIDE) - 1));
	if (CHECK(text[0] != '!')) {
		CHECK(text[strlen(text) - 1] == '\n');
		CHECK(!*seen || !strncmp(*seen, text, strlen(*seen)));
	}
	free(*seen);
	*seen = text;
	free(value);
	free(fleet);
}

static void *read_on(void *arg)
{
	struct reading *r = arg;
	char *seen = NULL, *d;

	while (!atomic_load(r->stop)) {
		read_once(r->t, &seen);
		atomic_fetch_add(r->reads, 1);
	}
	d = dump(r->t);
	free(d);
	free(seen);
	return NULL;
}

static void merge_last(struct fixture *x, struct feed_chunk **parts, struct feed_chunk **merged)
{
	*merged = feed_merge(&x->store, x->f, parts, 8, x->rev + 1);
	for (int k = 0; k < 8; k++) {
		feed_forget(&x->store, parts[k]);
		feed_drop(x->t, parts[k]);
	}
	feed_put(x->t, *merged, false);
	commit(x);
}

TEST(readers_see_whole_growing_files_while_the_tree_is_fed_merged_and_listed)
{
	struct feed_chunk *parts[8], *merged[40];
	atomic_bool stop = false;
	atomic_int reads = 0;
	struct reading reader;
	pthread_t threads[3];
	struct fixture x;

	begin(&x);
	reader = (struct reading){x.t, &stop, &reads};
	store_rows(&x, T0, 0, third, 1);
	for (int i = 0; i < 3; i++)
		CHECK_EQ_INT(pthread_create(&threads[i], NULL, read_on, &reader), 0);
	for (int64_t i = 0; i < 320; i++) {
		struct feed_row row = ROW(UTIL, i % 2 ? "100" : "7", SEC(10 + i));

		parts[i % 8] = store_rows(&x, T0, 1 + i, &row, 1);
		if (i % 8 == 7)
			merge_last(&x, parts, &merged[i / 8]);
		if (i % 80 == 79) {
			struct feed_chunk *first = x.f->chunks;

			while (first->next)
				first = first->next;
			tree_list_begin(x.t);
			feed_put(x.t, first, false);
			for (int k = 0; k <= i / 8; k++)
				feed_put(x.t, merged[k], false);
			feed_put_identity(x.t, x.f, 1);
			tree_list_end(x.t, ++x.rev);
		}
		nanosleep(&(struct timespec){0, 500000}, NULL);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&reads) > 0);
	end(&x);
}
