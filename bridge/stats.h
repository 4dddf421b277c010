/* The bridge's own counters, for /metrics. Thread-safe. */
#ifndef GPUTEL_BRIDGE_STATS_H
#define GPUTEL_BRIDGE_STATS_H

#include "route.h"

struct stats;

struct stats *stats_new(void);
void stats_free(struct stats *s); /* NULL is fine */

/* route NULL: a path that is none; status 0: the client went before an answer. */
void stats_count_request(struct stats *s, const struct route *route, enum method method, int status,
			 int64_t us);

void stats_render(struct stats *s, struct strbuf *out);

#endif
