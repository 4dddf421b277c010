/* gputel-streamer: wiring and the wait for the end. */
#include "agent.h"
#include "clock.h"
#include "conf.h"
#include "daemon.h"
#include "digest.h"
#include "etcd.h"
#include "feed.h"
#include "log.h"
#include "monitor.h"
#include "options.h"
#include "parse.h"
#include "preview.h"
#include "service.h"
#include "stats.h"
#include "throttle.h"
#include "wait.h"
#include "watchdog.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { EXIT_RUNTIME = 1, EXIT_USAGE = 2, EXIT_CUT_SHORT = 3 };

struct source {
	struct feed_conf conf;
	struct feed_stats stats;
	int result;
	pthread_t thread;
};

struct streamer {
	struct conf conf;
	struct options options;

	struct etcd *etcd;
	struct throttle *throttle;
	struct wait_list *waiting;
	struct monitor *monitor;
	struct watchdog *watchdog;
	struct source *sources;
	_Atomic size_t ended;
	_Atomic bool gave_up; /* the drain's deadline has passed */
};

/* ---- sources --------------------------------------------------------------------------------- */

static int admit(int64_t rows, bool patient, void *arg)
{
	return throttle_admit(((struct streamer *)arg)->throttle, rows, patient);
}

static double rate(void *arg)
{
	return throttle_rate(((struct streamer *)arg)->throttle);
}

static void accepted(const struct message *m, void *arg)
{
	struct streamer *s = arg;

	throttle_published(s->throttle, m->bytes);
	if (s->waiting)
		wait_list_add(s->waiting, m->ulid);
}

static void known(const char *source, void *arg)
{
	struct streamer *s = arg;

	if (s->waiting)
		wait_list_add_source(s->waiting, source);
}

static struct publisher_conf publisher_conf(const struct streamer *s)
{
	const struct conf *c = &s->conf;

	return (struct publisher_conf){
		.etcd = s->etcd,
		.streamer_id = c->streamer_id,
		.batch_size = c->streamer_batch_size,
		.mq_batch_size = c->mq_batch_size,
		.session_ttl_s = MAX(c->mq_processing_timeout / 1000, 2),
		.dedup_ttl_s = MAX(c->mq_dedup_ttl / 1000, 1),
		.message_ttl_ms = c->mq_message_ttl,
	};
}

static struct slice forced_host(const struct streamer *s)
{
	return s->options.host ? slice_str(s->options.host) : (struct slice){0};
}

static struct feed_conf feed_conf(struct streamer *s, const char *path)
{
	struct feed_conf f = {
		.publisher = publisher_conf(s),
		.path = path,
		.loop = s->options.loop,
		.follow = s->options.follow,
		.again = s->options.again,
		.time_now = s->options.time_given ? s->options.time_now : s->options.loop,
		.host = forced_host(s),
		.map = s->options.map_path ? &s->options.map : NULL,
		.flush_ms = s->conf.streamer_flush_interval,
		.buffer_bytes = (size_t)s->conf.streamer_buffer,
		.admit = admit,
		.rate = rate,
		.accepted = accepted,
		.known = known,
		.arg = s,
	};

	if (s->options.rate > 0) {
		f.pace = PACE_RATE;
		f.pace_factor = s->options.rate;
	} else if (s->options.speed > 0 || s->options.loop) {
		f.pace = PACE_SPEED;
		f.pace_factor = s->options.speed > 0 ? s->options.speed : 1;
	}
	return f;
}

static int run_live(struct streamer *s, struct feed_stats *stats, struct err *e)
{
	struct agent_conf conf = {
		.live = {.publisher = publisher_conf(s),
			 .name = "live",
			 .flush_ms = s->conf.streamer_flush_interval,
			 .buffer_bytes = (size_t)s->conf.streamer_buffer,
			 .admit = admit,
			 .rate = rate,
			 .accepted = accepted,
			 .arg = s},
		.scrape = {.urls = s->options.urls,
			   .n = s->options.n_urls,
			   .interval_ms = s->options.scrape_ms,
			   .host = forced_host(s)},
		.sampler = {.host = forced_host(s)},
	};

	if (s->options.nvml)
		conf.sampler.interval_ms = s->options.nvml_ms;
	return agent_run(&conf, stats, e);
}

