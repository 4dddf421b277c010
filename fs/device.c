#include "device.h"

#include "clock.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/uio.h>
#include <unistd.h>

#include "requests.h"

#ifndef FUSE_INIT_EXT
#define FUSE_INIT_EXT (1U << 30)
#endif
#define AWAKE_NS   50000  /* the longest that a thread stays awake for the next request */
#define SOON_NS    100000 /* a request that waits for a thread to wake up comes within this */
#define SOON_AGAIN 2      /* so many have to, after a thread was awake in vain */

#define NOTIFY_RESEND     7         /* since protocol 7.40 */
#define ALLOW_MMAP_FLAGS2 (1U << 4) /* bit 36: FUSE_DIRECT_IO_ALLOW_MMAP */

/* As in the kernel since protocol 7.36; older headers lack the second word. */
struct init_in {
	struct fuse_in_header header;
	uint32_t major, minor, max_readahead, flags, flags2;
};

struct init_out {
	uint32_t major, minor, max_readahead, flags;
	uint16_t max_background, congestion_threshold;
	uint32_t max_write, time_gran;
	uint16_t max_pages, map_alignment;
	uint32_t flags2;
};

static void note_init(struct device *d, const void *buf, size_t n)
{
	const struct init_in *in = buf;

	if (atomic_exchange(&d->begun, true) || n < sizeof(*in) || in->header.opcode != FUSE_INIT)
		return;
	if (d->saved)
		saved_set_init(d->saved, buf, n);
	if (in->flags & FUSE_INIT_EXT && in->flags2 & ALLOW_MMAP_FLAGS2)
		atomic_store(&d->init, in->header.unique);
}

/* ---- staying awake ---------------------------------------------------------------------------
 */

/* One thread at a time; to whoever else wants the processor it yields. Others wait in read(2) as
 * ever, so that no request depends on this. False: it did not. */
static bool stay_awake(struct device *d, int fd)
{
	int64_t until = mono_now().ns + AWAKE_NS;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	bool came;

	if (atomic_load_explicit(&d->soon, memory_order_relaxed) <= 0 ||
	    atomic_exchange(&d->awake, true))
		return false;
	while (!(came = (poll(&p, 1, 0) > 0)) && mono_now().ns < until)
		sched_yield();
	atomic_store(&d->awake, false);
	if (!came)
		atomic_store(&d->soon, -SOON_AGAIN);
	return true;
}

/* How soon a request came after the last one was done with. */
static void note_pause(struct device *d)
{
	int64_t pause = mono_now().ns - atomic_load_explicit(&d->done_ns, memory_order_relaxed);
	int soon = atomic_load_explicit(&d->soon, memory_order_relaxed);

	atomic_store_explicit(&d->soon, pause < SOON_NS ? MIN(soon + 1, 1) : MIN(soon, 0),
			      memory_order_relaxed);
}

static ssize_t device_read(int fd, void *buf, size_t size, void *userdata)
{
	struct device *d = userdata;
	ssize_t n;
	bool awake;

	atomic_store_explicit(&d->done_ns, mono_now().ns, memory_order_relaxed);
	awake = stay_awake(d, fd);
	n = read(fd, buf, size);
	if (!awake)
		note_pause(d);
	if (n >= (ssize_t)sizeof(struct fuse_in_header))
		requests_count(((const struct fuse_in_header *)buf)->opcode);
	if (n > 0 && !atomic_load_explicit(&d->begun, memory_order_relaxed))
		note_init(d, buf, (size_t)n);
	return n;
}

static void patch_init(struct device *d, struct iovec *iov, int count)
{
	const struct fuse_out_header *header = iov[0].iov_base;
	struct init_out *out;

	if (count != 2 || header->unique != atomic_load(&d->init))
		return;
	atomic_store(&d->init, 0);
	if (header->error || iov[1].iov_len < sizeof(*out))
		return;
	out = iov[1].iov_base;
	out->flags |= FUSE_INIT_EXT;
	out->flags2 |= ALLOW_MMAP_FLAGS2;
}

static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *header = iov[0].iov_base;
	struct device *d = userdata;
	uint64_t mute = atomic_load_explicit(&d->mute, memory_order_relaxed);

	if (mute && header->unique == mute) {
		atomic_store(&d->mute, 0);
		return header->len;
	}
	if (atomic_load_explicit(&d->init, memory_order_relaxed))
		patch_init(d, iov, count);
	return writev(fd, iov, count);
}

int device_attach(struct fuse_session *se, int fd)
{
	static const struct fuse_custom_io io = {.read = device_read, .writev = device_writev};
	int r = fuse_session_custom_io(se, &io, fd);

	return r < 0 ? r : 0;
}

/* It is not refused where the connection has ended. */
int device_resend(int fd)
{
	struct fuse_out_header h = {.len = sizeof(h), .error = NOTIFY_RESEND};
	struct pollfd p = {.fd = fd};

	if (poll(&p, 1, 0) > 0 && p.revents & POLLERR)
		return -ENOTCONN;
	return write(fd, &h, sizeof(h)) == sizeof(h) ? 0 : -errno;
}

void device_replay(struct fuse_session *se, struct device *d)
{
	struct fuse_in_header header;
	struct fuse_buf buf = {0};
	const void *init;

	buf.size = saved_init(d->saved, &init);
	buf.mem = xmalloc(buf.size);
	memcpy(buf.mem, init, buf.size);
	memcpy(&header, init, sizeof(header));
	atomic_store(&d->begun, true);
	atomic_store(&d->mute, header.unique);
	fuse_session_process_buf(se, &buf);
	free(buf.mem);
}
