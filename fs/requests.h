/* Requests of the kernel, counted by kind for /metrics. Any thread. */
#ifndef GPUTEL_FS_REQUESTS_H
#define GPUTEL_FS_REQUESTS_H

#include <stdint.h>

void requests_count(uint32_t opcode); /* of linux/fuse.h */

#endif
