/* The decoders of everything that lies in etcd, on any bytes: as they are, and with the checksums
 * that they lack put right, so that what is behind them is reached. What it checks beside memory:
 * what decodes stays within its limits, and comes back the same when it is written again.
 *	clang -fsanitize=fuzzer,address -DFUZZ …    or as it is: fuzz_decode FILE… */
#include <stdio.h>

#include "batch.h"
#include "chunk.h"
#include "digest.h"
#include "identity.h"
#include "message.h"
#include "producer.h"

#define ULID "01ARZ3NDEKTSV4RRFFQ69G5FAV"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static struct slice bytes_of(const struct strbuf *b)
{
	return (struct slice){b->s, b->len};
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void require_rows(const struct rows *rows, uint32_t series, uint32_t attributions)
{
	for (size_t i = 0; i < rows->n; i++) {
		const struct row *r = &rows->rows[i];

		require(r->series < series && r->attribution < attributions);
		require(r->time.ns >= 0 && r->time.digits <= 9 && r->value.len <= VALUE_MAX);
	}
}

/* Times finer than their digits are what no stamp is; they would be cut. */
static bool is_exact(const struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		int64_t unit = 1;

		for (uint8_t d = rows->rows[i].time.digits; d < 9; d++)
			unit *= 10;
		if (rows->rows[i].time.ns % unit)
			return false;
	}
	return true;
}

static void require_same_rows(const struct rows *a, const struct rows *b)
{
	require(a->n == b->n);
	for (size_t i = 0; i < a->n; i++) {
		const struct row *x = &a->rows[i], *y = &b->rows[i];

		require(x->time.ns == y->time.ns && x->time.digits == y->time.digits);
		require(x->series == y->series && x->attribution == y->attribution);
		require(slice_eq(x->value, y->value));
	}
}

/* ---- batches --------------------------------------------------------------------------------- */

static void batch_again(const struct batch *b)
{
	struct batch again = {0};
	struct strbuf out;

	strbuf_init(&out, 2 * BATCH_RAW_MAX);
	batch_encode(&out, b, b->rows.rows, b->rows.n);
	require(!out.err && batch_decode(out.s, out.len, &again, NULL) == 0);
	require(slice_eq(again.host, b->host) && again.n_series == b->n_series);
	require_same_rows(&b->rows, &again.rows);
	batch_release(&again);
	strbuf_release(&out);
}

static void try_batch(const void *p, size_t n)
{
	struct batch b = {0};
	struct err e = {""};
	int r = batch_decode(p, n, &b, &e);

	require(r == 0 || (r == -EBADMSG && e.text[0]));
	if (!r) {
		require_rows(&b.rows, b.n_series, b.n_attributions);
		if (is_exact(&b.rows))
			batch_again(&b);
	}
	batch_release(&b);
}