static int run_feed(struct source *x, struct err *e)
{
	int r = daemon_stopping() ? -ECANCELED : feed_run(&x->conf, &x->stats, e);

	if (!r && x->stats.invalid && x->stats.invalid == x->stats.rows)
		return err_set(e, -EBADMSG, "%s: not one of its rows is valid", x->conf.path);
	return r;
}

static void run_source(struct streamer *s, struct source *x)
{
	struct err e = {0};

	x->result = options_are_live(&s->options) ? run_live(s, &x->stats, &e) : run_feed(x, &e);
	if (x->result && x->result != -ECANCELED)
		log_each(LOG_LEVEL_ERROR, "%s", e.text[0] ? e.text : strerror(-x->result));
	else if (!x->result && x->stats.duplicate && !x->stats.published)
		log_each(LOG_LEVEL_INFO,
			 "%s: nothing new: all %lld rows with a value were published before "
			 "(--again publishes them once more)",
			 x->conf.path, (long long)x->stats.duplicate);
	s->ended++;
}

struct job {
	struct streamer *s;
	size_t from, to;
};

static void *run_job(void *arg)
{
	struct job *j = arg;

	for (size_t i = j->from; i < j->to; i++)
		run_source(j->s, &j->s->sources[i]);
	return NULL;
}

/* ---- progress and summary -------------------------------------------------------------------- */

struct totals {
	int64_t rows, published, duplicate, no_value, invalid, messages, bytes, size;
};

static struct totals sum(const struct streamer *s)
{
	struct totals t = {0};

	for (size_t i = 0; i < s->options.paths.n; i++) {
		const struct feed_stats *x = &s->sources[i].stats;

		t.rows += x->rows;
		t.published += x->published;
		t.duplicate += x->duplicate;
		t.no_value += x->no_value;
		t.invalid += x->invalid;
		t.messages += x->messages;
		t.bytes += x->bytes;
		t.size += x->size;
	}
	return t;
}

static void show_progress(const struct streamer *s, struct mono started, int64_t *rows_before)
{
	struct totals t = sum(s);
	double done = t.size ? (double)t.bytes / (double)t.size : 0;
	int64_t seconds = MAX(mono_ms_since(started) / 1000, 1);

	fprintf(stderr, "\r%lld rows, %lld rows/s, %lld messages queued", (long long)t.rows,
		(long long)(t.rows - *rows_before), (long long)throttle_queue_depth(s->throttle));
	if (!s->options.loop && done > 0 && done < 1)
		fprintf(stderr, ", %.0f %%, ETA %lld s", 100 * done,
			(long long)((double)seconds * (1 - done) / done));
	fprintf(stderr, "\033[K");
	*rows_before = t.rows;
}

