#include "chunk.h"

#include "digest.h"
#include "identity.h"
#include "number_coder.h"

#include <stdio.h>

#define DAY_NS    (86400ULL * NS_PER_SEC) /* no segment is longer */
#define UUID_TEXT 40                      /* "GPU-" and 36 characters */

static const char magic[4] = {'g', 't', 'c', 1};
static const char uuid_prefix[][4] = {{'G', 'P', 'U', '-'}, {'M', 'I', 'G', '-'}};

enum {
	FLAG_INLINE = 1,
	FLAG_SEALED = 2,
	UUID_LEN = 16,
	NAME_SAME = 0,
	NAME_UUID = 1, /* and the next: index of the prefix added */
	NAME_PLAIN = NAME_UUID + ARRAY_SIZE(uuid_prefix),
	BODY_MAX = 64 * 1024 * 1024, /* CHUNK_ROWS_MAX rows stay below it */
};

static struct columns_hints hints_of(const struct chunk *c, struct slice *values)
{
	for (uint32_t i = 0; i < c->n_series; i++)
		values[i] = c->series[i].value;
	return (struct columns_hints){c->min_ns, values};
}

/* ---- the series table ------------------------------------------------------------------------ */

/* What entries are told from: the one before, and the models of their differences. */
struct series_codec {
	struct chunk_series prev;
	struct bit ahead;
	struct number_model id, time, digits, row, attribution;
	struct text_model value;
};

static void series_codec_init(struct series_codec *m, const struct chunk *c)
{
	m->prev = (struct chunk_series){
		.id = UINT32_MAX,
		.time = {.ns = c->max_ns},
		.row = (uint32_t)(c->rows - c->n_series - 1),
		.attribution = c->n_attributions - 1,
	};
	m->ahead = BIT_INIT;
	number_model_init(&m->id);
	number_model_init(&m->time);
	number_model_init(&m->digits);
	number_model_init(&m->row);
	number_model_init(&m->attribution);
	text_model_init(&m->value);
}

static void encode_one_series(struct range_encoder *e, struct series_codec *m,
			      const struct chunk_series *s, int64_t unit)
{
	encode_number(e, &m->id, (int32_t)(s->id - m->prev.id - 1));
	encode_number(e, &m->time, (s->time.ns - m->prev.time.ns) / unit);
	encode_number(e, &m->digits, s->time.digits - m->prev.time.digits);
	range_encode_bit(e, &m->ahead, s->ahead);
	encode_number(e, &m->row, (int32_t)(s->row - m->prev.row - 1));
	encode_number(e, &m->attribution, (int32_t)(s->attribution - m->prev.attribution));
	encode_text(e, &m->value, s->value);
	m->prev = *s;
}

static void encode_series(struct strbuf *out, const struct chunk *c, int64_t unit)
{
	struct series_codec m;
	struct range_encoder e;
	struct strbuf stream;

	strbuf_init(&stream, out->max);
	range_encoder_init(&e, &stream);
	series_codec_init(&m, c);
	for (uint32_t i = 0; i < c->n_series; i++)
		encode_one_series(&e, &m, &c->series[i], unit);
	range_encoder_finish(&e);
	strbuf_add_varint(out, c->n_series);
	strbuf_add_lstr(out, (struct slice){stream.s, stream.len});
	strbuf_release(&stream);
}

static bool is_in(int64_t ns, const struct chunk *c)
{
	return ns >= c->min_ns && ns <= c->max_ns;
}

static int decode_one_series(struct range_decoder *d, struct series_codec *m, const struct chunk *c,
			     int64_t unit, char *buf, struct chunk_series *s)
{
	int64_t id = (int32_t)(m->prev.id + 1) + decode_number(d, &m->id), step, digits, row, a;

	step = decode_number(d, &m->time);
	digits = m->prev.time.digits + decode_number(d, &m->digits);
	s->ahead = range_decode_bit(d, &m->ahead);
	row = (int32_t)(m->prev.row + 1) + decode_number(d, &m->row);
	a = (int32_t)m->prev.attribution + decode_number(d, &m->attribution);
	if (id < (int32_t)(m->prev.id + 1) || id >= IDENTITY_SERIES_MAX || row < 0 ||
	    row >= c->rows || a < 0 || a >= c->n_attributions || digits < 0 || digits > 9 ||
	    __builtin_mul_overflow(step, unit, &step) ||
	    __builtin_add_overflow(m->prev.time.ns, step, &s->time.ns) || !is_in(s->time.ns, c) ||
	    decode_text(d, &m->value, buf, VALUE_MAX, &s->value))
		return -EBADMSG;
	s->id = (uint32_t)id;
	s->time.digits = (uint8_t)digits;
	s->row = (uint32_t)row;
	s->attribution = (uint32_t)a;
	m->prev = *s;
	return 0;
}

