#include "ask.h"

#include <strings.h>

#include "map.h"
#include "parse.h"
#include "stamp.h"

const struct format_name formats[FORMATS] = {
	[FORMAT_JSON] = {"json", "application/json", "application/json"},
	[FORMAT_CSV] = {"csv", "text/csv", "text/csv; charset=utf-8"},
	[FORMAT_NDJSON] = {"ndjson", "application/x-ndjson", "application/x-ndjson"},
	[FORMAT_COLUMNS] = {"columns", "application/vnd.gputel.columns+x-ndjson",
			    "application/vnd.gputel.columns+x-ndjson"},
};

/* ---- Accept ---------------------------------------------------------------------------------- */

/* Thousandths of q=, 1000 where there is none. */
static int quality(struct slice params)
{
	const char *q = memmem(params.p, params.len, "q=", 2);
	double v;

	if (!q)
		return 1000;
	v = strtod(q + 2, NULL); /* the header is terminated */
	return v < 0 ? 0 : v > 1 ? 1000 : (int)(v * 1000);
}

/* 3: the type itself, 2: text/ *, 1: * / *, 0: not meant. */
static int closeness(struct slice range, const char *type)
{
	const char *slash = strchr(type, '/');
	size_t major = (size_t)(slash - type);

	if (range.len == strlen(type) && strncasecmp(range.p, type, range.len) == 0)
		return 3;
	if (range.len == major + 2 && strncasecmp(range.p, type, major + 1) == 0 &&
	    range.p[major + 1] == '*')
		return 2;
	return range.len == 3 && memcmp(range.p, "*/*", 3) == 0;
}

/* What the closest range says of one type. */
static int quality_of(const char *accept, const char *type)
{
	int best = 0, q = 0;

	for (const char *p = accept; *p;) {
		size_t n, name;
		int close;

		p += strspn(p, " \t,");
		n = strcspn(p, ",");
		name = MIN(strcspn(p, ",; \t"), n);
		close = closeness((struct slice){p, name}, type);
		if (close > best) {
			best = close;
			q = quality((struct slice){p + name, n - name});
		}
		p += n;
	}
	return q;
}

int accept_choose(const char *accept, const char *const *types, size_t n)
{
	int best = -1, best_q = 0;

	if (!accept || !*accept)
		return 0;
	for (size_t i = 0; i < n; i++) {
		int q = quality_of(accept, types[i]);

		if (q > best_q) {
			best_q = q;
			best = (int)i;
		}
	}
	return best;
}

