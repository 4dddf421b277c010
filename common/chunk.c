#include "chunk.h"

#include "compress.h"
#include "digest.h"
#include "identity.h"

#define DAY_NS (86400ULL * NS_PER_SEC) /* no segment is longer */

static const char magic[4] = {'g', 't', 'c', 1};

enum {
	FLAG_INLINE = 1,
	FLAG_ZSTD = 2,
	FLAG_SEALED = 4,
	DIGITS_AHEAD = 0x80,
	ZSTD_LEVEL = 3,
	RAW_MAX = 64 * 1024 * 1024, /* of a body; CHUNK_ROWS_MAX rows stay below it */
};

void chunk_encode_body(struct chunk *c, const struct row *rows, size_t n, struct strbuf *ret_body)
{
	struct strbuf raw;

	strbuf_init(&raw, RAW_MAX);
	columns_encode(&raw, rows, n, c->n_series);
	c->raw_len = (uint32_t)raw.len;
	strbuf_reset(ret_body);
	c->zstd =
		compress_zstd(ret_body, raw.s, raw.len, ZSTD_LEVEL) == 0 && ret_body->len < raw.len;
	if (!c->zstd) {
		strbuf_reset(ret_body);
		strbuf_add(ret_body, raw.s, raw.len);
	}
	c->body_len = (uint32_t)ret_body->len;
	c->body_crc = crc32c(ret_body->s, ret_body->len);
	c->has_inline_body = ret_body->len <= CHUNK_INLINE_MAX;
	if (raw.err && !ret_body->err)
		ret_body->err = raw.err;
	strbuf_release(&raw);
}

static void encode_series(struct strbuf *out, const struct chunk *c)
{
	uint32_t id = 0;

	strbuf_add_varint(out, c->n_series);
	for (uint32_t i = 0; i < c->n_series; i++) {
		const struct chunk_series *s = &c->series[i];

		strbuf_add_varint(out, s->id - id);
		strbuf_add_varint(out, (uint64_t)(s->time.ns - c->segment_ns));
		strbuf_add_u8(out, s->time.digits | (s->ahead ? DIGITS_AHEAD : 0));
		strbuf_add_varint(out, s->row);
		strbuf_add_varint(out, s->attribution);
		strbuf_add_lstr(out, s->value);
		id = s->id;
	}
}

