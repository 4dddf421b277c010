#include "url.h"

#include <strings.h>
#include <unistd.h>

static const char *skip_scheme(const char *text)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		if (!strncasecmp(text, schemes[i], strlen(schemes[i])))
			return text + strlen(schemes[i]);
	}
	return NULL;
}

/* Of host[:port], where an IPv6 address stands in brackets. */
static struct slice host_of(struct slice authority)
{
	const char *end = memchr(authority.p, authority.p[0] == '[' ? ']' : ':', authority.len);

	if (!authority.len)
		return authority;
	if (authority.p[0] == '[')
		return end ? (struct slice){authority.p + 1, (size_t)(end - authority.p) - 1}
			   : SLICE_LIT("");
	return (struct slice){authority.p, end ? (size_t)(end - authority.p) : authority.len};
}

static bool is_loopback(struct slice host)
{
	return slice_eq(host, SLICE_LIT("::1")) ||
	       (host.len == 9 && !strncasecmp(host.p, "localhost", 9)) ||
	       (host.len > 4 && !memcmp(host.p, "127.", 4));
}

static char *host_name(struct slice host)
{
	char own[256] = "";

	if (is_loopback(host) && !gethostname(own, sizeof(own) - 1) && own[0])
		return xstrdup(own);
	return xstrndup(host.p, host.len);
}

int url_parse(const char *text, struct url *ret, struct err *e)
{
	const char *start = skip_scheme(text), *rest = start ? strpbrk(start, "/?#") : NULL, *at;
	struct slice authority, host;

	if (start)
		authority = (struct slice){start, rest ? (size_t)(rest - start) : strlen(start)};
	at = start ? memrchr(authority.p, '@', authority.len) : NULL;
	if (at) {
		authority.len -= (size_t)(at + 1 - authority.p);
		authority.p = at + 1;
	}
	host = start ? host_of(authority) : SLICE_LIT("");
	if (!host.len || strpbrk(text, " \t\r\n"))
		return err_set(e, -EINVAL,
			       "\"%.200s\" is not an address (expected e.g. "
			       "http://node-1:9400/metrics)",
			       text);
	ret->text = xasprintf("%s%s", text, rest ? "" : "/metrics");
	ret->name = xasprintf("%.*s%s", (int)(start - text), ret->text,
			      ret->text + (authority.p - text));
	ret->host = host_name(host);
	return 0;
}

void url_release(struct url *a)
{
	free(a->text);
	free(a->name);
	free(a->host);
	*a = (struct url){0};
}
