#include "process.h"

#include "json.h"
#include "strbuf.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* First line of a small file, or "". */
static void read_line(const char *path, char *ret, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, ret, size - 1);

	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
}

/* When the process started, in clock ticks since boot (proc(5), stat, field 22); 0: there is none,
 * or it has ended and only waits for its parent. */
static uint64_t start_of(pid_t pid)
{
	unsigned long long start = 0;
	char path[64], text[1024], *p, state;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	read_line(path, text, sizeof(text));
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1,
			 " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
			 "%*d %*d %*d %llu",
			 &state, &start) != 2)
		return 0;
	return state == 'Z' || state == 'X' ? 0 : start;
}

static void boot_id(char ret[64])
{
	read_line("/proc/sys/kernel/random/boot_id", ret, 64);
}

static void pid_namespace(char ret[64])
{
	ssize_t n = readlink("/proc/self/ns/pid", ret, 63);

	ret[n > 0 ? n : 0] = '\0';
}

void process_describe(const char *id, char ret[PROCESS_TEXT_MAX])
{
	char boot[64], ns[64];
	struct strbuf b;

	boot_id(boot);
	pid_namespace(ns);
	strbuf_init(&b, PROCESS_TEXT_MAX - 1);
	strbuf_adds(&b, "{\"id\":");
	strbuf_add_json(&b, id, MIN(strlen(id), 64));
	strbuf_addf(&b, ",\"pid\":%d,\"start\":\"%llu\",\"boot\":\"%s\",\"pidns\":\"%s\"}",
		    (int)getpid(), (unsigned long long)start_of(getpid()), boot, ns);
	snprintf(ret, PROCESS_TEXT_MAX, "%s", b.s ? b.s : "{}");
	strbuf_release(&b);
}

bool process_is_dead(struct slice text)
{
	char boot[64], ns[64];
	struct json *doc;
	int64_t pid, start;
	bool here;

	if (json_parse(text.p, text.len, &doc, NULL))
		return false;
	boot_id(boot);
	pid_namespace(ns);
	here = boot[0] && ns[0] && slice_eq(json_str(json_get(doc, "boot")), slice_str(boot)) &&
	       slice_eq(json_str(json_get(doc, "pidns")), slice_str(ns));
	pid = json_int(json_get(doc, "pid"), 0);
	start = json_int(json_get(doc, "start"), 0);
	json_free(doc);
	return here && pid > 0 && start > 0 && start_of((pid_t)pid) != (uint64_t)start;
}
