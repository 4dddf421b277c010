#include "conf_demand.h"

#include <unistd.h>

#include "cidr.h"
#include "parse.h"

#define DAY_MS (24LL * 3600 * 1000)

static bool is_port(const char *s, size_t n)
{
	uint64_t port = 0;

	return parse_u64((struct slice){s, n}, 65535, &port) == 0 && port > 0;
}

/* host:port or [v6]:port, with or without a scheme. */
static bool is_endpoint(const char *s, size_t n)
{
	static const char *const schemes[] = {"http://", "https://"};
	const char *colon;
	size_t host;

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		size_t len = strlen(schemes[i]);

		if (n > len && memcmp(s, schemes[i], len) == 0) {
			s += len;
			n -= len;
			break;
		}
	}
	colon = memrchr(s, ':', n);
	host = colon ? (size_t)(colon - s) : 0;
	if (host == 0 || !is_port(colon + 1, n - host - 1) || memchr(s, '/', n))
		return false;
	return s[0] == '[' ? s[host - 1] == ']' : !memchr(s, ':', host) && !memchr(s, '@', host);
}

int demand_endpoints(const char *text, int64_t v, struct err *e)
{
	int count = 0;

	for (const char *p = text; *p;) {
		size_t n = strcspn(p, ", \t");

		if (n && !is_endpoint(p, n))
			return err_set(e, -EINVAL,
				       "\"%.*s\" is not an endpoint (expected host:port, "
				       "http://host:port or https://host:port)",
				       (int)MIN(n, 200), p);
		count += n > 0;
		p += n + (p[n] != '\0');
	}
	if (count == 0)
		return err_set(e, -EINVAL,
			       "\"%s\" names no endpoint (expected host:port, comma-separated)",
			       text);
	return 0;
}

/* These become parts of keys and of log lines. */
int demand_id(const char *text, int64_t v, struct err *e)
{
	size_t n =
		strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");

	if (n == 0 || n > 128 || text[n])
		return err_set(e, -EINVAL,
			       "\"%.200s\" is not an identity (expected 1 to 128 characters of "
			       "letters, digits and ._:-)",
			       text);
	return 0;
}

int demand_prefix(const char *text, int64_t v, struct err *e)
{
	size_t n = 0;

	while ((unsigned char)text[n] > ' ' && text[n] != 0x7f)
		n++;
	if (text[n] || n > 256)
		return err_set(e, -EINVAL,
			       "\"%.300s\" is not a key prefix (expected at most 256 bytes without "
			       "blanks)",
			       text);
	return 0;
}

int demand_file(const char *text, int64_t v, struct err *e)
{
	if (*text && access(text, R_OK) < 0)
		return err_set(e, -EINVAL, "\"%.300s\" cannot be read: %s (expected a PEM file)",
			       text, strerror(errno));
	return 0;
}

int demand_plain_file(const char *text, int64_t v, struct err *e)
{
	if (*text && access(text, R_OK) < 0)
		return err_set(e, -EINVAL, "\"%.300s\" cannot be read: %s", text, strerror(errno));
	return 0;
}

/* Calls fn for each item of a comma-separated list until one is refused. */
static int check_list(const char *text, bool (*fits)(struct slice item), const char *expected,
		      struct err *e)
{
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, ", \t");

		if (n && !fits((struct slice){p, n}))
			return err_set(e, -EINVAL, "\"%.*s\" does not fit (expected %s)",
				       (int)MIN(n, 200), p, expected);
		p += n + (p[n] != '\0');
	}
	return 0;
}

static bool is_cidr(struct slice item)
{
	struct cidr c;

	return cidr_parse(item, &c) == 0;
}

int demand_proxies(const char *text, int64_t v, struct err *e)
{
	return check_list(text, is_cidr, "addresses or networks, e.g. 10.0.0.0/8, ::1", e);
}

/* scheme://host[:port], as browsers send it. */
static bool is_origin(struct slice item)
{
	const char *host = memmem(item.p, item.len, "://", 3);

	if (item.len == 1 && item.p[0] == '*')
		return true;
	return host && host > item.p && host + 3 < item.p + item.len &&
	       !memchr(host + 3, '/', (size_t)(item.p + item.len - host - 3));
}

int demand_origins(const char *text, int64_t v, struct err *e)
{
	return check_list(text, is_origin, "origins, e.g. https://grafana.example:3000, or *", e);
}

int demand_rate(const char *text, int64_t v, struct err *e)
{
	int64_t rate, burst;

	if (parse_rate(slice_str(text), &rate, &burst))
		return err_set(e, -EINVAL,
			       "\"%.200s\" is not a rate (expected e.g. 100/s:200, or 0)", text);
	return 0;
}

int demand_host(const char *text, int64_t v, struct err *e)
{
	if (!*text || strpbrk(text, " \t/"))
		return err_set(e, -EINVAL,
			       "\"%.200s\" is not an address (expected e.g. 127.0.0.1, ::, a name)",
			       text);
	return 0;
}

int demand_segment(const char *text, int64_t v, struct err *e)
{
	if (DAY_MS % v)
		return err_set(
			e, -EINVAL,
			"\"%s\" does not divide a day evenly (expected e.g. 1m, 15m, 1h, 24h)",
			text);
	return 0;
}
