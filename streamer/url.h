/* Where an exporter is: http[s]://[user:password@]host[:port][/path][?query]. Without a path it is
 * /metrics. */
#ifndef GPUTEL_URL_H
#define GPUTEL_URL_H

#include "base.h"

struct url {
	char *text; /* to be asked */
	char *name; /* the same without user and password, for people */
	char *host; /* its name; this machine's for localhost and loopback addresses */
};

/* -EINVAL: not such a thing; e says what was expected. */
int url_parse(const char *text, struct url *ret, struct err *e) must_check;
void url_release(struct url *a);

#endif
