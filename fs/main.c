/* gputel-fs: the tree as a file system. */
#include "background.h"
#include "clock.h"
#include "conf.h"
#include "daemon.h"
#include "guard.h"
#include "heir.h"
#include "helper.h"
#include "log.h"
#include "loop.h"
#include "monitor.h"
#include "mountpoint.h"
#include "notify.h"
#include "ops.h"
#include "prune.h"
#include "recording.h"
#include "service.h"
#include "stats.h"
#include "supervise.h"
#include "toucher.h"
#include "view.h"
#include "watchdog.h"

#include <stdio.h>

/* So many threads are kept free of reads that may wait for etcd. */
#define THREADS_FREE        3
#define METRICS_PORT_OFFSET 2

struct program {
	struct conf conf;
	struct mount_options options;
	bool supervise;
	char **csv, **arguments; /* files; what is no option; both borrowed */
	size_t n_csv, n_arguments;
	struct mountpoint mountpoint;
	struct heir heir;
	struct etcd *etcd;
	struct view *view;
	struct recording *recording; /* instead of etcd and view */
	struct fuse_session *session;
	struct guard *guard;
	struct toucher *toucher;
	bool quiet; /* nothing of ours calls the kernel any more */
	struct notifier *notifier;
	struct pruner *pruner;
	struct watchdog *watchdog;
	struct monitor *monitor;
	struct fs fs;
};

static int set_foreground(const char *value, void *arg, struct err *e)
{
	struct program *p = arg;

	p->options.foreground = true;
	return 0;
}

static int set_supervise(const char *value, void *arg, struct err *e)
{
	struct program *p = arg;

	p->supervise = true;
	return 0;
}

static int set_mount_options(const char *value, void *arg, struct err *e)
{
	struct program *p = arg;

	return mount_options_parse(&p->options, value, e);
}

static void append(char ***list, size_t *n, const char *value)
{
	*list = xrealloc(*list, (*n + 1) * sizeof(**list));
	(*list)[(*n)++] = (char *)value;
}

static int add_csv(const char *value, void *arg, struct err *e)
{
	struct program *p = arg;

	append(&p->csv, &p->n_csv, value);
	return 0;
}

static int add_argument(const char *value, void *arg, struct err *e)
{
	struct program *p = arg;

	append(&p->arguments, &p->n_arguments, value);
	return 0;
}

/* `--csv a.csv b.csv MOUNTPOINT`: with it, all but the last are files. */
static int take_arguments(struct program *p, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < p->n_arguments && r == 0; i++) {
		if (p->n_csv && i + 1 < p->n_arguments)
			append(&p->csv, &p->n_csv, p->arguments[i]);
		else
			r = mount_options_argument(&p->options, p->arguments[i], e);
	}
	return r;
}

static const struct conf_option options[] = {
	{"foreground", 'f', NULL, "stay in the foreground", set_foreground},
	{"options", 'o', "OPTIONS",
	 "as of mount(8): allow_other, default_permissions, uid=, gid=, umask=, mode=, "
	 "fsname=, …; host=GLOB (repeatable): show only those hosts",
	 set_mount_options},
	{"csv", 0, "FILE",
	 "show the rows of files (repeatable), as they would be shown if they were stored; no etcd",
	 add_csv},
	{"supervise", 0, NULL,
	 "keep a small parent that starts the daemon again when it dies; open files live on",
	 set_supervise},
};

static int load_conf(struct program *p, int argc, char **argv)
{
	struct conf_program program = {
		.name = "gputel-fs",
		.bit = CONF_FS,
		.synopsis = "[-f] [-o OPT,…] [--supervise] [SOURCE | --csv FILE…] MOUNTPOINT",
		.about = "Shows the telemetry of all GPUs as files under MOUNTPOINT, read-only.\n"
			 "Returns when the mount answers. SOURCE, as mount helpers give it, may "
			 "name "
			 "etcd's endpoints (host:port,…).",
		.options = options,
		.n_options = ARRAY_SIZE(options),
		.argument = add_argument,
		.arg = p,
	};

	return conf_load(&p->conf, &program, argc, argv);
}

static struct tree *shown_tree(struct program *p)
{
	return p->view ? view_tree(p->view) : recording_tree(p->recording);
}

