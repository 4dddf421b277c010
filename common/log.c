#include "log.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "stamp.h"
#include "strbuf.h"

#define LINE_MAX_LEN 8192 /* longer messages are cut */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* Names are set once, before other threads exist; level and format may change at any time. */
static char program[32] = "gputel", service[256];
static int threshold = LOG_LEVEL_INFO, style = LOG_FORMAT_TEXT;

static void tell_all(void)
{
	log_tell_suppressed(true);
}

void log_setup(const char *name, const char *id, enum log_level level, enum log_format format)
{
	snprintf(program, sizeof(program), "%s", name);
	snprintf(service, sizeof(service), "%s", id);
	log_adjust(level, format);
	atexit(tell_all);
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

static void put(enum log_level level, const char *text)
{
	char time[STAMP_MAX];
	struct strbuf line;
	int saved = errno;

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

void log_each(enum log_level level, const char *fmt, ...)
{
	char text[LINE_MAX_LEN];
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(level, text);
}

/* ---- what one call says too often ------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all sites and their list */
static struct log_site *quieted; /* changed under the lock; NULL may be seen without */

/* Which line of its period this is; 0: one too many. */
static unsigned admit(struct log_site *s)
{
	unsigned n = 0;

	pthread_mutex_lock(&lock);
	if (!s->suppressed && (!s->lines || mono_ms_since(s->since) >= LOG_PERIOD_MS)) {
		s->since = mono_now();
		s->lines = 0;
	}
	if (s->lines < LOG_LINES) {
		n = ++s->lines;
	} else if (!s->suppressed++) {
		s->next = quieted;
		__atomic_store_n(&quieted, s, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lock);
	return n;
}

/* What the suppressed ones are like; not cut within a character. */
static void keep_text(struct log_site *s, enum log_level level, const char *text)
{
	size_t n = strnlen(text, sizeof(s->text) - 1);

	while (n && text[n] && ((unsigned char)text[n] & 0xc0) == 0x80)
		n--;
	pthread_mutex_lock(&lock);
	s->level = level;
	memcpy(s->text, text, n);
	s->text[n] = '\0';
	pthread_mutex_unlock(&lock);
}

void log_limited(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	char text[LINE_MAX_LEN];
	unsigned n = 1;
	va_list ap;

	if (!log_enabled(level))
		return;
	log_tell_suppressed(false);
	if (!log_enabled(LOG_LEVEL_DEBUG) && !(n = admit(site)))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n == LOG_LINES)
		keep_text(site, level, text);
	put(level, text);
}

/* Takes one off the list, whose count begins anew; *ret is a copy. */
static bool take_quieted(bool all, struct log_site *ret)
{
	struct log_site **at, *s;

	pthread_mutex_lock(&lock);
	for (at = &quieted; (s = *at); at = &s->next)
		if (all || mono_ms_since(s->since) >= LOG_PERIOD_MS)
			break;
	if (s) {
		*ret = *s;
		__atomic_store_n(at, s->next, __ATOMIC_RELEASE);
		s->lines = s->suppressed = 0;
	}
	pthread_mutex_unlock(&lock);
	return s;
}

void log_tell_suppressed(bool all)
{
	struct log_site s;

	while (__atomic_load_n(&quieted, __ATOMIC_ACQUIRE) && take_quieted(all, &s))
		log_each(s.level, "%s … (%u more like this suppressed)", s.text, s.suppressed);
}
