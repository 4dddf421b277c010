#include "strbuf.h"

#include <endian.h>
#include <stdio.h>

#define STRBUF_FIRST 64 /* bytes of the first allocation */

/* What s points to while nothing is allocated; never written. */
static char empty[1];

void strbuf_init(struct strbuf *b, size_t max)
{
	*b = (struct strbuf){.s = empty, .max = max};
}

void strbuf_release(struct strbuf *b)
{
	if (b->cap)
		free(b->s);
	strbuf_init(b, b->max);
}

static void set_len(struct strbuf *b, size_t len)
{
	b->len = len;
	if (b->cap)
		b->s[len] = '\0';
}

void strbuf_reset(struct strbuf *b)
{
	b->err = 0;
	set_len(b, 0);
}

static char *fail(struct strbuf *b, int err)
{
	b->err = err;
	return NULL;
}

static bool grow(struct strbuf *b, size_t need)
{
	size_t cap = MAX(MAX(b->cap + b->cap / 2, need), (size_t)STRBUF_FIRST);
	char *s;

	cap = MAX(MIN(cap - 1, b->max) + 1, need);
	s = realloc(b->cap ? b->s : NULL, cap);
	if (!s)
		return false;
	b->s = s;
	b->cap = cap;
	return true;
}

char *strbuf_reserve(struct strbuf *b, size_t n)
{
	if (b->err)
		return NULL;
	if (n > b->max - b->len)
		return fail(b, -EMSGSIZE);
	if (b->len + n + 1 > b->cap && !grow(b, b->len + n + 1))
		return fail(b, -ENOMEM);
	b->s[b->len + n] = '\0';
	return b->s + b->len;
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
	char *to = n ? strbuf_reserve(b, n) : NULL;

	if (!to)
		return;
	memcpy(to, p, n);
	b->len += n;
}

void strbuf_addc(struct strbuf *b, char c)
{
	strbuf_add(b, &c, 1);
}

void strbuf_adds(struct strbuf *b, const char *s)
{
	strbuf_add(b, s, strlen(s));
}

