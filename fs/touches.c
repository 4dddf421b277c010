#include "touches.h"

#include <stdio.h>

#define PATH_BYTES 1024

enum touch_op touch_rank_op(enum touch_rank rank)
{
	static const enum touch_op ops[RANKS] = {
		[RANK_REMOVE_FILE] = TOUCH_REMOVE_FILE,
		[RANK_REMOVE_DIR] = TOUCH_REMOVE_DIR,
		[RANK_MAKE_DIR] = TOUCH_MAKE_DIR,
		[RANK_MAKE_FILE] = TOUCH_MAKE_FILE,
		[RANK_VALUE] = TOUCH_MODIFY,
		[RANK_ROWS] = TOUCH_MODIFY,
		[RANK_SUMMARY] = TOUCH_MODIFY,
		[RANK_FLEET] = TOUCH_MODIFY,
	};

	return ops[rank];
}

/* ---- lists -----------------------------------------------------------------------------------
 */

static bool is_new(struct touches *t, enum touch_rank rank, const char *path)
{
	char key[PATH_BYTES + 1];
	size_t len = strlen(path);

	if (len >= PATH_BYTES || map_count(&t->seen) >= TOUCHES_MAX)
		return false;
	key[0] = (char)rank;
	memcpy(key + 1, path, len);
	return map_put(&t->seen, key, len + 1, t) == NULL;
}

void touches_add(struct touches *t, enum touch_rank rank, const char *path)
{
	struct touch_list *l = &t->ranks[rank];

	if (!is_new(t, rank, path))
		return;
	if (l->n == l->cap) {
		l->cap = MAX(64, l->cap * 2);
		l->paths = xrealloc(l->paths, l->cap * sizeof(*l->paths));
	}
	l->paths[l->n++] = xstrdup(path);
}

void touches_join(struct touches *t, struct touches *src)
{
	if (!touches_any(t)) {
		touches_release(t);
		*t = *src;
		*src = (struct touches){0};
		return;
	}
	for (enum touch_rank rank = 0; rank < RANKS; rank++)
		for (size_t i = 0; i < src->ranks[rank].n; i++)
			touches_add(t, rank, src->ranks[rank].paths[i]);
	touches_release(src);
}

void touches_release(struct touches *t)
{
	for (enum touch_rank rank = 0; rank < RANKS; rank++) {
		for (size_t i = 0; i < t->ranks[rank].n; i++)
			free(t->ranks[rank].paths[i]);
		free(t->ranks[rank].paths);
	}
	map_release(&t->seen);
	*t = (struct touches){0};
}

/* ---- one GPU ---------------------------------------------------------------------------------
 */

/* What the kernel knows of the GPU that a run of changes is about. */
struct interest {
	struct touches *touches;
	struct inode_table *inodes;
	const char *host, *gpu;
	bool any, in_gpu, in_metrics, in_history;
};

static void look(struct interest *x, const char *host, const char *gpu)
{
	char path[PATH_BYTES];

	if (x->gpu && !strcmp(x->gpu, gpu) && !strcmp(x->host, host))
		return;
	x->host = host;
	x->gpu = gpu;
	snprintf(path, sizeof(path), "%s/%s", host, gpu);
	x->any = inode_group_is_known(x->inodes, path);
	if (!x->any)
		return;
	x->in_gpu = inode_path_is_known(x->inodes, path);
	snprintf(path, sizeof(path), "%s/%s/metrics", host, gpu);
	x->in_metrics = inode_path_is_known(x->inodes, path);
	snprintf(path, sizeof(path), "%s/%s/history", host, gpu);
	x->in_history = inode_path_is_known(x->inodes, path);
}

static void add_if(struct interest *x, enum touch_rank rank, bool in_known_folder, const char *path)
{
	if (in_known_folder || inode_path_is_known(x->inodes, path))
		touches_add(x->touches, rank, path);
}

static void add_series(struct interest *x, enum touch_rank rank, const struct change *c)
{
	char path[PATH_BYTES];

	if (!x->any)
		return;
	snprintf(path, sizeof(path), "%s/%s/metrics/%s", c->host, c->gpu, c->series);
	add_if(x, rank, x->in_metrics, path);
}

static void add_segment(struct interest *x, enum touch_rank rank, const struct change *c)
{
	char path[PATH_BYTES], name[SEGMENT_NAME_MAX];

	if (!x->any)
		return;
	segment_name(c->segment_ns, name);
	snprintf(path, sizeof(path), "%s/%s/history/%s.csv", c->host, c->gpu, name);
	add_if(x, rank, x->in_history, path);
}

