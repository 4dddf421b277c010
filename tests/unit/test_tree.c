#include "../lib/test.h"
#include "../lib/tree_fixture.h"
#include "clock.h"
#include "render.h"

#include <stdio.h>

/* ---- what is shown --------------------------------------------------------------------------- */

TEST(before_the_first_list_everything_but_meta_is_an_io_error)
{
	struct fixture x = {0};
	struct node *n = NULL, *root;
	struct attr a;

	feed_store_init(&x.store);
	x.t = feed_tree(&x.store);
	root = tree_root(x.t);
	CHECK_EQ_INT(tree_attr(x.t, root, &a), 0);
	CHECK_EQ_INT((int64_t)a.ino, 1);
	CHECK_EQ_INT(tree_list(x.t, root, 0, NULL, NULL), -EIO);
	CHECK_EQ_INT(tree_lookup(x.t, root, "h1", &n), -EIO);
	CHECK_EQ_INT(tree_lookup(x.t, root, "README", &n), -EIO);
	CHECK_EQ_INT(attr_at(x.t, ".meta/version", &a), 0);
	CHECK_EQ_INT(attr_at(x.t, ".meta/status", &a), 0);
	check_cat(x.t, ".meta/gpus.json", "!EIO");
	node_unref(root);
	tree_free(x.t);
	feed_store_release(&x.store);
}

TEST(a_gpu_shows_its_values_its_identity_and_its_log)
{
	struct fixture x;

	begin(&x);
	free(x.f->id->model);
	x.f->id->model = xstrdup("NVIDIA H100 80GB HBM3");
	store_rows(&x, T0, 0, two, 2);
	check_cat(x.t, GPU "metrics/" UTIL, "87\n");
	check_cat(x.t, GPU "uuid", "GPU-aaaa\n");
	check_cat(x.t, GPU "model", "NVIDIA H100 80GB HBM3\n");
	check_cat(x.t, GPU "driver", "\n");
	check_cat(x.t, GPU "state", "lost\n");
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_TWO);
	check_cat(x.t, GPU "telemetry.csv", ROW_FILE_HEADER ROWS_TWO);
	check_cat(x.t, ".by-uuid/GPU-aaaa/metrics/" TEMP, "41\n");
	check_cat(x.t, GPU "stat",
		  TEMP " 41 C 2025-07-18T20:00:01Z\n" UTIL " 87 % 2025-07-18T20:00:01Z\n");
	check_cat(x.t, GPU "latest.csv",
		  ROW_FILE_HEADER "2025-07-18T20:00:01Z," TEMP ",41,GPU-aaaa,,,,\n"
				  "2025-07-18T20:00:01Z," UTIL ",87,GPU-aaaa,,,,\n");
	check_cat(x.t, "h1/latest.csv",
		  LATEST_HEADER_WIDE "h1,0,2025-07-18T20:00:01Z," TEMP ",41,GPU-aaaa,,,,\n"
				     "h1,0,2025-07-18T20:00:01Z," UTIL ",87,GPU-aaaa,,,,\n");
	check_cat(x.t, GPU "latest.prom", "");
	check_cat(x.t, ".meta/gpus.json",
		  "{\"data\":[{\"id\":\"GPU-aaaa\",\"uuid\":\"GPU-aaaa\",\"hostname\":\"h1\","
		  "\"gpu_id\":\"0\",\"device\":\"\",\"model\":\"NVIDIA H100 80GB HBM3\","
		  "\"driver\":\"\",\"state\":\"lost\",\"metrics\":[\"" TEMP "\",\"" UTIL "\"],"
		  "\"last_seen\":\"2025-07-18T20:00:01Z\"}],\"count\":1,\"has_more\":false}\n");
	check_cat(x.t, "h1/1/uuid", "!ENOENT");
	check_cat(x.t, GPU "metrics/NONE", "!ENOENT");
	check_cat(x.t, GPU "uuid/x", "!ENOTDIR");
	check_cat(x.t, "../etc/passwd", "!ENOENT");
	end(&x);
}

TEST(sizes_are_the_lengths_of_contents_everywhere)
{
	struct fixture x;
	char *d;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	store_rows(&x, T0 + HOUR, 0, (struct feed_row[]){ROW(POWER, "117.77", SEC(3601))}, 1);
	d = dump(x.t); /* checks it */
	CHECK(strstr(d, "2025-07-18T2100Z.csv"));
	free(d);
	end(&x);
}

