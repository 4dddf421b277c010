/* The bytes of a source: those of a file or pipe, or what a gzip or Zstandard archive unpacks to,
 * which is known by its first bytes. All offsets are of unpacked bytes, so that a file and its
 * archive are the same source.
 *
 * Memory is bounded whatever an archive says (compress.h); an archive is unpacked as it is read,
 * and going back means to begin again. Of a regular file the descriptor's own position is neither
 * used nor moved. Not thread-safe. */
#ifndef GPUTEL_INPUT_H
#define GPUTEL_INPUT_H

#include "digest.h"

#define INPUT_EDGE (64 * 1024)       /* bytes that a fingerprint takes from either end */
#define INPUT_KEPT (2 * 1024 * 1024) /* bytes behind which one can be taken */

struct input;

/* keep: fingerprints may be asked for. Nothing is read yet; the descriptor stays the caller's.
 * -ENOMEM */
int input_open(struct input **ret, int fd, bool keep) must_check;
void input_close(struct input *in); /* NULL is fine */

/* Bytes to p, 0 at the end. -EAGAIN: none now, with nowait or a descriptor that does not block;
 * -EBADMSG: the archive is damaged; -ENODATA: it ends in its middle; other -errno. */
ssize_t input_read(struct input *in, void *p, size_t n, bool nowait) must_check;

/* The next byte read is that at offset. -ESPIPE: a pipe cannot; else as input_read: -ENODATA also
 * if an archive ends before (a file that does gives no bytes). */
int input_seek(struct input *in, int64_t offset) must_check;

/* "gzip", "zstd", or NULL: as it is. Looks at the first bytes of what can be read again; else
 * known once something was read. */
const char *input_packing(struct input *in);

/* SHA-256 over the first and the last INPUT_EDGE bytes of [0, before), each byte once, as they were
 * read. Only with keep, and at most INPUT_KEPT - INPUT_EDGE bytes back. */
void input_fingerprint(const struct input *in, int64_t before, uint8_t ret[SHA256_LEN]);

/* Of the next byte that is read. */
int64_t input_offset(const struct input *in);

/* Whether the bytes right before the last one read still stand in the file as they were read; only
 * with keep, and of what is no archive. */
bool input_is_same(struct input *in);

/* What is wrong, for a negative result of the above. */
const char *input_error(struct input *in, int code);

#endif
