/* Between the daemon and its toucher (toucher.h), over a stream socket:
 *
 *	daemon → toucher	header, then for TOUCH_… n paths, each with its NUL
 *				        for TOUCH_ATTACH a struct touch_attach
 *	toucher → daemon	for TOUCH_… n bytes: an errno each, 0 for done */
#ifndef GPUTEL_FS_TOUCHER_PROTOCOL_H
#define GPUTEL_FS_TOUCHER_PROTOCOL_H

#include "toucher.h"

#include <limits.h>

#define TOUCH_ATTACH 0xff
#define TOUCH_BYTES  (TOUCH_BATCH_MAX * 1100) /* of a message behind its header */

struct touch_header {
	uint32_t bytes; /* that follow */
	uint16_t count;
	uint8_t op;
	uint8_t padding;
};

struct touch_attach {
	uint64_t device;
	bool restricted;
	char path[PATH_MAX];
};

/* The process. Ends it when the socket does. */
_Noreturn void toucher_process(int socket);

#endif
