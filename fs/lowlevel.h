/* libfuse's low-level API at the one version that this code is written for. */
#ifndef GPUTEL_FS_LOWLEVEL_H
#define GPUTEL_FS_LOWLEVEL_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#endif
