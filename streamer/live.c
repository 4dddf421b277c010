#include "live.h"

#include "daemon.h"
#include "lookup.h"
#include "missing.h"
#include "reading.h"

#include <pthread.h>

struct live {
	struct live_conf conf;
	struct feed_stats *stats;
	struct publisher publisher; /* of the thread alone, as is what it says in window */
	bool publisher_open;
	pthread_t thread;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t changed;
	struct series_table *table;
	bool forgetting; /* the table is full: nobody puts before it is empty again */
	struct window windows[2], *filling;
	struct mono flush_at; /* of the filling window, once it has a row */
	bool publishing;      /* the other window */
	bool stop;
	int64_t taken; /* rows with a value, in all */
	struct missing missing;
	int result; /* of publishing; the first failure stays */
	struct err err;
};

/* ---- publishing thread ----------------------------------------------------------------------- */

static int admit(int64_t rows, void *arg)
{
	struct live *l = arg;

	return l->conf.admit(rows, true, l->conf.arg);
}

static double rate(void *arg)
{
	struct live *l = arg;

	return l->conf.rate(l->conf.arg);
}

static void accepted(const struct message *m, void *arg)
{
	struct live *l = arg;

	l->stats->published += m->rows;
	l->stats->messages++;
	l->conf.accepted(m, l->conf.arg);
}

static int ensure_publisher(struct live *l, struct err *e)
{
	struct publisher_conf conf = l->conf.publisher;
	struct producer record;
	int r;

	if (l->publisher_open)
		return 0;
	conf.admit = admit;
	conf.rate = rate;
	conf.accepted = accepted;
	conf.arg = l;
	lookup_pipe(l->conf.name, &record);
	r = publisher_open(&l->publisher, &conf, &record, e);
	l->publisher_open = r == 0;
	return r;
}

static int publish(struct live *l, const struct window *w, struct err *e)
{
	int r = ensure_publisher(l, e);

	if (!r)
		r = publisher_window(&l->publisher, w, e);
	if (l->publisher_open)
		l->stats->duplicate = l->publisher.stats.duplicate_rows;
	return r;
}

static size_t size_of(const struct window *w)
{
	return w->text.len + w->n * sizeof(*w->rows);
}

static bool is_due(const struct live *l)
{
	const struct window *w = l->filling;

	return w->n && (l->stop || l->forgetting || window_full(w, WINDOW_ROWS) ||
			size_of(w) >= l->conf.buffer_bytes / 2 || !mono_ms_until(l->flush_at));
}

/* Until there is a window to publish, or nothing more to come (false). */
static bool await_window(struct live *l)
{
	while (!is_due(l)) {
		if (l->forgetting && !l->filling->n) {
			series_forget(l->table);
			l->forgetting = false;
			pthread_cond_broadcast(&l->changed);
		}
		if (l->stop)
			return false;
		if (l->filling->n) {
			struct timespec ts = {l->flush_at.ns / NS_PER_SEC,
					      l->flush_at.ns % NS_PER_SEC};

			pthread_cond_clockwait(&l->changed, &l->lock, CLOCK_MONOTONIC, &ts);
		} else {
			pthread_cond_wait(&l->changed, &l->lock);
		}
	}
	return true;
}

