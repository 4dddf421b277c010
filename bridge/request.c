#include "request.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "digest.h"

void request_release(struct request *q)
{
	for (size_t i = 0; i < CAPTURES_MAX; i++)
		free(TAKE_PTR(q->captures[i]));
	for (size_t i = 0; i < q->n_args; i++) {
		free((char *)q->args[i].name);
		free((char *)q->args[i].value);
	}
	free(TAKE_PTR(q->args));
	free(TAKE_PTR(q->headers));
	q->n_args = q->n_headers = 0;
	strbuf_release(&q->body);
	principal_unref(TAKE_PTR(q->who));
}

const char *request_header(const struct request *q, const char *name)
{
	for (size_t i = 0; i < q->n_headers; i++)
		if (strcasecmp(q->headers[i].name, name) == 0)
			return q->headers[i].value;
	return NULL;
}

const char *request_arg(const struct request *q, const char *name)
{
	for (size_t i = 0; i < q->n_args; i++)
		if (strcmp(q->args[i].name, name) == 0)
			return q->args[i].value;
	return NULL;
}

/* ---- ids ------------------------------------------------------------------------------------- */

#define RANDOM_AHEAD 1024

/* Drawn in bulk: a call into the kernel for each would be half of a small request's calls. */
static void random_hex(char *to, size_t bytes)
{
	static __thread uint8_t ahead[RANDOM_AHEAD];
	static __thread size_t left;

	if (left < bytes) {
		random_bytes(ahead, sizeof(ahead));
		left = sizeof(ahead);
	}
	left -= bytes;
	hex(ahead + left, bytes, to);
}

/* Goes into logs and headers, so nothing but what ids are made of. */
static bool is_id(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("-_.:/+=", s[i]))
			return false;
	return n > 0 && n < REQUEST_ID_MAX;
}

static bool is_lower_hex(const char *s, size_t n)
{
	return strspn(s, "0123456789abcdef") >= n;
}

/* <2 hex>-<32 hex>-<16 hex>-<2 hex>; versions after 00 may add to it. */
#define TRACEPARENT_LEN 55

static bool is_traceparent(const char *s)
{
	return strlen(s) >= TRACEPARENT_LEN && is_lower_hex(s, 2) && s[2] == '-' &&
	       is_lower_hex(s + 3, 32) && s[35] == '-' && is_lower_hex(s + 36, 16) &&
	       s[52] == '-' && is_lower_hex(s + 53, 2) && strncmp(s, "ff", 2) != 0 &&
	       strspn(s + 3, "0") < 32 && strspn(s + 36, "0") < 16 &&
	       (s[TRACEPARENT_LEN] == '\0' ||
		(s[TRACEPARENT_LEN] == '-' && strncmp(s, "00", 2) != 0));
}

static void join_trace(struct request *q, const char *parent)
{
	bool joined = parent && is_traceparent(parent);

	if (joined)
		snprintf(q->trace, sizeof(q->trace), "%.32s", parent + 3);
	else
		random_hex(q->trace, 16);
	random_hex(q->span, 8);
	q->sampled = joined && strtoul(parent + 53, NULL, 16) & 1;
}

void request_identify(struct request *q)
{
	const char *id = request_header(q, "X-Request-Id");

	if (id && is_id(id))
		strcpy(q->id, id);
	else
		random_hex(q->id, 8);
	join_trace(q, request_header(q, "traceparent"));
}

/* ---- percent-encoding ------------------------------------------------------------------------ */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int percent_decode(struct slice s, struct strbuf *out)
{
	for (size_t i = 0; i < s.len; i++) {
		int high, low;

		if (s.p[i] != '%') {
			strbuf_addc(out, s.p[i]);
			continue;
		}
		high = i + 2 < s.len ? hex_digit(s.p[i + 1]) : -1;
		low = i + 2 < s.len ? hex_digit(s.p[i + 2]) : -1;
		if (high < 0 || low < 0 || high + low == 0)
			return -EINVAL;
		strbuf_addc(out, (char)(high << 4 | low));
		i += 2;
	}
	return out->err;
}

static void encode(struct strbuf *out, const char *s, const char *plain)
{
	for (; *s; s++) {
		if (isalnum((unsigned char)*s) || strchr(plain, *s))
			strbuf_addc(out, *s);
		else
			strbuf_addf(out, "%%%02X", (unsigned char)*s);
	}
}

void percent_encode(struct strbuf *out, const char *s)
{
	encode(out, s, "-._~!$&'()*+,;=:@/");
}

void percent_encode_arg(struct strbuf *out, const char *s)
{
	encode(out, s, "-._~:");
}
