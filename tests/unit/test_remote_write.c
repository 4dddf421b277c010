#include "../../bridge/remote_write.h"
#include "../lib/test.h"

static struct err e;

static void add_label(struct strbuf *b, const char *name, struct slice value)
{
	size_t at = proto_begin(b, 1);

	proto_add_bytes(b, 1, slice_str(name));
	proto_add_bytes(b, 2, value);
	proto_end(b, at);
}

static void add_sample(struct strbuf *b, double value, int64_t ms)
{
	size_t at = proto_begin(b, 2);

	strbuf_add_u8(b, 1 << 3 | 1);
	strbuf_add(b, &value, sizeof(value));
	proto_add_varint(b, 2, (uint64_t)ms);
	proto_end(b, at);
}

static bool never(struct slice message)
{
	return false;
}

static bool always(struct slice message)
{
	return true;
}

static struct strbuf request(void)
{
	struct strbuf b;
	size_t at;

	strbuf_init(&b, 4096);
	at = proto_begin(&b, 1);
	add_label(&b, "__name__", SLICE_LIT("M"));
	add_label(&b, "a", SLICE_LIT("x\\\"\n"));
	add_label(&b, "b", SLICE_LIT("y"));
	add_sample(&b, 87.5, 1700000000123);
	add_sample(&b, -1, -5);
	proto_add_bytes(&b, 4, SLICE_LIT("a histogram"));
	proto_end(&b, at);
	proto_add_bytes(&b, 3, SLICE_LIT("metadata"));
	at = proto_begin(&b, 1);
	add_label(&b, "n", SLICE_LIT("a\0b"));
	proto_end(&b, at);
	return b;
}

TEST(a_request_is_read_series_by_series)
{
	struct strbuf b = request();
	struct remote_series s;
	struct remote_sample x;
	struct remote_write w;

	remote_write_init(&w, (struct slice){b.s, b.len});
	CHECK_EQ_INT(remote_write_next(&w, never, &s, &e), 1);
	CHECK(slice_eq(s.name, SLICE_LIT("M")) && !s.fault);
	CHECK(slice_eq(s.labels, SLICE_LIT("a=\"x\\\\\\\"\\n\",b=\"y\"")));
	CHECK(s.samples == 2 && s.histograms == 1);
	CHECK_EQ_INT(remote_series_next(&s, &x, &e), 1);
	CHECK(x.value == 87.5 && x.ms == 1700000000123);
	CHECK_EQ_INT(remote_series_next(&s, &x, &e), 1);
	CHECK(x.value == -1 && x.ms == -5);
	CHECK_EQ_INT(remote_series_next(&s, &x, &e), 0);
	CHECK_EQ_INT(remote_write_next(&w, never, &s, &e), 1);
	CHECK(s.fault && !s.name.len && !s.samples);
	CHECK_EQ_INT(remote_write_next(&w, never, &s, &e), 0);
	remote_write_release(&w);
	strbuf_release(&b);
}

TEST(of_a_series_that_is_skipped_samples_are_counted)
{
	struct strbuf b = request();
	struct remote_series s;
	struct remote_write w;

	remote_write_init(&w, (struct slice){b.s, b.len});
	CHECK_EQ_INT(remote_write_next(&w, always, &s, &e), 1);
	CHECK(!s.name.len && !s.labels.len && s.samples == 2 && s.histograms == 1);
	remote_write_release(&w);
	strbuf_release(&b);
}

TEST(every_cut_of_a_request_is_malformed_or_shorter)
{
	struct strbuf b = request();
	struct remote_series s;
	struct remote_write w;

	for (size_t n = 0; n < b.len; n++) {
		int r, series = 0;

		remote_write_init(&w, (struct slice){b.s, n});
		while ((r = remote_write_next(&w, never, &s, &e)) > 0)
			series++;
		CHECK(r == -EBADMSG || series < 2);
		remote_write_release(&w);
	}
	strbuf_release(&b);
}
