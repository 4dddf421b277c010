/* gzip (RFC 1952), as bytes come: the one includer of zlib.h. Not thread-safe; one user each. */
#ifndef GPUTEL_GZIP_STREAM_H
#define GPUTEL_GZIP_STREAM_H

#include "strbuf.h"

struct gzip_writer;

/* Level 1: rows shrink to a tenth with it already; the next levels cost more than they save. NULL:
 * no memory. */
struct gzip_writer *gzip_writer_new(void);
void gzip_writer_free(struct gzip_writer *w); /* NULL is fine */
/* Feeds in, and appends what comes out; last: nothing more will come. out's error or -EIO. */
int gzip_write(struct gzip_writer *w, struct slice in, bool last, struct strbuf *out) must_check;

struct gzip_reader;

struct gzip_reader *gzip_reader_new(void); /* NULL: no memory */
void gzip_reader_free(struct gzip_reader *r);
/* Takes bytes off *in and puts at most room of what they are to out, *ret_n of them. 1: a member
 * has ended, and another may begin; 0: go on; -EBADMSG: no gzip, or damaged. */
int gzip_read(struct gzip_reader *r, struct slice *in, char *out, size_t room,
	      size_t *ret_n) must_check;

#endif
