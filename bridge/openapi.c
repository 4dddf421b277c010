/* /openapi.json (OpenAPI 3.1), made of the route table. */
#include <ctype.h>

#include "handlers.h"
#include "route.h"

#define DOCUMENT_MAX (1 << 20)

static const char intro[] = "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"gputel\",\"version\":";

/* What answer_finish puts into every answer. */
#define HEADERS                                                                                    \
	",\"headers\":{\"X-Request-Id\":{\"$ref\":\"#/components/headers/X-Request-Id\"},"         \
	"\"traceparent\":{\"$ref\":\"#/components/headers/traceparent\"}}"

static const char components[] =
	"},\"components\":{\"headers\":{"
	"\"X-Request-Id\":{\"description\":\"That of the request, or a new one\","
	"\"schema\":{\"type\":\"string\"}},"
	"\"traceparent\":{\"description\":\"The trace of the request's traceparent, or a new one, "
	"and the span of this answer (https://www.w3.org/TR/trace-context/)\","
	"\"schema\":{\"type\":\"string\"}}},"
	"\"securitySchemes\":{\"token\":{\"type\":\"http\",\"scheme\":\"bearer\"}"
	"},\"responses\":{\"problem\":{\"description\":\"What was wrong (RFC 9457)\"" HEADERS
	",\"content\":{"
	"\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/problem\"}}}}},"
	"\"schemas\":{"
	"\"problem\":{\"type\":\"object\",\"required\":[\"type\",\"title\",\"status\",\"detail\"],"
	"\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},"
	"\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},"
	"\"instance\":{\"type\":\"string\"},\"request_id\":{\"type\":\"string\"}}},"
	"\"ingested\":{\"type\":\"object\",\"properties\":{\"rows\":{\"type\":\"integer\"},"
	"\"published\":{\"type\":\"integer\"},\"duplicate\":{\"type\":\"integer\"},"
	"\"no_value\":{\"type\":\"integer\"},\"invalid\":{\"type\":\"integer\"},"
	"\"skipped\":{\"type\":\"integer\"},\"messages\":{\"type\":\"integer\"},"
	"\"errors\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
	"\"line\":{\"type\":\"integer\"},\"column\":{\"type\":\"integer\"},"
	"\"reason\":{\"type\":\"string\"}}}}}},"
	"\"page\":{\"type\":\"object\",\"required\":[\"data\",\"count\",\"has_more\"],"
	"\"properties\":{\"data\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}},"
	"\"count\":{\"type\":\"integer\"},\"has_more\":{\"type\":\"boolean\"},"
	"\"next_cursor\":{\"type\":\"string\"}}}}}}\n";

static void add_text(struct strbuf *out, const char *before, const char *s)
{
	strbuf_adds(out, before);
	strbuf_add_json(out, s, strlen(s));
}

/* {path…} is {path} there. */
static void add_path(struct strbuf *out, const char *pattern)
{
	struct strbuf plain;
	const char *dots = strstr(pattern, "…}");

	strbuf_init(&plain, 512);
	strbuf_add(&plain, pattern, dots ? (size_t)(dots - pattern) : strlen(pattern));
	if (dots)
		strbuf_addc(&plain, '}');
	strbuf_add_json(out, plain.s, plain.len);
	strbuf_release(&plain);
}

static const char *add_captures(struct strbuf *out, const char *pattern)
{
	const char *before = "", *at = pattern;

	while ((at = strchr(at, '{'))) {
		size_t n = strcspn(++at, "}");

		if (n > 3 && memcmp(at + n - 3, "…", 3) == 0)
			n -= 3;
		strbuf_addf(out,
			    "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,"
			    "\"schema\":{\"type\":\"string\"}}",
			    before, (int)n, at);
		before = ",";
	}
	return before;
}

static void add_param(struct strbuf *out, const struct param *p)
{
	add_text(out, "{\"name\":", p->name);
	add_text(out, ",\"in\":\"query\",\"description\":", p->about);
	if (p->many)
		strbuf_addf(out, ",\"schema\":{\"type\":\"array\",\"items\":%s}}", p->schema);
	else
		strbuf_addf(out, ",\"schema\":%s}", p->schema);
}

static void add_field(struct strbuf *out, const char *name, const char *about)
{
	add_text(out, "{\"name\":", name);
	add_text(out, ",\"in\":\"header\",\"description\":", about);
	strbuf_adds(out, ",\"schema\":{\"type\":\"string\"}}");
}

