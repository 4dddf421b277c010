/* Places where a test can make something happen to a program: before every transaction is sent and
 * after its answer is in (etcd_txn.c), named by the transaction ("publish.send",
 * "publish.receive").
 *
 * FAILPOINT=name:n in the environment ends the process with FAILPOINT_EXIT at the n-th time that
 * name is passed, as a crash would. FAILPOINT=name:n:term sends it SIGTERM there, and lets it go on
 * when it knows that it is to stop; FAILPOINT=name:n:term2 then sends another one, which ends it.
 * Each says so on standard error. FAILPOINT=name:0 does nothing, and writes a line per passing, to
 * find out what there is to hit. Compiled in with `make FAILPOINTS=1` only. */
#ifndef GPUTEL_FAILPOINT_H
#define GPUTEL_FAILPOINT_H

#include "base.h"

#define FAILPOINT_EXIT 42

#ifdef GPUTEL_FAILPOINTS
void failpoint(const char *name, const char *where);
#else
static inline void failpoint(const char *name, const char *where)
{
	(void)name;
	(void)where;
}
#endif

#endif
