#include "cursor.h"

#include <stdio.h>

#include "digest.h"

#define VERSION   1
#define BYTES_MAX 1024

struct key_of_record cursor_key(const struct cursor *c)
{
	return (struct key_of_record){c->time_ns, c->host, c->gpu, c->series, c->seq};
}

void cursor_set_key(struct cursor *c, const struct key_of_record *key)
{
	c->time_ns = key->time_ns;
	c->seq = key->seq;
	snprintf(c->host, sizeof(c->host), "%s", key->host);
	snprintf(c->gpu, sizeof(c->gpu), "%s", key->gpu);
	snprintf(c->series, sizeof(c->series), "%s", key->series);
}

static void swap(struct strbuf *b, char from, char to)
{
	for (size_t i = 0; i < b->len; i++)
		if (b->s[i] == from)
			b->s[i] = to;
}

void cursor_encode(struct strbuf *out, const struct cursor *c)
{
	struct strbuf b, text;

	strbuf_init(&b, BYTES_MAX);
	strbuf_init(&text, 2 * BYTES_MAX);
	strbuf_add_u8(&b, VERSION);
	strbuf_add_u64(&b, c->query);
	strbuf_add_varint(&b, (uint64_t)c->ceiling);
	strbuf_add_zigzag(&b, c->from_ns);
	strbuf_add_zigzag(&b, c->to_ns);
	strbuf_add_zigzag(&b, c->time_ns);
	strbuf_add_lstr(&b, slice_str(c->host));
	strbuf_add_lstr(&b, slice_str(c->gpu));
	strbuf_add_lstr(&b, slice_str(c->series));
	strbuf_add_zigzag(&b, c->seq);
	strbuf_add_u32(&b, crc32c(b.s, b.len));
	strbuf_add_base64(&text, b.s, b.len);
	while (text.len && text.s[text.len - 1] == '=')
		strbuf_truncate(&text, text.len - 1);
	swap(&text, '+', '-');
	swap(&text, '/', '_');
	strbuf_add(out, text.s, text.len);
	strbuf_release(&b);
	strbuf_release(&text);
}

static void read_text(struct reader *r, char *to, size_t size)
{
	struct slice s = read_lstr(r);

	if (s.len >= size || memchr(s.p, '\0', s.len))
		r->err = -EBADMSG;
	else
		snprintf(to, size, "%.*s", (int)s.len, s.len ? s.p : "");
}

static int decode(const struct strbuf *b, struct cursor *c)
{
	struct reader r = reader_of(b->s, b->len);
	size_t covered;

	if (read_u8(&r) != VERSION)
		return -EINVAL;
	c->query = read_u64(&r);
	c->ceiling = (int64_t)read_varint(&r);
	c->from_ns = read_zigzag(&r);
	c->to_ns = read_zigzag(&r);
	c->time_ns = read_zigzag(&r);
	read_text(&r, c->host, sizeof(c->host));
	read_text(&r, c->gpu, sizeof(c->gpu));
	read_text(&r, c->series, sizeof(c->series));
	c->seq = read_zigzag(&r);
	covered = b->len - reader_left(&r);
	if (read_u32(&r) != crc32c(b->s, covered) || r.err || reader_left(&r))
		return -EINVAL;
	return 0;
}

int cursor_decode(const char *text, struct cursor *ret)
{
	struct cursor c = {0};
	struct strbuf t, b;
	int r;

	strbuf_init(&t, 2 * BYTES_MAX);
	strbuf_init(&b, BYTES_MAX);
	strbuf_adds(&t, text);
	swap(&t, '-', '+');
	swap(&t, '_', '/');
	while (t.len % 4)
		strbuf_addc(&t, '=');
	r = t.err || !t.len || strbuf_add_unbase64(&b, t.s, t.len) ? -EINVAL : decode(&b, &c);
	if (!r)
		*ret = c;
	strbuf_release(&t);
	strbuf_release(&b);
	return r;
}
