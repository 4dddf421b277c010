#include "scrape.h"

#include "url.h"
#include "daemon.h"
#include "exporter.h"
#include "http.h"
#include "log.h"
#include "rhythm.h"
#include "stats.h"

#include <pthread.h>
#include <stdio.h>
#include <strings.h>

#define BODY_KEPT (1024 * 1024) /* of the memory of a body, from one scrape to the next */

/* What is told of a target when it begins or ends. */
enum trouble { DOWN, SKIPPED, INVALID, WITHOUT_GPU, TROUBLES };

/* What is counted of a target, a cell each. */
struct scrape_figures {
	struct stat_cell *up, *duration, *samples;
	struct stat_cell *scrapes, *failures, *skipped, *missed, *other_samples;
};

struct exporter {
	struct scrape *scrape;
	struct url url;
	struct target_facts facts;
	struct http *http;
	pthread_t thread;
	bool started;

	/* Of one scrape. */
	struct strbuf body;
	enum exposition_format format;
	struct exposition_sample *samples;
	struct live_row *rows; /* of the samples with the same index */
	size_t n, cap;
	struct gpus gpus;
	struct exported exported;

	bool known; /* it was up or down before */
	bool has[TROUBLES];
	struct scrape_figures figures;
};

struct scrape {
	struct scrape_conf conf;
	int timeout_ms;
	struct exporter *targets;
};

/* ---- what is said of it ---------------------------------------------------------------------- */

/* Logs a trouble once, and its end. */
static void note(struct exporter *t, enum trouble which, bool is, const char *text)
{
	static const char *const ended[] = {[DOWN] = "is up",
					    [SKIPPED] = "its scrapes are taken again",
					    [INVALID] = "all its lines are valid again",
					    [WITHOUT_GPU] = "shows GPUs again"};
	bool is_first = which == DOWN && !t->known;

	if (is && (!t->has[which] || is_first))
		log_each(LOG_LEVEL_WARN, "%s: %s", t->url.name, text);
	else if (!is && (t->has[which] || is_first))
		log_each(LOG_LEVEL_INFO, "%s: %s", t->url.name, ended[which]);
	t->has[which] = is;
	if (which == DOWN)
		t->known = true;
}

static void note_verdict(struct exporter *t, const struct live_verdict *v)
{
	char text[sizeof(v->first_invalid.text) + 100];

	snprintf(text, sizeof(text), "%zu of its lines are invalid; the first: %s", v->invalid,
		 v->first_invalid.text);
	note(t, INVALID, v->invalid, text);
	note(t, WITHOUT_GPU, !v->taken && !v->no_value,
	     "none of its samples is of a GPU (expected the metrics of dcgm-exporter or "
	     "nvidia_gpu_exporter)");
}

/* ---- parsing --------------------------------------------------------------------------------- */

static int add_sample(struct exporter *t, const struct exposition_sample *s, struct stamp begun,
		      struct err *e)
{
	if (t->n == SCRAPE_SAMPLES_MAX)
		return err_set(e, -EMSGSIZE, "more than %d samples", SCRAPE_SAMPLES_MAX);
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 256;
		t->samples = xrealloc(t->samples, t->cap * sizeof(*t->samples));
		t->rows = xrealloc(t->rows, t->cap * sizeof(*t->rows));
	}
	t->samples[t->n] = *s;
	t->rows[t->n++] = (struct live_row){
		.key = exporter_key(s, &t->gpus, &t->facts),
		.value = exporter_value(s->value),
		.time = s->has_time ? s->time : begun,
	};
	return 0;
}

