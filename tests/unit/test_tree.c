#include "../lib/feed.h"
#include "../lib/test.h"
#include "clock.h"
#include "render.h"

#include <stdatomic.h>
#include <stdio.h>

#define ROW(m, v, t, ...) {.metric = m, .value = v, .ns = t, ##__VA_ARGS__}

#define HOUR   (3600 * NS_PER_SEC)
#define T0     (1752868800 * NS_PER_SEC) /* 2025-07-18T20:00:00Z */
#define SEC(n) (T0 + (n) * NS_PER_SEC)
#define GPU    "h1/0/"
#define LOG    GPU "history/2025-07-18T2000Z.csv"
#define UTIL   "DCGM_FI_DEV_GPU_UTIL"
#define TEMP   "DCGM_FI_DEV_GPU_TEMP"
#define POWER  "DCGM_FI_DEV_POWER_USAGE"

/* One GPU, one tree with its first list in. */
struct fixture {
	struct feed_store store;
	struct feed *f;
	struct tree *t;
	int64_t rev;
};

static void begin(struct fixture *x)
{
	*x = (struct fixture){.rev = 10};
	feed_store_init(&x->store);
	x->f = feed_new("h1", "0", "GPU-aaaa");
	x->t = feed_tree(&x->store);
	tree_set_segment_length(x->t, HOUR);
	tree_list_begin(x->t);
	tree_list_end(x->t, x->rev);
}

static void end(struct fixture *x)
{
	tree_free(x->t);
	feed_free(x->f);
	feed_store_release(&x->store);
}

static struct feed_chunk *chunk(struct fixture *x, int64_t segment, int64_t seq,
				const struct feed_row *rows, size_t n)
{
	return feed_chunk(&x->store, x->f, segment, seq, rows, n, 0, ++x->rev);
}

static void commit(struct fixture *x)
{
	tree_commit(x->t, ++x->rev);
}

/* Identity and chunk in one commit, as a collector does. */
static void store(struct fixture *x, const struct feed_chunk *c)
{
	feed_put_identity(x->t, x->f, x->rev);
	feed_put(x->t, c, true);
	commit(x);
}

static struct feed_chunk *store_rows(struct fixture *x, int64_t segment, int64_t seq,
				     const struct feed_row *rows, size_t n)
{
	struct feed_chunk *c = chunk(x, segment, seq, rows, n);

	store(x, c);
	return c;
}

static bool check_cat(struct tree *t, const char *path, const char *want)
{
	char *got = feed_cat(t, path, 0);
	bool ok = test_eq_bytes(slice_str(got), slice_str(want), __FILE__, __LINE__, path);

	free(got);
	return ok;
}

static int attr_at(struct tree *t, const char *path, struct attr *ret)
{
	struct node *n = NULL;
	int r = tree_resolve(t, path, false, &n);

	if (!r)
		r = tree_attr(t, n, ret);
	node_unref(n);
	return r;
}

static struct node *node_at(struct tree *t, const char *path)
{
	struct node *n = NULL;

	CHECK_EQ_INT(tree_resolve(t, path, false, &n), 0);
	return n;
}

static const struct feed_row two[] = {ROW(UTIL, "87", SEC(1)), ROW(TEMP, "41", SEC(1))};
static const struct feed_row next[] = {ROW(UTIL, "90", SEC(2)), ROW(TEMP, "42.5", SEC(2))};
static const struct feed_row third[] = {ROW(UTIL, "91", SEC(3))};

#define ROWS_TWO                                                                                   \
	"2025-07-18T20:00:01Z," UTIL ",87,GPU-aaaa,,,,\n"                                          \
	"2025-07-18T20:00:01Z," TEMP ",41,GPU-aaaa,,,,\n"
#define ROWS_NEXT                                                                                  \
	"2025-07-18T20:00:02Z," UTIL ",90,GPU-aaaa,,,,\n"                                          \
	"2025-07-18T20:00:02Z," TEMP ",42.5,GPU-aaaa,,,,\n"
#define ROWS_THIRD "2025-07-18T20:00:03Z," UTIL ",91,GPU-aaaa,,,,\n"

/* ---- dumps: all that a tree shows ------------------------------------------------------------ */

