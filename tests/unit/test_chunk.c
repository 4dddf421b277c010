#include "../lib/hostile.h"
#include "../lib/test.h"
#include "chunk.h"
#include "digest.h"
#include "identity.h"

enum { ROWS = 3000, SERIES = 30, ATTRIBUTIONS = 6, COMMITS = 8 };

static const int64_t day_ns = 86400 * NS_PER_SEC;

/* A chunk with what its pointers point to. */
struct sample_chunk {
	struct chunk c;
	struct chunk_series series[SERIES];
	struct attribution attributions[ATTRIBUTIONS];
	struct chunk_commit commits[COMMITS];
	struct row rows[ROWS];
	struct strbuf body, value;
};

/* Row i is the latest of its series, as the header says. */
static void note_latest(struct sample_chunk *s, uint32_t i)
{
	const struct row *row = &s->rows[i];
	struct chunk_series *to = &s->series[row->series];

	to->time = row->time;
	to->row = i;
	to->attribution = row->attribution;
	to->value = row->value;
}

static void fill_rows(struct sample_chunk *s, struct rng *g, bool tame)
{
	for (uint32_t i = 0; i < s->c.rows; i++) {
		int64_t ms = tame ? i / s->c.n_series * 1000 : (int64_t)rng_below(g, 3600000);

		s->rows[i] = (struct row){{s->c.segment_ns + ms * NS_PER_MS,
					   (uint8_t)(tame ? 3 : 3 + rng_below(g, 7))},
					  (uint32_t)(i < s->c.n_series || tame
							     ? i % s->c.n_series
							     : rng_below(g, s->c.n_series)),
					  (uint32_t)rng_below(g, s->c.n_attributions),
					  tame ? hostile_textf("%u.5", i / 100) : hostile_value(g)};
		s->c.min_ns = i ? MIN(s->c.min_ns, s->rows[i].time.ns) : s->rows[i].time.ns;
		s->c.max_ns = MAX(s->c.max_ns, s->rows[i].time.ns);
		note_latest(s, i);
	}
}

static void encode(struct sample_chunk *s)
{
	strbuf_reset(&s->value);
	chunk_encode_body(&s->c, s->rows, (size_t)s->c.rows, &s->body);
	chunk_encode(&s->value, &s->c, (struct slice){s->body.s, s->body.len});
	CHECK_EQ_INT(s->body.err, 0);
	CHECK_EQ_INT(s->value.err, 0);
}

static struct sample_chunk *sample_new(struct rng *g, size_t rows, uint32_t series, bool tame)
{
	struct sample_chunk *s = xcalloc(1, sizeof(*s));
	uint32_t id = 0;

	s->c = (struct chunk){.sealed = rng_one_in(g, 2),
			      .identity = rng_next(g),
			      .incarnation = rng_next(g),
			      .segment_ns =
				      (int64_t)(485000 + rng_below(g, 1000)) * 3600 * NS_PER_SEC,
			      .first_seq = (int64_t)(rng_next(g) >> (2 + rng_below(g, 61))),
			      .rows = (int64_t)rows,
			      .csv_bytes = 1 + (int64_t)rng_below(g, 1 << 30),
			      .stored_ns = (int64_t)(rng_next(g) >> 1),
			      .attributions = s->attributions,
			      .n_attributions = 1 + (uint32_t)rng_below(g, ATTRIBUTIONS),
			      .series = s->series,
			      .n_series = MIN(series, (uint32_t)rows),
			      .commits = s->commits,
			      .n_commits = (uint32_t)rng_below(g, COMMITS)};
	for (uint32_t i = 0; i < s->c.n_series; i++, id += 1 + (uint32_t)rng_below(g, 100))
		s->series[i] = (struct chunk_series){.id = id, .ahead = rng_one_in(g, 3)};
	for (uint32_t i = 0; i < s->c.n_attributions; i++)
		s->attributions[i] = (struct attribution){hostile_name(g), hostile_name(g),
							  hostile_value(g), SLICE_LIT("")};
	for (uint32_t i = 0; i < s->c.n_commits; i++)
		s->commits[i] = (struct chunk_commit){100 + 7 * i, (uint32_t)rows / COMMITS};
	strbuf_init(&s->body, 1 << 24);
	strbuf_init(&s->value, 1 << 24);
	fill_rows(s, g, tame);
	encode(s);
	return s;
}

