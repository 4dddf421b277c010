/* Fills a store with chunks as collectors leave them, for the benchmarks of reading.
 *
 *	fill ENDPOINT HOSTS GPUS METRICS SEGMENTS ROWS CHUNKS
 *
 * Hosts h0…, GPUs 0…, metrics DCGM_FI_0…; for each GPU the last SEGMENTS hours, in each of which
 * every metric has ROWS rows, spread evenly; of the newest segment CHUNKS chunks, of the others
 *one. A chunk with more rows than fit a body is cut. */
#include "chunk.h"
#include "clock.h"
#include "digest.h"
#include "etcd.h"
#include "identity.h"
#include "render.h"

#include <stdio.h>

#define HOUR      (3600 * NS_PER_SEC)
#define CUT_ROWS  40000
#define TXN_BYTES (256 * 1024)

struct filling {
	struct etcd *etcd;
	struct etcd_txn txn;
	int metrics;
	int64_t rows; /* of a metric and a segment */
	uint64_t keys, bytes;
};

static void send(struct filling *f)
{
	struct etcd_reply reply = {0};
	struct err e;

	if (f->txn.n_then && etcd_txn_settle(&f->txn, &reply, NULL, &e)) {
		fprintf(stderr, "%s\n", e.text);
		exit(1);
	}
	etcd_reply_release(&reply);
	etcd_txn_reset(&f->txn);
}

static void put(struct filling *f, struct key key, const struct strbuf *value)
{
	if (f->txn.n_then == ETCD_TXN_OPS - 8 || f->txn.bytes + value->len > TXN_BYTES)
		send(f);
	etcd_then_put(&f->txn, key.s, (struct slice){value->s, value->len}, 0);
	f->keys++;
	f->bytes += value->len;
}

static struct identity *identity(struct filling *f, const char *host, const char *gpu)
{
	struct identity *id = identity_new(slice_str(host), slice_str(gpu), random_u64() >> 1,
					   SLICE_LIT("job=\"dcgm\""));
	char metric[32];
	uint32_t series;

	free(id->uuid);
	free(id->model);
	id->uuid = xasprintf("GPU-%016llx-%s", (unsigned long long)random_u64(), gpu);
	id->model = xstrdup("NVIDIA H100 80GB HBM3");
	for (int m = 0; m < f->metrics; m++) {
		snprintf(metric, sizeof(metric), "DCGM_FI_%d", m);
		if (identity_series(id, slice_str(metric), SLICE_LIT(""), &series, NULL))
			abort();
	}
	return id;
}

/* A chunk being made. */
struct making {
	struct chunk c;
	struct attribution attribution;
	struct row *rows;
	char (*texts)[8];
	size_t n;
};

static void add_row(struct making *m, const struct identity *id, uint32_t series, int64_t ns)
{
	size_t i = m->n++;
	/* Noise around a level, so that a row takes about a byte, as real ones do. */
	uint64_t noise = hash64(&ns, sizeof(ns), series) % 100;
	int len = snprintf(m->texts[i], sizeof(m->texts[i]), "%u", 300 + series + (uint32_t)noise);

	m->rows[i] = (struct row){
		.time = {ns, 0},
		.series = series,
		.value = {m->texts[i], (size_t)len},
	};
	m->c.series[series] = (struct chunk_series){
		.id = series,
		.time = m->rows[i].time,
		.row = (uint32_t)i,
		.value = m->rows[i].value,
	};
	m->c.csv_bytes +=
		(int64_t)render_row_len(m->rows[i].time, m->rows[i].value,
					render_names_len(&id->series[series], &m->attribution));
}

static void put_chunk(struct filling *f, const char *host, const char *gpu, struct making *m)
{
	struct strbuf body, value;
	char ulid[ULID_LEN + 1];

	strbuf_init(&body, SIZE_MAX / 2);
	strbuf_init(&value, SIZE_MAX / 2);
	chunk_encode_body(&m->c, m->rows, m->n, &body);
	chunk_encode(&value, &m->c, (struct slice){body.s, body.len});
	ulid_new(ulid);
	if (!m->c.has_inline_body)
		put(f, key_body(host, gpu, m->c.min_ns, ulid), &body);
	put(f, key_data(host, gpu, m->c.min_ns, ulid), &value);
	strbuf_release(&value);
	strbuf_release(&body);
}

