/* gzip of answers and of bodies. */
#ifndef GPUTEL_BRIDGE_GZIP_H
#define GPUTEL_BRIDGE_GZIP_H

#include "stream.h"

#define GZIP_MIN 1024 /* bytes below which it is not worth it */

/* Whether Accept-Encoding (may be NULL) takes gzip. */
bool gzip_accepted(const char *accept_encoding);

int gzip_bytes(struct slice plain, struct strbuf *out) must_check;
/* The other way round, of one or several members. -EBADMSG: it is no gzip, or cut; -EMSGSIZE: it is
 * more than out takes, of which no more than that is unpacked. */
int gunzip_bytes(struct slice packed, struct strbuf *out) must_check;
/* The same content compressed; takes the plain source over. */
struct source gzip_source(const struct source *plain);

#endif
