#include "options.h"

#include "parse.h"

enum {
	INTERVAL_MIN_MS = 100,
	INTERVAL_MAX_MS = 3600 * 1000,
	SCRAPE_INTERVAL_MS = 15 * 1000,
	NVML_INTERVAL_MS = 1000
};

bool options_are_live(const struct options *o)
{
	return o->n_urls || o->nvml;
}

static int set_csv(const char *value, void *arg, struct err *e)
{
	return paths_add(&((struct options *)arg)->paths, value, e);
}

static int set_check(const char *value, void *arg, struct err *e)
{
	((struct options *)arg)->check_only = true;
	return 0;
}

static int set_loop(const char *value, void *arg, struct err *e)
{
	((struct options *)arg)->loop = true;
	return 0;
}

static int set_follow(const char *value, void *arg, struct err *e)
{
	((struct options *)arg)->follow = true;
	return 0;
}

static int set_again(const char *value, void *arg, struct err *e)
{
	((struct options *)arg)->again = true;
	return 0;
}

static int set_rate(const char *value, void *arg, struct err *e)
{
	if (parse_fraction(slice_str(value), 1e-3, 1e9, &((struct options *)arg)->rate))
		return err_set(e, -EINVAL,
			       "--rate: \"%s\" is not a number of rows per second "
			       "(expected e.g. 5000)",
			       value);
	return 0;
}

static int set_speed(const char *value, void *arg, struct err *e)
{
	if (parse_fraction(slice_str(value), 1e-6, 1e6, &((struct options *)arg)->speed))
		return err_set(e, -EINVAL,
			       "--speed: \"%s\" is not a factor (expected e.g. 10 for "
			       "ten times as fast as recorded)",
			       value);
	return 0;
}

static int set_time(const char *value, void *arg, struct err *e)
{
	struct options *o = arg;

	if (strcmp(value, "source") && strcmp(value, "now"))
		return err_set(e, -EINVAL, "--time: \"%s\" is neither source nor now", value);
	o->time_given = true;
	o->time_now = !strcmp(value, "now");
	return 0;
}

static int set_wait(const char *value, void *arg, struct err *e)
{
	struct options *o = arg;

	o->wait = true;
	if (value && parse_duration_ms(slice_str(value), &o->wait_ms))
		return err_set(e, -EINVAL, "--wait: \"%s\" is not a duration (expected e.g. 30s)",
			       value);
	return 0;
}

static int set_host(const char *value, void *arg, struct err *e)
{
	if (!*value)
		return err_set(e, -EINVAL, "--host: the name is empty");
	((struct options *)arg)->host = value;
	return 0;
}

static int set_map(const char *value, void *arg, struct err *e)
{
	((struct options *)arg)->map_path = value;
	return 0;
}

static int parse_interval(const char *name, const char *value, int64_t *ret_ms, struct err *e)
{
	int64_t ms;

	if (parse_duration_ms(slice_str(value), &ms) || ms < INTERVAL_MIN_MS ||
	    ms > INTERVAL_MAX_MS)
		return err_set(e, -EINVAL, "%s: \"%s\" is not an interval (expected 100ms to 1h)",
			       name, value);
	*ret_ms = ms;
	return 0;
}

static int set_scrape(const char *value, void *arg, struct err *e)
{
	struct options *o = arg;

	if (o->n_urls == SCRAPE_TARGETS_MAX)
		return err_set(e, -E2BIG, "--scrape: at most %d exporters", SCRAPE_TARGETS_MAX);
	if (scrape_check_url(value, e))
		return err_prefix(e, -EINVAL, "--scrape");
	o->urls[o->n_urls++] = value;
	return 0;
}

static int set_scrape_interval(const char *value, void *arg, struct err *e)
{
	return parse_interval("--scrape-interval", value, &((struct options *)arg)->scrape_ms, e);
}

static int set_nvml(const char *value, void *arg, struct err *e)
{
	((struct options *)arg)->nvml = true;
	return 0;
}