static void sample_free(struct sample_chunk *s)
{
	strbuf_release(&s->body);
	strbuf_release(&s->value);
	free(s);
}

static struct slice value_of(const struct sample_chunk *s)
{
	return (struct slice){s->value.s, s->value.len};
}

static struct slice body_of(const struct sample_chunk *s)
{
	return (struct slice){s->body.s, s->body.len};
}

/* ---- comparing ------------------------------------------------------------------------------- */

static bool same_fixed(const struct chunk *a, const struct chunk *b)
{
	return a->sealed == b->sealed && a->has_inline_body == b->has_inline_body &&
	       a->identity == b->identity && a->incarnation == b->incarnation &&
	       a->segment_ns == b->segment_ns && a->first_seq == b->first_seq &&
	       a->rows == b->rows && a->csv_bytes == b->csv_bytes && a->min_ns == b->min_ns &&
	       a->max_ns == b->max_ns && a->stored_ns == b->stored_ns &&
	       a->n_attributions == b->n_attributions && a->n_series == b->n_series &&
	       a->n_commits == b->n_commits && a->body_len == b->body_len &&
	       a->body_crc == b->body_crc;
}

static bool same_attribution(const struct attribution *a, const struct attribution *b)
{
	return slice_eq(a->uuid, b->uuid) && slice_eq(a->container, b->container) &&
	       slice_eq(a->pod, b->pod) && slice_eq(a->namespace, b->namespace);
}

static bool same_series(const struct chunk_series *a, const struct chunk_series *b)
{
	return a->id == b->id && a->time.ns == b->time.ns && a->time.digits == b->time.digits &&
	       a->ahead == b->ahead && a->row == b->row && a->attribution == b->attribution &&
	       slice_eq(a->value, b->value);
}

static bool same_header(const struct chunk *a, const struct chunk *b)
{
	bool same = same_fixed(a, b);

	for (uint32_t i = 0; i < a->n_attributions && same; i++)
		same = same_attribution(&a->attributions[i], &b->attributions[i]);
	for (uint32_t i = 0; i < a->n_series && same; i++)
		same = same_series(&a->series[i], &b->series[i]);
	for (uint32_t i = 0; i < a->n_commits && same; i++)
		same = a->commits[i].revision == b->commits[i].revision &&
		       a->commits[i].rows == b->commits[i].rows;
	return same;
}

static bool same_rows(const struct sample_chunk *s, const struct rows *rows)
{
	bool same = rows->n == (size_t)s->c.rows;

	for (size_t i = 0; i < rows->n && same; i++) {
		const struct row *a = &s->rows[i], *b = &rows->rows[i];

		same = a->time.ns == b->time.ns && a->time.digits == b->time.digits &&
		       a->series == b->series && a->attribution == b->attribution &&
		       slice_eq(a->value, b->value);
	}
	return same;
}

static void round_trip(const struct sample_chunk *s)
{
	struct rows rows = {0};
	struct chunk got = {0};
	struct err e = {""};

	if (!CHECK_EQ_INT(chunk_decode(value_of(s), &got, &e), 0))
		return;
	CHECK(same_header(&s->c, &got));
	if (got.has_inline_body)
		CHECK_EQ_SLICE(got.inline_body, body_of(s));
	if (CHECK_EQ_INT(chunk_decode_body(&got, body_of(s), &rows, &e), 0))
		CHECK(same_rows(s, &rows));
	rows_release(&rows);
	chunk_release(&got);
	chunk_release(&got);
}

TEST(any_chunk_comes_back)
{
	struct rng g = {1};

	for (int round = 0; round < 200; round++) {
		struct sample_chunk *s =
			sample_new(&g, 1 + rng_below(&g, round % 8 ? 40 : ROWS), SERIES, round & 1);

		round_trip(s);
		sample_free(s);
	}
}

