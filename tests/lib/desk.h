/* A writer at work on a host "h" of an etcd of its own, batches for it as tests write them, and all
 * that is stored of it as a reader finds it. */
#ifndef TEST_DESK_H
#define TEST_DESK_H

#include "../../collector/intake.h"

enum { DESK_ROWS_MAX = 20000, DESK_TABLE_MAX = 5000 };

#define HOUR  (3600 * NS_PER_SEC)
#define DAY_1 (20000 * 24 * HOUR) /* 2024-10-04, some day that is past */

/* A row as a test writes it. NULL texts are "". */
struct line {
	const char *gpu, *metric, *labels, *uuid;
	int64_t ns;
	const char *value;
};

/* A batch of lines, with room for its tables. */
struct sheet {
	struct batch b;
	struct batch_series series[DESK_TABLE_MAX];
	struct attribution attributions[DESK_TABLE_MAX];
	struct row rows[DESK_ROWS_MAX];
};
struct sheet *sheet_new(const struct line *lines, size_t n);

struct desk {
	struct etcd *c;
	struct fence f;
	struct hold h;
	struct writer *w;
	int64_t lease_ns; /* of what is stored; 0: none */
	struct leases leases;
	struct err e; /* of what failed last */
};

struct desk *desk_new(void);
void desk_free(struct desk *d);
/* Reads the writer's state anew, as after a takeover. */
void desk_load(struct desk *d);
/* As if so much time had passed since rows came. */
void desk_rest(struct desk *d, int64_t ms);

int desk_store_pairs(struct desk *d, struct intake *in, size_t from, size_t to);
/* Several messages in one completion. */
int desk_store_sheets(struct desk *d, struct sheet **sheets, size_t n);
int desk_store(struct desk *d, const struct line *lines, size_t n);

#define STORE(d, ...)                                                                              \
	desk_store(d, (const struct line[]){__VA_ARGS__},                                          \
		   sizeof((const struct line[]){__VA_ARGS__}) / sizeof(struct line))

/* A chunk as a reader finds it. */
struct found {
	struct data_key key;
	struct chunk c;
	struct rows rows;
	size_t body_len;
	int64_t create_rev, lease;
};

/* All chunks of a GPU, in order of segment and position. */
struct library {
	struct etcd_reply data, bodies;
	struct found *list;
	size_t n;
};
struct library desk_read(struct desk *d, const char *gpu);
void library_release(struct library *l);

struct identity *desk_identity(struct desk *d, const char *gpu);
/* The rows of one GPU as one text, a line each, segments in their order; checks that the positions
 * of each segment are gapless from 0, and that headers say what the rows are. */
char *desk_rows(struct desk *d, const char *gpu);

#endif
