/* Conditional and partial requests (RFC 9110 §13, §14): pure functions over header texts. */
#ifndef GPUTEL_BRIDGE_RANGE_H
#define GPUTEL_BRIDGE_RANGE_H

#include "base.h"

enum range_kind {
	RANGE_NONE, /* no range, or one that is to be ignored: the whole */
	RANGE_ONE,  /* [first, first + length) */
	RANGE_BAD,  /* 416 */
};

/* Of bytes=a-b, a-, -n over size bytes. Several ranges at once are ignored. */
enum range_kind range_parse(const char *header, int64_t size, int64_t *ret_first,
			    int64_t *ret_length);

/* Whether one of the tags of If-None-Match is etag (with quotes), compared weakly; `*` is any. A
 * tag with -gzip stands for the same content. */
bool etag_listed(const char *header, const char *etag);

/* "Mon, 23 Nov 2026 12:00:00 GMT" */
#define HTTP_DATE_MAX 32
void http_date_format(int64_t ns, char ret[HTTP_DATE_MAX]);
int http_date_parse(const char *s, int64_t *ret_seconds) must_check;

#endif
