/* Places where a test can make a program end at once, as a crash would: before every transaction is
 * sent and after its answer is in (etcd_txn.c), named by the transaction ("publish.send",
 * "publish.receive"). FAILPOINT=name:n in the environment ends the process with FAILPOINT_EXIT at
 * the n-th time that name is passed; FAILPOINT=name:0 ends nothing, and writes a line per passing
 * to standard error, to find out what there is to hit. Compiled in with `make FAILPOINTS=1` only.
 */
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