TEST(a_chunk_of_one_row_comes_back)
{
	struct rng g = {2};

	for (int round = 0; round < 100; round++) {
		struct sample_chunk *s = sample_new(&g, 1, 1, false);

		CHECK(s->c.has_inline_body);
		round_trip(s);
		sample_free(s);
	}
}

TEST(a_body_goes_into_the_header_while_it_is_small)
{
	struct rng g = {3};
	struct sample_chunk *small = sample_new(&g, 400, 20, true);
	struct sample_chunk *large = sample_new(&g, ROWS, 20, false);

	CHECK(small->c.has_inline_body && small->body.len <= CHUNK_INLINE_MAX);
	CHECK(!large->c.has_inline_body && large->body.len > CHUNK_INLINE_MAX);
	CHECK(large->value.len < 8000);
	sample_free(small);
	sample_free(large);
}

TEST(periodic_rows_take_less_than_three_bytes_each)
{
	struct rng g = {4};
	struct sample_chunk *s = sample_new(&g, ROWS, SERIES, true);

	CHECK(s->body.len < 3 * ROWS);
	sample_free(s);
}

TEST(a_chunk_in_the_last_hour_of_time_comes_back)
{
	struct rng g = {5};
	struct sample_chunk *s = sample_new(&g, 2, 1, true);
	int64_t last = INT64_MAX - INT64_MAX % (3600 * NS_PER_SEC);

	s->c.segment_ns = s->c.min_ns = s->rows[0].time.ns = last;
	s->c.max_ns = s->rows[1].time.ns = INT64_MAX;
	s->rows[0].time.digits = s->rows[1].time.digits = 9;
	note_latest(s, 1);
	encode(s);
	round_trip(s);
	sample_free(s);
}

