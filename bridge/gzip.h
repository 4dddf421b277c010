/* gzip of answers (zlib): the one includer of zlib.h. */
#ifndef GPUTEL_BRIDGE_GZIP_H
#define GPUTEL_BRIDGE_GZIP_H

#include "stream.h"

#define GZIP_MIN 1024 /* bytes below which it is not worth it */

/* Whether Accept-Encoding (may be NULL) takes gzip. */
bool gzip_accepted(const char *accept_encoding);

int gzip_bytes(struct slice plain, struct strbuf *out) must_check;
/* The same content compressed; takes the plain source over. */
struct source gzip_source(const struct source *plain);

#endif
