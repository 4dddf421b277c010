#include "etcd_internal.h"
#include "log.h"
#include "parse.h"
#include "stats.h"

/* Time-outs in a row after which etcd counts as away; one may be a hiccup. */
#define OUTAGES_DOWN 3
#define QUIET_MS     1500 /* without a sign of life, until an endpoint is probed */
/* An endpoint that refuses connections does so at once and at no cost to it: it is tried again
 * sooner, so that what was waited for is there soon after etcd is. */
#define REFUSED_OPEN_MS 500

/* ---- the list ------------------------------------------------------------------------------- */

static bool starts_with(struct slice s, const char *with)
{
	return s.len >= strlen(with) && memcmp(s.p, with, strlen(with)) == 0;
}

static struct slice trim(struct slice s)
{
	while (s.len && strchr(" \t", s.p[0]))
		s = (struct slice){s.p + 1, s.len - 1};
	while (s.len && strchr(" \t/", s.p[s.len - 1]))
		s.len--;
	return s;
}

static bool is_address(struct slice s)
{
	const char *colon = memrchr(s.p, ':', s.len);
	uint64_t port;

	if (!colon || colon == s.p || memchr(s.p, '/', s.len) || memchr(s.p, '@', s.len))
		return false;
	return parse_u64((struct slice){colon + 1, (size_t)(s.p + s.len - colon - 1)}, 65535,
			 &port) == 0 &&
	       port > 0;
}

static int endpoint_add(struct etcd *c, struct slice s, struct err *e)
{
	const char *scheme = starts_with(s, "https://") ? "https://" : "http://";
	size_t skip = starts_with(s, scheme) ? strlen(scheme) : 0;
	struct slice address = {s.p + skip, s.len - skip};

	if (!is_address(address))
		return err_set(e, -EINVAL,
			       "endpoint \"%.*s\": expected [http://|https://]host:port",
			       (int)MIN(s.len, 200), s.p);
	if (c->n_endpoints == ETCD_ENDPOINTS_MAX)
		return err_set(e, -EINVAL, "more than %d endpoints", ETCD_ENDPOINTS_MAX);
	c->endpoints[c->n_endpoints++].url =
		xasprintf("%s%.*s", scheme, (int)address.len, address.p);
	return 0;
}

int etcd_endpoints_parse(struct etcd *c, const char *list, struct err *e)
{
	for (const char *p = list; *p;) {
		size_t n = strcspn(p, ",");
		struct slice s = trim((struct slice){p, n});
		int r = s.len ? endpoint_add(c, s, e) : 0;

		if (r)
			return r;
		p += n + (p[n] == ',');
	}
	if (c->n_endpoints == 0)
		return err_set(e, -EINVAL, "no endpoint given");
	return 0;
}

/* ---- circuit breakers ----------------------------------------------------------------------- */

static bool may_try(const struct endpoint *ep)
{
	return !ep->open || (!ep->trial && mono_ms_until(ep->open_until) == 0);
}

int etcd_endpoint_pick(struct etcd *c, uint32_t *tried, bool *ret_last)
{
	int picked = -1, candidates = 0;

	pthread_mutex_lock(&c->lock);
	for (int k = 0; k < c->n_endpoints; k++) {
		int i = (c->current + k) % c->n_endpoints;

		if (*tried & (1u << i) || !may_try(&c->endpoints[i]))
			continue;
		if (candidates++ == 0)
			picked = i;
	}
	if (picked >= 0) {
		*tried |= 1u << picked;
		c->endpoints[picked].trial = c->endpoints[picked].open;
	}
	pthread_mutex_unlock(&c->lock);
	if (ret_last)
		*ret_last = candidates <= 1;
	return picked;
}

/* Returns whether its circuit breaker has opened now; a trial that fails keeps it open. */
static bool endpoint_failed(struct etcd *c, struct endpoint *ep, int r)
{
	int open_ms =
		r == -ECONNREFUSED ? MIN(c->circuit_open_ms, REFUSED_OPEN_MS) : c->circuit_open_ms;
	bool was_open = ep->open;

	if (ep == &c->endpoints[c->current])
		c->current = (c->current + 1) % c->n_endpoints;
	if (c->circuit_failures == 0 || (++ep->failures < c->circuit_failures && !ep->trial))
		return false;
	if (!ep->open || ep->trial)
		stats_add(STAT_ETCD_CIRCUIT_OPENED, 1);
	ep->open = true;
	ep->trial = false;
	ep->open_until = mono_in_ms(open_ms);
	return !was_open;
}

