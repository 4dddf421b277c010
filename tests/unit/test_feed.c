/* The feed and its subscribers over a tree of commits that a test makes: what each subscriber is
 * given, whatever happens meanwhile. The functions of tree.h and query.h that they use are here. */
#include "../../bridge/subscriber.h"
#include "../lib/test.h"
#include "query.h"
#include "render.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define GPUS       6
#define LINE_BYTES 8
#define FILE_PATH  "h0/0/telemetry.csv"

/* ---- a tree: commit r has 1 + r % 3 rows of each GPU g with (r + g) % 2 -----------------------
 */

struct tree {
	pthread_mutex_t lock;
	int64_t revision;
	int64_t floor, damaged, gone;
	int error; /* of reading rows, while it is not 0 */
	void (*fn)(int64_t revision, const struct change *c, size_t n, void *arg);
	void *arg;
};

struct node {
	char nothing;
};

static struct node file;
static struct identity *gpus[GPUS];
static struct tree tree;
static char none[] = "", util[] = "UTIL", only_h1[] = "h1";
static struct series series = {.metric = util, .labels = none, .name = util};

__attribute__((constructor)) static void make_gpus(void)
{
	for (int g = 0; g < GPUS; g++) {
		char host[8], gpu[8];

		snprintf(host, sizeof(host), "h%d", g / 2);
		snprintf(gpu, sizeof(gpu), "%d", g % 2);
		gpus[g] = identity_new(slice_str(host), slice_str(gpu), 1, SLICE_LIT(""));
	}
}

static int find_gpu(const char *host, const char *gpu)
{
	return 2 * (host[1] - '0') + gpu[0] - '0';
}

static bool has_rows(int64_t revision, int g)
{
	return (revision + g) % 2;
}

static int rows_of(int64_t revision)
{
	return 1 + (int)(revision % 3);
}

static int64_t locked(const int64_t *what)
{
	int64_t v;

	pthread_mutex_lock(&tree.lock);
	v = *what;
	pthread_mutex_unlock(&tree.lock);
	return v;
}

static void set_error(int error)
{
	pthread_mutex_lock(&tree.lock);
	tree.error = error;
	pthread_mutex_unlock(&tree.lock);
}

void tree_watch(struct tree *t,
		void (*fn)(int64_t revision, const struct change *c, size_t n, void *arg),
		void *arg)
{
	pthread_mutex_lock(&t->lock);
	t->fn = fn;
	t->arg = arg;
	pthread_mutex_unlock(&t->lock);
}

int64_t tree_revision(struct tree *t)
{
	return locked(&t->revision);
}

/* Of so many revisions, one after another. */
static void commit(int n)
{
	struct change changes[GPUS];

	while (n--) {
		int64_t revision;
		size_t k = 0;

		pthread_mutex_lock(&tree.lock);
		revision = ++tree.revision;
		pthread_mutex_unlock(&tree.lock);
		for (int g = 0; g < GPUS; g++)
			if (has_rows(revision, g))
				changes[k++] = (struct change){.kind = CHANGE_SEGMENT_GREW,
							       .host = gpus[g]->host,
							       .gpu = gpus[g]->gpu};
		if (tree.fn)
			tree.fn(revision, changes, k, tree.arg);
	}
}

int query_gpus(struct tree *t, const char *host, int (*fn)(const struct query_gpu *g, void *arg),
	       void *arg, int64_t *ret_revision)
{
	for (int g = 0; g < GPUS; g++) {
		struct query_gpu x = {.host = gpus[g]->host, .gpu = gpus[g]->gpu, .id = gpus[g]};
		int r = fn(&x, arg);

		if (r)
			return r;
	}
	return 0;
}

int query_extents(struct tree *t, const char *host, const char *gpu, int64_t after, int64_t upto,
		  struct extent **ret, size_t *ret_n, int64_t *ret_floor)
{
	int64_t floor = locked(&t->floor), end = MIN(upto, locked(&t->revision));
	int g = find_gpu(host, gpu);

