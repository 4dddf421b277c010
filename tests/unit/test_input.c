#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compress.h"
#include "gzip_stream.h"
#include "input.h"
#include "../lib/test.h"

enum { SIZE = 300000 };

/* ---- helpers -------------------------------------------------------------------------------- */

static int file_of(const void *p, size_t n)
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	if (write(fd, p, n) != (ssize_t)n)
		abort();
	return fd;
}

static char *text_of(size_t n)
{
	char *p = xmalloc(n);

	for (size_t i = 0; i < n; i++)
		p[i] = (char)('a' + (i * 7 + i / 300) % 26);
	return p;
}

static void gzip(struct strbuf *out, const char *p, size_t n)
{
	struct gzip_writer *w = gzip_writer_new();

	CHECK_EQ_INT(gzip_write(w, (struct slice){p, n}, true, out), 0);
	gzip_writer_free(w);
}

/* Reads all there is in pieces; returns the end's code. */
static int read_all(struct input *in, struct strbuf *out)
{
	char p[4097];
	ssize_t n;

	while ((n = input_read(in, p, sizeof(p), false)) > 0)
		strbuf_add(out, p, (size_t)n);
	return (int)n;
}

static void check_content(int fd, const char *want, size_t n, const char *packing, int code)
{
	struct strbuf got;
	struct input *in;

	strbuf_init(&got, 1 << 22);
	CHECK_EQ_INT(input_open(&in, fd, false), 0);
	CHECK_EQ_INT(read_all(in, &got), code);
	CHECK_EQ_INT((int64_t)got.len, (int64_t)n);
	CHECK(got.len == n && !memcmp(got.s, want, n));
	CHECK(packing ? !strcmp(input_packing(in), packing) : !input_packing(in));
	input_close(in);
	strbuf_release(&got);
}

/* ---- tests ----------------------------------------------------------------------------------- */

TEST(files_and_archives_give_the_same_bytes)
{
	char *text = text_of(SIZE);
	struct strbuf packed;
	int fd = file_of(text, SIZE);

	strbuf_init(&packed, 1 << 22);
	check_content(fd, text, SIZE, NULL, 0);
	close(fd);
	gzip(&packed, text, SIZE / 2);
	gzip(&packed, text + SIZE / 2, SIZE - SIZE / 2);
	fd = file_of(packed.s, packed.len);
	check_content(fd, text, SIZE, "gzip", 0);
	close(fd);
	strbuf_reset(&packed);
	CHECK_EQ_INT(compress_zstd(&packed, text, SIZE / 2, 1), 0);
	CHECK_EQ_INT(compress_zstd(&packed, text + SIZE / 2, SIZE - SIZE / 2, 1), 0);
	fd = file_of(packed.s, packed.len);
	check_content(fd, text, SIZE, "zstd", 0);
	close(fd);
	strbuf_release(&packed);
	free(text);
}

TEST(an_archive_cut_short_gives_what_is_there_and_says_so)
{
	char *text = text_of(SIZE);
	struct strbuf packed, got;
	struct input *in;
	int fd;

	strbuf_init(&packed, 1 << 22);
	strbuf_init(&got, 1 << 22);
	gzip(&packed, text, SIZE);
	fd = file_of(packed.s, packed.len - 20);
	CHECK_EQ_INT(input_open(&in, fd, false), 0);
	CHECK_EQ_INT(read_all(in, &got), -ENODATA);
	CHECK_EQ_STR(input_error(in, -ENODATA), "the archive ends in its middle");
	CHECK(got.len > SIZE / 2 && !memcmp(got.s, text, got.len));
	input_close(in);
	close(fd);
	packed.s[packed.len / 2] ^= 0x55;
	fd = file_of(packed.s, packed.len);
	strbuf_reset(&got);
	CHECK_EQ_INT(input_open(&in, fd, false), 0);
	CHECK_EQ_INT(read_all(in, &got), -EBADMSG);
	CHECK_EQ_STR(input_error(in, -EBADMSG), "the archive is damaged");
	input_close(in);
	close(fd);
	strbuf_release(&packed);
	strbuf_release(&got);
	free(text);
}

TEST(an_offset_is_one_of_unpacked_bytes)
{
	char *text = text_of(SIZE), p[16];
	uint8_t a[SHA256_LEN], b[SHA256_LEN];
	struct strbuf packed;
	struct input *x, *y;
	int plain = file_of(text, SIZE), archive;

	strbuf_init(&packed, 1 << 22);
	gzip(&packed, text, SIZE);
	archive = file_of(packed.s, packed.len);
	CHECK_EQ_INT(input_open(&x, plain, true), 0);
	CHECK_EQ_INT(input_open(&y, archive, true), 0);
	for (int64_t at = 0; at <= SIZE - 16; at += 69999) {
		CHECK_EQ_INT(input_seek(x, at), 0);
		CHECK_EQ_INT(input_seek(y, at), 0);
		input_fingerprint(x, at, a);
		input_fingerprint(y, at, b);
		CHECK(!memcmp(a, b, sizeof(a)));
		CHECK_EQ_INT(input_read(x, p, sizeof(p), false), 16);
		CHECK(!memcmp(p, text + at, 16));
		CHECK_EQ_INT(input_read(y, p, sizeof(p), false), 16);
		CHECK(!memcmp(p, text + at, 16));
	}
	CHECK_EQ_INT(input_seek(y, SIZE + 1), -ENODATA);
	input_close(x);
	input_close(y);
	close(plain);
	close(archive);
	strbuf_release(&packed);
	free(text);
}

TEST(bytes_that_changed_behind_a_reader_are_noticed)
{
	char *text = text_of(1000), p[600];
	int fd = file_of(text, 1000);
	struct input *in;

	CHECK_EQ_INT(input_open(&in, fd, true), 0);
	CHECK(input_is_same(in));
	CHECK_EQ_INT(input_read(in, p, sizeof(p), false), 600);
	CHECK(input_is_same(in));
	CHECK_EQ_INT(pwrite(fd, "#", 1, 590), 1);
	CHECK(!input_is_same(in));
	CHECK_EQ_INT(ftruncate(fd, 100), 0);
	CHECK(!input_is_same(in));
	input_close(in);
	close(fd);
	free(text);
}

TEST(a_pipe_with_an_archive_is_unpacked_as_it_comes)
{
	struct strbuf packed;
	struct input *in;
	int ends[2];
	char p[16];

	strbuf_init(&packed, 1 << 16);
	gzip(&packed, "hello", 5);
	CHECK_EQ_INT(pipe2(ends, O_CLOEXEC), 0);
	CHECK_EQ_INT(input_open(&in, ends[0], false), 0);
	CHECK_EQ_INT(input_read(in, p, sizeof(p), true), -EAGAIN);
	CHECK_EQ_INT(write(ends[1], packed.s, 2), 2);
	CHECK_EQ_INT(input_read(in, p, sizeof(p), true), -EAGAIN);
	CHECK_EQ_INT(write(ends[1], packed.s + 2, packed.len - 2), (int)packed.len - 2);
	close(ends[1]);
	CHECK_EQ_INT(input_read(in, p, sizeof(p), true), 5);
	CHECK(!memcmp(p, "hello", 5));
	CHECK_EQ_INT(input_read(in, p, sizeof(p), true), 0);
	CHECK_EQ_INT(input_seek(in, 0), -ESPIPE);
	input_close(in);
	close(ends[0]);
	strbuf_release(&packed);
}
