/* A recording: CSV files shown as the tree that they would be in if they were stored, with no etcd.
 *
 * Rows take the way that stored rows take (window.h, gather.h), cut into the same messages and
 * chunks; chunks stay in memory, encoded. Files are read once, in the order given; the bytes of
 * every file of the tree are those that a mount of a store would show that got the same files into
 * it one after the other. */
#ifndef GPUTEL_FS_RECORDING_H
#define GPUTEL_FS_RECORDING_H

#include "hosts.h"
#include "tree.h"

struct recording_conf {
	char *const *files;
	size_t n;
	const struct hosts *hosts; /* to be shown */
	int64_t stale_after_ms, segment_ns;
	size_t cache_bytes;
};

struct recording;

/* Reads all of it. Rows that are invalid are logged and left out; a file that cannot be read, or is
 * no CSV of this kind, is an error. */
int recording_open(struct recording **ret, const struct recording_conf *conf,
		   struct err *e) must_check;
void recording_close(struct recording *r); /* NULL is fine */
struct tree *recording_tree(struct recording *r);

#endif
