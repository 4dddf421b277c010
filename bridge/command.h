/* What a client says over its WebSocket, one JSON object a message:
 *	{"op":"subscribe","id":"a","host":"h*","gpu":["0","1"],"uuid":…,"metric":…,"since":REV}
 *	{"op":"subscribe","id":"b","path":"<host>/<gpu>/telemetry.csv","offset":N}
 *	{"op":"unsubscribe","id":"a"}
 * id is "" where it is left out. A command that is refused is answered with
 *	{"error":{"status":400,"detail":"…"},"id":"a"}
 * and changes nothing. */
#ifndef GPUTEL_BRIDGE_COMMAND_H
#define GPUTEL_BRIDGE_COMMAND_H

#include "subscriber.h"

#define COMMAND_MAX ((size_t)64 << 10) /* bytes of a message */

/* The subscription of a connection that named no filter: everything, until it subscribes. No id
 * that a client would choose. */
#define EVERYTHING "\001everything"

void command_run(struct subscriber *s, struct slice text);
/* The same answer, for what is refused elsewhere. id may be NULL. */
void command_refuse(struct subscriber *s, int status, const char *detail, const char *id);

#endif
