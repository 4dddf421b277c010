/* A tree fed by hand, and all that it shows as text. */
#ifndef GPUTEL_TEST_TREE_FIXTURE_H
#define GPUTEL_TEST_TREE_FIXTURE_H

#include "feed.h"

#define ROW(m, v, t, ...)                                                                          \
	{                                                                                          \
		.metric = m, .value = v, .ns = t, ##__VA_ARGS__                                    \
	}

#define HOUR   (3600 * NS_PER_SEC)
#define T0     (1752868800 * NS_PER_SEC) /* 2025-07-18T20:00:00Z */
#define SEC(n) (T0 + (n)*NS_PER_SEC)
#define GPU    "h1/0/"
#define LOG    GPU "history/2025-07-18T2000Z.csv"
#define UTIL   "DCGM_FI_DEV_GPU_UTIL"
#define TEMP   "DCGM_FI_DEV_GPU_TEMP"
#define POWER  "DCGM_FI_DEV_POWER_USAGE"

/* One GPU, one tree with its first list in. */
struct fixture {
	struct feed_store store;
	struct feed *f;
	struct tree *t;
	int64_t rev;
};

void begin(struct fixture *x);
void end(struct fixture *x);
struct feed_chunk *chunk(struct fixture *x, int64_t segment, int64_t seq,
			 const struct feed_row *rows, size_t n);
void commit(struct fixture *x);
/* Identity and chunk in one commit, as a collector does. */
void store(struct fixture *x, const struct feed_chunk *c);
struct feed_chunk *store_rows(struct fixture *x, int64_t segment, int64_t seq,
			      const struct feed_row *rows, size_t n);

/* The file's content is want ("!EIO" …: it cannot be read). */
bool check_cat(struct tree *t, const char *path, const char *want);
int attr_at(struct tree *t, const char *path, struct attr *ret);
struct node *node_at(struct tree *t, const char *path);

/* Rows for tests, and how they look. */
extern const struct feed_row two[2], next[2], third[1];

#define ROWS_TWO                                                                                   \
	"2025-07-18T20:00:01Z," UTIL ",87,GPU-aaaa,,,,\n"                                          \
	"2025-07-18T20:00:01Z," TEMP ",41,GPU-aaaa,,,,\n"
#define ROWS_NEXT                                                                                  \
	"2025-07-18T20:00:02Z," UTIL ",90,GPU-aaaa,,,,\n"                                          \
	"2025-07-18T20:00:02Z," TEMP ",42.5,GPU-aaaa,,,,\n"
#define ROWS_THIRD "2025-07-18T20:00:03Z," UTIL ",91,GPU-aaaa,,,,\n"

/* Every name with its attributes and content, but for .meta/status; checks sizes on the way. */
char *dump(struct tree *t);
void check_same(struct tree *a, struct tree *b);

#endif
