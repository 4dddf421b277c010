#include "content.h"

#include "clock.h"
#include "failpoint.h"

const char content_expired[] = "expired";

static const char *decode(struct content *x, const struct claim *k, struct err *e)
{
	struct batch *b = &x->batch;
	uint8_t sha[SHA256_LEN];

	sha256(k->payload.s, k->payload.len, sha);
	if (memcmp(sha, k->m.sha256, sizeof(sha)))
		return "payload: SHA-256 mismatch";
	if (batch_decode(k->payload.s, k->payload.len, b, e))
		return e->text;
	if (!slice_eq(b->host, slice_str(k->m.host)))
		return "payload: rows of another host than the pointer says";
	if (b->rows.n != (size_t)k->m.rows)
		return "payload: another number of rows than the pointer says";
	return NULL;
}

static int decode_migrated(struct content *x, const struct claim *k, struct err *e)
{
	struct outgoing o;
	int r = migration_outgoing(&x->split, 0, &k->m, &o, e);

	if (!r)
		r = batch_decode(o.payload.s, o.payload.len, &x->batch, e);
	migration_outgoing_release(&o);
	migration_release(&x->split);
	return r;
}

/* A message of an older schema. */
static const char *migrate(struct content *x, struct claim *k, int64_t segment_ns, struct err *e)
{
	struct slice payload = {k->payload.s, k->payload.len};

	if (migration_open(&x->split, &k->m, payload, segment_ns, NULL, e))
		return e->text;
	k->no_value = (int64_t)x->split.no_value;
	x->is_split = k->m.part || !migration_is_plain(&x->split, &k->m);
	if (!x->is_split && decode_migrated(x, k, e))
		return e->text;
	if (k->foreign)
		k->m.rows = x->is_split ? (int64_t)x->split.window.n : (int64_t)x->batch.rows.n;
	return NULL;
}

const char *content_open(struct content *ret, struct claim *k, int64_t segment_ns, struct err *e)
{
	bool older = migration_is_older(k->m.schema);

	failpoint(k->m.host, "decode"); /* a message that kills its collector */
	if (k->m.expires_ns && wall_now_ns() > k->m.expires_ns)
		return content_expired;
	if (!older && strcmp(k->m.schema, MESSAGE_SCHEMA)) {
		err_set(e, 0, "schema version \"%.32s\" is not known here, only " MESSAGE_SCHEMAS,
			k->m.schema);
		return e->text;
	}
	if (!k->payload.len)
		return "its payload is missing";
	return older ? migrate(ret, k, segment_ns, e) : decode(ret, k, e);
}

void content_release(struct content *x)
{
	batch_release(&x->batch);
	migration_release(&x->split);
}
