/* The guard: a process that sees to it that a daemon which was killed is gone.
 *
 * A thread that tells the kernel to drop pages of a file (notify.h) waits there for a READ of them
 * that is under way. Where the daemon is killed just then, nobody answers that READ: the thread
 * waits for ever, beyond signals, and with it the process, which keeps the connection open, for
 * whose end everybody waits who uses the mount. Only the end of the connection, or somebody else
 * who answers, gets them out of that.
 *
 * So the kernel tells the guard when the daemon's first thread has ended, and what the daemon had
 * open is closed soon after, his socket too. If it is not, he aborts the connection: through the
 * kernel's control files, or where these are not mounted, by umount -f. He is given more patience
 * where somebody may take the connection over and answer (supervise.h, heir.h). */
#ifndef GPUTEL_FS_GUARD_H
#define GPUTEL_FS_GUARD_H

#include "mountpoint.h"

struct guard;

/* Forks; by the daemon's first thread, before the mount and before there are others. NULL: refused,
 * errno says why. */
struct guard *guard_start(void);
/* What to watch over. inherited: others may go on with the connection. */
void guard_attach(struct guard *g, const struct mountpoint *m, bool inherited);
/* He ends. NULL is fine. */
void guard_free(struct guard *g);

#endif
