#include "agent.h"

#include "daemon.h"

static int run_sources(const struct agent_conf *conf, struct live *live, struct err *e)
{
	struct scrape_conf scrape_conf = conf->scrape;
	struct sampler_conf sampler_conf = conf->sampler;
	struct scrape *scrape = NULL;
	struct sampler *sampler = NULL;
	int r = 0;

	scrape_conf.live = sampler_conf.live = live;
	if (sampler_conf.interval_ms)
		r = sampler_open(&sampler, &sampler_conf, e);
	if (!r && scrape_conf.n)
		r = scrape_open(&scrape, &scrape_conf, e);
	if (r)
		daemon_stop();
	daemon_wait();
	sampler_close(sampler);
	scrape_close(scrape);
	return r;
}

int agent_run(const struct agent_conf *conf, struct feed_stats *stats, struct err *e)
{
	struct live *live;
	struct err why = {0};
	int64_t left;
	int r = live_open(&live, &conf->live, stats, e), closed;

	if (r)
		return r;
	r = run_sources(conf, live, e);
	closed = live_close(live, &left, &why);
	if (r || !closed)
		return r;
	return err_set(e, closed == -ECANCELED ? -ETIME : closed,
		       "%lld rows are lost, which were not published: %s", (long long)left,
		       why.text[0] ? why.text : strerror(-closed));
}
