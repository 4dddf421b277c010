/* The bytes of format version 1 are frozen: what was stored once must be read for ever, and writers
 * of one version write the same. A change that fails here needs a new version. */
#include "../lib/test.h"
#include "batch.h"
#include "chunk.h"

#include <stdio.h>

enum { ROWS = 48, SERIES = 6 };

#define T0  (1752868800 * NS_PER_SEC)
#define GPU SLICE_LIT("GPU-01234567-89ab-cdef-0123-456789abcdef")

static const char chunk_hex[] =
	"6774630103efcdab89674523011032547698badcfec0cfeac3060530e1210600bd058094e1ebb29cdca9"
	"1802010123456789abcdef0123456789abcdef0a7079746f7263680a6c6c616d612d300b726573656172"
	"63680003030302641e08120623f36c10cb50a86572e2bdd0766d17d2016afd1fc9fa051efaa823c089a3"
	"49668356d4608501323680ece86007ca3006810108317ec107b14d22f97dbf5c5d04617013412f62c4f8"
	"648871c464f92e4c6288a2b9aff40b053027adc7ac233bae0763bf6f4a21b89c4f7543a95742ae8f6c64"
	"5d74d00c4e683d3a827687ad2a6f72969ba60dd0488314afcd010fa4af73f7060e229c82a3b51e5fdd33"
	"093b16fde4ca5de812a84449cdd2634e2da1f339ddb3bf";
static const char batch_hex[] =
	"6774620101819acbbe5a0000005000000028b52ffd205a3d020044030168060001410001424344454628"
	"4750552d30313233343536372d383961622d636465662d34353637383961626364656600000007006d4a"
	"a7dc03838121605c95c10130023006910109e36c43d96e8dce7dfd2dd480541534806a52434b94670763"
	"d0bf6387b42f4c1c26e6a1c59d4bfd77e0ae9b580530a3aa6367d941b567c22dff234dbc25ac5e6b8906"
	"7513d9fce1cc45b3831637c57c5d092088b64cf5cbe7b642a24fad70569380463468a323444c9bf21af7"
	"a4e37fed5920985d77bb743c74c27fc6e12e9aeb51365d70be5655c1645f272c45ee3183";

static const struct attribution attributions[] = {
	{GPU, SLICE_LIT("pytorch"), SLICE_LIT("llama-0"), SLICE_LIT("research")},
	{GPU, SLICE_LIT(""), SLICE_LIT(""), SLICE_LIT("")},
};

/* Every mode of a column, a scrape without a series, and times with and without fraction. */
static void make_rows(struct row *rows)
{
	static char texts[ROWS][32];
	static const char *const words[] = {"7e-06", "N/A", "1e10"};

	for (int i = 0; i < ROWS; i++) {
		int s = i % SERIES, k = i / SERIES;
		int64_t ms = 100 * k * (s != 5) + (k > 5);

		switch (s) {
		case 0:
			snprintf(texts[i], sizeof(texts[i]), "%d", 345 + k * k % 5 * 15);
			break;
		case 1:
			snprintf(texts[i], sizeof(texts[i]), "%d", 81559 - (345 + k * k % 5 * 15));
			break;
		case 2:
			snprintf(texts[i], sizeof(texts[i]), k == 3 ? "007" : "%d.%03d", 67 + k,
				 k * 677 % 1000);
			break;
		case 3:
			snprintf(texts[i], sizeof(texts[i]), "%s", words[k * k % 3]);
			break;
		case 4:
			snprintf(texts[i], sizeof(texts[i]), "%xh", k * 40503 % 65536);
			break;
		default:
			snprintf(texts[i], sizeof(texts[i]), "constant");
		}
		rows[i] = (struct row){
			{T0 + ms * NS_PER_MS, 3}, (uint32_t)s, k > 4, slice_str(texts[i])};
	}
	rows[7].time = (struct stamp){T0 + 123456789, 9};
}

static char *hex_of(const struct strbuf *b)
{
	static char text[4096];

	for (size_t i = 0; i < b->len && 2 * i < sizeof(text) - 2; i++)
		snprintf(text + 2 * i, 3, "%02x", (uint8_t)b->s[i]);
	return text;
}

