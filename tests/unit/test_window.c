#include "window.h"
#include "../lib/hostile.h"
#include "../lib/test.h"

enum { REFS_MAX = 2048 };

#define HOUR (3600 * NS_PER_SEC)

/* A window and the series that its rows are of. */
struct sample_window {
	struct window w;
	struct series_ref *refs;
	uint32_t n_refs;
	struct grouping g;
};

static struct sample_window *sample_new(void)
{
	struct sample_window *s = xcalloc(1, sizeof(*s));

	s->refs = xcalloc(REFS_MAX, sizeof(*s->refs));
	window_init(&s->w);
	window_begin(&s->w, 0, 1);
	return s;
}

static void sample_free(struct sample_window *s)
{
	grouping_release(&s->g);
	window_release(&s->w);
	free(s->refs);
	free(s);
}

static struct series_ref *add_ref(struct sample_window *s, uint32_t host, uint32_t gpu,
				  uint32_t metric, uint32_t pod)
{
	struct series_ref *r = &s->refs[s->n_refs];

	*r = (struct series_ref){
		.id = s->n_refs++,
		.host_id = host,
		.gpu_id = gpu,
		.host = hostile_textf("host-%u", host),
		.series = {.gpu = hostile_textf("%u", gpu),
			   .metric = hostile_textf("M%u", metric),
			   .model = SLICE_LIT("H100"),
			   .labels = SLICE_LIT("job=\"dcgm\"")},
		.attribution = {.uuid = hostile_textf("GPU-%u", gpu),
				.pod = hostile_textf("pod-%u", pod)},
	};
	return r;
}

/* hosts × gpus × metrics, each used by one pod and then by another. Ids count by first sight, so
 * that none is above the ref's own. */
static void add_fleet(struct sample_window *s, uint32_t hosts, uint32_t gpus, uint32_t metrics)
{
	uint32_t n = hosts * gpus * metrics;

	for (uint32_t i = 0; i < 2 * n; i++) {
		uint32_t gpu = i % n / metrics;
		struct series_ref *r = add_ref(s, gpu / gpus, gpu, i % metrics, i / n);

		r->series_id = i % n;
		r->attribution_id = i / n * hosts * gpus + gpu;
	}
}

static void add_row(struct sample_window *s, uint32_t ref, int64_t source_ns, int64_t shown_ns,
		    struct slice value)
{
	struct sample x = {
		.time = {source_ns, 9}, .value = value, .series = &s->refs[ref % s->n_refs]};

	window_add(&s->w, &x, (struct stamp){shown_ns, 9}, s->w.end + 20, s->w.end_line + 1);
}

static void group(struct sample_window *s, int64_t batch_size)
{
	window_group(&s->w, batch_size, HOUR, &s->g);
}

/* ---- what a grouping is ---------------------------------------------------------------------- */

static bool host_eq(const struct window_row *a, const struct window_row *b)
{
	return a->series->host_id == b->series->host_id;
}

/* Each row once, groups one behind the other, of one host each, rows in their order, hosts in the
 * order of their first rows. */
static void check_is_partition(const struct sample_window *s)
{
	const struct window *w = &s->w;
	bool *seen = xcalloc(w->n + 1, 1), good = true;
	size_t at = 0;

	for (size_t i = 0; i < s->g.n; i++) {
		const struct message_group *x = &s->g.groups[i];

		good &= x->at == at && x->n > 0;
		for (size_t k = 0; k < x->n; k++, at++) {
			uint32_t row = s->g.order[at];

			good &= row < w->n && !seen[row] &&
				w->rows[row].series->host_id == x->first->host_id;
			good &= k == 0 || row > s->g.order[at - 1];
			seen[row] = true;
		}
	}
	CHECK(good && at == w->n);
	free(seen);
}

static void check_hosts_in_order(const struct sample_window *s)
{
	const struct window *w = &s->w;
	uint32_t newest = 0;
	size_t hosts = s->g.n > 0;

	for (size_t i = 1; i < s->g.n; i++) {
		const struct message_group *a = &s->g.groups[i - 1], *b = &s->g.groups[i];
		uint32_t last = s->g.order[a->at + a->n - 1], first = s->g.order[b->at];

		if (host_eq(&w->rows[last], &w->rows[first])) {
			CHECK(first > last);
		} else {
			CHECK(first > newest);
			newest = first;
			hosts++;
		}
	}
	CHECK_EQ_INT(s->g.hosts, hosts);
}

