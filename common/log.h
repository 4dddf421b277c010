/* Log lines on stderr: text (`2026-11-23T12:00:00.123Z info streamer: …`) or JSON, one line each.
 * Safe from any thread; a line is one write(2). Library code does not log; it returns errors. The
 * exceptions say so in their headers (the etcd client reports reachability, once per change). */
#ifndef GPUTEL_LOG_H
#define GPUTEL_LOG_H

#include "base.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* program: "streamer", "collector", …; id: SERVICE_ID. Both are copied. Call before other threads
 * exist. */
void log_setup(const char *program, const char *id, enum log_level level, enum log_format format);
void log_adjust(enum log_level level, enum log_format format); /* later, from any thread */
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                  \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                   \
	} while (0)

#endif