static void decode_series(struct reader *r, struct chunk *c, int64_t unit)
{
	uint64_t n = read_varint(r);
	struct slice stream = read_lstr(r);
	struct series_codec m;
	struct range_decoder d;

	if (r->err || n > IDENTITY_SERIES_MAX) {
		r->err = -EBADMSG;
		return;
	}
	c->series = xcalloc(n + 1, sizeof(*c->series));
	c->values = xmalloc(n * VALUE_MAX + 1);
	c->n_series = (uint32_t)n;
	range_decoder_init(&d, stream);
	series_codec_init(&m, c);
	for (uint32_t i = 0; i < n && !r->err; i++)
		r->err = decode_one_series(&d, &m, c, unit, c->values + i * VALUE_MAX,
					   &c->series[i]);
}

/* ---- attributions ---------------------------------------------------------------------------- */

/* Fills ret[0..16) if s is the text that put_uuid writes; returns the index of its prefix, or -1.
 */
static int take_uuid(struct slice s, uint8_t *ret)
{
	static const char hex[] = "0123456789abcdef";
	int prefix = 0, nibbles = 0;

	if (s.len != UUID_TEXT)
		return -1;
	while (memcmp(s.p, uuid_prefix[prefix], sizeof(uuid_prefix[0])))
		if (++prefix == ARRAY_SIZE(uuid_prefix))
			return -1;
	for (size_t i = sizeof(uuid_prefix[0]); i < s.len; i++) {
		const char *digit = memchr(hex, s.p[i], 16);
		bool dash = i == 12 || i == 17 || i == 22 || i == 27;

		if (dash ? s.p[i] != '-' : !digit)
			return -1;
		if (dash)
			continue;
		ret[nibbles / 2] = (uint8_t)(ret[nibbles / 2] << 4 | (digit - hex));
		nibbles++;
	}
	return prefix;
}

static struct slice put_uuid(int prefix, const char *uuid, char *to)
{
	const uint8_t *u = (const uint8_t *)uuid;
	char text[UUID_TEXT + 1];

	snprintf(text, sizeof(text),
		 "%.4s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 uuid_prefix[prefix], u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9],
		 u[10], u[11], u[12], u[13], u[14], u[15]);
	memcpy(to, text, UUID_TEXT);
	return (struct slice){to, UUID_TEXT};
}

static void encode_name(struct strbuf *out, struct slice name, struct slice before)
{
	uint8_t uuid[UUID_LEN] = {0};
	int prefix = take_uuid(name, uuid);

	if (slice_eq(name, before)) {
		strbuf_add_varint(out, NAME_SAME);
	} else if (prefix >= 0) {
		strbuf_add_varint(out, (uint64_t)(NAME_UUID + prefix));
		strbuf_add(out, uuid, UUID_LEN);
	} else {
		strbuf_add_varint(out, NAME_PLAIN + name.len);
		strbuf_add_slice(out, name);
	}
}

/* *to: room for a UUID's text, moved on when it was used. */
static struct slice decode_name(struct reader *r, struct slice before, char **to)
{
	uint64_t kind = read_varint(r);
	struct slice bytes;

	if (kind == NAME_SAME)
		return before;
	if (kind >= NAME_PLAIN)
		return read_bytes(r, kind - NAME_PLAIN);
	bytes = read_bytes(r, UUID_LEN);
	if (r->err)
		return bytes;
	*to += UUID_TEXT;
	return put_uuid((int)kind - NAME_UUID, bytes.p, *to - UUID_TEXT);
}

static const struct attribution nobody = {{"", 0}, {"", 0}, {"", 0}, {"", 0}};

static void encode_attributions(struct strbuf *out, const struct chunk *c)
{
	const struct attribution *before = &nobody;

	strbuf_add_varint(out, c->n_attributions);
	for (uint32_t i = 0; i < c->n_attributions; i++) {
		const struct attribution *a = &c->attributions[i];

		encode_name(out, a->uuid, before->uuid);
		encode_name(out, a->container, before->container);
		encode_name(out, a->pod, before->pod);
		encode_name(out, a->namespace, before->namespace);
		before = a;
	}
}

/* ---- encoding -------------------------------------------------------------------------------- */

