#include "../lib/desk.h"
#include "../lib/hostile.h"
#include "../lib/stage.h"
#include "../lib/test.h"
#include "clock.h"
#include "render.h"
#include "stats.h"

#include <stdio.h>

static struct slice text(const char *s)
{
	return slice_str(s ? s : "");
}

/* ---- positions ------------------------------------------------------------------------------- */

static const char *const gpu_names[] = {"0", "1", "7.3"};

/* What the store should hold of a GPU and segment. */
struct expected {
	struct strbuf gpu[3][4];
};

static void expect(struct expected *x, const struct line *l)
{
	struct series s = {(char *)(uintptr_t)l->metric, (char *)"", (char *)(uintptr_t)l->metric};
	struct attribution a = {.uuid = text(l->uuid)};
	size_t gpu = 0, segment = (size_t)((l->ns - DAY_1) / HOUR);
	struct strbuf *to;

	while (strcmp(gpu_names[gpu], l->gpu))
		gpu++;
	to = &x->gpu[gpu][segment];
	if (!to->max)
		strbuf_init(to, 1 << 24);
	render_row(to, (struct stamp){l->ns, 9}, text(l->value), &s, &a);
}

static void check_expected(struct desk *d, struct expected *x)
{
	for (size_t g = 0; g < ARRAY_SIZE(gpu_names); g++) {
		char *got = desk_rows(d, gpu_names[g]), *at = got;

		for (size_t s = 0; s < 4; s++) {
			struct strbuf *want = &x->gpu[g][s];

			CHECK(strlen(at) >= want->len &&
			      !memcmp(at, want->s ? want->s : "", want->len));
			at += want->len;
		}
		CHECK_EQ_STR(at, "");
		free(got);
	}
}

static void random_lines(struct rng *g, struct line *lines, size_t n)
{
	static const char *const metrics[] = {"A", "B", "C", "D"};
	static const char *const uuids[] = {"GPU-1", "GPU-2"};

	for (size_t i = 0; i < n; i++)
		lines[i] = (struct line){gpu_names[rng_below(g, 3)],
					 metrics[rng_below(g, 4)],
					 "job=\"x\"",
					 uuids[rng_one_in(g, 20)],
					 DAY_1 + (int64_t)rng_below(g, 4 * HOUR),
					 hostile_textf("%d", (int)rng_below(g, 1000)).p};
}

TEST(positions_are_gapless_over_completions_and_reloads)
{
	struct desk *d = desk_new();
	struct expected x = {0};
	struct rng g = {1};
	struct line lines[300];

	for (int round = 0; round < 12; round++) {
		size_t n = round == 3 ? 1 : 1 + rng_below(&g, ARRAY_SIZE(lines));

		random_lines(&g, lines, n);
		if (round % 3 == 1)
			desk_load(d);
		CHECK_EQ_INT(desk_store(d, lines, n), 0);
		for (size_t i = 0; i < n; i++)
			expect(&x, &lines[i]);
	}
	check_expected(d, &x);
	for (size_t i = 0; i < 12; i++)
		strbuf_release(&x.gpu[i / 4][i % 4]);
	desk_free(d);
}

TEST(messages_of_one_completion_share_their_chunks)
{
	struct desk *d = desk_new();
	const struct line a[] = {{"0", "A", "", "u", DAY_1, "1"}, {"0", "B", "", "u", DAY_1, "2"}};
	const struct line b[] = {{"0", "B", "", "u", DAY_1 + 1, "3"},
				 {"0", "A", "", "v", DAY_1 + 1, "4"}};
	struct sheet *s[2] = {sheet_new(a, 2), sheet_new(b, 2)};
	struct library l;
	char *rows;

	CHECK_EQ_INT(desk_store_sheets(d, s, 2), 0);
	l = desk_read(d, "0");
	CHECK_EQ_INT(l.n, 1);
	CHECK_EQ_INT(l.list[0].c.n_attributions, 2);
	CHECK_EQ_INT(l.list[0].c.series[0].row, 3);
	library_release(&l);
	rows = desk_rows(d, "0");
	CHECK_EQ_STR(rows, "2024-10-04T00:00:00.000000000Z,A,1,u,,,,\n"
			   "2024-10-04T00:00:00.000000000Z,B,2,u,,,,\n"
			   "2024-10-04T00:00:00.000000001Z,B,3,u,,,,\n"
			   "2024-10-04T00:00:00.000000001Z,A,4,v,,,,\n");
	free(rows);
	free(s[0]);
	free(s[1]);
	desk_free(d);
}

