#include "../../collector/retention.h"
#include "../lib/stage.h"
#include "../lib/test.h"
#include "clock.h"

#include <stdio.h>

#define HOUR  (3600 * NS_PER_SEC)
#define DAY_1 (20000 * 24 * HOUR)

static struct err e;

struct desk {
	struct etcd *c;
	struct fence f;
	struct hold h;
	struct writer *w;
};

static void desk_open(struct desk *d)
{
	*d = (struct desk){.c = stage_open()};
	d->f = stage_enter(d->c, "me");
	d->h = stage_take(d->c, &d->f, "h");
	CHECK_EQ_INT(writer_load(&d->w, d->c, &d->f, &d->h, HOUR, &e), 0);
}

static void desk_close(struct desk *d)
{
	writer_free(d->w);
	etcd_close(d->c);
}

/* One row of GPU 0. */
static void store(struct desk *d, int64_t ns, const char *value)
{
	struct batch_series series = {.gpu = slice_str("0"), .metric = slice_str("M")};
	struct attribution nobody = {.uuid = slice_str("u")};
	struct row row = {.time = {ns, 9}, .value = slice_str(value)};
	struct batch b = {.host = slice_str("h"),
			  .series = &series,
			  .n_series = 1,
			  .attributions = &nobody,
			  .n_attributions = 1,
			  .rows = {.rows = &row, .n = 1}};
	struct intake *in = intake_new(d->w);
	struct ending end;

	CHECK_EQ_INT(intake_add(in, &b, &e), 0);
	CHECK_EQ_INT(intake_prepare(in, d->c, &d->f, &d->h, 0, intake_pairs(in), &e), 0);
	ending_init(&end, d->c, &d->f);
	intake_store(in, &end.t, 0, intake_pairs(in));
	CHECK_EQ_INT(ending_send(&end, NULL, &e), 0);
	ending_release(&end);
	intake_free(in);
}

static int64_t now_at(struct desk *d)
{
	struct etcd_reply reply;
	int64_t revision = 0;

	if (CHECK_EQ_INT(etcd_get(d->c, "/x", NULL, 0, 0, 0, &reply, &e), 0)) {
		revision = reply.revision;
		etcd_reply_release(&reply);
	}
	return revision;
}

static int drop(struct desk *d, bool last, int64_t revision)
{
	return retention_drop(d->c, d->w, &d->f, &d->h, "0", DAY_1, last, revision, &e);
}

TEST(a_segment_is_dropped_whole_and_the_identity_with_the_last_one)
{
	struct desk d;

	desk_open(&d);
	store(&d, DAY_1, "1");
	store(&d, DAY_1 + HOUR, "2");
	CHECK_EQ_INT(drop(&d, false, now_at(&d)), 0);
	CHECK_EQ_INT(stage_count(d.c, KEY_DATA), 1);
	CHECK_EQ_INT(stage_count(d.c, KEY_GPUS), 1);
	CHECK_EQ_INT(retention_drop(d.c, d.w, &d.f, &d.h, "0", DAY_1 + HOUR, true, now_at(&d), &e),
		     0);
	CHECK_EQ_INT(stage_count(d.c, KEY_DATA), 0);
	CHECK_EQ_INT(stage_count(d.c, KEY_GPUS), 0);
	desk_close(&d);
}

TEST(a_segment_in_which_rows_were_stored_since_it_was_listed_is_kept)
{
	struct desk d;
	int64_t listed;

	desk_open(&d);
	store(&d, DAY_1, "1");
	listed = now_at(&d);
	store(&d, DAY_1 + 1, "2");
	CHECK_EQ_INT(drop(&d, true, listed), -EAGAIN);
	CHECK_EQ_INT(stage_count(d.c, KEY_DATA), 2);
	CHECK_EQ_INT(drop(&d, true, now_at(&d)), 0);
	desk_close(&d);
}

/* As when the answer to a drop was lost, the segment began anew, and the copy comes late. */
TEST(a_drop_that_is_applied_late_spares_a_segment_that_began_anew)
{
	struct desk d;
	int64_t listed;

	desk_open(&d);
	store(&d, DAY_1, "1");
	listed = now_at(&d);
	CHECK_EQ_INT(drop(&d, true, listed), 0);
	writer_drop_segment(d.w, "0", DAY_1, true);
	store(&d, DAY_1 + 1, "2");
	CHECK_EQ_INT(drop(&d, true, listed), -EAGAIN);
	CHECK_EQ_INT(stage_count(d.c, KEY_DATA), 1);
	CHECK_EQ_INT(stage_count(d.c, KEY_GPUS), 1);
	desk_close(&d);
}

TEST(the_identity_of_a_gpu_with_another_segment_is_kept)
{
	struct desk d;

	desk_open(&d);
	store(&d, DAY_1, "1");
	store(&d, DAY_1 - HOUR, "2");
	CHECK_EQ_INT(drop(&d, true, now_at(&d)), -EAGAIN);
	stage_delete(d.c, key_gpu("h", "0").s);
	store(&d, DAY_1 + HOUR, "3");
	CHECK_EQ_INT(drop(&d, true, now_at(&d)), -EAGAIN);
	CHECK_EQ_INT(stage_count(d.c, KEY_DATA), 3);
	desk_close(&d);
}

TEST(who_is_no_longer_the_writer_drops_nothing)
{
	struct desk d;
	int64_t revision;

	desk_open(&d);
	store(&d, DAY_1, "1");
	revision = now_at(&d);
	stage_put(d.c, key_writer("h").s, "other");
	CHECK_EQ_INT(drop(&d, true, revision), -ESTALE);
	desk_close(&d);
	desk_open(&d);
	store(&d, DAY_1, "1");
	revision = now_at(&d);
	stage_die(d.c, "me");
	CHECK_EQ_INT(drop(&d, true, revision), -ESTALE);
	CHECK_EQ_INT(stage_count(d.c, KEY_DATA), 1);
	desk_close(&d);
}

TEST(a_sweep_drops_what_is_old_enough_and_nothing_else)
{
	struct desk d;
	size_t dropped;

	desk_open(&d);
	store(&d, DAY_1, "1");
	CHECK_EQ_INT(retention_sweep(d.w, d.c, &d.f, &d.h, HOUR, &dropped, &e), 0);
	CHECK_EQ_INT(dropped, 0);
	CHECK_EQ_INT(retention_sweep(d.w, d.c, &d.f, &d.h, 1, &dropped, &e), 0);
	CHECK_EQ_INT(dropped, 1);
	CHECK_EQ_INT(stage_count(d.c, KEY_GPUS), 0);
	desk_close(&d);
}