static void on_hup(void *arg)
{
	struct program *p = arg;

	if (!conf_reload(&p->conf))
		return;
	daemon_set_drain(p->conf.shutdown_timeout);
	tree_set_cache(shown_tree(p), (size_t)p->conf.fs_cache);
}

/* Who calls the kernel may wait there for a lock that a request of the toucher holds: so they end
 * while requests are still answered, or they would never. */
static void end_calls(struct program *p)
{
	if (p->quiet)
		return;
	p->quiet = true;
	pruner_stop(TAKE_PTR(p->pruner));
	notifier_stop(p->notifier);
	events_stop(p->fs.events);
}

static void on_stop(void *arg)
{
	struct program *p = arg;

	if (p->etcd)
		etcd_cancel(p->etcd);
	end_calls(p);
}

/* `etcd1:2379,etcd2:2379 /mnt/gputel gputel …` in fstab. What stands there is the name of the
 * mounted thing, by which `mount -a` knows whether it is mounted already. */
static void take_source(struct program *p)
{
	if (p->options.source && !strcmp(p->options.fsname, "gputel")) {
		free(p->options.fsname);
		p->options.fsname = xstrdup(p->options.source);
	}
	if (!p->options.source || !strchr(p->options.source, ':'))
		return;
	free(p->conf.etcd_endpoints);
	p->conf.etcd_endpoints = TAKE_PTR(p->options.source);
}

static int open_view(struct program *p, struct err *e)
{
	struct etcd_conf conf;
	int r;

	conf_etcd(&p->conf, &conf);
	r = etcd_open(&p->etcd, &conf, e);
	if (r < 0)
		return r;
	return view_open_hosts(&p->view, p->etcd, p->conf.stale_after, (size_t)p->conf.fs_cache,
			       &p->options.hosts, e);
}

static int open_recording(struct program *p, struct err *e)
{
	struct recording_conf conf = {
		.files = p->csv,
		.n = p->n_csv,
		.hosts = &p->options.hosts,
		.stale_after_ms = p->conf.stale_after,
		.segment_ns = p->conf.segment * NS_PER_MS,
		.cache_bytes = (size_t)p->conf.fs_cache,
	};

	return recording_open(&p->recording, &conf, e);
}

/* The mount appears with its content where etcd answers; without etcd it does not wait (law 6).
 * Readers of a mount that was left are waiting already, and are rather answered late than with
 * EIO. */
static void await_first_list(struct program *p)
{
	struct mono deadline = mono_in_ms(p->conf.etcd_request_timeout);
	bool left = p->heir.fd >= 0;

	while (p->view && !view_wait_ready(p->view, 20) && (left || etcd_is_up(p->etcd, NULL)) &&
	       mono_ms_until(deadline) && !daemon_stopping())
		;
}

static void init_fs(struct program *p, int ready_fd)
{
	struct fs *fs = &p->fs;

	fs->tree = shown_tree(p);
	fs->inodes = inode_table_new(fs->tree, p->heir.saved);
	fs->files = files_new(p->heir.saved);
	fs->reads = row_reads_new(fs->tree, fs->inodes, (int)p->conf.fs_workers - THREADS_FREE,
				  p->conf.etcd_request_timeout);
	fs->owner = (struct entry_owner){p->options.uid, p->options.gid, p->options.umask};
	fs->ready_fd = ready_fd;
	fs->device.saved = p->heir.saved;
	if (p->heir.fd >= 0)
		inode_table_inherit(fs->inodes);
}

static void wake_files(void *arg)
{
	struct program *p = arg;

	files_wake(p->fs.files);
}

static void on_published(void *arg)
{
	struct program *p = arg;

	streams_wake(p->fs.streams);
	files_wake(p->fs.files);
}

static void on_sent(int64_t revision, void *arg)
{
	struct program *p = arg;

	waits_sent(p->fs.waits, revision);
}

