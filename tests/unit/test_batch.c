#include "../lib/hostile.h"
#include "../lib/test.h"
#include "batch.h"
#include "compress.h"
#include "digest.h"

enum { SERIES = 50, ATTRIBUTIONS = 20 };

/* A batch with its rows and room for its tables. */
struct sample_batch {
	struct batch b;
	struct batch_series series[SERIES];
	struct attribution attributions[ATTRIBUTIONS];
	struct row rows[BATCH_ROWS_MAX + 1];
	size_t n;
};

static struct sample_batch *sample_new(struct slice host, uint32_t series, uint32_t attributions)
{
	struct sample_batch *s = xcalloc(1, sizeof(*s));

	s->b.host = host;
	s->b.series = s->series;
	s->b.n_series = series;
	s->b.attributions = s->attributions;
	s->b.n_attributions = attributions;
	return s;
}

static struct slice any_text(struct rng *g)
{
	return rng_one_in(g, 3) ? SLICE_LIT("") : hostile_name(g);
}

static struct sample_batch *random_batch(struct rng *g, size_t max_rows)
{
	struct sample_batch *s = sample_new(any_text(g), 1 + (uint32_t)rng_below(g, SERIES),
					    1 + (uint32_t)rng_below(g, ATTRIBUTIONS));

	for (uint32_t i = 0; i < s->b.n_series; i++)
		s->series[i] = (struct batch_series){any_text(g), any_text(g), any_text(g),
						     any_text(g), any_text(g), any_text(g)};
	for (uint32_t i = 0; i < s->b.n_attributions; i++)
		s->attributions[i] =
			(struct attribution){any_text(g), any_text(g), any_text(g), any_text(g)};
	s->n = 1 + rng_below(g, max_rows);
	for (size_t i = 0; i < s->n; i++)
		s->rows[i] =
			(struct row){hostile_stamp(g), (uint32_t)rng_below(g, s->b.n_series),
				     (uint32_t)rng_below(g, s->b.n_attributions), hostile_value(g)};
	return s;
}

/* Rows as they are: GPUs of a host, each with the same metrics, once a second. */
static struct sample_batch *periodic_batch(size_t n)
{
	struct sample_batch *s = sample_new(SLICE_LIT("node-17.example.com"), SERIES, 5);
	struct rng g = {77};

	for (uint32_t i = 0; i < SERIES; i++)
		s->series[i] = (struct batch_series){
			.gpu = hostile_textf("%u", i / 10),
			.metric = hostile_textf("DCGM_FI_DEV_METRIC_%u", i % 10),
			.device = hostile_textf("nvidia%u", i / 10),
			.model = SLICE_LIT("NVIDIA H100 80GB HBM3"),
			.driver = SLICE_LIT("535.129.03"),
			.labels = SLICE_LIT("instance=\"node-17:9400\",job=\"dgx_dcgm_exporter\"")};
	for (uint32_t i = 0; i < 5; i++)
		s->attributions[i].uuid = hostile_textf("GPU-%08x-0000-0000-0000-%012x", i, i);
	s->n = n;
	for (size_t i = 0; i < n; i++) {
		uint32_t series = (uint32_t)(i % SERIES);

		s->rows[i].time.ns = (int64_t)(1750000000174 + i / SERIES * 1000) * NS_PER_MS;
		s->rows[i].time.digits = 3;
		s->rows[i].series = series;
		s->rows[i].attribution = series / 10;
		s->rows[i].value = hostile_textf("%.3f", 100 * series + rng_below(&g, 400) / 1e3);
	}
	return s;
}

static struct strbuf encoded(const struct sample_batch *s)
{
	struct strbuf out;

	strbuf_init(&out, 1 << 24);
	batch_encode(&out, &s->b, s->rows, s->n);
	CHECK_EQ_INT(out.err, 0);
	return out;
}

static bool same_series(const struct batch_series *a, const struct batch_series *b)
{
	return slice_eq(a->gpu, b->gpu) && slice_eq(a->metric, b->metric) &&
	       slice_eq(a->device, b->device) && slice_eq(a->model, b->model) &&
	       slice_eq(a->driver, b->driver) && slice_eq(a->labels, b->labels);
}

