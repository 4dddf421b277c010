#include "source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "csv.h"

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

	if (r < 0 && source_packing(fd))
		return err_set(e, -EBADMSG, "%s: the archive is damaged", path);
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
	struct input *in;
	ssize_t n = 1;
	int r = input_open(&in, fd, false);

	if (r)
		return r;
	for (ret->len = 0; ret->len < sizeof(ret->p) && n > 0; ret->len += n > 0 ? (uint32_t)n : 0)
		n = input_read(in, ret->p + ret->len, sizeof(ret->p) - ret->len, false);
	input_close(in);
	/* Of a damaged archive, what can be read of it is as good to know it by. */
	return n < 0 && !ret->len ? (int)n : 0;
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

const char *source_packing(int fd)
{
	const char *name = NULL;
	struct input *in;

	if (!input_open(&in, fd, false)) {
		name = input_packing(in);
		input_close(in);
	}
	return name;
}

bool source_reaches(int fd, int64_t offset)
{
	struct input *in;
	struct stat st;
	int r;

	if (!source_packing(fd))
		return fstat(fd, &st) == 0 && st.st_size >= offset;
	r = input_open(&in, fd, false);
	if (r)
		return false;
	r = input_seek(in, offset);
	input_close(in);
	return r == 0;
}

int source_fingerprint(int fd, int64_t before, uint8_t ret[SHA256_LEN])
{
	struct input *in;
	int r = source_reaches(fd, before) ? input_open(&in, fd, true) : -ENODATA;

	if (r)
		return r;
	r = input_seek(in, before);
	if (!r)
		input_fingerprint(in, before, ret);
	input_close(in);
	return r;
}
