#include "gzip.h"

#include <strings.h>
#include <zlib.h>

#define LEVEL                                                                                      \
	1 /* rows shrink to a tenth with it already; the next levels cost more than they save */
#define WINDOW (15 + 16) /* of a gzip stream */
#define ROOM   (32u << 10)

/* q=0 is a refusal. */
static bool is_refused(struct slice params)
{
	const char *q = memmem(params.p, params.len, "q=0", 3);
	size_t after;

	if (!q)
		return false;
	after = (size_t)(params.p + params.len - q) - 3;
	return strspn(q + 3, ".0") >= after;
}

bool gzip_accepted(const char *accept_encoding)
{
	for (const char *p = accept_encoding ? accept_encoding : ""; *p;) {
		size_t n = strcspn(p, ","), name;

		p += strspn(p, " \t");
		n = strcspn(p, ",");
		name = strcspn(p, ",; \t");
		if ((name == 4 && strncasecmp(p, "gzip", 4) == 0) || (name == 1 && *p == '*'))
			return !is_refused((struct slice){p + name, n - name});
		p += n + (p[n] != '\0');
	}
	return false;
}

/* Feeds in to z and appends what comes out. */
static int deflate_to(z_stream *z, struct slice in, int flush, struct strbuf *out)
{
	int r = Z_OK;

	z->next_in = (void *)(uintptr_t)in.p;
	z->avail_in = (unsigned)in.len;
	do {
		char *room = strbuf_reserve(out, ROOM);

		if (!room)
			return out->err;
		z->next_out = (void *)room;
		z->avail_out = ROOM;
		r = deflate(z, flush);
		out->len += ROOM - z->avail_out;
	} while (r == Z_OK && z->avail_out == 0);
	return r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR ? 0 : -EIO;
}

static int start(z_stream *z)
{
	return deflateInit2(z, LEVEL, Z_DEFLATED, WINDOW, 8, Z_DEFAULT_STRATEGY) == Z_OK ? 0
											 : -ENOMEM;
}

int gzip_bytes(struct slice plain, struct strbuf *out)
{
	z_stream z = {0};
	int r = start(&z);

	if (r)
		return r;
	r = deflate_to(&z, plain, Z_FINISH, out);
	deflateEnd(&z);
	return r;
}

/* Appends what of in is there to out, up to the end of a member. */
static int inflate_to(z_stream *z, struct strbuf *out)
{
	int r = Z_OK;

	do {
		size_t room = MIN((size_t)ROOM, out->max - out->len);
		char *to = room ? strbuf_reserve(out, room) : NULL;

		if (!to)
			return room ? out->err : -EMSGSIZE;
		z->next_out = (void *)to;
		z->avail_out = (unsigned)room;
		r = inflate(z, Z_NO_FLUSH);
		out->len += room - z->avail_out;
	} while (r == Z_OK && (z->avail_in || !z->avail_out));
	return r == Z_STREAM_END ? 0 : -EBADMSG;
}

int gunzip_bytes(struct slice packed, struct strbuf *out)
{
	z_stream z = {.next_in = (void *)(uintptr_t)packed.p, .avail_in = (unsigned)packed.len};
	int r = inflateInit2(&z, WINDOW) == Z_OK ? 0 : -ENOMEM;

	if (r)
		return r;
	do
		r = inflate_to(&z, out);
	while (!r && z.avail_in && inflateReset(&z) == Z_OK);
	inflateEnd(&z);
	return r;
}

struct gzip {
	struct source plain;
	struct strbuf piece;
	z_stream z;
	int error; /* of the start */
};

/* A piece that compresses to nothing yet is followed by the next: an empty one would be the end. */
static int fill(void *arg, struct strbuf *out)
{
	struct gzip *g = arg;
	int more = g->error ? g->error : 1, r = 0;

	while (!r && more == 1 && out->len == 0) {
		strbuf_reset(&g->piece);
		more = g->plain.fill(g->plain.arg, &g->piece);
		if (more >= 0)
			r = g->piece.err;
		if (more >= 0 && !r)
			r = deflate_to(&g->z, (struct slice){g->piece.s, g->piece.len},
				       more ? Z_NO_FLUSH : Z_FINISH, out);
	}
	return r ? r : more;
}

static void gzip_free(void *arg)
{
	struct gzip *g = arg;

	g->plain.free(g->plain.arg);
	strbuf_release(&g->piece);
	if (!g->error)
		deflateEnd(&g->z);
	free(g);
}

struct source gzip_source(const struct source *plain)
{
	struct gzip *g = xcalloc(1, sizeof(*g));

	g->plain = *plain;
	strbuf_init(&g->piece, STREAM_MAX);
	g->error = start(&g->z);
	return (struct source){fill, gzip_free, g};
}

void answer_compressible(struct answer *a, const struct request *q, const char *type,
			 struct strbuf *bytes)
{
	struct strbuf packed;

	if (!answer_get_header(a, "Vary"))
		answer_header(a, "Vary", "Accept-Encoding");
	if (bytes->len < GZIP_MIN || !gzip_accepted(request_header(q, "Accept-Encoding"))) {
		answer_bytes(a, type, bytes);
		return;
	}
	strbuf_init(&packed, bytes->max);
	if (gzip_bytes((struct slice){bytes->s, bytes->len}, &packed) || packed.err) {
		strbuf_release(&packed);
		answer_bytes(a, type, bytes);
		return;
	}
	strbuf_release(bytes);
	answer_header(a, "Content-Encoding", "gzip");
	answer_bytes(a, type, &packed);
}
