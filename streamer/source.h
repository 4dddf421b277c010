/* What a source is: known by the start of its content, whatever its path (DESIGN §2), and checked
 * by a fingerprint of what was published.
 *
 * A source's id is the hex text of the first 16 bytes of SHA-256 over the first `len` bytes of the
 * file, len at most SOURCE_HEAD_MAX. len is recorded with it, so that a file which has grown since
 * still has this id: hash the same len again. Of several recorded sources that a file matches, the
 * one with the longest head is meant (source_match over each; two files that began alike and were
 * recorded while short differ by fingerprint later). Take an id when the file's first row is there:
 * all files start alike in their header.
 *
 * Pure functions over a descriptor, which they do not move; messages start with the path. */
#ifndef GPUTEL_SOURCE_H
#define GPUTEL_SOURCE_H

#include "digest.h"
#include "input.h"

#define SOURCE_HEAD_MAX 4096
#define SOURCE_ID_LEN   32

struct source_id {
	char text[SOURCE_ID_LEN + 1];
	uint32_t len; /* bytes that were hashed; 0: an id that belongs to no content */
};

/* The start of a file, read once and compared with many. */
struct source_head {
	uint8_t p[SOURCE_HEAD_MAX];
	uint32_t len;
};

/* Opens a file for reading. -ENOENT, -EACCES, …; -EISDIR; -ENODATA: empty; -EBADMSG: binary. Pipes
 * and devices are opened as they are, without waiting for a writer and not blocking. */
int source_open(const char *path, int *ret_fd, struct err *e) must_check;

/* True of what can be read again from an offset. */
bool source_is_file(int fd);

/* "gzip", "zstd", or NULL: no archive. All that follows is about what is in it. */
const char *source_packing(int fd);
/* The file has so many bytes. */
bool source_reaches(int fd, int64_t offset);

int source_read_head(int fd, struct source_head *ret) must_check;
/* The id of a file that nobody has recorded yet: over all of its head. */
struct source_id source_identify(const struct source_head *head);
/* The file starts with the len bytes that id was made of. */
bool source_match(const struct source_head *head, const struct source_id *id);
/* A new id for what has no content to be known by: stdin, or a file that is sent --again. */
struct source_id source_id_new(void);

/* SHA-256 over the first and the last INPUT_EDGE bytes of [0, before), each byte once. -ENODATA:
 * the file is shorter than that. */
int source_fingerprint(int fd, int64_t before, uint8_t ret[SHA256_LEN]) must_check;

#endif
