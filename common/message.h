/* A message's pointer: what moves through /queue, /processing and /deadletter while the payload
 * stays where it is. JSON, e.g.
 *	{"topic":"telemetry","host":"h1","source":"ab12…","sequence":7,"epoch":1,"part":0,"attempt":0,
 *	 "rows":320,"bytes":2113,"sha256":"…","schema":"v1","trace_id":"…","created_at":…,
 *	 "expires_at":0}
 * Times are nanoseconds since 1970. A part > 0 says how many parts of it are stored already. A dead
 * letter has a "reason", and where something stood that was no pointer, its bytes in base64 as
 * "raw". */
#ifndef GPUTEL_MESSAGE_H
#define GPUTEL_MESSAGE_H

#include "digest.h"
#include "strbuf.h"

#define MESSAGE_SCHEMA "v1"

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
};

void message_encode(struct strbuf *out, const struct message *m);
/* The pointer of ulid from its JSON. -EBADMSG with the reason in e; *ret is untouched then. */
int message_decode(const char *ulid, struct slice json, struct message *ret,
		   struct err *e) must_check;
void message_release(struct message *m);

#endif
