#include "feed_internal.h"

#include "daemon.h"
#include "log.h"
#include "lookup.h"
#include "source.h"
#include "stats.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COLUMNS_TOLD = 400 /* bytes of their names in a line of the log */ };

/* ---- passes ---------------------------------------------------------------------------------- */

static int wait_for_bytes(struct feed *f)
{
	struct pollfd p[] = {{.fd = f->fd, .events = POLLIN},
			     {.fd = daemon_stop_fd(), .events = POLLIN}};
	int64_t ms = f->filling->n ? mono_ms_until(f->flush_at) : -1;

	if (f->growing)
		return feed_await_growth(f);
	poll(p, ARRAY_SIZE(p), (int)MIN(ms, (int64_t)INT32_MAX));
	return feed_flush_due(f, true) ? feed_hand_over(f) : 0;
}

static int take_header(struct feed *f, const struct csv_record *rec, struct err *e)
{
	int r = row_header(f->rows, rec, e);

	if (r)
		return r;
	f->has_header = true;
	/* What is looped or followed goes on where it was; otherwise the rows before are counted.
	 */
	f->resume_at = f->is_file && (f->conf->loop || f->conf->follow) ? f->published_to : 0;
	window_begin(f->filling, f->published_to, f->published_to ? f->record.line : 1);
	f->filling->begins_pass = f->begins_pass;
	return 0;
}

/* Says once what is not stored, though nobody asked for that. */
static void tell_columns(struct feed *f)
{
	const struct shape *shape = row_shape(f->rows);
	const struct column_map *map = f->conf->map ? f->conf->map : shape->map;
	struct strbuf list;

	if (f->told || shape->form == SHAPE_LONG)
		return;
	f->told = true;
	strbuf_init(&list, COLUMNS_TOLD);
	shape_left_out(shape, &list);
	log_each(LOG_LEVEL_INFO, "%s: a wide file, read by the map \"%s\"%s%s", f->conf->path,
		 map->name, list.len ? "; left out, for they are neither known nor numbers: " : "",
		 list.len ? list.s : "");
	strbuf_release(&list);
}

/* The first record behind the header has settled the columns. */
static int take_first(struct feed *f, const struct csv_record *rec)
{
	int64_t at = f->resume_at;
	struct sample s;
	struct err e;
	int r;

	if (at <= rec->end) {
		f->resume_at = 0;
		return feed_take_row(f, rec);
	}
	r = row_parse(f->rows, rec, &s, &e);
	if (r < 0)
		return r;
	f->resume_at = 0;
	row_forget(f->rows);
	return csv_seek(f->csv, at, f->record.line);
}

static int take_event(struct feed *f, int event, const struct csv_record *rec, struct err *e)
{
	int r;

	f->stats->bytes = rec->end;
	if (event == CSV_INVALID && f->has_header) {
		feed_count_invalid(f, rec, e);
		return feed_maybe_flush(f, false);
	}
	if (event == CSV_INVALID)
		return -EBADMSG;
	if (!f->has_header)
		return take_header(f, rec, e);
	r = f->resume_at ? take_first(f, rec) : feed_take_row(f, rec);
	if (!r)
		tell_columns(f);
	return r;
}

/* Rows of one pass up to the end of the source. */
static int read_rows(struct feed *f, struct err *e)
{
	struct csv_record rec;
	int event, r = 0;

	while (!r && !daemon_stopping() && f->ended != FOLLOW_CUT &&
	       (event = csv_next(f->csv, &rec, e)) != CSV_END) {
		if (event < 0)
			return event;
		r = event == CSV_AGAIN ? wait_for_bytes(f) : take_event(f, event, &rec, e);
		r = r ? r : feed_read_expected(f);
	}
	if (!r && daemon_stopping())
		r = -ECANCELED;
	if (!r && !f->has_header && f->ended != FOLLOW_CUT)
		r = err_set(e, -ENODATA, "%s: empty: not even a header", f->conf->path);
	return r;
}

static int run_pass(struct feed *f, struct err *e)
{
	struct csv_conf conf = {.name = f->conf->path,
				.nowait = !f->is_file,
				.keep = f->keep,
				.follow = f->growing != NULL};
	int r = csv_open(&f->csv, f->fd, &conf), settled = 0;

	if (r)
		return err_set(e, r, "%s: %s", f->conf->path, strerror(-r));
	f->has_header = false;
	f->n_stamps = 0;
	pace_restart(&f->pace);
	r = f->is_file ? csv_seek(f->csv, 0, 1) : 0;
	if (!r)
		r = read_rows(f, e);
	if (r == -ENOMEM)
		err_set(e, r, "%s: out of memory", f->conf->path);
	/* What was taken in is published also when a stop or a fault cuts the source short, except
	 * for an open window that is not whole: it stays as it is recorded. */
	if ((!r || f->filling->n) && f->filling->end > f->open_end)
		settled = feed_flush(f);
	settled = feed_settle(f);
	if (settled)
		*e = f->err;
	else if (r && r != -ECANCELED)
		stats_add(STAT_CSV_READ_ERRORS, 1);
	csv_close(f->csv);
	return settled ? settled : r;
}

