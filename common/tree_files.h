/* What files of one GPU and files of many are put together from (tree_files.c, tree_fleet.c). */
#ifndef GPUTEL_TREE_FILES_H
#define GPUTEL_TREE_FILES_H

#include "query.h"
#include "tree_internal.h"

/* Series of a GPU that have a latest row, in order of their files. */
struct cursor {
	const struct gpu *g;
	uint32_t at;
	const struct series *s;
	const struct latest *l;
	const char *file;
};

bool next_latest(struct cursor *c);

static inline struct stamp latest_time(const struct latest *l)
{
	return (struct stamp){l->time_ns, l->digits};
}

/* Whether time + age still lies ahead; notes in the place when it does not any more. */
bool place_is_within(struct place *p, int64_t time_ns, int64_t age_ms);
enum gpu_state gpu_state(struct place *p, const struct gpu *g);

void file_add_line(struct strbuf *out, const char *s);
void file_add_json(struct strbuf *out, const char *s);
/* before"name":"value" */
void file_add_field(struct strbuf *out, const char *before, const char *name, const char *value);
void file_add_stamp(struct strbuf *out, struct stamp time);
/* The fields of a GPU's identity, before in front of each. */
void file_add_names(struct strbuf *out, const struct identity *id, const char *before);
/* The different names of metrics in a GPU, sorted. latest_only: of series that have a latest. */
void file_add_metrics(struct strbuf *out, const struct gpu *g, bool latest_only,
		      const char *before);

#endif
