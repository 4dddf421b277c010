#include "batch.h"

#include "compress.h"
#include "digest.h"

static const char magic[4] = {'g', 't', 'b', 1};

enum { FLAG_ZSTD = 1, ZSTD_LEVEL = 1 };

static void encode_tables(struct strbuf *out, const struct batch *b)
{
	strbuf_add_lstr(out, b->host);
	strbuf_add_varint(out, b->n_series);
	for (uint32_t i = 0; i < b->n_series; i++) {
		const struct batch_series *s = &b->series[i];

		strbuf_add_lstr(out, s->gpu);
		strbuf_add_lstr(out, s->metric);
		strbuf_add_lstr(out, s->device);
		strbuf_add_lstr(out, s->model);
		strbuf_add_lstr(out, s->driver);
		strbuf_add_lstr(out, s->labels);
	}
	strbuf_add_varint(out, b->n_attributions);
	for (uint32_t i = 0; i < b->n_attributions; i++) {
		const struct attribution *a = &b->attributions[i];

		strbuf_add_lstr(out, a->uuid);
		strbuf_add_lstr(out, a->container);
		strbuf_add_lstr(out, a->pod);
		strbuf_add_lstr(out, a->namespace);
	}
}

/* The tables, packed where that is shorter. */
static void put_tables(struct strbuf *out, const struct batch *b, uint8_t *ret_flags)
{
	struct strbuf raw, packed;
	bool zstd;

	strbuf_init(&raw, BATCH_RAW_MAX);
	strbuf_init(&packed, BATCH_RAW_MAX + BATCH_RAW_MAX / 128);
	encode_tables(&raw, b);
	zstd = compress_zstd(&packed, raw.s, raw.len, ZSTD_LEVEL) == 0 && packed.len < raw.len;
	*ret_flags = zstd ? FLAG_ZSTD : 0;
	strbuf_add_u32(out, (uint32_t)raw.len);
	strbuf_add_u32(out, (uint32_t)(zstd ? packed.len : raw.len));
	strbuf_add(out, zstd ? packed.s : raw.s, zstd ? packed.len : raw.len);
	if (raw.err && !out->err)
		out->err = raw.err;
	strbuf_release(&raw);
	strbuf_release(&packed);
}

void batch_encode(struct strbuf *out, const struct batch *b, const struct row *rows, size_t n)
{
	struct strbuf rest;
	uint8_t flags;

	strbuf_init(&rest, out->max);
	put_tables(&rest, b, &flags);
	columns_encode(&rest, rows, n, b->n_series, NULL, COLUMNS_FAST);
	strbuf_add(out, magic, sizeof(magic));
	strbuf_add_u8(out, flags);
	strbuf_add_u32(out, crc32c(rest.s, rest.len));
	strbuf_add(out, rest.s, rest.len);
	if (rest.err && !out->err)
		out->err = rest.err;
	strbuf_release(&rest);
}

/* Fills b->mem with the tables; r stands behind them then. */
static int unpack_tables(struct reader *r, uint8_t flags, struct batch *b, struct err *e)
{
	uint32_t raw_len = read_u32(r), packed_len = read_u32(r);
	struct slice packed = read_bytes(r, packed_len);

	if (r->err || raw_len > BATCH_RAW_MAX)
		return err_set(e, -EBADMSG, "payload: bad header");
	strbuf_init(&b->mem, raw_len + 1);
	if (!(flags & FLAG_ZSTD))
		strbuf_add_slice(&b->mem, packed);
	else if (decompress_zstd(&b->mem, packed.p, packed.len, raw_len))
		return err_set(e, -EBADMSG, "payload: damaged compression");
	if (b->mem.err || b->mem.len != raw_len)
		return err_set(e, -EBADMSG, "payload: length mismatch");
	return 0;
}