static size_t distinct(const struct sample_window *s, const struct message_group *x)
{
	size_t n = 0;

	for (size_t i = x->at; i < x->at + x->n; i++) {
		const struct window_row *a = &s->w.rows[s->g.order[i]];
		bool is_new = true;

		for (size_t k = x->at; k < i && is_new; k++) {
			const struct window_row *b = &s->w.rows[s->g.order[k]];

			is_new = a->series->gpu_id != b->series->gpu_id ||
				 a->source_ns / HOUR != b->source_ns / HOUR;
		}
		n += is_new;
	}
	return n;
}

static void check_limits(const struct sample_window *s, size_t batch_size)
{
	for (size_t i = 0; i < s->g.n; i++) {
		const struct message_group *x = &s->g.groups[i];

		CHECK(x->n <= batch_size);
		CHECK(distinct(s, x) <= WINDOW_PAIRS);
	}
}

static bool same_grouping(const struct grouping *a, size_t rows, const struct grouping *b)
{
	bool same = a->n == b->n && !memcmp(a->order, b->order, rows * sizeof(*a->order));

	for (size_t i = 0; i < a->n && same; i++)
		same = a->groups[i].at == b->groups[i].at && a->groups[i].n == b->groups[i].n;
	return same;
}

/* ---- payloads -------------------------------------------------------------------------------- */

static bool same_as_batch(const struct window *w, const struct window_row *row,
			  const struct batch *b, const struct row *got)
{
	const struct batch_series *s = &row->series->series, *gs = &b->series[got->series];
	const struct attribution *a = &row->series->attribution,
				 *ga = &b->attributions[got->attribution];

	return slice_eq(row->series->host, b->host) && slice_eq(s->gpu, gs->gpu) &&
	       slice_eq(s->metric, gs->metric) && slice_eq(s->model, gs->model) &&
	       slice_eq(s->labels, gs->labels) && slice_eq(a->uuid, ga->uuid) &&
	       slice_eq(a->pod, ga->pod) && row->time.ns == got->time.ns &&
	       row->time.digits == got->time.digits &&
	       slice_eq((struct slice){w->text.s + row->value_at, row->value_len}, got->value);
}

static void check_payload(struct sample_window *s, size_t i)
{
	const struct message_group *x = &s->g.groups[i];
	struct batch b = {0};
	struct strbuf out;
	struct err e = {""};
	bool same;

	strbuf_init(&out, BATCH_PAYLOAD_MAX);
	window_encode(&s->w, &s->g, i, &out);
	CHECK_EQ_INT(out.err, 0);
	CHECK_EQ_INT(batch_decode(out.s, out.len, &b, &e), 0);
	same = b.rows.n == x->n;
	for (size_t k = 0; k < x->n && same; k++)
		same = same_as_batch(&s->w, &s->w.rows[s->g.order[x->at + k]], &b, &b.rows.rows[k]);
	test_check(same, __FILE__, __LINE__, "group %zu of %zu rows differs: %s", i, (size_t)x->n,
		   e.text);
	batch_release(&b);
	strbuf_release(&out);
}