/* Times [from, to) of each metric, in a segment of f->rows times. */
static void fill_chunk(struct filling *f, const struct identity *id, const char *host,
		       const char *gpu, int64_t segment, int64_t from, int64_t to)
{
	size_t n = (size_t)(to - from) * (size_t)f->metrics;
	struct making m = {
		.c = {.identity = id->incarnation,
		      .incarnation = (uint64_t)segment,
		      .segment_ns = segment,
		      .first_seq = from * f->metrics,
		      .rows = (int64_t)n,
		      .min_ns = segment + from * (HOUR / f->rows),
		      .max_ns = segment + (to - 1) * (HOUR / f->rows),
		      .stored_ns = segment + HOUR,
		      .n_attributions = 1,
		      .n_series = (uint32_t)f->metrics,
		      .series = xcalloc((size_t)f->metrics, sizeof(struct chunk_series))},
		.rows = xcalloc(n, sizeof(struct row)),
		.texts = xcalloc(n, sizeof(*m.texts)),
	};

	m.attribution.uuid = slice_str(id->uuid);
	m.c.attributions = &m.attribution;
	for (int64_t i = from; i < to; i++)
		for (uint32_t s = 0; s < (uint32_t)f->metrics; s++)
			add_row(&m, id, s, segment + i * (HOUR / f->rows));
	put_chunk(f, host, gpu, &m);
	free(m.c.series);
	free(m.rows);
	free(m.texts);
}

static void fill_segment(struct filling *f, const struct identity *id, const char *host,
			 const char *gpu, int64_t segment, int64_t chunks)
{
	int64_t most = MAX(CUT_ROWS / f->metrics, 1);
	int64_t step = MAX(MIN((f->rows + chunks - 1) / chunks, most), 1);

	for (int64_t from = 0; from < f->rows; from += step)
		fill_chunk(f, id, host, gpu, segment, from, MIN(from + step, f->rows));
}

static void fill_gpu(struct filling *f, const char *host, const char *gpu, int segments, int chunks)
{
	struct identity *id = identity(f, host, gpu);
	int64_t newest = wall_now_ns() / HOUR * HOUR;
	struct strbuf json;

	strbuf_init(&json, 1 << 20);
	identity_encode(&json, id);
	put(f, key_gpu(host, gpu), &json);
	for (int s = segments; s-- > 0;)
		fill_segment(f, id, host, gpu, newest - s * HOUR, s ? 1 : chunks);
	strbuf_release(&json);
	identity_free(id);
}

static void fill_config(struct filling *f)
{
	struct strbuf json;

	strbuf_init(&json, 100);
	strbuf_adds(&json, "{\"v\":1,\"segment_s\":3600}");
	etcd_then_put(&f->txn, KEY_CONFIG, (struct slice){json.s, json.len}, 0);
	strbuf_release(&json);
}

int main(int argc, char **argv)
{
	struct etcd_conf conf = {.prefix = "",
				 .dial_timeout_ms = 5000,
				 .request_timeout_ms = 20000,
				 .max_inflight = 4};
	struct filling f = {0};
	char host[16], gpu[16];
	struct err e;

	if (argc != 8 || digest_init()) {
		fprintf(stderr, "usage: fill ENDPOINT HOSTS GPUS METRICS SEGMENTS ROWS CHUNKS\n");
		return 2;
	}
	conf.endpoints = argv[1];
	f.metrics = atoi(argv[4]);
	f.rows = atoi(argv[6]);
	if (etcd_open(&f.etcd, &conf, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	etcd_txn_init(&f.txn, f.etcd, "fill");
	fill_config(&f);
	for (int h = 0; h < atoi(argv[2]); h++)
		for (int g = 0; g < atoi(argv[3]); g++) {
			snprintf(host, sizeof(host), "h%d", h);
			snprintf(gpu, sizeof(gpu), "%d", g);
			fill_gpu(&f, host, gpu, atoi(argv[5]), atoi(argv[7]));
		}
	send(&f);
	etcd_txn_release(&f.txn);
	etcd_close(f.etcd);
	printf("{\"keys\": %llu, \"bytes\": %llu}\n", (unsigned long long)f.keys,
	       (unsigned long long)f.bytes);
	return 0;
}