static bool same_attribution(const struct attribution *a, const struct attribution *b)
{
	return slice_eq(a->uuid, b->uuid) && slice_eq(a->container, b->container) &&
	       slice_eq(a->pod, b->pod) && slice_eq(a->namespace, b->namespace);
}

static bool same_row(const struct row *a, const struct row *b)
{
	return a->time.ns == b->time.ns && a->time.digits == b->time.digits &&
	       a->series == b->series && a->attribution == b->attribution &&
	       slice_eq(a->value, b->value);
}

static bool same_batch(const struct sample_batch *s, const struct batch *b)
{
	bool same = slice_eq(s->b.host, b->host) && s->b.n_series == b->n_series &&
		    s->b.n_attributions == b->n_attributions && s->n == b->rows.n;

	for (uint32_t i = 0; i < b->n_series && same; i++)
		same = same_series(&s->series[i], &b->series[i]);
	for (uint32_t i = 0; i < b->n_attributions && same; i++)
		same = same_attribution(&s->attributions[i], &b->attributions[i]);
	for (size_t i = 0; i < b->rows.n && same; i++)
		same = same_row(&s->rows[i], &b->rows.rows[i]);
	return same;
}

static void round_trip(const struct sample_batch *s)
{
	struct strbuf out = encoded(s);
	struct batch got = {0};
	struct err e = {""};

	if (CHECK_EQ_INT(batch_decode(out.s, out.len, &got, &e), 0))
		CHECK(same_batch(s, &got));
	batch_release(&got);
	strbuf_release(&out);
}

/* ---- round trips ----------------------------------------------------------------------------- */

TEST(any_batch_comes_back)
{
	struct rng g = {1};

	for (int round = 0; round < 150; round++) {
		struct sample_batch *s = random_batch(&g, round % 10 ? 60 : 2000);

		round_trip(s);
		free(s);
	}
}

TEST(a_single_row_comes_back)
{
	struct rng g = {2};

	for (int round = 0; round < 200; round++) {
		struct sample_batch *s = random_batch(&g, 1);

		round_trip(s);
		free(s);
	}
}

TEST(a_batch_without_rows_or_tables_comes_back)
{
	struct sample_batch *s = sample_new(SLICE_LIT(""), 0, 0);

	round_trip(s);
	free(s);
}

TEST(a_full_batch_of_periodic_rows_takes_less_than_three_bytes_a_row)
{
	struct sample_batch *s = periodic_batch(BATCH_ROWS_MAX);
	struct strbuf out = encoded(s);

	round_trip(s);
	CHECK(out.len < 3 * BATCH_ROWS_MAX);
	strbuf_release(&out);
	free(s);
}

TEST(one_row_more_than_a_batch_holds_is_refused)
{
	struct sample_batch *s = periodic_batch(BATCH_ROWS_MAX + 1);
	struct strbuf out = encoded(s);
	struct batch got = {0};
	struct err e = {""};

	CHECK_EQ_INT(batch_decode(out.s, out.len, &got, &e), -EBADMSG);
	CHECK_EQ_STR(e.text, "payload: damaged columns");
	batch_release(&got);
	strbuf_release(&out);
	free(s);
}

TEST(the_same_rows_make_the_same_bytes)
{
	struct sample_batch *s = periodic_batch(500);
	struct strbuf a = encoded(s), b = encoded(s);

	CHECK_EQ_SLICE(((struct slice){a.s, a.len}), ((struct slice){b.s, b.len}));
	strbuf_release(&a);
	strbuf_release(&b);
	free(s);
}

TEST(an_encoding_over_its_ceiling_is_an_error_of_the_buffer)
{
	struct sample_batch *s = periodic_batch(500);
	struct strbuf out;

	strbuf_init(&out, 100);
	batch_encode(&out, &s->b, s->rows, s->n);
	CHECK_EQ_INT(out.err, -EMSGSIZE);
	strbuf_release(&out);
	free(s);
}

TEST(a_decoded_batch_is_released_when_it_is_decoded_into_again)
{
	struct sample_batch *s = periodic_batch(100);
	struct strbuf out = encoded(s);
	struct batch got = {0};
	struct err e;

	CHECK_EQ_INT(batch_decode(out.s, out.len, &got, &e), 0);
	CHECK_EQ_INT(batch_decode(out.s, out.len, &got, NULL), 0);
	CHECK(same_batch(s, &got));
	CHECK_EQ_INT(batch_decode("", 0, &got, NULL), -EBADMSG);
	batch_release(&got);
	batch_release(&got);
	strbuf_release(&out);
	free(s);
}

