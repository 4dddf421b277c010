/* gputel-collector: options, wiring, and the housekeeping that belongs to no worker. */
#include "audit.h"
#include "collect.h"
#include "conf.h"
#include "daemon.h"
#include "dead.h"
#include "digest.h"
#include "log.h"
#include "migrate.h"
#include "monitor.h"
#include "service.h"
#include "stats.h"
#include "watchdog.h"

#include <stdio.h>
#include <unistd.h>

enum {
	EXIT_RUNTIME = 1,
	EXIT_USAGE = 2,
	EXIT_CUT_SHORT = 3,
	METRICS_PORT_OFFSET = 1,
};

enum mode { MODE_COLLECT, MODE_DRAIN, MODE_AUDIT, MODE_DEAD, MODE_MIGRATE };

struct collector {
	struct conf conf;
	struct keeping keeping; /* as conf has it */
	enum mode mode;
	const struct dead_command *dead;
	const char *dead_id;
	struct etcd *etcd;

	struct monitor *monitor;
	struct watchdog *watchdog;

	struct collect collect;
};

/* ---- options --------------------------------------------------------------------------------- */

static const struct dead_command {
	const char *name;
	enum { ID_NONE, ID_OPTIONAL, ID_NEEDED } id;
	int (*run)(struct collector *k, struct err *e);
} dead_commands[5];

static int set_mode(void *arg, enum mode mode, struct err *e)
{
	struct collector *k = arg;

	if (k->mode != MODE_COLLECT)
		return err_set(e, -EINVAL,
			       "--drain, --audit, --dead-letters and --migrate exclude each other");
	k->mode = mode;
	return 0;
}

static int set_drain(const char *value, void *arg, struct err *e)
{
	return set_mode(arg, MODE_DRAIN, e);
}

static int set_audit(const char *value, void *arg, struct err *e)
{
	return set_mode(arg, MODE_AUDIT, e);
}

static int set_migrate(const char *value, void *arg, struct err *e)
{
	return set_mode(arg, MODE_MIGRATE, e);
}

static int set_dead(const char *value, void *arg, struct err *e)
{
	struct collector *k = arg;

	for (const struct dead_command *d = dead_commands; d->name; d++)
		if (!strcmp(d->name, value))
			k->dead = d;
	if (!k->dead)
		return err_set(e, -EINVAL,
			       "--dead-letters: \"%s\" is none of list, show ID, "
			       "replay [ID], drop ID",
			       value);
	return set_mode(arg, MODE_DEAD, e);
}

static int set_argument(const char *value, void *arg, struct err *e)
{
	struct collector *k = arg;

	if (!k->dead || k->dead->id == ID_NONE || k->dead_id)
		return err_set(e, -EINVAL, "unexpected argument \"%s\"", value);
	k->dead_id = value;
	return 0;
}

static int check(const struct conf *c, void *arg, struct err *e)
{
	const struct collector *k = arg;

	if (k->dead && k->dead->id == ID_NEEDED && !k->dead_id)
		return err_set(e, -EINVAL, "--dead-letters %s: the ID of the message is missing",
			       k->dead->name);
	return 0;
}

static const struct conf_option options[] = {
	{"drain", 0, NULL, "exit when nothing is queued or claimed any more", set_drain},
	{"audit", 0, NULL, "print the balance of the queue at one revision; exit 1 if it is wrong",
	 set_audit},
	{"dead-letters", 0, "list|show ID|replay [ID]|drop ID",
	 "what could not be stored: list it, show it, try it again, delete it", set_dead},
	{"migrate", 0, NULL,
	 "upgrade what older releases and other programs have queued, look at what is stored",
	 set_migrate},
};

/* ---- tools ----------------------------------------------------------------------------------- */

static int run_list(struct collector *k, struct err *e)
{
	return dead_list(k->etcd, e);
}

static int run_show(struct collector *k, struct err *e)
{
	return dead_show(k->etcd, k->dead_id, e);
}

static int run_replay(struct collector *k, struct err *e)
{
	int64_t n = 0;
	int r = dead_replay(k->etcd, k->dead_id, &n, e);

	printf("replayed=%lld\n", (long long)n);
	return r;
}

static int run_drop(struct collector *k, struct err *e)
{
	int r = dead_drop(k->etcd, k->dead_id, e);

	if (!r)
		printf("dropped=1\n");
	return r;
}

static const struct dead_command dead_commands[5] = {
	{"list", ID_NONE, run_list},
	{"show", ID_NEEDED, run_show},
	{"replay", ID_OPTIONAL, run_replay},
	{"drop", ID_NEEDED, run_drop},
	{NULL, ID_NONE, NULL},
};

/* The exit status. */
static int run_tool(struct collector *k)
{
	struct err e = {0};
	int r = k->mode == MODE_AUDIT     ? audit(k->etcd, &e)
		: k->mode == MODE_MIGRATE ? migrate(k->etcd, k->conf.segment * NS_PER_MS, &e)
					  : k->dead->run(k, &e);

	if (r < 0)
		log_error("%s", e.text[0] ? e.text : strerror(-r));
	return r ? EXIT_RUNTIME : 0;
}

