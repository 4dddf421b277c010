#include "feed.h"

#include "csv.h"
#include "daemon.h"
#include "log.h"
#include "lookup.h"
#include "missing.h"
#include "source.h"

#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	STAMPS = 64,
	CLOCK_EVERY = 256,
	COLUMNS_TOLD = 400, /* bytes of their names in a line of the log */
	HOSTS_PER_S = 1000, /* messages that etcd takes from all streamers with ease */
	BULK_PER_S = 100,   /* the same of a file that is read as fast as it goes */
};

/* Reading fills one window while the publishing thread works on the other. */
struct feed {
	const struct feed_conf *conf;
	struct feed_stats *stats;
	int fd;
	bool is_file;
	int64_t published_to; /* rows before this offset were published before */
	int64_t open_end;     /* where the window ends that the record has open; 0: none */
	bool begins_pass;     /* another pass: everything is published once more */
	int64_t segment_s;

	struct csv *csv;
	struct row_parser *rows;
	bool has_header;
	bool told;         /* what of the columns is left out */
	int64_t resume_at; /* once the first record is seen, which settles the columns; 0: no */
	struct missing missing;
	struct pace pace;
	struct window *filling;
	struct mono flush_at;       /* of the filling window, once it has a row */
	_Atomic int64_t stretch_ms; /* how often all hosts of a window may have a message */
	unsigned since_clock;
	struct { /* --time now: one present per source stamp */
		int64_t source_ns, now_ns;
	} stamps[STAMPS];
	unsigned n_stamps;

	struct publisher publisher;
	bool publisher_open, thread_started;
	struct producer record; /* as looked up, until the publisher has it */
	pthread_t thread;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t changed;
	struct window windows[2];
	struct window *ready; /* handed over, being published */
	bool stop;
	int result; /* of publishing; the first failure stays */
	struct err err;
};

/* ---- publishing thread ----------------------------------------------------------------------- */

static int admit(int64_t rows, void *arg)
{
	struct feed *f = arg;

	return f->conf->admit(rows, !f->is_file, f->conf->arg);
}

static double rate(void *arg)
{
	struct feed *f = arg;

	return f->conf->rate(f->conf->arg);
}

static void accepted(const struct message *m, void *arg)
{
	struct feed *f = arg;

	f->stats->published += m->rows;
	f->stats->messages++;
	f->conf->accepted(m, f->conf->arg);
}

static int fingerprint(int64_t before, char ret[2 * SHA256_LEN + 1], void *arg)
{
	struct feed *f = arg;
	uint8_t sha[SHA256_LEN];
	int r = source_fingerprint(f->fd, before, sha);

	if (!r)
		hex(sha, sizeof(sha), ret);
	return r;
}

static int ensure_publisher(struct feed *f, struct err *e)
{
	struct publisher_conf conf = f->conf->publisher;
	int r;

	if (f->publisher_open)
		return 0;
	conf.admit = admit;
	conf.rate = rate;
	conf.accepted = accepted;
	conf.fingerprint = f->is_file ? fingerprint : NULL;
	conf.arg = f;
	r = publisher_open(&f->publisher, &conf, &f->record, e);
	if (r)
		return r;
	f->publisher_open = true;
	f->publisher.segment_s = f->segment_s;
	/* It moved while we stood by: what was read so far is not what is to be published. */
	if (f->publisher.record.offset != f->record.offset ||
	    f->publisher.record.window_end != f->record.window_end ||
	    f->publisher.record.pass != f->record.pass)
		return err_set(e, -ESTALE,
			       "the source was worked on by another streamer meanwhile");
	return 0;
}

/* Each window makes a message for each host in it. So many of them that etcd would do little else
 * are gathered for longer, and become larger instead; and sooner where nobody waits for a row, but
 * for all of a file. */
static void stretch(struct feed *f, size_t hosts)
{
	int64_t per_s = f->is_file && f->conf->pace == PACE_NONE ? BULK_PER_S : HOSTS_PER_S;
	int64_t ms = (int64_t)hosts * 1000 / per_s, before = f->stretch_ms;
	bool is = ms > f->conf->flush_ms, was = before > f->conf->flush_ms;

	f->stretch_ms = ms;
	if (is && (!was || ms > 2 * before))
		log_info("%s: rows of %zu hosts at a time: they are gathered for %lld ms",
			 f->conf->path, hosts, (long long)ms);
	else if (was && !is)
		log_info("%s: rows are gathered for STREAMER_FLUSH_INTERVAL again", f->conf->path);
}

