#include "failpoint.h"

#ifdef GPUTEL_FAILPOINTS

#include "daemon.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { WAIT_US = 1000, WAITS = 5000 };

/* Pending signals of one number are one: each is sent when the one before has been seen. */
static void terminate(int times)
{
	for (int sent = 0; sent < times; sent++) {
		kill(getpid(), SIGTERM);
		for (int i = 0; i < WAITS && (sent || !daemon_stopping()); i++)
			usleep(WAIT_US);
	}
}

static void act(const char *action)
{
	if (!strcmp(action, "term"))
		terminate(1);
	else if (!strcmp(action, "term2"))
		terminate(2);
	else
		_exit(FAILPOINT_EXIT);
}

void failpoint(const char *name, const char *where)
{
	static _Atomic long passed;
	const char *want = getenv("FAILPOINT"), *colon = want ? strchr(want, ':') : NULL;
	char here[64], *end;
	long n;

	if (!colon)
		return;
	n = strtol(colon + 1, &end, 10);
	snprintf(here, sizeof(here), "%s.%s", name, where);
	if (n == 0) {
		fprintf(stderr, "failpoint %s\n", here);
	} else if (strlen(here) == (size_t)(colon - want) && !memcmp(here, want, strlen(here)) &&
		   ++passed == n) {
		fprintf(stderr, "failpoint %s hit\n", here);
		act(end + (*end == ':'));
	}
}

#else
typedef int failpoint_is_not_compiled_in;
#endif