static void encode_attributions(struct strbuf *out, const struct chunk *c)
{
	strbuf_add_varint(out, c->n_attributions);
	for (uint32_t i = 0; i < c->n_attributions; i++) {
		strbuf_add_lstr(out, c->attributions[i].uuid);
		strbuf_add_lstr(out, c->attributions[i].container);
		strbuf_add_lstr(out, c->attributions[i].pod);
		strbuf_add_lstr(out, c->attributions[i].namespace);
	}
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

void chunk_encode(struct strbuf *out, const struct chunk *c, struct slice body)
{
	size_t start = out->len;

	strbuf_add(out, magic, sizeof(magic));
	strbuf_add_u8(out, (c->has_inline_body ? FLAG_INLINE : 0) | (c->zstd ? FLAG_ZSTD : 0) |
				   (c->sealed ? FLAG_SEALED : 0));
	strbuf_add_u64(out, c->identity);
	strbuf_add_u64(out, c->incarnation);
	strbuf_add_varint(out, (uint64_t)(c->segment_ns / NS_PER_SEC));
	strbuf_add_varint(out, (uint64_t)c->first_seq);
	strbuf_add_varint(out, (uint64_t)c->rows);
	strbuf_add_varint(out, (uint64_t)c->csv_bytes);
	strbuf_add_varint(out, (uint64_t)(c->min_ns - c->segment_ns));
	strbuf_add_varint(out, (uint64_t)(c->max_ns - c->segment_ns));
	strbuf_add_varint(out, (uint64_t)c->stored_ns);
	encode_attributions(out, c);
	encode_series(out, c);
	encode_commits(out, c);
	strbuf_add_varint(out, c->body_len);
	strbuf_add_varint(out, c->raw_len);
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
	c->n_attributions = read_count(r, 4);
	c->attributions = xcalloc(c->n_attributions + 1, sizeof(*c->attributions));
	for (uint32_t i = 0; i < c->n_attributions; i++) {
		c->attributions[i].uuid = read_lstr(r);
		c->attributions[i].container = read_lstr(r);
		c->attributions[i].pod = read_lstr(r);
		c->attributions[i].namespace = read_lstr(r);
	}
}

static void decode_one_series(struct reader *r, const struct chunk *c, uint32_t before,
			      struct chunk_series *s)
{
	uint64_t id = before + read_varint(r), ns = read_varint(r), row, attribution;
	uint8_t digits = read_u8(r);

	row = read_varint(r);
	attribution = read_varint(r);
	s->value = read_lstr(r);
	if (id < before || id >= IDENTITY_SERIES_MAX ||
	    ns < (uint64_t)(c->min_ns - c->segment_ns) ||
	    ns > (uint64_t)(c->max_ns - c->segment_ns) || (digits & ~DIGITS_AHEAD) > 9 ||
	    row >= (uint64_t)c->rows || attribution >= c->n_attributions ||
	    s->value.len > VALUE_MAX) {
		r->err = -EBADMSG;
		return;
	}
	s->ahead = digits & DIGITS_AHEAD;
	s->time = (struct stamp){c->segment_ns + (int64_t)ns, digits & ~DIGITS_AHEAD};
	s->id = (uint32_t)id;
	s->row = (uint32_t)row;
	s->attribution = (uint32_t)attribution;
}

static void decode_series(struct reader *r, struct chunk *c)
{
	c->n_series = read_count(r, 6);
	c->series = xcalloc(c->n_series + 1, sizeof(*c->series));
	for (uint32_t i = 0; i < c->n_series && !r->err; i++) {
		decode_one_series(r, c, i ? c->series[i - 1].id : 0, &c->series[i]);
		if (i && c->series[i].id == c->series[i - 1].id)
			r->err = -EBADMSG;
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

static void decode_fixed(struct reader *r, struct chunk *c)
{
	uint64_t segment, min, max;
	uint8_t flags = read_u8(r);

	c->has_inline_body = flags & FLAG_INLINE;
	c->zstd = flags & FLAG_ZSTD;
	c->sealed = flags & FLAG_SEALED;
	c->identity = read_u64(r);
	c->incarnation = read_u64(r);
	segment = read_varint(r);
	c->first_seq = (int64_t)read_varint(r);
	c->rows = (int64_t)read_varint(r);
	c->csv_bytes = (int64_t)read_varint(r);
	min = read_varint(r);
	max = read_varint(r);
	c->stored_ns = (int64_t)read_varint(r);
	if (flags & ~(FLAG_INLINE | FLAG_ZSTD | FLAG_SEALED) || segment > INT64_MAX / NS_PER_SEC ||
	    min > max || max > DAY_NS || max > INT64_MAX - segment * NS_PER_SEC ||
	    c->first_seq < 0 || c->first_seq > INT64_MAX / 2 || c->rows <= 0 ||
	    c->rows > CHUNK_ROWS_MAX || c->csv_bytes <= 0 || c->csv_bytes > INT64_MAX / 2 ||
	    c->stored_ns < 0)
		r->err = -EBADMSG;
	if (r->err)
		return;
	c->segment_ns = (int64_t)segment * NS_PER_SEC;
	c->min_ns = c->segment_ns + (int64_t)min;
	c->max_ns = c->segment_ns + (int64_t)max;
}

static void decode_body_lengths(struct reader *r, struct chunk *c)
{
	uint64_t body_len = read_varint(r), raw_len = read_varint(r);

	c->body_crc = read_u32(r);
	if (body_len > RAW_MAX || raw_len > RAW_MAX)
		r->err = -EBADMSG;
	c->body_len = (uint32_t)body_len;
	c->raw_len = (uint32_t)raw_len;
}

int chunk_decode(struct slice value, struct chunk *ret, struct err *e)
{
	struct reader r = reader_of(value.p, value.len);
	struct slice m = read_bytes(&r, sizeof(magic));
	size_t len;

	chunk_release(ret);
	if (r.err || memcmp(m.p, magic, 3))
		return err_set(e, -EBADMSG, "no chunk");
	if (m.p[3] != magic[3])
		return err_set(e, -ENOTSUP, "chunk version %d is not known here", m.p[3]);
	decode_fixed(&r, ret);
	if (!r.err)
		decode_attributions(&r, ret);
	if (!r.err)
		decode_series(&r, ret);
	if (!r.err)
		decode_commits(&r, ret);
	if (!r.err)
		decode_body_lengths(&r, ret);
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
	struct strbuf raw;
	struct reader r;
	int err = 0;

	if (body.len != c->body_len || crc32c(body.p, body.len) != c->body_crc)
		return err_set(e, -EBADMSG, "chunk body: length or checksum mismatch");
	strbuf_init(&raw, c->raw_len + 1);
	if (c->zstd)
		err = decompress_zstd(&raw, body.p, body.len, c->raw_len);
	r = c->zstd ? reader_of(raw.s, raw.len) : reader_of(body.p, body.len);
	if (!err)
		err = columns_decode(&r, c->n_series, c->n_attributions, (size_t)c->rows, ret);
	if (!err && (reader_left(&r) || ret->n != (size_t)c->rows))
		err = -EBADMSG;
	strbuf_release(&raw);
	return err ? err_set(e, -EBADMSG, "chunk body: damaged") : 0;
}

void chunk_release(struct chunk *c)
{
	free(c->attributions);
	free(c->series);
	free(c->commits);
	*c = (struct chunk){0};
}
