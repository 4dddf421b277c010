/* gputel-bridge: the tree and its rows over HTTP. */
#include <unistd.h>

#include "accept.h"
#include "cors.h"
#include "daemon.h"
#include "digest.h"
#include "feed.h"
#include "handlers.h"
#include "ingest.h"
#include "limit.h"
#include "listen.h"
#include "log.h"
#include "parse.h"
#include "rest.h"
#include "service.h"
#include "stats.h"
#include "tls.h"
#include "tokens.h"
#include "watchdog.h"
#include "work.h"
#include "ws.h"

#define POOL_THREADS   16
#define FILES_RESERVED 128 /* etcd, epoll, pipes */
#define POLL_MS        10
#define HANDSHAKE_MS   100 /* what is connecting when nobody new may has so long to be accepted */
#define LINGER_MS      500 /* idle connections are given so long to send what is under way */

struct program {
	struct conf conf;
	struct gateway gateway;
	const char *new_token;
	size_t files; /* that may be open */
	int listener;
	bool loopback; /* so is the address that it listens at */
	struct rest *rest;
	struct acceptor *acceptor;
	struct tls *tls; /* NULL: connections are plain */
	struct watchdog *watchdog;
};

/* ---- options --------------------------------------------------------------------------------- */

static int set_new_token(const char *value, void *arg, struct err *e)
{
	((struct program *)arg)->new_token = value;
	return 0;
}

static const struct conf_option options[] = {
	{"new-token", 0, "NAME", "make a token; print it and its line for GATEWAY_TOKENS_FILE",
	 set_new_token},
};

static int load_conf(struct program *p, int argc, char **argv)
{
	const struct conf_program program = {
		.name = "gputel-bridge",
		.bit = CONF_BRIDGE,
		.synopsis = "[--new-token NAME] [OPTION...]",
		.about = "Serves the telemetry of all GPUs as REST and WebSocket, on one port, and "
			 "takes "
			 "rows that are pushed to it.",
		.options = options,
		.n_options = ARRAY_SIZE(options),
		.arg = p,
	};

	return conf_load(&p->conf, &program, argc, argv);
}

/* ---- what SIGHUP may change ------------------------------------------------------------------ */

static void say_who_may_read(const struct program *p)
{
	if (tokens_needed(p->gateway.tokens))
		return;
	if (p->loopback)
		log_info("no tokens are set (GATEWAY_TOKENS_FILE): everybody on this machine may "
			 "read and push rows, nobody else can");
	else
		log_warn("no tokens are set (GATEWAY_TOKENS_FILE) and GATEWAY_HOST is no loopback "
			 "address: everybody who reaches %s may read and push rows",
			 p->conf.gateway_host);
}

static void set_limit(struct program *p)
{
	int64_t rate = 0, burst = 0;

	if (!parse_rate(slice_str(p->conf.gateway_rate_limit), &rate, &burst))
		limiter_set(p->gateway.limiter, rate, burst);
}

static void reload_tokens(struct program *p)
{
	bool needed = tokens_needed(p->gateway.tokens);
	struct err e;

	if (tokens_reload(p->gateway.tokens, p->conf.gateway_tokens_file, &e))
		log_error("tokens not reloaded: %s", e.text);
	else if (tokens_needed(p->gateway.tokens))
		log_info("tokens reloaded");
	else if (needed)
		say_who_may_read(p);
}

static void take_over(struct program *p)
{
	const struct conf *c = &p->conf;

	daemon_set_drain(c->shutdown_timeout);
	tree_set_cache(p->gateway.tree, (size_t)c->fs_cache);
	tree_set_stale_after(p->gateway.tree, c->stale_after);
	ingest_adjust(p->gateway.ingest);
	origins_set(p->gateway.origins, c->gateway_cors_origins);
	proxies_set(p->gateway.proxies, c->gateway_trusted_proxies);
	set_limit(p);
}