static int publish(struct feed *f, const struct window *w, struct err *e)
{
	int64_t duplicates = f->publisher_open ? f->publisher.stats.duplicate_rows : 0;
	int r = ensure_publisher(f, e);

	if (!r && w->begins_pass)
		publisher_new_pass(&f->publisher);
	if (!r)
		r = publisher_window(&f->publisher, w, e);
	if (!r)
		f->stats->duplicate += f->publisher.stats.duplicate_rows - duplicates;
	if (!r)
		stretch(f, f->publisher.grouping.hosts);
	return r;
}

static void *publish_windows(void *arg)
{
	struct feed *f = arg;
	struct err e;

	pthread_mutex_lock(&f->lock);
	for (;;) {
		int r;

		while (!f->ready && !f->stop)
			pthread_cond_wait(&f->changed, &f->lock);
		if (!f->ready)
			break;
		pthread_mutex_unlock(&f->lock);
		e.text[0] = '\0';
		r = f->result ? 0 : publish(f, f->ready, &e);
		pthread_mutex_lock(&f->lock);
		if (r) {
			f->result = r;
			f->err = e;
		}
		f->ready = NULL;
		pthread_cond_broadcast(&f->changed);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* Hands the filling window over and goes on with the other one. */
static int hand_over(struct feed *f)
{
	struct window *w = f->filling;
	int r;

	pthread_mutex_lock(&f->lock);
	while (f->ready)
		pthread_cond_wait(&f->changed, &f->lock);
	f->ready = w;
	r = f->result;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	f->filling = &f->windows[w == &f->windows[0]];
	window_begin(f->filling, w->end, w->end_line);
	return r;
}

/* Waits until nothing is being published. */
static int settle(struct feed *f)
{
	int r;

	pthread_mutex_lock(&f->lock);
	while (f->ready)
		pthread_cond_wait(&f->changed, &f->lock);
	r = f->result;
	pthread_mutex_unlock(&f->lock);
	return r;
}

static int flush(struct feed *f)
{
	return f->filling->end > f->filling->offset ? hand_over(f) : 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static struct stamp present(struct feed *f, int64_t source_ns)
{
	int64_t now_ns;

	for (unsigned i = 0; i < MIN(f->n_stamps, STAMPS); i++)
		if (f->stamps[i].source_ns == source_ns)
			return (struct stamp){f->stamps[i].now_ns, 3};
	now_ns = wall_now_ns() / NS_PER_MS * NS_PER_MS;
	f->stamps[f->n_stamps % STAMPS].source_ns = source_ns;
	f->stamps[f->n_stamps++ % STAMPS].now_ns = now_ns;
	return (struct stamp){now_ns, 3};
}

static bool flush_due(struct feed *f, bool look)
{
	if (!f->filling->n)
		return false;
	if (!look && ++f->since_clock < CLOCK_EVERY)
		return false;
	f->since_clock = 0;
	return mono_ms_until(f->flush_at) == 0;
}

/* While the window before is on its way, more rows may as well come into this one: it goes when
 * that is done, or full. So the slower etcd is, the fewer and larger are the messages. */
static bool is_publishing(struct feed *f)
{
	bool is;

	pthread_mutex_lock(&f->lock);
	is = f->ready != NULL;
	pthread_mutex_unlock(&f->lock);
	return is;
}

/* An open window is read again exactly as it was; any other closes as DESIGN §4 says. */
static int maybe_flush(struct feed *f, bool look)
{
	const struct window *w = f->filling;

	if (w->end < f->open_end)
		return 0;
	if (w->end == f->open_end && w->end > w->offset) {
		f->open_end = 0;
		return hand_over(f);
	}
	if (window_full(w) || w->text.len + w->n * sizeof(*w->rows) >= f->conf->buffer_bytes / 2 ||
	    (flush_due(f, look) && (look || !is_publishing(f))))
		return hand_over(f);
	return 0;
}

/* Waits for the sample's time, publishing meanwhile what is due; but not where the window ends in
 * the middle of a record. */
static int wait_turn(struct feed *f, const struct sample *s, bool between)
{
	int r = 0;

	while (!r) {
		int64_t ns = pace_delay_ns(&f->pace, s->time.ns, mono_now()), ms;

		if (!ns)
			return 0;
		ms = (ns + NS_PER_MS - 1) / NS_PER_MS;
		if (f->filling->n && between)
			ms = MIN(ms, MAX(mono_ms_until(f->flush_at), 1));
		if (daemon_sleep_ms(ms))
			return between ? -ECANCELED : 0;
		if (f->filling->n && between)
			r = maybe_flush(f, true);
	}
	return r;
}

static int add_row(struct feed *f, const struct sample *s, const struct csv_record *rec)
{
	bool between = f->filling->end != rec->end;
	struct stamp time;
	int r = f->conf->pace == PACE_NONE ? 0 : wait_turn(f, s, between);

	if (r)
		return r;
	if (between && rec->offset < f->published_to)
		log_warn(
			"%s:%lld: the line was published before, as it stood then without its end; "
			"it is published again as it is now",
			f->conf->path, (long long)rec->line);
	if (!f->filling->n)
		f->flush_at = mono_in_ms(MAX(f->conf->flush_ms, f->stretch_ms));
	time = f->conf->time_now ? present(f, s->time.ns) : s->time;
	window_add(f->filling, s, time, rec->end, rec->next_line);
	return 0;
}

/* All of its bytes were there before; a line that had no end then may have got one. */
static bool was_published(const struct feed *f, const struct csv_record *rec)
{
	return rec->offset + (int64_t)rec->len <= f->published_to;
}

/* A row that goes nowhere still moves the window on. */
static void pass_over(struct feed *f, const struct csv_record *rec)
{
	if (was_published(f, rec))
		return;
	f->filling->end = rec->end;
	f->filling->end_line = rec->next_line;
}

static int parse(struct feed *f, const struct csv_record *rec, struct sample *s, struct err *e)
{
	int r = row_parse(f->rows, rec, s, e);

	if (r != -ENOBUFS)
		return r;
	/* The table of series is full: publish what refers to it, then begin a new one. Never
	 * inside an open window, which may not be cut: one begins with an empty table, which holds
	 * it. */
	r = flush(f);
	if (!r)
		r = settle(f);
	if (r)
		return r;
	row_forget(f->rows);
	return row_parse(f->rows, rec, s, e);
}

static void count_invalid(struct feed *f, const struct csv_record *rec, const struct err *e)
{
	f->stats->rows++;
	f->stats->invalid++;
	log_warn("%s", e->text);
	pass_over(f, rec);
}

static int take_sample(struct feed *f, const struct csv_record *rec, const struct sample *s)
{
	int r = 0;

	if (was_published(f, rec))
		f->stats->duplicate++;
	else
		r = add_row(f, s, rec);
	if (!r)
		f->stats->rows++;
	return r;
}

static int take_result(struct feed *f, const struct csv_record *rec, int result,
		       const struct sample *s, const struct err *e)
{
	if (result == ROW_OK)
		return take_sample(f, rec, s);
	if (result == ROW_INVALID) {
		count_invalid(f, rec, e);
		return 0;
	}
	f->stats->rows++;
	f->stats->no_value++;
	missing_add(&f->missing, s->series->series.metric);
	pass_over(f, rec);
	return 0;
}

static int take_row(struct feed *f, const struct csv_record *rec)
{
	struct sample s;
	struct err e;
	int result, r = 0;

	if (f->open_end && !was_published(f, rec) && f->filling->end == f->filling->offset)
		row_forget(f->rows);
	result = parse(f, rec, &s, &e);
	for (; !r && result >= 0 && result != ROW_END; result = row_more(f->rows, rec, &s, &e))
		r = take_result(f, rec, result, &s, &e);
	if (result < 0 || r)
		return r ? r : result;
	return maybe_flush(f, false);
}

/* ---- passes ---------------------------------------------------------------------------------- */

static int wait_for_bytes(struct feed *f)
{
	struct pollfd p = {.fd = f->fd, .events = POLLIN};
	int64_t ms = f->filling->n ? mono_ms_until(f->flush_at) : 200;

	poll(&p, 1, (int)MIN(ms, 200));
	return flush_due(f, true) ? hand_over(f) : 0;
}

static int take_header(struct feed *f, const struct csv_record *rec, struct err *e)
{
	int r = row_header(f->rows, rec, e);

	if (r)
		return r;
	f->has_header = true;
	/* A loop that was cut short goes on where it was; otherwise the rows before are counted. */
	f->resume_at = f->is_file && f->conf->loop ? f->published_to : 0;
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
	log_info("%s: a wide file, read by the map \"%s\"%s%s", f->conf->path, map->name,
		 list.len ? "; left out, for they are neither known nor numbers: " : "",
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
		return take_row(f, rec);
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
		count_invalid(f, rec, e);
		return maybe_flush(f, false);
	}
	if (event == CSV_INVALID)
		return -EBADMSG;
	if (!f->has_header)
		return take_header(f, rec, e);
	r = f->resume_at ? take_first(f, rec) : take_row(f, rec);
	if (!r)
		tell_columns(f);
	return r;
}

/* Rows that are as expected, up to the first that is not. An open window is not for them: it begins
 * with an empty table of series. */
static int read_expected(struct feed *f)
{
	struct csv_record rec;
	struct sample s;
	int r = 0;

	while (!r && !f->open_end && f->has_header && !f->resume_at && !daemon_stopping() &&
	       row_foresee(f->rows, f->csv, &rec, &s)) {
		f->stats->bytes = rec.end;
		r = take_sample(f, &rec, &s);
		if (!r)
			r = maybe_flush(f, false);
	}
	return r;
}

/* Rows of one pass up to the end of the source. */
static int read_rows(struct feed *f, struct err *e)
{
	struct csv_record rec;
	int event, r = 0;

	while (!r && !daemon_stopping() && (event = csv_next(f->csv, &rec, e)) != CSV_END) {
		if (event < 0)
			return event;
		r = event == CSV_AGAIN ? wait_for_bytes(f) : take_event(f, event, &rec, e);
		r = r ? r : read_expected(f);
	}
	if (!r && daemon_stopping())
		r = -ECANCELED;
	if (!r && !f->has_header)
		r = err_set(e, -ENODATA, "%s: empty: not even a header", f->conf->path);
	return r;
}

static int run_pass(struct feed *f, struct err *e)
{
	struct csv_conf conf = {.name = f->conf->path, .nowait = !f->is_file};
	int r = csv_open(&f->csv, f->fd, &conf), settled = 0;

	if (r)
		return err_set(e, r, "%s: %s", f->conf->path, strerror(-r));
	f->has_header = false;
	f->n_stamps = 0;
	pace_restart(&f->pace);
	r = f->is_file ? csv_seek(f->csv, 0, 1) : 0;
	if (!r)
		r = read_rows(f, e);
	/* What was taken in is published also when a stop cuts the source short, except for an open
	 * window that is not whole: it stays as it is recorded. */
	if ((!r || (r == -ECANCELED && f->filling->n)) && f->filling->end > f->open_end)
		settled = flush(f);
	settled = settle(f);
	if (settled)
		*e = f->err;
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

static int open_source(struct feed *f, struct err *e)
{
	struct etcd *c = f->conf->publisher.etcd;
	struct stat st;
	int r = 0;

	f->fd = STDIN_FILENO;
	if (strcmp(f->conf->path, "-"))
		r = source_open(f->conf->path, &f->fd, e);
	if (r)
		return r;
	f->is_file = f->fd != STDIN_FILENO && source_is_file(f->fd);
	if (f->is_file && !fstat(f->fd, &st))
		f->stats->size = st.st_size;
	if (f->is_file)
		r = lookup_file(c, f->fd, f->conf->path, &f->record, e);
	else
		lookup_pipe(f->conf->path, &f->record);
	if (!r && !f->is_file)
		r = await_writer(f, e);
	if (!r)
		r = lookup_segment(c, &f->segment_s, e);
	f->published_to = f->record.offset;
	f->open_end = f->record.window_end;
	return r;
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
	r = pthread_create(&f->thread, NULL, publish_windows, f);
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

static void forget_counts(struct feed_stats *s)
{
	s->rows = s->published = s->duplicate = s->no_value = s->invalid = s->messages = 0;
	s->bytes = s->size = 0;
}

static int run_once(const struct feed_conf *conf, struct feed_stats *stats, struct err *e)
{
	struct feed f = {.conf = conf, .stats = stats, .fd = -1};
	int r = open_source(&f, e);

	if (!r) {
		r = start(&f, e);
		if (!r)
			r = run_passes(&f, e);
		finish(&f);
	}
	if (f.fd > STDIN_FILENO)
		close(f.fd);
	return r;
}

int feed_run(const struct feed_conf *conf, struct feed_stats *stats, struct err *e)
{
	for (;;) {
		int r = run_once(conf, stats, e);

		if ((r != -EOWNERDEAD && r != -ESTALE) || !strcmp(conf->path, "-"))
			return r;
		log_warn("%s: %s; looking again", conf->path, e->text);
		forget_counts(stats);
	}
}
