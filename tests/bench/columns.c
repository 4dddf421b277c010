/* What the chunk format takes and costs on the rows of a CSV file (long form):
 *	build/release/tests/bench/columns FILE [SEGMENT_SECONDS]
 *
 * Rows of each GPU are cut at the segments, then into chunks of 10, 100, 1,000 and 10,000 rows with
 * little effort, as a writer stores fresh ones, and into as few as the limit on bodies allows with
 * full effort, as a merge leaves them (`sealed`). `payload` are messages of 8,192 rows of a host.
 * Bytes count the value of the data key, the body and both keys. Times are CPU time of one thread;
 * encoding is body and header, decoding is both and every text. Every chunk is decoded and
 * compared. */
#include "batch.h"
#include "chunk.h"
#include "keys.h"
#include "map.h"

#include "row.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { KEY_TAIL = 20 + 1 + 26, SERIES_MAX = 4096, ATTRIBUTIONS_MAX = 4096 };

/* ---- the rows -------------------------------------------------------------------------------- */

/* Rows that share tables: those of a GPU, or of a host. */
struct source {
	struct row *rows;
	size_t n, cap;
	struct slice host, gpu;
	struct map series, attributions; /* ids + 1 of the parser's, as bytes */
	struct batch_series *names;
	struct attribution *attribution_names;
};

struct sources {
	struct map map;
	struct source **all;
	size_t n;
};

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "columns: %s\n", what);
	exit(1);
}

static struct slice keep(struct slice s)
{
	return (struct slice){xstrndup(s.p, s.len), s.len};
}

static struct source *source_of(struct sources *all, struct slice host, struct slice gpu)
{
	char name[512];
	int len = snprintf(name, sizeof(name), "%.*s/%.*s", (int)host.len, host.p, (int)gpu.len,
			   gpu.p);
	struct source *s = map_get(&all->map, name, (size_t)len);

	if (s)
		return s;
	s = xcalloc(1, sizeof(*s));
	s->host = keep(host);
	s->gpu = keep(gpu);
	s->names = xcalloc(SERIES_MAX, sizeof(*s->names));
	s->attribution_names = xcalloc(ATTRIBUTIONS_MAX, sizeof(*s->attribution_names));
	map_put(&all->map, name, (size_t)len, s);
	all->all = xrealloc(all->all, (all->n + 1) * sizeof(*all->all));
	all->all[all->n++] = s;
	return s;
}

/* The index that the parser's id has here. */
static uint32_t local(struct map *m, uint32_t id, bool *ret_new)
{
	uintptr_t at = (uintptr_t)map_get(m, &id, sizeof(id));

	*ret_new = !at;
	if (!at)
		map_put(m, &id, sizeof(id), (void *)(at = map_count(m) + 1));
	return (uint32_t)at - 1;
}

static void add_row(struct source *s, const struct sample *sample)
{
	const struct series_ref *ref = sample->series;
	struct row row = {sample->time, 0, 0, keep(sample->value)};
	bool is_new;

	row.series = local(&s->series, ref->series_id, &is_new);
	if (row.series >= SERIES_MAX)
		die("too many series");
	if (is_new)
		s->names[row.series] = ref->series;
	row.attribution = local(&s->attributions, ref->attribution_id, &is_new);
	if (row.attribution >= ATTRIBUTIONS_MAX)
		die("too many attributions");
	if (is_new)
		s->attribution_names[row.attribution] = ref->attribution;
	if (s->n == s->cap) {
		s->cap = 2 * s->cap + 1024;
		s->rows = xrealloc(s->rows, s->cap * sizeof(*s->rows));
	}
	s->rows[s->n++] = row;
}

/* The parser stays open, because names borrow from it. */
static size_t load(const char *path, struct sources *gpus, struct sources *hosts)
{
	struct row_parser *p = row_parser_new(&(struct row_conf){.name = path});
	int fd = open(path, O_RDONLY | O_CLOEXEC), event;
	struct csv_record rec;
	struct sample sample;
	struct err e = {""};
	struct csv *c;
	size_t n = 0;

	if (fd < 0 || csv_open(&c, fd, &(struct csv_conf){.name = path}) ||
	    csv_next(c, &rec, &e) != CSV_RECORD || row_header(p, &rec, &e))
		die(e.text[0] ? e.text : "cannot open it");
	while ((event = csv_next(c, &rec, &e)) > CSV_END) {
		if (event != CSV_RECORD || row_parse(p, &rec, &sample, &e) != ROW_OK)
			continue;
		add_row(source_of(gpus, sample.series->host, sample.series->series.gpu), &sample);
		add_row(source_of(hosts, sample.series->host, SLICE_LIT("")), &sample);
		n++;
	}
	csv_close(c);
	close(fd);
	return n;
}

