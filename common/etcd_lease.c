#include "etcd_internal.h"
#include "parse.h"

#include <stdio.h>

/* A request whose body is short enough for printf. */
static int simple_call(struct etcd *c, struct etcd_request q, struct json **ret, struct err *e,
		       const char *fmt, ...) printf_like(5, 6);

static int simple_call(struct etcd *c, struct etcd_request q, struct json **ret, struct err *e,
		       const char *fmt, ...)
{
	char body[128];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(body, sizeof(body), fmt, ap);
	va_end(ap);
	q.body = (struct slice){body, (size_t)n};
	return etcd_call(c, &q, ret, NULL, e);
}

/* ---- leases --------------------------------------------------------------------------------- */

int etcd_lease_grant(struct etcd *c, int64_t id, int64_t ttl_s, int64_t *ret_ttl_s, struct err *e)
{
	struct etcd_request q = {.path = "/v3/lease/grant"};
	struct json *doc = NULL;
	int r = simple_call(c, q, &doc, e, "{\"ID\":\"%lld\",\"TTL\":\"%lld\"}", (long long)id,
			    (long long)ttl_s);

	if (!r && ret_ttl_s)
		*ret_ttl_s = json_int(json_get(doc, "TTL"), ttl_s);
	json_free(doc);
	return r;
}

int etcd_lease_keepalive_within(struct etcd *c, int64_t id, int timeout_ms, int64_t *ret_ttl_s,
				struct err *e)
{
	struct etcd_request q = {
		.path = "/v3/lease/keepalive",
		.repeatable = true,
		.timeout_ms = timeout_ms,
	};
	struct json *doc = NULL;
	int r = simple_call(c, q, &doc, e, "{\"ID\":\"%lld\"}", (long long)id);

	if (!r)
		*ret_ttl_s = json_int(json_get(json_get(doc, "result"), "TTL"), 0);
	json_free(doc);
	return r;
}

int etcd_lease_keepalive(struct etcd *c, int64_t id, int64_t *ret_ttl_s, struct err *e)
{
	return etcd_lease_keepalive_within(c, id, 0, ret_ttl_s, e);
}

int etcd_lease_left(struct etcd *c, int64_t id, int64_t *ret_ttl_s, struct err *e)
{
	struct etcd_request q = {.path = "/v3/lease/timetolive", .repeatable = true};
	struct json *doc = NULL;
	int r = simple_call(c, q, &doc, e, "{\"ID\":\"%lld\"}", (long long)id);

	if (!r)
		*ret_ttl_s = json_int(json_get(doc, "TTL"), 0);
	json_free(doc);
	return r;
}

int etcd_lease_revoke_within(struct etcd *c, int64_t id, int timeout_ms, struct err *e)
{
	struct etcd_request q = {.path = "/v3/lease/revoke", .timeout_ms = timeout_ms};
	struct json *doc = NULL;
	int r = simple_call(c, q, &doc, e, "{\"ID\":\"%lld\"}", (long long)id);

	json_free(doc);
	return r;
}

int etcd_lease_revoke(struct etcd *c, int64_t id, struct err *e)
{
	return etcd_lease_revoke_within(c, id, 0, e);
}

/* ---- maintenance ---------------------------------------------------------------------------- */

static uint64_t id_of(const struct json *j)
{
	uint64_t id = 0;

	return parse_u64(json_str(j), UINT64_MAX, &id) ? 0 : id;
}

int etcd_status(struct etcd *c, struct etcd_status *ret, struct err *e)
{
	struct etcd_request q = {.path = "/v3/maintenance/status", .repeatable = true};
	struct json *doc = NULL;
	struct slice version;
	int r = simple_call(c, q, &doc, e, "{}");

	if (r)
		return r;
	*ret = (struct etcd_status){
		.revision_hint = etcd_header_revision(doc),
		.db_size = json_int(json_get(doc, "dbSize"), 0),
		.db_size_in_use = json_int(json_get(doc, "dbSizeInUse"), 0),
		.member_id = id_of(json_get(json_get(doc, "header"), "member_id")),
		.leader_id = id_of(json_get(doc, "leader")),
	};
	version = json_str(json_get(doc, "version"));
	snprintf(ret->version, sizeof(ret->version), "%.*s", (int)MIN(version.len, 31), version.p);
	json_free(doc);
	return 0;
}

int etcd_compact(struct etcd *c, int64_t revision, struct err *e)
{
	struct etcd_request q = {.path = "/v3/kv/compaction"};
	struct json *doc = NULL;
	int r = simple_call(c, q, &doc, e, "{\"revision\":\"%lld\"}", (long long)revision);

	json_free(doc);
	return r;
}
