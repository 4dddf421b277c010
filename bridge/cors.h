/* Which pages of other origins may read (GATEWAY_CORS_ORIGINS), and the headers that tell browsers.
 * An origin that is not in the list gets none of them. */
#ifndef GPUTEL_BRIDGE_CORS_H
#define GPUTEL_BRIDGE_CORS_H

#include "answer.h"

struct origins; /* thread-safe */

struct origins *origins_new(const char *list); /* well-formed (conf_table.c) */
void origins_set(struct origins *o, const char *list);
void origins_free(struct origins *o); /* NULL is fine */
bool origins_have(struct origins *o, const char *origin);

/* To every answer. */
void cors_headers(struct answer *a, const struct request *q);
/* To the answer of an OPTIONS with Access-Control-Request-Method. allow: the methods, "GET, HEAD".
 */
void cors_preflight(struct answer *a, const struct request *q, const char *allow);

#endif