static int open_sources(struct program *p, struct err *e)
{
	struct fs *fs = &p->fs;

	fs->streams = streams_new(fs->tree, wake_files, p);
	fs->waits = waits_new(p->view, wake_files, p);
	if (!fs->streams || !fs->waits)
		return err_set(e, -EAGAIN, "no threads for readers that wait");
	files_set_sources(fs->files, &(struct files_sources){.tree = fs->tree,
							     .session = p->session,
							     .inodes = fs->inodes,
							     .reads = fs->reads,
							     .streams = fs->streams,
							     .waits = fs->waits});
	return 0;
}

static int start_pushing(struct program *p, struct err *e)
{
	struct fs *fs = &p->fs;

	fs->events = events_start(p->toucher, on_sent, p);
	if (fs->events)
		p->notifier = notifier_start(fs->tree, fs->inodes, p->session, fs->events,
					     on_published, p);
	if (!p->notifier)
		return err_set(e, -EAGAIN, "no threads for notifications");
	waits_sent(fs->waits, tree_revision(fs->tree)); /* nobody has watched yet */
	return 0;
}

/* The connection to the kernel: the one that was left, or that of a new mount. */
static int connect_kernel(struct program *p, struct err *e)
{
	bool left = p->heir.fd >= 0;
	int fd = p->heir.fd, r = 0;

	if (!left)
		r = mountpoint_attach(&p->mountpoint, &p->options, &fd, e);
	if (r < 0)
		return r;
	r = device_attach(p->session, fd);
	if (r < 0)
		return err_set(e, r, "connection: %s", strerror(-r));
	if (left) {
		device_replay(p->session, &p->fs.device);
		heir_settle(&p->heir, p->fs.inodes, p->session);
		files_wake_left(p->fs.files, p->session);
	} else {
		heir_leave(&p->heir, &p->mountpoint, fd);
	}
	return 0;
}

static bool mount_answers(void *arg)
{
	const struct program *p = arg;
	int r = mountpoint_probe(p->mountpoint.path);

	if (r && !daemon_stopping())
		log_warn("%s: the mount does not answer: %s", p->mountpoint.path, strerror(-r));
	return r == 0;
}

static int open_session(struct program *p, struct err *e)
{
	char *argv[] = {(char *)"gputel-fs", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	int r;

	p->session = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), &p->fs);
	fuse_opt_free_args(&args);
	if (!p->session)
		return err_set(e, -ENOMEM, "libfuse refuses to start a session");
	r = open_sources(p, e);
	if (r == 0)
		r = start_pushing(p, e);
	if (r == 0)
		r = connect_kernel(p, e);
	if (r == 0 && p->guard)
		guard_attach(p->guard, &p->mountpoint, service_is_managed());
	if (r == 0 && p->toucher)
		toucher_attach(p->toucher, p->mountpoint.path, p->mountpoint.device,
			       mount_options_restrict(&p->options));
	if (r == 0) {
		p->watchdog = watchdog_start(mount_answers, p);
		p->pruner = pruner_start(p->fs.inodes, p->session, wake_files, p);
	}
	return r;
}

static void start_offspring(struct program *p)
{
	p->guard = guard_start();
	if (!p->guard)
		log_warn("no process that watches over the daemon's end: %s", strerror(errno));
	p->toucher = toucher_start();
	if (!p->toucher)
		log_warn("no process for inotify's events: %s", strerror(errno));
}

static bool is_draining(void *arg)
{
	return daemon_stopping();
}

static bool is_starting(void *arg)
{
	const struct program *p = arg;

	return p->view && !view_wait_ready(p->view, 0);
}

static bool is_without_etcd(void *arg)
{
	const struct program *p = arg;

	return p->etcd && !etcd_is_up(p->etcd, NULL);
}

static const struct hindrance hindrances[] = {
	{is_draining, "draining"},
	{is_starting, "starting"},
	{is_without_etcd, "etcd"},
};

static int start_monitor(struct program *p, struct err *e)
{
	const struct monitor_conf conf = {
		.port = p->conf.metrics_port + METRICS_PORT_OFFSET,
		.hindrances = hindrances,
		.n_hindrances = ARRAY_SIZE(hindrances),
		.arg = p,
	};

	return p->conf.metrics_port ? monitor_start(&p->monitor, &conf, e) : 0;
}