void chunk_encode_body(struct chunk *c, const struct row *rows, size_t n, struct strbuf *ret_body)
{
	struct slice *values = xmalloc((c->n_series + 1) * sizeof(*values));
	struct columns_hints hints = hints_of(c, values);

	strbuf_reset(ret_body);
	columns_encode(ret_body, rows, n, c->n_series, &hints,
		       c->sealed ? COLUMNS_SMALL : COLUMNS_FAST);
	c->body_len = (uint32_t)ret_body->len;
	c->body_crc = crc32c(ret_body->s, ret_body->len);
	c->has_inline_body = ret_body->len <= CHUNK_INLINE_MAX;
	free(values);
}

static void encode_commits(struct strbuf *out, const struct chunk *c)
{
	int64_t revision = 0;

	strbuf_add_varint(out, c->n_commits);
	for (uint32_t i = 0; i < c->n_commits; i++) {
		strbuf_add_varint(out, (uint64_t)(c->commits[i].revision - revision));
		strbuf_add_varint(out, c->commits[i].rows);
		revision = c->commits[i].revision;
	}
}

static const int64_t units[] = {1,      10,      100,      1000,      10000,
				100000, 1000000, 10000000, 100000000, 1000000000};

/* The coarsest unit that all times of the header are in. */
static uint8_t unit_of(const struct chunk *c)
{
	uint8_t u = 9;

	while ((c->min_ns - c->segment_ns) % units[u] || (c->max_ns - c->segment_ns) % units[u])
		u--;
	for (uint32_t i = 0; i < c->n_series; i++)
		while ((c->series[i].time.ns - c->segment_ns) % units[u])
			u--;
	return u;
}

