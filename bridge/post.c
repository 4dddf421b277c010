/* POST /api/v1/ingest.
 *
 * Content-Type says what the body is, and must be there: text/csv, application/x-ndjson,
 * application/x-protobuf (Prometheus remote-write 1.0). So a page of another origin cannot push:
 * browsers ask first before they send one of these (cors.c).
 *
 * The answer comes when all rows are committed to the queue:
 *	200  all that is good is enqueued; invalid rows are told
 *	400  nothing was: no row is good, or the body is none of that type
 *	403  nothing was: no row is of a host that this token may write
 *	409  the Idempotency-Key is that of another body, or of a request that is under way
 *	413  415  too large, also unpacked; a type or coding that is not known
 *	429  the throttle (common/throttle.h) holds; Retry-After says for about how long. To
 *	     remote-write it is 503 instead: what is answered 429 Prometheus drops, unless it is
 *told otherwise (retry_on_http_429) 503  etcd is away, or too much waits
 *
 * Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): for MQ_DEDUP_TTL the same request
 * with the same key is carried out once, and answered as it was, with Idempotency-Replayed: true.
 * Keys of different tokens are different. The draft's 422 for another body is 409 here. */
#include "daemon.h"
#include "gzip.h"
#include "handlers.h"
#include "ingest.h"
#include "log.h"
#include "route.h"
#include "snappy.h"

#include <strings.h>

#define KEY_BYTES_MAX 255

struct post {
	struct push push;
	struct request *q;
	struct answer *a;
};

/* ---- what the head says ---------------------------------------------------------------------- */

static const struct push_format *const formats[] = {&push_csv, &push_json, &push_series};

/* What stands before parameters. */
static bool is_word(const char *header, const char *word)
{
	size_t n = strlen(word);

	return header && strncasecmp(header, word, n) == 0 && strchr("; \t", header[n]);
}

/* Of remote-write there are versions, told apart by a parameter. */
static bool is_other_version(const char *type)
{
	const char *proto = strcasestr(type, "proto=");

	return proto && !strcasestr(proto, "prometheus.WriteRequest");
}

static bool take_type(struct post *x)
{
	const char *type = request_header(x->q, "Content-Type");

	for (size_t i = 0; i < ARRAY_SIZE(formats) && !x->push.format; i++)
		if (is_word(type, formats[i]->type) && !is_other_version(type))
			x->push.format = formats[i];
	if (!x->push.format)
		answer_problem(x->a, 415, "Content-Type is %.100s (expected %s)",
			       type ? type : "missing", x->q->route->body_types);
	return x->push.format;
}

/* Remote-write is always packed by snappy, nothing else is. */
static bool take_coding(struct post *x)
{
	const char *coding = request_header(x->q, "Content-Encoding");
	bool is_series = x->push.format == &push_series;

	if (is_series && is_word(coding, "snappy"))
		x->push.unpack = unsnap_bytes;
	else if (!is_series && (is_word(coding, "gzip") || is_word(coding, "x-gzip")))
		x->push.unpack = gunzip_bytes;
	else if (is_series || (coding && *coding && !is_word(coding, "identity")))
		answer_problem(x->a, 415, "Content-Encoding is %.100s (expected %s)",
			       coding ? coding : "missing", is_series ? "snappy" : "gzip or none");
	return !x->a->problem;
}

/* The key, without the quotes that the draft puts around it; empty: it is none. */
static struct slice key_text(const char *header)
{
	struct slice s = slice_str(header);

	if (s.len > 1 && s.p[0] == '"' && s.p[s.len - 1] == '"')
		s = (struct slice){s.p + 1, s.len - 2};
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"')
			return SLICE_LIT("");
	return s.len <= KEY_BYTES_MAX ? s : SLICE_LIT("");
}

