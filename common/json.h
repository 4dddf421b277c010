/* Reading JSON from outside. Writing is done by hand into a strbuf (strbuf_add_json).
 *
 * Strict: RFC 8259 in UTF-8, nothing before or behind the one value, integers within int64, reals
 * within a double's range, no NUL in names. Of members with one name the last one counts. Strings
 * are terminated with a NUL that their length does not count.
 *
 * A struct json is borrowed from the document that json_parse returned; only that one is freed.
 * Accessors take NULL and wrong types and yield NULL, "" or the fallback, so that a path can be
 * followed without a check at each step. Not thread-safe. */
#ifndef GPUTEL_JSON_H
#define GPUTEL_JSON_H

#include "base.h"

struct json;

/* At most 64 levels deep. -EBADMSG with line, column and reason in e. */
int json_parse(const char *s, size_t n, struct json **ret, struct err *e) must_check;
void json_free(struct json *doc);

const struct json *json_get(const struct json *object, const char *key);
const struct json *json_at(const struct json *array, size_t i);
size_t json_count(const struct json *array_or_object);
bool json_is_object(const struct json *j);
bool json_is_array(const struct json *j);
bool json_is_string(const struct json *j);
bool json_is_number(const struct json *j);
bool json_is_null(const struct json *j); /* a JSON null; absent (NULL) is not */
bool json_is_bool(const struct json *j);

struct slice json_str(const struct json *j);              /* "" if it is no string */
int64_t json_int(const struct json *j, int64_t fallback); /* also a decimal string: "123" */
struct slice json_number_text(const struct json *j);      /* as it was written; "": no number */
bool json_bool(const struct json *j);                     /* false if it is no boolean */

/* What stands there, fit for one line: "abc", 17, null, an object. */
#define JSON_EXCERPT_MAX 72
const char *json_excerpt(const struct json *j, char buf[JSON_EXCERPT_MAX]);

/* Calls fn for each member of an object, in order; stops at the first non-zero return, which it
 * passes on. */
int json_each(const struct json *object,
	      int (*fn)(const char *key, const struct json *value, void *arg), void *arg);

#endif
