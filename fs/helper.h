/* Called as mount(8)'s helper: `mount.gputel SPEC DIR [-sfnv] [-N NAMESPACE] [-t TYPE] [-o
 * OPTIONS]`, by a link of that name or of mount.fuse.gputel in /sbin. SPEC is what gputel-fs takes
 * as SOURCE; two options mean flags of gputel-fs, for fstab has no other place for them:
 * config=FILE and supervise. */
#ifndef GPUTEL_FS_HELPER_H
#define GPUTEL_FS_HELPER_H

#include "base.h"

/* Whether the program was called by such a name. */
bool helper_is_meant(const char *argv0);
/* The same as gputel-fs takes it; to be freed, with the strings in it (helper_free). NULL: nothing
 * is to be done (-f: all but mounting). -EINVAL: e says why. */
int helper_argv(int argc, char **argv, char ***ret, struct err *e) must_check;
void helper_free(char **argv);
/* mount(8)'s exit statuses: 1 wrong use, 32 could not be mounted. */
int helper_status(int status);

#endif
