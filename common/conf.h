/* Configuration: one table of variables, from flags, environment, a file and defaults.
 *
 * Every variable NAME_OF_IT is also a flag --name-of-it VALUE (or --name-of-it=VALUE). Precedence:
 * flag > environment > file (--config, KEY=VALUE lines as systemd's EnvironmentFile) > default. A
 * malformed value is an error that names variable, value and expected form; it never becomes the
 * default. An unknown name in the file is an error; in the environment it is not ours.
 *
 * The options that belong to one program alone (--csv, --drain, …) stand in its own table and are
 * parsed in the same pass. --help, --print-config and the rest of DESIGN §2's common options are
 * handled here, so that they cannot disagree; so are examples/gputel.conf (--print-config=sample)
 * and the manual pages' sections on options and variables (--print-config=man). */
#ifndef GPUTEL_CONF_H
#define GPUTEL_CONF_H

#include "base.h"

/* Which programs know a variable. */
enum {
	CONF_STREAMER = 1,
	CONF_COLLECTOR = 2,
	CONF_FS = 4,
	CONF_BRIDGE = 8,
	CONF_ALL = 15,
};

/* The variables, as one struct. Durations are milliseconds, sizes bytes. Strings are never NULL. */
struct conf {
	char *etcd_endpoints;
	int64_t etcd_dial_timeout, etcd_request_timeout, etcd_max_inflight;
	char *etcd_username, *etcd_password, *etcd_cacert, *etcd_cert, *etcd_key;
	bool etcd_maintenance;
	int64_t etcd_quota; /* 0: ask etcd */
	char *gputel_prefix, *service_id;
	int64_t mq_batch_size, mq_max_retries, mq_processing_timeout, mq_dedup_ttl, mq_message_ttl;
	bool throttle_enabled;
	int64_t throttle_max_queue_depth, throttle_max_queue_bytes, throttle_max_lag;
	double throttle_rate;
	int64_t circuit_failures, circuit_open;
	int64_t streamer_batch_size, streamer_flush_interval, streamer_buffer;
	char *streamer_id;
	char *collector_id;
	int64_t collector_workers, collector_batch_size, collector_flush_interval, collector_buffer;
	int64_t retention, retention_bytes, segment;
	int64_t stale_after;
	int64_t fs_cache, fs_workers;
	char *gateway_host;
	int64_t gateway_port;
	char *gateway_cors_origins, *gateway_tokens_file, *gateway_rate_limit;
	char *gateway_trusted_proxies, *gateway_tls_cert, *gateway_tls_key;
	bool ws_enabled;
	int64_t ws_max_connections, ws_ping_interval;
	int64_t shutdown_timeout;
	int64_t metrics_port;          /* 0: none */
	int64_t log_level, log_format; /* enum log_level, enum log_format */
};

/* An option of one program. */
struct conf_option {
	const char *name; /* without dashes: "csv" */
	char letter;      /* short form, or 0 */
	const char *arg;  /* what --help shows for its value ("FILE"); NULL: takes none;
			   * "[=DURATION]": may have one, by = only */
	const char *help;
	/* Called for each occurrence, in order; value is NULL where there was none. A non-zero
	 * return is a usage error with its text in e. */
	int (*set)(const char *value, void *arg, struct err *e);
};

struct conf_program {
	const char *name;     /* "gputel-streamer" */
	unsigned bit;         /* CONF_STREAMER … */
	const char *synopsis; /* after the name in --help: "--csv FILE… [option…]" */
	const char *about;    /* one paragraph */
	const struct conf_option *options;
	size_t n_options;
	/* Called for each argument that is no option; NULL: there are none. */
	int (*argument)(const char *value, void *arg, struct err *e);
	/* Called when all is parsed: what must hold together. Under --check-config only if an
	 * option or argument of the program itself was given, so that file and environment can be
	 * checked alone; under --print-config never. */
	int (*check)(const struct conf *c, void *arg, struct err *e);
	void *arg;
};

/* Parses everything and sets up the log. Returns 0 to go on; > 0: done (help, version, print,
 * check), exit 0; < 0: exit 2, the faults are on stderr already. c needs releasing only after 0.
 * One configuration at a time; argv is kept for conf_reload. */
int conf_load(struct conf *c, const struct conf_program *p, int argc, char **argv) must_check;
void conf_release(struct conf *c);

/* Re-reads the file for SIGHUP into a fresh copy. What may change at run time (conf_table.c: live)
 * is taken over into c, and the log adjusted; of the rest that differs a line says that a restart
 * is needed. False: there are faults, which are logged, and all stays as it was.
 *
 * It runs on the signal thread (daemon_on_hup), and once other threads exist only that one reads
 * what may change: the hook hands it on to who works with it. */
bool conf_reload(struct conf *c);

struct etcd_conf;
/* The client's part of the configuration; borrows c's strings. */
void conf_etcd(const struct conf *c, struct etcd_conf *ret);

extern const char gputel_version[];

#endif
