#include "gzip_stream.h"

#include <zlib.h>

#define LEVEL  1
#define WINDOW (15 + 16) /* of a gzip stream */
#define ROOM   (32u << 10)

struct gzip_writer {
	z_stream z;
};

struct gzip_writer *gzip_writer_new(void)
{
	struct gzip_writer *w = xcalloc(1, sizeof(*w));

	if (deflateInit2(&w->z, LEVEL, Z_DEFLATED, WINDOW, 8, Z_DEFAULT_STRATEGY) == Z_OK)
		return w;
	free(w);
	return NULL;
}

void gzip_writer_free(struct gzip_writer *w)
{
	if (!w)
		return;
	deflateEnd(&w->z);
	free(w);
}

int gzip_write(struct gzip_writer *w, struct slice in, bool last, struct strbuf *out)
{
	z_stream *z = &w->z;
	int r = Z_OK;

	z->next_in = (void *)(uintptr_t)in.p;
	z->avail_in = (unsigned)in.len;
	do {
		char *room = strbuf_reserve(out, ROOM);

		if (!room)
			return out->err;
		z->next_out = (void *)room;
		z->avail_out = ROOM;
		r = deflate(z, last ? Z_FINISH : Z_NO_FLUSH);
		out->len += ROOM - z->avail_out;
	} while (r == Z_OK && z->avail_out == 0);
	return r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR ? 0 : -EIO;
}

struct gzip_reader {
	z_stream z;
};

struct gzip_reader *gzip_reader_new(void)
{
	struct gzip_reader *r = xcalloc(1, sizeof(*r));

	if (inflateInit2(&r->z, WINDOW) == Z_OK)
		return r;
	free(r);
	return NULL;
}

void gzip_reader_free(struct gzip_reader *r)
{
	if (!r)
		return;
	inflateEnd(&r->z);
	free(r);
}

int gzip_read(struct gzip_reader *r, struct slice *in, char *out, size_t room, size_t *ret_n)
{
	z_stream *z = &r->z;
	int code;

	z->next_in = (void *)(uintptr_t)in->p;
	z->avail_in = (unsigned)in->len;
	z->next_out = (void *)out;
	z->avail_out = (unsigned)room;
	code = inflate(z, Z_NO_FLUSH);
	*in = (struct slice){in->p + in->len - z->avail_in, z->avail_in};
	*ret_n = room - z->avail_out;
	if (code == Z_STREAM_END)
		return inflateReset(z) == Z_OK ? 1 : -EBADMSG;
	return code == Z_OK || code == Z_BUF_ERROR ? 0 : -EBADMSG;
}
