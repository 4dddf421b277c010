/* Which file comes next when a path is followed over rotations.
 *
 * Beside the path, files of its folder belong to it whose names begin with its own and go on with
 * "." or "-": what logrotate and its kin make of it (x.csv.1, x.csv-20250718, x.csv.2.gz), by age.
 * What was published is known by content (source.h), whatever a file is called now, so that also
 * what was rotated while nobody followed is read from where it was: the newest file that is known,
 * and all that are younger, oldest first, then the one at the path. Where none is known only that
 * one is read. After a copy and truncation the copy is known by its content, and its rest comes
 * first. */
#ifndef GPUTEL_ROTATION_H
#define GPUTEL_ROTATION_H

#include "etcd.h"
#include "follow.h"
#include "source.h"

#define ROTATION_FILES 64 /* the newest; older ones are not looked at */

struct rotation_done {
	uint64_t dev, ino;
	struct source_id head;
};

struct rotation {
	char *path, *folder, *base;
	struct follow *follow;
	struct rotation_done done[ROTATION_FILES]; /* read to their end by this run; a ring */
	size_t n_done;
};

struct rotated {
	int fd;
	char *name;
	bool live; /* the one at the path */
};

int rotation_open(struct rotation *r, const char *path, struct err *e) must_check;
void rotation_close(struct rotation *r);

/* Waits until there is one. -ECANCELED: a stop was asked for; others with e. */
int rotation_next(struct rotation *r, struct etcd *c, struct rotated *ret,
		  struct err *e) must_check;
void rotated_release(struct rotated *f);

/* The file was read to its end and will not grow. */
void rotation_finished(struct rotation *r, int fd);

#endif
