/* Waiting for a file that grows, is rotated or truncated: inotify, and a look at what is there
 * after each event; nothing is asked on a schedule.
 *
 * A file that is open is over when another one stands at its path and holds something: then whoever
 * writes has gone on to that, and there will be no more here. It was cut when it is shorter than
 * what was read of it, or no longer has it. One that was renamed or removed, with nothing in its
 * place, may still be written to.
 *
 * One object for one path and one thread. */
#ifndef GPUTEL_FOLLOW_H
#define GPUTEL_FOLLOW_H

#include "input.h"

struct follow;

/* The file need not be there yet, its folder must. */
int follow_open(struct follow **ret, const char *path, struct err *e) must_check;
void follow_close(struct follow *f); /* NULL is fine */

enum follow_event {
	FOLLOW_MORE, /* there are more bytes than were read */
	FOLLOW_DUE,  /* ms have passed */
	FOLLOW_OVER,
	FOLLOW_CUT,
};

/* What happens next to the file in fd, read as far as `in` says; ms < 0: however long it takes. An
 * enum follow_event, or -ECANCELED: a stop was asked for. */
int follow_wait(struct follow *f, int fd, struct input *in, int64_t ms) must_check;

/* Until there is a first row in the file (two whole lines), or it is over or cut: the event. */
int follow_first_row(struct follow *f, int fd) must_check;
/* Until there is a file at the path. 0 or -ECANCELED */
int follow_appears(struct follow *f) must_check;

#endif