TEST(rows_of_several_segments_go_to_a_chunk_each)
{
	struct desk *d = desk_new();
	struct library l;

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1 + HOUR - 1, "1"},
			   {"0", "A", "", "u", DAY_1 + HOUR, "2"}, {"0", "A", "", "u", DAY_1, "3"},
			   {"0", "A", "", "u", DAY_1 + 5 * HOUR, "4"}),
		     0);
	l = desk_read(d, "0");
	if (CHECK_EQ_INT(l.n, 3)) {
		CHECK_EQ_INT(l.list[0].c.segment_ns, DAY_1);
		CHECK_EQ_INT(l.list[1].c.segment_ns, DAY_1 + HOUR);
		CHECK_EQ_INT(l.list[2].c.segment_ns, DAY_1 + 5 * HOUR);
		CHECK_EQ_INT(l.list[0].c.rows, 2);
		CHECK_EQ_SLICE(l.list[0].c.series[0].value, slice_str("1"));
		CHECK(l.list[0].c.incarnation != l.list[1].c.incarnation);
	}
	library_release(&l);
	desk_free(d);
}

TEST(pairs_are_stored_in_parts_in_the_order_of_their_first_rows)
{
	struct desk *d = desk_new();
	struct line lines[100];
	struct sheet *s;
	struct intake *in;
	struct library l;

	for (int i = 0; i < 100; i++)
		lines[i] = (struct line){"0", "A", "", "u", DAY_1 + i % 50 * HOUR, "1"};
	s = sheet_new(lines, 100);
	in = intake_new(d->w);
	CHECK_EQ_INT(intake_add(in, &s->b, &d->e), 0);
	CHECK_EQ_INT(intake_pairs(in), 50);
	CHECK_EQ_INT(desk_store_pairs(d, in, 0, WRITER_PAIRS_MAX), 0);
	l = desk_read(d, "0");
	CHECK_EQ_INT(l.n, WRITER_PAIRS_MAX);
	CHECK_EQ_INT(l.list[l.n - 1].c.segment_ns, DAY_1 + (WRITER_PAIRS_MAX - 1) * HOUR);
	library_release(&l);
	CHECK_EQ_INT(desk_store_pairs(d, in, WRITER_PAIRS_MAX, 50), 0);
	l = desk_read(d, "0");
	CHECK_EQ_INT(l.n, 50);
	for (size_t i = 0; i < l.n; i++)
		CHECK_EQ_INT(l.list[i].c.rows, 2);
	library_release(&l);
	intake_free(in);
	free(s);
	desk_free(d);
}

TEST(a_body_over_its_limit_is_split_and_stays_in_order)
{
	struct desk *d = desk_new();
	struct line *lines = xcalloc(8192, sizeof(*lines));
	struct rng g = {3};
	struct library l;
	struct strbuf want;
	char *got;

	strbuf_init(&want, 1 << 24);
	for (int i = 0; i < 8192; i++) {
		lines[i] = (struct line){"0",
					 i % 3 ? "A" : "B",
					 "",
					 "u",
					 DAY_1 + i,
					 hostile_textf("%016llx%016llx%016llx",
						       (unsigned long long)rng_next(&g),
						       (unsigned long long)rng_next(&g),
						       (unsigned long long)rng_next(&g))
						 .p};
		strbuf_addf(&want, "2024-10-04T00:00:00.%09dZ,%s,%s,u,,,,\n", i, lines[i].metric,
			    lines[i].value);
	}
	CHECK_EQ_INT(desk_store(d, lines, 8192), 0);
	l = desk_read(d, "0");
	CHECK(l.n >= 3 && l.bodies.ranges[0].n == l.n);
	library_release(&l);
	got = desk_rows(d, "0");
	CHECK(!strcmp(got, want.s));
	free(got);
	strbuf_release(&want);
	free(lines);
	desk_free(d);
}