/* The parts in order; release() undoes whatever of it came about. */
static int run(struct program *p, struct err *e)
{
	int ready_fd = service_take(SUPERVISE_READY);
	int r = heir_take(&p->heir, &p->mountpoint, p->options.mountpoint, e);

	if (r == 0 && p->heir.fd < 0)
		r = mountpoint_prepare(&p->mountpoint, p->options.mountpoint, e);
	if (r == 0 && !p->options.foreground)
		r = background_start(&ready_fd, e);
	if (r == 0)
		start_offspring(p);
	if (r == 0)
		r = daemon_init(p->conf.shutdown_timeout, e);
	if (r == 0)
		r = p->n_csv ? open_recording(p, e) : open_view(p, e);
	if (r == 0)
		r = start_monitor(p, e);
	if (r != 0)
		return MIN(r, 0);
	daemon_on_hup(on_hup, p);
	await_first_list(p);
	init_fs(p, ready_fd);
	r = open_session(p, e);
	if (r == 0)
		r = loop_run(p->session, &p->mountpoint, (unsigned)p->conf.fs_workers, on_stop, p,
			     e);
	if (r == 0)
		heir_leave_nothing();
	return r;
}

static void release(struct program *p)
{
	daemon_on_hup(NULL, NULL);
	monitor_stop(p->monitor);
	if (p->etcd)
		etcd_cancel(p->etcd);
	daemon_stop(); /* for whoever waits in between */
	watchdog_stop(p->watchdog);
	end_calls(p);
	heir_release(&p->heir);
	streams_stop(p->fs.streams);
	waits_stop(p->fs.waits);
	mountpoint_detach(&p->mountpoint); /* still there where the connection was aborted */
	row_reads_free(p->fs.reads);
	files_free(p->fs.files);
	streams_free(p->fs.streams);
	waits_free(p->fs.waits);
	if (p->session)
		fuse_session_destroy(p->session);
	inode_table_free(p->fs.inodes);
	saved_free(p->heir.saved);
	view_close(p->view);
	recording_close(p->recording);
	notifier_free(p->notifier);
	events_free(p->fs.events);
	toucher_free(p->toucher);
	guard_free(p->guard);
	etcd_close(p->etcd);
	free(p->csv);
	free(p->arguments);
	mountpoint_release(&p->mountpoint);
	mount_options_release(&p->options);
	conf_release(&p->conf);
}

static int run_supervised(struct program *p, char **argv, struct err *e)
{
	int ready_fd = -1;
	int r = p->options.foreground ? 0 : background_start(&ready_fd, e);

	return r < 0 ? r : supervise(argv, ready_fd);
}

static int run_program(int argc, char **argv)
{
	struct program p = {.heir = {.fd = -1}};
	struct err e = {""};
	int r;

	mount_options_init(&p.options);
	r = load_conf(&p, argc, argv);
	if (r != 0) {
		mount_options_release(&p.options);
		free(p.csv);
		free(p.arguments);
		return r > 0 ? 0 : 2;
	}
	stats_setup(CONF_FS, "gputel-fs");
	log_setup("fs", p.conf.service_id, (enum log_level)p.conf.log_level,
		  (enum log_format)p.conf.log_format);
	if (take_arguments(&p, &e) < 0) {
		log_error("%s", e.text);
		r = 2;
	} else if (!p.options.mountpoint) {
		log_error("MOUNTPOINT is missing (see --help)");
		r = 2;
	} else {
		take_source(&p);
		r = p.supervise ? run_supervised(&p, argv, &e) : run(&p, &e);
		if (r < 0)
			log_error("%s", e.text);
		r = r < 0 ? 1 : r;
	}
	release(&p);
	return r;
}

static int run_as_helper(int argc, char **argv)
{
	struct err e = {""};
	char **own = NULL;
	int n = 0, r = helper_argv(argc, argv, &own, &e);

	if (r < 0)
		fprintf(stderr, "%s: %s\n", argv[0], e.text);
	while (own && own[n])
		n++;
	r = r < 0 ? 2 : own ? run_program(n, own) : 0;
	helper_free(own);
	return helper_status(r);
}

int main(int argc, char **argv)
{
	service_init();
	return helper_is_meant(argv[0]) ? run_as_helper(argc, argv) : run_program(argc, argv);
}
