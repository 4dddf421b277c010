#include "../../collector/retention.h"
#include "../lib/desk.h"
#include "../lib/stage.h"
#include "../lib/test.h"
#include "clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* One row of GPU 0. */
static void store(struct desk *d, int64_t ns, const char *value)
{
	CHECK_EQ_INT(STORE(d, {"0", "M", "", "u", ns, value}), 0);
}

static int64_t now_at(struct desk *d)
{
	struct etcd_reply reply;
	int64_t revision = 0;

	if (CHECK_EQ_INT(etcd_get(d->c, "/x", NULL, 0, 0, 0, &reply, &d->e), 0)) {
		revision = reply.revision;
		etcd_reply_release(&reply);
	}
	return revision;
}

static int drop(struct desk *d, bool last, int64_t revision)
{
	return retention_drop(d->c, d->w, &d->f, &d->h, "0", DAY_1, last, revision, &d->e);
}

TEST(a_segment_is_dropped_whole_and_the_identity_with_the_last_one)
{
	struct desk *d = desk_new();

	store(d, DAY_1, "1");
	store(d, DAY_1 + HOUR, "2");
	CHECK_EQ_INT(drop(d, false, now_at(d)), 0);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 1);
	CHECK_EQ_INT(stage_count(d->c, KEY_GPUS), 1);
	CHECK_EQ_INT(
		retention_drop(d->c, d->w, &d->f, &d->h, "0", DAY_1 + HOUR, true, now_at(d), &d->e),
		0);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 0);
	CHECK_EQ_INT(stage_count(d->c, KEY_GPUS), 0);
	desk_free(d);
}

TEST(a_segment_in_which_rows_were_stored_since_it_was_listed_is_kept)
{
	struct desk *d = desk_new();
	int64_t listed;

	store(d, DAY_1, "1");
	listed = now_at(d);
	store(d, DAY_1 + 1, "2");
	CHECK_EQ_INT(drop(d, true, listed), -EAGAIN);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 2);
	CHECK_EQ_INT(drop(d, true, now_at(d)), 0);
	desk_free(d);
}

/* As when the answer to a drop was lost, the segment began anew, and the copy comes late. */
TEST(a_drop_that_is_applied_late_spares_a_segment_that_began_anew)
{
	struct desk *d = desk_new();
	int64_t listed;

	store(d, DAY_1, "1");
	listed = now_at(d);
	CHECK_EQ_INT(drop(d, true, listed), 0);
	writer_drop_gpu(d->w, writer_gpu(d->w, "0"));
	store(d, DAY_1 + 1, "2");
	CHECK_EQ_INT(drop(d, true, listed), -EAGAIN);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 1);
	CHECK_EQ_INT(stage_count(d->c, KEY_GPUS), 1);
	desk_free(d);
}

TEST(the_identity_of_a_gpu_with_another_segment_is_kept)
{
	struct desk *d = desk_new();

	store(d, DAY_1, "1");
	store(d, DAY_1 - HOUR, "2");
	CHECK_EQ_INT(drop(d, true, now_at(d)), -EAGAIN);
	stage_delete(d->c, key_gpu("h", "0").s);
	store(d, DAY_1 + HOUR, "3");
	CHECK_EQ_INT(drop(d, true, now_at(d)), -EAGAIN);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 3);
	desk_free(d);
}

TEST(who_is_no_longer_the_writer_drops_nothing)
{
	struct desk *d = desk_new();
	int64_t revision;

	store(d, DAY_1, "1");
	revision = now_at(d);
	stage_put(d->c, key_writer("h").s, "other");
	CHECK_EQ_INT(drop(d, true, revision), -ESTALE);
	desk_free(d);
	d = desk_new();
	store(d, DAY_1, "1");
	revision = now_at(d);
	stage_die(d->c, "me");
	CHECK_EQ_INT(drop(d, true, revision), -ESTALE);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 1);
	desk_free(d);
}

TEST(a_sweep_drops_what_is_old_enough_and_nothing_else)
{
	struct desk *d = desk_new();
	size_t dropped;

	store(d, DAY_1, "1");
	CHECK_EQ_INT(retention_sweep(d->w, d->c, &d->f, &d->h, &(struct retention){HOUR, INT64_MIN},
				     &dropped, &d->e),
		     0);
	CHECK_EQ_INT(dropped, 0);
	CHECK_EQ_INT(retention_sweep(d->w, d->c, &d->f, &d->h, &(struct retention){1, INT64_MIN},
				     &dropped, &d->e),
		     0);
	CHECK_EQ_INT(dropped, 1);
	CHECK_EQ_INT(stage_count(d->c, KEY_GPUS), 0);
	desk_free(d);
}

