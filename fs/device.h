/* The connection to the kernel, as libfuse reads and writes it.
 *
 * libfuse 3.14 does not know FUSE_DIRECT_IO_ALLOW_MMAP (protocol 7.39): the flag, without which a
 * growing row file cannot be mapped shared, is put into the answer to INIT on its way out where the
 * kernel offers it. */
#ifndef GPUTEL_FS_DEVICE_H
#define GPUTEL_FS_DEVICE_H

#include "lowlevel.h"

#include <stdatomic.h>
#include <stdint.h>

struct device {
	_Atomic uint64_t init; /* INIT's unique while its answer is to be patched, else 0 */
	atomic_bool begun;     /* the first request, which is INIT, has been read */
};

/* Takes over fd. The session's userdata must begin with a struct device. Returns 0 or -errno. */
int device_attach(struct fuse_session *se, int fd);

#endif
