/* Our JSON parser on any bytes, held against jansson: both take it and mean the same, or neither
 * takes it.
 *	clang -fsanitize=fuzzer,address -DFUZZ … -ljansson    or as it is: fuzz_json FILE… */
#include <jansson.h>
#undef json_is_object
#undef json_is_array
#undef json_is_string
#undef json_is_number
#undef json_is_null

#include "json.h"
#include "strbuf.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void require_same(const struct json *a, json_t *b);

static void require_same_members(const struct json *a, json_t *b)
{
	const char *key;
	json_t *value;

	json_object_foreach (b, key, value)
		require_same(json_get(a, key), value);
}

static void require_same(const struct json *a, json_t *b)
{
	require(json_is_object(a) == (json_typeof(b) == JSON_OBJECT));
	require(json_is_array(a) == (json_typeof(b) == JSON_ARRAY));
	require(json_is_string(a) == (json_typeof(b) == JSON_STRING));
	require(json_is_null(a) == (json_typeof(b) == JSON_NULL));
	require(json_bool(a) == (json_typeof(b) == JSON_TRUE));
	if (json_is_object(a)) {
		require(json_count(a) >= json_object_size(b)); /* ours keeps those of one name */
		require_same_members(a, b);
	} else if (json_is_array(a)) {
		require(json_count(a) == json_array_size(b));
		for (size_t i = 0; i < json_array_size(b); i++)
			require_same(json_at(a, i), json_array_get(b, i));
	} else if (json_is_string(a)) {
		require(slice_eq(json_str(a),
				 (struct slice){json_string_value(b), json_string_length(b)}));
		require(json_str(a).p[json_str(a).len] == '\0');
	} else if (json_typeof(b) == JSON_INTEGER) {
		require(json_int(a, ~json_integer_value(b)) == json_integer_value(b));
	} else {
		require(json_is_number(a) == (json_typeof(b) == JSON_REAL));
	}
}

/* Deeper than ours goes, outside of strings. */
static bool is_deep(const uint8_t *p, size_t n)
{
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (in_string && p[i] == '\\')
			i++;
		else if (p[i] == '"')
			in_string = !in_string;
		else if (!in_string)
			depth += (p[i] == '{' || p[i] == '[') - (p[i] == '}' || p[i] == ']');
		if (depth > 64)
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	/* jansson takes a NUL for the end; ours does not. */
	bool beyond = (n && memchr(p, 0, n)) || is_deep(p, n);
	char *text = n ? memcpy(xmalloc(n), p, n) : NULL; /* of exactly its size */
	json_t *theirs =
		beyond ? NULL
		       : json_loadb(n ? text : "", n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	struct json *ours = NULL;
	int r = json_parse(text, n, &ours, NULL);

	require((r == 0) == (theirs != NULL));
	if (!r)
		require_same(ours, theirs);
	json_free(ours);
	json_decref(theirs);
	free(text);
	return 0;
}

#ifndef FUZZ
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct strbuf b;
		FILE *f = fopen(argv[i], "re");
		char buf[4096];
		size_t n;

		strbuf_init(&b, 1 << 26);
		while (f && (n = fread(buf, 1, sizeof(buf), f)) > 0)
			strbuf_add(&b, buf, n);
		if (f)
			fclose(f);
		LLVMFuzzerTestOneInput((const uint8_t *)b.s, b.len);
		strbuf_release(&b);
	}
	return 0;
}
#endif
