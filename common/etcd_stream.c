/* A stream of answers: natively where gRPC is spoken, else through the gateway.
 *
 * Why natively: the gateway reads the requests of a stream half a kilobyte at a time, and Go's
 * server takes the rest of a body away once the answer has begun. Several watches in one stream
 * then sometimes are fewer than were asked for, without a word (etcd_mirror.c looks for that). It
 * also makes JSON and base64 of every event. */
#include "etcd_internal.h"

/* How an endpoint is asked for a sign of life (etcd_internal.h). */
enum { PROBES = 3, PROBE_MS = 1000, PROBE_BYTES = 64 * 1024 };

#define KEEP_BYTES (1 << 20) /* larger buffers are given back when they are empty */

struct stream {
	struct etcd *client;
	const struct etcd_stream *request;
	const char *token; /* or NULL */
	int endpoint, status;
	unsigned losses; /* of the endpoint, when it answered */
	bool native, answered;
	struct etcd_grpc_outcome outcome; /* where native */
	struct strbuf rest;               /* of an answer that is not whole yet */
	size_t scanned;                   /* bytes of it known to hold no newline */
	struct err lost;                  /* why it was ended while it was idle */
};

/* ---- answers --------------------------------------------------------------------------------- */

/* Where the next answer of the gateway, a line, ends. */
static size_t line_taken(struct stream *s, size_t at, struct slice *ret)
{
	const char *from = s->rest.s + MAX(at, s->scanned);
	const char *newline = memchr(from, '\n', s->rest.len - MAX(at, s->scanned));

	s->scanned = s->rest.len;
	if (!newline)
		return 0;
	*ret = (struct slice){s->rest.s + at, (size_t)(newline - s->rest.s) - at};
	s->scanned = at + ret->len + 1;
	return ret->len + 1;
}

static int next_answer(struct stream *s, size_t at, struct slice *ret, size_t *ret_taken)
{
	if (s->native)
		return etcd_grpc_unframe(s->rest.s + at, s->rest.len - at, ret, ret_taken);
	*ret_taken = line_taken(s, at, ret);
	return 0;
}

static int hand_out(struct stream *s)
{
	struct slice answer;
	size_t at = 0, taken;
	int r;

	while (!(r = next_answer(s, at, &answer, &taken)) && taken) {
		at += taken;
		r = s->request->on_answer(answer, s->native, s->request->arg);
		if (r)
			return r;
	}
	strbuf_consume(&s->rest, at);
	s->scanned -= MIN(at, s->scanned);
	if (s->rest.len == 0 && s->rest.cap > KEEP_BYTES)
		strbuf_release(&s->rest);
	return r;
}

static void note_answered(struct stream *s)
{
	s->answered = true;
	s->losses = etcd_endpoint_losses(s->client, s->endpoint);
	etcd_endpoint_done(s->client, s->endpoint, 0);
	etcd_note(s->client, 0, NULL);
}

static int on_data(const char *p, size_t n, void *arg)
{
	struct stream *s = arg;

	if (!s->answered && s->status < 500)
		note_answered(s);
	else if (s->answered)
		etcd_endpoint_heard(s->client, s->endpoint);
	strbuf_add(&s->rest, p, n);
	return s->rest.err ? s->rest.err : hand_out(s);
}

/* ---- quiet ----------------------------------------------------------------------------------- */

/* Any answer is a sign of life; this path needs no token and no quorum. */
static int probe_once(struct etcd *c, int endpoint, struct err *e)
{
	char *url = xasprintf("%s/version", c->endpoints[endpoint].url);
	struct http_request q = {
		.method = "GET",
		.url = url,
		.timeout_ms = MIN(PROBE_MS, c->request_timeout_ms),
	};
	struct strbuf body;
	int status, r;

	strbuf_init(&body, PROBE_BYTES);
	r = http_call(c->http, &q, &status, &body, e);
	strbuf_release(&body);
	if (r)
		err_prefix(e, r, "etcd %s", url);
	etcd_note(c, r, e);
	free(url);
	return r;
}

/* One that does not answer may be a hiccup. */
static int probe(struct etcd *c, int endpoint, struct err *e)
{
	int r = -ETIMEDOUT;

	for (int i = 0; i < PROBES && r && r != -ECANCELED; i++)
		r = probe_once(c, endpoint, e);
	etcd_endpoint_probed(c, endpoint, r);
	return r;
}

