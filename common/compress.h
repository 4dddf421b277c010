/* Compression of byte strings (Zstandard). One frame per string, with its size in the header.
 * Safe from any thread; each keeps its contexts for the next call and frees them when it ends. */
#ifndef GPUTEL_COMPRESS_H
#define GPUTEL_COMPRESS_H

#include "strbuf.h"

/* Appends the compressed bytes. -EMSGSIZE past out's ceiling, -ENOMEM. */
int compress_zstd(struct strbuf *out, const void *p, size_t n, int level) must_check;

/* Appends what was compressed. -EBADMSG: no such frame, or more than that; -EMSGSIZE: it says that
 * it holds more than max_out bytes, or out's ceiling is lower. Nothing is appended on failure. */
int decompress_zstd(struct strbuf *out, const void *p, size_t n, size_t max_out) must_check;

struct zstd_reader;

/* Frames as bytes come, whatever program made them; windows of at most 128 MiB. NULL: no memory. */
struct zstd_reader *zstd_reader_new(void);
void zstd_reader_free(struct zstd_reader *r); /* NULL is fine */
/* Takes bytes off *in and puts at most room of what they are to out, *ret_n of them. 1: a frame has
 * ended, and another may begin; 0: go on; -EBADMSG: no Zstandard, or damaged; -ENOMEM: a larger
 * window. */
int zstd_read(struct zstd_reader *r, struct slice *in, char *out, size_t room,
	      size_t *ret_n) must_check;

#endif
