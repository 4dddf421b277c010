#include "input.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compress.h"
#include "gzip_stream.h"

enum { PACKED = 64 * 1024, MAGIC = 4, SAME_LOOK = 256, DISCARD = 64 * 1024 };

enum packing { UNKNOWN, PLAIN, GZIP, ZSTD };

struct input {
	int fd;
	bool keep, is_file;
	enum packing packing;
	int64_t at;  /* of the next byte read from fd; of a file */
	int64_t pos; /* of the next byte given */
	char *in;    /* read and not used: packed bytes, or the look at the first ones */
	size_t in_start, in_len;
	bool in_end;  /* fd has no more */
	bool between; /* members or frames: the archive may end here */
	struct gzip_reader *gzip;
	struct zstd_reader *zstd;
	char *head, *ring; /* the first INPUT_EDGE bytes, the last INPUT_KEPT ones; with keep */
};

/* ---- life ------------------------------------------------------------------------------------ */

int input_open(struct input **ret, int fd, bool keep)
{
	struct input *in = xcalloc(1, sizeof(*in));
	struct stat st;

	in->fd = fd;
	in->keep = keep;
	in->is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	in->in = malloc(PACKED);
	in->head = keep ? malloc(INPUT_EDGE) : NULL;
	in->ring = keep ? malloc(INPUT_KEPT) : NULL;
	if (!in->in || (keep && (!in->head || !in->ring))) {
		input_close(in);
		return -ENOMEM;
	}
	*ret = in;
	return 0;
}

static void forget_readers(struct input *in)
{
	gzip_reader_free(TAKE_PTR(in->gzip));
	zstd_reader_free(TAKE_PTR(in->zstd));
}

void input_close(struct input *in)
{
	if (!in)
		return;
	forget_readers(in);
	free(in->in);
	free(in->head);
	free(in->ring);
	free(in);
}

const char *input_error(struct input *in, int code)
{
	const char *name = input_packing(in);

	if (name && code == -EBADMSG)
		return "the archive is damaged";
	if (name && code == -ENODATA)
		return "the archive ends in its middle";
	return strerror(-code);
}

/* ---- what was read --------------------------------------------------------------------------- */

/* The n bytes at p are those at pos. */
static void keep(struct input *in, const char *p, size_t n)
{
	int64_t pos = in->pos;

	in->pos += (int64_t)n;
	if (!in->keep)
		return;
	if (pos < INPUT_EDGE)
		memcpy(in->head + pos, p, MIN(n, (size_t)(INPUT_EDGE - pos)));
	while (n) {
		size_t to = (size_t)(pos % INPUT_KEPT), k = MIN(n, INPUT_KEPT - to);

		memcpy(in->ring + to, p, k);
		pos += (int64_t)k;
		p += k;
		n -= k;
	}
}

void input_fingerprint(const struct input *in, int64_t before, uint8_t ret[SHA256_LEN])
{
	int64_t head = MIN(before, (int64_t)INPUT_EDGE);
	int64_t from = MAX(before - (int64_t)INPUT_EDGE, head);
	struct sha256_state s;

	sha256_begin(&s);
	sha256_update(&s, in->head, (size_t)head);
	while (from < before) {
		size_t at = (size_t)(from % INPUT_KEPT);
		size_t k = MIN((size_t)(before - from), INPUT_KEPT - at);

		sha256_update(&s, in->ring + at, k);
		from += (int64_t)k;
	}
	sha256_end(&s, ret);
}

int64_t input_offset(const struct input *in)
{
	return in->pos;
}

bool input_is_same(struct input *in)
{
	int64_t n = MIN(in->pos, (int64_t)SAME_LOOK), from = in->pos - n;
	char now[SAME_LOOK];

	if (pread(in->fd, now, (size_t)n, from) != n)
		return false;
	for (int64_t i = 0; i < n; i++)
		if (now[i] != in->ring[(from + i) % INPUT_KEPT])
			return false;
	return true;
}

/* ---- the descriptor -------------------------------------------------------------------------- */

