/* Quota, the NOSPACE alarm and defragmentation: what etcd needs when its database fills up. */
#include "etcd_internal.h"
#include "parse.h"

#include <stdio.h>

enum { METRICS_MAX = 8 * 1024 * 1024 };

/* ---- quota ----------------------------------------------------------------------------------- */

/* The value of a metric without labels in exposition text: "name 8.589934592e+09". */
static bool find_metric(const char *text, const char *name, double *ret)
{
	size_t len = strlen(name);

	for (const char *p = text; (p = strstr(p, name)); p += len)
		if ((p == text || p[-1] == '\n') && p[len] == ' ')
			return sscanf(p + len, "%lf", ret) == 1;
	return false;
}

int etcd_quota(struct etcd *c, int64_t *ret_bytes, struct err *e)
{
	struct strbuf body;
	double bytes;
	int r = 0, status = 0;

	strbuf_init(&body, METRICS_MAX);
	for (int i = 0; i < c->n_endpoints; i++) {
		char *url = xasprintf("%s/metrics", c->endpoints[i].url);
		struct http_request q = {
			.method = "GET", .url = url, .timeout_ms = c->request_timeout_ms};

		r = http_call(c->http, &q, &status, &body, e);
		free(url);
		if (!r && status == 200)
			break;
	}
	if (!r && (status != 200 || !body.s ||
		   !find_metric(body.s, "etcd_server_quota_backend_bytes", &bytes)))
		r = err_set(e, -ENODATA, "etcd's /metrics does not tell its quota");
	if (!r)
		*ret_bytes = (int64_t)bytes;
	strbuf_release(&body);
	return r;
}

/* ---- alarms ---------------------------------------------------------------------------------- */

static int call_alarm(struct etcd *c, uint64_t action, uint64_t member, struct json **ret,
		      struct err *e)
{
	struct etcd_request q = {.call = CALL_ALARM, .repeatable = true, .headless = true};
	struct strbuf message;
	int r;

	strbuf_init(&message, 64);
	proto_add_varint(&message, ALARM_ACTION, action);
	proto_add_varint(&message, ALARM_MEMBER, member);
	if (action != ALARM_GET)
		proto_add_varint(&message, ALARM_KIND, ALARM_NOSPACE);
	q.message = (struct slice){message.s, message.len};
	r = etcd_call(c, &q, ret, e);
	strbuf_release(&message);
	return r;
}

/* The gateway has the name, gRPC the number. */
static bool is_nospace(const struct json *alarm)
{
	const struct json *kind = json_get(alarm, "alarm");

	return slice_eq(json_str(kind), SLICE_LIT("NOSPACE")) || json_int(kind, 0) == ALARM_NOSPACE;
}

int etcd_nospace(struct etcd *c, bool *ret_armed, struct err *e)
{
	struct json *doc = NULL;
	const struct json *alarms;
	int r = call_alarm(c, ALARM_GET, 0, &doc, e);

	if (r)
		return r;
	alarms = json_get(doc, "alarms");
	*ret_armed = false;
	for (size_t i = 0; i < json_count(alarms); i++)
		*ret_armed |= is_nospace(json_at(alarms, i));
	json_free(doc);
	return 0;
}

static int disarm_one(struct etcd *c, const struct json *alarm, struct err *e)
{
	struct json *doc = NULL;
	uint64_t member;
	int r;

	if (parse_u64(json_str(json_get(alarm, "memberID")), UINT64_MAX, &member))
		return err_set(e, -EIO, "an alarm of etcd's without its member");
	r = call_alarm(c, ALARM_DEACTIVATE, member, &doc, e);
	json_free(doc);
	return r;
}

int etcd_disarm(struct etcd *c, struct err *e)
{
	const struct json *alarms;
	struct json *doc = NULL;
	int r = call_alarm(c, ALARM_GET, 0, &doc, e);

	alarms = r ? NULL : json_get(doc, "alarms");
	for (size_t i = 0; i < json_count(alarms) && !r; i++)
		if (is_nospace(json_at(alarms, i)))
			r = disarm_one(c, json_at(alarms, i), e);
	json_free(doc);
	return r;
}

int etcd_defragment(struct etcd *c, int timeout_ms, struct err *e)
{
	struct etcd_request q = {.call = CALL_DEFRAGMENT,
				 .repeatable = true,
				 .headless = true,
				 .timeout_ms = timeout_ms};
	struct json *doc = NULL;
	int r = etcd_call(c, &q, &doc, e);

	json_free(doc);
	return r;
}