	*ret = xcalloc((size_t)MAX(0, end - after) + 1, sizeof(**ret));
	*ret_n = 0;
	for (int64_t r = MAX(after, floor) + 1; r <= end; r++)
		if (has_rows(r, g))
			(*ret)[(*ret_n)++] =
				(struct extent){.revision = r, .rows = (uint32_t)rows_of(r)};
	*ret_floor = floor > after ? floor : 0;
	return 0;
}

int query_extent_rows(struct tree *t, const char *host, const char *gpu, const struct extent *x,
		      int64_t patience_ms,
		      int (*fn)(const struct identity *id, const struct query_row *row, void *arg),
		      void *arg)
{
	static const struct attribution nobody;
	int g = find_gpu(host, gpu), r;

	pthread_mutex_lock(&t->lock);
	r = x->revision == t->damaged && g < 2 ? -EBADMSG
	    : x->revision == t->gone && g < 2  ? -ENODATA
					       : t->error;
	pthread_mutex_unlock(&t->lock);
	for (uint32_t i = 0; i < x->rows && !r; i++) {
		struct query_row row = {.series = &series, .attribution = &nobody};
		char value[32];

		snprintf(value, sizeof(value), "%lld/%d/%u", (long long)x->revision, g, i);
		row.value = slice_str(value);
		r = fn(gpus[g], &row, arg);
	}
	return r;
}

/* One row file, which gets a line by each commit. */

int tree_resolve(struct tree *t, const char *path, bool follow, struct node **ret)
{
	*ret = &file;
	return strstr(path, FILE_PATH) ? 0 : -ENOENT;
}

int tree_attr(struct tree *t, struct node *n, struct attr *ret)
{
	int64_t revision = locked(&t->revision);

	*ret = (struct attr){
		.content = CONTENT_ROWS, .size = LINE_BYTES * revision, .revision = revision};
	return 0;
}

int tree_readlink(struct tree *t, struct node *n, struct strbuf *ret)
{
	return -EINVAL;
}

int tree_read_rows(struct tree *t, struct node *n, int64_t offset, size_t size, struct strbuf *ret)
{
	char line[16];

	for (; size--; offset++) {
		snprintf(line, sizeof(line), "%07d\n", (int)(offset / LINE_BYTES));
		strbuf_addc(ret, line[offset % LINE_BYTES]);
	}
	return ret->err;
}

struct node *node_ref(struct node *n)
{
	return n;
}

void node_unref(struct node *n)
{
}

uint64_t node_ino(const struct node *n)
{
	return 1;
}

/* ---- a client: a transport that takes frames when it is woken -------------------------------- */

struct client {
	struct feed *feed;
	struct subscriber *s;
	pthread_mutex_t lock;
	pthread_cond_t woken;
	bool wake; /* under lock */
	/* Of rows: how often each came. */
	uint8_t *seen;
	int64_t max; /* revisions that seen has room for */
	int64_t last, complete, gap_from, gap_to, lag;
	size_t rows, frames, errors;
	bool in_order; /* revisions have never gone back */
	struct strbuf bytes;
	int job; /* what the thread does */
};

static void on_wake(void *arg)
{
	struct client *r = arg;

	pthread_mutex_lock(&r->lock);
	r->wake = true;
	pthread_cond_signal(&r->woken);
	pthread_mutex_unlock(&r->lock);
}

static void open_client(struct client *r)
{
	r->s = subscriber_new(r->feed, NULL, on_wake, r);
}

static void begin_client(struct client *r, struct feed *f, int64_t max)
{
	*r = (struct client){.feed = f, .max = max, .in_order = true, .lag = -1, .gap_to = -1};
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->woken, NULL);
	strbuf_init(&r->bytes, SIZE_MAX);
	r->seen = xcalloc((size_t)(max + 1) * GPUS * 3, 1);
	open_client(r);
}

static void end_client(struct client *r)
{
	subscriber_free(r->s);
	strbuf_release(&r->bytes);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->woken);
	free(r->seen);
}

static void wait_for_wake(struct client *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->wake)
		pthread_cond_wait(&r->woken, &r->lock);
	r->wake = false;
	pthread_mutex_unlock(&r->lock);
}

