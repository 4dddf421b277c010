#include "answer.h"

#include <stdio.h>
#include <strings.h>

#define MEMBERS_MAX (16 << 10)
#define PROBLEM_MAX (64 << 10)

void answer_init(struct answer *a)
{
	*a = (struct answer){.status = 200, .length = ANSWER_LENGTH_UNKNOWN};
	strbuf_init(&a->members, MEMBERS_MAX);
}

static void drop_body(struct answer *a)
{
	strbuf_release(&a->body);
	if (a->ops)
		a->ops->free(a->ops_arg);
	a->ops = NULL;
	a->length = ANSWER_LENGTH_UNKNOWN;
}

void answer_release(struct answer *a)
{
	drop_body(a);
	strbuf_release(&a->members);
	for (size_t i = 0; i < a->n_headers; i++)
		free(a->headers[i].value);
	a->n_headers = 0;
}

/* A header that is there already gets the new value. */
void answer_header(struct answer *a, const char *name, const char *fmt, ...)
{
	char *value = NULL;
	size_t i = 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&value, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	while (i < a->n_headers && strcasecmp(a->headers[i].name, name) != 0)
		i++;
	if (i == ANSWER_HEADERS_MAX) {
		free(value);
		return;
	}
	if (i < a->n_headers)
		free(a->headers[i].value);
	else
		a->n_headers++;
	a->headers[i].name = name;
	a->headers[i].value = value;
}

const char *answer_get_header(const struct answer *a, const char *name)
{
	for (size_t i = 0; i < a->n_headers; i++)
		if (strcasecmp(a->headers[i].name, name) == 0)
			return a->headers[i].value;
	return NULL;
}

void answer_bytes(struct answer *a, const char *type, struct strbuf *bytes)
{
	int error = bytes->err;

	drop_body(a);
	a->body = *bytes;
	*bytes = (struct strbuf){0};
	answer_header(a, "Content-Type", "%s", type);
	if (error)
		answer_problem(a, 500, "the answer could not be put together: %s",
			       strerror(-error));
}

void answer_pieces(struct answer *a, const char *type, const struct body_ops *ops, void *arg,
		   int64_t length)
{
	drop_body(a);
	a->ops = ops;
	a->ops_arg = arg;
	a->length = length;
	answer_header(a, "Content-Type", "%s", type);
}

void answer_problem(struct answer *a, int status, const char *fmt, ...)
{
	va_list ap;

	drop_body(a);
	a->status = status;
	a->problem = true;
	va_start(ap, fmt);
	vsnprintf(a->detail.text, sizeof(a->detail.text), fmt, ap);
	va_end(ap);
}

static const struct {
	int error, status;
	const char *detail;
} errors[] = {
	{-ENOENT, 404, "does not exist"},
	{-ENOTDIR, 404, "does not exist"},
	{-ENAMETOOLONG, 404, "does not exist"},
	{-ELOOP, 404, "does not exist"},
	{-ESTALE, 404, "has just been removed"},
	{-EIO, 503, "cannot be had now: etcd does not answer, or the first list is not in yet"},
	{-ETIMEDOUT, 503, "cannot be had now: etcd does not answer"},
	{-ECANCELED, 503, "cannot be had now: the bridge is shutting down"},
};

void answer_errno(struct answer *a, int error, const char *what)
{
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		if (errors[i].error != error)
			continue;
		if (errors[i].status == 503)
			answer_header(a, "Retry-After", "1");
		answer_problem(a, errors[i].status, "%.300s %s", what, errors[i].detail);
		return;
	}
	answer_problem(a, 500, "%.300s: %s", what, strerror(-error));
}

/* ---- problems -------------------------------------------------------------------------------- */

static const struct {
	int status;
	const char *title;
} titles[] = {
	{200, "OK"},
	{204, "No Content"},
	{206, "Partial Content"},
	{304, "Not Modified"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{409, "Conflict"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{416, "Range Not Satisfiable"},
	{426, "Upgrade Required"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{503, "Service Unavailable"},
};

const char *status_title(int status)
{
	for (size_t i = 0; i < ARRAY_SIZE(titles); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return "Unknown";
}

static void add_member(struct strbuf *out, const char *before, const char *value)
{
	strbuf_adds(out, before);
	strbuf_add_json(out, value, strlen(value));
}

void problem_json(struct strbuf *out, int status, const char *detail, const char *instance,
		  const char *id, struct slice members)
{
	strbuf_adds(out, "{\"type\":\"about:blank\"");
	add_member(out, ",\"title\":", status_title(status));
	strbuf_addf(out, ",\"status\":%d", status);
	add_member(out, ",\"detail\":", detail);
	if (instance)
		add_member(out, ",\"instance\":", instance);
	if (id)
		add_member(out, ",\"request_id\":", id);
	strbuf_add_slice(out, members);
	strbuf_adds(out, "}\n");
}

void answer_finish(struct answer *a, const struct request *q)
{
	if (a->problem) {
		strbuf_init(&a->body, PROBLEM_MAX);
		problem_json(&a->body, a->status, a->detail.text, q->path, q->id,
			     (struct slice){a->members.s, a->members.len});
		answer_header(a, "Content-Type", "application/problem+json");
		answer_header(a, "Cache-Control", "no-store");
	}
	answer_header(a, "X-Request-Id", "%s", q->id);
	answer_header(a, "traceparent", "00-%s-%s-%02d", q->trace, q->span, q->sampled);
	answer_header(a, "X-Content-Type-Options", "nosniff");
	if (!answer_get_header(a, "Cache-Control"))
		answer_header(a, "Cache-Control", "no-cache");
}