static bool take_key(struct post *x)
{
	const char *header = request_header(x->q, "Idempotency-Key");
	const char *who = x->q->who ? x->q->who->name : "";
	struct sha256_state sha;
	struct slice key;

	if (!header)
		return true;
	key = key_text(header);
	if (!key.len) {
		answer_problem(x->a, 400,
			       "Idempotency-Key: expected 1 to %d printable characters without "
			       "blanks",
			       KEY_BYTES_MAX);
		return false;
	}
	sha256_begin(&sha);
	sha256_update(&sha, "ingest", sizeof("ingest"));
	sha256_update(&sha, who, strlen(who) + 1);
	sha256_update(&sha, key.p, key.len);
	sha256_end(&sha, x->push.receipt.id);
	x->push.once = true;
	return true;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void retry_after(struct answer *a, int64_t ms)
{
	answer_header(a, "Retry-After", "%lld", (long long)MAX((ms + 999) / 1000, 1));
}

static const struct {
	int error, status;
	bool again; /* later it may be otherwise */
} statuses[] = {
	{-EBADMSG, 400, false}, {-EMSGSIZE, 413, false}, {-E2BIG, 413, false},
	{-EEXIST, 409, false},  {-EALREADY, 409, true},  {-EAGAIN, 429, true},
	{-EBUSY, 503, true},
};

static int status_of(int error, bool *ret_again)
{
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].error == error) {
			*ret_again = statuses[i].again;
			return statuses[i].status;
		}
	*ret_again = true;
	return 503;
}

static void refuse(struct post *x, int error, const char *why)
{
	bool again;
	int status = status_of(error, &again);

	if (status == 429 && x->push.format == &push_series)
		status = 503;
	if (again)
		retry_after(x->a, x->push.retry_ms);
	answer_problem(x->a, status, "%s", *why ? why : strerror(-error));
}

static bool is_all_invalid(const struct push *p)
{
	return p->invalid && p->invalid == p->rows;
}

static void answer_invalid(struct post *x)
{
	struct push *p = &x->push;

	strbuf_addc(&x->a->members, ',');
	push_render(p, &x->a->members);
	if (p->forbidden == p->rows)
		answer_problem(x->a, 403, "this token may write none of the %lld rows",
			       (long long)p->rows);
	else
		answer_problem(x->a, 400, "none of the %lld rows is valid", (long long)p->rows);
}

static void answer_counts(struct post *x)
{
	struct strbuf b;

	strbuf_init(&b, x->push.faults.len + 1024);
	strbuf_addc(&b, '{');
	push_render(&x->push, &b);
	strbuf_adds(&b, "}\n");
	if (x->push.replayed)
		answer_header(x->a, "Idempotency-Replayed", "true");
	answer_bytes(x->a, "application/json", &b);
}

static void finish(struct post *x)
{
	struct request *q = x->q;

	strbuf_release(&x->push.faults);
	free(x);
	request_answered(q);
}

static void on_done(struct push *p)
{
	struct post *x = container_of(p, struct post, push);

	if (p->error)
		refuse(x, p->error, p->why.text);
	else if (is_all_invalid(p))
		answer_invalid(x);
	else
		answer_counts(x);
	finish(x);
}

/* ---- the request ----------------------------------------------------------------------------- */

static void submit(struct post *x)
{
	struct gateway *g = x->q->gateway;
	int r = ingest_submit(g->ingest, &x->push, &x->q->peer);

	if (!r)
		return;
	refuse(x, r, r == -EBUSY ? "too many requests wait to be enqueued" : "");
	finish(x);
}

void handle_ingest(struct request *q, struct answer *a)
{
	struct post *x = xcalloc(1, sizeof(*x));

	x->q = q;
	x->a = a;
	x->push.body = &q->body;
	x->push.trace = q->trace;
	x->push.who = q->who;
	x->push.done = on_done;
	if (!take_type(x) || !take_coding(x) || !take_key(x)) {
		finish(x);
	} else if (!etcd_is_up(q->gateway->etcd, NULL)) {
		refuse(x, -EBUSY, "etcd does not answer");
		finish(x);
	} else {
		submit(x);
	}
}
