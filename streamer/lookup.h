/* Which recorded source a file is (DESIGN §2): the start of its content, then the fingerprint of
 * what is recorded as published. */
#ifndef GPUTEL_LOOKUP_H
#define GPUTEL_LOOKUP_H

#include "producer.h"
#include "source.h"

/* Fills *ret with the record of the file in fd (a path for its name), or with a fresh one (mod_rev
 * 0) where there is none. Waits for etcd; daemon_stopping() ends that with -ECANCELED. A file whose
 * published part has changed becomes a new source, with a warning in the log. */
int lookup_file(struct etcd *c, int fd, const char *path, struct producer *ret,
		struct err *e) must_check;

/* How far each of n files is published, by the records that they fit; -1: there is none. A record
 * is one file's: the first's of those that fit. An open window counts as not published. Waits like
 * lookup_file. */
int lookup_published(struct etcd *c, const int *fds, size_t n, int64_t *ret_offsets,
		     struct err *e) must_check;

/* A source that is new at each run. */
void lookup_pipe(const char *path, struct producer *ret);

#endif