TEST(state_follows_the_age_of_the_newest_sample)
{
	int64_t now = wall_now_ns(), segment = now - now % HOUR;
	const struct {
		int64_t age_s;
		const char *state;
	} cases[] = {{5, "live\n"}, {120, "stale\n"}, {900, "lost\n"}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct feed_row row = ROW(UTIL, "1", now - cases[i].age_s * NS_PER_SEC);
		struct fixture x;
		struct attr a;

		begin(&x);
		segment = row.ns - row.ns % HOUR;
		feed_put_identity(x.t, x.f, 1);
		store(&x, feed_chunk(&x.store, x.f, segment, 0, &row, 1, now, 2));
		check_cat(x.t, GPU "state", cases[i].state);
		CHECK_EQ_INT(attr_at(x.t, GPU "state", &a), 0);
		CHECK((a.until_ns == INT64_MAX) == (i == 2));
		CHECK_EQ_INT(a.mtime_ns, row.ns);
		end(&x);
	}
}

TEST(the_exposition_groups_by_metric_and_leaves_stale_series_out)
{
	int64_t now = wall_now_ns() / NS_PER_SEC * NS_PER_SEC, segment = now - now % HOUR;
	struct feed_row rows[] = {
		ROW(UTIL, "1", now - 300 * NS_PER_SEC),
		ROW(TEMP, "40", now, .labels = "sensor=\"a\""),
		ROW(TEMP, "41", now, .labels = "sensor=\"b\"", .pod = "p"),
		ROW("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "7", now),
	};
	struct fixture x;
	char *text, *want;

	begin(&x);
	feed_put_identity(x.t, x.f, 1);
	store(&x, feed_chunk(&x.store, x.f, segment - HOUR, 0, rows, 1, now, 2));
	store(&x, feed_chunk(&x.store, x.f, segment, 0, rows + 1, 3, now, 2));
	want = xasprintf("# TYPE " TEMP " gauge\n" TEMP
			 "{gpu=\"0\",UUID=\"GPU-aaaa\",device=\"\",modelName=\"\",Hostname=\"h1\","
			 "sensor=\"a\"} 40 %lld\n" TEMP
			 "{gpu=\"0\",UUID=\"GPU-aaaa\",device=\"\",modelName=\"\",Hostname=\"h1\","
			 "pod=\"p\",sensor=\"b\"} 41 %lld\n"
			 "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\n"
			 "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu=\"0\",UUID=\"GPU-aaaa\","
			 "device=\"\",modelName=\"\",Hostname=\"h1\"} 7 %lld\n",
			 (long long)now / 1000000, (long long)now / 1000000,
			 (long long)now / 1000000);
	check_cat(x.t, GPU "latest.prom", want);
	check_cat(x.t, ".meta/latest.prom", want);
	text = feed_cat(x.t, GPU "metrics/" TEMP "{sensor=\"b\"}", 0);
	CHECK_EQ_STR(text, "41\n");
	free(text);
	free(want);
	end(&x);
}

TEST(names_that_need_it_are_encoded)
{
	struct fixture x;
	struct feed *f;

	begin(&x);
	f = feed_new(".odd host/1", "a b", "GPU/x");
	feed_put_identity(x.t, f, 1);
	store(&x, feed_chunk(&x.store, f, T0, 0, (struct feed_row[]){ROW("m/1", "5", SEC(1))}, 1, 0,
			     2));
	feed_put_identity(x.t, f, 1);
	commit(&x);
	check_cat(x.t, "%2Eodd%20host%2F1/a%20b/metrics/m%2F1", "5\n");
	check_cat(x.t, ".by-uuid/GPU%2Fx/uuid", "GPU/x\n");
	check_cat(x.t, ".odd host", "!ENOENT");
	feed_free(f);
	end(&x);
}

TEST(a_host_named_like_a_file_of_the_root_does_not_hide_it)
{
	struct fixture x;
	struct feed *f;
	char *text;

	begin(&x);
	f = feed_new("README", "0", "GPU-r");
	feed_put_identity(x.t, f, 1);
	commit(&x);
	text = feed_cat(x.t, "README", 0);
	CHECK(strstr(text, "GPU telemetry"));
	free(text);
	text = dump(x.t);
	CHECK(strstr(text, "/README ") && !strstr(strstr(text, "/README ") + 1, "/README "));
	free(text);
	feed_free(f);
	end(&x);
}

/* A GPU with a row. */
static void put_gpu(struct fixture *x, struct feed *f)
{
	feed_put_identity(x->t, f, 1);
	feed_put(x->t, feed_chunk(&x->store, f, T0, 0, next, 1, 0, 1), false);
}

TEST(gpus_are_ordered_by_number)
{
	struct fixture x;
	struct feed *ten, *two_;
	char *text;

	begin(&x);
	ten = feed_new("h1", "10", "GPU-10");
	two_ = feed_new("h1", "2", "GPU-2");
	put_gpu(&x, ten);
	put_gpu(&x, two_);
	commit(&x);
	text = feed_cat(x.t, ".meta/gpus.json", 0);
	CHECK(strstr(text, "GPU-2") && strstr(strstr(text, "GPU-2"), "GPU-10"));
	free(text);
	feed_free(ten);
	feed_free(two_);
	end(&x);
}

/* ---- nodes and listings ---------------------------------------------------------------------- */

struct names {
	char names[64][64];
	uint64_t last;
	int n, stop_at;
};

static int note_name(const struct tree_entry *e, void *arg)
{
	struct names *l = arg;

	CHECK(e->attr.ino > l->last);
	l->last = e->attr.ino;
	snprintf(l->names[l->n++], sizeof(l->names[0]), "%s", e->name);
	return l->n == l->stop_at;
}

static bool has_name(const struct names *l, const char *name)
{
	int n = 0;

	for (int i = 0; i < l->n; i++)
		n += !strcmp(l->names[i], name);
	return n == 1;
}

TEST(a_listing_goes_on_where_it_was_while_entries_come_and_go)
{
	struct names l = {.stop_at = 10};
	struct feed *feeds[20];
	struct node *root;
	struct fixture x;
	char name[16];

	begin(&x);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "host%d", i);
		feeds[i] = feed_new(name, "0", name);
		if (i % 4)
			put_gpu(&x, feeds[i]);
	}
	commit(&x);
	root = tree_root(x.t);
	CHECK_EQ_INT(tree_list(x.t, root, 0, note_name, &l), 1);
	for (int i = 0; i < 20; i += 4)
		put_gpu(&x, feeds[i]);
	feed_drop_identity(x.t, feeds[1]);
	commit(&x);
	l.stop_at = 0;
	CHECK_EQ_INT(tree_list(x.t, root, l.last, note_name, &l), 0);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "host%d", i);
		if (i % 4 && i != 1)
			CHECK(has_name(&l, name));
		feed_free(feeds[i]);
	}
	node_unref(root);
	end(&x);
}

