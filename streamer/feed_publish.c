/* The publishing thread: one window at a time, while the next one fills. */
#include "feed_internal.h"

#include "log.h"
#include "source.h"

enum { HOSTS_PER_S = 1000 }; /* messages that etcd takes from all streamers with ease */

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
	int r = 0;

	if (f->keep)
		memcpy(sha, f->sha, sizeof(sha));
	else
		r = source_fingerprint(f->fd, before, sha);
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
	int64_t per_s = feed_is_bulk(f) ? BULK_PER_S : HOSTS_PER_S;
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

	if (!r)
		publisher_note_invalid(&f->publisher, atomic_exchange(&f->invalid, 0));
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

void *feed_publish_windows(void *arg)
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
int feed_hand_over(struct feed *f)
{
	struct window *w = f->filling;
	int r;

	pthread_mutex_lock(&f->lock);
	while (f->ready)
		pthread_cond_wait(&f->changed, &f->lock);
	if (f->keep)
		input_fingerprint(csv_input(f->csv), w->end, f->sha);
	f->ready = w;
	r = f->result;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	f->filling = &f->windows[w == &f->windows[0]];
	window_begin(f->filling, w->end, w->end_line);
	return r;
}

/* Waits until nothing is being published. */
int feed_settle(struct feed *f)
{
	int r;

	pthread_mutex_lock(&f->lock);
	while (f->ready)
		pthread_cond_wait(&f->changed, &f->lock);
	r = f->result;
	pthread_mutex_unlock(&f->lock);
	return r;
}

int feed_flush(struct feed *f)
{
	return f->filling->end > f->filling->offset ? feed_hand_over(f) : 0;
}
