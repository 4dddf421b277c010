/* Reading NAME=VALUE lines in the format of systemd's EnvironmentFile= (systemd.exec(5)): comments
 * start with # or ; values may be quoted with ' or ", a backslash takes the next character as it is
 * (inside " only before one of "\`$), and at the end of a line it joins the next one. */
#ifndef GPUTEL_ENVFILE_H
#define GPUTEL_ENVFILE_H

#include "base.h"

#define ENVFILE_MAX (1 << 20) /* bytes of a file */

/* Calls fn for each assignment, in order, with the line where it starts, and for each line that is
 * none with name NULL and the line's text as value. -errno: the file cannot be read, e says why. */
int envfile_read(const char *path,
		 void (*fn)(const char *name, const char *value, int line, void *arg), void *arg,
		 struct err *e) must_check;

#endif
