#include <fcntl.h>
#include <sys/stat.h>
#include <stdio.h>
#include <unistd.h>

#include "../../streamer/source.h"
#include "../lib/test.h"

static int open_text(const char *name, const char *text)
{
	struct err e = {0};
	int fd = -1;

	if (!CHECK_EQ_INT(source_open(test_file(name, text), &fd, &e), 0))
		CHECK_EQ_STR(e.text, "");
	return fd;
}

static struct source_head head_of(int fd)
{
	struct source_head h;

	CHECK_EQ_INT(source_read_head(fd, &h), 0);
	return h;
}

/* A file of n bytes, lines of 16; from byte `changed` on they differ. */
static int open_long(size_t n, size_t changed)
{
	char *text = xmalloc(n + 1);
	int fd;

	for (size_t i = 0; i < n; i++)
		text[i] = i % 16 == 15 ? '\n' : i < changed ? 'a' : 'b';
	text[n] = '\0';
	fd = open_text("long.csv", text);
	free(text);
	return fd;
}

static void check_refused(const char *path, int code, const char *reason)
{
	struct err e = {0};
	int fd = -2;

	CHECK_EQ_INT(source_open(path, &fd, &e), code);
	CHECK_EQ_INT(fd, -2);
	CHECK(strncmp(e.text, path, strlen(path)) == 0);
	CHECK(strstr(e.text, reason) != NULL);
}

TEST(what_cannot_be_a_source_is_refused_with_its_path)
{
	char *missing = xasprintf("%s/none.csv", test_tmpdir());

	check_refused(missing, -ENOENT, "No such file");
	check_refused(test_tmpdir(), -EISDIR, "directory");
	check_refused(test_file("empty.csv", ""), -ENODATA, "empty");
	check_refused(test_file("x.gz", "\x1f\x8b\x08\x01\x02\x03\x04gz"), -EBADMSG,
		      "archive is damaged");
	check_refused(test_file("x.bin", "\x01\x02\x03\x04\x05"), -EBADMSG, "binary");
	free(missing);
}

TEST(an_unreadable_file_is_refused)
{
	const char *path = test_file("secret.csv", "a,b\n");

	chmod(path, 0);
	if (access(path, R_OK) != 0)
		check_refused(path, -EACCES, "Permission denied");
}

TEST(devices_and_pipes_are_no_files_to_read_again)
{
	struct err e;
	int fd;

	CHECK_EQ_INT(source_open("/dev/null", &fd, &e), 0);
	CHECK(!source_is_file(fd));
	close(fd);
	fd = open_text("a.csv", "a,b\n");
	CHECK(source_is_file(fd));
	close(fd);
}

TEST(a_file_keeps_its_id_while_it_grows)
{
	int small = open_text("small.csv", "a,b\n1,2\n"), grown;
	struct source_head head = head_of(small);
	struct source_id id = source_identify(&head);

	CHECK_EQ_INT(strlen(id.text), SOURCE_ID_LEN);
	CHECK_EQ_INT(id.len, 8);
	CHECK(source_match(&head, &id));
	grown = open_text("grown.csv", "a,b\n1,2\n3,4\n");
	head = head_of(grown);
	CHECK(source_match(&head, &id));
	CHECK(strcmp(source_identify(&head).text, id.text) != 0);
	close(small);
	close(grown);
}

TEST(a_file_that_begins_otherwise_is_another_source)
{
	int a = open_text("a.csv", "a,b\n1,2\n"), b = open_text("b.csv", "a,b\n1,3\n3,4\n");
	struct source_head head = head_of(a), other = head_of(b);
	struct source_id id = source_identify(&head), longer = source_identify(&other);

	CHECK(!source_match(&other, &id));
	CHECK(!source_match(&head, &longer));
	close(a);
	close(b);
}

TEST(an_id_looks_at_4_kib_at_most)
{
	int a = open_long(10000, 4096), b = open_long(20000, 20000), c = open_long(10000, 4090);
	struct source_head ha = head_of(a), hb = head_of(b), hc = head_of(c);
	struct source_id id = source_identify(&ha);

	CHECK_EQ_INT(id.len, SOURCE_HEAD_MAX);
	CHECK(source_match(&hb, &id));
	CHECK(!source_match(&hc, &id));
	close(a);
	close(b);
	close(c);
}

TEST(new_ids_differ_and_match_no_file)
{
	struct source_id a = source_id_new(), b = source_id_new();
	int fd = open_text("a.csv", "a,b\n");
	struct source_head head = head_of(fd);

	CHECK_EQ_INT(strlen(a.text), SOURCE_ID_LEN);
	CHECK(strcmp(a.text, b.text) != 0);
	CHECK(!source_match(&head, &a));
	close(fd);
}

TEST(an_id_is_the_sum_of_the_head)
{
	int fd = open_text("abc", "abc");
	struct source_head head = head_of(fd);

	CHECK_EQ_STR(source_identify(&head).text, "ba7816bf8f01cfea414140de5dae2223");
	close(fd);
}

static bool same_fingerprint(int a, int b, int64_t before)
{
	uint8_t fa[SHA256_LEN], fb[SHA256_LEN];

	CHECK_EQ_INT(source_fingerprint(a, before, fa), 0);
	CHECK_EQ_INT(source_fingerprint(b, before, fb), 0);
	return memcmp(fa, fb, sizeof(fa)) == 0;
}

TEST(a_fingerprint_covers_the_published_part_and_nothing_after)
{
	int whole = open_long(300000, 300000), tail = open_long(300000, 200000);

	CHECK(same_fingerprint(whole, tail, 0));
	CHECK(same_fingerprint(whole, tail, 100000));
	CHECK(same_fingerprint(whole, tail, 200000));
	CHECK(!same_fingerprint(whole, tail, 200001));
	CHECK(!same_fingerprint(whole, tail, 300000));
	close(whole);
	close(tail);
}

TEST(a_fingerprint_of_a_small_part_is_its_sum)
{
	int fd = open_text("abc", "abcdef");
	uint8_t a[SHA256_LEN], b[SHA256_LEN];

	sha256("abc", 3, a);
	CHECK_EQ_INT(source_fingerprint(fd, 3, b), 0);
	CHECK(memcmp(a, b, sizeof(a)) == 0);
	CHECK_EQ_INT(source_fingerprint(fd, 7, b), -ENODATA);
	close(fd);
}

TEST(edges_of_a_fingerprint_meet_without_overlap)
{
	int fd = open_long(3 * INPUT_EDGE, INPUT_EDGE);
	char *text = xmalloc(3 * INPUT_EDGE);
	uint8_t a[SHA256_LEN], b[SHA256_LEN];

	CHECK_EQ_INT(pread(fd, text, 3 * INPUT_EDGE, 0), 3 * INPUT_EDGE);
	sha256(text, INPUT_EDGE + 100, a);
	CHECK_EQ_INT(source_fingerprint(fd, INPUT_EDGE + 100, b), 0);
	CHECK(memcmp(a, b, sizeof(a)) == 0);
	memmove(text + INPUT_EDGE, text + 2 * INPUT_EDGE, INPUT_EDGE);
	sha256(text, 2 * INPUT_EDGE, a);
	CHECK_EQ_INT(source_fingerprint(fd, 3 * INPUT_EDGE, b), 0);
	CHECK(memcmp(a, b, sizeof(a)) == 0);
	free(text);
	close(fd);
}
