#include "message.h"

#include "json.h"

static void add_str(struct strbuf *out, const char *name, const char *value)
{
	strbuf_addf(out, "%s\"%s\":", out->len && out->s[out->len - 1] != '{' ? "," : "", name);
	strbuf_add_json(out, value ? value : "", value ? strlen(value) : 0);
}

static void add_int(struct strbuf *out, const char *name, int64_t value)
{
	strbuf_addf(out, ",\"%s\":%lld", name, (long long)value);
}

void message_encode(struct strbuf *out, const struct message *m)
{
	char digest[2 * SHA256_LEN + 1];

	hex(m->sha256, sizeof(m->sha256), digest);
	strbuf_addc(out, '{');
	add_str(out, "topic", m->topic);
	add_str(out, "host", m->host);
	add_str(out, "source", m->source);
	add_int(out, "sequence", m->sequence);
	add_int(out, "epoch", m->epoch);
	add_int(out, "part", m->part);
	add_int(out, "attempt", m->attempt);
	add_int(out, "rows", m->rows);
	add_int(out, "bytes", m->bytes);
	add_str(out, "sha256", digest);
	add_str(out, "schema", m->schema);
	add_str(out, "trace_id", m->trace_id);
	add_int(out, "created_at", m->created_ns);
	add_int(out, "expires_at", m->expires_ns);
	if (m->reason)
		add_str(out, "reason", m->reason);
	if (m->raw)
		add_str(out, "raw", m->raw);
	strbuf_addc(out, '}');
}

static char *dup_str(const struct json *doc, const char *name)
{
	struct slice s = json_str(json_get(doc, name));

	return xstrndup(s.p, s.len);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_sha256(struct slice s, uint8_t ret[SHA256_LEN])
{
	if (s.len != 2 * SHA256_LEN)
		return false;
	for (size_t i = 0; i < SHA256_LEN; i++) {
		int a = hex_digit(s.p[2 * i]), b = hex_digit(s.p[2 * i + 1]);

		if (a < 0 || b < 0)
			return false;
		ret[i] = (uint8_t)(a << 4 | b);
	}
	return true;
}

/* Counts stay far from where adding to them could overflow. */
static bool is_count(int64_t v)
{
	return v >= 0 && v <= INT32_MAX;
}

static const char *fault(const struct json *doc, const struct message *m)
{
	if (!json_is_object(doc))
		return "no JSON object";
	if (!m->host[0])
		return "host: missing";
	if (!m->schema[0])
		return "schema: missing";
	if (m->sequence < 0 || m->epoch < 0 || m->expires_ns < 0 || !is_count(m->part) ||
	    !is_count(m->attempt) || !is_count(m->rows) || !is_count(m->bytes))
		return "a number is out of range";
	return NULL;
}

int message_decode(const char *ulid, struct slice json, struct message *ret, struct err *e)
{
	struct message m = {0};
	struct json *doc;
	const char *wrong;
	int r = json_parse(json.p, json.len, &doc, e);

	if (r)
		return err_prefix(e, r, "message %s", ulid);
	memcpy(m.ulid, ulid, ULID_LEN);
	m.topic = dup_str(doc, "topic");
	m.host = dup_str(doc, "host");
	m.source = dup_str(doc, "source");
	m.schema = dup_str(doc, "schema");
	m.trace_id = dup_str(doc, "trace_id");
	if (json_is_string(json_get(doc, "reason")))
		m.reason = dup_str(doc, "reason");
	if (json_is_string(json_get(doc, "raw")))
		m.raw = dup_str(doc, "raw");
	m.sequence = json_int(json_get(doc, "sequence"), 0);
	m.epoch = json_int(json_get(doc, "epoch"), 0);
	m.part = json_int(json_get(doc, "part"), 0);
	m.attempt = json_int(json_get(doc, "attempt"), 0);
	m.rows = json_int(json_get(doc, "rows"), 0);
	m.bytes = json_int(json_get(doc, "bytes"), 0);
	m.created_ns = json_int(json_get(doc, "created_at"), 0);
	m.expires_ns = json_int(json_get(doc, "expires_at"), 0);
	wrong = fault(doc, &m);
	if (!wrong && !parse_sha256(json_str(json_get(doc, "sha256")), m.sha256))
		wrong = "sha256: expected 64 hexadecimal digits";
	json_free(doc);
	if (wrong) {
		message_release(&m);
		return err_set(e, -EBADMSG, "message %s: %s", ulid, wrong);
	}
	*ret = m;
	return 0;
}

void message_release(struct message *m)
{
	free(m->topic);
	free(m->host);
	free(m->source);
	free(m->schema);
	free(m->trace_id);
	free(m->reason);
	free(m->raw);
	*m = (struct message){0};
}
