/* gputel-collector: options, wiring, and the housekeeping that belongs to no worker. */
#include "audit.h"
#include "conf.h"
#include "consumer.h"
#include "daemon.h"
#include "dead.h"
#include "digest.h"
#include "json.h"
#include "log.h"
#include "migrate.h"
#include "monitor.h"
#include "process.h"
#include "service.h"
#include "session.h"
#include "stats.h"
#include "tally.h"
#include "upkeep.h"
#include "watchdog.h"
#include "worker.h"

#include <stdio.h>
#include <unistd.h>

enum {
	EXIT_RUNTIME = 1,
	EXIT_USAGE = 2,
	EXIT_CUT_SHORT = 3,
	METRICS_PORT_OFFSET = 1,
	LOOK_MS = 100,
	STUCK_MS = 60000,    /* the main thread looks again, unless it waits for etcd */
	RECOVERY_MS = 10000, /* and at once when a collector is seen to vanish */
	RECOVERY_RETRY_MS = 1000,
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

	/* Of one session. */
	struct session *session;
	_Atomic bool at_work;      /* it may hold claims */
	_Atomic bool ready;        /* the lists of queue and peers are in */
	_Atomic int64_t looked_ns; /* the main thread last had the consumer's lock, monotonic */
	struct consumer consumer;
	struct upkeep *upkeep;
	struct worker *workers;
	unsigned n_workers;
	struct mono next_recovery;
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

/* ---- the store's configuration --------------------------------------------------------------- */

/* Puts SEGMENT where nothing is stored yet, and compares it otherwise. -EINVAL: it differs. */
static int agree_once(struct collector *k, struct err *e)
{
	int64_t segment_s = k->conf.segment / 1000, stored = 0;
	struct etcd_reply reply;
	struct etcd_txn t;
	struct json *doc;
	char text[64];
	int r;

	snprintf(text, sizeof(text), "{\"v\":1,\"segment_s\":%lld}", (long long)segment_s);
	etcd_txn_init(&t, k->etcd, "agree");
	etcd_if_create(&t, KEY_CONFIG, 0);
	etcd_then_put(&t, KEY_CONFIG, slice_str(text), 0);
	etcd_else_get(&t, KEY_CONFIG, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	if (!reply.succeeded && reply.ranges[0].n) {
		const struct etcd_kv *kv = &reply.ranges[0].kvs[0];

		r = json_parse(kv->value.p, kv->value.len, &doc, e);
		if (!r) {
			stored = json_int(json_get(doc, "segment_s"), 0);
			json_free(doc);
			if (stored != segment_s)
				r = err_set(e, -EINVAL,
					    "SEGMENT is %lld s, but what is stored in etcd "
					    "was stored with %lld s; set SEGMENT=%llds",
					    (long long)segment_s, (long long)stored,
					    (long long)stored);
		}
	}
	etcd_reply_release(&reply);
	return r;
}

/* ---- a session ------------------------------------------------------------------------------- */

static void on_lost(void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	c->lost = true;
	consumer_wake(c);
	consumer_unlock(c);
}

static int open_session(struct collector *k, struct err *e)
{
	char id[128], who[PROCESS_TEXT_MAX];
	struct key key;
	int r;

	snprintf(id, sizeof(id), "%.64s-%016llx", k->conf.collector_id,
		 (unsigned long long)random_u64());
	process_describe(id, who);
	key = key_consumer(id);
	consumer_init(&k->consumer, k->etcd, id, (unsigned)k->conf.collector_workers,
		      k->conf.collector_flush_interval, k->conf.mq_max_retries);
	stats_hook(consumer_report, &k->consumer);
	r = session_open(&k->session, k->etcd, key.s, slice_str(who),
			 k->conf.mq_processing_timeout / 1000, &daemon_stop_flag, on_lost,
			 &k->consumer, e);
	if (!r)
		r = consumer_follow(&k->consumer, session_revision(k->session), e);
	return r;
}

static int start_workers(struct collector *k, struct err *e)
{
	struct worker_conf conf = {
		.segment_ns = k->conf.segment * NS_PER_MS,
		.max_retries = k->conf.mq_max_retries,
		.batch = (size_t)MIN(k->conf.collector_batch_size, k->conf.mq_batch_size),
		.buffer_bytes = (size_t)(k->conf.collector_buffer / k->conf.collector_workers / 8),
		.keeping = &k->keeping,
		.deadline_ms = k->conf.mq_processing_timeout,
	};

	k->workers = xcalloc((size_t)k->conf.collector_workers, sizeof(*k->workers));
	for (k->n_workers = 0; k->n_workers < k->conf.collector_workers; k->n_workers++) {
		int r = worker_start(&k->workers[k->n_workers], &k->consumer, k->n_workers, &conf);

		if (r)
			return err_set(e, r, "cannot start a thread: %s", strerror(-r));
	}
	return 0;
}

/* ---- housekeeping ---------------------------------------------------------------------------- */

/* A worker that computes on and on is stuck in a message: only the end of the process brings that
 * message to another attempt. */
static void check_workers(struct collector *k)
{
	for (unsigned i = 0; i < k->n_workers; i++) {
		const struct worker *w = &k->workers[i];

		if (worker_busy_ms(w) > w->conf.deadline_ms) {
			log_error("worker %u has been busy for more than %lld ms; ending the "
				  "process",
				  i, (long long)w->conf.deadline_ms);
			_exit(EXIT_RUNTIME);
		}
	}
}

static void note_recovery(struct consumer *c, struct recovered *rec)
{
	consumer_lock(c);
	group_note_recovery(&c->group, rec);
	consumer_wake(c);
	consumer_unlock(c);
}

/* Brings back what dead collectors had claimed. No host is taken from one before that. Sets when to
 * look again. */
static void recover(struct collector *k, int64_t max_retries)
{
	struct recovered rec = {0};
	struct err e = {0};
	int r = queue_recover(k->etcd, max_retries, &rec, &e);

	if (rec.requeued || rec.dead)
		log_info(
			"recovered from collectors that are gone: %lld messages back in the queue, "
			"%lld dead-lettered",
			(long long)rec.requeued, (long long)rec.dead);
	if (rec.unreadable)
		log_warn("%lld claims of collectors that are gone were no messages and are "
			 "dead-lettered, the last of them %s",
			 (long long)rec.unreadable, rec.unreadable_why.text);
	if (!r) {
		note_recovery(&k->consumer, &rec);
		r = tally_fold(k->etcd, &e);
	}
	map_release(&rec.alive);
	if (r && !etcd_transient(r) && r != -ECANCELED)
		log_warn("recovery: %s", e.text);
	k->next_recovery =
		mono_in_ms(r ? RECOVERY_RETRY_MS : RECOVERY_MS + (int64_t)(random_u64() % 5000));
}

static void refuse_misfits(struct collector *k)
{
	struct err e = {0};
	int r = consumer_refuse_misfits(&k->consumer, &e);

	if (r && !etcd_transient(r) && r != -ECANCELED)
		log_warn("queue: %s", e.text);
}

/* Nothing queued, nothing claimed, by anyone: asked of etcd, not of the mirrors. */
static bool is_drained(struct collector *k)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	bool drained = false;

	etcd_txn_init(&t, k->etcd, "drained");
	etcd_if_range_mod_below(&t, KEY_QUEUE, key_prefix_end(KEY_QUEUE).s, 1);
	etcd_if_range_mod_below(&t, KEY_PROCESSING, key_prefix_end(KEY_PROCESSING).s, 1);
	if (!etcd_txn_send(&t, &reply, NULL)) {
		drained = reply.succeeded;
		etcd_reply_release(&reply);
	}
	etcd_txn_release(&t);
	return drained;
}

/* Until a stop is asked for, the session is lost, or all is drained. True: drained. */
static bool serve(struct collector *k)
{
	struct consumer *c = &k->consumer;

	for (;;) {
		bool over, due, idle, misfits;
		int64_t max_retries;

		consumer_lock(c);
		if (!c->lost && !daemon_stopping())
			consumer_wait(c, LOOK_MS);
		over = c->lost || daemon_stopping();
		due = c->group.members_listed &&
		      (c->group.want_recovery || !mono_ms_until(k->next_recovery));
		c->group.want_recovery = c->group.want_recovery && !due;
		max_retries = c->dead_full ? QUEUE_NO_DEAD_LETTERS : k->conf.mq_max_retries;
		idle = consumer_idle(c);
		misfits = c->backlog.n_misfits > 0 && !c->dead_full;
		check_workers(k);
		k->looked_ns = mono_now().ns;
		k->ready = c->group.members_listed && c->backlog.is_listed;
		consumer_unlock(c);
		if (over)
			return false;
		if (misfits)
			refuse_misfits(k);
		if (due)
			recover(k, max_retries);
		if (k->mode == MODE_DRAIN && idle && is_drained(k))
			return true;
	}
}

/* Lets the workers finish what they have claimed. Returns how many could not in time. */
static unsigned leave(struct collector *k)
{
	struct consumer *c = &k->consumer;
	unsigned left;

	consumer_lock(c);
	c->stop = true;
	consumer_wake(c);
	while (c->running && !(daemon_stopping() && !daemon_drain_left_ms()))
		consumer_wait(c, LOOK_MS);
	left = c->running;
	consumer_unlock(c);
	return left;
}

static void close_session(struct collector *k, bool abandon)
{
	k->ready = false;
	stats_unhook(consumer_report, &k->consumer);
	if (abandon)
		etcd_cancel(k->etcd);
	for (unsigned i = 0; i < k->n_workers; i++)
		worker_join(&k->workers[i]);
	upkeep_stop(k->upkeep);
	k->upkeep = NULL;
	free(k->workers);
	k->workers = NULL;
	k->n_workers = 0;
	consumer_unfollow(&k->consumer);
	session_close(k->session);
	k->session = NULL;
	consumer_release(&k->consumer);
}

/* One session from begin to end. > 0: it was lost, open another. */
static int run_session(struct collector *k, struct err *e)
{
	unsigned left;
	bool drained = false, lost;
	int r;

	k->at_work = true; /* from the first put on: the session is to be revoked */
	r = open_session(k, e);

	if (!r)
		r = start_workers(k, e);
	if (!r && (r = upkeep_start(&k->upkeep, k->etcd, &k->consumer, session_lease(k->session),
				    &k->conf, &k->keeping)))
		err_set(e, r, "cannot start a thread: %s", strerror(-r));
	if (!r) {
		log_info("collecting as %s", k->consumer.id);
		drained = serve(k);
	}
	left = leave(k);
	lost = k->consumer.lost && !daemon_stopping();
	close_session(k, left);
	k->at_work = false;
	if (r)
		return r;
	if (lost)
		return 1;
	if (left)
		return err_set(e, -ETIME,
			       "shutdown: etcd did not take all within SHUTDOWN_TIMEOUT; "
			       "what %u workers have claimed is given back by recovery",
			       left);
	return k->mode == MODE_DRAIN && !drained
		       ? err_set(e, -EINTR, "stopped before all was drained")
		       : 0;
}

static int run(struct collector *k)
{
	struct backoff b = {0};
	struct err e = {0};
	int r = agree_once(k, &e);

	if (r == -EINVAL) {
		log_error("%s", e.text);
		return EXIT_USAGE;
	}
	while (!r && (r = run_session(k, &e)) > 0) {
		log_warn("the session was lost; starting anew");
		r = 0;
		if (daemon_sleep_ms(backoff_next_ms(&b, 100, 3000)))
			break;
	}
	if (r == -ECANCELED && k->mode == MODE_DRAIN)
		r = err_set(&e, -EINTR, "stopped before all was drained");
	if (!r || r == -ECANCELED)
		return 0;
	log_error("%s", e.text[0] ? e.text : strerror(-r));
	return r == -EINTR ? EXIT_CUT_SHORT : EXIT_RUNTIME;
}

/* ---- health ---------------------------------------------------------------------------------- */

static bool is_draining(void *arg)
{
	return daemon_stopping();
}

static bool is_starting(void *arg)
{
	return !((struct collector *)arg)->ready;
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
	const struct collector *k = arg;
	struct mono looked = {k->looked_ns};

	return !k->ready || mono_ms_since(looked) < STUCK_MS || !etcd_is_up(k->etcd, NULL);
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

	/* Nothing is claimed before the first session: a stop need not wait for etcd. */
	if (!k->at_work)
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