static void check_name(struct slice name, int want)
{
	struct sample_batch *s = sample_new(SLICE_LIT("h"), 1, 1);
	struct slice *places[] = {&s->b.host,
				  &s->series[0].gpu,
				  &s->series[0].metric,
				  &s->series[0].device,
				  &s->series[0].model,
				  &s->series[0].driver,
				  &s->series[0].labels,
				  &s->attributions[0].uuid,
				  &s->attributions[0].container,
				  &s->attributions[0].pod,
				  &s->attributions[0].namespace};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct batch got = {0};
		struct strbuf out;

		*places[i] = name;
		out = encoded(s);
		test_check(batch_decode(out.s, out.len, &got, NULL) == want, __FILE__, __LINE__,
			   "name %zu: \"%.*s\"", i, (int)name.len, name.p);
		*places[i] = SLICE_LIT("h");
		batch_release(&got);
		strbuf_release(&out);
	}
	free(s);
}

TEST(names_are_utf8_without_nuls)
{
	check_name(SLICE_LIT("h\xc3\xa9\n\""), 0);
	check_name(SLICE_LIT("h\xe9"), -EBADMSG);
	check_name(SLICE_LIT("\xed\xa0\x80"), -EBADMSG);
	check_name(SLICE_LIT("a\0b"), -EBADMSG);
	check_name(SLICE_LIT("\0"), -EBADMSG);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static void check_refused(const uint8_t *p, size_t n, size_t at, void *arg)
{
	struct batch got = {0};
	struct err e = {""};
	int r = batch_decode(p, n, &got, &e);

	test_check(r == -EBADMSG && !strncmp(e.text, "payload: ", 9), __FILE__, __LINE__,
		   "%zu bytes, damaged at %zu: %d, %s", n, at, r, e.text);
	batch_release(&got);
}

static void check_damage_is_seen(const struct sample_batch *s)
{
	struct strbuf out = encoded(s);

	hostile_truncations(out.s, out.len, check_refused, NULL);
	hostile_flips(out.s, out.len, check_refused, NULL);
	strbuf_addc(&out, '\0');
	check_refused((uint8_t *)out.s, out.len, out.len, NULL);
	strbuf_release(&out);
}

TEST(every_truncation_and_every_flipped_bit_is_seen)
{
	struct sample_batch *s = periodic_batch(60);
	struct rng g = {4};

	check_damage_is_seen(s);
	free(s);
	for (int round = 0; round < 8; round++) {
		s = random_batch(&g, round < 4 ? 1 : 30);
		check_damage_is_seen(s);
		free(s);
	}
}

TEST(random_bytes_are_no_batch)
{
	struct rng g = {6};

	hostile_bytes(&g, 20000, 200, check_refused, NULL);
}

/* A payload whose checksum is right; rest is what that is of. */
static struct strbuf with_rest(uint8_t flags, const void *rest, size_t n)
{
	struct strbuf out;

	strbuf_init(&out, 1 << 25);
	strbuf_add(&out, "gtb\1", 4);
	strbuf_add_u8(&out, flags);
	strbuf_add_u32(&out, crc32c(rest, n));
	strbuf_add(&out, rest, n);
	return out;
}

/* Whatever decodes indexes its own tables. */
static void check_coherent(const uint8_t *p, size_t n, size_t at, void *arg)
{
	struct strbuf out = with_rest(0, p, n);
	struct batch got = {0};
	int r = batch_decode(out.s, out.len, &got, NULL);
	bool good = r == 0 || r == -EBADMSG;

	for (size_t i = 0; i < got.rows.n && !r; i++)
		good &= got.rows.rows[i].series < got.n_series &&
			got.rows.rows[i].attribution < got.n_attributions;
	test_check(good, __FILE__, __LINE__, "damage at %zu: %d", at, r);
	batch_release(&got);
	strbuf_release(&out);
}

/* The rest of a payload, with its tables as they are. */
static struct strbuf unpacked(const struct strbuf *payload)
{
	struct reader r = reader_of(payload->s + 9, payload->len - 9);
	uint32_t raw_len = read_u32(&r), packed_len = read_u32(&r);
	struct slice packed = read_bytes(&r, packed_len);
	struct strbuf rest;

	strbuf_init(&rest, 1 << 24);
	strbuf_add_u32(&rest, raw_len);
	strbuf_add_u32(&rest, raw_len);
	if (payload->s[4] & 1)
		CHECK_EQ_INT(decompress_zstd(&rest, packed.p, packed.len, raw_len), 0);
	else
		strbuf_add_slice(&rest, packed);
	strbuf_add(&rest, r.p, reader_left(&r));
	return rest;
}

TEST(damage_with_a_good_checksum_is_survived)
{
	struct rng g = {8};

	for (int round = 0; round < 6; round++) {
		struct sample_batch *s = random_batch(&g, 20);
		struct strbuf out = encoded(s), raw = unpacked(&out);

		hostile_flips(raw.s, raw.len, check_coherent, NULL);
		hostile_truncations(raw.s, raw.len, check_coherent, NULL);
		strbuf_release(&raw);
		strbuf_release(&out);
		free(s);
	}
	hostile_bytes(&g, 20000, 100, check_coherent, NULL);
}

static int decode_and_release(struct strbuf *out, struct err *e)
{
	struct batch got = {0};
	int r = batch_decode(out->s, out->len, &got, e);

	batch_release(&got);
	strbuf_release(out);
	return r;
}

/* Sets the little-endian number at rest + at. */
static void set_u32(struct strbuf *rest, size_t at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		rest->s[at + (size_t)i] = (char)(v >> 8 * i);
}

static void check_error(uint8_t flags, const struct strbuf *rest, const char *want)
{
	struct strbuf out = with_rest(flags, rest->s, rest->len);
	struct err e = {""};

	CHECK_EQ_INT(decode_and_release(&out, &e), *want ? -EBADMSG : 0);
	CHECK_EQ_STR(e.text, want);
}

TEST(the_header_is_checked_against_what_follows)
{
	struct sample_batch *s = sample_new(SLICE_LIT("h"), 0, 0);
	struct strbuf good = encoded(s), rest = unpacked(&good), out;
	uint32_t n = (uint32_t)(rest.len - 8 - 2); /* two bytes say that there are no rows */
	struct err e;

	check_error(0, &rest, "");
	check_error(2, &rest, "payload: bad header");
	set_u32(&rest, 0, n + 1);
	check_error(0, &rest, "payload: length mismatch");
	set_u32(&rest, 0, BATCH_RAW_MAX + 1);
	check_error(0, &rest, "payload: bad header");
	set_u32(&rest, 0, n);
	set_u32(&rest, 4, (uint32_t)rest.len);
	check_error(0, &rest, "payload: bad header");
	set_u32(&rest, 4, n);
	out = with_rest(0, rest.s, rest.len);
	out.s[3] = 2;
	CHECK_EQ_INT(decode_and_release(&out, &e), -EBADMSG);
	CHECK_EQ_STR(e.text, "payload: version 2 is not known here");
	strbuf_release(&rest);
	strbuf_release(&good);
	free(s);
}

/* Sixteen MiB of zeros are some hundred bytes compressed. */
TEST(a_payload_that_unpacks_to_more_than_it_says_is_refused)
{
	struct strbuf zeros, packed, rest;

	strbuf_init(&zeros, BATCH_RAW_MAX);
	strbuf_init(&packed, 1 << 20);
	strbuf_init(&rest, 1 << 20);
	memset(strbuf_reserve(&zeros, BATCH_RAW_MAX), 0, BATCH_RAW_MAX);
	CHECK_EQ_INT(compress_zstd(&packed, zeros.s, BATCH_RAW_MAX, 3), 0);
	strbuf_add_u32(&rest, 1000);
	strbuf_add_u32(&rest, (uint32_t)packed.len);
	strbuf_add(&rest, packed.s, packed.len);
	check_error(1, &rest, "payload: damaged compression");
	set_u32(&rest, 0, BATCH_RAW_MAX);
	check_error(1, &rest, "payload: damaged tables");
	strbuf_release(&rest);
	strbuf_release(&packed);
	strbuf_release(&zeros);
}
