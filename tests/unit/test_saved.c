#include "../lib/test.h"

#include <stdio.h>
#include <unistd.h>

#include "../../fs/saved.c"

static struct err e;

static struct saved *begin(void)
{
	struct saved *s = NULL;

	CHECK_EQ_INT(saved_new(&s, &e), 0);
	saved_set_init(s, "INIT", 4);
	return s;
}

/* The daemon dies; its successor maps what was kept. */
static struct saved *die(struct saved *s)
{
	struct saved *next = NULL;
	int fd = dup(saved_fd(s));

	saved_free(s);
	CHECK_EQ_INT(saved_open(&next, fd, &e), 0);
	return next;
}

struct seen {
	size_t n;
	uint64_t sum;
	char last[2048];
};

static void see(struct saved_inode *i, void *arg)
{
	struct seen *seen = arg;

	seen->n++;
	seen->sum += i->ino * i->lookups;
	snprintf(seen->last, sizeof(seen->last), "%s", i->path);
}

static struct seen look(struct saved *s)
{
	struct seen seen = {0};

	saved_each_inode(s, see, &seen);
	return seen;
}

TEST(what_the_kernel_said_first_is_there_after_a_death)
{
	struct saved *s = begin();
	const void *p;

	saved_set_device(s, 47);
	s = die(s);
	CHECK_EQ_INT((int64_t)saved_device(s), 47);
	CHECK_EQ_INT((int64_t)saved_init(s, &p), 4);
	CHECK(!memcmp(p, "INIT", 4));
	saved_free(s);
}

TEST(inodes_of_paths_of_every_length_are_known_again)
{
	struct saved *s = begin();
	char path[1100];
	uint64_t sum = 0;

	for (uint64_t n = 1; n < 1070; n++) {
		struct saved_inode *i;

		memset(path, 'x', n);
		path[n] = '\0';
		i = saved_inode_add(s, n, path);
		CHECK(i && !strcmp(i->path, path));
		i->lookups = n + 7;
		sum += n * (n + 7);
	}
	memset(path, 'x', sizeof(path));
	path[1072] = '\0';
	CHECK(saved_inode_add(s, 5000, path) == NULL);
	s = die(s);
	CHECK_EQ_INT((int64_t)look(s).n, 1069);
	CHECK_EQ_INT((int64_t)look(s).sum, (int64_t)sum);
	saved_free(s);
}

TEST(slots_of_what_was_forgotten_are_used_again_also_by_a_successor)
{
	struct saved *s = begin();
	struct saved_inode *i[1000];

	for (size_t n = 0; n < 1000; n++)
		i[n] = saved_inode_add(s, n + 1, "short");
	for (size_t n = 0; n < 1000; n += 2)
		saved_inode_remove(s, i[n]);
	s = die(s);
	CHECK_EQ_INT((int64_t)look(s).n, 500);
	for (size_t n = 0; n < 500; n++)
		CHECK(saved_inode_add(s, 10000 + n, "again") != NULL);
	CHECK_EQ_INT((int64_t)look(s).n, 1000);
	CHECK_EQ_INT((int64_t)s->inodes[0].used, 1024); /* whole pages */
	saved_inode_remove(s, NULL);
	CHECK(saved_inode_add(NULL, 1, "nothing is saved") == NULL);
	saved_free(s);
}

TEST(a_handle_holds_its_words_until_it_is_closed)
{
	struct saved *s = begin();
	uint64_t a = saved_file_add(s, 11), b = saved_file_add(s, 12);

	CHECK(a && b && a != b);
	saved_file(s, a)->words[0] = 1;
	saved_file(s, b)->words[SAVED_FILE_WORDS - 1] = 2;
	s = die(s);
	CHECK_EQ_INT((int64_t)saved_file(s, a)->words[0], 1);
	CHECK_EQ_INT((int64_t)saved_file(s, b)->words[SAVED_FILE_WORDS - 1], 2);
	saved_file_remove(s, a);
	CHECK(saved_file(s, a) == NULL);
	CHECK(saved_file(s, 0) == NULL && saved_file(s, SAVED_FILES_MAX + 1) == NULL);
	for (uint32_t n = 1; n < SAVED_FILES_MAX; n++)
		CHECK(saved_file_add(s, 13) != 0 && saved_file(s, b)->ino == 12);
	CHECK_EQ_INT((int64_t)saved_file_add(s, 14), 0);
	saved_free(s);
}

TEST(a_file_that_is_not_ours_is_refused)
{
	struct saved *s = NULL, *next = NULL;
	int fd;

	CHECK_EQ_INT(saved_open(&next, memfd_create("x", 0), &e), -EPROTO);
	CHECK_EQ_INT(saved_new(&s, &e), 0);
	fd = dup(saved_fd(s));
	saved_free(s);
	CHECK_EQ_INT(saved_open(&next, fd, &e), -EPROTO); /* died before INIT */
	s = begin();
	s->header->version++;
	fd = dup(saved_fd(s));
	saved_free(s);
	CHECK_EQ_INT(saved_open(&next, fd, &e), -EPROTO);
	saved_free(NULL);
}
