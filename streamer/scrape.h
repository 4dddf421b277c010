/* Exporters, asked every interval for what they show.
 *
 * Each target has a thread and a connection of its own, which it keeps, so that one that hangs,
 * dribbles or sends too much holds up nobody but itself. Targets are spread over the interval by a
 * hash of their address. An answer has min(interval, SCRAPE_TIMEOUT_MS) to be complete, at most
 * SCRAPE_BODY_MAX bytes (after gzip) and SCRAPE_SAMPLES_MAX samples; one that is not, or in which
 * no line is a sample, or that is OpenMetrics without its end, is taken for nothing at all, and the
 * target is down. Of any other answer every good sample is taken; those without a timestamp of
 * their own get the time at which the scrape began.
 *
 * 0.0.4 is asked for first: exporters rename counters for OpenMetrics, and their names are to stay.
 *
 * Whether a target is up, sends lines that are invalid, shows no GPU, or had to be skipped for want
 * of room (live.h), is logged when it changes; how many scrapes
 * there were, and what became of them, is counted by target (stats.h) and logged at the end. */
#ifndef GPUTEL_SCRAPE_H
#define GPUTEL_SCRAPE_H

#include "live.h"

#define SCRAPE_TARGETS_MAX 1024
#define SCRAPE_TIMEOUT_MS  10000
#define SCRAPE_BODY_MAX    (16 * 1024 * 1024)
#define SCRAPE_SAMPLES_MAX 65536

struct scrape;

struct scrape_conf {
	const char *const *urls; /* borrowed, as is host */
	size_t n;
	int64_t interval_ms;
	struct slice host; /* --host: of all samples; or empty */
	struct live *live;
};

/* -EINVAL: not http:// or https:// and a host. */
int scrape_check_url(const char *url, struct err *e) must_check;

int scrape_open(struct scrape **ret, const struct scrape_conf *conf, struct err *e) must_check;
/* Breaks off what is under way. NULL is fine. */
void scrape_close(struct scrape *s);

#endif
