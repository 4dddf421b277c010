/* The connection to the kernel, as libfuse reads and writes it.
 *
 * libfuse 3.14 does not know FUSE_DIRECT_IO_ALLOW_MMAP (protocol 7.39): the flag, without which a
 * growing row file cannot be mapped shared, is put into the answer to INIT on its way out where the
 * kernel offers it.
 *
 * A request costs its reader two wake-ups, his and that of a thread here; where they are on
 * processors that have gone to sleep, as most of a virtual machine's do, each takes longer than
 * all else together. So while requests come one soon after the other, a thread stays awake for the
 * next one for a moment: 50 µs of a processor at the end of each such series.
 *
 * The kernel says INIT once. Where something outlives the daemon (saved.h) it is kept, and said
 * again to libfuse by a successor, whose answer the kernel does not see. */
#ifndef GPUTEL_FS_DEVICE_H
#define GPUTEL_FS_DEVICE_H

#include "lowlevel.h"
#include "saved.h"

#include <stdatomic.h>
#include <stdint.h>

struct device {
	_Atomic uint64_t init;   /* INIT's unique while its answer is to be patched, else 0 */
	atomic_bool begun;       /* the first request, which is INIT, has been read */
	_Atomic uint64_t mute;   /* unique of the request whose answer is not sent, else 0 */
	struct saved *saved;     /* NULL: nothing outlives the daemon */
	_Atomic int64_t done_ns; /* when a thread was last free for a request */
	atomic_int soon;         /* > 0: requests come soon after one another */
	atomic_bool awake;       /* a thread stays so */
};

/* Takes over fd. The session's userdata must begin with a struct device. Returns 0 or -errno. */
int device_attach(struct fuse_session *se, int fd);

/* Asks the kernel to say again what a predecessor has read and not answered. -EINVAL: it cannot,
 * it is older than 6.9; -ENOTCONN: the connection was aborted. */
int device_resend(int fd);
/* Says the saved INIT to libfuse. */
void device_replay(struct fuse_session *se, struct device *d);

#endif
