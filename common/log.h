/* Log lines on stderr: text (`2026-11-23T12:00:00.123Z info streamer: …`) or JSON, one line each.
 * Safe from any thread; a line is one write(2). Library code does not log; it returns errors. The
 * exceptions say so in their headers (the etcd client reports reachability, once per change).
 *
 * log_error, log_warn and log_info write at most LOG_LINES lines of one call in LOG_PERIOD_MS. Once
 * the period is over another line repeats the last of them and says how many more there were:
 *	… warn collector: message 01… of host h1 is … … (42 more like this suppressed)
 *
 * Lines that have a rule of their own (one for each invalid row, file, change of a target) go by
 * log_each, which suppresses none. With LOG_LEVEL=debug nothing is suppressed: who follows a trace
 * id finds all of its lines. */
#ifndef GPUTEL_LOG_H
#define GPUTEL_LOG_H

#include "clock.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* program: "streamer", "collector", …; id: SERVICE_ID. Both are copied. Call before other threads
 * exist. */
void log_setup(const char *program, const char *id, enum log_level level, enum log_format format);
void log_adjust(enum log_level level, enum log_format format); /* later, from any thread */
bool log_enabled(enum log_level level);
void log_each(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define LOG_LINES     10
#define LOG_PERIOD_MS 10000

/* What one call has said; static, zeroed. All of it is the log's. */
struct log_site {
	struct mono since;     /* when its period began */
	unsigned lines;        /* written in it */
	unsigned suppressed;   /* and not */
	enum log_level level;  /* of the last line that it may write */
	char text[200];        /* and what it said; cut */
	struct log_site *next; /* of those that have suppressed lines */
};

/* level may differ from call to call. */
void log_limited(struct log_site *site, enum log_level level, const char *fmt, ...)
	printf_like(3, 4);
/* Tells of the calls that have suppressed lines and whose period is over, or of all. The thread of
 * daemon.h sees to it, and the end of the program; it is cheap where there are none. */
void log_tell_suppressed(bool all);

#define log_here(level, ...)                                                                       \
	do {                                                                                       \
		static struct log_site site_;                                                      \
		log_limited(&site_, level, __VA_ARGS__);                                           \
	} while (0)
#define log_error(...) log_here(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_here(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_here(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                  \
			log_each(LOG_LEVEL_DEBUG, __VA_ARGS__);                                    \
	} while (0)

#endif
