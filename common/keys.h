/* The keys of etcd, each spelled here and nowhere else (DESIGN §4), and the encoding of names in
 * keys and paths. GPUTEL_PREFIX is not part of them; the client adds it (etcd.h). */
#ifndef GPUTEL_KEYS_H
#define GPUTEL_KEYS_H

#include "base.h"
#include "strbuf.h"

#define KEY_QUEUE       "/queue/telemetry/"
#define KEY_PAYLOAD     "/payload/telemetry/"
#define KEY_PROCESSING  "/processing/"
#define KEY_CONSUMERS   "/consumers/"
#define KEY_PRODUCERS   "/producers/"
#define KEY_IDLE        "/idle/"
#define KEY_PROCESSED   "/processed/"
#define KEY_WRITERS     "/telemetry/writers/"
#define KEY_GPUS        "/telemetry/gpus/"
#define KEY_DATA        "/telemetry/data/"
#define KEY_BODY        "/telemetry/body/"
#define KEY_CONFIG      "/telemetry/config"
#define KEY_DEADLETTER  "/deadletter/telemetry/"
#define KEY_STATS       "/stats/"
#define KEY_STATS_TOTAL "/stats/total"
#define KEY_NOTHING     "/nothing" /* never there: deleting it sends a read through raft */

/* What readers of the store mirror: config, data and gpus, but neither bodies nor writers. The
 * three lie next to one another, so that one watch brings all events of a revision in one piece. */
#define KEY_VIEW     KEY_CONFIG
#define KEY_VIEW_END "/telemetry/gpus0"

#define NAME_MAX_ENCODED 255 /* of a path component */
#define KEY_MAX          640 /* bytes of the longest key, with its NUL */

struct key {
	char s[KEY_MAX];
};

/* Appends name with every byte outside [A-Za-z0-9._:{}=",-], and a leading dot, as %XX; also the
 * first byte of a name that a fixed file has where hosts or GPUs are listed (README, latest.csv).
 */
void name_encode(struct strbuf *out, struct slice name);
/* As text in buf; -ENAMETOOLONG past 255 bytes, -EINVAL for the empty name. */
int name_encode_to(char buf[NAME_MAX_ENCODED + 1], struct slice name) must_check;
/* The other way; -EINVAL: not what name_encode writes (so that a name has one spelling). */
int name_decode(struct strbuf *out, struct slice encoded) must_check;

struct key key_queue(const char *ulid);
struct key key_payload(const char *ulid);
struct key key_deadletter(const char *ulid);
struct key key_processing(const char *consumer, int64_t claimed_ns, const char *ulid);
struct key key_consumer(const char *consumer);
struct key key_producer(const char *source);
struct key key_producer_owner(const char *source);
struct key key_idle(const char *source);
struct key key_processed(const uint8_t sha256[32]);
struct key key_stats(const char *consumer, int worker);
/* host and gpu encoded. */
struct key key_writer(const char *host);
struct key key_gpu(const char *host, const char *gpu);
struct key key_data(const char *host, const char *gpu, int64_t first_ns, const char *ulid);
struct key key_body(const char *host, const char *gpu, int64_t first_ns, const char *ulid);
/* Where the chunks of [from_ns, …) begin in a GPU's range: a bound, no key. Unsigned, because the
 * end of the last segment of time does not fit int64. */
struct key key_data_from(const char *host, const char *gpu, uint64_t from_ns);
struct key key_body_from(const char *host, const char *gpu, uint64_t from_ns);
/* base + name + "/": the prefix of one host's keys under KEY_GPUS, KEY_DATA, … */
struct key key_under(const char *base, const char *name);

/* Where the keys with this prefix end (its last byte is none of 0xff). */
struct key key_prefix_end(const char *prefix);

/* A parsed key of a chunk: /telemetry/data/{host}/{gpu}/{timestamp}_{ULID}. */
struct data_key {
	struct slice host, gpu; /* encoded */
	int64_t first_ns;
	char ulid[27];
};
int key_parse_data(struct slice key, struct data_key *ret) must_check; /* -EINVAL */
int key_parse_gpu(struct slice key, struct slice *ret_host, struct slice *ret_gpu) must_check;
/* The source of a producer's record; its owner's key is none. -EINVAL */
int key_parse_producer(struct slice key, struct slice *ret_source) must_check;
/* The last component of a queue, payload or dead-letter key, or of a processing key. -EINVAL */
int key_parse_ulid(struct slice key, char ret[27]) must_check;
int key_parse_processing(struct slice key, struct slice *ret_consumer,
			 char ret_ulid[27]) must_check;

#endif