static int set_nvml_interval(const char *value, void *arg, struct err *e)
{
	return parse_interval("--nvml-interval", value, &((struct options *)arg)->nvml_ms, e);
}

static const struct conf_option table[] = {
	{"csv", 0, "FILE",
	 "rows to publish, in the long form or a wide one (a sample for each metric's column); "
	 "- is standard input; repeatable",
	 set_csv},
	{"loop", 0, NULL, "start over for ever, paced as recorded, with the present as time",
	 set_loop},
	{"follow", 0, NULL,
	 "go on as the files grow, over rotation and truncation, from where an earlier run was",
	 set_follow},
	{"rate", 0, "ROWS/S", "publish at this rate", set_rate},
	{"speed", 0, "X", "publish X times as fast as recorded", set_speed},
	{"time", 0, "source|now", "time of the rows: their own, or the present", set_time},
	{"wait", 0, "[=DURATION]", "return when all that was published is stored", set_wait},
	{"again", 0, NULL, "publish files once more that were published before", set_again},
	{"host", 0, "NAME", "host name of all rows, for files and exporters without one", set_host},
	{"map", 0, "FILE", "what the columns of the files are (README, Files of other programs)",
	 set_map},
	{"scrape", 0, "URL",
	 "publish what an exporter shows (dcgm-exporter, nvidia_gpu_exporter), again and again; "
	 "repeatable",
	 set_scrape},
	{"scrape-interval", 0, "DURATION", "how often: 100ms to 1h (default 15s)",
	 set_scrape_interval},
	{"nvml", 0, NULL, "publish what NVIDIA's driver says of the GPUs of this machine",
	 set_nvml},
	{"nvml-interval", 0, "DURATION", "how often: 100ms to 1h (default 1s)", set_nvml_interval},
	{"check", 0, NULL,
	 "publish nothing: print what the files are taken for, their first rows, and what would be "
	 "rejected and why; needs no etcd",
	 set_check},
};

static int check(const struct conf *c, void *arg, struct err *e)
{
	struct options *o = arg;
	size_t pipes = 0;

	for (size_t i = 0; i < o->paths.n; i++)
		pipes += !strcmp(o->paths.list[i], "-");
	if (options_are_live(o) &&
	    (o->paths.n || o->loop || o->again || o->wait || o->time_given || o->rate > 0 ||
	     o->speed > 0 || o->map_path || o->follow || o->check_only))
		return err_set(e, -EINVAL,
			       "--scrape and --nvml go with their intervals and --host only");
	if (o->nvml_ms && !o->nvml)
		return err_set(e, -EINVAL, "--nvml-interval: there is no --nvml");
	if (o->scrape_ms && !o->n_urls)
		return err_set(e, -EINVAL, "--scrape-interval: there is no --scrape");
	if (pipes > 1)
		return err_set(e, -EINVAL, "--csv -: standard input can be read once only");
	if (pipes && o->loop)
		return err_set(e, -EINVAL, "--loop: standard input cannot start over");
	if (pipes && o->follow)
		return err_set(e, -EINVAL, "--follow: standard input is read until it ends anyway");
	if (o->follow && (o->loop || o->again))
		return err_set(e, -EINVAL, "--follow: excludes --loop and --again");
	if (o->rate > 0 && o->speed > 0)
		return err_set(e, -EINVAL, "--rate and --speed exclude each other");
	if (o->loop && o->wait)
		return err_set(e, -EINVAL, "--wait: a loop never ends");
	if (o->follow && o->wait)
		return err_set(e, -EINVAL, "--wait: what is followed never ends");
	if (!o->scrape_ms)
		o->scrape_ms = SCRAPE_INTERVAL_MS;
	if (!o->nvml_ms)
		o->nvml_ms = NVML_INTERVAL_MS;
	return o->map_path ? column_map_read(&o->map, o->map_path, e) : 0;
}

void options_describe(struct conf_program *p)
{
	p->options = table;
	p->n_options = ARRAY_SIZE(table);
	p->check = check;
}

void options_release(struct options *o)
{
	column_map_release(&o->map);
	paths_release(&o->paths);
}
