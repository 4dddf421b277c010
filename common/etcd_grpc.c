/* Native gRPC for what etcd is asked most: a request as HTTP/2 with protobuf in a frame of five
 * bytes and a length, its outcome in the trailers (grpc.io, "gRPC over HTTP2").
 *
 * Why beside the gateway: with etcd 3.4 a transaction of 32 puts of 6 KB costs etcd 18 ms of CPU
 * through the gateway and 2 natively, one that reads as much 6 and 1, and its reader 6 and 0.3;
 * three quarters of what etcd did under a bulk load was JSON. Where something in between speaks
 * HTTP/1.1 only, the gateway is the way. */
#include "etcd_internal.h"
#include "log.h"
#include "parse.h"

#include <stdio.h>
#include <strings.h>

enum { FRAME_HEAD = 5, PROBE_MS = 1000 };
/* How long the gateway is used where gRPC is not spoken, and where nobody said anything. */
enum { GATEWAY_MS = 60000, GATEWAY_SILENT_MS = 1000 };

static bool is_named(struct slice name, const char *want)
{
	return name.len == strlen(want) && strncasecmp(name.p, want, name.len) == 0;
}

void etcd_grpc_on_header(struct slice name, struct slice value, void *outcome)
{
	struct etcd_grpc_outcome *o = outcome;
	uint64_t code;

	if (is_named(name, "grpc-status"))
		o->code = parse_u64(value, INT32_MAX, &code) ? -1 : (int64_t)code;
	else if (is_named(name, "grpc-message"))
		snprintf(o->message, sizeof(o->message), "%.*s", (int)value.len, value.p);
}

size_t etcd_grpc_headers(const char *token, struct http_header headers[3])
{
	headers[0] = (struct http_header){"Content-Type", "application/grpc"};
	headers[1] = (struct http_header){"TE", "trailers"};
	headers[2] = (struct http_header){"Authorization", token};
	return token && token[0] ? 3 : 2;
}

int etcd_grpc_frame(struct strbuf *out, struct slice message)
{
	uint32_t n = (uint32_t)message.len;
	const char head[FRAME_HEAD] = {0, (char)(n >> 24), (char)(n >> 16), (char)(n >> 8),
				       (char)n};

	strbuf_add(out, head, sizeof(head));
	strbuf_add_slice(out, message);
	return out->err;
}

int etcd_grpc_unframe(const char *p, size_t n, struct slice *ret, size_t *ret_taken)
{
	const uint8_t *head = (const uint8_t *)p;
	size_t len;

	*ret_taken = 0;
	if (n < FRAME_HEAD)
		return 0;
	len = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
	if (head[0]) /* compressed, which nobody has asked for */
		return -EBADMSG;
	if (n - FRAME_HEAD < len)
		return 0;
	*ret = (struct slice){p + FRAME_HEAD, len};
	*ret_taken = FRAME_HEAD + len;
	return 0;
}

/* Takes the frame off a whole answer. */
static int unframe(struct strbuf *body)
{
	struct slice message;
	size_t taken;

	if (etcd_grpc_unframe(body->s, body->len, &message, &taken) || !taken || taken != body->len)
		return -EIO;
	strbuf_consume(body, FRAME_HEAD);
	return 0;
}

static int settle(int status, const struct etcd_grpc_outcome *o, struct strbuf *body, struct err *e)
{
	if (o->code > 0)
		return etcd_meaning(o->code, slice_str(o->message), e);
	if (o->code < 0 || status != 200 || unframe(body))
		return err_set(e, -EIO, "HTTP status %d, without etcd's words", status);
	return 0;
}

int etcd_grpc_call(struct etcd *c, const struct etcd_grpc *q, struct strbuf *ret, bool *ret_spoken,
		   struct err *e)
{
	struct http_header headers[3];
	struct etcd_grpc_outcome outcome = {.code = -1};
	char *url = xasprintf("%s%s", q->url, q->method);
	struct http_request request = {
		.method = "POST",
		.url = url,
		.headers = headers,
		.n_headers = etcd_grpc_headers(q->token, headers),
		.timeout_ms = q->timeout_ms,
		.dial_timeout_ms = q->dial_timeout_ms,
		.h2 = true,
		.on_header = etcd_grpc_on_header,
		.header_arg = &outcome,
	};
	struct strbuf framed;
	int status = 0, r;

	strbuf_init(&framed, q->message.len + FRAME_HEAD + 1);
	r = etcd_grpc_frame(&framed, q->message);
	request.body = framed.s;
	request.body_len = framed.len;
	if (!r)
		r = http_call(c->http, &request, &status, ret, e);
	strbuf_release(&framed);
	*ret_spoken = !r && outcome.code >= 0;
	if (!r)
		r = settle(status, &outcome, ret, e);
	if (r && r != ETCD_TOKEN_REFUSED)
		err_prefix(e, r, "etcd %s", url);
	free(url);
	return r;
}

/* ---- where it is spoken ---------------------------------------------------------------------- */

static bool is_known(struct etcd *c, const struct endpoint *ep, bool *ret_native)
{
	bool known;

	pthread_mutex_lock(&c->lock);
	known = ep->native || mono_ms_until(ep->gateway_until) > 0;
	*ret_native = ep->native;
	pthread_mutex_unlock(&c->lock);
	return known;
}

static void note_native(struct etcd *c, struct endpoint *ep, bool native, int gateway_ms)
{
	pthread_mutex_lock(&c->lock);
	ep->native = native;
	ep->gateway_until = mono_in_ms(native ? 0 : gateway_ms);
	pthread_mutex_unlock(&c->lock);
}

/* The question is one that anybody may ask and that changes nothing. */
int etcd_grpc_probe(struct etcd *c, int i, int timeout_ms, bool *ret_native, struct err *e)
{
	struct endpoint *ep = &c->endpoints[i];
	struct etcd_grpc q = {.url = ep->url,
			      .method = etcd_methods[CALL_STATUS].method,
			      .timeout_ms = MIN(timeout_ms, PROBE_MS)};
	struct strbuf answer;
	bool spoken;
	int r;

	*ret_native = false;
	if (!c->native || is_known(c, ep, ret_native))
		return 0;
	strbuf_init(&answer, 64 << 10);
	r = etcd_grpc_call(c, &q, &answer, &spoken, e);
	strbuf_release(&answer);
	if (r == -ECONNREFUSED || r == -ECANCELED)
		return r;
	if (!spoken && r != -ETIMEDOUT)
		log_info("%s; the gateway is used", e ? e->text : ep->url);
	note_native(c, ep, spoken, r == -ETIMEDOUT ? GATEWAY_SILENT_MS : GATEWAY_MS);
	*ret_native = spoken;
	return 0;
}

void etcd_grpc_forget(struct etcd *c, int i)
{
	pthread_mutex_lock(&c->lock);
	c->endpoints[i].native = false;
	c->endpoints[i].gateway_until = (struct mono){0};
	pthread_mutex_unlock(&c->lock);
}