/* *ret gets the samples that may be of a GPU; *ret_others counts the rest. */
static int parse(struct exporter *t, struct stamp begun, struct live_scrape *ret,
		 size_t *ret_others, struct err *e)
{
	struct slice body = {t->body.s, t->body.len};
	struct exposition_sample s;
	struct exposition x;
	int event, r = 0;
	struct err bad;

	t->n = *ret_others = 0;
	gpus_gather(&t->gpus, body, t->format);
	exposition_init(&x, body, t->format);
	while (!r && (event = exposition_next(&x, &s, &bad)) != EXPOSITION_END) {
		if (event == EXPOSITION_INVALID) {
			if (!ret->malformed++)
				ret->first_malformed = bad;
		} else if (exporter_may_be_gpu(&s, &t->gpus)) {
			r = add_sample(t, &s, begun, e);
		} else {
			++*ret_others;
		}
	}
	if (!r && !x.complete)
		r = err_set(e, -EBADMSG, "the answer was cut: it has no # EOF");
	if (!r && !t->n && !*ret_others)
		r = err_set(e, -EBADMSG, "the answer has no sample%s%s", ret->malformed ? ": " : "",
			    ret->first_malformed.text);
	ret->rows = t->rows;
	ret->n = t->n;
	return r;
}

static int fields_of(size_t i, const struct slice **ret, void *arg, struct err *e)
{
	struct exporter *t = arg;

	*ret = t->exported.fields;
	return exporter_fields(&t->samples[i], &t->gpus, &t->facts, &t->exported, e);
}

/* ---- one scrape ------------------------------------------------------------------------------ */

static void on_header(struct slice name, struct slice value, void *arg)
{
	struct exporter *t = arg;

	if (name.len == 12 && !strncasecmp(name.p, "content-type", 12))
		t->format = exposition_format_of(value);
}

static int fetch(struct exporter *t, struct err *e)
{
	static const struct http_header accept = {
		"Accept", "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;"
			  "q=0.5,*/*;q=0.1"};
	struct http_request q = {
		.method = "GET",
		.url = t->url.text,
		.headers = &accept,
		.n_headers = 1,
		.timeout_ms = t->scrape->timeout_ms,
		.compressed = true,
		.on_header = on_header,
		.header_arg = t,
	};
	int status, r;

	t->format = EXPOSITION_PROMETHEUS;
	r = http_call(t->http, &q, &status, &t->body, e);
	if (r == -EMSGSIZE)
		return err_set(e, r, "the answer has more than %d MiB", SCRAPE_BODY_MAX >> 20);
	if (r == -ETIMEDOUT)
		return err_set(e, r, "no whole answer within %d ms", t->scrape->timeout_ms);
	return !r && status != 200 ? err_set(e, -EPROTO, "HTTP status %d", status) : r;
}

static int scrape_target(struct exporter *t, struct live_verdict *v, struct err *e)
{
	struct live_scrape scrape = {.fields = fields_of, .arg = t};
	struct stamp begun = {wall_now_ns() / NS_PER_MS * NS_PER_MS, 3};
	size_t others = 0;
	int r = fetch(t, e);

	if (!r)
		r = parse(t, begun, &scrape, &others, e);
	if (!r)
		r = live_put(t->scrape->conf.live, &scrape, v, e);
	if (!r)
		v->skipped += others;
	if (t->body.cap > BODY_KEPT)
		strbuf_release(&t->body);
	return r;
}

static void make_figures(struct scrape_figures *f, const char *target)
{
	*f = (struct scrape_figures){
		.up = stats_cell(STAT_SCRAPE_UP, target, NULL),
		.duration = stats_cell(STAT_SCRAPE_DURATION, target, NULL),
		.samples = stats_cell(STAT_SCRAPE_SAMPLES, target, NULL),
		.scrapes = stats_cell(STAT_SCRAPES, target, NULL),
		.failures = stats_cell(STAT_SCRAPES_FAILED, target, NULL),
		.skipped = stats_cell(STAT_SCRAPES_SKIPPED, target, NULL),
		.missed = stats_cell(STAT_SCRAPES_MISSED, target, NULL),
		.other_samples = stats_cell(STAT_SCRAPE_OTHER_SAMPLES, target, NULL),
	};
}

static void count(const struct scrape_figures *f, int r, const struct live_verdict *v, int64_t us)
{
	stat_cell_set(f->up, !r || r == -ENOBUFS);
	stat_cell_set(f->duration, us);
	stat_cell_set(f->samples, r ? 0 : (int64_t)v->taken);
	stat_cell_add(f->scrapes, 1);
	stat_cell_add(f->failures, r && r != -ENOBUFS);
	stat_cell_add(f->skipped, r == -ENOBUFS);
	stat_cell_add(f->other_samples, r ? 0 : (int64_t)v->skipped);
}

