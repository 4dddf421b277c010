/* Preloaded: a FUSE daemon's answers to one kind of request (LATE_OPCODE) go out LATE_MS after they
 * were made, as they do where its thread loses the processor just then. */
#define _GNU_SOURCE
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SLOTS = 1024 };

static uint32_t opcode;
static unsigned late_ms;
static _Atomic uint64_t waiting[SLOTS]; /* uniques of such requests that were read */

__attribute__((constructor)) static void configure(void)
{
	const char *kind = getenv("LATE_OPCODE"), *ms = getenv("LATE_MS");

	opcode = kind ? (uint32_t)strtoul(kind, NULL, 10) : 0;
	late_ms = ms ? (unsigned)strtoul(ms, NULL, 10) : 0;
}

ssize_t read(int fd, void *buf, size_t size)
{
	const struct fuse_in_header *in = buf;
	ssize_t n = syscall(SYS_read, fd, buf, size);

	if (opcode && n >= (ssize_t)sizeof(*in) && in->len == n && in->opcode == opcode)
		waiting[in->unique / 2 % SLOTS] = in->unique;
	return n;
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;

	if (opcode && iov[0].iov_len == sizeof(*out) && out->unique &&
	    waiting[out->unique / 2 % SLOTS] == out->unique) {
		waiting[out->unique / 2 % SLOTS] = 0;
		usleep(late_ms * 1000);
	}
	return syscall(SYS_writev, fd, iov, count);
}
