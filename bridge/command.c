#include "command.h"

#include <stdio.h>

#include "json.h"

struct command {
	struct subscriber *subscriber;
	const struct json *j;
	char id[SUBSCRIPTION_ID_MAX + 1];
};

void command_refuse(struct subscriber *s, int status, const char *detail, const char *id)
{
	struct strbuf b;

	strbuf_init(&b, 8 * sizeof(struct err));
	strbuf_addf(&b, "{\"error\":{\"status\":%d,\"detail\":", status);
	strbuf_add_json(&b, detail, strlen(detail));
	strbuf_addc(&b, '}');
	if (id) {
		strbuf_adds(&b, ",\"id\":");
		strbuf_add_json(&b, id, strlen(id));
	}
	strbuf_addc(&b, '}');
	subscriber_say(s, frame_new(FRAME_ERROR, 0, (struct slice){b.s, b.len}));
	strbuf_release(&b);
}

/* ---- members --------------------------------------------------------------------------------- */

static int take_id(struct command *c, struct err *e)
{
	const struct json *id = json_get(c->j, "id");
	struct slice s = json_str(id);

	if (json_is_number(id))
		snprintf(c->id, sizeof(c->id), "%lld", (long long)json_int(id, 0));
	else if (id && !json_is_string(id))
		return err_set(e, -EINVAL, "id: expected a string");
	else if (s.len > SUBSCRIPTION_ID_MAX || memchr(s.p, '\0', s.len))
		return err_set(e, -EINVAL, "id: longer than %d bytes", SUBSCRIPTION_ID_MAX);
	else
		snprintf(c->id, sizeof(c->id), "%.*s", (int)s.len, s.p);
	return 0;
}

static int take_integer(const struct command *c, const char *name, int64_t fallback, int64_t *ret,
			struct err *e)
{
	const struct json *j = json_get(c->j, name);

	*ret = j ? json_int(j, -1) : fallback;
	if (j && *ret < 0)
		return err_set(e, -EINVAL, "%s: expected a number that is not negative", name);
	return 0;
}

static int take_glob(struct filter *f, enum filter_kind kind, const char *name,
		     const struct json *j, struct err *e)
{
	if (!json_is_string(j))
		return err_set(e, -EINVAL, "%s: expected a string or an array of strings", name);
	if (filter_add(f, kind, json_str(j)))
		return err_set(e, -EINVAL, "%s: more than %d", name, FILTER_GLOBS_MAX);
	return 0;
}

struct members {
	struct filter *filter;
	struct err *e;
};

static int take_member(const char *key, const struct json *value, void *arg)
{
	static const char *const others[] = {"op", "id", "since"};
	struct members *m = arg;
	enum filter_kind kind;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (strcmp(others[i], key) == 0)
			return 0;
	if (filter_kind_of(key, &kind))
		return err_set(m->e, -EINVAL, "unknown member \"%.64s\"", key);
	if (!json_is_array(value))
		return take_glob(m->filter, kind, key, value, m->e);
	for (size_t i = 0; i < json_count(value) && !r; i++)
		r = take_glob(m->filter, kind, key, json_at(value, i), m->e);
	return r;
}

/* ---- commands -------------------------------------------------------------------------------- */

static int subscribe_rows(struct command *c, struct err *e)
{
	struct filter filter = {0};
	int64_t since;
	int r = json_each(c->j, take_member, &(struct members){&filter, e});

	if (!r)
		r = take_integer(c, "since", SINCE_NOW, &since, e);
	if (!r)
		r = subscriber_add(c->subscriber, c->id, &filter, since, e);
	filter_release(&filter);
	return r;
}

static int subscribe_file(struct command *c, struct err *e)
{
	struct slice path = json_str(json_get(c->j, "path"));
	int64_t offset;
	char *text;
	int r = take_integer(c, "offset", 0, &offset, e);

	if (r)
		return r;
	if (!path.len || memchr(path.p, '\0', path.len))
		return err_set(e, -EINVAL, "path: expected a path of the tree");
	text = xstrndup(path.p, path.len);
	r = subscriber_follow(c->subscriber, c->id, text, offset, e);
	free(text);
	return r;
}

static int subscribe(struct command *c, struct err *e)
{
	int r = json_get(c->j, "path") ? subscribe_file(c, e) : subscribe_rows(c, e);

	if (!r && strcmp(c->id, EVERYTHING) != 0 && subscriber_remove(c->subscriber, EVERYTHING))
		return 0; /* it had none */
	return r;
}

static int unsubscribe(struct command *c, struct err *e)
{
	int r = subscriber_remove(c->subscriber, c->id);

	return r ? err_set(e, r, "there is no subscription \"%s\"", c->id) : 0;
}

static const struct {
	const char *op;
	int (*fn)(struct command *c, struct err *e);
} ops[] = {{"subscribe", subscribe}, {"unsubscribe", unsubscribe}};

static int run(struct command *c, struct err *e)
{
	struct slice op = json_str(json_get(c->j, "op"));
	int r = take_id(c, e);

	if (r)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (slice_eq(op, slice_str(ops[i].op)))
			return ops[i].fn(c, e);
	return err_set(e, -EINVAL, "op: expected \"subscribe\" or \"unsubscribe\"");
}

static const struct {
	int error, status;
} statuses[] = {{-ENOENT, 404}, {-EACCES, 403}, {-ERANGE, 416}, {-EIO, 503}};

static int status_of(int error)
{
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].error == error)
			return statuses[i].status;
	return 400;
}

void command_run(struct subscriber *s, struct slice text)
{
	struct command c = {.subscriber = s};
	struct json *doc = NULL;
	struct err e = {""};
	int r = json_parse(text.p, text.len, &doc, &e);

	c.j = doc;
	if (!r && !json_is_object(doc))
		r = err_set(&e, -EINVAL, "expected a JSON object");
	if (!r)
		r = run(&c, &e);
	if (r)
		command_refuse(s, status_of(r), e.text, c.id);
	json_free(doc);
}