static int run_passes(struct feed *f, struct err *e)
{
	bool again = f->conf->again ||
		     (f->conf->loop && f->record.offset >= f->stats->size && !f->record.window_end);
	int r;

	do {
		f->begins_pass = again;
		if (again)
			f->published_to = f->open_end = 0;
		r = run_pass(f, e);
		again = true;
	} while (!r && f->conf->loop);
	return r;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* A named pipe whose writer has yet to come would read as ended. */
static int await_writer(struct feed *f, struct err *e)
{
	struct pollfd p = {.fd = f->fd, .events = POLLIN};

	while (!poll(&p, 1, 200))
		if (daemon_stopping())
			return err_set(e, -ECANCELED, "stopped while waiting for a writer");
	return 0;
}

static int find_record(struct feed *f, struct err *e)
{
	struct etcd *c = f->conf->publisher.etcd;
	int r = 0;

	if (f->is_file)
		r = lookup_file(c, f->fd, f->conf->path, &f->record, e);
	else
		lookup_pipe(f->conf->path, &f->record);
	if (!r && !f->is_file)
		r = await_writer(f, e);
	if (!r && f->record.sequence)
		f->conf->known(f->record.source, f->conf->arg);
	f->published_to = f->record.offset;
	f->open_end = f->record.window_end;
	return r;
}

static int open_source(struct feed *f, struct err *e)
{
	struct stat st;
	int r = 0;

	if (f->fd < 0) {
		f->fd = STDIN_FILENO;
		if (strcmp(f->conf->path, "-"))
			r = source_open(f->conf->path, &f->fd, e);
		if (r) {
			stats_add(STAT_CSV_READ_ERRORS, 1);
			return r;
		}
	}
	f->is_file = f->fd != STDIN_FILENO && source_is_file(f->fd);
	f->keep = f->is_file && (f->conf->follow || source_packing(f->fd));
	if (f->is_file && !f->keep && !fstat(f->fd, &st))
		f->stats->size = st.st_size;
	return find_record(f, e);
}

static int start(struct feed *f, struct err *e)
{
	struct row_conf rows = {.name = f->conf->path, .host = f->conf->host, .map = f->conf->map};
	int r;

	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	window_init(&f->windows[0]);
	window_init(&f->windows[1]);
	f->filling = &f->windows[0];
	f->rows = row_parser_new(&rows);
	pace_init(&f->pace, f->conf->pace, f->conf->pace_factor);
	r = pthread_create(&f->thread, NULL, feed_publish_windows, f);
	f->thread_started = r == 0;
	return r ? err_set(e, -r, "cannot start a thread: %s", strerror(r)) : 0;
}

static void finish(struct feed *f)
{
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	if (f->thread_started)
		pthread_join(f->thread, NULL);
	if (f->publisher_open)
		publisher_close(&f->publisher);
	missing_tell(&f->missing, f->conf->path);
	missing_release(&f->missing);
	row_parser_free(f->rows);
	window_release(&f->windows[0]);
	window_release(&f->windows[1]);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
}

/* Counts of an attempt that comes to nothing are taken back. */
static void copy_counts(struct feed_stats *to, const struct feed_stats *from)
{
	to->rows = from->rows;
	to->published = from->published;
	to->duplicate = from->duplicate;
	to->no_value = from->no_value;
	to->invalid = from->invalid;
	to->messages = from->messages;
	to->bytes = from->bytes;
	to->size = from->size;
}

static bool is_overtaken(int r)
{
	return r == -EOWNERDEAD || r == -ESTALE;
}

static int run(struct feed *f, struct err *e)
{
	struct feed_stats before;
	int r = open_source(f, e);

	copy_counts(&before, f->stats);
	if (!r) {
		r = start(f, e);
		if (!r)
			r = run_passes(f, e);
		finish(f);
	}
	if (is_overtaken(r))
		copy_counts(f->stats, &before);
	return r;
}

int feed_run_open(const struct feed_conf *conf, int fd, struct follow *growing,
		  struct feed_stats *stats, enum follow_event *ret_ended, struct err *e)
{
	struct feed f = {.conf = conf, .stats = stats, .fd = fd, .growing = growing};
	int r = run(&f, e);

	*ret_ended = f.ended;
	return r;
}

static int run_path(const struct feed_conf *conf, struct feed_stats *stats, struct err *e)
{
	struct feed f = {.conf = conf, .stats = stats, .fd = -1};
	int r = run(&f, e);

	if (f.fd > STDIN_FILENO)
		close(f.fd);
	return r;
}

int feed_run(const struct feed_conf *conf, struct feed_stats *stats, struct err *e)
{
	int r;

	if (conf->follow)
		return feed_follow(conf, stats, e);
	while (is_overtaken(r = run_path(conf, stats, e)) && strcmp(conf->path, "-"))
		log_warn("%s: %s; looking again", conf->path, e->text);
	return r;
}
