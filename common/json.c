#include <jansson.h>

/* jansson's macros of the same name; ours take a struct json */
#undef json_is_object
#undef json_is_array
#undef json_is_string
#undef json_is_number
#undef json_is_null

#include "json.h"
#include "parse.h"

#define DEPTH_MAX 64

static json_t *inner(const struct json *j)
{
	return (json_t *)(uintptr_t)j;
}

static const struct json *outer(const json_t *j)
{
	return (const struct json *)j;
}

/* jansson's own limit is 2,048 levels of recursion, which is too much for a small stack. */
static bool too_deep(const char *s, size_t n)
{
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (in_string && s[i] == '\\')
			i++;
		else if (s[i] == '"')
			in_string = !in_string;
		else if (!in_string && (s[i] == '{' || s[i] == '['))
			depth++;
		else if (!in_string && (s[i] == '}' || s[i] == ']'))
			depth--;
		if (depth > DEPTH_MAX)
			return true;
	}
	return false;
}

int json_parse(const char *s, size_t n, struct json **ret, struct err *e)
{
	json_error_t error;
	json_t *doc;

	if (too_deep(s, n))
		return err_set(e, -EBADMSG, "JSON nested deeper than %d levels", DEPTH_MAX);
	doc = json_loadb(s, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	if (!doc)
		return err_set(e, -EBADMSG, "JSON line %d, column %d: %s", error.line, error.column,
			       error.text);
	*ret = (struct json *)doc;
	return 0;
}

void json_free(struct json *doc)
{
	json_decref(inner(doc));
}

const struct json *json_get(const struct json *object, const char *key)
{
	return outer(json_object_get(inner(object), key));
}

const struct json *json_at(const struct json *array, size_t i)
{
	return outer(json_array_get(inner(array), i));
}

size_t json_count(const struct json *j)
{
	return json_is_array(j) ? json_array_size(inner(j)) : json_object_size(inner(j));
}

static bool is_type(const struct json *j, json_type type)
{
	return j && json_typeof(inner(j)) == type;
}

bool json_is_object(const struct json *j)
{
	return is_type(j, JSON_OBJECT);
}

bool json_is_array(const struct json *j)
{
	return is_type(j, JSON_ARRAY);
}

bool json_is_string(const struct json *j)
{
	return is_type(j, JSON_STRING);
}

bool json_is_number(const struct json *j)
{
	return is_type(j, JSON_INTEGER) || is_type(j, JSON_REAL);
}

bool json_is_null(const struct json *j)
{
	return is_type(j, JSON_NULL);
}

struct slice json_str(const struct json *j)
{
	const char *s = json_string_value(inner(j));

	return s ? (struct slice){s, json_string_length(inner(j))} : SLICE_LIT("");
}

int64_t json_int(const struct json *j, int64_t fallback)
{
	int64_t v = fallback;

	if (is_type(j, JSON_INTEGER))
		return json_integer_value(inner(j));
	if (json_is_string(j) && parse_i64(json_str(j), INT64_MIN, INT64_MAX, &v) < 0)
		return fallback;
	return v;
}

bool json_bool(const struct json *j)
{
	return is_type(j, JSON_TRUE);
}

int json_each(const struct json *object,
	      int (*fn)(const char *key, const struct json *value, void *arg), void *arg)
{
	const char *key;
	json_t *value;
	int r;

	json_object_foreach (inner(object), key, value) {
		r = fn(key, outer(value), arg);
		if (r)
			return r;
	}
	return 0;
}
