/* Which GPUs a request speaks of. Only what its token may read is ever told. */
#ifndef GPUTEL_BRIDGE_SELECT_H
#define GPUTEL_BRIDGE_SELECT_H

#include "query.h"
#include "request.h"

/* Names with * ? [ ] (fnmatch). An empty list matches all. */
struct globs {
	const char *g[ARGS_MAX];
	size_t n;
};

/* All arguments of that name. */
struct globs globs_of(const struct request *q, const char *name);
bool globs_match(const struct globs *g, const char *s);

/* Told in order of host, then GPU (encoded). */
typedef int (*select_fn)(const struct query_gpu *g, void *arg);

/* All GPUs that match the arguments host, gpu and uuid (globs); of one host only where hostname
 * (plain) is not NULL. -ENOENT: no such host. */
int select_matching(struct request *q, const char *hostname, select_fn fn, void *arg) must_check;

/* {id}: a uuid, else host:gpu (split at the last colon), else that gpu_id on every host. hostname
 * (NULL: any) narrows. -ENOENT: there is none; -EACCES: there is, but not for this token. */
int select_id(struct request *q, const char *id, const char *hostname, select_fn fn,
	      void *arg) must_check;

/* Names to come back to, in the same order. */
struct selection {
	struct {
		char *host, *gpu; /* encoded */
	} * g;
	size_t n, cap;
};

void selection_add(struct selection *s, const struct query_gpu *g);
void selection_release(struct selection *s);

#endif