static struct strbuf bytes_of(const char *hex)
{
	struct strbuf b;
	unsigned v;

	strbuf_init(&b, 1 << 16);
	for (; sscanf(hex, "%2x", &v) == 1; hex += 2)
		strbuf_addc(&b, (char)v);
	return b;
}

static bool are_same(const struct row *a, const struct rows *b)
{
	bool same = b->n == ROWS;

	for (size_t i = 0; i < b->n && same; i++)
		same = a[i].time.ns == b->rows[i].time.ns &&
		       a[i].time.digits == b->rows[i].time.digits &&
		       a[i].series == b->rows[i].series &&
		       a[i].attribution == b->rows[i].attribution &&
		       slice_eq(a[i].value, b->rows[i].value);
	return same;
}

TEST(a_chunk_of_version_one_is_written_and_read_as_ever)
{
	struct chunk_series series[SERIES] = {{0}};
	struct chunk_commit commits[] = {{100, 30}, {108, 18}};
	struct row rows[ROWS];
	struct chunk c = {.sealed = true,
			  .identity = 0x0123456789abcdef,
			  .incarnation = 0xfedcba9876543210,
			  .segment_ns = T0 - T0 % (3600 * NS_PER_SEC),
			  .first_seq = 5,
			  .rows = ROWS,
			  .csv_bytes = 4321,
			  .min_ns = T0,
			  .max_ns = T0 + 701 * NS_PER_MS,
			  .stored_ns = T0 + NS_PER_SEC,
			  .attributions = (struct attribution *)attributions,
			  .n_attributions = 2,
			  .series = series,
			  .n_series = SERIES,
			  .commits = commits,
			  .n_commits = 2};
	struct strbuf body, value, golden = bytes_of(chunk_hex);
	struct rows got = {0};
	struct chunk read = {0};

	make_rows(rows);
	for (uint32_t i = 0; i < SERIES; i++)
		series[i] = (struct chunk_series){2 * i,  rows[ROWS - SERIES + i].time,
						  i == 4, ROWS - SERIES + i,
						  1,      rows[ROWS - SERIES + i].value};
	strbuf_init(&body, 4096);
	strbuf_init(&value, 4096);
	chunk_encode_body(&c, rows, ROWS, &body);
	chunk_encode(&value, &c, (struct slice){body.s, body.len});
	CHECK_EQ_STR(hex_of(&value), chunk_hex);
	CHECK_EQ_INT(chunk_decode((struct slice){golden.s, golden.len}, &read, NULL), 0);
	CHECK_EQ_INT(chunk_decode_body(&read, read.inline_body, &got, NULL), 0);
	CHECK(are_same(rows, &got));
	CHECK_EQ_INT(read.csv_bytes, 4321);
	CHECK_EQ_INT(read.n_series, SERIES);
	CHECK(read.n_series == SERIES && read.series[4].ahead && read.series[5].id == 10);
	CHECK_EQ_SLICE(read.n_attributions ? read.attributions[0].uuid : GPU, GPU);
	chunk_release(&read);
	rows_release(&got);
	strbuf_release(&golden);
	strbuf_release(&body);
	strbuf_release(&value);
}

/* Other releases of zstd may write other bytes: only reading is frozen here. */
TEST(a_payload_of_version_one_is_read_as_ever)
{
	struct strbuf golden = bytes_of(batch_hex);
	struct row rows[ROWS];
	struct batch got = {0};

	make_rows(rows);
	for (int i = 0; i < ROWS; i++)
		rows[i].attribution = 0;
	CHECK_EQ_INT(batch_decode(golden.s, golden.len, &got, NULL), 0);
	CHECK(are_same(rows, &got.rows));
	CHECK(got.n_series == SERIES && slice_eq(got.series[5].metric, SLICE_LIT("F")));
	CHECK_EQ_SLICE(got.host, SLICE_LIT("h"));
	batch_release(&got);
	strbuf_release(&golden);
}