static void add_of_gpu(struct interest *x, const char *const *names, size_t n)
{
	char path[PATH_BYTES];

	for (size_t i = 0; i < n && x->any; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", x->host, x->gpu, names[i]);
		add_if(x, RANK_SUMMARY, x->in_gpu, path);
	}
}

static void add_of_host(struct interest *x)
{
	char path[PATH_BYTES];

	if (!inode_group_is_known(x->inodes, x->host))
		return;
	snprintf(path, sizeof(path), "%s/latest.csv", x->host);
	add_if(x, RANK_SUMMARY, inode_path_is_known(x->inodes, x->host), path);
}

static void add_latest(struct interest *x)
{
	static const char *const names[] = {"latest.csv", "latest.json", "latest.prom", "stat"};

	add_of_gpu(x, names, ARRAY_SIZE(names));
	add_of_host(x);
}

/* A folder that is not known has nobody in it who could see a name come or go. */
static void add_folder(struct interest *x, enum touch_rank rank, const struct change *c)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", c->host, c->gpu);
	add_if(x, rank, inode_path_is_known(x->inodes, c->host), path);
}

/* What goes with its GPU is told of by itself, since somebody may be watching just it; members come
 * in the order of their lookups, the last first, hence what is in a folder before it. */
static void add_gone(struct interest *x, const struct change *c)
{
	struct inode **members;
	char key[PATH_BYTES];
	size_t n;

	snprintf(key, sizeof(key), "%s/%s", c->host, c->gpu);
	n = inode_group_members(x->inodes, key, &members);
	for (size_t i = 0; i < n; i++) {
		if (members[i]->type != NODE_LINK)
			touches_add(x->touches,
				    members[i]->type == NODE_DIR ? RANK_REMOVE_DIR
								 : RANK_REMOVE_FILE,
				    members[i]->path);
		inode_put(x->inodes, members[i]);
	}
	free(members);
	add_folder(x, RANK_REMOVE_DIR, c);
}

/* ---- a commit --------------------------------------------------------------------------------
 */

static void add_change(struct interest *x, const struct change *c)
{
	static const char *const identity[] = {"info.json"};
	static const char *const newest[] = {"telemetry.csv"};

	switch (c->kind) {
	case CHANGE_HOST_ADDED:
		touches_add(x->touches, RANK_MAKE_DIR, c->host);
		break;
	case CHANGE_HOST_REMOVED:
		touches_add(x->touches, RANK_REMOVE_DIR, c->host);
		break;
	case CHANGE_GPU_ADDED:
		add_folder(x, RANK_MAKE_DIR, c);
		add_of_host(x);
		break;
	case CHANGE_GPU_REMOVED:
		add_gone(x, c);
		add_of_host(x);
		break;
	case CHANGE_GPU:
		add_of_gpu(x, identity, ARRAY_SIZE(identity));
		break;
	case CHANGE_SEGMENT_ADDED:
		add_segment(x, RANK_MAKE_FILE, c);
		add_of_gpu(x, newest, ARRAY_SIZE(newest));
		break;
	case CHANGE_SEGMENT_REMOVED:
		add_segment(x, RANK_REMOVE_FILE, c);
		break;
	case CHANGE_SEGMENT_GREW:
		add_segment(x, RANK_ROWS, c);
		break;
	case CHANGE_SERIES_ADDED:
		add_series(x, RANK_MAKE_FILE, c);
		add_latest(x);
		break;
	case CHANGE_LATEST:
		if (!c->same_value)
			add_series(x, RANK_VALUE, c);
		add_latest(x);
		break;
	case CHANGE_SERIES_REMOVED:
		add_series(x, RANK_REMOVE_FILE, c);
		add_latest(x);
		break;
	}
}

static void add_fleet(struct interest *x)
{
	static const char *const paths[] = {".meta/gpus.json", ".meta/latest.csv",
					    ".meta/latest.prom", ".meta/revision"};
	bool in_meta = inode_path_is_known(x->inodes, ".meta");

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		add_if(x, RANK_FLEET, in_meta, paths[i]);
}

void touches_collect(struct touches *t, struct inode_table *inodes, const struct change *c,
		     size_t n)
{
	struct interest x = {.touches = t, .inodes = inodes};

	for (size_t i = 0; i < n; i++) {
		if (c[i].gpu)
			look(&x, c[i].host, c[i].gpu);
		add_change(&x, &c[i]);
	}
	if (n > 0)
		add_fleet(&x);
}