static void on_hup(void *arg)
{
	struct program *p = arg;
	struct err e;

	if (conf_reload(&p->conf))
		take_over(p);
	reload_tokens(p);
	if (p->tls && tls_reload(p->tls, &e))
		log_error("certificate not reloaded: %s", e.text);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static int open_view(struct program *p, struct err *e)
{
	struct gateway *g = &p->gateway;
	struct etcd_conf conf;
	int r;

	conf_etcd(&p->conf, &conf);
	r = etcd_open(&g->etcd, &conf, e);
	if (r)
		return r;
	r = view_open(&g->view, g->etcd, p->conf.stale_after, (size_t)p->conf.fs_cache, e);
	if (r)
		return r;
	g->tree = view_tree(g->view);
	g->ingest = ingest_new(g->etcd, &p->conf);
	g->feed = feed_start(g->tree);
	return g->feed ? 0 : err_set(e, -EAGAIN, "no thread can be started");
}

/* WebSockets have their share of the descriptors, openers a quarter of the rest. */
static size_t connections_max(const struct program *p)
{
	size_t ws = p->conf.ws_enabled ? (size_t)p->conf.ws_max_connections : 0;
	size_t taken = FILES_RESERVED + MIN(ws, p->files / 4);

	return (MAX(p->files, taken + 64) - taken) / (*p->conf.gateway_tls_cert ? 4 : 2);
}

static int make_gateway(struct program *p, struct err *e)
{
	struct gateway *g = &p->gateway;

	g->conf = &p->conf;
	g->limiter = limiter_new(0, 0);
	set_limit(p);
	g->proxies = proxies_new(p->conf.gateway_trusted_proxies);
	g->origins = origins_new(p->conf.gateway_cors_origins);
	g->conns = conns_new(connections_max(p));
	g->pool = pool_start(POOL_THREADS);
	return g->pool ? open_view(p, e) : err_set(e, -EAGAIN, "no thread can be started");
}

static void to_rest(int fd, const struct peer *peer, void *arg)
{
	rest_adopt(((struct program *)arg)->rest, fd, peer);
}

static void to_tls(int fd, const struct peer *peer, void *arg)
{
	tls_adopt(((struct program *)arg)->tls, fd, peer);
}

static void from_tls(int fd, const struct peer *peer, void *arg)
{
	acceptor_offer(((struct program *)arg)->acceptor, fd, peer);
}

/* Before the acceptor, which is there once the first connection comes out of it. */
static int start_tls(struct program *p, struct err *e)
{
	if (!*p->conf.gateway_tls_cert)
		return 0;
	return tls_start(&p->tls, p->conf.gateway_tls_cert, p->conf.gateway_tls_key,
			 connections_max(p), from_tls, p, e);
}

static void to_websocket(int fd, const struct peer *peer, void *arg)
{
	struct program *p = arg;

	if (!ws_adopt(p->gateway.ws, fd, peer))
		rest_adopt(p->rest, fd, peer);
}

static int start_acceptor(struct program *p, struct err *e)
{
	struct acceptor_conf conf = {
		.listener = p->listener,
		.openers_max = connections_max(p) / 2,
		.conns = p->gateway.conns,
		.rest = to_rest,
		.tls = p->tls ? to_tls : NULL,
		.websocket = p->gateway.ws ? to_websocket : NULL,
		.arg = p,
	};
	int r = acceptor_start(&p->acceptor, &conf, e);

	p->listener = -1;
	return r;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int start(struct program *p, struct err *e)
{
	const struct conf *c = &p->conf;
	int r = listen_at(c->gateway_host, c->gateway_port, &p->listener, &p->loopback, e);

	if (!r)
		r = daemon_init(c->shutdown_timeout, e);
	if (!r)
		r = make_gateway(p, e);
	if (!r)
		r = rest_start(&p->rest, &p->gateway, e);
	if (!r && c->ws_enabled)
		r = ws_start(&p->gateway.ws, &p->gateway, e);
	if (!r)
		r = start_tls(p, e);
	if (!r)
		r = start_acceptor(p, e);
	if (r)
		return r;
	log_info("listening at %s port %lld", c->gateway_host, (long long)c->gateway_port);
	say_who_may_read(p);
	daemon_on_hup(on_hup, p);
	stats_hook(status_report, &p->gateway);
	return 0;
}

/* Waits until nothing is being answered, and at most LINGER_MS longer for connections
 * that may have a request under way. */
static void await_idle(struct program *p, size_t (*has)(struct program *p))
{
	struct mono since = mono_now();

	while (daemon_drain_left_ms() &&
	       (rest_busy(p->rest) || (has(p) && mono_ms_since(since) < LINGER_MS)))
		usleep(POLL_MS * 1000);
}

static size_t connected(struct program *p)
{
	return conns_total(p->gateway.conns);
}

static size_t opening(struct program *p)
{
	return acceptor_openers(p->acceptor);
}

/* From the first signal on every answer ends its connection (rest.c), and /readyz says 503; who
 * comes meanwhile is still served. */
static void drain(struct program *p)
{
	await_idle(p, connected);
	acceptor_refuse(p->acceptor);
	usleep((useconds_t)MIN(HANDSHAKE_MS, daemon_drain_left_ms()) * 1000);
	await_idle(p, opening);
	await_idle(p, connected);
	acceptor_close_listener(p->acceptor);
	conns_cut(p->gateway.conns, CONN_IDLE);
	await_idle(p, opening);
	while (p->tls && daemon_drain_left_ms() && tls_flowing(p->tls))
		usleep(POLL_MS * 1000);
}

/* How many requests were cut. */
static size_t stop(struct program *p)
{
	size_t cut;

	feed_end(p->gateway.feed);
	if (p->gateway.ws)
		ws_end(p->gateway.ws);
	drain(p);
	tls_stop(TAKE_PTR(p->tls)); /* it offers to the acceptor */
	acceptor_stop(TAKE_PTR(p->acceptor));
	cut = rest_busy(p->rest);
	etcd_cancel(p->gateway.etcd);
	conns_cut(p->gateway.conns, CONN_BODY);
	conns_cut(p->gateway.conns, CONN_BUSY);
	return cut;
}

static void release(struct program *p)
{
	struct gateway *g = &p->gateway;

	daemon_on_hup(NULL, NULL);
	stats_unhook(status_report, &p->gateway);
	if (p->watchdog)
		daemon_stop();
	watchdog_stop(p->watchdog);
	if (g->etcd)
		etcd_cancel(g->etcd);
	tls_stop(p->tls);
	acceptor_stop(p->acceptor);
	if (g->feed)
		feed_end(g->feed);
	ws_stop(g->ws);
	rest_stop(p->rest);
	ingest_free(g->ingest);
	pool_stop(g->pool);
	feed_stop(g->feed);
	view_close(g->view);
	feed_free(g->feed);
	etcd_close(g->etcd);
	conns_free(g->conns);
	origins_free(g->origins);
	proxies_free(g->proxies);
	limiter_free(g->limiter);
	tokens_close(g->tokens);
	if (p->listener >= 0)
		close(p->listener);
	conf_release(&p->conf);
}

/* Takes the locks that all of it needs. */
static bool is_well(void *arg)
{
	struct program *p = arg;

	tree_revision(p->gateway.tree);
	conns_total(p->gateway.conns);
	return true;
}

static int run(struct program *p, struct err *e)
{
	size_t cut;
	int r = start(p, e);

	if (r)
		return r;
	p->watchdog = watchdog_start(is_well, p);
	service_tell("READY=1\nSTATUS=serving");
	daemon_wait();
	cut = stop(p);
	return cut ? err_set(e, -ETIME, "shutdown: %zu requests were cut at SHUTDOWN_TIMEOUT", cut)
		   : 0;
}

int main(int argc, char **argv)
{
	static struct program p = {.listener = -1};
	struct err e = {""};
	int status = 0, r;

	service_init();
	r = load_conf(&p, argc, argv);
	if (r)
		return r > 0 ? 0 : 2;
	stats_setup(CONF_BRIDGE, "gputel-bridge");
	p.files = files_limit();
	if (digest_init())
		r = err_set(&e, -EIO, "libsodium cannot be set up");
	else if (p.new_token)
		status = token_print_new(p.new_token, &e) ? 2 : 0;
	else if (tokens_open(&p.gateway.tokens, p.conf.gateway_tokens_file, &e))
		status = 2;
	else
		r = run(&p, &e);
	if (status || r)
		log_error("%s", e.text);
	release(&p);
	return status ? status : r ? 1 : 0;
}
