#include "etcd_internal.h"
#include "parse.h"

#include <stdio.h>

/* A request of up to two numbers; a field 0 is none. */
static int call(struct etcd *c, struct etcd_request q, unsigned field, int64_t value,
		unsigned field2, int64_t value2, struct json **ret, struct err *e)
{
	struct strbuf message;
	int r;

	strbuf_init(&message, 64);
	if (field)
		proto_add_varint(&message, field, (uint64_t)value);
	if (field2)
		proto_add_varint(&message, field2, (uint64_t)value2);
	q.message = (struct slice){message.s, message.len};
	r = etcd_call(c, &q, ret, e);
	strbuf_release(&message);
	return r;
}

/* ---- leases --------------------------------------------------------------------------------- */

int etcd_lease_grant(struct etcd *c, int64_t id, int64_t ttl_s, int64_t *ret_ttl_s, struct err *e)
{
	struct etcd_request q = {.call = CALL_GRANT};
	struct json *doc = NULL;
	int r = call(c, q, GRANT_TTL, ttl_s, GRANT_ID, id, &doc, e);

	if (!r && ret_ttl_s)
		*ret_ttl_s = json_int(json_get(doc, "TTL"), ttl_s);
	json_free(doc);
	return r;
}

/* The gateway has an answer of a stream in an object of its own. */
static const struct json *stream_result(const struct json *doc)
{
	const struct json *result = json_get(doc, "result");

	return result ? result : doc;
}

int etcd_lease_keepalive_within(struct etcd *c, int64_t id, int timeout_ms, int64_t *ret_ttl_s,
				struct err *e)
{
	struct etcd_request q = {
		.call = CALL_KEEPALIVE,
		.repeatable = true,
		.timeout_ms = timeout_ms,
	};
	struct json *doc = NULL;
	int r = call(c, q, LEASE_ID, id, 0, 0, &doc, e);

	if (!r)
		*ret_ttl_s = json_int(json_get(stream_result(doc), "TTL"), 0);
	json_free(doc);
	return r;
}

int etcd_lease_keepalive(struct etcd *c, int64_t id, int64_t *ret_ttl_s, struct err *e)
{
	return etcd_lease_keepalive_within(c, id, 0, ret_ttl_s, e);
}

int etcd_lease_left(struct etcd *c, int64_t id, int64_t *ret_ttl_s, struct err *e)
{
	struct etcd_request q = {.call = CALL_TIME_TO_LIVE, .repeatable = true};
	struct json *doc = NULL;
	int r = call(c, q, LEASE_ID, id, 0, 0, &doc, e);

	if (!r)
		*ret_ttl_s = json_int(json_get(doc, "TTL"), 0);
	json_free(doc);
	return r;
}

int etcd_lease_revoke_within(struct etcd *c, int64_t id, int timeout_ms, struct err *e)
{
	struct etcd_request q = {.call = CALL_REVOKE, .timeout_ms = timeout_ms};
	struct json *doc = NULL;
	int r = call(c, q, LEASE_ID, id, 0, 0, &doc, e);

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
	struct etcd_request q = {.call = CALL_STATUS, .repeatable = true};
	struct json *doc = NULL;
	struct slice version;
	int r = call(c, q, 0, 0, 0, 0, &doc, e);

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
	struct etcd_request q = {.call = CALL_COMPACT};
	struct json *doc = NULL;
	int r = call(c, q, COMPACT_REVISION, revision, 0, 0, &doc, e);

	json_free(doc);
	return r;
}
