/* Live sources of this process, exporters and its machine's GPUs, from start to end: they put rows
 * into one buffer (live.h), which is published until a stop is asked for. */
#ifndef GPUTEL_AGENT_H
#define GPUTEL_AGENT_H

#include "sampler.h"
#include "scrape.h"

struct agent_conf {
	struct live_conf live;
	struct scrape_conf scrape;   /* n 0: none; live is the agent's own business */
	struct sampler_conf sampler; /* interval_ms 0: none; as above */
};

/* Until a stop is asked for, and all that was taken in is published then (0). -ETIME: the
 * drain's deadline came first, e says what is lost. Else what made going on impossible. */
int agent_run(const struct agent_conf *conf, struct feed_stats *stats, struct err *e) must_check;

#endif