TEST(the_last_moment_of_time_is_stored_like_any_other)
{
	struct desk *d = desk_new();
	char *rows;

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", INT64_MAX, "1"}), 0);
	desk_load(d);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", INT64_MAX, "2"}, {"0", "A", "", "u", 0, "3"}), 0);
	rows = desk_rows(d, "0");
	CHECK_EQ_STR(rows, "1970-01-01T00:00:00.000000000Z,A,3,u,,,,\n"
			   "2262-04-11T23:47:16.854775807Z,A,1,u,,,,\n"
			   "2262-04-11T23:47:16.854775807Z,A,2,u,,,,\n");
	free(rows);
	desk_free(d);
}

/* ---- labels ---------------------------------------------------------------------------------- */

static void check_names(struct desk *d, const char *gpu, const char *labels, const char *names)
{
	struct identity *id = desk_identity(d, gpu);
	struct strbuf got;

	strbuf_init(&got, 1 << 16);
	for (uint32_t i = 0; i < id->n_series; i++)
		strbuf_addf(&got, "%s%s", i ? " " : "", id->series[i].name);
	CHECK_EQ_STR(id->labels, labels);
	CHECK_EQ_STR(got.s, names);
	strbuf_release(&got);
	identity_free(id);
}

TEST(what_all_first_series_have_in_common_is_the_gpus_own)
{
	struct desk *d = desk_new();

	CHECK_EQ_INT(STORE(d, {"0", "A", "i=\"h:9400\",job=\"x\"", "u", DAY_1, "1"},
			   {"0", "B", "i=\"h:9400\",job=\"x\",link=\"3\"", "u", DAY_1, "1"},
			   {"1", "A", "job=\"y\"", "u", DAY_1, "1"},
			   {"1", "B", "job=\"z\"", "u", DAY_1, "1"}),
		     0);
	check_names(d, "0", "i=\"h:9400\",job=\"x\"", "A B{link=\"3\"}");
	check_names(d, "1", "", "A{job=\"y\"} B{job=\"z\"}");
	desk_free(d);
}

TEST(labels_that_differ_later_name_the_series)
{
	struct desk *d = desk_new();

	CHECK_EQ_INT(STORE(d, {"0", "A", "job=\"x\"", "u", DAY_1, "1"},
			   {"0", "B", "job=\"x\"", "u", DAY_1, "1"}),
		     0);
	CHECK_EQ_INT(STORE(d, {"0", "A", "job=\"y\"", "u", DAY_1 + 1, "2"},
			   {"0", "B", "job=\"x\",link=\"1\"", "u", DAY_1 + 1, "2"},
			   {"0", "A", "", "u", DAY_1 + 1, "2"}),
		     0);
	desk_load(d);
	CHECK_EQ_INT(STORE(d, {"0", "A", "job=\"y\"", "u", DAY_1 + 2, "3"},
			   {"0", "C", "job=\"x\"", "u", DAY_1 + 2, "3"}),
		     0);
	check_names(d, "0", "job=\"x\"", "A B A{job=\"y\"} B{link=\"1\"} A{job=\"\"} C");
	desk_free(d);
}

TEST(the_labels_of_a_gpus_only_series_are_its_own)
{
	struct desk *d = desk_new();

	CHECK_EQ_INT(STORE(d, {"0", "A", "job=\"x\",link=\"1\"", "u", DAY_1, "1"}), 0);
	CHECK_EQ_INT(STORE(d, {"0", "A", "job=\"x\",link=\"2\"", "u", DAY_1, "1"}), 0);
	check_names(d, "0", "job=\"x\",link=\"1\"", "A A{link=\"2\"}");
	desk_free(d);
}

