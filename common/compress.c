#include "compress.h"

#include <pthread.h>
#include <zstd.h>
#include <zstd_errors.h>

/* A context holds some hundred KiB of tables: too much to set up for every chunk. */
struct contexts {
	ZSTD_CCtx *compress;
	ZSTD_DCtx *decompress;
};

static pthread_key_t key;

static void contexts_free(void *p)
{
	struct contexts *c = p;

	ZSTD_freeCCtx(c->compress);
	ZSTD_freeDCtx(c->decompress);
	free(c);
}

__attribute__((constructor)) static void contexts_key(void)
{
	if (pthread_key_create(&key, contexts_free))
		abort();
}

static struct contexts *contexts_of_thread(void)
{
	struct contexts *c = pthread_getspecific(key);

	if (c)
		return c;
	c = xcalloc(1, sizeof(*c));
	c->compress = ZSTD_createCCtx();
	c->decompress = ZSTD_createDCtx();
	if (!c->compress || !c->decompress || pthread_setspecific(key, c)) {
		contexts_free(c);
		return NULL;
	}
	return c;
}

int compress_zstd(struct strbuf *out, const void *p, size_t n, int level)
{
	struct contexts *c = contexts_of_thread();
	size_t room = MIN(ZSTD_compressBound(n), out->max - out->len), used;
	char *to;

	if (!c)
		return -ENOMEM;
	to = strbuf_reserve(out, room);
	if (!to)
		return out->err;
	used = ZSTD_compressCCtx(c->compress, to, room, p, n, level);
	if (ZSTD_isError(used)) {
		*to = '\0';
		return ZSTD_getErrorCode(used) == ZSTD_error_dstSize_tooSmall ? -EMSGSIZE : -ENOMEM;
	}
	to[used] = '\0';
	out->len += used;
	return 0;
}

int decompress_zstd(struct strbuf *out, const void *p, size_t n, size_t max_out)
{
	struct contexts *c = contexts_of_thread();
	unsigned long long size = ZSTD_getFrameContentSize(p, n);
	char *to;

	if (!c)
		return -ENOMEM;
	if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN)
		return -EBADMSG;
	if (size > max_out)
		return -EMSGSIZE;
	to = strbuf_reserve(out, size);
	if (!to)
		return out->err;
	if (ZSTD_decompressDCtx(c->decompress, to, size, p, n) != size) {
		*to = '\0';
		return -EBADMSG;
	}
	out->len += size;
	return 0;
}

/* ---- streams --------------------------------------------------------------------------------- */

struct zstd_reader {
	ZSTD_DCtx *context;
};

struct zstd_reader *zstd_reader_new(void)
{
	struct zstd_reader *r = xcalloc(1, sizeof(*r));

	r->context = ZSTD_createDCtx();
	if (r->context)
		return r;
	free(r);
	return NULL;
}

void zstd_reader_free(struct zstd_reader *r)
{
	if (!r)
		return;
	ZSTD_freeDCtx(r->context);
	free(r);
}

int zstd_read(struct zstd_reader *r, struct slice *in, char *out, size_t room, size_t *ret_n)
{
	ZSTD_inBuffer from = {in->p, in->len, 0};
	ZSTD_outBuffer to = {out, room, 0};
	size_t left = ZSTD_decompressStream(r->context, &to, &from);

	*in = (struct slice){in->p + from.pos, in->len - from.pos};
	*ret_n = to.pos;
	if (!ZSTD_isError(left))
		return left == 0;
	return ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge ? -ENOMEM
										   : -EBADMSG;
}
