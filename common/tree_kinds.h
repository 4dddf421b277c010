/* Kinds of nodes, for common/tree_{kinds,nodes,attrs}.c: what a path can be. A new folder or file
 * is a row in the table of tree_kinds.c, and a find and each where the data names it. */
#ifndef GPUTEL_TREE_KINDS_H
#define GPUTEL_TREE_KINDS_H

#include "tree_internal.h"

enum kind_id {
	K_ROOT,
	K_README,
	K_META,
	K_META_VERSION,
	K_META_REVISION,
	K_META_STATUS,
	K_META_GPUS,
	K_META_LATEST,
	K_META_PROM,
	K_META_WAIT,
	K_WAIT,
	K_BY_UUID,
	K_UUID_LINK,
	K_BY_MODEL,
	K_MODEL,
	K_MODEL_LINK,
	K_BY_POD,
	K_NAMESPACE,
	K_POD,
	K_POD_LINK,
	K_HOST,
	K_HOST_LATEST,
	K_GPU,
	K_GPU_UUID,
	K_GPU_MODEL,
	K_GPU_DEVICE,
	K_GPU_DRIVER,
	K_GPU_STATE,
	K_GPU_INFO,
	K_METRICS,
	K_METRIC,
	K_GPU_LATEST_CSV,
	K_GPU_LATEST_JSON,
	K_GPU_PROM,
	K_GPU_STAT,
	K_GPU_STREAM,
	K_TELEMETRY,
	K_HISTORY,
	K_SEGMENT,
	K_AT,
	K_AT_TIME,
	K_AT_HOST,
	K_AT_GPU,
	K_AT_INFO,
	K_AT_METRICS,
	K_AT_METRIC,
	K_AT_LATEST_CSV,
	K_AT_LATEST_JSON,
	K_AT_PROM,
	K_AT_STAT,
	N_KINDS
};

/* Where times, revision and incarnation of a node come from. */
enum scope {
	OF_PROGRAM, /* does not change */
	OF_TREE,
	OF_HOST,
	OF_FACET,
	OF_INSTANT,
	OF_IDENTITY, /* of the GPU: changes with it only */
	OF_GPU,
	OF_SERIES,
	OF_SEGMENT,
};

struct node {
	struct tree *t;
	unsigned refs; /* under node_lock */
	uint64_t ino, incarnation;
	enum kind_id kind;
	char path[];
};

struct item {
	uint64_t ino;
	enum kind_id kind;
	struct place place;
	const char *name; /* NULL: it is in text */
	char text[SEGMENT_NAME_MAX + sizeof(".csv")];
};

struct listing {
	enum kind_id kind; /* of what is being added */
	struct item *items;
	size_t n, cap;
};

/* One row of the table. */
struct kind {
	enum kind_id parent;
	enum scope scope;
	enum node_type type;
	enum node_content content;
	const char *name;                     /* NULL: any number of them, named by the data */
	render_fn render;                     /* whole files and links */
	int cached;                           /* CACHED_… + 1 */
	bool unlisted;                        /* found by name only */
	bool (*shown)(const struct place *p); /* NULL: always */
	/* Of what the data names: narrows a place in the parent; lists all places (NULL: none). */
	bool (*find)(struct place *p, const char *name);
	void (*each)(const struct place *dir, struct listing *l);
};

extern const struct kind kinds[N_KINDS];

static inline bool kind_is_shown(enum kind_id k, const struct place *p)
{
	return !kinds[k].shown || kinds[k].shown(p);
}

/* .meta and what is in it: there before the first list. */
bool kind_is_meta(enum kind_id k);
/* Of the place's GPU or segment; 0 for what has none. */
uint64_t kind_incarnation(enum kind_id k, const struct place *p);
/* The child of dir that has that name; narrows p. N_KINDS: none. */
enum kind_id kind_child(enum kind_id dir, struct place *p, const char *name);
/* All children of dir, without inode numbers. */
void kind_children(enum kind_id dir, const struct place *p, struct listing *l);

static inline const char *item_name(const struct item *item)
{
	return item->name ? item->name : item->text;
}

/* Attributes of a place, the size of what is rendered included. */
void place_attr(enum kind_id k, struct place *p, uint64_t ino, struct attr *ret);

#endif