/* ---- identity -------------------------------------------------------------------------------- */

static void check_uuid(struct desk *d, const char *want)
{
	struct identity *id = desk_identity(d, "0");

	CHECK_EQ_STR(id->uuid, want);
	CHECK_EQ_STR(id->model, "H100");
	identity_free(id);
}

TEST(a_swapped_gpu_is_known_by_the_newest_row_only)
{
	struct desk *d = desk_new();

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "old", DAY_1 + 10, "1"}), 0);
	check_uuid(d, "old");
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "new", DAY_1 + 20, "1"},
			   {"0", "A", "", "old", DAY_1 + 15, "1"}),
		     0);
	check_uuid(d, "new");
	desk_load(d);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "old", DAY_1 + 19, "1"}), 0);
	check_uuid(d, "new");
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "third", DAY_1 + 20, "1"}), 0);
	check_uuid(d, "third");
	desk_free(d);
}

TEST(a_late_row_of_another_gpu_does_not_hide_the_one_that_went_on)
{
	struct desk *d = desk_new();

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "one", DAY_1 + 10, "1"},
			   {"0", "A", "", "one", DAY_1 + 30, "1"},
			   {"0", "A", "", "two", DAY_1 + 20, "1"}),
		     0);
	check_uuid(d, "one");
	CHECK_EQ_INT(STORE(d, {"0", "B", "", "two", DAY_1 + 25, "1"}), 0);
	check_uuid(d, "one");
	desk_free(d);
}

TEST(the_same_gpu_is_newest_again_when_its_rows_go_on)
{
	struct desk *d = desk_new();

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "one", DAY_1 + 10, "1"},
			   {"0", "B", "", "two", DAY_1 + 20, "1"},
			   {"0", "A", "", "one", DAY_1 + 30, "1"}),
		     0);
	check_uuid(d, "one");
	desk_free(d);
}

TEST(rows_ahead_of_time_are_flagged_and_name_a_gpu_only_if_nothing_else_does)
{
	struct desk *d = desk_new();
	int64_t now = wall_now_ns(), ahead = now + CHUNK_AHEAD_NS + HOUR;
	struct library l;

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "ahead", ahead, "1"}), 0);
	check_uuid(d, "ahead");
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "now", now, "2"}, {"0", "B", "", "ahead", ahead, "3"},
			   {"0", "B", "", "now", now, "4"}),
		     0);
	check_uuid(d, "now");
	l = desk_read(d, "0");
	for (size_t i = 0; i < l.n; i++)
		for (uint32_t k = 0; k < l.list[i].c.n_series; k++)
			CHECK_EQ_INT(l.list[i].c.series[k].ahead,
				     l.list[i].c.series[k].time.ns == ahead);
	library_release(&l);
	desk_free(d);
}

/* Both lie in one segment, and in one chunk. */
TEST(the_latest_of_a_series_is_its_newest_row_that_is_not_ahead)
{
	struct desk *d = desk_new();
	int64_t now = wall_now_ns() / HOUR * HOUR, base = now - HOUR;
	struct library l;

	writer_free(d->w);
	CHECK_EQ_INT(writer_load(&d->w, d->c, &d->f, &d->h, 24 * HOUR, 0, &d->e), 0);
	base = base / (24 * HOUR) * 24 * HOUR;
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", base + 5, "1"},
			   {"0", "A", "", "u", base + 9, "2"}, {"0", "A", "", "u", base + 9, "3"},
			   {"0", "A", "", "u", base + 7, "4"}),
		     0);
	l = desk_read(d, "0");
	if (CHECK_EQ_INT(l.n, 1)) {
		CHECK_EQ_INT(l.list[0].c.series[0].row, 2);
		CHECK_EQ_SLICE(l.list[0].c.series[0].value, slice_str("3"));
		CHECK(!l.list[0].c.series[0].ahead);
	}
	library_release(&l);
	desk_free(d);
}

