/* Mount options: what -o, fstab and mount helpers say.
 *
 * Options that only mount(8) and systemd act on (nofail, _netdev, user, x-…) are taken and
 * ignored, as mount helpers do; an unknown one is an error that names it. `ro` is taken and not
 * passed on: the mount answers EROFS itself, and the later events need a mount that can be
 * touched. */
#ifndef GPUTEL_FS_OPTIONS_H
#define GPUTEL_FS_OPTIONS_H

#include "hosts.h"

#include <sys/types.h>

struct mount_options {
	bool foreground;
	char *source;     /* first of two arguments, as mount helpers call; or NULL */
	char *mountpoint; /* NULL: not given */
	char *fsname;
	bool allow_other, default_permissions;
	unsigned long flags; /* MS_* of mount(2) */
	uid_t uid;
	gid_t gid;
	mode_t umask;       /* taken away from 0444 and 0555 */
	struct hosts hosts; /* to be shown; none: all */
};

void mount_options_init(struct mount_options *o);
void mount_options_release(struct mount_options *o);

/* One -o value: options separated by commas. -EINVAL, e names the one at fault. */
int mount_options_parse(struct mount_options *o, const char *list, struct err *e) must_check;
/* An argument that is no option: [SOURCE] MOUNTPOINT. */
int mount_options_argument(struct mount_options *o, const char *value, struct err *e) must_check;

/* The kernel checks permissions only where there is something to refuse: with it, a stranger's
 * write is EACCES before it can be EROFS. */
static inline bool mount_options_restrict(const struct mount_options *o)
{
	return o->default_permissions || (o->umask & 0555) != 0;
}

#endif
