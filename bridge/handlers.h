/* The handlers of the route table (route.c), each in the file named. */
#ifndef GPUTEL_BRIDGE_HANDLERS_H
#define GPUTEL_BRIDGE_HANDLERS_H

#include "answer.h"

void handle_fs(struct request *q, struct answer *a); /* files.c */
bool fs_waits(const struct request *q);

void handle_telemetry(struct request *q, struct answer *a); /* telemetry.c */

void handle_gpus(struct request *q, struct answer *a); /* fleet.c */
void handle_gpu(struct request *q, struct answer *a);
void handle_hosts(struct request *q, struct answer *a);
void handle_host_gpus(struct request *q, struct answer *a);
void handle_latest(struct request *q, struct answer *a);

void handle_fleet_metrics(struct request *q, struct answer *a); /* status.c */
void handle_queue(struct request *q, struct answer *a);
void handle_own_metrics(struct request *q, struct answer *a);
void status_report(void *gateway); /* sets what /metrics shows: a hook of stats.h */

void handle_ingest(struct request *q, struct answer *a); /* ingest.c */

void handle_openapi(struct request *q, struct answer *a); /* openapi.c */

void handle_healthz(struct request *q, struct answer *a); /* health.c */
void handle_readyz(struct request *q, struct answer *a);

void handle_site(struct request *q, struct answer *a); /* site.c */

void handle_stream(struct request *q, struct answer *a);    /* sse.c */
void handle_websocket(struct request *q, struct answer *a); /* upgrade.c */

#endif
