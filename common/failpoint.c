#include "failpoint.h"

#ifdef GPUTEL_FAILPOINTS

#include <stdio.h>
#include <unistd.h>

void failpoint(const char *name, const char *where)
{
	static _Atomic long passed;
	const char *want = getenv("FAILPOINT"), *colon = want ? strrchr(want, ':') : NULL;
	char here[64];
	long n;

	if (!colon)
		return;
	n = strtol(colon + 1, NULL, 10);
	snprintf(here, sizeof(here), "%s.%s", name, where);
	if (n == 0)
		fprintf(stderr, "failpoint %s\n", here);
	else if (strlen(here) == (size_t)(colon - want) && !memcmp(here, want, strlen(here)) &&
		 ++passed == n)
		_exit(FAILPOINT_EXIT);
}

#else
typedef int failpoint_is_not_compiled_in;
#endif