static void note_rows(struct client *r, const struct frame *f)
{
	static const char mark[] = "\"value\":\"";

	for (const char *p = f->data; (p = strstr(p, mark)); r->rows++) {
		long long revision = strtoll(p += sizeof(mark) - 1, (char **)(uintptr_t)&p, 10);
		long g = strtol(p + 1, (char **)(uintptr_t)&p, 10);
		long i = strtol(p + 1, (char **)(uintptr_t)&p, 10);

		CHECK_EQ_INT(revision, f->revision);
		r->seen[(revision * GPUS + g) * 3 + i]++;
	}
	r->in_order &= f->revision >= r->last;
	r->last = f->revision;
	if (!f->more)
		r->complete = f->revision;
}

static void note_bytes(struct client *r, const struct frame *f)
{
	for (const char *p = strstr(f->data, "\"data\":\"") + 8; *p && *p != '"'; p++)
		if (*p == '\\')
			strbuf_addc(&r->bytes, *++p == 'n' ? '\n' : *p);
		else
			strbuf_addc(&r->bytes, *p);
}

/* False: there is none now. */
static bool take(struct client *r)
{
	struct frame *f = subscriber_next(r->s);
	const char *from = f ? strstr(f->data, "\"from\":") : NULL;

	if (!f)
		return false;
	r->frames++;
	r->errors += f->kind == FRAME_ERROR;
	if (f->kind == FRAME_ROWS)
		note_rows(r, f);
	if (f->kind == FRAME_FILE)
		note_bytes(r, f);
	if (f->kind == FRAME_LAG)
		r->lag = f->revision;
	if (f->kind == FRAME_GAP) {
		r->gap_from = strtoll(from + 7, NULL, 10);
		r->gap_to = f->revision;
	}
	frame_unref(f);
	return true;
}

static void take_one(struct client *r)
{
	while (!take(r))
		wait_for_wake(r);
}

static size_t expected_rows(int64_t after, int64_t upto, int first, int end)
{
	size_t n = 0;

	for (int64_t r = after + 1; r <= upto; r++)
		for (int g = first; g < end; g++)
			n += has_rows(r, g) ? (size_t)rows_of(r) : 0;
	return n;
}

static void take_rows(struct client *r, size_t n)
{
	while (r->rows < n && r->lag < 0)
		take_one(r);
}

/* Each row of (after, upto] of GPUs [first, end) has come once, and no other. */
static void check_rows(const struct client *r, int64_t after, int64_t upto, int first, int end)
{
	size_t twice = 0;

	for (int64_t rev = 0; rev <= r->max; rev++)
		for (int g = 0; g < GPUS; g++)
			for (int i = 0; i < 3; i++) {
				bool wanted = rev > after && rev <= upto && g >= first && g < end &&
					      has_rows(rev, g) && i < rows_of(rev);

				twice += r->seen[(rev * GPUS + g) * 3 + i] != wanted;
			}
	CHECK_EQ_INT(twice, 0);
}

static void subscribe(struct client *r, const char *id, const char *host, int64_t since)
{
	struct filter f = {0};
	struct err e;

	if (host)
		CHECK_EQ_INT(filter_add(&f, FILTER_HOST, slice_str(host)), 0);
	CHECK_EQ_INT(subscriber_add(r->s, id, &f, since, &e), 0);
}

static struct feed *begin_feed(int commits)
{
	tree = (struct tree){.revision = commits};
	pthread_mutex_init(&tree.lock, NULL);
	return feed_start(&tree);
}

static void end(struct feed *f)
{
	feed_end(f);
	feed_stop(f);
	feed_free(f);
}

/* ---- many at a time -------------------------------------------------------------------------- */

#define COMMITS 1200

static bool all_done; /* atomic */

static void read_all(struct client *r)
{
	subscribe(r, "", NULL, 0);
	take_rows(r, expected_rows(0, COMMITS, 0, GPUS));
	check_rows(r, 0, COMMITS, 0, GPUS);
	CHECK(r->in_order);
}

static void read_from_ahead(struct client *r)
{
	subscribe(r, "", "h1", COMMITS / 2);
	take_rows(r, expected_rows(COMMITS / 2, COMMITS, 2, 4));
	check_rows(r, COMMITS / 2, COMMITS, 2, 4);
}