static void check_all(struct sample_window *s, int64_t batch_size)
{
	group(s, batch_size);
	check_is_partition(s);
	check_hosts_in_order(s);
	check_limits(s, (size_t)batch_size);
	for (size_t i = 0; i < s->g.n; i++)
		check_payload(s, i);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void add_random_rows(struct sample_window *s, struct rng *g, size_t n, uint32_t hours)
{
	for (size_t i = 0; i < n; i++) {
		int64_t ns = (int64_t)(485000 + rng_below(g, hours)) * HOUR +
			     (int64_t)rng_below(g, HOUR);

		add_row(s, (uint32_t)rng_below(g, s->n_refs), ns, ns, hostile_value(g));
	}
}

TEST(any_rows_are_grouped_once_each_and_come_back_from_their_payloads)
{
	struct rng g = {1};

	for (int round = 0; round < 60; round++) {
		struct sample_window *s = sample_new();

		add_fleet(s, 1 + (uint32_t)rng_below(&g, 6), 1 + (uint32_t)rng_below(&g, 20),
			  1 + (uint32_t)rng_below(&g, 5));
		add_random_rows(s, &g, 1 + rng_below(&g, 800), 1 + (uint32_t)rng_below(&g, 5));
		check_all(s, 1 + (int64_t)rng_below(&g, 200));
		sample_free(s);
	}
}

TEST(hosts_come_in_the_order_of_their_first_rows)
{
	struct sample_window *s = sample_new();
	static const uint32_t order[] = {2, 0, 2, 1, 0, 1, 2};

	add_fleet(s, 3, 1, 1);
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		add_row(s, order[i], (int64_t)i, 0, SLICE_LIT("1"));
	check_all(s, 100);
	CHECK_EQ_INT(s->g.n, 3);
	CHECK_EQ_STR("host-2", s->g.groups[0].first->host.p);
	CHECK_EQ_STR("host-0", s->g.groups[1].first->host.p);
	CHECK_EQ_STR("host-1", s->g.groups[2].first->host.p);
	CHECK_EQ_INT(s->g.groups[0].n, 3);
	sample_free(s);
}

/* With --time now the same bytes get other times at every reading. */
TEST(the_same_rows_make_the_same_groups_whatever_the_time)
{
	struct rng g = {2};

	for (int round = 0; round < 20; round++) {
		struct sample_window *a = sample_new(), *b = sample_new();
		size_t n = 1 + rng_below(&g, 600);

		add_fleet(a, 3, 12, 2);
		add_fleet(b, 3, 12, 2);
		for (size_t i = 0; i < n; i++) {
			uint32_t ref = (uint32_t)rng_below(&g, a->n_refs);
			int64_t source = (int64_t)rng_below(&g, 4 * HOUR);

			add_row(a, ref, source, (int64_t)i, SLICE_LIT("17"));
			add_row(b, ref, source, (int64_t)rng_below(&g, INT64_MAX), SLICE_LIT("17"));
		}
		group(a, 100);
		group(b, 100);
		CHECK(same_grouping(&a->g, n, &b->g));
		group(b, 100);
		CHECK(same_grouping(&a->g, n, &b->g));
		sample_free(a);
		sample_free(b);
	}
}

TEST(a_group_is_cut_at_the_batch_size)
{
	struct sample_window *s = sample_new();

	add_fleet(s, 1, 1, 1);
	for (int i = 0; i < 25; i++)
		add_row(s, 0, i, i, SLICE_LIT("1"));
	group(s, 10);
	CHECK_EQ_INT(s->g.n, 3);
	CHECK_EQ_INT(s->g.groups[0].n, 10);
	CHECK_EQ_INT(s->g.groups[1].n, 10);
	CHECK_EQ_INT(s->g.groups[2].n, 5);
	group(s, 1);
	CHECK_EQ_INT(s->g.n, 25);
	group(s, 25);
	CHECK_EQ_INT(s->g.n, 1);
	sample_free(s);
}

TEST(a_group_is_cut_at_the_estimate_of_its_bytes)
{
	char value[VALUE_MAX];
	struct sample_window *s = sample_new();
	size_t bytes = 0;

	memset(value, '7', sizeof(value));
	add_fleet(s, 1, 1, 1);
	for (int i = 0; i < 8000; i++)
		add_row(s, 0, i, i, (struct slice){value, sizeof(value)});
	check_all(s, 8192);
	CHECK(s->g.n >= 2);
	for (size_t i = 0; i < s->g.n; i++) {
		bytes = s->g.groups[i].n * (sizeof(value) + 12);
		CHECK(bytes <= WINDOW_GROUP_BYTES + 1000);
		CHECK(i + 1 == s->g.n || bytes > WINDOW_GROUP_BYTES - 1000);
	}
	sample_free(s);
}

TEST(long_names_count_once_in_each_group)
{
	struct sample_window *s = sample_new();
	char *labels = xmalloc(60000);

	memset(labels, 'x', 60000);
	for (uint32_t i = 0; i < 20; i++) {
		struct series_ref *r = add_ref(s, 0, 0, i, 0);

		r->series_id = i;
		r->series.labels = (struct slice){labels, 60000};
	}
	for (uint32_t i = 0; i < 400; i++)
		add_row(s, i % 20, i, i, SLICE_LIT("1"));
	check_all(s, 8192);
	CHECK(s->g.n >= 20 && s->g.n <= 400 / 4);
	sample_free(s);
	free(labels);
}

TEST(a_group_has_no_more_gpus_and_segments_than_one_transaction_stores)
{
	struct sample_window *s = sample_new();

	add_fleet(s, 1, 100, 1);
	for (uint32_t i = 0; i < 200; i++)
		add_row(s, i % 100, i, i, SLICE_LIT("1"));
	check_all(s, 8192);
	CHECK_EQ_INT(s->g.n, (200 + WINDOW_PAIRS - 1) / WINDOW_PAIRS);
	CHECK_EQ_INT(s->g.groups[0].n, WINDOW_PAIRS);
	sample_free(s);

	s = sample_new();
	add_fleet(s, 1, 1, 1);
	for (uint32_t i = 0; i < 3 * WINDOW_PAIRS; i++)
		add_row(s, 0, i * HOUR / 2, i, SLICE_LIT("1"));
	check_all(s, 8192);
	CHECK_EQ_INT(s->g.n, 2);
	CHECK_EQ_INT(s->g.groups[0].n, 2 * WINDOW_PAIRS);
	sample_free(s);
}

/* Two segments, to and fro, are two pairs and no more. */
TEST(a_pair_counts_once_however_often_it_comes_back)
{
	struct sample_window *s = sample_new();

	add_fleet(s, 1, WINDOW_PAIRS / 2, 1);
	for (uint32_t i = 0; i < 1000; i++)
		add_row(s, i, (i / WINDOW_PAIRS) % 2 * HOUR, i, SLICE_LIT("1"));
	check_all(s, 8192);
	CHECK_EQ_INT(s->g.n, 1);
	sample_free(s);
}

TEST(a_window_knows_where_it_lies_and_when_it_is_full)
{
	struct window w;
	struct series_ref ref = {.host = SLICE_LIT("h")};
	struct sample x = {.series = &ref, .value = SLICE_LIT("1")};

	window_init(&w);
	window_begin(&w, 100, 7);
	CHECK(w.offset == 100 && w.end == 100 && w.line == 7 && w.end_line == 7 && w.n == 0);
	CHECK(!window_full(&w, WINDOW_ROWS));
	window_add(&w, &x, x.time, 100 + WINDOW_BYTES - 1, 8);
	CHECK(!window_full(&w, WINDOW_ROWS));
	window_add(&w, &x, x.time, 100 + WINDOW_BYTES, 9);
	CHECK(window_full(&w, WINDOW_ROWS));
	CHECK(w.end == 100 + WINDOW_BYTES && w.end_line == 9 && w.n == 2);
	window_begin(&w, 500, 9);
	CHECK(w.n == 0 && w.text.len == 0 && !window_full(&w, WINDOW_ROWS));
	ref.host_id = 4;
	window_add(&w, &x, x.time, 500, 9);
	CHECK_EQ_INT(w.hosts, 5);
	CHECK(!window_full(&w, 2) && window_full(&w, 1));
	window_begin(&w, 500, 9);
	CHECK_EQ_INT(w.hosts, 0);
	for (int i = 0; i < WINDOW_ROWS - 1; i++)
		window_add(&w, &x, x.time, 500 + i, 9);
	CHECK(!window_full(&w, WINDOW_ROWS));
	window_add(&w, &x, x.time, 500 + WINDOW_ROWS, 9);
	CHECK(window_full(&w, WINDOW_ROWS));
	window_release(&w);
}

TEST(an_empty_window_has_no_groups)
{
	struct sample_window *s = sample_new();

	group(s, 10);
	CHECK_EQ_INT(s->g.n, 0);
	sample_free(s);
}
