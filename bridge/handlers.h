/* The handlers of the route table (route.c), each in the file named. */
#ifndef GPUTEL_BRIDGE_HANDLERS_H
#define GPUTEL_BRIDGE_HANDLERS_H

#include "answer.h"

void handle_fs(struct request *q, struct answer *a); /* files.c */

void handle_healthz(struct request *q, struct answer *a); /* health.c */
void handle_readyz(struct request *q, struct answer *a);

void handle_site(struct request *q, struct answer *a); /* site.c */

void handle_websocket(struct request *q, struct answer *a); /* upgrade.c */

#endif
