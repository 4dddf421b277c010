/* Snappy's block format (libsnappy): the one includer of snappy-c.h. */
#ifndef GPUTEL_BRIDGE_SNAPPY_H
#define GPUTEL_BRIDGE_SNAPPY_H

#include "strbuf.h"

/* Appends what was packed. -EBADMSG: it is no block; -EMSGSIZE: it is more than out takes, which is
 * seen before anything is unpacked. */
int unsnap_bytes(struct slice packed, struct strbuf *out) must_check;

#endif