TEST(a_chunk_of_the_first_and_one_of_the_longest_segment_come_back)
{
	struct rng g = {6};
	struct sample_chunk *s = sample_new(&g, 2, 1, true);

	s->c.segment_ns = s->c.min_ns = s->rows[0].time.ns = 0;
	s->c.max_ns = s->rows[1].time.ns = day_ns - 1;
	s->rows[0].time.digits = s->rows[1].time.digits = 9;
	note_latest(s, 1);
	encode(s);
	round_trip(s);
	sample_free(s);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static int decode(const void *p, size_t n)
{
	struct chunk got = {0};
	struct err e = {""};
	int r = chunk_decode((struct slice){p, n}, &got, &e);

	CHECK(!r == !e.text[0]);
	chunk_release(&got);
	return r;
}

static void check_truncation(const uint8_t *p, size_t n, size_t at, void *arg)
{
	test_check(decode(p, n) == -EBADMSG, __FILE__, __LINE__, "%zu bytes decode", n);
}

/* A flipped bit of the header is seen there, one of the body when the body is decoded. */
static void check_flip(const uint8_t *p, size_t n, size_t at, void *arg)
{
	const struct sample_chunk *s = arg;
	size_t header = n - (s->c.has_inline_body ? s->c.body_len : 0);
	int want = at == 3 ? -ENOTSUP : at < header ? -EBADMSG : 0;
	struct rows rows = {0};
	struct chunk got = {0};
	int r = chunk_decode((struct slice){(const char *)p, n}, &got, NULL);

	test_check(r == want, __FILE__, __LINE__, "byte %zu of %zu: %d", at, header, r);
	if (!r)
		CHECK_EQ_INT(chunk_decode_body(&got, got.inline_body, &rows, NULL), -EBADMSG);
	CHECK_EQ_INT(rows.n, 0);
	rows_release(&rows);
	chunk_release(&got);
}

TEST(every_truncation_and_every_flipped_bit_of_a_chunk_is_seen)
{
	struct rng g = {7};

	for (int round = 0; round < 8; round++) {
		struct sample_chunk *s = sample_new(&g, 1 + rng_below(&g, 60), SERIES, round & 1);

		hostile_truncations(s->value.s, s->value.len, check_truncation, NULL);
		hostile_flips(s->value.s, s->value.len, check_flip, s);
		strbuf_addc(&s->value, '\0');
		CHECK_EQ_INT(decode(s->value.s, s->value.len), -EBADMSG);
		sample_free(s);
	}
}

static void check_body(const uint8_t *p, size_t n, size_t at, void *arg)
{
	const struct sample_chunk *s = arg;
	struct rows rows = {0};
	struct err e = {""};

	CHECK_EQ_INT(chunk_decode_body(&s->c, (struct slice){(const char *)p, n}, &rows, &e),
		     -EBADMSG);
	CHECK_EQ_STR(e.text, "chunk body: length or checksum mismatch");
	rows_release(&rows);
}

TEST(every_damage_of_a_body_of_its_own_is_seen)
{
	struct rng g = {8};
	struct sample_chunk *s = sample_new(&g, 600, SERIES, false);

	CHECK(!s->c.has_inline_body);
	hostile_truncations(s->body.s, s->body.len, check_body, s);
	hostile_flips(s->body.s, s->body.len, check_body, s);
	sample_free(s);
}

TEST(random_bytes_are_no_chunk)
{
	struct rng g = {9};

	hostile_bytes(&g, 50000, 100, check_truncation, NULL);
}

/* ---- damage with good checksums -------------------------------------------------------------- */

static bool header_is_coherent(const struct chunk *c)
{
	bool good = c->rows > 0 && c->rows <= CHUNK_ROWS_MAX && c->first_seq >= 0 &&
		    c->csv_bytes > 0 && c->segment_ns >= 0 && c->segment_ns <= c->min_ns &&
		    c->min_ns <= c->max_ns && c->max_ns - c->segment_ns <= day_ns;

	for (uint32_t i = 0; i < c->n_series; i++) {
		const struct chunk_series *s = &c->series[i];

		good &= s->id < IDENTITY_SERIES_MAX && (!i || s->id > c->series[i - 1].id) &&
			s->row < c->rows && s->attribution < c->n_attributions &&
			s->time.digits <= 9 && s->time.ns >= c->min_ns && s->time.ns <= c->max_ns &&
			s->value.len <= VALUE_MAX;
	}
	return good;
}

/* Puts the right checksum behind the damaged header. */
static void check_coherent(const uint8_t *p, size_t n, size_t at, void *arg)
{
	const struct sample_chunk *s = arg;
	struct chunk got = {0};
	struct rows rows = {0};
	struct strbuf fixed;
	int r;

	strbuf_init(&fixed, 1 << 24);
	strbuf_add(&fixed, p, n);
	strbuf_add_u32(&fixed, crc32c(p, n));
	if (s->c.has_inline_body)
		strbuf_add(&fixed, s->body.s, s->body.len);
	r = chunk_decode((struct slice){fixed.s, fixed.len}, &got, NULL);
	test_check(r == -EBADMSG || r == -ENOTSUP || (r == 0 && header_is_coherent(&got)), __FILE__,
		   __LINE__, "byte %zu: %d", at, r);
	if (!r)
		(void)!chunk_decode_body(&got, body_of(s), &rows, NULL);
	rows_release(&rows);
	chunk_release(&got);
	strbuf_release(&fixed);
}

TEST(a_header_damaged_before_its_checksum_was_made_is_survived)
{
	struct rng g = {10};

	for (int round = 0; round < 8; round++) {
		struct sample_chunk *s = sample_new(&g, 1 + rng_below(&g, 30), 8, round & 1);
		size_t n = s->value.len - 4 - (s->c.has_inline_body ? s->c.body_len : 0);

		hostile_flips(s->value.s, n, check_coherent, s);
		hostile_truncations(s->value.s, n, check_coherent, s);
		sample_free(s);
	}
}

static void check_damaged_raw(const uint8_t *p, size_t n, size_t at, void *arg)
{
	const struct sample_chunk *s = arg;
	struct chunk c = s->c;
	struct rows rows = {0};
	int r;

	c.body_len = (uint32_t)n;
	c.body_crc = crc32c(p, n);
	r = chunk_decode_body(&c, (struct slice){(const char *)p, n}, &rows, NULL);
	test_check(r == -EBADMSG || (r == 0 && rows.n == (size_t)c.rows), __FILE__, __LINE__,
		   "byte %zu: %d", at, r);
	rows_release(&rows);
}

TEST(a_body_damaged_before_its_checksum_was_made_is_survived)
{
	struct rng g = {12};

	for (int round = 0; round < 6; round++) {
		struct sample_chunk *s = sample_new(&g, 1 + rng_below(&g, 60), 8, round & 1);
		struct strbuf raw;

		strbuf_init(&raw, 1 << 20);
		strbuf_add_slice(&raw, body_of(s));
		hostile_flips(raw.s, raw.len, check_damaged_raw, s);
		hostile_truncations(raw.s, raw.len, check_damaged_raw, s);
		strbuf_release(&raw);
		sample_free(s);
	}
}

/* ---- limits ---------------------------------------------------------------------------------- */

static int decode_changed(const struct sample_chunk *s, const struct chunk *c)
{
	struct strbuf value;
	int r;

	strbuf_init(&value, 1 << 20);
	chunk_encode(&value, c, body_of(s));
	r = decode(value.s, value.len);
	strbuf_release(&value);
	return r;
}

#define REFUSED(field, v)                                                                          \
	do {                                                                                       \
		struct chunk c_ = s->c;                                                            \
		c_.field = v;                                                                      \
		CHECK_EQ_INT(decode_changed(s, &c_), -EBADMSG);                                    \
	} while (0)

TEST(a_header_past_its_limits_is_refused)
{
	struct rng g = {13};
	struct sample_chunk *s = sample_new(&g, 10, 3, true);

	CHECK_EQ_INT(decode_changed(s, &s->c), 0);
	REFUSED(rows, 0);
	REFUSED(rows, CHUNK_ROWS_MAX + 1);
	REFUSED(rows, -1);
	REFUSED(csv_bytes, 0);
	REFUSED(csv_bytes, -1);
	REFUSED(first_seq, -1);
	REFUSED(first_seq, INT64_MAX);
	REFUSED(stored_ns, -1);
	REFUSED(min_ns, s->c.max_ns + 1);
	REFUSED(max_ns, s->c.segment_ns + day_ns + 1);
	REFUSED(n_attributions, 0);
	REFUSED(body_len, 1u << 30);
	sample_free(s);
}

TEST(a_series_entry_past_its_limits_is_refused)
{
	struct rng g = {14};
	struct sample_chunk *s = sample_new(&g, 10, 3, true);
	struct chunk_series good = s->series[2];
	char longer[VALUE_MAX + 1] = {0};

	s->series[2].id = IDENTITY_SERIES_MAX;
	CHECK_EQ_INT(decode_changed(s, &s->c), -EBADMSG);
	s->series[2].id = s->series[1].id;
	CHECK_EQ_INT(decode_changed(s, &s->c), -EBADMSG);
	s->series[2] = good;
	s->series[2].row = 10;
	CHECK_EQ_INT(decode_changed(s, &s->c), -EBADMSG);
	s->series[2] = good;
	s->series[2].attribution = s->c.n_attributions;
	CHECK_EQ_INT(decode_changed(s, &s->c), -EBADMSG);
	s->series[2] = good;
	s->series[2].time.digits = 10;
	CHECK_EQ_INT(decode_changed(s, &s->c), -EBADMSG);
	s->series[2] = good;
	s->series[2].time.ns = s->c.max_ns + 1;
	CHECK_EQ_INT(decode_changed(s, &s->c), -EBADMSG);
	s->series[2] = good;
	s->series[2].value = (struct slice){longer, sizeof(longer)};
	CHECK_EQ_INT(decode_changed(s, &s->c), -EBADMSG);
	s->series[2] = good;
	s->commits[0].rows = 11;
	s->c.n_commits = 1;
	CHECK_EQ_INT(decode_changed(s, &s->c), -EBADMSG);
	sample_free(s);
}

TEST(a_version_that_is_not_known_is_told_from_damage)
{
	struct rng g = {15};
	struct sample_chunk *s = sample_new(&g, 10, 3, true);

	s->value.s[3] = 2;
	CHECK_EQ_INT(decode(s->value.s, s->value.len), -ENOTSUP);
	s->value.s[2] = 'x';
	CHECK_EQ_INT(decode(s->value.s, s->value.len), -EBADMSG);
	sample_free(s);
}
