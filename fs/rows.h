/* Reads of row files, which may wait for etcd.
 *
 * Only so many of the mount's threads may be at them at once that some are left for everything
 * else. Further reads wait in a list without a thread and are done by whichever thread comes free;
 * one that has waited for as long as a request to etcd may take is answered with EIO, one whose
 * reader was interrupted with EINTR. */
#ifndef GPUTEL_FS_ROWS_H
#define GPUTEL_FS_ROWS_H

#include "inode.h"
#include "lowlevel.h"

struct row_reads;

struct row_reads *row_reads_new(struct tree *tree, struct inode_table *inodes, int threads,
				int64_t timeout_ms);
void row_reads_free(struct row_reads *r); /* after the last thread has ended; NULL is fine */

/* Answers req, now or later. Takes over the reference to i. */
void row_reads_submit(struct row_reads *r, fuse_req_t req, struct inode *i, size_t size,
		      int64_t offset);

#endif