TEST(an_identity_that_says_the_same_is_not_written_again)
{
	struct desk *d = desk_new();
	int64_t rev;

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "1"}), 0);
	rev = stage_mod_rev(d->c, key_gpu("h", "0").s);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1 + 1, "1"}), 0);
	desk_load(d);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1 + 2, "1"}), 0);
	CHECK_EQ_INT(stage_mod_rev(d->c, key_gpu("h", "0").s), rev);
	CHECK_EQ_INT(STORE(d, {"0", "B", "", "u", DAY_1 + 3, "1"}), 0);
	CHECK(stage_mod_rev(d->c, key_gpu("h", "0").s) > rev);
	desk_free(d);
}

/* ---- refusals -------------------------------------------------------------------------------- */

TEST(who_is_no_longer_the_writer_reads_and_stores_nothing)
{
	struct desk *d = desk_new();
	struct writer *w = NULL;

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "1"}), 0);
	desk_load(d);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "1"}), 0);
	stage_put(d->c, key_writer("h").s, "thief");
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1 + HOUR, "1"}), -ESTALE);
	CHECK_EQ_INT(writer_load(&w, d->c, &d->f, &d->h, HOUR, 0, &d->e), -ESTALE);
	CHECK(!w);
	stage_die(d->c, "me");
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "1"}), -EOWNERDEAD);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 2);
	writer_free(NULL);
	intake_free(NULL);
	desk_free(d);
}

static void check_refused(const char *gpu, const char *metric, const char *labels, const char *why)
{
	struct desk *d = desk_new();

	CHECK_EQ_INT(
		STORE(d, {gpu, "B", "", "u", DAY_1, "1"}, {gpu, metric, labels, "u", DAY_1, "1"}),
		-EBADMSG);
	CHECK_EQ_STR(d->e.text, why);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 0);
	desk_free(d);
}

/* To etcd, of all kinds, so far. */
static long requests(void)
{
	static const char name[] = "gputel_etcd_request_duration_seconds_count{";
	struct strbuf text;
	long n = 0;

	strbuf_init(&text, 1 << 20);
	stats_render(&text);
	for (const char *p = text.s; p && (p = strstr(p, name)); p++)
		n += strtol(strchr(p, '}') + 1, NULL, 10);
	strbuf_release(&text);
	return n;
}

TEST(a_host_that_had_nothing_is_not_read_again_for_each_segment)
{
	struct desk *d = desk_new();
	long before = requests(), one;

	CHECK(d->w->whole);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "1"}), 0);
	one = requests() - before;
	desk_load(d);
	CHECK(!d->w->whole);
	before = requests();
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1 + HOUR, "1"}), 0);
	CHECK_EQ_INT(requests() - before, one + 1);
	desk_free(d);
}

TEST(what_no_folder_or_file_can_be_named_is_refused)
{
	char *name = xmalloc(301);

	memset(name, 'x', 300);
	name[300] = '\0';
	check_refused("", "A", "", "gpu_id: empty");
	check_refused(name, "A", "", "gpu_id: too long");
	name[256] = '\0';
	check_refused("0", name, "",
		      "metric xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: "
		      "the name is too long");
	name[250] = '\0';
	check_refused("0", name, "a=\"1\"",
		      "metric xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: "
		      "the name is too long");
	free(name);
}

TEST(more_series_than_a_gpu_may_have_are_refused)
{
	struct desk *d = desk_new();
	struct line *lines = xcalloc(IDENTITY_SERIES_MAX + 1, sizeof(*lines));

	for (int i = 0; i <= IDENTITY_SERIES_MAX; i++)
		lines[i] = (struct line){"0", hostile_textf("M%d", i).p, "", "u", DAY_1, "1"};
	CHECK_EQ_INT(desk_store(d, lines, IDENTITY_SERIES_MAX + 1), -EBADMSG);
	CHECK_EQ_STR(d->e.text, "metric M4096: the GPU has too many series");
	desk_load(d);
	CHECK_EQ_INT(desk_store(d, lines, IDENTITY_SERIES_MAX), 0);
	desk_load(d);
	CHECK_EQ_INT(desk_store(d, lines, 1), 0);
	CHECK_EQ_INT(desk_store(d, lines + IDENTITY_SERIES_MAX, 1), -EBADMSG);
	free(lines);
	desk_free(d);
}

