/* What a telemetry request asks for: its parameters, read and checked. */
#ifndef GPUTEL_BRIDGE_ASK_H
#define GPUTEL_BRIDGE_ASK_H

#include "answer.h"
#include "select.h"

#define LIMIT_DEFAULT 100 /* of JSON pages */
#define LIMIT_MAX     1000

enum format { FORMAT_JSON, FORMAT_CSV, FORMAT_NDJSON, FORMAT_COLUMNS, FORMATS };

struct format_name {
	const char *name, *type;
	const char *content_type; /* type, and how its text is encoded */
};
extern const struct format_name formats[FORMATS];

enum aggregate { AGG_AVG, AGG_MIN, AGG_MAX, AGG_SUM, AGG_COUNT, AGG_LAST };

struct ask {
	int64_t from_ns, to_ns; /* both inclusive */
	bool descending, wide;
	struct globs metrics;
	int64_t step_ns; /* 0: rows as they are */
	enum aggregate aggregate;
	int64_t limit; /* 0: all */
	enum format format;
};

/* False: the problem is in a. */
bool ask_parse(const struct request *q, struct ask *ret, struct answer *a);
/* Parts of it, for other routes. */
bool ask_format(const struct request *q, enum format *ret, struct answer *a);
/* JSON, and what a cursor leads to, comes in pages also where no limit is given. */
bool ask_limit(const struct request *q, enum format f, int64_t *ret, struct answer *a);

/* The same for all pages of one listing: path and parameters but limit, cursor and format. */
uint64_t ask_hash(const struct request *q);

/* RFC 3339, epoch seconds, now, now-5m, now+1h. */
int time_parse(const char *text, int64_t now_ns, int64_t *ret_ns) must_check;

/* Which of n media types an Accept header (NULL: any) likes best; of equals the first. -1: none. */
int accept_choose(const char *accept, const char *const *types, size_t n);

#endif
