#include "source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "csv.h"

#define READ_BLOCK (64 * 1024)

/* Reads n bytes at offset, fewer only at the end of the file. */
static ssize_t read_at(int fd, void *p, size_t n, int64_t offset)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = pread(fd, (char *)p + done, n - done, offset + (int64_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/* ---- opening -------------------------------------------------------------------------------- */

bool source_is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static int check_content(int fd, const char *path, struct err *e)
{
	struct source_head head;
	int r = source_read_head(fd, &head);

	if (r < 0)
		return err_set(e, r, "%s: %s", path, strerror(-r));
	if (head.len == 0)
		return err_set(e, -ENODATA, "%s: the file is empty", path);
	if (csv_is_binary(head.p, head.len))
		return err_set(e, -EBADMSG, "%s: binary file", path);
	return 0;
}

static int check_file(int fd, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(e, -EISDIR, "%s: %s", path, strerror(EISDIR));
	return S_ISREG(st.st_mode) ? check_content(fd, path, e) : 0;
}

int source_open(const char *path, int *ret_fd, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), r;

	if (fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	r = check_file(fd, path, e);
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* ---- identity ------------------------------------------------------------------------------- */

int source_read_head(int fd, struct source_head *ret)
{
	ssize_t n = read_at(fd, ret->p, sizeof(ret->p), 0);

	if (n < 0)
		return (int)n;
	ret->len = (uint32_t)n;
	return 0;
}

static struct source_id id_of(const struct source_head *head, uint32_t len)
{
	struct source_id id = {.len = len};
	uint8_t sum[SHA256_LEN];

	sha256(head->p, len, sum);
	hex(sum, SOURCE_ID_LEN / 2, id.text);
	return id;
}

struct source_id source_identify(const struct source_head *head)
{
	return id_of(head, head->len);
}

bool source_match(const struct source_head *head, const struct source_id *id)
{
	return id->len && id->len <= head->len && strcmp(id_of(head, id->len).text, id->text) == 0;
}

struct source_id source_id_new(void)
{
	struct source_id id = {0};
	uint8_t bytes[SOURCE_ID_LEN / 2];

	random_bytes(bytes, sizeof(bytes));
	hex(bytes, sizeof(bytes), id.text);
	return id;
}

/* ---- reading up to an offset ---------------------------------------------------------------- */

/* Hands the bytes [from, to) to fn. -ENODATA: the file ends before. */
static int each_block(int fd, int64_t from, int64_t to,
		      void (*fn)(const char *p, size_t n, void *arg), void *arg)
{
	char *block = xmalloc(READ_BLOCK);
	ssize_t n = 0;

	while (from < to) {
		size_t want = (size_t)MIN(to - from, (int64_t)READ_BLOCK);

		n = read_at(fd, block, want, from);
		if (n >= 0 && (size_t)n < want)
			n = -ENODATA;
		if (n < 0)
			break;
		fn(block, want, arg);
		from += n;
	}
	free(block);
	return n < 0 ? (int)n : 0;
}

static void hash_block(const char *p, size_t n, void *arg)
{
	sha256_update(arg, p, n);
}

int source_fingerprint(int fd, int64_t before, uint8_t ret[SHA256_LEN])
{
	int64_t head = MIN(before, (int64_t)SOURCE_EDGE);
	int64_t tail = MAX(before - (int64_t)SOURCE_EDGE, head);
	struct sha256_state s;
	int r;

	sha256_begin(&s);
	r = each_block(fd, 0, head, hash_block, &s);
	if (r == 0)
		r = each_block(fd, tail, before, hash_block, &s);
	if (r == 0)
		sha256_end(&s, ret);
	return r;
}

static void count_lines(const char *p, size_t n, void *arg)
{
	const char *end = p + n;
	int64_t *line = arg;

	while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
		++*line;
		p++;
	}
}

int source_line_at(int fd, int64_t offset, int64_t *ret)
{
	int64_t line = 1;
	int r = each_block(fd, 0, offset, count_lines, &line);

	if (r == 0)
		*ret = line;
	return r;
}