/* ---- measuring ------------------------------------------------------------------------------- */

struct figures {
	size_t chunks, rows, body, body_max, value, keys;
	double encode_ns, decode_ns;
};

static void report(const char *what, const struct figures *f)
{
	double n = (double)f->rows;

	printf("%-12s %7zu %9.1f %8.3f %8.3f %8.3f %9.3f %8zu %8.0f %8.0f\n", what, f->chunks,
	       n / (double)f->chunks, (double)f->body / n, (double)(f->value) / n,
	       (double)f->keys / n, (double)(f->body + f->value + f->keys) / n, f->body_max,
	       f->encode_ns / n, f->decode_ns / n);
}

static void require_same(const struct row *a, const struct rows *b, size_t n)
{
	bool same = b->n == n;

	for (size_t i = 0; i < n && same; i++)
		same = a[i].time.ns == b->rows[i].time.ns &&
		       a[i].time.digits == b->rows[i].time.digits &&
		       a[i].series == b->rows[i].series &&
		       a[i].attribution == b->rows[i].attribution &&
		       slice_eq(a[i].value, b->rows[i].value);
	if (!same)
		die("rows do not come back");
}

/* A chunk of rows [at, at + n) of a GPU, and what its pointers point to. */
struct making {
	struct chunk c;
	struct row *rows;
	size_t n;
	struct chunk_series series[SERIES_MAX];
	struct attribution attributions[ATTRIBUTIONS_MAX];
	uint32_t attribution_at[ATTRIBUTIONS_MAX];
	struct strbuf body, value;
};

/* As the collector does it: tables of what these rows use, in order of id. */
static void describe(struct making *m, const struct source *s, size_t at, size_t n)
{
	uint32_t *index = xcalloc(SERIES_MAX, sizeof(*index));
	struct chunk *c = &m->c;

	for (size_t i = at; i < at + n; i++)
		index[s->rows[i].series] = 1;
	c->n_series = c->n_attributions = 0;
	for (uint32_t id = 0; id < SERIES_MAX; id++)
		if (index[id]) {
			m->series[c->n_series].id = id;
			index[id] = ++c->n_series;
		}
	memset(m->attribution_at, 0, sizeof(m->attribution_at));
	c->min_ns = c->max_ns = s->rows[at].time.ns;
	c->csv_bytes = 0;
	for (size_t i = 0; i < n; i++) {
		struct row *row = &m->rows[i];
		uint32_t *a = &m->attribution_at[s->rows[at + i].attribution];

		*row = s->rows[at + i];
		if (!*a) {
			m->attributions[c->n_attributions] = s->attribution_names[row->attribution];
			*a = ++c->n_attributions;
		}
		row->attribution = *a - 1;
		row->series = index[row->series] - 1;
		c->min_ns = MIN(c->min_ns, row->time.ns);
		c->max_ns = MAX(c->max_ns, row->time.ns);
		c->csv_bytes += (int64_t)row->value.len + 100;
		m->series[row->series] = (struct chunk_series){
			m->series[row->series].id, row->time, false, (uint32_t)i,
			row->attribution,          row->value};
	}
	free(index);
}

static void encode(struct making *m, struct figures *f)
{
	double start = cpu_ns();

	strbuf_reset(&m->value);
	chunk_encode_body(&m->c, m->rows, m->n, &m->body);
	chunk_encode(&m->value, &m->c, (struct slice){m->body.s, m->body.len});
	f->encode_ns += cpu_ns() - start;
}

static void decode(const struct making *m, struct figures *f)
{
	struct chunk c = {0};
	struct rows rows = {0};
	struct err e = {""};
	double start = cpu_ns();

	if (chunk_decode((struct slice){m->value.s, m->value.len}, &c, &e) ||
	    chunk_decode_body(&c, (struct slice){m->body.s, m->body.len}, &rows, &e))
		die(e.text);
	f->decode_ns += cpu_ns() - start;
	require_same(m->rows, &rows, m->n);
	rows_release(&rows);
	chunk_release(&c);
}

static void count(const struct making *m, const struct source *s, struct figures *f)
{
	size_t key = strlen("/telemetry/data///") + s->host.len + s->gpu.len + KEY_TAIL;

	f->chunks++;
	f->rows += m->n;
	f->body += m->body.len;
	f->body_max = MAX(f->body_max, m->body.len);
	f->value += m->value.len - (m->c.has_inline_body ? m->body.len : 0);
	f->keys += m->c.has_inline_body ? key : 2 * key;
}

