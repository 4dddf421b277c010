/* What gputel-streamer is asked for on its command line. */
#ifndef GPUTEL_OPTIONS_H
#define GPUTEL_OPTIONS_H

#include "column_map.h"
#include "conf.h"
#include "paths.h"
#include "scrape.h"

struct options {
	struct paths paths; /* of --csv */
	bool check_only, loop, follow, again, wait, time_given, time_now;
	double rate, speed; /* 0: not given */
	int64_t wait_ms;    /* -1: as long as it takes */
	const char *host, *map_path;
	struct column_map map; /* of map_path */
	const char *urls[SCRAPE_TARGETS_MAX];
	size_t n_urls;
	bool nvml;
	int64_t scrape_ms, nvml_ms;
};
#define OPTIONS_INIT                                                                               \
	{                                                                                          \
		.wait_ms = -1                                                                      \
	}

/* Puts the options and their check into p, whose arg is a struct options. */
void options_describe(struct conf_program *p);
void options_release(struct options *o);

/* Whether what is published has no end and no file: exporters, the driver. */
bool options_are_live(const struct options *o);

#endif
