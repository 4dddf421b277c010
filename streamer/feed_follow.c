/* Files that grow: one after the other as rotation.h says, each a source of its own. */
#include "feed_internal.h"

#include "log.h"
#include "rotation.h"

int feed_await_growth(struct feed *f)
{
	int64_t ms = f->filling->n ? mono_ms_until(f->flush_at) : -1;
	int r = follow_wait(f->growing, f->fd, csv_input(f->csv), ms);

	if (r < 0)
		return r;
	f->ended = (enum follow_event)r;
	if (r == FOLLOW_OVER)
		csv_finish(f->csv);
	if (r == FOLLOW_CUT)
		log_warn("%s: the file was truncated; it is read from its start", f->conf->path);
	return feed_flush_due(f, true) ? feed_hand_over(f) : 0;
}

/* What is wrong with a file that is rotated is no reason not to follow the one at the path. */
static int run_rotated(const struct feed_conf *conf, struct rotation *rot, int fd,
		       struct feed_stats *stats, struct err *e)
{
	enum follow_event ended;
	int r;

	log_info("%s: a rotated file; reading the rest of it", conf->path);
	r = feed_run_open(conf, fd, NULL, stats, &ended, e);
	if (r == -EBADMSG || r == -ENODATA) {
		log_error("%s", e->text);
		r = 0;
	}
	if (!r)
		rotation_finished(rot, fd);
	return r;
}

static int run_live(const struct feed_conf *conf, struct rotation *rot, int fd,
		    struct feed_stats *stats, struct err *e)
{
	const char *packing = source_packing(fd);
	enum follow_event ended;
	int r;

	if (!source_is_file(fd))
		return err_set(e, -ESPIPE, "%s: not a file, so it cannot be followed", conf->path);
	if (packing)
		return err_set(e, -EINVAL, "%s: a %s archive cannot be followed", conf->path,
			       packing);
	r = follow_first_row(rot->follow, fd);
	if (r == FOLLOW_OVER)
		return run_rotated(conf, rot, fd, stats, e);
	if (r != FOLLOW_MORE)
		return MIN(r, 0);
	r = feed_run_open(conf, fd, rot->follow, stats, &ended, e);
	if (!r && ended == FOLLOW_OVER) {
		log_info("%s: rotated; going on with the new file", conf->path);
		rotation_finished(rot, fd);
	}
	return r;
}

static int run_next(const struct feed_conf *conf, struct rotation *rot, struct feed_stats *stats,
		    struct err *e)
{
	struct feed_conf one = *conf;
	struct rotated file;
	int r = rotation_next(rot, conf->publisher.etcd, &file, e);

	if (r)
		return r;
	one.path = file.name;
	r = file.live ? run_live(&one, rot, file.fd, stats, e)
		      : run_rotated(&one, rot, file.fd, stats, e);
	rotated_release(&file);
	return r;
}

int feed_follow(const struct feed_conf *conf, struct feed_stats *stats, struct err *e)
{
	struct rotation rot;
	int r = rotation_open(&rot, conf->path, e);

	while (!r) {
		r = run_next(conf, &rot, stats, e);
		if (r == -EOWNERDEAD || r == -ESTALE) {
			log_warn("%s: %s; looking again", conf->path, e->text);
			r = 0;
		}
	}
	rotation_close(&rot);
	return r;
}
