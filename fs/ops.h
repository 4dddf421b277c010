/* FUSE's operations: each decodes, calls one function of the model, and gives one reply. */
#ifndef GPUTEL_FS_OPS_H
#define GPUTEL_FS_OPS_H

#include "device.h"
#include "entry.h"
#include "events.h"
#include "file.h"
#include "rows.h"

/* The session's userdata. */
struct fs {
	struct device device; /* first: device.h */
	struct tree *tree;
	struct inode_table *inodes;
	struct files *files;
	struct row_reads *reads;
	struct streams *streams;
	struct waits *waits;
	struct events *events;
	struct entry_owner owner;
	int ready_fd; /* background.h */
};

extern const struct fuse_lowlevel_ops fs_ops;

#endif
