/* Reads that wait for something to come, without a thread: the request is kept and answered later.
 *
 * A reader who is interrupted meanwhile gets EINTR. Locks: a list's is taken under libfuse's of a
 * request, so nothing of a request may be called under it. */
#ifndef GPUTEL_FS_PARKED_H
#define GPUTEL_FS_PARKED_H

#include "base.h"
#include "clock.h"
#include "lowlevel.h"

#include <pthread.h>

struct parked_list;

struct parked {
	fuse_req_t req;
	size_t size;
	int64_t offset;
	int64_t key; /* of those who wait in one list for different things */
	struct mono since;
	/* The list's. */
	struct parked_list *list;
	struct parked *next;
	bool interrupted;
};

struct parked_list {
	pthread_mutex_t lock;
	struct parked *first, **tail; /* under lock */
};

void parked_init(struct parked_list *l);
/* Answers what is left with that errno. */
void parked_release(struct parked_list *l, int error);

/* From here on anybody may answer req, or has. */
void parked_add(struct parked_list *l, fuse_req_t req, size_t size, int64_t offset, int64_t key);
/* The first with a key up to that, if it waits since before so long; to be answered and freed by
 * the caller. NULL: none. */
struct parked *parked_take(struct parked_list *l, int64_t key_max, int64_t waited_ms);
bool parked_any(struct parked_list *l);

#endif