static void scrape_once(struct exporter *t)
{
	struct mono begun = mono_now();
	struct live_verdict v = {0};
	struct err e = {0};
	int r = scrape_target(t, &v, &e);
	char text[sizeof(e.text) + 40];

	if (r == -ECANCELED)
		return;
	count(&t->figures, r, &v, (mono_now().ns - begun.ns) / 1000);
	snprintf(text, sizeof(text), "is down: %s", e.text);
	note(t, DOWN, r && r != -ENOBUFS, text);
	snprintf(text, sizeof(text), "its scrapes are skipped: %s", e.text);
	note(t, SKIPPED, r == -ENOBUFS, text);
	if (!r)
		note_verdict(t, &v);
}

static void *run_target(void *arg)
{
	struct exporter *t = arg;
	const char *name = t->url.name;
	struct rhythm rhythm;
	int64_t missed = 0;

	rhythm_init(&rhythm, t->scrape->conf.interval_ms, hash64(name, strlen(name), 0),
		    mono_now());
	while (!rhythm_wait(&rhythm, &missed)) {
		stat_cell_add(t->figures.missed, missed);
		scrape_once(t);
	}
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

int scrape_check_url(const char *url, struct err *e)
{
	struct url a;
	int r = url_parse(url, &a, e);

	if (!r)
		url_release(&a);
	return r;
}

static int start_target(struct scrape *s, struct exporter *t, const char *url, struct err *e)
{
	struct http_conf http = {.dial_timeout_ms = s->timeout_ms, .max_inflight = 1};
	int r = url_parse(url, &t->url, e);

	if (!r)
		r = http_open(&t->http, &http, e);
	if (r)
		return r;
	make_figures(&t->figures, t->url.name);
	t->facts.host_is_forced = s->conf.host.len;
	t->facts.host = s->conf.host.len ? s->conf.host : slice_str(t->url.host);
	r = pthread_create(&t->thread, NULL, run_target, t);
	t->started = r == 0;
	return r ? err_set(e, -r, "cannot start a thread: %s", strerror(r)) : 0;
}

static void tell_figures(const struct exporter *t)
{
	const struct scrape_figures *f = &t->figures;

	if (t->started)
		log_each(LOG_LEVEL_INFO,
			 "%s: %lld scrapes, of which %lld failed and %lld were skipped for want of "
			 "room; %lld were missed; %lld samples were of no GPU",
			 t->url.name, (long long)stat_cell_value(f->scrapes),
			 (long long)stat_cell_value(f->failures),
			 (long long)stat_cell_value(f->skipped),
			 (long long)stat_cell_value(f->missed),
			 (long long)stat_cell_value(f->other_samples));
}

static void release_target(struct exporter *t)
{
	if (t->started)
		pthread_join(t->thread, NULL);
	tell_figures(t);
	http_close(t->http);
	url_release(&t->url);
	strbuf_release(&t->body);
	exported_release(&t->exported);
	gpus_release(&t->gpus);
	free(t->samples);
	free(t->rows);
}

int scrape_open(struct scrape **ret, const struct scrape_conf *conf, struct err *e)
{
	struct scrape *s = xcalloc(1, sizeof(*s));
	int r = 0;

	s->conf = *conf;
	s->timeout_ms = (int)MIN(conf->interval_ms, (int64_t)SCRAPE_TIMEOUT_MS);
	s->targets = xcalloc(conf->n, sizeof(*s->targets));
	for (size_t i = 0; i < conf->n; i++) {
		struct exporter *t = &s->targets[i];

		t->scrape = s;
		strbuf_init(&t->body, SCRAPE_BODY_MAX);
		exported_init(&t->exported);
	}
	for (size_t i = 0; i < conf->n && !r; i++)
		r = start_target(s, &s->targets[i], conf->urls[i], e);
	if (r) {
		daemon_stop();
		scrape_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void scrape_close(struct scrape *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->conf.n; i++) {
		if (s->targets[i].http)
			http_cancel(s->targets[i].http);
	}
	for (size_t i = 0; i < s->conf.n; i++)
		release_target(&s->targets[i]);
	free(s->targets);
	free(s);
}