static void measure_run(struct making *m, const struct source *s, size_t at, size_t n,
			struct figures *f)
{
	struct figures before = *f;

	m->n = n;
	m->c.rows = (int64_t)n;
	m->c.first_seq = (int64_t)at;
	describe(m, s, at, n);
	m->c.stored_ns = m->c.max_ns + 123456789;
	encode(m, f);
	if (m->body.len > CHUNK_BODY_MAX && n > 1) {
		f->encode_ns = before.encode_ns;
		measure_run(m, s, at, n / 2, f);
		measure_run(m, s, at + n / 2, n - n / 2, f);
		return;
	}
	decode(m, f);
	count(m, s, f);
}

static size_t run_length(const struct source *s, size_t at, size_t max, int64_t segment_ns)
{
	int64_t segment = s->rows[at].time.ns / segment_ns;
	size_t n = 0;

	while (at + n < s->n && n < max && s->rows[at + n].time.ns / segment_ns == segment)
		n++;
	return n;
}

static void measure(const struct sources *gpus, const char *what, size_t max, bool sealed,
		    int64_t segment_ns)
{
	struct making *m = xcalloc(1, sizeof(*m));
	struct figures f = {0};

	m->c.sealed = sealed;
	m->c.identity = 0x0123456789abcdef;
	m->c.incarnation = 0xfedcba9876543210;
	m->c.series = m->series;
	m->c.attributions = m->attributions;
	m->rows = xmalloc(MIN(max, (size_t)CHUNK_ROWS_MAX) * sizeof(*m->rows));
	strbuf_init(&m->body, 1 << 28);
	strbuf_init(&m->value, 1 << 28);
	for (size_t i = 0; i < gpus->n; i++)
		for (size_t at = 0, n; at < gpus->all[i]->n; at += n) {
			n = run_length(gpus->all[i], at, max, segment_ns);
			m->c.segment_ns = gpus->all[i]->rows[at].time.ns / segment_ns * segment_ns;
			measure_run(m, gpus->all[i], at, n, &f);
		}
	report(what, &f);
	strbuf_release(&m->body);
	strbuf_release(&m->value);
	free(m->rows);
	free(m);
}

static void measure_payloads(const struct sources *hosts)
{
	struct figures f = {0};
	struct strbuf out;

	strbuf_init(&out, 1 << 28);
	for (size_t i = 0; i < hosts->n; i++) {
		const struct source *s = hosts->all[i];
		struct batch b = {.host = s->host,
				  .series = s->names,
				  .n_series = (uint32_t)map_count(&s->series),
				  .attributions = s->attribution_names,
				  .n_attributions = (uint32_t)map_count(&s->attributions)};

		for (size_t at = 0, n; at < s->n; at += n) {
			struct batch got = {0};
			struct err e = {""};
			double start = cpu_ns(), middle;

			n = MIN(s->n - at, (size_t)BATCH_ROWS_MAX);
			strbuf_reset(&out);
			batch_encode(&out, &b, s->rows + at, n);
			middle = cpu_ns();
			if (batch_decode(out.s, out.len, &got, &e))
				die(e.text);
			f.decode_ns += cpu_ns() - middle;
			f.encode_ns += middle - start;
			require_same(s->rows + at, &got.rows, n);
			batch_release(&got);
			f.chunks++;
			f.rows += n;
			f.body += out.len;
			f.body_max = MAX(f.body_max, out.len);
		}
	}
	report("payload", &f);
	strbuf_release(&out);
}

int main(int argc, char **argv)
{
	int64_t segment_ns = (argc > 2 ? atoll(argv[2]) : 3600) * NS_PER_SEC;
	struct sources gpus = {.map = MAP_INIT}, hosts = {.map = MAP_INIT};
	char what[32];

	if (argc < 2 || segment_ns <= 0)
		die("usage: columns FILE [SEGMENT_SECONDS]");
	printf("%zu rows of %zu GPUs; bytes and nanoseconds per row\n",
	       load(argv[1], &gpus, &hosts), gpus.n);
	printf("%-12s %7s %9s %8s %8s %8s %9s %8s %8s %8s\n", "", "chunks", "rows each", "body",
	       "header", "keys", "all", "max body", "encode", "decode");
	for (size_t n = 10; n <= 10000; n *= 10) {
		snprintf(what, sizeof(what), "fresh %zu", n);
		measure(&gpus, what, n, false, segment_ns);
	}
	measure(&gpus, "sealed", CHUNK_ROWS_MAX, true, segment_ns);
	measure_payloads(&hosts);
	return 0;
}