static void *publish_windows(void *arg)
{
	struct live *l = arg;
	struct err e;

	pthread_mutex_lock(&l->lock);
	while (!l->result && await_window(l)) {
		struct window *w = l->filling;
		int r;

		l->filling = &l->windows[w == &l->windows[0]];
		window_begin(l->filling, w->end, w->end_line);
		pthread_mutex_unlock(&l->lock);
		e.text[0] = '\0';
		r = publish(l, w, &e);
		pthread_mutex_lock(&l->lock);
		window_begin(w, 0, 0);
		if (r) {
			l->result = r;
			l->err = e;
		}
	}
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	if (l->result)
		daemon_stop();
	return NULL;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int check_room(const struct live *l, const struct live_scrape *s, struct err *e)
{
	size_t text = 0, need, held = size_of(&l->windows[0]) + size_of(&l->windows[1]);

	for (size_t i = 0; i < s->n; i++)
		text += s->rows[i].value.len;
	need = text + s->n * sizeof(*l->filling->rows);
	if (held + need <= l->conf.buffer_bytes && l->filling->text.len + text <= WINDOW_BYTES)
		return 0;
	return err_set(e, -ENOBUFS,
		       "no room for %zu rows: %zu KiB of STREAMER_BUFFER (%zu KiB) wait to be "
		       "published",
		       s->n, held / 1024, l->conf.buffer_bytes / 1024);
}

static void count_invalid(struct live_verdict *v, const struct err *e)
{
	if (!v->invalid++)
		v->first_invalid = *e;
}

/* The series of a row. -ENOBUFS: the table is full. */
static int resolve(struct live *l, const struct live_scrape *s, size_t i, struct err *e)
{
	struct live_row *row = &s->rows[i];
	const struct slice *fields;
	enum series_field field;
	int r;

	row->series = series_find(l->table, &row->key);
	if (row->series)
		return 0;
	r = s->fields(i, &fields, s->arg, e);
	return r ? r : series_add(l->table, &row->key, fields, &row->series, &field, e);
}

/* Settles what becomes of a row; series is NULL where it is invalid or skipped. */
static int judge_row(struct live *l, const struct live_scrape *s, size_t i, struct live_verdict *v,
		     struct err *e)
{
	struct live_row *row = &s->rows[i];
	enum value_kind kind = VALUE_BAD;
	int r = resolve(l, s, i, e);

	if (!r) {
		kind = value_classify(row->value, row->series->percent);
		r = kind == VALUE_BAD ? reading_complain(row->value, e) : 0;
	}
	row->has_value = kind == VALUE_NUMBER;
	if (r)
		row->series = NULL;
	if (r == -EINVAL || r == -EBADMSG)
		count_invalid(v, e);
	else if (r == -ENOENT)
		v->skipped++;
	else if (r)
		return r;
	else
		*(kind == VALUE_NUMBER ? &v->taken : &v->no_value) += 1;
	return 0;
}

static int judge(struct live *l, const struct live_scrape *s, struct live_verdict *v, struct err *e)
{
	int r = 0;

	*v = (struct live_verdict){.invalid = s->malformed, .first_invalid = s->first_malformed};
	for (size_t i = 0; i < s->n && !r; i++)
		r = judge_row(l, s, i, v, e);
	return r;
}

/* The table of series is full: it is emptied as soon as no window refers to it. */
static int await_forgetting(struct live *l)
{
	while (l->forgetting && !l->stop && !l->result)
		pthread_cond_wait(&l->changed, &l->lock);
	return l->stop || l->result ? -ECANCELED : 0;
}

static void add_rows(struct live *l, const struct live_scrape *s, const struct live_verdict *v)
{
	struct window *w = l->filling;

	if (!w->n && v->taken) {
		l->flush_at = mono_in_ms(l->conf.flush_ms);
		pthread_cond_broadcast(&l->changed);
	}
	for (size_t i = 0; i < s->n; i++) {
		const struct live_row *row = &s->rows[i];
		struct sample sample = {row->time, row->value, row->series};

		if (row->series && row->has_value)
			window_add(w, &sample, row->time, w->end + 1, w->end_line + 1);
		else if (row->series)
			missing_add(&l->missing, row->series->series.metric);
	}
	if (is_due(l))
		pthread_cond_broadcast(&l->changed);
	l->taken += (int64_t)v->taken;
	l->stats->rows += (int64_t)(v->taken + v->no_value + v->invalid);
	l->stats->no_value += (int64_t)v->no_value;
	l->stats->invalid += (int64_t)v->invalid;
}

int live_put(struct live *l, const struct live_scrape *s, struct live_verdict *ret, struct err *e)
{
	int r;

	pthread_mutex_lock(&l->lock);
	do {
		r = await_forgetting(l);
		if (!r)
			r = check_room(l, s, e);
		if (r)
			break;
		r = judge(l, s, ret, e);
		l->forgetting = r == -ENOBUFS;
		if (l->forgetting)
			pthread_cond_broadcast(&l->changed);
	} while (l->forgetting);
	if (!r)
		add_rows(l, s, ret);
	pthread_mutex_unlock(&l->lock);
	return r;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void destroy(struct live *l)
{
	if (l->publisher_open)
		publisher_close(&l->publisher);
	missing_tell(&l->missing, l->conf.name);
	missing_release(&l->missing);
	series_table_free(l->table);
	window_release(&l->windows[0]);
	window_release(&l->windows[1]);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int live_open(struct live **ret, const struct live_conf *conf, struct feed_stats *stats,
	      struct err *e)
{
	struct live *l = xcalloc(1, sizeof(*l));
	int r;

	l->conf = *conf;
	l->stats = stats;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	window_init(&l->windows[0]);
	window_init(&l->windows[1]);
	window_begin(&l->windows[0], 0, 1);
	l->filling = &l->windows[0];
	l->table = series_table_new(SERIES_TABLE_MAX, SERIES_TABLE_BYTES);
	r = pthread_create(&l->thread, NULL, publish_windows, l);
	if (r) {
		destroy(l);
		return err_set(e, -r, "cannot start a thread: %s", strerror(r));
	}
	*ret = l;
	return 0;
}

int live_close(struct live *l, int64_t *ret_left, struct err *e)
{
	int r;

	*ret_left = 0;
	if (!l)
		return 0;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	*ret_left = l->taken - l->stats->published - l->stats->duplicate;
	r = l->result;
	if (r)
		*e = l->err;
	destroy(l);
	return r;
}