static ssize_t read_some(struct input *in, void *p, size_t n, bool nowait)
{
	struct pollfd poller = {.fd = in->fd, .events = POLLIN};
	ssize_t got;

	if (nowait && !in->is_file && poll(&poller, 1, 0) == 0)
		return -EAGAIN;
	do
		got = in->is_file ? pread(in->fd, p, n, in->at) : read(in->fd, p, n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	in->at += got;
	return got;
}

/* More packed bytes behind those that wait. > 0; 0: the end; < 0: -errno */
static ssize_t fill(struct input *in, bool nowait)
{
	ssize_t n;

	if (in->in_start) {
		memmove(in->in, in->in + in->in_start, in->in_len);
		in->in_start = 0;
	}
	n = read_some(in, in->in + in->in_len, PACKED - in->in_len, nowait);
	in->in_end = n == 0;
	in->in_len += n > 0 ? (size_t)n : 0;
	return n;
}

static int start_reader(struct input *in)
{
	forget_readers(in);
	in->between = false;
	if (in->packing == GZIP)
		in->gzip = gzip_reader_new();
	else if (in->packing == ZSTD)
		in->zstd = zstd_reader_new();
	return in->packing != PLAIN && !in->gzip && !in->zstd ? -ENOMEM : 0;
}

static enum packing packing_of(const char *p, size_t n)
{
	if (n >= 3 && !memcmp(p, "\x1f\x8b\x08", 3))
		return GZIP;
	return n >= MAGIC && !memcmp(p, "\x28\xb5\x2f\xfd", MAGIC) ? ZSTD : PLAIN;
}

/* Looks at the first bytes. A file that may still grow is looked at again while it is empty. */
static int look(struct input *in, bool nowait)
{
	ssize_t n = 1;

	while (in->in_len < MAGIC && n > 0) {
		n = fill(in, nowait);
		if (n < 0)
			return (int)n;
	}
	if (!in->in_len)
		return 0;
	in->packing = packing_of(in->in, in->in_len);
	return start_reader(in);
}

const char *input_packing(struct input *in)
{
	static const char *const names[] = {[GZIP] = "gzip", [ZSTD] = "zstd"};
	char first[MAGIC];
	ssize_t n;

	if (in->packing != UNKNOWN || !in->is_file)
		return names[in->packing];
	n = pread(in->fd, first, sizeof(first), 0);
	return names[packing_of(first, n > 0 ? (size_t)n : 0)];
}

/* ---- reading --------------------------------------------------------------------------------- */

static ssize_t read_plain(struct input *in, char *p, size_t n, bool nowait)
{
	ssize_t got = (ssize_t)MIN(n, in->in_len);

	if (!got)
		return read_some(in, p, n, nowait);
	memcpy(p, in->in + in->in_start, (size_t)got);
	in->in_start += (size_t)got;
	in->in_len -= (size_t)got;
	return got;
}

static ssize_t unpack(struct input *in, char *p, size_t n, bool nowait)
{
	for (;;) {
		struct slice left = {in->in + in->in_start, in->in_len};
		size_t got = 0;
		ssize_t r = 0;

		if (in->between && in->in_end && !in->in_len)
			return 0;
		if (in->in_len || !in->between)
			r = in->gzip ? gzip_read(in->gzip, &left, p, n, &got)
				     : zstd_read(in->zstd, &left, p, n, &got);
		if (r < 0)
			return r;
		in->between = r > 0 || (in->between && left.len == in->in_len && !got);
		in->in_start += in->in_len - left.len;
		in->in_len = left.len;
		if (got)
			return (ssize_t)got;
		if (r > 0 || in->in_len)
			continue;
		r = fill(in, nowait);
		if (r < 0)
			return r;
		if (r == 0 && !in->between)
			return -ENODATA;
	}
}

ssize_t input_read(struct input *in, void *p, size_t n, bool nowait)
{
	ssize_t r = in->packing == UNKNOWN ? look(in, nowait) : 0;

	if (r < 0 || in->packing == UNKNOWN)
		return r;
	r = in->packing == PLAIN ? read_plain(in, p, n, nowait) : unpack(in, p, n, nowait);
	if (r > 0)
		keep(in, p, (size_t)r);
	return r;
}

/* ---- seeking --------------------------------------------------------------------------------- */

/* Reads on to offset, and so keeps what is in front of it. */
static int skip_to(struct input *in, int64_t offset)
{
	char *p = xmalloc(DISCARD);
	ssize_t n = 1;

	while (in->pos < offset && n > 0)
		n = input_read(in, p, (size_t)MIN(offset - in->pos, (int64_t)DISCARD), false);
	free(p);
	if (n < 0)
		return (int)n;
	return in->pos < offset && in->packing != PLAIN ? -ENODATA : 0;
}

static void restart(struct input *in, int64_t at)
{
	in->at = in->pos = at;
	in->in_start = in->in_len = 0;
	in->in_end = false;
}

int input_seek(struct input *in, int64_t offset)
{
	int64_t tail = MAX(offset - (int64_t)INPUT_EDGE, 0);
	int r;

	if (!in->is_file)
		return -ESPIPE;
	restart(in, 0);
	in->packing = UNKNOWN;
	r = offset ? look(in, false) : 0;
	if (r || !offset)
		return r;
	if (in->packing == GZIP || in->packing == ZSTD)
		return skip_to(in, offset);
	if (in->keep && !r)
		r = skip_to(in, MIN(offset, (int64_t)INPUT_EDGE));
	if (r || in->pos >= offset)
		return r;
	restart(in, in->keep ? tail : offset);
	return skip_to(in, offset);
}
