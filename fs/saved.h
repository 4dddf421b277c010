/* What outlives the daemon: a memory file that its successor maps (supervise.h, or systemd's
 * descriptor store, keep it beside the connection to the kernel).
 *
 * In it is all that the kernel takes for known and will not say again: its INIT, which inodes it
 * holds, and what is behind its open files. Everything else comes from the tree.
 *
 *	page 0          header, INIT's bytes
 *	open files      FILES_MAX slots
 *	inodes          four tables, by length of path: a slot is ino, lookups and path
 *
 * The file is sparse: what was never used takes no memory. A slot is free while its first word is
 * 0, which is written last when it is filled and first when it is freed; so the file is in order
 * whenever the daemon dies, for the memory of a process that is killed is as it wrote it. Which
 * slots are free is found out by looking, once. */
#ifndef GPUTEL_FS_SAVED_H
#define GPUTEL_FS_SAVED_H

#include "base.h"

#include <pthread.h>

#define SAVED_INIT_MAX   1024
#define SAVED_FILES_MAX  (1U << 16)
#define SAVED_FILE_WORDS 6

/* An inode that the kernel knows. */
struct saved_inode {
	uint64_t ino;
	uint64_t lookups;
	char path[]; /* of the mount's root; terminated */
};

/* An open file; its handle is its place in the table, from 1 on. */
struct saved_file {
	uint64_t ino;
	uint64_t words[SAVED_FILE_WORDS]; /* what the kind of file needs (file.c) */
};

struct saved;

int saved_new(struct saved **ret, struct err *e) must_check;
/* Takes fd over, also when it fails. -EPROTO: of another version, or damaged. */
int saved_open(struct saved **ret, int fd, struct err *e) must_check;
void saved_free(struct saved *s); /* unmaps; NULL is fine */
int saved_fd(const struct saved *s);

/* The device number of the mount. */
void saved_set_device(struct saved *s, uint64_t device);
uint64_t saved_device(const struct saved *s);

/* The kernel's first request; whole once its length is there. */
void saved_set_init(struct saved *s, const void *p, size_t n);
size_t saved_init(const struct saved *s, const void **ret);

/* NULL: no room, the inode will not be known again (ESTALE then). s may be NULL. */
struct saved_inode *saved_inode_add(struct saved *s, uint64_t ino, const char *path);
void saved_inode_remove(struct saved *s, struct saved_inode *i); /* i may be NULL */
/* Calls fn for each that the predecessor left. */
void saved_each_inode(struct saved *s, void (*fn)(struct saved_inode *i, void *arg), void *arg);

/* A handle; 0: no room, or s is NULL. */
uint64_t saved_file_add(struct saved *s, uint64_t ino);
void saved_file_remove(struct saved *s, uint64_t handle);
struct saved_file *saved_file(struct saved *s, uint64_t handle); /* NULL: no such */
void saved_each_file(struct saved *s, void (*fn)(uint64_t handle, struct saved_file *f, void *arg),
		     void *arg);

#endif
