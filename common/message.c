#include "message.h"

#include "json.h"
#include "stamp.h"

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
	if (!m->no_sha256)
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

/* ---- decoding -------------------------------------------------------------------------------- */

enum kind { TEXT, NEEDED, OPTIONAL, COUNT, NUMBER, TIME };

/* COUNT: far from where adding to it could overflow. OPTIONAL: NULL where it is not there. */
static const struct field {
	const char *name;
	enum kind kind;
	size_t offset;
} fields[] = {
	{"topic", TEXT, offsetof(struct message, topic)},
	{"host", NEEDED, offsetof(struct message, host)},
	{"source", TEXT, offsetof(struct message, source)},
	{"schema", NEEDED, offsetof(struct message, schema)},
	{"trace_id", TEXT, offsetof(struct message, trace_id)},
	{"reason", OPTIONAL, offsetof(struct message, reason)},
	{"raw", OPTIONAL, offsetof(struct message, raw)},
	{"sequence", NUMBER, offsetof(struct message, sequence)},
	{"epoch", NUMBER, offsetof(struct message, epoch)},
	{"part", COUNT, offsetof(struct message, part)},
	{"attempt", COUNT, offsetof(struct message, attempt)},
	{"rows", COUNT, offsetof(struct message, rows)},
	{"bytes", COUNT, offsetof(struct message, bytes)},
	{"created_at", TIME, offsetof(struct message, created_ns)},
	{"expires_at", TIME, offsetof(struct message, expires_ns)},
};

static int decode_text(const struct field *f, const struct json *value, char **ret, struct err *e)
{
	struct slice text = json_str(value);
	char got[JSON_EXCERPT_MAX];

	if (value && !json_is_string(value))
		return err_set(e, -EBADMSG, "%s: expected a string, got %s", f->name,
			       json_excerpt(value, got));
	if (memchr(text.p, '\0', text.len))
		return err_set(e, -EBADMSG, "%s: expected text, got a NUL in it", f->name);
	if (f->kind == NEEDED && !text.len)
		return err_set(e, -EBADMSG, "%s: missing", f->name);
	if (value || f->kind != OPTIONAL)
		*ret = xstrndup(text.p, text.len);
	return 0;
}

static int decode_number(const struct field *f, const struct json *value, int64_t *ret,
			 struct err *e)
{
	int64_t max = f->kind == COUNT ? INT32_MAX : INT64_MAX, n = json_int(value, -1);
	char got[JSON_EXCERPT_MAX];
	struct stamp t;

	if (n < 0 && f->kind == TIME && memchr(json_str(value).p, ':', json_str(value).len) &&
	    !stamp_parse(json_str(value), &t))
		n = t.ns;
	if (!value)
		n = 0;
	if (n < 0 || n > max)
		return err_set(e, -EBADMSG, "%s: expected %sa whole number from 0 to %lld, got %s",
			       f->name, f->kind == TIME ? "RFC 3339, or " : "", (long long)max,
			       json_excerpt(value, got));
	*ret = n;
	return 0;
}

static int decode_fields(const struct json *doc, struct message *m, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fields) && !r; i++) {
		const struct json *value = json_get(doc, fields[i].name);
		void *at = (char *)m + fields[i].offset;

		value = json_is_null(value) ? NULL : value;
		r = fields[i].kind <= OPTIONAL ? decode_text(&fields[i], value, at, e)
					       : decode_number(&fields[i], value, at, e);
	}
	return r;
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

static int decode_sha256(const struct json *doc, struct message *m, struct err *e)
{
	const struct json *value = json_get(doc, "sha256");
	char got[JSON_EXCERPT_MAX];

	m->no_sha256 = !value || json_is_null(value);
	if (m->no_sha256 && strcmp(m->schema, MESSAGE_SCHEMA))
		return 0;
	if (m->no_sha256)
		return err_set(e, -EBADMSG, "sha256: missing");
	return parse_sha256(json_str(value), m->sha256)
		       ? 0
		       : err_set(e, -EBADMSG,
				 "sha256: expected 64 hexadecimal digits in lower case, got %s",
				 json_excerpt(value, got));
}

int message_decode(const char *ulid, struct slice json, struct message *ret, struct err *e)
{
	struct message m = {0};
	char got[JSON_EXCERPT_MAX];
	struct json *doc;
	int r = json_parse(json.p, json.len, &doc, e);

	if (r)
		return err_prefix(e, r, "message %s", ulid);
	memcpy(m.ulid, ulid, ULID_LEN);
	if (!json_is_object(doc))
		r = err_set(e, -EBADMSG, "expected an object, got %s", json_excerpt(doc, got));
	if (!r)
		r = decode_fields(doc, &m, e);
	if (!r)
		r = decode_sha256(doc, &m, e);
	json_free(doc);
	if (r) {
		message_release(&m);
		return err_prefix(e, r, "message %s", ulid);
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
