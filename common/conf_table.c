#include "conf_table.h"

#include <unistd.h>

#include "cidr.h"
#include "parse.h"
#include "strbuf.h"

#define MS     1LL
#define SEC    (1000 * MS)
#define MINUTE (60 * SEC)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define YEAR   (365 * DAY)
#define KIB    1024LL
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)
#define TIB    (1024 * GIB)

/* ---- demands of single variables ------------------------------------------------------------- */

static bool is_port(const char *s, size_t n)
{
	uint64_t port = 0;

	return parse_u64((struct slice){s, n}, 65535, &port) == 0 && port > 0;
}

/* host:port or [v6]:port, with or without a scheme. */
static bool is_endpoint(const char *s, size_t n)
{
	static const char *const schemes[] = {"http://", "https://"};
	const char *colon;
	size_t host;

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		size_t len = strlen(schemes[i]);

		if (n > len && memcmp(s, schemes[i], len) == 0) {
			s += len;
			n -= len;
			break;
		}
	}
	colon = memrchr(s, ':', n);
	host = colon ? (size_t)(colon - s) : 0;
	if (host == 0 || !is_port(colon + 1, n - host - 1) || memchr(s, '/', n))
		return false;
	return s[0] == '[' ? s[host - 1] == ']' : !memchr(s, ':', host) && !memchr(s, '@', host);
}

static int check_endpoints(const char *text, int64_t v, struct err *e)
{
	int count = 0;

	for (const char *p = text; *p;) {
		size_t n = strcspn(p, ", \t");

		if (n && !is_endpoint(p, n))
			return err_set(e, -EINVAL,
				       "\"%.*s\" is not an endpoint (expected host:port, "
				       "http://host:port or https://host:port)",
				       (int)MIN(n, 200), p);
		count += n > 0;
		p += n + (p[n] != '\0');
	}
	if (count == 0)
		return err_set(e, -EINVAL,
			       "\"%s\" names no endpoint (expected host:port, comma-separated)",
			       text);
	return 0;
}

/* These become parts of keys and of log lines. */
static int check_id(const char *text, int64_t v, struct err *e)
{
	size_t n =
		strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");

	if (n == 0 || n > 128 || text[n])
		return err_set(e, -EINVAL,
			       "\"%.200s\" is not an identity (expected 1 to 128 characters of "
			       "letters, digits and ._:-)",
			       text);
	return 0;
}

static int check_prefix(const char *text, int64_t v, struct err *e)
{
	size_t n = 0;

	while ((unsigned char)text[n] > ' ' && text[n] != 0x7f)
		n++;
	if (text[n] || n > 256)
		return err_set(e, -EINVAL,
			       "\"%.300s\" is not a key prefix (expected at most 256 bytes without "
			       "blanks)",
			       text);
	return 0;
}

static int check_file(const char *text, int64_t v, struct err *e)
{
	if (*text && access(text, R_OK) < 0)
		return err_set(e, -EINVAL, "\"%.300s\" cannot be read: %s (expected a PEM file)",
			       text, strerror(errno));
	return 0;
}

static int check_plain_file(const char *text, int64_t v, struct err *e)
{
	if (*text && access(text, R_OK) < 0)
		return err_set(e, -EINVAL, "\"%.300s\" cannot be read: %s", text, strerror(errno));
	return 0;
}

/* Calls fn for each item of a comma-separated list until one is refused. */
static int check_list(const char *text, bool (*fits)(struct slice item), const char *expected,
		      struct err *e)
{
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, ", \t");

		if (n && !fits((struct slice){p, n}))
			return err_set(e, -EINVAL, "\"%.*s\" does not fit (expected %s)",
				       (int)MIN(n, 200), p, expected);
		p += n + (p[n] != '\0');
	}
	return 0;
}

static bool is_cidr(struct slice item)
{
	struct cidr c;

	return cidr_parse(item, &c) == 0;
}

static int check_proxies(const char *text, int64_t v, struct err *e)
{
	return check_list(text, is_cidr, "addresses or networks, e.g. 10.0.0.0/8, ::1", e);
}

/* scheme://host[:port], as browsers send it. */
static bool is_origin(struct slice item)
{
	const char *host = memmem(item.p, item.len, "://", 3);

	if (item.len == 1 && item.p[0] == '*')
		return true;
	return host && host > item.p && host + 3 < item.p + item.len &&
	       !memchr(host + 3, '/', (size_t)(item.p + item.len - host - 3));
}

