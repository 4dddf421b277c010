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

#endif
