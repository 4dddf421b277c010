#include "log.h"

#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "stamp.h"
#include "strbuf.h"

#define LINE_MAX_LEN 8192 /* longer messages are cut */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* Names are set once, before other threads exist; level and format may change at any time. */
static char program[32] = "gputel", service[256];
static int threshold = LOG_LEVEL_INFO, style = LOG_FORMAT_TEXT;

void log_setup(const char *name, const char *id, enum log_level level, enum log_format format)
{
	snprintf(program, sizeof(program), "%s", name);
	snprintf(service, sizeof(service), "%s", id);
	log_adjust(level, format);
}

void log_adjust(enum log_level level, enum log_format format)
{
	__atomic_store_n(&threshold, (int)level, __ATOMIC_RELAXED);
	__atomic_store_n(&style, (int)format, __ATOMIC_RELAXED);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= __atomic_load_n(&threshold, __ATOMIC_RELAXED);
}

/* A peer's text must not be able to forge a second line or drive the terminal. */
static void add_printable(struct strbuf *line, const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s >= 0x20 && *s != 0x7f)
			strbuf_addc(line, *s);
		else if (*s == '\n')
			strbuf_adds(line, "\\n");
		else
			strbuf_addf(line, "\\x%02x", (unsigned char)*s);
	}
}

static void add_text(struct strbuf *line, const char *time, enum log_level level, const char *text)
{
	strbuf_addf(line, "%s %s %s: ", time, level_names[level], program);
	add_printable(line, text);
	strbuf_addc(line, '\n');
}

static void add_json(struct strbuf *line, const char *time, enum log_level level, const char *text)
{
	strbuf_addf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"id\":", time,
		    level_names[level], program);
	strbuf_add_json(line, service, strlen(service));
	strbuf_adds(line, ",\"message\":");
	strbuf_add_json(line, text, strlen(text));
	strbuf_adds(line, "}\n");
}

static void put_line(const struct strbuf *line)
{
	while (write(STDERR_FILENO, line->s, line->len) < 0 && errno == EINTR)
		continue;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char text[LINE_MAX_LEN], time[STAMP_MAX];
	struct strbuf line;
	int saved = errno;
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	time[stamp_format((struct stamp){wall_now_ns(), 3}, time)] = '\0';
	strbuf_init(&line, 8 * LINE_MAX_LEN);
	if (__atomic_load_n(&style, __ATOMIC_RELAXED) == LOG_FORMAT_JSON)
		add_json(&line, time, level, text);
	else
		add_text(&line, time, level, text);
	put_line(&line);
	strbuf_release(&line);
	errno = saved;
}