static void print_summary(const struct streamer *s)
{
	struct totals t = sum(s);

	printf("rows=%lld published=%lld duplicate=%lld no_value=%lld invalid=%lld messages=%lld\n",
	       (long long)t.rows, (long long)t.published, (long long)t.duplicate,
	       (long long)t.no_value, (long long)t.invalid, (long long)t.messages);
	fflush(stdout);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Until all sources have ended; after a stop, at most until the drain's deadline. */
static void supervise(struct streamer *s)
{
	bool terminal = isatty(STDERR_FILENO);
	struct mono started = mono_now(), shown = started;
	int64_t rows_before = 0;

	while (s->ended < s->options.paths.n) {
		if (daemon_stopping())
			usleep(10 * 1000);
		else
			daemon_sleep_ms(20);
		if (terminal && mono_ms_since(shown) >= 1000) {
			show_progress(s, started, &rows_before);
			shown = mono_now();
		}
		if (daemon_stopping() && !daemon_drain_left_ms() && !s->gave_up) {
			s->gave_up = true;
			etcd_cancel(s->etcd);
		}
	}
	if (terminal)
		fprintf(stderr, "\r\033[K");
}

static int run_sources(struct streamer *s)
{
	bool endless = s->options.loop || s->options.follow;
	size_t jobs = endless ? s->options.paths.n : 1;
	struct job *list = xcalloc(jobs, sizeof(*list));
	pthread_t *threads = xcalloc(jobs, sizeof(*threads));
	size_t started = 0;

	for (size_t i = 0; i < s->options.paths.n; i++)
		s->sources[i].conf = feed_conf(s, s->options.paths.list[i]);
	for (; started < jobs; started++) {
		list[started] = endless ? (struct job){s, started, started + 1}
					: (struct job){s, 0, s->options.paths.n};
		if (pthread_create(&threads[started], NULL, run_job, &list[started]))
			break;
	}
	if (started == jobs) {
		supervise(s);
	} else {
		log_error("cannot start a thread");
		daemon_stop();
	}
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	free(list);
	return started == jobs ? 0 : EXIT_RUNTIME;
}

static int wait_for_all(struct streamer *s)
{
	struct err e = {0};
	int64_t revision = 0;
	int r = wait_list_wait(s->waiting, s->etcd, s->options.wait_ms, &revision, &e);

	if (r) {
		log_error("--wait: %s", e.text);
		return r == -ETIME || r == -ECANCELED ? EXIT_CUT_SHORT : EXIT_RUNTIME;
	}
	if (revision)
		log_info("all that was published is stored, at revision %lld", (long long)revision);
	else
		log_info("nothing was published, so there is nothing to wait for");
	return 0;
}

static int outcome(struct streamer *s)
{
	bool stopped = false;
	int exit_code = 0;

	for (size_t i = 0; i < s->options.paths.n; i++) {
		if (s->sources[i].result == -ECANCELED)
			stopped = true;
		else if (s->sources[i].result)
			exit_code = EXIT_RUNTIME;
	}
	if (s->gave_up && !options_are_live(&s->options)) {
		log_error("shutdown: etcd did not take all within SHUTDOWN_TIMEOUT; what is not "
			  "published is read again at the next start");
		return EXIT_RUNTIME;
	}
	if (stopped && !s->options.loop && !s->options.follow)
		return EXIT_CUT_SHORT;
	return exit_code;
}

static int run(struct streamer *s)
{
	int exit_code = run_sources(s), waited = 0;

	if (!exit_code)
		exit_code = outcome(s);
	if (s->options.wait && exit_code != EXIT_CUT_SHORT && !s->gave_up)
		waited = wait_for_all(s);
	print_summary(s);
	return exit_code ? exit_code : waited;
}

static bool is_draining(void *arg)
{
	return daemon_stopping();
}

static bool is_without_etcd(void *arg)
{
	return !etcd_is_up(((struct streamer *)arg)->etcd, NULL);
}

static const struct hindrance hindrances[] = {
	{is_draining, "draining"},
	{is_without_etcd, "etcd"},
};

static int start_monitor(struct streamer *s, struct err *e)
{
	const struct monitor_conf conf = {
		.port = s->conf.metrics_port,
		.hindrances = hindrances,
		.n_hindrances = ARRAY_SIZE(hindrances),
		.arg = s,
	};

	return conf.port ? monitor_start(&s->monitor, &conf, e) : 0;
}

static void report(void *arg)
{
	struct streamer *s = arg;
	struct totals t = sum(s);

	stats_set(STAT_ROWS_DUPLICATED, t.duplicate);
	stats_set(STAT_ROWS_NO_VALUE, t.no_value);
	stats_set(STAT_ROWS_INVALID, t.invalid);
	stats_set(STAT_ETCD_UP, etcd_is_up(s->etcd, NULL));
	throttle_report(s->throttle);
}

/* Takes the locks that all of it needs. */
static bool is_well(void *arg)
{
	struct streamer *s = arg;

	etcd_is_up(s->etcd, NULL);
	throttle_rate(s->throttle);
	return true;
}

static int open_all(struct streamer *s, struct err *e)
{
	struct etcd_conf conf;
	int r;

	conf_etcd(&s->conf, &conf);
	s->sources = xcalloc(s->options.paths.n, sizeof(*s->sources));
	s->waiting = s->options.wait ? wait_list_new() : NULL;
	r = daemon_init(s->conf.shutdown_timeout, e);
	if (!r)
		r = digest_init() ? err_set(e, -EIO, "libsodium cannot be set up") : 0;
	if (!r)
		r = etcd_open(&s->etcd, &conf, e);
	if (!r && (r = throttle_start(&s->throttle, s->etcd, &s->conf)))
		err_set(e, r, "cannot start a thread");
	if (r)
		return r;
	stats_hook(report, s);
	return start_monitor(s, e);
}

static void close_all(struct streamer *s)
{
	daemon_on_hup(NULL, NULL);
	daemon_stop(); /* for the watchdog */
	watchdog_stop(s->watchdog);
	monitor_stop(s->monitor);
	stats_unhook(report, s);
	if (s->etcd)
		etcd_cancel(s->etcd);
	throttle_stop(s->throttle);
	etcd_close(s->etcd);
	wait_list_free(s->waiting);
	options_release(&s->options);
	free(s->sources);
	conf_release(&s->conf);
}

static int check_files(struct streamer *s)
{
	int exit_code = 0;

	for (size_t i = 0; i < s->options.paths.n; i++) {
		const struct preview_conf conf = {
			.path = s->options.paths.list[i],
			.host = s->options.host ? slice_str(s->options.host) : (struct slice){0},
			.map = s->options.map_path ? &s->options.map : NULL,
		};
		struct err e;

		fflush(stdout);
		if (!preview(&conf, &e))
			continue;
		log_error("%s", e.text);
		exit_code = EXIT_RUNTIME;
	}
	return exit_code;
}

static void on_hup(void *arg)
{
	struct streamer *s = arg;

	if (!conf_reload(&s->conf))
		return;
	daemon_set_drain(s->conf.shutdown_timeout);
	throttle_adjust(s->throttle, &s->conf);
}

int main(int argc, char **argv)
{
	static struct streamer s = {.options = OPTIONS_INIT};
	struct conf_program program = {
		.name = "gputel-streamer",
		.bit = CONF_STREAMER,
		.synopsis = "--csv FILE... | [--scrape URL...] [--nvml] [OPTION...]",
		.about = "Publishes GPU telemetry to the queue in etcd, each row exactly once, and "
			 "ends with a line of counts on standard output.",
		.arg = &s.options,
	};
	struct err e = {0};
	int r;

	options_describe(&program);
	service_init();
	r = conf_load(&s.conf, &program, argc, argv);
	if (r)
		return r > 0 ? 0 : EXIT_USAGE;
	stats_setup(CONF_STREAMER, program.name);
	if (options_are_live(&s.options) && paths_add(&s.options.paths, "live", &e))
		return EXIT_USAGE;
	if (!s.options.paths.n) {
		fprintf(stderr, "gputel-streamer: nothing to publish: --csv FILE, --scrape URL "
				"or --nvml is missing (see --help)\n");
		return EXIT_USAGE;
	}
	r = s.options.check_only ? 0 : open_all(&s, &e);
	if (!r && s.options.check_only) {
		r = check_files(&s);
	} else if (r) {
		log_error("%s", e.text);
		r = EXIT_RUNTIME;
	} else {
		daemon_on_hup(on_hup, &s);
		s.watchdog = watchdog_start(is_well, &s);
		service_tell("READY=1\nSTATUS=publishing");
		r = run(&s);
	}
	close_all(&s);
	return r;
}