static void read_twice(struct client *r)
{
	subscribe(r, "a", "h1", 0);
	take_rows(r, 100);
	subscribe(r, "b", "h2", 0);
	subscribe(r, "c", NULL, 0);
	take_rows(r, expected_rows(0, COMMITS, 0, GPUS));
	check_rows(r, 0, COMMITS, 0, GPUS);
}

/* Cut again and again; what came of a commit that did not end is thrown away. */
static void read_in_pieces(struct client *r)
{
	size_t n = expected_rows(0, COMMITS, 4, GPUS);

	for (size_t cut = 1; r->rows < n; cut = cut * 7 % 31 + 1) {
		subscribe(r, "", "h2", r->complete);
		for (size_t to = r->frames + cut; r->frames < to && r->rows < n;)
			take_one(r);
		subscriber_free(r->s);
		open_client(r);
	}
	check_rows(r, 0, COMMITS, 4, GPUS);
	CHECK(r->in_order);
}

static void follow(struct client *r)
{
	struct err e;

	CHECK_EQ_INT(subscriber_follow(r->s, "f", FILE_PATH, 2, &e), 0);
	while (r->bytes.len < LINE_BYTES * COMMITS - 2)
		take_one(r);
	for (int i = 0; i < COMMITS; i++)
		CHECK_EQ_INT(strtol(r->bytes.s + LINE_BYTES * i - (i ? 2 : 0), NULL, 10), i);
}

static void come_and_go(struct client *r)
{
	for (int i = 0; !__atomic_load_n(&all_done, __ATOMIC_ACQUIRE); i++) {
		subscribe(r, "a", i % 2 ? "h0" : NULL, i % 3 ? 0 : SINCE_NOW);
		if (i % 5 == 0)
			take(r);
		subscribe(r, "b", "h1", 0);
		CHECK_EQ_INT(subscriber_remove(r->s, i % 2 ? "a" : "b"), 0);
		subscriber_free(r->s);
		open_client(r);
	}
}

static void (*const jobs[])(struct client *r) = {read_all,       read_from_ahead, read_twice,
						 read_in_pieces, follow,          come_and_go};

static void *run_client(void *arg)
{
	struct client *r = arg;

	jobs[r->job](r);
	return NULL;
}

TEST(each_gets_each_row_once_whatever_others_do_meanwhile)
{
	struct feed *f = begin_feed(0);
	struct client clients[3 * ARRAY_SIZE(jobs)];
	pthread_t threads[ARRAY_SIZE(clients)];
	size_t quiet = 0;

	__atomic_store_n(&all_done, false, __ATOMIC_RELEASE);
	commit(2); /* a file's first lines */
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
		begin_client(&clients[i], f, COMMITS);
		clients[i].job = (int)(i % ARRAY_SIZE(jobs));
		CHECK_EQ_INT(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
	}
	commit(COMMITS - 2);
	for (int restless = 0; restless < 2; restless++) {
		for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
			if ((jobs[clients[i].job] == come_and_go) == restless)
				quiet += pthread_join(threads[i], NULL) == 0;
		__atomic_store_n(&all_done, true, __ATOMIC_RELEASE);
	}
	CHECK_EQ_INT(quiet, ARRAY_SIZE(clients));
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		end_client(&clients[i]);
	end(f);
}

/* ---- one by one ------------------------------------------------------------------------------ */

TEST(who_joins_at_the_first_list_starts_at_its_revision)
{
	struct feed *f = begin_feed(0);
	struct client r;

	tree.revision = 70;
	tree.fn(70, NULL, 0, tree.arg);
	begin_client(&r, f, 100);
	CHECK_EQ_INT(subscriber_revision(r.s), 70);
	subscribe(&r, "", NULL, 60);
	take_rows(&r, expected_rows(60, 70, 0, GPUS));
	commit(5);
	take_rows(&r, expected_rows(60, 75, 0, GPUS));
	check_rows(&r, 60, 75, 0, GPUS);
	end_client(&r);
	end(f);
}

