#include "gzip.h"

#include <strings.h>

#include "gzip_stream.h"

#define ROOM (32u << 10)

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
		size_t n, name;

		p += strspn(p, " \t");
		n = strcspn(p, ",");
		name = strcspn(p, ",; \t");
		if ((name == 4 && strncasecmp(p, "gzip", 4) == 0) || (name == 1 && *p == '*'))
			return !is_refused((struct slice){p + name, n - name});
		p += n + (p[n] != '\0');
	}
	return false;
}

int gzip_bytes(struct slice plain, struct strbuf *out)
{
	struct gzip_writer *w = gzip_writer_new();
	int r = w ? gzip_write(w, plain, true, out) : -ENOMEM;

	gzip_writer_free(w);
	return r;
}

int gunzip_bytes(struct slice packed, struct strbuf *out)
{
	struct gzip_reader *r = gzip_reader_new();
	int k = r ? 0 : -ENOMEM;

	while (k == 0 || (k == 1 && packed.len)) {
		size_t room = MIN((size_t)ROOM, out->max - out->len), got = 0;
		char *to = room ? strbuf_reserve(out, room) : NULL;

		if (!to) {
			k = room ? out->err : -EMSGSIZE;
			break;
		}
		k = gzip_read(r, &packed, to, room, &got);
		out->len += got;
		if (k == 0 && !got && !packed.len)
			k = -EBADMSG;
	}
	gzip_reader_free(r);
	return MIN(k, 0);
}

struct gzip {
	struct source plain;
	struct strbuf piece;
	struct gzip_writer *writer; /* NULL: there was no memory */
};

/* A piece that compresses to nothing yet is followed by the next: an empty one would be the end. */
static int fill(void *arg, struct strbuf *out)
{
	struct gzip *g = arg;
	int more = g->writer ? 1 : -ENOMEM, r = 0;

	while (!r && more == 1 && out->len == 0) {
		strbuf_reset(&g->piece);
		more = g->plain.fill(g->plain.arg, &g->piece);
		if (more >= 0)
			r = g->piece.err;
		if (more >= 0 && !r)
			r = gzip_write(g->writer, (struct slice){g->piece.s, g->piece.len},
				       more == 0, out);
	}
	return r ? r : more;
}

static void gzip_free(void *arg)
{
	struct gzip *g = arg;

	g->plain.free(g->plain.arg);
	strbuf_release(&g->piece);
	gzip_writer_free(g->writer);
	free(g);
}

struct source gzip_source(const struct source *plain)
{
	struct gzip *g = xcalloc(1, sizeof(*g));

	g->plain = *plain;
	strbuf_init(&g->piece, STREAM_MAX);
	g->writer = gzip_writer_new();
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