static void add_params(struct strbuf *out, const struct route *r)
{
	const char *before;

	strbuf_adds(out, ",\"parameters\":[");
	before = add_captures(out, r->pattern);
	for (const struct param *p = r->params; p && p->name; p++) {
		strbuf_adds(out, before);
		add_param(out, p);
		before = ",";
	}
	for (const char *const *f = r->fields; f && *f; f += 2) {
		strbuf_adds(out, before);
		add_field(out, f[0], f[1]);
		before = ",";
	}
	strbuf_addc(out, ']');
}

/* JSON of routes with pages is a page. */
static void add_type(struct strbuf *out, const struct route *r, struct slice type)
{
	bool page = false;

	for (const struct param *p = r->params; p && p->name; p++)
		page = page || strcmp(p->name, "cursor") == 0;
	strbuf_add_json(out, type.p, type.len);
	if (page && slice_eq(type, SLICE_LIT("application/json")))
		strbuf_adds(out, ":{\"schema\":{\"$ref\":\"#/components/schemas/page\"}}");
	else if (r->flags & ROUTE_WRITES)
		strbuf_adds(out, ":{\"schema\":{\"$ref\":\"#/components/schemas/ingested\"}}");
	else
		strbuf_adds(out, ":{}");
}

static void add_responses(struct strbuf *out, const struct route *r)
{
	const char *before = "";

	strbuf_adds(out,
		    ",\"responses\":{\"200\":{\"description\":\"OK\"" HEADERS ",\"content\":{");
	for (const char *p = *r->types ? r->types : "*/*"; *p;) {
		size_t n = strcspn(p, ",");

		strbuf_adds(out, before);
		add_type(out, r, (struct slice){p, n});
		before = ",";
		p += n + (p[n] != '\0');
	}
	strbuf_adds(out, "}},\"default\":{\"$ref\":\"#/components/responses/problem\"}}");
}

/* The next item of a list, without the blanks before it and what stands in brackets behind it;
 * empty at its end. */
static struct slice next_item(const char **at)
{
	struct slice item;

	*at += strspn(*at, ", ");
	item = (struct slice){*at, strcspn(*at, ",(")};
	while (item.len && item.p[item.len - 1] == ' ')
		item.len--;
	*at += strcspn(*at, ",");
	return item;
}

static void add_body(struct strbuf *out, const struct route *r)
{
	const char *before = "";
	struct slice type;

	if (!r->body_types)
		return;
	strbuf_adds(out, ",\"requestBody\":{\"required\":true,\"content\":{");
	for (const char *at = r->body_types; (type = next_item(&at)).len;) {
		strbuf_adds(out, before);
		strbuf_add_json(out, type.p, type.len);
		strbuf_adds(out, ":{}");
		before = ",";
	}
	strbuf_adds(out, "}}");
}

static void add_operation_id(struct strbuf *out, const char *method, const char *pattern)
{
	strbuf_addf(out, "\"operationId\":\"%s", method);
	for (const char *p = pattern; *p; p++)
		if (isalnum((unsigned char)*p))
			strbuf_addc(out, *p);
		else if (*p == '/')
			strbuf_addc(out, '_');
	strbuf_addc(out, '"');
}

static void add_operation(struct strbuf *out, const struct route *r, const char *method)
{
	strbuf_addf(out, "\"%s\":{", method);
	add_operation_id(out, method, r->pattern);
	add_text(out, ",\"summary\":", r->summary);
	add_params(out, r);
	add_body(out, r);
	add_responses(out, r);
	strbuf_adds(out, r->flags & ROUTE_OPEN ? ",\"security\":[]}"
					       : ",\"security\":[{},{\"token\":[]}]}");
}

static void add_route(struct strbuf *out, const struct route *r)
{
	static const struct {
		enum method method;
		const char *name;
	} methods[] = {{METHOD_GET, "get"}, {METHOD_HEAD, "head"}, {METHOD_POST, "post"}};
	const char *before = "";

	add_path(out, r->pattern);
	strbuf_adds(out, ":{");
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (!(r->methods & methods[i].method))
			continue;
		strbuf_adds(out, before);
		add_operation(out, r, methods[i].name);
		before = ",";
	}
	strbuf_addc(out, '}');
}

void handle_openapi(struct request *q, struct answer *a)
{
	struct strbuf b;

	strbuf_init(&b, DOCUMENT_MAX);
	add_text(&b, intro, gputel_version);
	strbuf_adds(&b, "},\"paths\":{");
	for (size_t i = 0; i < routes_count; i++) {
		strbuf_adds(&b, i ? "," : "");
		add_route(&b, &routes[i]);
	}
	strbuf_adds(&b, components);
	answer_compressible(a, q, "application/json", &b);
}