TEST(who_is_cut_off_is_told_a_revision_up_to_which_it_has_all)
{
	struct feed *f = begin_feed(100);
	struct client r;

	begin_client(&r, f, 100);
	subscribe(&r, "", "h0", 30);
	for (int i = 0; i <= ANSWERS_MAX; i++)
		subscriber_say(r.s, frame_new(FRAME_ERROR, 0, SLICE_LIT("{}")));
	while (r.lag < 0)
		take_one(&r);
	CHECK_EQ_INT(r.lag, 30);
	CHECK(!take(&r));
	end_client(&r);

	begin_client(&r, f, 100);
	subscribe(&r, "", "h0", 30);
	take_rows(&r, expected_rows(30, 100, 0, 2));
	while (take(&r))
		;
	for (int i = 0; i <= ANSWERS_MAX; i++)
		subscriber_say(r.s, frame_new(FRAME_ERROR, 0, SLICE_LIT("{}")));
	while (r.lag < 0)
		take_one(&r);
	CHECK(r.lag >= 99); /* the end of the past may not be known yet */
	end_client(&r);
	end(f);
}

/* More commits than the ring holds, and all of them read. */
static void overrun(struct feed *f, int n)
{
	struct feed_stats s;

	commit(n);
	do {
		usleep(1000);
		feed_stats(f, &s);
	} while (s.events < (uint64_t)n);
	CHECK(s.ring_events < (uint64_t)n);
}

TEST(who_falls_behind_what_is_kept_is_cut_off)
{
	struct feed *f = begin_feed(10);
	struct client r;

	begin_client(&r, f, 1);
	subscribe(&r, "", "nowhere", SINCE_NOW);
	CHECK(!take(&r));
	overrun(f, 5000);
	take_one(&r);
	CHECK_EQ_INT(r.lag, 10);
	end_client(&r);
	end(f);
}

TEST(who_is_at_its_past_meanwhile_reads_on_from_the_store)
{
	struct feed *f = begin_feed(10);
	struct client r;

	begin_client(&r, f, 5010);
	subscribe(&r, "a", "h0", 0);
	subscribe(&r, "b", "h1", 3000); /* not there yet */
	overrun(f, 5000);
	take_rows(&r, expected_rows(0, 5010, 0, 2) + expected_rows(3000, 5010, 2, 4));
	CHECK(!take(&r));
	for (int64_t rev = 0; rev <= 3000; rev++) /* nothing of b's */
		for (int i = 0; i < 6; i++)
			CHECK(!r.seen[(rev * GPUS + 2) * 3 + i]);
	end_client(&r);
	end(f);
}

TEST(answers_that_are_taken_cut_nobody_off)
{
	struct feed *f = begin_feed(0);
	struct client r;

	begin_client(&r, f, 1);
	for (int i = 0; i < 3 * ANSWERS_MAX; i++) {
		subscriber_say(r.s, frame_new(FRAME_ERROR, 0, SLICE_LIT("{}")));
		take_one(&r);
	}
	CHECK_EQ_INT(r.errors, 3 * ANSWERS_MAX);
	CHECK_EQ_INT(r.lag, -1);
	end_client(&r);
	end(f);
}

TEST(what_is_no_longer_told_apart_is_a_gap)
{
	struct feed *f = begin_feed(100);
	struct client r;

	tree.floor = 40;
	begin_client(&r, f, 100);
	subscribe(&r, "", NULL, 10);
	take_rows(&r, expected_rows(40, 100, 0, GPUS));
	check_rows(&r, 40, 100, 0, GPUS);
	CHECK_EQ_INT(r.gap_from, 10);
	CHECK_EQ_INT(r.gap_to, 40);
	end_client(&r);
	end(f);
}

static void check_gap(int64_t *what)
{
	struct feed *f = begin_feed(50);
	struct client r;

	*what = 60;
	begin_client(&r, f, 100);
	subscribe(&r, "", NULL, SINCE_NOW);
	commit(50);
	take_rows(&r, expected_rows(50, 100, 0, GPUS) - expected_rows(59, 60, 0, 2));
	CHECK_EQ_INT(r.gap_from, 59);
	CHECK_EQ_INT(r.gap_to, 60);
	CHECK_EQ_INT(r.last, 100);
	end_client(&r);
	end(f);
}

TEST(damaged_rows_are_a_gap_and_the_rest_goes_on)
{
	check_gap(&tree.damaged);
}