TEST(the_oldest_segments_go_where_bytes_are_short)
{
	struct desk *d = desk_new();
	const struct retention conf = {0, DAY_1 + 2 * HOUR};
	size_t dropped;

	for (int i = 0; i < 4; i++)
		store(d, DAY_1 + i * HOUR, "1");
	CHECK_EQ_INT(retention_sweep(d->w, d->c, &d->f, &d->h, &conf, &dropped, &d->e), 0);
	CHECK_EQ_INT(dropped, 2);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 2);
	CHECK_EQ_INT(stage_count(d->c, KEY_GPUS), 1);
	desk_free(d);
}

TEST(what_cannot_be_read_is_spared_and_the_rest_is_dropped)
{
	struct desk *d = desk_new();
	const struct retention old = {1, INT64_MIN}, early = {0, DAY_1 + HOUR};
	size_t dropped;

	store(d, DAY_1, "1");
	store(d, DAY_1 + HOUR, "1");
	CHECK_EQ_INT(STORE(d, {"1", "M", "", "u", DAY_1, "1"}), 0);
	stage_put(d->c, key_data("h", "0", DAY_1 + 5, "01ARZ3NDEKTSV4RRFFQ69G5FAV").s, "junk");
	stage_put(d->c, key_data("h", "9", DAY_1 + HOUR, "01ARZ3NDEKTSV4RRFFQ69G5FAV").s, "junk");
	desk_load(d);
	CHECK_EQ_INT(retention_sweep(d->w, d->c, &d->f, &d->h, &old, &dropped, &d->e), -EUCLEAN);
	CHECK_EQ_INT(dropped, 2);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 3);
	CHECK_EQ_INT(stage_count(d->c, KEY_GPUS), 1);
	/* That its bytes are short is known of a segment without reading it. */
	CHECK_EQ_INT(retention_sweep(d->w, d->c, &d->f, &d->h, &early, &dropped, &d->e), -EUCLEAN);
	CHECK_EQ_STR(d->e.text, "h/9: chunks without an identity");
	CHECK_EQ_INT(dropped, 1);
	CHECK_EQ_INT(stage_count(d->c, KEY_DATA), 1);
	CHECK_EQ_INT(stage_count(d->c, KEY_GPUS), 0);
	desk_free(d);
}

/* As when leases have ended while nobody collected. */
TEST(an_identity_without_chunks_goes_and_a_segment_without_them_begins_anew)
{
	struct desk *d = desk_new();
	const struct retention forever = {0, INT64_MIN};
	struct library l;
	size_t dropped;

	store(d, DAY_1, "1");
	store(d, DAY_1 + HOUR, "1");
	store(d, DAY_1 + HOUR, "1");
	CHECK_EQ_INT(STORE(d, {"1", "M", "", "u", DAY_1, "1"}), 0);
	l = desk_read(d, "0");
	for (size_t i = 1; i < l.n; i++)
		stage_delete(d->c,
			     key_data("h", "0", l.list[i].key.first_ns, l.list[i].key.ulid).s);
	library_release(&l);
	l = desk_read(d, "1");
	stage_delete(d->c, key_data("h", "1", l.list[0].key.first_ns, l.list[0].key.ulid).s);
	library_release(&l);
	CHECK_EQ_INT(retention_sweep(d->w, d->c, &d->f, &d->h, &forever, &dropped, &d->e), 0);
	CHECK_EQ_INT(dropped, 0);
	CHECK_EQ_INT(stage_count(d->c, KEY_GPUS), 1);
	store(d, DAY_1 + HOUR, "2");
	free(desk_rows(d, "0")); /* checks that positions begin at 0 */
	desk_free(d);
}

/* ---- under compaction ------------------------------------------------------------------------ */

struct storm {
	struct desk *d;
	atomic_bool over;
};

static void *compact_on_and_on(void *arg)
{
	struct storm *s = arg;
	struct etcd *c = s->d->c;
	struct err e;

	while (!s->over) {
		stage_put(c, "/x", "");
		CHECK_EQ_INT(etcd_compact(c, stage_mod_rev(c, "/x"), &e), 0);
	}
	return NULL;
}

/* More chunks than a page holds; were it taken for the loss of the host, the session would end. */
TEST(a_list_whose_revision_is_compacted_meanwhile_begins_anew)
{
	struct storm storm = {.d = desk_new()};
	struct desk *d = storm.d;
	pthread_t thread;
	size_t dropped;

	for (int i = 0; i < 300; i++)
		store(d, DAY_1 + i, "1");
	pthread_create(&thread, NULL, compact_on_and_on, &storm);
	for (int i = 0; i < 200; i++) {
		int r = retention_sweep(d->w, d->c, &d->f, &d->h,
					&(struct retention){HOUR, INT64_MIN}, &dropped, &d->e);

		CHECK(r == 0 || r == -ETIMEDOUT);
	}
	storm.over = true;
	pthread_join(thread, NULL);
	desk_free(d);
}