/* The bytes as what a payload's header is about. */
static void try_batch_body(const uint8_t *p, size_t n)
{
	struct strbuf out;

	strbuf_init(&out, n + 16);
	for (uint8_t flags = 0; flags < 2; flags++) {
		strbuf_reset(&out);
		strbuf_add(&out, "gtb\1", 4);
		strbuf_add_u8(&out, flags);
		strbuf_add_u32(&out, crc32c(p, n));
		strbuf_add(&out, p, n);
		try_batch(out.s, out.len);
	}
	strbuf_release(&out);
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static void require_header(const struct chunk *c)
{
	require(c->rows > 0 && c->rows <= CHUNK_ROWS_MAX && c->first_seq >= 0 && c->csv_bytes > 0);
	require(c->segment_ns <= c->min_ns && c->min_ns <= c->max_ns && c->stored_ns >= 0);
	for (uint32_t i = 0; i < c->n_series; i++) {
		const struct chunk_series *s = &c->series[i];

		require(s->id < IDENTITY_SERIES_MAX && (!i || s->id > c->series[i - 1].id));
		require(s->row < c->rows && s->attribution < c->n_attributions);
		require(s->time.ns >= c->min_ns && s->time.ns <= c->max_ns);
	}
}

static void chunk_again(const struct chunk *c)
{
	struct chunk again = {0};
	struct strbuf out;

	strbuf_init(&out, 1 << 26);
	chunk_encode(&out, c, c->inline_body);
	require(!out.err && chunk_decode(bytes_of(&out), &again, NULL) == 0);
	require(again.rows == c->rows && again.max_ns == c->max_ns &&
		again.n_series == c->n_series);
	chunk_release(&again);
	strbuf_release(&out);
}

static void try_chunk(const void *p, size_t n)
{
	struct chunk c = {0};
	struct rows rows = {0};
	struct err e = {""};
	int r = chunk_decode((struct slice){p, n}, &c, &e);

	require(r == 0 || ((r == -EBADMSG || r == -ENOTSUP) && e.text[0]));
	if (!r) {
		require_header(&c);
		chunk_again(&c);
		r = chunk_decode_body(&c, c.inline_body, &rows, &e);
		require(r == 0 || r == -EBADMSG);
		require_rows(&rows, c.n_series, c.n_attributions);
	}
	rows_release(&rows);
	chunk_release(&c);
}

/* The bytes as a header that lacks its magic and its checksum. */
static void try_chunk_header(const uint8_t *p, size_t n)
{
	struct strbuf out;

	strbuf_init(&out, n + 16);
	strbuf_add(&out, "gtc\1", 4);
	strbuf_add(&out, p, n);
	strbuf_add_u32(&out, crc32c(out.s, out.len));
	try_chunk(out.s, out.len);
	strbuf_release(&out);
}

/* The bytes as the body of a chunk whose header is made of the first two. */
static void try_chunk_body(const uint8_t *p, size_t n)
{
	struct chunk_series series[4] = {{.value = SLICE_LIT("1.5")}, {.value = SLICE_LIT("7")}};
	struct chunk c = {.rows = 1 + (n ? p[0] : 0),
			  .n_series = 1 + (n > 1 ? p[1] % 4 : 0),
			  .n_attributions = 2,
			  .series = series};
	struct slice body = {(const char *)p + MIN(n, (size_t)2), n - MIN(n, (size_t)2)};
	struct rows rows = {0};

	c.body_len = (uint32_t)body.len;
	c.body_crc = crc32c(body.p, body.len);
	if (chunk_decode_body(&c, body, &rows, NULL) == 0)
		require(rows.n == (size_t)c.rows);
	require_rows(&rows, c.n_series, c.n_attributions);
	rows_release(&rows);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void try_message(struct slice json)
{
	struct message m = {0}, again = {0};
	struct strbuf out;
	struct err e = {""};
	int r = message_decode(ULID, json, &m, &e);

	require(r == 0 || (r == -EBADMSG && e.text[0]));
	if (r)
		return;
	strbuf_init(&out, 1 << 26);
	message_encode(&out, &m);
	require(message_decode(ULID, bytes_of(&out), &again, NULL) == 0);
	require(!strcmp(m.host, again.host) && m.sequence == again.sequence);
	require(m.rows == again.rows && !memcmp(m.sha256, again.sha256, SHA256_LEN));
	message_release(&again);
	message_release(&m);
	strbuf_release(&out);
}

static void try_identity(struct slice json)
{
	struct identity *id = NULL, *again = NULL;
	struct strbuf out;
	struct err e = {""};
	int r = identity_decode(json, &id, &e);

	require(r == 0 || (r == -EBADMSG && e.text[0] && !id));
	if (r)
		return;
	strbuf_init(&out, 1 << 26);
	identity_encode(&out, id);
	require(identity_decode(bytes_of(&out), &again, NULL) == 0);
	require(again->n_series == id->n_series && again->incarnation == id->incarnation);
	identity_free(again);
	identity_free(id);
	strbuf_release(&out);
}

static void try_producer(struct slice json)
{
	struct etcd_kv kv = {.value = json, .mod_rev = 1};
	struct producer p, again;
	struct strbuf out;
	struct err e = {""};
	int r = producer_decode("s", &kv, &p, &e);

	require(r == 0 || (r == -EBADMSG && e.text[0]));
	if (r)
		return;
	strbuf_init(&out, 1 << 20);
	producer_encode(&out, &p);
	kv.value = bytes_of(&out);
	require(producer_decode("s", &kv, &again, NULL) == 0);
	require(p.offset == again.offset && p.window_end == again.window_end);
	strbuf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct slice json = {(const char *)p, n};

	try_batch(p, n);
	try_batch_body(p, n);
	try_chunk(p, n);
	try_chunk_header(p, n);
	try_chunk_body(p, n);
	try_message(json);
	try_identity(json);
	try_producer(json);
	return 0;
}

#ifndef FUZZ
static void run_file(const char *path)
{
	static uint8_t bytes[1 << 22];
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(1);
	}
	LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof(bytes), f));
	fclose(f);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	return 0;
}
#endif
