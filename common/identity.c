#include "identity.h"

#include "digest.h"
#include "json.h"
#include "keys.h"

struct identity *identity_new(struct slice host, struct slice gpu, uint64_t incarnation,
			      struct slice labels)
{
	struct identity *id = xcalloc(1, sizeof(*id));

	id->host = xstrndup(host.p, host.len);
	id->gpu = xstrndup(gpu.p, gpu.len);
	id->incarnation = incarnation;
	id->uuid = xstrdup("");
	id->device = xstrdup("");
	id->model = xstrdup("");
	id->driver = xstrdup("");
	id->labels = xstrndup(labels.p, labels.len);
	id->by_name = MAP_INIT;
	return id;
}

void identity_free(struct identity *id)
{
	if (!id)
		return;
	for (uint32_t i = 0; i < id->n_series; i++) {
		free(id->series[i].metric);
		free(id->series[i].labels);
		free(id->series[i].name);
	}
	free(id->series);
	map_release(&id->by_name);
	free(id->host);
	free(id->gpu);
	free(id->uuid);
	free(id->device);
	free(id->model);
	free(id->driver);
	free(id->labels);
	free(id);
}

/* METRIC, or METRIC{k="v"}. Labels that are too long for a file's name are hashed in it; the rows
 * and info.json have them in full. */
static char *series_name(struct slice metric, struct slice labels)
{
	char *name = xasprintf("%.*s%s%.*s%s", (int)metric.len, metric.p, labels.len ? "{" : "",
			       (int)labels.len, labels.p, labels.len ? "}" : "");
	char encoded[NAME_MAX_ENCODED + 1], text[2 * SHA256_LEN + 1];
	uint8_t sha[SHA256_LEN];

	if (!labels.len || !name_encode_to(encoded, slice_str(name)))
		return name;
	free(name);
	sha256(labels.p, labels.len, sha);
	hex(sha, sizeof(sha), text);
	return xasprintf("%.*s{labels=\"%.16s\"}", (int)metric.len, metric.p, text);
}

static void append_series(struct identity *id, struct slice metric, struct slice labels, char *name)
{
	uint32_t n = id->n_series;

	if ((n & (n - 1)) == 0)
		id->series = xrealloc(id->series, (n ? 2 * n : 1) * sizeof(*id->series));
	id->series[n] = (struct series){xstrndup(metric.p, metric.len),
					xstrndup(labels.p, labels.len), name};
	id->n_series++;
	map_put(&id->by_name, name, strlen(name), (void *)(uintptr_t)(n + 1));
}

int identity_series(struct identity *id, struct slice metric, struct slice labels, uint32_t *ret,
		    bool *ret_added)
{
	char *name = series_name(metric, labels), encoded[NAME_MAX_ENCODED + 1];
	uintptr_t at = (uintptr_t)map_get_str(&id->by_name, name);
	int r;

	if (ret_added)
		*ret_added = !at;
	if (at) {
		free(name);
		*ret = (uint32_t)at - 1;
		return 0;
	}
	r = id->n_series >= IDENTITY_SERIES_MAX ? -ENOSPC
						: name_encode_to(encoded, slice_str(name));
	if (r) {
		free(name);
		return r;
	}
	append_series(id, metric, labels, name);
	*ret = id->n_series - 1;
	return 0;
}

struct identity *identity_copy(const struct identity *id)
{
	struct identity *c = identity_new(slice_str(id->host), slice_str(id->gpu), id->incarnation,
					  slice_str(id->labels));

	free(c->uuid);
	free(c->device);
	free(c->model);
	free(c->driver);
	c->uuid = xstrdup(id->uuid);
	c->device = xstrdup(id->device);
	c->model = xstrdup(id->model);
	c->driver = xstrdup(id->driver);
	c->as_of_ns = id->as_of_ns;
	for (uint32_t i = 0; i < id->n_series; i++)
		append_series(c, slice_str(id->series[i].metric), slice_str(id->series[i].labels),
			      xstrdup(id->series[i].name));
	return c;
}

/* ---- codec ----------------------------------------------------------------------------------- */

static void add_field(struct strbuf *out, const char *name, const char *value)
{
	strbuf_addf(out, ",\"%s\":", name);
	strbuf_add_json(out, value, strlen(value));
}

void identity_encode(struct strbuf *out, const struct identity *id)
{
	strbuf_adds(out, "{\"v\":1");
	add_field(out, "hostname", id->host);
	add_field(out, "gpu_id", id->gpu);
	strbuf_addf(out, ",\"incarnation\":\"%016llx\"", (unsigned long long)id->incarnation);
	add_field(out, "uuid", id->uuid);
	add_field(out, "device", id->device);
	add_field(out, "model", id->model);
	add_field(out, "driver", id->driver);
	strbuf_addf(out, ",\"as_of\":%lld", (long long)id->as_of_ns);
	add_field(out, "labels", id->labels);
	strbuf_adds(out, ",\"series\":[");
	for (uint32_t i = 0; i < id->n_series; i++) {
		strbuf_adds(out, i ? ",{\"metric\":" : "{\"metric\":");
		strbuf_add_json(out, id->series[i].metric, strlen(id->series[i].metric));
		add_field(out, "labels", id->series[i].labels);
		strbuf_addc(out, '}');
	}
	strbuf_adds(out, "]}");
}

static void take_field(const struct json *doc, const char *name, char **field)
{
	struct slice s = json_str(json_get(doc, name));

	free(*field);
	*field = xstrndup(s.p, s.len);
}

static int decode_series(const struct json *list, struct identity *id)
{
	for (size_t i = 0; i < json_count(list); i++) {
		const struct json *s = json_at(list, i);
		uint32_t at;
		bool added;

		if (identity_series(id, json_str(json_get(s, "metric")),
				    json_str(json_get(s, "labels")), &at, &added) ||
		    !added)
			return -EBADMSG;
	}
	return 0;
}

int identity_decode(struct slice json, struct identity **ret, struct err *e)
{
	struct identity *id;
	struct json *doc;
	char text[17] = "", *end;
	struct slice inc;
	int r = json_parse(json.p, json.len, &doc, e);

	if (r)
		return err_prefix(e, r, "identity");
	inc = json_str(json_get(doc, "incarnation"));
	memcpy(text, inc.p, MIN(inc.len, sizeof(text) - 1));
	id = identity_new(json_str(json_get(doc, "hostname")), json_str(json_get(doc, "gpu_id")),
			  strtoull(text, &end, 16), json_str(json_get(doc, "labels")));
	take_field(doc, "uuid", &id->uuid);
	take_field(doc, "device", &id->device);
	take_field(doc, "model", &id->model);
	take_field(doc, "driver", &id->driver);
	id->as_of_ns = json_int(json_get(doc, "as_of"), 0);
	if (json_int(json_get(doc, "v"), 0) != 1)
		r = err_set(e, -EBADMSG, "identity: version is not 1");
	else if (!id->host[0] || !id->gpu[0] || inc.len != 16 || *end)
		r = err_set(e, -EBADMSG, "identity: hostname, gpu_id or incarnation is wrong");
	else if (decode_series(json_get(doc, "series"), id))
		r = err_set(e, -EBADMSG, "identity: damaged series");
	json_free(doc);
	if (r)
		identity_free(id);
	else
		*ret = id;
	return r;
}