void etcd_endpoint_done(struct etcd *c, int i, int r)
{
	struct endpoint *ep = &c->endpoints[i];
	bool opened = false, closed = false;

	pthread_mutex_lock(&c->lock);
	if (etcd_outage(r)) {
		opened = endpoint_failed(c, ep, r);
	} else {
		closed = ep->open;
		ep->open = ep->trial = false;
		ep->failures = 0;
		ep->heard = mono_now();
	}
	pthread_mutex_unlock(&c->lock);
	/* Of a single endpoint, etcd_note says the same. */
	if (opened && c->n_endpoints > 1)
		log_warn("etcd endpoint %s: circuit breaker open after %d failures in a row, tried "
			 "again every %.1f s",
			 ep->url, c->circuit_failures, (double)c->circuit_open_ms / 1000);
	else if (closed && c->n_endpoints > 1)
		log_info("etcd endpoint %s: circuit breaker closed, it answers again", ep->url);
}

/* ---- signs of life -------------------------------------------------------------------------- */

void etcd_endpoint_heard(struct etcd *c, int i)
{
	pthread_mutex_lock(&c->lock);
	c->endpoints[i].heard = mono_now();
	pthread_mutex_unlock(&c->lock);
}

unsigned etcd_endpoint_losses(struct etcd *c, int i)
{
	unsigned losses;

	pthread_mutex_lock(&c->lock);
	losses = c->endpoints[i].losses;
	pthread_mutex_unlock(&c->lock);
	return losses;
}

enum endpoint_state etcd_endpoint_state(struct etcd *c, int i, unsigned losses)
{
	enum endpoint_state state = ENDPOINT_WELL;
	struct endpoint *ep = &c->endpoints[i];

	pthread_mutex_lock(&c->lock);
	if (ep->losses != losses)
		state = ENDPOINT_LOST;
	else if (!ep->probing && mono_ms_since(ep->heard) >= QUIET_MS)
		state = ENDPOINT_TO_PROBE;
	ep->probing |= state == ENDPOINT_TO_PROBE;
	pthread_mutex_unlock(&c->lock);
	return state;
}

void etcd_endpoint_probed(struct etcd *c, int i, int r)
{
	struct endpoint *ep = &c->endpoints[i];

	pthread_mutex_lock(&c->lock);
	ep->probing = false;
	if (!r)
		ep->heard = mono_now();
	else if (r != -ECANCELED)
		ep->losses++;
	pthread_mutex_unlock(&c->lock);
	if (r)
		etcd_endpoint_done(c, i, r);
}

/* ---- reachability --------------------------------------------------------------------------- */

/* Both return whether that is news. */
static bool note_outage(struct etcd *c, int r)
{
	c->outages = r == -ECONNREFUSED ? OUTAGES_DOWN : c->outages + 1;
	if (c->down || c->outages < OUTAGES_DOWN)
		return false;
	c->down = true;
	c->down_since_ns = wall_now_ns();
	return true;
}

static bool note_answer(struct etcd *c)
{
	bool was_down = c->down;

	c->outages = 0;
	c->down = false;
	return was_down;
}

void etcd_note(struct etcd *c, int r, const struct err *e)
{
	bool outage = etcd_outage(r), news;
	int64_t since_ns;

	if (r == -ECANCELED)
		return;
	pthread_mutex_lock(&c->lock);
	news = outage ? note_outage(c, r) : note_answer(c);
	since_ns = c->down_since_ns;
	pthread_mutex_unlock(&c->lock);
	if (news && outage)
		log_warn("etcd does not answer, will keep trying: %s", e->text);
	else if (news)
		log_info("etcd answers again after %.1f s",
			 (double)(wall_now_ns() - since_ns) / NS_PER_SEC);
}

bool etcd_is_up(struct etcd *c, int64_t *ret_since)
{
	bool up;

	pthread_mutex_lock(&c->lock);
	up = !c->down;
	if (!up && ret_since)
		*ret_since = c->down_since_ns;
	pthread_mutex_unlock(&c->lock);
	return up;
}
