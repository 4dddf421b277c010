#include "range.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "parse.h"

static bool number(struct slice s, int64_t *ret)
{
	int r = parse_i64(s, 0, INT64_MAX, ret);

	if (r == -ERANGE && s.p[0] != '-')
		*ret = INT64_MAX; /* further than any file reaches */
	return r == 0 || (r == -ERANGE && s.p[0] != '-');
}

/* -n: the last n bytes. */
static enum range_kind suffix(struct slice n, int64_t size, int64_t *ret_first, int64_t *ret_length)
{
	int64_t length;

	if (!number(n, &length))
		return RANGE_NONE;
	if (length == 0 || size == 0)
		return RANGE_BAD;
	*ret_length = MIN(length, size);
	*ret_first = size - *ret_length;
	return RANGE_ONE;
}

enum range_kind range_parse(const char *header, int64_t size, int64_t *ret_first,
			    int64_t *ret_length)
{
	int64_t first, last = INT64_MAX;
	struct slice spec, end;
	const char *dash;

	if (!header || strncasecmp(header, "bytes=", 6) != 0)
		return RANGE_NONE;
	spec = slice_str(header + 6 + strspn(header + 6, " \t"));
	dash = memchr(spec.p, '-', spec.len);
	if (!dash || memchr(spec.p, ',', spec.len))
		return RANGE_NONE;
	end = slice_str(dash + 1);
	if (dash == spec.p)
		return suffix(end, size, ret_first, ret_length);
	if (!number((struct slice){spec.p, (size_t)(dash - spec.p)}, &first) ||
	    (end.len && !number(end, &last)) || last < first)
		return RANGE_NONE;
	if (first >= size)
		return RANGE_BAD;
	*ret_first = first;
	*ret_length = MIN(last, size - 1) - first + 1;
	return RANGE_ONE;
}

/* ---- ETags ----------------------------------------------------------------------------------- */

/* The opaque part of `"x"`, `W/"x"` or `"x-gzip"`. */
static struct slice opaque(const char *p, size_t n)
{
	static const char gzip[] = "-gzip";
	struct slice s = {p, n};

	if (s.len > 2 && memcmp(s.p, "W/", 2) == 0)
		s = (struct slice){s.p + 2, s.len - 2};
	if (s.len >= 2 && s.p[0] == '"' && s.p[s.len - 1] == '"')
		s = (struct slice){s.p + 1, s.len - 2};
	if (s.len > sizeof(gzip) - 1 && memcmp(s.p + s.len - 5, gzip, 5) == 0)
		s.len -= 5;
	return s;
}

bool etag_listed(const char *header, const char *etag)
{
	struct slice wanted = opaque(etag, strlen(etag));

	for (const char *p = header ? header : ""; *p;) {
		size_t n = strcspn(p, ", \t");

		if (n && (slice_eq((struct slice){p, n}, SLICE_LIT("*")) ||
			  slice_eq(opaque(p, n), wanted)))
			return true;
		p += n + (p[n] != '\0');
	}
	return false;
}

/* ---- dates ----------------------------------------------------------------------------------- */

static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
				     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* Not strftime: names must not follow the locale. */
void http_date_format(int64_t ns, char ret[HTTP_DATE_MAX])
{
	time_t t = (time_t)(ns / NS_PER_SEC);
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(ret, HTTP_DATE_MAX, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday],
		 (unsigned)tm.tm_mday % 100, months[tm.tm_mon],
		 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
		 (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

int http_date_parse(const char *s, int64_t *ret_seconds)
{
	char day[4], month[4], end;
	struct tm tm = {0};
	int n = sscanf(s, "%3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GM%c", day, &tm.tm_mday,
		       month, &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end);

	if (n != 8 || end != 'T')
		return -EINVAL;
	tm.tm_year -= 1900;
	for (tm.tm_mon = 0; tm.tm_mon < 12; tm.tm_mon++)
		if (strcmp(months[tm.tm_mon], month) == 0)
			break;
	if (tm.tm_mon == 12)
		return -EINVAL;
	*ret_seconds = timegm(&tm);
	return 0;
}