struct dump {
	struct tree *t;
	struct strbuf *out;
	struct strbuf names; /* of the folder at hand, NUL-separated */
	const char *path;
};

static void dump_dir(struct tree *t, const char *path, struct strbuf *out);

static int dump_entry(const struct tree_entry *e, void *arg)
{
	struct dump *d = arg;
	bool meta = !strncmp(d->path, ".meta", 5) || !strcmp(e->name, "README") ||
		    !strcmp(e->name, ".meta");

	if (!strcmp(e->name, "status"))
		return 0;
	strbuf_addf(d->out, "%s/%s ino=%llx type=%d size=%lld nlink=%u mtime=%lld\n", d->path,
		    e->name, (unsigned long long)e->attr.ino, e->attr.type,
		    (long long)e->attr.size, e->attr.nlink,
		    meta ? 0LL : (long long)e->attr.mtime_ns);
	strbuf_add(&d->names, e->name, strlen(e->name) + 1);
	return 0;
}

static void dump_content(struct tree *t, const char *path, struct node *n, const struct attr *a,
			 struct strbuf *out)
{
	char *text;

	if (a->type == NODE_DIR) {
		dump_dir(t, path, out);
	} else if (a->type == NODE_LINK) {
		struct strbuf target;

		strbuf_init(&target, 4096);
		CHECK_EQ_INT(tree_readlink(t, n, &target), 0);
		CHECK_EQ_INT((int64_t)target.len, a->size);
		strbuf_addf(out, "-> %s\n", target.s);
		strbuf_release(&target);
	} else {
		text = feed_cat(t, path, 0);
		if (!CHECK((int64_t)strlen(text) == a->size))
			fprintf(stderr, "%s: size %lld\n%s\n", path, (long long)a->size, text);
		strbuf_adds(out, text);
		free(text);
	}
}

static void dump_dir(struct tree *t, const char *path, struct strbuf *out)
{
	struct dump d = {t, out, {0}, path};
	struct node *dir = node_at(t, path), *n = NULL;
	struct attr a;

	strbuf_init(&d.names, 1 << 20);
	CHECK_EQ_INT(tree_list(t, dir, 0, dump_entry, &d), 0);
	for (size_t i = 0; i < d.names.len; i += strlen(d.names.s + i) + 1) {
		char *child = xasprintf("%s%s%s", path, path[0] ? "/" : "", d.names.s + i);

		if (CHECK(tree_lookup(t, dir, d.names.s + i, &n) == 0)) {
			CHECK_EQ_INT(tree_attr(t, n, &a), 0);
			dump_content(t, child, n, &a, out);
			node_unref(n);
		}
		free(child);
	}
	node_unref(dir);
	strbuf_release(&d.names);
}

static char *dump(struct tree *t)
{
	struct strbuf out;

	strbuf_init(&out, 1 << 26);
	dump_dir(t, "", &out);
	return strbuf_take(&out);
}

static void check_same(struct tree *a, struct tree *b)
{
	char *x = dump(a), *y = dump(b);

	CHECK_EQ_STR(x, y);
	free(x);
	free(y);
}

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

TEST(gpus_are_ordered_by_number)
{
	struct fixture x;
	struct feed *ten, *two_;
	char *text;

	begin(&x);
	ten = feed_new("h1", "10", "GPU-10");
	two_ = feed_new("h1", "2", "GPU-2");
	feed_put_identity(x.t, ten, 1);
	feed_put_identity(x.t, two_, 1);
	commit(&x);
	text = feed_cat(x.t, ".meta/gpus.json", 0);
	CHECK(strstr(text, "GPU-2") && strstr(strstr(text, "GPU-2"), "GPU-10"));
	free(text);
	feed_free(ten);
	feed_free(two_);
	end(&x);
}

/* ---- row files ------------------------------------------------------------------------------- */

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
	CHECK(!memcmp(&before, &after, sizeof(before)));
	free(was);
	free(is);
	end(&x);
}

/* A fetch that finds the parts merged away, until the commit that says so comes in. */
static void *commit_soon(void *arg)
{
	nanosleep(&(struct timespec){0, 30000000}, NULL);
	tree_commit(arg, 99);
	return NULL;
}

