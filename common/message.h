/* A message's pointer: what moves through /queue, /processing and /deadletter while the payload
 * stays where it is. JSON, e.g.
 *	{"topic":"telemetry","host":"h1","source":"ab12…","sequence":7,"epoch":1,"part":0,"attempt":0,
 *	 "rows":320,"bytes":2113,"sha256":"…","schema":"v1","trace_id":"…","created_at":…,
 *	 "expires_at":0}
 * Times are nanoseconds since 1970; those of others may also be RFC 3339. A part > 0 says how many
 * parts of it are done already. A dead letter has a "reason", and where something stood that was no
 * pointer, its bytes in base64 as "raw".
 *
 * host and schema are needed, and sha256 with schema v1; what else is not there is "" or 0, and
 *null is not there. Foreign programs enqueue the older schemas (collector/migration.h):
 *	{"host":"h1","schema":"v1beta1"} */
#ifndef GPUTEL_MESSAGE_H
#define GPUTEL_MESSAGE_H

#include "digest.h"
#include "strbuf.h"

#define MESSAGE_SCHEMA      "v1"      /* a batch (batch.h) */
#define MESSAGE_SCHEMA_WIDE "v1beta1" /* a JSON array of wide records (record.h) */
#define MESSAGE_SCHEMA_LONG "v1beta2" /* a JSON array of long records */
#define MESSAGE_SCHEMAS     "v1, v1beta1, v1beta2"

#define MESSAGE_BYTES_MAX (1536 * 1024) /* of a payload: etcd takes no larger one */

#define TRACE_ID_LEN 32 /* hex, as in https://www.w3.org/TR/trace-context/ */

struct message {
	char ulid[ULID_LEN + 1];
	char *topic, *host; /* host: as the source wrote it */
	char *source;       /* "" of a foreign message */
	char *schema, *trace_id;
	char *reason; /* of a dead letter; else NULL */
	char *raw;    /* base64 of what stood where a pointer should; else NULL */
	int64_t sequence, epoch, part, attempt, rows, bytes;
	int64_t created_ns, expires_ns; /* expires_ns 0: never */
	uint8_t sha256[SHA256_LEN];
	bool no_sha256; /* a foreign one without it */
};

/* What to reckon with for its payload. */
static inline size_t message_bytes(const struct message *m)
{
	return m->bytes ? (size_t)m->bytes : MESSAGE_BYTES_MAX;
}

void message_encode(struct strbuf *out, const struct message *m);
/* The pointer of ulid from its JSON. -EBADMSG with the reason in e; *ret is untouched then. */
int message_decode(const char *ulid, struct slice json, struct message *ret,
		   struct err *e) must_check;
void message_release(struct message *m);

#endif