/* ---- the service ----------------------------------------------------------------------------- */

/* The exit status. */
static int run(struct collector *k)
{
	struct err e = {0};
	int r, status = EXIT_RUNTIME;

	k->collect.conf = &k->conf;
	k->collect.keeping = &k->keeping;
	k->collect.etcd = k->etcd;
	k->collect.drain = k->mode == MODE_DRAIN;
	r = collect_agree(&k->collect, &e);
	if (r == -EINVAL)
		status = EXIT_USAGE;
	else if (!r)
		r = collect(&k->collect, &e);
	if (r == -ECANCELED && k->collect.drain) {
		err_set(&e, r, "stopped before all was drained");
		status = EXIT_CUT_SHORT;
	} else if (!r || r == -ECANCELED) {
		return 0;
	}
	log_error("%s", e.text[0] ? e.text : strerror(-r));
	return status;
}

/* ---- health ---------------------------------------------------------------------------------- */

static bool is_draining(void *arg)
{
	return daemon_stopping();
}

static bool is_starting(void *arg)
{
	return !((struct collector *)arg)->collect.ready;
}

static bool is_without_etcd(void *arg)
{
	return !etcd_is_up(((struct collector *)arg)->etcd, NULL);
}

static const struct hindrance hindrances[] = {
	{is_draining, "draining"},
	{is_starting, "starting"},
	{is_without_etcd, "etcd"},
};

static int start_monitor(struct collector *k, struct err *e)
{
	const struct monitor_conf conf = {
		.port = k->conf.metrics_port + METRICS_PORT_OFFSET,
		.hindrances = hindrances,
		.n_hindrances = ARRAY_SIZE(hindrances),
		.arg = k,
	};

	return k->conf.metrics_port ? monitor_start(&k->monitor, &conf, e) : 0;
}

static void report(void *arg)
{
	stats_set(STAT_ETCD_UP, etcd_is_up(((struct collector *)arg)->etcd, NULL));
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool is_well(void *arg)
{
	return collect_is_well(&((struct collector *)arg)->collect);
}

/* The exit status. */
static int run_service(struct collector *k)
{
	struct err e = {0};
	int r;

	if (start_monitor(k, &e)) {
		log_error("%s", e.text);
		return EXIT_RUNTIME;
	}
	stats_hook(report, k);
	k->watchdog = watchdog_start(is_well, k);
	service_tell("READY=1\nSTATUS=collecting");
	r = run(k);
	daemon_stop(); /* for the watchdog */
	watchdog_stop(k->watchdog);
	monitor_stop(k->monitor);
	stats_unhook(report, k);
	return r;
}

static void on_stop(void *arg)
{
	struct collector *k = arg;

	/* A tool is not waited for, nor is what has nothing to give back. */
	if (!k->collect.at_work)
		etcd_cancel(k->etcd);
}

static void keep(struct collector *k)
{
	k->keeping.age_ns = k->conf.retention * NS_PER_MS;
	k->keeping.bytes = k->conf.retention_bytes;
}

static void on_hup(void *arg)
{
	struct collector *k = arg;

	if (!conf_reload(&k->conf))
		return;
	daemon_set_drain(k->conf.shutdown_timeout);
	keep(k);
}

int main(int argc, char **argv)
{
	static struct collector k;
	const struct conf_program program = {
		.name = "gputel-collector",
		.bit = CONF_COLLECTOR,
		.synopsis =
			"[--drain | --audit | --dead-letters COMMAND [ID] | --migrate] [OPTION...]",
		.about =
			"Takes messages from the queue in etcd and stores their rows, each exactly "
			"once. Any number of collectors on one etcd and prefix share the work.",
		.options = options,
		.n_options = ARRAY_SIZE(options),
		.argument = set_argument,
		.check = check,
		.arg = &k,
	};
	struct etcd_conf conf;
	struct err e = {0};
	int r;

	service_init();
	r = conf_load(&k.conf, &program, argc, argv);
	if (r)
		return r > 0 ? 0 : EXIT_USAGE;
	stats_setup(CONF_COLLECTOR, program.name);
	keep(&k);
	k.keeping.segment_ns = k.conf.segment * NS_PER_MS;
	conf_etcd(&k.conf, &conf);
	r = daemon_init(k.conf.shutdown_timeout, &e);
	if (!r && digest_init())
		r = err_set(&e, -EIO, "libsodium cannot be set up");
	if (!r)
		r = etcd_open(&k.etcd, &conf, &e);
	if (r) {
		log_error("%s", e.text);
		r = EXIT_RUNTIME;
	} else {
		daemon_on_stop(on_stop, &k);
		daemon_on_hup(on_hup, &k);
		r = k.mode >= MODE_AUDIT ? run_tool(&k) : run_service(&k);
	}
	daemon_on_stop(NULL, NULL);
	daemon_on_hup(NULL, NULL);
	if (k.etcd)
		etcd_cancel(k.etcd);
	etcd_close(k.etcd);
	conf_release(&k.conf);
	return r;
}