TEST(a_reader_that_meets_a_merge_waits_for_its_commit)
{
	struct feed_chunk *parts[2], *merged;
	struct fixture x;
	pthread_t thread;

	begin(&x);
	feed_put_identity(x.t, x.f, 1);
	parts[0] = chunk(&x, T0, 0, two, 2);
	parts[1] = chunk(&x, T0, 2, next, 2);
	feed_put(x.t, parts[0], false);
	feed_put(x.t, parts[1], false);
	feed_put_identity(x.t, x.f, 2);
	commit(&x);
	merged = feed_merge(&x.store, x.f, parts, 2, 50);
	for (int i = 0; i < 2; i++) {
		feed_forget(&x.store, parts[i]);
		feed_drop(x.t, parts[i]);
	}
	feed_put(x.t, merged, false);
	CHECK_EQ_INT(pthread_create(&thread, NULL, commit_soon, x.t), 0);
	check_cat(x.t, LOG, ROW_FILE_HEADER ROWS_TWO ROWS_NEXT);
	pthread_join(thread, NULL);
	end(&x);
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

TEST(a_newer_segment_that_goes_first_asks_for_a_list)
{
	struct fixture x;
	struct feed_chunk *old, *new;

	begin(&x);
	old = store_rows(&x, T0, 0, two, 2);
	new = store_rows(&x, T0 + HOUR, 0, (struct feed_row[]){ROW(UTIL, "5", SEC(3601))}, 1);
	feed_drop(x.t, new);
	commit(&x);
	CHECK(tree_has_gap(x.t));
	tree_list_begin(x.t);
	feed_put(x.t, old, true);
	feed_put_identity(x.t, x.f, 1);
	tree_list_end(x.t, ++x.rev);
	check_cat(x.t, GPU "metrics/" UTIL, "87\n");
	CHECK(!tree_has_gap(x.t));
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

TEST(by_uuid_shows_the_place_that_was_written_last)
{
	struct fixture x;
	struct feed *moved;

	begin(&x);
	moved = feed_new("h2", "7", "GPU-aaaa");
	moved->id->as_of_ns = SEC(100);
	feed_put_identity(x.t, moved, 1);
	store_rows(&x, T0, 0, two, 2);
	check_cat(x.t, ".by-uuid/GPU-aaaa/latest.csv", ROW_FILE_HEADER); /* of h2/7: empty */
	feed_drop_identity(x.t, moved);
	commit(&x);
	check_cat(x.t, ".by-uuid/GPU-aaaa/metrics/" UTIL, "87\n");
	feed_free(moved);
	end(&x);
}

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
				ROW(TEMP, values[(g + 2 * i) % 6], at, .labels = i % 2 ? "a=\"b\"" : NULL),
				ROW(POWER, values[i], at + NS_PER_SEC / 2, .pod = i % 3 ? "p" : NULL, .digits = 3),
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
	check_cat(x.t, ".meta/revision", "77\n");
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
			feed_put_identity(x.t, feeds[i], 1);
	}
	commit(&x);
	root = tree_root(x.t);
	CHECK_EQ_INT(tree_list(x.t, root, 0, note_name, &l), 1);
	for (int i = 0; i < 20; i += 4)
		feed_put_identity(x.t, feeds[i], 1);
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

/* ---- changes --------------------------------------------------------------------------------- */

static void note_changes(int64_t revision, const struct change *c, size_t n, void *arg)
{
	static const char *const kinds[] = {"gpu+", "gpu-", "gpu", "seg+",
					    "seg-", "seg",  "ser+", "latest", "ser-"};
	struct strbuf *out = arg;

	strbuf_addf(out, "%lld:", (long long)revision);
	for (size_t i = 0; i < n; i++)
		strbuf_addf(out, " %s%s%s", kinds[c[i].kind], c[i].series ? "=" : "",
			    c[i].series ? c[i].series : "");
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
	CHECK_EQ_STR(log.s, "1: gpu+\n"
			    "2: seg latest=" UTIL "\n"
			    "3:\n"
			    "4: gpu seg ser+=" POWER "\n"
			    "5: seg- ser-=" POWER "\n"
			    "6: gpu-\n");
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

TEST(releasing_nothing_is_fine)
{
	tree_free(NULL);
	node_unref(NULL);
}
