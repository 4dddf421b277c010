/* A growable byte buffer with a ceiling from birth.
 *
 * Errors are sticky: the first append that does not fit sets b->err (-EMSGSIZE past the ceiling,
 * -ENOMEM without memory) and every later append does nothing, so a caller checks once, at the
 * end. The content is always terminated with a NUL that len does not count; it may hold NULs.
 *
 *	struct strbuf b;
 *	strbuf_init(&b, 64 << 10);
 *	strbuf_addf(&b, "%s=%d", name, value);
 *	if (b.err) ...
 *	strbuf_release(&b);
 *
 * Not thread-safe. A zeroed struct is a valid empty buffer with ceiling 0 (takes nothing). */
#ifndef GPUTEL_STRBUF_H
#define GPUTEL_STRBUF_H

#include "base.h"

struct strbuf {
	char *s;
	size_t len;
	size_t cap;
	size_t max; /* most bytes it will hold */
	int err;    /* 0, or the first failure */
};

void strbuf_init(struct strbuf *b, size_t max);
void strbuf_release(struct strbuf *b); /* back to the state after strbuf_init */
void strbuf_reset(struct strbuf *b);   /* empties, keeps the memory, clears err */

/* Makes room for n more bytes and returns where they go, or NULL (err is set). The caller adds what
 * it wrote to len; if that is less than n, the content is not terminated until the next append. */
char *strbuf_reserve(struct strbuf *b, size_t n);

void strbuf_add(struct strbuf *b, const void *p, size_t n);
void strbuf_addc(struct strbuf *b, char c);
void strbuf_adds(struct strbuf *b, const char *s);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) printf_like(2, 3);
void strbuf_add_slice(struct strbuf *b, struct slice s);
void strbuf_consume(struct strbuf *b, size_t n);    /* drops the first n bytes */
void strbuf_truncate(struct strbuf *b, size_t len); /* keeps at most the first len bytes */
char *strbuf_take(struct strbuf *b); /* the terminated content, to be freed; b is empty */

bool utf8_valid(struct slice s);

/* JSON text of a string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void strbuf_add_json(struct strbuf *b, const char *s, size_t n);

/* Standard base64 with padding, as etcd's gateway writes bytes. */
void strbuf_add_base64(struct strbuf *b, const void *p, size_t n);
/* Decodes into the buffer. -EBADMSG: not base64 (nothing added). */
int strbuf_add_unbase64(struct strbuf *b, const char *s, size_t n) must_check;

/* Little-endian integers and LEB128 varints, the alphabet of the binary formats. */
void strbuf_add_u8(struct strbuf *b, uint8_t v);
void strbuf_add_u32(struct strbuf *b, uint32_t v);
void strbuf_add_u64(struct strbuf *b, uint64_t v);
void strbuf_add_varint(struct strbuf *b, uint64_t v);
void strbuf_add_zigzag(struct strbuf *b, int64_t v);
void strbuf_add_lstr(struct strbuf *b, struct slice s); /* varint length, bytes */

/* The other direction: a cursor over bytes from outside. A read past the end or a malformed varint
 * sets err (-EBADMSG) and yields 0 or an empty slice from then on. */
struct reader {
	const uint8_t *p, *end;
	int err;
};

static inline struct reader reader_of(const void *p, size_t n)
{
	const uint8_t *start = n ? p : (const void *)"";

	return (struct reader){start, start + n, 0};
}

uint8_t read_u8(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
uint64_t read_varint(struct reader *r);
int64_t read_zigzag(struct reader *r);
struct slice read_bytes(struct reader *r, size_t n);
struct slice read_lstr(struct reader *r);

static inline size_t reader_left(const struct reader *r)
{
	return (size_t)(r->end - r->p);
}

static inline uint64_t zigzag(int64_t v)
{
	return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static inline int64_t unzigzag(uint64_t v)
{
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

#endif