static int open_payload(struct reader *r, uint8_t *ret_flags, struct err *e)
{
	struct slice m = read_bytes(r, sizeof(magic));
	uint8_t flags = read_u8(r);
	uint32_t crc = read_u32(r);

	if (r->err || memcmp(m.p, magic, 3))
		return err_set(e, -EBADMSG, "payload: no batch");
	if (m.p[3] != magic[3])
		return err_set(e, -EBADMSG, "payload: version %d is not known here", m.p[3]);
	if (flags & ~FLAG_ZSTD)
		return err_set(e, -EBADMSG, "payload: bad header");
	if (crc32c(r->p, reader_left(r)) != crc)
		return err_set(e, -EBADMSG, "payload: checksum mismatch");
	*ret_flags = flags;
	return 0;
}

static int decode_tables(struct reader *r, struct batch *b)
{
	uint64_t n;

	b->host = read_lstr(r);
	n = read_varint(r);
	if (r->err || n > BATCH_ROWS_MAX || n > reader_left(r) / 6)
		return -EBADMSG;
	b->series = xcalloc(n + 1, sizeof(*b->series));
	b->n_series = (uint32_t)n;
	for (uint32_t i = 0; i < n; i++) {
		struct batch_series *s = &b->series[i];

		s->gpu = read_lstr(r);
		s->metric = read_lstr(r);
		s->device = read_lstr(r);
		s->model = read_lstr(r);
		s->driver = read_lstr(r);
		s->labels = read_lstr(r);
	}
	n = read_varint(r);
	if (r->err || n > BATCH_ROWS_MAX || n > reader_left(r) / 4)
		return -EBADMSG;
	b->attributions = xcalloc(n + 1, sizeof(*b->attributions));
	b->n_attributions = (uint32_t)n;
	for (uint32_t i = 0; i < n; i++) {
		struct attribution *a = &b->attributions[i];

		a->uuid = read_lstr(r);
		a->container = read_lstr(r);
		a->pod = read_lstr(r);
		a->namespace = read_lstr(r);
	}
	return r->err;
}

/* UTF-8 without NULs, as pointers and identities, which are JSON, hold them. */
static bool is_text(const struct slice *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!utf8_valid(s[i]) || (s[i].len && memchr(s[i].p, '\0', s[i].len)))
			return false;
	return true;
}

static bool is_all_text(const struct batch *b)
{
	bool good = is_text(&b->host, 1);

	for (uint32_t i = 0; i < b->n_series && good; i++) {
		const struct batch_series *s = &b->series[i];
		struct slice names[] = {s->gpu,   s->metric, s->device,
					s->model, s->driver, s->labels};

		good = is_text(names, ARRAY_SIZE(names));
	}
	for (uint32_t i = 0; i < b->n_attributions && good; i++) {
		const struct attribution *a = &b->attributions[i];
		struct slice names[] = {a->uuid, a->container, a->pod, a->namespace};

		good = is_text(names, ARRAY_SIZE(names));
	}
	return good;
}

int batch_decode(const void *p, size_t n, struct batch *ret, struct err *e)
{
	struct reader r = reader_of(p, n), tables;
	uint8_t flags = 0;
	int err;

	batch_release(ret);
	err = open_payload(&r, &flags, e);
	if (!err)
		err = unpack_tables(&r, flags, ret, e);
	if (err)
		return err;
	tables = reader_of(ret->mem.s, ret->mem.len);
	if (decode_tables(&tables, ret) || reader_left(&tables))
		return err_set(e, -EBADMSG, "payload: damaged tables");
	if (!is_all_text(ret))
		return err_set(e, -EBADMSG, "payload: a name is not UTF-8 text");
	if (columns_decode(&r, ret->n_series, ret->n_attributions, BATCH_ROWS_MAX, NULL,
			   &ret->rows))
		return err_set(e, -EBADMSG, "payload: damaged columns");
	if (reader_left(&r))
		return err_set(e, -EBADMSG, "payload: %zu bytes too many", reader_left(&r));
	return 0;
}

void batch_release(struct batch *b)
{
	free(b->series);
	free(b->attributions);
	rows_release(&b->rows);
	strbuf_release(&b->mem);
	*b = (struct batch){0};
}