TEST(numbers_of_nodes_are_alike_in_every_process_and_change_with_the_incarnation)
{
	struct fixture x;
	struct attr a, b;
	struct feed *again;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	CHECK_EQ_INT(attr_at(x.t, ".meta", &a), 0);
	CHECK_EQ_INT((int64_t)a.ino, 3559563527177175506); /* changes with hash64 or the key only */
	CHECK_EQ_INT(attr_at(x.t, GPU "metrics", &a), 0);
	again = feed_new("h1", "0", "GPU-bbbb");
	feed_put_identity(x.t, again, 2);
	commit(&x);
	CHECK_EQ_INT(attr_at(x.t, GPU "metrics", &b), 0);
	CHECK(a.ino != b.ino && a.incarnation != b.incarnation);
	feed_free(again);
	end(&x);
}

TEST(nodes_live_as_long_as_they_are_held)
{
	struct fixture x;
	struct tree_stats s;
	struct node *a, *b;

	begin(&x);
	store_rows(&x, T0, 0, two, 2);
	a = node_at(x.t, GPU "uuid");
	b = node_at(x.t, ".by-uuid/../" GPU "uuid");
	CHECK(a == b);
	tree_stats(x.t, &s);
	CHECK_EQ_INT((int64_t)s.nodes, 2);
	node_unref(a);
	node_unref(b);
	tree_stats(x.t, &s);
	CHECK_EQ_INT((int64_t)s.nodes, 1);
	node_unref(NULL);
	end(&x);
}

TEST(releasing_nothing_is_fine)
{
	tree_free(NULL);
	node_unref(NULL);
}
