#include "conf_table.h"

#include "conf_demand.h"

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

#define ALL             CONF_ALL
#define STREAMER        CONF_STREAMER
#define COLLECTOR       CONF_COLLECTOR
#define FS              CONF_FS
#define BRIDGE          CONF_BRIDGE
#define VIEWS           (CONF_FS | CONF_BRIDGE)
#define QUEUE           (CONF_STREAMER | CONF_COLLECTOR)
#define SENDERS         (CONF_STREAMER | CONF_BRIDGE)
#define HELP(s)         .help = s
#define LIVE            .live = CONF_ALL
#define FILE_OF(demand) .check = (demand), .file = true

const struct conf_var conf_vars[] = {
	STRING("ETCD_ENDPOINTS", etcd_endpoints, "localhost:2379", ALL, .check = demand_endpoints,
	       HELP("etcd's endpoints, comma-separated; it fails over between them")),
	VALUE("ETCD_DIAL_TIMEOUT", DURATION, etcd_dial_timeout, "10s", 10 * MS, 10 * MINUTE, ALL,
	      HELP("longest wait for a connection to etcd")),
	VALUE("ETCD_REQUEST_TIMEOUT", DURATION, etcd_request_timeout, "5s", 10 * MS, 10 * MINUTE,
	      ALL, HELP("longest wait for an answer of etcd")),
	VALUE("ETCD_MAX_INFLIGHT", NUMBER, etcd_max_inflight, "64", 1, 1024, ALL,
	      HELP("most requests to etcd at a time")),
	STRING("ETCD_USERNAME", etcd_username, "", ALL, HELP("user of etcd")),
	STRING("ETCD_PASSWORD", etcd_password, "", ALL, HELP("and its password"), .secret = true),
	STRING("ETCD_CACERT", etcd_cacert, "", ALL, FILE_OF(demand_file),
	       HELP("PEM file of the CA that signed etcd's certificate")),
	STRING("ETCD_CERT", etcd_cert, "", ALL, FILE_OF(demand_file),
	       HELP("PEM file of the client certificate")),
	STRING("ETCD_KEY", etcd_key, "", ALL, FILE_OF(demand_file), HELP("PEM file of its key")),
	VALUE("ETCD_MAINTENANCE", BOOL, etcd_maintenance, "on", 0, 1, COLLECTOR,
	      HELP("compact etcd, watch its space and clear NOSPACE; off for a shared etcd")),
	VALUE("ETCD_QUOTA", SIZE, etcd_quota, "0", 0, 64 * TIB, QUEUE | BRIDGE,
	      HELP("quota of etcd's database; 0: as its /metrics say")),
	STRING("GPUTEL_PREFIX", gputel_prefix, "", ALL, .check = demand_prefix,
	       HELP("put in front of every key in etcd")),
	STRING("SERVICE_ID", service_id, NULL, ALL, .check = demand_id,
	       HELP("identity in logs and stats")),
	VALUE("MQ_BATCH_SIZE", NUMBER, mq_batch_size, "32", 1, 10000, QUEUE | BRIDGE,
	      HELP("most messages in one queue operation")),
	VALUE("MQ_MAX_RETRIES", NUMBER, mq_max_retries, "3", 1, 1000, COLLECTOR,
	      HELP("attempts at a message before it is dead-lettered")),
	VALUE("MQ_PROCESSING_TIMEOUT", DURATION, mq_processing_timeout, "30s", 2 * SEC, DAY,
	      QUEUE | BRIDGE,
	      HELP("lease of a session; what a dead one held is taken over after it")),
	VALUE("MQ_DEDUP_TTL", DURATION, mq_dedup_ttl, "24h", SEC, 10 * YEAR, SENDERS,
	      HELP("how long idempotency keys live")),
	VALUE("MQ_MESSAGE_TTL", DURATION, mq_message_ttl, "0", 0, 10 * YEAR, SENDERS,
	      HELP("age at which a queued message is dead-lettered; 0: never")),
	VALUE("THROTTLE_ENABLED", BOOL, throttle_enabled, "true", 0, 1, SENDERS, LIVE,
	      HELP("slow down while the queue is over a limit")),
	VALUE("THROTTLE_MAX_QUEUE_DEPTH", NUMBER, throttle_max_queue_depth, "10000", 1, 1000000000,
	      SENDERS, LIVE, HELP("limit of messages in the queue")),
	VALUE("THROTTLE_MAX_QUEUE_BYTES", SIZE, throttle_max_queue_bytes, "512MiB", KIB, 64 * TIB,
	      SENDERS, LIVE, HELP("limit of bytes in the queue")),
	VALUE("THROTTLE_MAX_LAG", DURATION, throttle_max_lag, "30s", 1 * MS, YEAR, SENDERS, LIVE,
	      HELP("limit of the oldest queued message's age")),
	VALUE("THROTTLE_RATE", FRACTION, throttle_rate, "0.5", 0, 1, SENDERS, LIVE,
	      HELP("share of the rate past a limit; past twice the limit it pauses")),
	VALUE("CIRCUIT_FAILURES", NUMBER, circuit_failures, "5", 0, 1000, ALL,
	      HELP("failures in a row that open an endpoint's circuit breaker; 0: none do")),
	VALUE("CIRCUIT_OPEN", DURATION, circuit_open, "5s", 10 * MS, HOUR, ALL,
	      HELP("how long an open circuit breaker stays so, unless etcd is seen to be back")),
	VALUE("STREAMER_BATCH_SIZE", NUMBER, streamer_batch_size, "8192", 1, 8192, STREAMER,
	      HELP("most rows in a message")),
	VALUE("STREAMER_FLUSH_INTERVAL", DURATION, streamer_flush_interval, "200ms", 1 * MS, HOUR,
	      STREAMER,
	      HELP("longest that a row waits for its message; 1 ms for each host in a window where "
		   "that is more")),
	VALUE("STREAMER_BUFFER", SIZE, streamer_buffer, "64MiB", 64 * KIB, TIB, STREAMER,
	      HELP("most bytes of rows read ahead")),
	STRING("STREAMER_ID", streamer_id, NULL, STREAMER, .check = demand_id,
	       HELP("identity of this streamer")),
	STRING("COLLECTOR_ID", collector_id, NULL, COLLECTOR, .check = demand_id,
	       HELP("identity of this collector; a random suffix makes it unique")),
	VALUE("COLLECTOR_WORKERS", NUMBER, collector_workers, "4", 1, 256, COLLECTOR,
	      HELP("threads that store")),
	VALUE("COLLECTOR_BATCH_SIZE", NUMBER, collector_batch_size, "64", 1, 10000, COLLECTOR,
	      HELP("most messages stored at a time")),
	VALUE("COLLECTOR_FLUSH_INTERVAL", DURATION, collector_flush_interval, "100ms", 1 * MS, HOUR,
	      COLLECTOR, HELP("longest that a message waits for its batch")),
	VALUE("COLLECTOR_BUFFER", SIZE, collector_buffer, "64MiB", 64 * KIB, TIB, COLLECTOR,
	      HELP("most bytes of messages held")),
	VALUE("RETENTION", DURATION, retention, "24h", 0, 10 * YEAR, COLLECTOR, LIVE,
	      HELP("how long a segment is kept after its last row was stored; 0: for ever")),
	VALUE("RETENTION_BYTES", SIZE, retention_bytes, "0", 0, TIB, COLLECTOR, LIVE,
	      HELP("the oldest segments are dropped where all together take more; 0: they are "
		   "not")),
	VALUE("SEGMENT", DURATION, segment, "1h", MINUTE, DAY, COLLECTOR | FS,
	      .check = demand_segment,
	      HELP("event time that one history file covers; fixed at first start")),
	VALUE("STALE_AFTER", DURATION, stale_after, "60s", 100 * MS, YEAR, VIEWS, .live = BRIDGE,
	      HELP("age at which a GPU is stale; ten times that: lost")),
	VALUE("FS_CACHE", SIZE, fs_cache, "256MiB", 64 * KIB, 16 * TIB, VIEWS, LIVE,
	      HELP("most bytes of contents kept in memory")),
	VALUE("FS_WORKERS", NUMBER, fs_workers, "10", 1, 256, FS,
	      HELP("threads that answer the kernel")),
	STRING("GATEWAY_HOST", gateway_host, "127.0.0.1", BRIDGE, .check = demand_host,
	       HELP("address to listen at, for REST and WebSocket")),
	VALUE("GATEWAY_PORT", NUMBER, gateway_port, "8080", 1, 65535, BRIDGE, HELP("and port")),
	STRING("GATEWAY_CORS_ORIGINS", gateway_cors_origins, "", BRIDGE, .check = demand_origins,
	       LIVE, HELP("origins whose pages may read, comma-separated; *: all")),
	STRING("GATEWAY_TOKENS_FILE", gateway_tokens_file, "", BRIDGE, FILE_OF(demand_plain_file),
	       LIVE, HELP("hashes of the tokens that may read and push; without it everybody may")),
	STRING("GATEWAY_RATE_LIMIT", gateway_rate_limit, "100/s:200", BRIDGE, .check = demand_rate,
	       LIVE, HELP("requests of one client, RATE/s:BURST; 0: any")),
	STRING("GATEWAY_TRUSTED_PROXIES", gateway_trusted_proxies, "", BRIDGE,
	       .check = demand_proxies, LIVE, HELP("whose Forwarded is believed, comma-separated")),
	STRING("GATEWAY_TLS_CERT", gateway_tls_cert, "", BRIDGE, FILE_OF(demand_file),
	       HELP("PEM file of the certificate and what leads to its CA")),
	STRING("GATEWAY_TLS_KEY", gateway_tls_key, "", BRIDGE, FILE_OF(demand_file),
	       HELP("PEM file of its key")),
	VALUE("WS_ENABLED", BOOL, ws_enabled, "true", 0, 1, BRIDGE, HELP("offer WebSockets")),
	VALUE("WS_MAX_CONNECTIONS", NUMBER, ws_max_connections, "1000", 1, 100000, BRIDGE,
	      HELP("most WebSockets at a time")),
	VALUE("WS_PING_INTERVAL", DURATION, ws_ping_interval, "30s", SEC, HOUR, BRIDGE,
	      HELP("after so much silence a WebSocket is asked whether it lives")),
	VALUE("SHUTDOWN_TIMEOUT", DURATION, shutdown_timeout, "30s", 0, DAY, ALL, LIVE,
	      HELP("longest that stopping may take")),
	VALUE("METRICS_PORT", NUMBER, metrics_port, "0", 0, 65533, QUEUE | FS,
	      HELP("port on 127.0.0.1 for /metrics, /healthz and /readyz: the streamer at this "
		   "one, "
		   "the collector at the next, the mount at the one after it; 0: none")),
	VALUE("LOG_LEVEL", WORD, log_level, "info", 0, 0, ALL, .words = log_levels, LIVE,
	      HELP("error, warn, info or debug")),
	VALUE("LOG_FORMAT", WORD, log_format, "text", 0, 0, ALL, .words = log_formats, LIVE,
	      HELP("text or json")),
};

const size_t conf_vars_count = ARRAY_SIZE(conf_vars);

void conf_vars_agree(const struct conf *c, void (*fault)(const char *text, void *arg), void *arg)
{
	if (!*c->etcd_cert != !*c->etcd_key)
		fault("ETCD_CERT and ETCD_KEY: expected both or none", arg);
	if (*c->etcd_password && !*c->etcd_username)
		fault("ETCD_PASSWORD: expected ETCD_USERNAME with it", arg);
	if (!*c->gateway_tls_cert != !*c->gateway_tls_key)
		fault("GATEWAY_TLS_CERT and GATEWAY_TLS_KEY: expected both or none", arg);
}
