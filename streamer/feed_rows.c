/* Rows into the filling window. */
#include "feed_internal.h"

#include "daemon.h"
#include "log.h"
#include "stats.h"

enum { CLOCK_EVERY = 256 };

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

bool feed_flush_due(struct feed *f, bool look)
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

/* Of a file in bulk each host should fill a message. */
static size_t most_rows(const struct feed *f)
{
	size_t rows = f->filling->hosts * (size_t)f->conf->publisher.batch_size;

	return feed_is_bulk(f) ? MIN(MAX(rows, WINDOW_ROWS), WINDOW_ROWS_MAX) : WINDOW_ROWS;
}

/* An open window is read again exactly as it was; any other closes as DESIGN §4 says. */
int feed_maybe_flush(struct feed *f, bool look)
{
	const struct window *w = f->filling;

	if (w->end < f->open_end)
		return 0;
	if (w->end == f->open_end && w->end > w->offset) {
		f->open_end = 0;
		return feed_hand_over(f);
	}
	if (window_full(w, most_rows(f)) ||
	    w->text.len + w->n * sizeof(*w->rows) >= f->conf->buffer_bytes / 2 ||
	    (feed_flush_due(f, look) && (look || !is_publishing(f))))
		return feed_hand_over(f);
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
			r = feed_maybe_flush(f, true);
	}
	return r;
}

/* The first window of a file learns while it fills how many hosts there are; later ones know by
 * stretch_ms. */
static void await_hosts(struct feed *f)
{
	int64_t ns = (int64_t)f->filling->hosts * NS_PER_SEC / BULK_PER_S;

	if (feed_is_bulk(f))
		f->flush_at.ns = MAX(f->flush_at.ns, f->begun_at.ns + ns);
}

static int add_row(struct feed *f, const struct sample *s, const struct csv_record *rec)
{
	bool between = f->filling->end != rec->end;
	uint32_t hosts = f->filling->hosts;
	struct stamp time;
	int r = f->conf->pace == PACE_NONE ? 0 : wait_turn(f, s, between);

	if (r)
		return r;
	if (between && rec->offset < f->published_to)
		log_warn(
			"%s:%lld: the line was published before, as it stood then without its end; "
			"it is published again as it is now",
			f->conf->path, (long long)rec->line);
	if (!f->filling->n) {
		f->begun_at = mono_now();
		f->flush_at = mono_in_ms(MAX(f->conf->flush_ms, f->stretch_ms));
	}
	time = f->conf->time_now ? present(f, s->time.ns) : s->time;
	window_add(f->filling, s, time, rec->end, rec->next_line);
	if (f->filling->hosts != hosts)
		await_hosts(f);
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
	r = feed_flush(f);
	if (!r)
		r = feed_settle(f);
	if (r)
		return r;
	row_forget(f->rows);
	return row_parse(f->rows, rec, s, e);
}

void feed_count_invalid(struct feed *f, const struct csv_record *rec, const struct err *e)
{
	f->stats->rows++;
	f->stats->invalid++;
	f->invalid += !was_published(f, rec);
	stats_add(STAT_CSV_READ_ERRORS, 1);
	log_each(LOG_LEVEL_WARN, "%s", e->text);
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
		feed_count_invalid(f, rec, e);
		return 0;
	}
	f->stats->rows++;
	f->stats->no_value++;
	missing_add(&f->missing, s->series->series.metric);
	pass_over(f, rec);
	return 0;
}

int feed_take_row(struct feed *f, const struct csv_record *rec)
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
	return feed_maybe_flush(f, false);
}

/* Rows that are as expected, up to the first that is not. An open window is not for them: it begins
 * with an empty table of series. */
int feed_read_expected(struct feed *f)
{
	struct csv_record rec;
	struct sample s;
	int r = 0;

	while (!r && !f->open_end && f->has_header && !f->resume_at && !daemon_stopping() &&
	       row_foresee(f->rows, f->csv, &rec, &s)) {
		f->stats->bytes = rec.end;
		r = take_sample(f, &rec, &s);
		if (!r)
			r = feed_maybe_flush(f, false);
	}
	return r;
}
