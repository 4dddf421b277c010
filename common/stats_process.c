#include "stats_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "stats.h"

#define STAT_TEXT 1024

void stats_process_started(void)
{
	stats_set(STAT_PROCESS_START, wall_now_ns() / NS_PER_MS);
}

static void set_cpu(void)
{
	struct timespec ts;

	if (!clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts))
		stats_set(STAT_PROCESS_CPU, ts.tv_sec * 1000000LL + ts.tv_nsec / 1000);
}

static int read_stat(char text[STAT_TEXT])
{
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, STAT_TEXT - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	return 0;
}

/* proc_pid_stat(5): threads, virtual bytes and resident pages are the fields 20, 23 and 24; the
 * name before the third may hold anything, a parenthesis too. */
static void set_memory(void)
{
	long long threads, virtual, pages;
	char text[STAT_TEXT], *end;

	if (read_stat(text) || !(end = strrchr(text, ')')))
		return;
	if (sscanf(end + 1,
		   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %lld %*d "
		   "%*u %lld %lld",
		   &threads, &virtual, &pages) != 3)
		return;
	stats_set(STAT_PROCESS_THREADS, threads);
	stats_set(STAT_PROCESS_VIRTUAL, virtual);
	stats_set(STAT_PROCESS_MEMORY, pages * sysconf(_SC_PAGESIZE));
}

static void set_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int64_t n = -3; /* ., .., and the folder itself */
	struct rlimit limit;

	if (d) {
		while (readdir(d))
			n++;
		closedir(d);
		stats_set(STAT_PROCESS_FILES, n);
	}
	if (!getrlimit(RLIMIT_NOFILE, &limit))
		stats_set(STAT_PROCESS_FILES_MAX, (int64_t)limit.rlim_cur);
}

void stats_process(void)
{
	set_cpu();
	set_memory();
	set_files();
}