TEST(rows_that_are_gone_for_good_are_a_gap_and_the_rest_goes_on)
{
	check_gap(&tree.gone);
}

TEST(rows_that_are_not_to_be_had_come_later)
{
	struct feed *f = begin_feed(20);
	struct client now, past;

	begin_client(&now, f, 40);
	begin_client(&past, f, 40);
	set_error(-EIO);
	subscribe(&now, "", NULL, SINCE_NOW);
	subscribe(&past, "", NULL, 0);
	commit(20);
	wait_for_wake(&now); /* the feed's tick goes on */
	CHECK(!take(&now));
	wait_for_wake(&past);
	CHECK(!take(&past));
	set_error(0);
	take_rows(&now, expected_rows(20, 40, 0, GPUS));
	take_rows(&past, expected_rows(0, 40, 0, GPUS));
	check_rows(&now, 20, 40, 0, GPUS);
	check_rows(&past, 0, 40, 0, GPUS);
	end_client(&now);
	end_client(&past);
	end(f);
}

/* More than is read ahead. */
#define LONG_AGO 4000

TEST(what_is_unsubscribed_is_not_read_on)
{
	struct feed *f = begin_feed(LONG_AGO);
	struct client r;

	begin_client(&r, f, LONG_AGO + 2);
	subscribe(&r, "a", NULL, 0);
	take_rows(&r, 10);
	CHECK_EQ_INT(subscriber_remove(r.s, "a"), 0);
	subscribe(&r, "b", "h0", SINCE_NOW);
	commit(2);
	while (r.last < LONG_AGO + 2)
		take_one(&r);
	CHECK(r.rows < expected_rows(0, LONG_AGO, 0, GPUS));
	end_client(&r);
	end(f);
}

TEST(what_another_counts_on_is_read_on)
{
	struct feed *f = begin_feed(LONG_AGO);
	struct client r;

	begin_client(&r, f, LONG_AGO);
	subscribe(&r, "a", NULL, 0);
	subscribe(&r, "b", "h0", 0);
	CHECK_EQ_INT(subscriber_remove(r.s, "a"), 0);
	take_rows(&r, expected_rows(0, LONG_AGO, 0, GPUS));
	check_rows(&r, 0, LONG_AGO, 0, GPUS);
	end_client(&r);
	end(f);
}

TEST(a_path_leads_nowhere_but_to_what_its_host_has)
{
	struct principal who = {.refs = 1, .reads = only_h1};
	struct feed *f = begin_feed(1);
	struct subscriber *s = subscriber_new(f, &who, on_wake, &(struct client){0});
	struct err e;

	CHECK_EQ_INT(subscriber_follow(s, "", FILE_PATH, 0, &e), -EACCES);
	CHECK_EQ_INT(subscriber_follow(s, "", "h1/../" FILE_PATH, 0, &e), -ENOENT);
	CHECK_EQ_INT(subscriber_follow(s, "", "./" FILE_PATH, 0, &e), -EACCES);
	CHECK_EQ_INT(subscriber_count(s), 0);
	subscriber_free(s);
	CHECK_EQ_INT(who.refs, 1);
	end(f);
}

TEST(frames_are_kept_for_those_who_share_them_but_not_without_end)
{
	struct event *e = event_new(7);
	struct query_row row = {.series = &series,
				.attribution = &(struct attribution){0},
				.value = SLICE_LIT("1")};
	size_t kept = 0, n;

	for (int i = 0; i < 400; i++)
		CHECK_EQ_INT(event_add(e, "h0", gpus[0], &row), 0);
	for (int i = 0; i < 40; i++) {
		struct selector *s = selector_new(&(struct filter){0}, 1, NULL);
		struct frame **a, **b;

		s->users = 2;
		a = event_frames(e, s, NULL, 0, &n);
		b = event_frames(e, s, NULL, 0, &n);
		kept += a[0] == b[0];
		for (size_t k = 0; k < n; k++) {
			frame_unref(a[k]);
			frame_unref(b[k]);
		}
		free(a);
		free(b);
		selector_unref(s);
	}
	CHECK(kept > 0);
	CHECK(kept <= KEPT + 1);
	event_unref(e);
}