static int on_idle(void *arg)
{
	struct stream *s = arg;
	int r = s->request->on_idle(s->request->arg);

	if (r || !s->answered)
		return r;
	switch (etcd_endpoint_state(s->client, s->endpoint, s->losses)) {
	case ENDPOINT_TO_PROBE:
		return probe(s->client, s->endpoint, &s->lost);
	case ENDPOINT_LOST:
		return err_set(&s->lost, -ETIMEDOUT, "it gives no sign of life any more");
	case ENDPOINT_WELL:
		break;
	}
	return 0;
}

/* ---- over the endpoints ---------------------------------------------------------------------- */

/* What an answer that has ended says by its end. */
static int ended(struct stream *s, struct err *e)
{
	struct slice rest = {s->rest.s, s->rest.len};

	if (s->native && s->outcome.code > 0)
		return etcd_meaning(s->outcome.code, slice_str(s->outcome.message), e);
	if (s->status >= 500)
		return err_set(e, -EIO, "HTTP status %d", s->status);
	if (s->native)
		return rest.len ? err_set(e, -EIO, "half an answer") : 0;
	return rest.len ? s->request->on_answer(rest, false, s->request->arg) : 0;
}

static int exchange(struct stream *s, struct http_request *q, struct err *e)
{
	int r;

	strbuf_reset(&s->rest);
	s->scanned = 0;
	s->outcome = (struct etcd_grpc_outcome){.code = -1};
	r = http_stream(s->client->http, q, &s->status, on_data, on_idle, s->request->idle_ms, s,
			e);
	return r ? r : ended(s, e);
}

static int attempt(struct stream *s, struct err *e)
{
	const struct etcd_stream *q = s->request;
	struct slice body = s->native ? q->frames : q->lines;
	char *url = xasprintf("%s%s", s->client->endpoints[s->endpoint].url,
			      s->native ? q->method->method : q->method->path);
	struct http_header headers[3];
	struct http_request request = {
		.method = "POST",
		.url = url,
		.headers = headers,
		.n_headers = s->native ? etcd_grpc_headers(s->token, headers)
				       : etcd_json_headers(s->token, headers),
		.body = body.p,
		.body_len = body.len,
		.timeout_ms = s->client->request_timeout_ms,
		.h2 = s->native,
		.on_header = s->native ? etcd_grpc_on_header : NULL,
		.header_arg = &s->outcome,
	};
	int r = exchange(s, &request, e);

	if (r && s->lost.text[0])
		err_set(e, r, "%s", s->lost.text);
	if (r)
		err_prefix(e, r, "etcd %s", url);
	free(url);
	return r;
}

/* One that answers, but not in HTTP/2 any more, is asked anew what it speaks. */
static int try_endpoint(struct stream *s, struct err *e)
{
	int r = etcd_grpc_probe(s->client, s->endpoint, s->client->request_timeout_ms, &s->native,
				e);

	if (!r)
		r = attempt(s, e);
	if (s->native && !s->answered && r && r != -ECONNREFUSED && r != -ECANCELED)
		etcd_grpc_forget(s->client, s->endpoint);
	if (!s->answered)
		etcd_endpoint_done(s->client, s->endpoint, r);
	return r;
}

static int over_endpoints(struct stream *s, struct err *e)
{
	uint32_t tried = 0;
	int r = err_set(e, -ECONNREFUSED, ETCD_CIRCUITS_OPEN);

	while (r == -ECONNREFUSED) {
		s->endpoint = etcd_endpoint_pick(s->client, &tried, NULL);
		if (s->endpoint < 0)
			break;
		r = try_endpoint(s, e);
	}
	return r;
}

int etcd_stream(struct etcd *c, const struct etcd_stream *q, struct err *e)
{
	struct stream s = {.client = c, .request = q};
	struct err reason = {0};
	char *token = NULL;
	int r = 0;

	strbuf_init(&s.rest, ETCD_REPLY_MAX);
	if (c->username)
		r = etcd_token(c, NULL, mono_in_ms(c->request_timeout_ms), &token, &reason);
	s.token = token;
	if (!r)
		r = over_endpoints(&s, &reason);
	if (!s.answered)
		etcd_note(c, r, &reason);
	strbuf_release(&s.rest);
	free(token);
	return r ? err_set(e, r, "%s", reason.text) : 0;
}