void chunk_encode(struct strbuf *out, const struct chunk *c, struct slice body)
{
	size_t start = out->len;
	uint8_t unit = unit_of(c);

	strbuf_add(out, magic, sizeof(magic));
	strbuf_add_u8(out, (c->has_inline_body ? FLAG_INLINE : 0) | (c->sealed ? FLAG_SEALED : 0));
	strbuf_add_u64(out, c->identity);
	strbuf_add_u64(out, c->incarnation);
	strbuf_add_varint(out, (uint64_t)(c->segment_ns / NS_PER_SEC));
	strbuf_add_varint(out, (uint64_t)c->first_seq);
	strbuf_add_varint(out, (uint64_t)c->rows);
	strbuf_add_varint(out, (uint64_t)c->csv_bytes);
	strbuf_add_u8(out, unit);
	strbuf_add_varint(out, (uint64_t)((c->min_ns - c->segment_ns) / units[unit]));
	strbuf_add_varint(out, (uint64_t)((c->max_ns - c->min_ns) / units[unit]));
	strbuf_add_varint(out, (uint64_t)c->stored_ns);
	encode_attributions(out, c);
	encode_commits(out, c);
	encode_series(out, c, units[unit]);
	strbuf_add_varint(out, c->body_len);
	strbuf_add_u32(out, c->body_crc);
	if (!out->err)
		strbuf_add_u32(out, crc32c(out->s + start, out->len - start));
	if (c->has_inline_body)
		strbuf_add_slice(out, body);
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* A count of table entries that take at least min bytes each. */
static uint32_t read_count(struct reader *r, size_t min)
{
	uint64_t n = read_varint(r);

	if (r->err || n > CHUNK_ROWS_MAX || n > reader_left(r) / min) {
		r->err = -EBADMSG;
		return 0;
	}
	return (uint32_t)n;
}

static void decode_attributions(struct reader *r, struct chunk *c)
{
	const struct attribution *before = &nobody;
	char *to;

	c->n_attributions = read_count(r, 4);
	c->attributions = xcalloc(c->n_attributions + 1, sizeof(*c->attributions));
	to = c->names = xmalloc(reader_left(r) / UUID_LEN * UUID_TEXT + 1);
	for (uint32_t i = 0; i < c->n_attributions && !r->err; i++) {
		struct attribution *a = &c->attributions[i];

		a->uuid = decode_name(r, before->uuid, &to);
		a->container = decode_name(r, before->container, &to);
		a->pod = decode_name(r, before->pod, &to);
		a->namespace = decode_name(r, before->namespace, &to);
		before = a;
	}
}

static void decode_commits(struct reader *r, struct chunk *c)
{
	uint64_t revision = 0, rows = 0;

	c->n_commits = read_count(r, 2);
	c->commits = xcalloc(c->n_commits + 1, sizeof(*c->commits));
	for (uint32_t i = 0; i < c->n_commits && !r->err; i++) {
		revision += read_varint(r);
		c->commits[i].revision = (int64_t)revision;
		c->commits[i].rows = (uint32_t)read_varint(r);
		rows += c->commits[i].rows;
	}
	if (rows > (uint64_t)c->rows)
		r->err = -EBADMSG;
}

static void decode_times(struct reader *r, struct chunk *c, int64_t *ret_unit)
{
	uint8_t unit = read_u8(r);
	uint64_t min = read_varint(r), max = read_varint(r), end;

	if (r->err || unit >= ARRAY_SIZE(units) || min > DAY_NS || max > DAY_NS) {
		r->err = -EBADMSG;
		return;
	}
	*ret_unit = units[unit];
	if (__builtin_mul_overflow(min + max, (uint64_t)units[unit], &end) || end > DAY_NS ||
	    end > (uint64_t)(INT64_MAX - c->segment_ns)) {
		r->err = -EBADMSG;
		return;
	}
	c->min_ns = c->segment_ns + (int64_t)min * units[unit];
	c->max_ns = c->segment_ns + (int64_t)end;
}

static void decode_fixed(struct reader *r, struct chunk *c, int64_t *ret_unit)
{
	uint8_t flags = read_u8(r);
	uint64_t segment;

	c->has_inline_body = flags & FLAG_INLINE;
	c->sealed = flags & FLAG_SEALED;
	c->identity = read_u64(r);
	c->incarnation = read_u64(r);
	segment = read_varint(r);
	c->first_seq = (int64_t)read_varint(r);
	c->rows = (int64_t)read_varint(r);
	c->csv_bytes = (int64_t)read_varint(r);
	if (flags & ~(FLAG_INLINE | FLAG_SEALED) || segment > INT64_MAX / NS_PER_SEC ||
	    c->first_seq < 0 || c->first_seq > INT64_MAX / 2 || c->rows <= 0 ||
	    c->rows > CHUNK_ROWS_MAX || c->csv_bytes <= 0 || c->csv_bytes > INT64_MAX / 2)
		r->err = -EBADMSG;
	if (r->err)
		return;
	c->segment_ns = (int64_t)segment * NS_PER_SEC;
	decode_times(r, c, ret_unit);
	c->stored_ns = (int64_t)read_varint(r);
	if (c->stored_ns < 0)
		r->err = -EBADMSG;
}

static void decode_body_len(struct reader *r, struct chunk *c)
{
	uint64_t body_len = read_varint(r);

	c->body_crc = read_u32(r);
	if (body_len > BODY_MAX)
		r->err = -EBADMSG;
	c->body_len = (uint32_t)body_len;
}

int chunk_decode(struct slice value, struct chunk *ret, struct err *e)
{
	struct reader r = reader_of(value.p, value.len);
	struct slice m = read_bytes(&r, sizeof(magic));
	int64_t unit = 1;
	size_t len;

	chunk_release(ret);
	if (r.err || memcmp(m.p, magic, 3))
		return err_set(e, -EBADMSG, "no chunk");
	if (m.p[3] != magic[3])
		return err_set(e, -ENOTSUP, "chunk version %d is not known here", m.p[3]);
	decode_fixed(&r, ret, &unit);
	if (!r.err)
		decode_attributions(&r, ret);
	if (!r.err)
		decode_commits(&r, ret);
	if (!r.err)
		decode_series(&r, ret, unit);
	if (!r.err)
		decode_body_len(&r, ret);
	len = (size_t)((const char *)r.p - value.p);
	if (!r.err && read_u32(&r) != crc32c(value.p, len))
		r.err = -EBADMSG;
	if (!r.err && ret->has_inline_body)
		ret->inline_body = read_bytes(&r, ret->body_len);
	if (r.err || reader_left(&r))
		return err_set(e, -EBADMSG, "damaged chunk header");
	return 0;
}

int chunk_decode_body(const struct chunk *c, struct slice body, struct rows *ret, struct err *e)
{
	struct reader r = reader_of(body.p, body.len);
	struct columns_hints hints;
	struct slice *values;
	int err;

	if (body.len != c->body_len || crc32c(body.p, body.len) != c->body_crc)
		return err_set(e, -EBADMSG, "chunk body: length or checksum mismatch");
	values = xmalloc((c->n_series + 1) * sizeof(*values));
	hints = hints_of(c, values);
	err = columns_decode(&r, c->n_series, c->n_attributions, (size_t)c->rows, &hints, ret);
	if (!err && (reader_left(&r) || ret->n != (size_t)c->rows))
		err = -EBADMSG;
	free(values);
	return err ? err_set(e, -EBADMSG, "chunk body: damaged") : 0;
}

void chunk_release(struct chunk *c)
{
	free(c->attributions);
	free(c->series);
	free(c->commits);
	free(c->names);
	free(c->values);
	*c = (struct chunk){0};
}