TEST(a_damaged_store_is_told_and_not_written_over)
{
	struct desk *d = desk_new();
	struct writer *w = NULL;

	stage_put(d->c, key_data("h", "0", DAY_1, "01ARZ3NDEKTSV4RRFFQ69G5FAV").s, "junk");
	desk_load(d);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "1"}), -EUCLEAN);
	CHECK_EQ_STR(d->e.text, "h/0: no chunk");
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 1);
	stage_put(d->c, key_gpu("h", "1").s, "junk");
	CHECK_EQ_INT(writer_load(&w, d->c, &d->f, &d->h, HOUR, 0, &d->e), -EUCLEAN);
	CHECK(strstr(d->e.text, "host h: identity: ") == d->e.text);
	desk_free(d);
}

TEST(several_hosts_are_read_in_one_transaction)
{
	struct desk *d = desk_new();
	struct hold other = stage_take(d->c, &d->f, "k"), bad = stage_take(d->c, &d->f, "l");
	const struct hold *holds[] = {&d->h, &other, &bad};
	struct writer *w[3] = {NULL};

	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1, "1"}), 0);
	stage_put(d->c, key_gpu("l", "0").s, "junk");
	CHECK_EQ_INT(writer_load_several(w, d->c, &d->f, holds, 3, HOUR, 0, &d->e), -EUCLEAN);
	CHECK(strstr(d->e.text, "host l: ") == d->e.text);
	CHECK(w[0] && w[1] && !w[2]);
	CHECK_EQ_STR(w[0]->host, "h");
	CHECK(writer_gpu(w[0], "0") && !w[0]->whole);
	CHECK_EQ_STR(w[1]->host, "k");
	CHECK(!writer_gpu(w[1], "0") && w[1]->whole);
	writer_free(w[0]);
	writer_free(w[1]);
	stage_put(d->c, key_writer("k").s, "thief");
	w[0] = NULL;
	CHECK_EQ_INT(writer_load_several(w, d->c, &d->f, holds, 2, HOUR, 0, &d->e), -ESTALE);
	CHECK(!w[0]);
	desk_free(d);
}

/* ---- dropping -------------------------------------------------------------------------------- */

TEST(a_dropped_segment_starts_anew)
{
	struct desk *d = desk_new();
	struct segment_ref refs[] = {{NULL, DAY_1}, {NULL, DAY_1 + HOUR}};
	int64_t before = wall_now_ns();
	struct segment_state *s;
	struct library l;
	uint64_t incarnation;

	CHECK_EQ_INT(
		STORE(d, {"0", "A", "", "u", DAY_1, "1"}, {"0", "A", "", "u", DAY_1 + HOUR, "1"}),
		0);
	desk_load(d);
	refs[0].gpu = refs[1].gpu = writer_gpu(d->w, "0");
	CHECK_EQ_INT(writer_know(d->w, d->c, &d->f, &d->h, refs, 2, true, &d->e), 0);
	s = gpu_segment_state(refs[0].gpu, DAY_1);
	CHECK(s->stored_ns >= before && s->stored_ns <= wall_now_ns() && s->next_seq == 1);
	CHECK(s->parts.complete && s->parts.n == 1 && s->bytes > 50);
	l = desk_read(d, "0");
	incarnation = l.list[0].c.incarnation;
	stage_delete(d->c, key_data("h", "0", DAY_1, l.list[0].key.ulid).s);
	library_release(&l);
	writer_drop_segment(refs[0].gpu, DAY_1);
	CHECK_EQ_INT(STORE(d, {"0", "A", "", "u", DAY_1 + 1, "2"}), 0);
	l = desk_read(d, "0");
	CHECK(l.list[0].c.first_seq == 0 && l.list[0].c.incarnation != incarnation);
	library_release(&l);
	desk_free(d);
}
