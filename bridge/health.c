/* /healthz and /readyz. */
#include "daemon.h"
#include "handlers.h"

#define HEALTH_MAX 1024

static void answer_status(struct answer *a, const char *status)
{
	struct strbuf b;

	strbuf_init(&b, HEALTH_MAX);
	strbuf_addf(&b, "{\"status\":\"%s\"}\n", status);
	answer_header(a, "Cache-Control", "no-store");
	answer_bytes(a, "application/json", &b);
}

void handle_healthz(struct request *q, struct answer *a)
{
	answer_status(a, "ok");
}

static bool is_starting(struct gateway *g)
{
	return !view_wait_ready(g->view, 0);
}

static bool is_draining(struct gateway *g)
{
	return daemon_stopping();
}

static bool is_without_etcd(struct gateway *g)
{
	return !etcd_is_up(g->etcd, NULL);
}

static const struct {
	bool (*holds)(struct gateway *g);
	const char *reason;
} hindrances[] = {
	{is_draining, "draining"},
	{is_starting, "starting"},
	{is_without_etcd, "etcd"},
};

void handle_readyz(struct request *q, struct answer *a)
{
	struct strbuf reasons;

	strbuf_init(&reasons, HEALTH_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(hindrances); i++)
		if (hindrances[i].holds(q->gateway))
			strbuf_addf(&reasons, "%s\"%s\"", reasons.len ? "," : "",
				    hindrances[i].reason);
	if (reasons.len) {
		strbuf_addf(&a->members, ",\"reasons\":[%s]", reasons.s);
		answer_header(a, "Retry-After", "1");
		answer_problem(a, 503, "not ready");
	} else {
		answer_status(a, "ready");
	}
	strbuf_release(&reasons);
}