void strbuf_add_slice(struct strbuf *b, struct slice s)
{
	strbuf_add(b, s.p, s.len);
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
	va_list ap;
	char *to;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	to = n > 0 ? strbuf_reserve(b, (size_t)n) : NULL;
	if (!to)
		return;
	va_start(ap, fmt);
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void strbuf_consume(struct strbuf *b, size_t n)
{
	n = MIN(n, b->len);
	if (n == 0)
		return;
	memmove(b->s, b->s + n, b->len - n);
	set_len(b, b->len - n);
}

void strbuf_truncate(struct strbuf *b, size_t len)
{
	set_len(b, MIN(len, b->len));
}

char *strbuf_take(struct strbuf *b)
{
	char *s = b->cap ? b->s : xstrdup("");

	s[b->len] = '\0';
	strbuf_init(b, b->max);
	return s;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static size_t utf8_tail(const uint8_t *p, size_t n, uint8_t first_min, uint8_t first_max)
{
	if (p[1] < first_min || p[1] > first_max)
		return 0;
	for (size_t i = 2; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return n;
}

/* Length of the well-formed sequence of two to four bytes at p (Unicode 15, table 3-7), or 0. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
	size_t n = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (n == 0 || n > left)
		return 0;
	switch (p[0]) {
	case 0xe0:
		return utf8_tail(p, n, 0xa0, 0xbf);
	case 0xed:
		return utf8_tail(p, n, 0x80, 0x9f);
	case 0xf0:
		return utf8_tail(p, n, 0x90, 0xbf);
	case 0xf4:
		return utf8_tail(p, n, 0x80, 0x8f);
	default:
		return utf8_tail(p, n, 0x80, 0xbf);
	}
}

bool utf8_valid(struct slice s)
{
	const uint8_t *p = (const uint8_t *)s.p, *end = p + s.len;

	while (p < end) {
		size_t n = *p < 0x80 ? 1 : utf8_sequence(p, (size_t)(end - p));

		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

static void add_json_escape(struct strbuf *b, uint8_t c)
{
	static const char letter[256] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
					 ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};

	if (c >= 0x80)
		strbuf_adds(b, "\xef\xbf\xbd");
	else if (letter[c])
		strbuf_add(b, (char[]){'\\', letter[c]}, 2);
	else
		strbuf_addf(b, "\\u%04x", c);
}

/* How many bytes at p, up to end, can stand in a JSON string as they are. */
static size_t json_plain(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *at = p;

	while (at < end) {
		size_t n = *at < 0x80 ? *at >= 0x20 && *at != '"' && *at != '\\'
				      : utf8_sequence(at, (size_t)(end - at));

		if (n == 0)
			break;
		at += n;
	}
	return (size_t)(at - p);
}

void strbuf_add_json(struct strbuf *b, const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s, *end = p + n;

	strbuf_addc(b, '"');
	while (p < end) {
		size_t plain = json_plain(p, end);

		strbuf_add(b, p, plain);
		p += plain;
		if (p < end)
			add_json_escape(b, *p++);
	}
	strbuf_addc(b, '"');
}

/* ---- base64 ---------------------------------------------------------------------------------- */

/* Encoding takes 12 bits a step, decoding one character of four; both are bound by table look-ups
 * only (1.5 to 2 GB/s), which is what bulk values from etcd's gateway need. */
static char encode_pair[4096][2];
static uint32_t decode_at[4][256];

#define NOT_BASE64 0x80000000u

__attribute__((constructor)) static void base64_tables(void)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (int i = 0; i < 4096; i++) {
		encode_pair[i][0] = alphabet[i >> 6];
		encode_pair[i][1] = alphabet[i & 63];
	}
	for (int i = 0; i < 4; i++) {
		for (int c = 0; c < 256; c++)
			decode_at[i][c] = NOT_BASE64;
		for (uint32_t v = 0; v < 64; v++)
			decode_at[i][(uint8_t)alphabet[v]] = v << (18 - 6 * i);
	}
}

static char *encode_group(char *to, uint32_t bits)
{
	memcpy(to, encode_pair[bits >> 12], 2);
	memcpy(to + 2, encode_pair[bits & 4095], 2);
	return to + 4;
}

void strbuf_add_base64(struct strbuf *b, const void *data, size_t n)
{
	const uint8_t *p = data;
	size_t tail = n % 3;
	char *to;

	if (n > SIZE_MAX / 2 || !(to = strbuf_reserve(b, (n + 2) / 3 * 4))) {
		b->err = b->err ? b->err : -EMSGSIZE;
		return;
	}
	b->len += (n + 2) / 3 * 4;
	for (const uint8_t *end = p + (n - tail); p < end; p += 3)
		to = encode_group(to, (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]);
	if (tail == 0)
		return;
	to = encode_group(to, (uint32_t)p[0] << 16 | (tail == 2 ? (uint32_t)p[1] << 8 : 0));
	memset(to - (3 - tail), '=', 3 - tail);
}

static uint32_t decode_group(const uint8_t *p)
{
	return decode_at[0][p[0]] | decode_at[1][p[1]] | decode_at[2][p[2]] | decode_at[3][p[3]];
}

static char *put_bytes(char *to, uint32_t bits, size_t n)
{
	to[0] = (char)(bits >> 16);
	if (n > 1)
		to[1] = (char)(bits >> 8);
	if (n > 2)
		to[2] = (char)bits;
	return to + n;
}

/* The last group, with its padding: decodes into *ret and returns the bytes in it, or 0. Bits that
 * the padding cuts off must be zero, so that every text has one meaning and back. */
static size_t decode_last(const uint8_t *p, uint32_t *ret)
{
	size_t n = p[3] != '=' ? 3 : p[2] != '=' ? 2 : 1;
	const uint8_t group[4] = {p[0], p[1], n > 1 ? p[2] : 'A', n > 2 ? p[3] : 'A'};

	*ret = decode_group(group);
	if (*ret & NOT_BASE64 || *ret & ((1u << (24 - 8 * n)) - 1))
		return 0;
	return n;
}

int strbuf_add_unbase64(struct strbuf *b, const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;
	uint32_t bits = 0, bad = 0;
	char *start, *to;
	size_t last;

	if (n == 0 || b->err)
		return b->err;
	if (n % 4 || !(last = decode_last(p + n - 4, &bits)))
		return -EBADMSG;
	start = to = strbuf_reserve(b, n / 4 * 3 - (3 - last));
	if (!to)
		return b->err;
	for (const uint8_t *end = p + n - 4; p < end; p += 4) {
		uint32_t group = decode_group(p);

		bad |= group;
		to = put_bytes(to, group, 3);
	}
	if (bad & NOT_BASE64) {
		set_len(b, b->len);
		return -EBADMSG;
	}
	to = put_bytes(to, bits, last);
	b->len += (size_t)(to - start);
	return 0;
}

/* ---- binary formats -------------------------------------------------------------------------- */

void strbuf_add_u8(struct strbuf *b, uint8_t v)
{
	strbuf_add(b, &v, sizeof(v));
}

void strbuf_add_u32(struct strbuf *b, uint32_t v)
{
	v = htole32(v);
	strbuf_add(b, &v, sizeof(v));
}

void strbuf_add_u64(struct strbuf *b, uint64_t v)
{
	v = htole64(v);
	strbuf_add(b, &v, sizeof(v));
}

void strbuf_add_varint(struct strbuf *b, uint64_t v)
{
	uint8_t bytes[10];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (uint8_t)(v | 0x80);
	bytes[n++] = (uint8_t)v;
	strbuf_add(b, bytes, n);
}

void strbuf_add_zigzag(struct strbuf *b, int64_t v)
{
	strbuf_add_varint(b, zigzag(v));
}

void strbuf_add_lstr(struct strbuf *b, struct slice s)
{
	strbuf_add_varint(b, s.len);
	strbuf_add_slice(b, s);
}

static uint64_t read_failed(struct reader *r)
{
	r->err = -EBADMSG;
	r->p = r->end;
	return 0;
}

struct slice read_bytes(struct reader *r, size_t n)
{
	struct slice s = {(const char *)r->p, n};

	if (n > reader_left(r)) {
		read_failed(r);
		return (struct slice){"", 0};
	}
	r->p += n;
	return s;
}

uint8_t read_u8(struct reader *r)
{
	struct slice s = read_bytes(r, 1);

	return s.len ? (uint8_t)s.p[0] : 0;
}

uint32_t read_u32(struct reader *r)
{
	struct slice s = read_bytes(r, sizeof(uint32_t));
	uint32_t v = 0;

	memcpy(&v, s.p, s.len);
	return le32toh(v);
}

uint64_t read_u64(struct reader *r)
{
	struct slice s = read_bytes(r, sizeof(uint64_t));
	uint64_t v = 0;

	memcpy(&v, s.p, s.len);
	return le64toh(v);
}

/* Only the shortest form is accepted, so that what decodes encodes to the same bytes. */
uint64_t read_varint(struct reader *r)
{
	uint64_t v = 0;

	for (int shift = 0; shift < 64 && r->p < r->end; shift += 7) {
		uint8_t c = *r->p++;

		v |= (uint64_t)(c & 0x7f) << shift;
		if (c & 0x80)
			continue;
		if ((shift > 0 && c == 0) || (shift == 63 && c > 1))
			break;
		return v;
	}
	return read_failed(r);
}

int64_t read_zigzag(struct reader *r)
{
	return unzigzag(read_varint(r));
}

struct slice read_lstr(struct reader *r)
{
	return read_bytes(r, read_varint(r));
}