bool ask_format(const struct request *q, enum format *ret, struct answer *a)
{
	const char *name = request_arg(q, "format"), *types[FORMATS];
	int i;

	for (i = 0; i < FORMATS; i++) {
		types[i] = formats[i].type;
		if (name && strcmp(name, formats[i].name) == 0)
			break;
	}
	if (!name) {
		i = accept_choose(request_header(q, "Accept"), types, FORMATS);
		answer_header(a, "Vary", "Accept, Accept-Encoding");
	}
	if (name && i == FORMATS)
		answer_problem(a, 400,
			       "format: expected json, csv, ndjson or columns, got \"%.40s\"",
			       name);
	else if (i < 0)
		answer_problem(a, 406,
			       "nothing in Accept can be had: this is JSON, text/csv or "
			       "application/x-ndjson");
	else
		*ret = (enum format)i;
	return !a->problem;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A '+' in a query is a blank; one in front of an offset was meant as it stands. */
static int stamp_parse_lenient(const char *text, struct stamp *ret)
{
	size_t n = strlen(text);
	char copy[64];

	if (stamp_parse(slice_str(text), ret) == 0)
		return 0;
	if (n < 20 || n >= sizeof(copy) || text[n - 6] != ' ')
		return -EINVAL;
	memcpy(copy, text, n + 1);
	copy[n - 6] = '+';
	return stamp_parse(slice_str(copy), ret);
}

int time_parse(const char *text, int64_t now_ns, int64_t *ret_ns)
{
	struct stamp t;
	int64_t ms = 0;
	char sign;
	int r;

	if (strncmp(text, "now", 3) != 0) {
		r = stamp_parse_lenient(text, &t);
		if (!r)
			*ret_ns = t.ns;
		return r;
	}
	sign = text[3] == ' ' ? '+' : text[3];
	if (sign && ((sign != '-' && sign != '+') || parse_duration_ms(slice_str(text + 4), &ms) ||
		     ms > INT64_MAX / NS_PER_MS))
		return -EINVAL;
	ms *= NS_PER_MS;
	if (__builtin_add_overflow(now_ns, sign == '-' ? -ms : ms, ret_ns))
		return -ERANGE;
	return 0;
}

static bool ask_time(const struct request *q, const char *name, int64_t now_ns, int64_t *ret,
		     struct answer *a)
{
	const char *text = request_arg(q, name);

	if (!text || time_parse(text, now_ns, ret) == 0)
		return true;
	answer_problem(a, 400,
		       "%s: \"%.60s\" is no time (expected RFC 3339, epoch seconds or e.g. now-5m)",
		       name, text);
	return false;
}

/* One of the words, by its index; fallback where it is not given. */
static bool ask_word(const struct request *q, const char *name, const char *const *words, int *ret,
		     struct answer *a)
{
	const char *text = request_arg(q, name);
	struct strbuf list;

	if (!text)
		return true;
	for (int i = 0; words[i]; i++) {
		if (strcmp(words[i], text) == 0) {
			*ret = i;
			return true;
		}
	}
	strbuf_init(&list, 256);
	for (int i = 0; words[i]; i++)
		strbuf_addf(&list, "%s%s", i ? ", " : "", words[i]);
	answer_problem(a, 400, "%s: expected one of %s, got \"%.60s\"", name, list.s, text);
	strbuf_release(&list);
	return false;
}

bool ask_limit(const struct request *q, enum format f, int64_t *ret, struct answer *a)
{
	const char *text = request_arg(q, "limit");

	*ret = f == FORMAT_JSON || request_arg(q, "cursor") ? LIMIT_DEFAULT : 0;
	if (!text || parse_i64(slice_str(text), 1, LIMIT_MAX, ret) == 0)
		return true;
	answer_problem(a, 400, "limit: expected 1 to %d, got \"%.40s\"", LIMIT_MAX, text);
	return false;
}

static bool ask_step(const struct request *q, struct ask *ask, struct answer *a)
{
	const char *text = request_arg(q, "step");
	int64_t ms;

	if (!text) {
		if (request_arg(q, "agg"))
			answer_problem(a, 400, "agg: expected step with it, e.g. step=1m");
		return !a->problem;
	}
	if (parse_duration_ms(slice_str(text), &ms) || ms < 1 || ms > INT64_MAX / NS_PER_MS) {
		answer_problem(a, 400, "step: expected a duration, e.g. 30s or 5m, got \"%.40s\"",
			       text);
		return false;
	}
	ask->step_ns = ms * NS_PER_MS;
	return true;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static bool ask_window(const struct request *q, struct ask *ask, struct answer *a)
{
	int64_t now = wall_now_ns();

	if (!ask_time(q, "start_time", now, &ask->from_ns, a) ||
	    !ask_time(q, "end_time", now, &ask->to_ns, a))
		return false;
	if (ask->from_ns > ask->to_ns)
		answer_problem(a, 400, "start_time is later than end_time");
	return !a->problem;
}

bool ask_parse(const struct request *q, struct ask *ret, struct answer *a)
{
	static const char *const orders[] = {"asc", "desc", NULL};
	static const char *const layouts[] = {"long", "wide", NULL};
	static const char *const aggregates[] = {"avg", "min", "max", "sum", "count", "last", NULL};
	int order = 0, layout = 0, aggregate = AGG_AVG;

	*ret = (struct ask){.to_ns = INT64_MAX, .metrics = globs_of(q, "metric")};
	if (!ask_window(q, ret, a) || !ask_word(q, "order", orders, &order, a) ||
	    !ask_word(q, "layout", layouts, &layout, a) || !ask_step(q, ret, a) ||
	    !ask_word(q, "agg", aggregates, &aggregate, a) || !ask_format(q, &ret->format, a) ||
	    !ask_limit(q, ret->format, &ret->limit, a))
		return false;
	ret->descending = order;
	ret->wide = layout;
	ret->aggregate = (enum aggregate)aggregate;
	if (ret->wide && ret->format == FORMAT_COLUMNS)
		answer_problem(a, 400, "layout=wide and format=columns exclude each other");
	return !a->problem;
}

static bool is_of_page(const char *name)
{
	static const char *const names[] = {"limit", "cursor", "format"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

uint64_t ask_hash(const struct request *q)
{
	uint64_t h = hash64(q->path, strlen(q->path), 0);

	for (size_t i = 0; i < q->n_args; i++) {
		if (is_of_page(q->args[i].name))
			continue;
		h = hash64(q->args[i].name, strlen(q->args[i].name) + 1, h);
		h = hash64(q->args[i].value, strlen(q->args[i].value) + 1, h);
	}
	return h;
}