static int check_origins(const char *text, int64_t v, struct err *e)
{
	return check_list(text, is_origin, "origins, e.g. https://grafana.example:3000, or *", e);
}

static int check_rate(const char *text, int64_t v, struct err *e)
{
	int64_t rate, burst;

	if (parse_rate(slice_str(text), &rate, &burst))
		return err_set(e, -EINVAL,
			       "\"%.200s\" is not a rate (expected e.g. 100/s:200, or 0)", text);
	return 0;
}

static int check_host(const char *text, int64_t v, struct err *e)
{
	if (!*text || strpbrk(text, " \t/"))
		return err_set(e, -EINVAL,
			       "\"%.200s\" is not an address (expected e.g. 127.0.0.1, ::, a name)",
			       text);
	return 0;
}

static int check_segment(const char *text, int64_t v, struct err *e)
{
	if (DAY % v)
		return err_set(
			e, -EINVAL,
			"\"%s\" does not divide a day evenly (expected e.g. 1m, 15m, 1h, 24h)",
			text);
	return 0;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* In the order of enum log_level and enum log_format. */
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_formats[] = {"text", "json", NULL};

#define AT(field) .offset = offsetof(struct conf, field)

#define STRING(var, field, text, who, ...)                                                         \
	{                                                                                          \
		.name = var, .type = CONF_STRING, AT(field), .fallback = text, .programs = who,    \
		__VA_ARGS__                                                                        \
	}
#define VALUE(var, kind, field, text, low, high, who, ...)                                         \
	{                                                                                          \
		.name = var, .type = CONF_##kind, AT(field), .fallback = text, .min = low,         \
		.max = high, .programs = who, __VA_ARGS__                                          \
	}

#define ALL       CONF_ALL
#define STREAMER  CONF_STREAMER
#define COLLECTOR CONF_COLLECTOR
#define FS        CONF_FS
#define BRIDGE    CONF_BRIDGE
#define VIEWS     (CONF_FS | CONF_BRIDGE)
#define QUEUE     (CONF_STREAMER | CONF_COLLECTOR)
#define HELP(s)   .help = s

const struct conf_var conf_vars[] = {
	STRING("ETCD_ENDPOINTS", etcd_endpoints, "localhost:2379", ALL, .check = check_endpoints,
	       HELP("etcd's endpoints, comma-separated; it fails over between them")),
	VALUE("ETCD_DIAL_TIMEOUT", DURATION, etcd_dial_timeout, "10s", 10 * MS, 10 * MINUTE, ALL,
	      HELP("longest wait for a connection to etcd")),
	VALUE("ETCD_REQUEST_TIMEOUT", DURATION, etcd_request_timeout, "5s", 10 * MS, 10 * MINUTE,
	      ALL, HELP("longest wait for an answer of etcd")),
	VALUE("ETCD_MAX_INFLIGHT", NUMBER, etcd_max_inflight, "64", 1, 1024, ALL,
	      HELP("most requests to etcd at a time")),
	STRING("ETCD_USERNAME", etcd_username, "", ALL, HELP("user of etcd")),
	STRING("ETCD_PASSWORD", etcd_password, "", ALL, HELP("and its password"), .secret = true),
	STRING("ETCD_CACERT", etcd_cacert, "", ALL, .check = check_file,
	       HELP("PEM file of the CA that signed etcd's certificate")),
	STRING("ETCD_CERT", etcd_cert, "", ALL, .check = check_file,
	       HELP("PEM file of the client certificate")),
	STRING("ETCD_KEY", etcd_key, "", ALL, .check = check_file, HELP("PEM file of its key")),
	VALUE("ETCD_MAINTENANCE", BOOL, etcd_maintenance, "on", 0, 1, COLLECTOR,
	      HELP("compact etcd, watch its space and clear NOSPACE; off for a shared etcd")),
	VALUE("ETCD_QUOTA", SIZE, etcd_quota, "0", 0, 64 * TIB, QUEUE,
	      HELP("quota of etcd's database; 0: as its /metrics say")),
	STRING("GPUTEL_PREFIX", gputel_prefix, "", ALL, .check = check_prefix,
	       HELP("put in front of every key in etcd")),
	STRING("SERVICE_ID", service_id, NULL, ALL, .check = check_id,
	       HELP("identity in logs and stats")),
	VALUE("MQ_BATCH_SIZE", NUMBER, mq_batch_size, "32", 1, 10000, QUEUE,
	      HELP("most messages in one queue operation")),
	VALUE("MQ_MAX_RETRIES", NUMBER, mq_max_retries, "3", 1, 1000, COLLECTOR,
	      HELP("attempts at a message before it is dead-lettered")),
	VALUE("MQ_PROCESSING_TIMEOUT", DURATION, mq_processing_timeout, "30s", 2 * SEC, DAY, QUEUE,
	      HELP("lease of a session; what a dead one held is taken over after it")),
	VALUE("MQ_DEDUP_TTL", DURATION, mq_dedup_ttl, "24h", SEC, 10 * YEAR, STREAMER,
	      HELP("how long idempotency keys live")),
	VALUE("MQ_MESSAGE_TTL", DURATION, mq_message_ttl, "0", 0, 10 * YEAR, STREAMER,
	      HELP("age at which a queued message is dead-lettered; 0: never")),
	VALUE("THROTTLE_ENABLED", BOOL, throttle_enabled, "true", 0, 1, STREAMER,
	      HELP("slow down while the queue is over a limit")),
	VALUE("THROTTLE_MAX_QUEUE_DEPTH", NUMBER, throttle_max_queue_depth, "10000", 1, 1000000000,
	      STREAMER, HELP("limit of messages in the queue")),
	VALUE("THROTTLE_MAX_QUEUE_BYTES", SIZE, throttle_max_queue_bytes, "512MiB", KIB, 64 * TIB,
	      STREAMER, HELP("limit of bytes in the queue")),
	VALUE("THROTTLE_MAX_LAG", DURATION, throttle_max_lag, "30s", 1 * MS, YEAR, STREAMER,
	      HELP("limit of the oldest queued message's age")),
	VALUE("THROTTLE_RATE", FRACTION, throttle_rate, "0.5", 0, 1, STREAMER,
	      HELP("share of the rate past a limit; past twice the limit it pauses")),
	VALUE("CIRCUIT_FAILURES", NUMBER, circuit_failures, "5", 0, 1000, ALL,
	      HELP("failures in a row that open an endpoint's circuit breaker; 0: none do")),
	VALUE("CIRCUIT_OPEN", DURATION, circuit_open, "5s", 10 * MS, HOUR, ALL,
	      HELP("how long an open circuit breaker stays so")),
	VALUE("STREAMER_BATCH_SIZE", NUMBER, streamer_batch_size, "8192", 1, 8192, STREAMER,
	      HELP("most rows in a message")),
	VALUE("STREAMER_FLUSH_INTERVAL", DURATION, streamer_flush_interval, "200ms", 1 * MS, HOUR,
	      STREAMER,
	      HELP("longest that a row waits for its message; 1 ms for each host in a window where "
		   "that is more")),
	VALUE("STREAMER_BUFFER", SIZE, streamer_buffer, "64MiB", 64 * KIB, TIB, STREAMER,
	      HELP("most bytes of rows read ahead")),
	STRING("STREAMER_ID", streamer_id, NULL, STREAMER, .check = check_id,
	       HELP("identity of this streamer")),
	STRING("COLLECTOR_ID", collector_id, NULL, COLLECTOR, .check = check_id,
	       HELP("identity of this collector; a random suffix makes it unique")),
	VALUE("COLLECTOR_WORKERS", NUMBER, collector_workers, "4", 1, 256, COLLECTOR,
	      HELP("threads that store")),
	VALUE("COLLECTOR_BATCH_SIZE", NUMBER, collector_batch_size, "64", 1, 10000, COLLECTOR,
	      HELP("most messages stored at a time")),
	VALUE("COLLECTOR_FLUSH_INTERVAL", DURATION, collector_flush_interval, "100ms", 1 * MS, HOUR,
	      COLLECTOR, HELP("longest that a message waits for its batch")),
	VALUE("COLLECTOR_BUFFER", SIZE, collector_buffer, "64MiB", 64 * KIB, TIB, COLLECTOR,
	      HELP("most bytes of messages held")),
	VALUE("RETENTION", DURATION, retention, "24h", 0, 10 * YEAR, COLLECTOR,
	      HELP("how long a segment is kept after its last row was stored; 0: for ever")),
	VALUE("RETENTION_BYTES", SIZE, retention_bytes, "0", 0, TIB, COLLECTOR,
	      HELP("the oldest segments are dropped where all together take more; 0: they are "
		   "not")),
	VALUE("SEGMENT", DURATION, segment, "1h", MINUTE, DAY, COLLECTOR | FS,
	      .check = check_segment,
	      HELP("event time that one history file covers; fixed at first start")),
	VALUE("STALE_AFTER", DURATION, stale_after, "60s", 100 * MS, YEAR, VIEWS,
	      HELP("age at which a GPU is stale; ten times that: lost")),
	VALUE("FS_CACHE", SIZE, fs_cache, "256MiB", 64 * KIB, 16 * TIB, VIEWS,
	      HELP("most bytes of contents kept in memory")),
	VALUE("FS_WORKERS", NUMBER, fs_workers, "10", 1, 256, FS,
	      HELP("threads that answer the kernel")),
	STRING("GATEWAY_HOST", gateway_host, "127.0.0.1", BRIDGE, .check = check_host,
	       HELP("address to listen at, for REST and WebSocket")),
	VALUE("GATEWAY_PORT", NUMBER, gateway_port, "8080", 1, 65535, BRIDGE, HELP("and port")),
	STRING("GATEWAY_CORS_ORIGINS", gateway_cors_origins, "", BRIDGE, .check = check_origins,
	       HELP("origins whose pages may read, comma-separated; *: all")),
	STRING("GATEWAY_TOKENS_FILE", gateway_tokens_file, "", BRIDGE, .check = check_plain_file,
	       HELP("hashes of the tokens that may read; without it everybody may")),
	STRING("GATEWAY_RATE_LIMIT", gateway_rate_limit, "100/s:200", BRIDGE, .check = check_rate,
	       HELP("requests of one client, RATE/s:BURST; 0: any")),
	STRING("GATEWAY_TRUSTED_PROXIES", gateway_trusted_proxies, "", BRIDGE,
	       .check = check_proxies, HELP("whose Forwarded is believed, comma-separated")),
	STRING("GATEWAY_TLS_CERT", gateway_tls_cert, "", BRIDGE, .check = check_file,
	       HELP("PEM file of the certificate and what leads to its CA")),
	STRING("GATEWAY_TLS_KEY", gateway_tls_key, "", BRIDGE, .check = check_file,
	       HELP("PEM file of its key")),
	VALUE("WS_ENABLED", BOOL, ws_enabled, "true", 0, 1, BRIDGE, HELP("offer WebSockets")),
	VALUE("WS_MAX_CONNECTIONS", NUMBER, ws_max_connections, "1000", 1, 100000, BRIDGE,
	      HELP("most WebSockets at a time")),
	VALUE("WS_PING_INTERVAL", DURATION, ws_ping_interval, "30s", SEC, HOUR, BRIDGE,
	      HELP("after so much silence a WebSocket is asked whether it lives")),
	VALUE("SHUTDOWN_TIMEOUT", DURATION, shutdown_timeout, "30s", 0, DAY, ALL,
	      HELP("longest that stopping may take")),
	VALUE("LOG_LEVEL", WORD, log_level, "info", 0, 0, ALL, .words = log_levels,
	      HELP("error, warn, info or debug")),
	VALUE("LOG_FORMAT", WORD, log_format, "text", 0, 0, ALL, .words = log_formats,
	      HELP("text or json")),
};

const size_t conf_vars_count = ARRAY_SIZE(conf_vars);

/* ---- types ----------------------------------------------------------------------------------- */

struct unit {
	const char *name;
	int64_t factor;
};

/* For showing limits: the largest that leaves no rest is taken. */
static const struct unit durations[] = {{"h", HOUR}, {"m", MINUTE}, {"s", SEC}, {"ms", MS}};
static const struct unit sizes[] = {
	{"TiB", TIB}, {"GiB", GIB}, {"MiB", MIB}, {"KiB", KIB}, {"B", 1}};

static const struct type {
	const char *noun, *example;
	const struct unit *units;
} types[] = {
	[CONF_NUMBER] = {"number", NULL, NULL},
	[CONF_BOOL] = {"boolean", "true or false", NULL},
	[CONF_DURATION] = {"duration", "e.g. 250ms, 10s, 5m, 24h", durations},
	[CONF_SIZE] = {"size", "e.g. 64KiB, 8MiB or a number of bytes", sizes},
	[CONF_FRACTION] = {"fraction", NULL, NULL},
};

static void add_limit(struct strbuf *b, const struct unit *u, int64_t v)
{
	if (!u || v == 0) {
		strbuf_addf(b, "%lld", (long long)v);
		return;
	}
	while (v % u->factor)
		u++;
	strbuf_addf(b, "%lld%s", (long long)(v / u->factor), u->name);
}

static int out_of_range(const struct conf_var *v, const char *text, struct err *e)
{
	const struct unit *units = types[v->type].units;
	struct strbuf range;

	strbuf_init(&range, 128);
	add_limit(&range, units, v->min);
	strbuf_adds(&range, " to ");
	add_limit(&range, units, v->max);
	err_set(e, -EINVAL, "\"%.200s\" is out of range (expected %s)", text, range.s);
	strbuf_release(&range);
	return -EINVAL;
}

static int malformed(const struct conf_var *v, const char *text, struct err *e)
{
	const struct type *t = &types[v->type];

	if (t->example)
		return err_set(e, -EINVAL, "\"%.200s\" is not a %s (expected %s)", text, t->noun,
			       t->example);
	return err_set(e, -EINVAL, "\"%.200s\" is not a %s (expected %lld to %lld)", text, t->noun,
		       (long long)v->min, (long long)v->max);
}

static int unknown_word(const struct conf_var *v, const char *text, struct err *e)
{
	struct strbuf list;

	strbuf_init(&list, 256);
	for (size_t i = 0; v->words[i]; i++)
		strbuf_addf(&list, "%s%s", i ? ", " : "", v->words[i]);
	err_set(e, -EINVAL, "\"%.200s\" is not known (expected one of %s)", text, list.s);
	strbuf_release(&list);
	return -EINVAL;
}

static int parse_word(const struct conf_var *v, const char *text, int64_t *ret)
{
	for (size_t i = 0; v->words[i]; i++) {
		if (strcmp(v->words[i], text) == 0) {
			*ret = (int64_t)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_whole(const struct conf_var *v, const char *text, int64_t *ret)
{
	struct slice s = slice_str(text);
	int r;

	if (v->type == CONF_NUMBER)
		return parse_i64(s, v->min, v->max, ret);
	r = v->type == CONF_DURATION ? parse_duration_ms(s, ret) : parse_size(s, ret);
	return r == 0 && (*ret < v->min || *ret > v->max) ? -ERANGE : r;
}

static int store(const struct conf_var *v, const char *text, void *at, int64_t *ret)
{
	struct slice s = slice_str(text);
	int r;

	switch (v->type) {
	case CONF_STRING:
		free(*(char **)at);
		*(char **)at = xstrdup(text);
		return 0;
	case CONF_BOOL:
		return parse_bool(s, at);
	case CONF_FRACTION:
		return parse_fraction(s, (double)v->min, (double)v->max, at);
	case CONF_WORD:
		return parse_word(v, text, at);
	default:
		r = parse_whole(v, text, ret);
		if (r == 0)
			*(int64_t *)at = *ret;
		return r;
	}
}

int conf_var_set(const struct conf_var *v, const char *text, struct conf *c, struct err *e)
{
	int64_t value = 0;
	int r = store(v, text, (char *)c + v->offset, &value);

	if (r == -ERANGE)
		return out_of_range(v, text, e);
	if (r < 0)
		return v->type == CONF_WORD ? unknown_word(v, text, e) : malformed(v, text, e);
	return v->check ? v->check(text, value, e) : 0;
}

void conf_vars_agree(const struct conf *c, void (*fault)(const char *text, void *arg), void *arg)
{
	if (!*c->etcd_cert != !*c->etcd_key)
		fault("ETCD_CERT and ETCD_KEY: expected both or none", arg);
	if (*c->etcd_password && !*c->etcd_username)
		fault("ETCD_PASSWORD: expected ETCD_USERNAME with it", arg);
	if (!*c->gateway_tls_cert != !*c->gateway_tls_key)
		fault("GATEWAY_TLS_CERT and GATEWAY_TLS_KEY: expected both or none", arg);
}
