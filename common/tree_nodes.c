/* Nodes: their numbers, and how a node's way is found again. */
#include "tree_past.h"

#include <stdio.h>

#define INO_KEY    0x67707574656c2d31ULL /* "gputel-1": inode numbers are alike everywhere */
#define PATH_BYTES 1024                  /* of the longest path, with its NUL */
#define LINKS_MAX  8
#define DEPTH_MAX  16

/* ---- inode numbers --------------------------------------------------------------------------- */

static bool is_same(const struct node *n, const char *path, uint64_t incarnation)
{
	return n->incarnation == incarnation && !strcmp(n->path, path);
}

/* Under node_lock: the number of a path, and its node where there is one. Numbers 0 and 1 are
 * left out; of two paths with one hash the later takes the next number. */
static uint64_t ino_of(const struct tree *t, const char *path, uint64_t incarnation,
		       struct node **ret)
{
	uint64_t ino = hash64(path, strlen(path), INO_KEY ^ (incarnation * 0x9e3779b97f4a7c15ULL));

	for (ino &= INT64_MAX;; ino = (ino + 1) & INT64_MAX) {
		struct node *n = ino < 2 ? NULL : map_get(&t->nodes, &ino, sizeof(ino));

		if (ino < 2 || (n && !is_same(n, path, incarnation)))
			continue;
		*ret = n;
		return ino;
	}
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static struct node *node_new(struct tree *t, enum kind_id k, const char *path, uint64_t incarnation,
			     uint64_t ino)
{
	struct node *n = xcalloc(1, sizeof(*n) + strlen(path) + 1);

	n->t = t;
	n->refs = 1;
	n->ino = ino;
	n->incarnation = incarnation;
	n->kind = k;
	strcpy(n->path, path);
	map_put(&t->nodes, &n->ino, sizeof(n->ino), n);
	return n;
}

/* Found or made; a new reference. */
static struct node *node_get(struct tree *t, enum kind_id k, const char *path, uint64_t incarnation)
{
	struct node *n;
	uint64_t ino;

	pthread_mutex_lock(&t->node_lock);
	ino = ino_of(t, path, incarnation, &n);
	if (n)
		n->refs++;
	else
		n = node_new(t, k, path, incarnation, ino);
	pthread_mutex_unlock(&t->node_lock);
	return n;
}

void nodes_init(struct tree *t)
{
	t->root = node_new(t, K_ROOT, "", 0, 1);
}

void nodes_release(struct tree *t)
{
	map_each (&t->nodes, i)
		free(t->nodes.entries[i].value);
	map_release(&t->nodes);
}

struct node *node_ref(struct node *n)
{
	pthread_mutex_lock(&n->t->node_lock);
	n->refs++;
	pthread_mutex_unlock(&n->t->node_lock);
	return n;
}

void node_unref(struct node *n)
{
	struct tree *t = n ? n->t : NULL;

	if (!n)
		return;
	pthread_mutex_lock(&t->node_lock);
	if (--n->refs == 0) {
		map_remove(&t->nodes, &n->ino, sizeof(n->ino));
		free(n);
	}
	pthread_mutex_unlock(&t->node_lock);
}

struct node *tree_root(struct tree *t)
{
	return node_ref(t->root);
}

uint64_t node_ino(const struct node *n)
{
	return n->ino;
}

enum node_content node_content(const struct node *n)
{
	return kinds[n->kind].content;
}

const char *node_path(const struct node *n)
{
	return n->path;
}

/* ---- from a node to its place ---------------------------------------------------------------- */

static struct place place_root(struct tree *t)
{
	return (struct place){.t = t, .now_ns = wall_now_ns(), .until_ns = INT64_MAX};
}

static bool take_component(const char **path, char ret[NAME_MAX_ENCODED + 1])
{
	const char *end = strchrnul(*path, '/');
	size_t len = (size_t)(end - *path);

	if (len > NAME_MAX_ENCODED)
		return false;
	memcpy(ret, *path, len);
	ret[len] = '\0';
	*path = *end ? end + 1 : end;
	return true;
}

/* Walks down to kind k, taking components off path. */
static bool walk(struct place *p, enum kind_id k, const char **path)
{
	char name[NAME_MAX_ENCODED + 1];

	if (k == K_ROOT)
		return true;
	if (!walk(p, kinds[k].parent, path) || !take_component(path, name))
		return false;
	if (!kinds[k].name)
		return kinds[k].find(p, name);
	return kind_is_shown(k, p);
}

int node_place(struct tree *t, const struct node *n, struct place *ret)
{
	const char *path = n->path;

	*ret = place_root(t);
	if (!t->ready && n->kind != K_ROOT && !kind_is_meta(n->kind))
		return -EIO;
	if (!walk(ret, n->kind, &path) || kind_incarnation(n->kind, ret) != n->incarnation)
		return -ESTALE;
	return 0;
}

int node_rows_place(struct tree *t, const struct node *n, struct place *ret)
{
	if (kinds[n->kind].type == NODE_DIR)
		return -EISDIR;
	if (kinds[n->kind].content != CONTENT_ROWS)
		return -EINVAL;
	return node_place(t, n, ret);
}

/* ---- lookup ---------------------------------------------------------------------------------- */

static void join(char path[PATH_BYTES], const char *dir, const char *name)
{
	snprintf(path, PATH_BYTES, "%s%s%s", dir, dir[0] ? "/" : "", name);
}

static int lookup_locked(struct tree *t, struct node *dir, const char *name, struct node **ret)
{
	char path[PATH_BYTES];
	enum kind_id k;
	struct place p;
	int r = node_place(t, dir, &p);

	if (r)
		return r;
	if (!t->ready && !kind_is_meta(dir->kind) && strcmp(name, kinds[K_META].name))
		return -EIO;
	k = strlen(name) <= NAME_MAX_ENCODED ? kind_child(dir->kind, &p, name) : N_KINDS;
	if (k == N_KINDS)
		return -ENOENT;
	join(path, dir->path, name);
	*ret = node_get(t, k, path, kind_incarnation(k, &p));
	return 0;
}

int tree_lookup(struct tree *t, struct node *dir, const char *name, struct node **ret)
{
	struct past *past;
	int r;

	if (kinds[dir->kind].type != NODE_DIR)
		return -ENOTDIR;
	if (strlen(name) > NAME_MAX_ENCODED)
		return -ENAMETOOLONG;
	r = past_hold(t, dir->path, name, &past);
	if (r)
		return r;
	pthread_rwlock_rdlock(&t->lock);
	r = lookup_locked(t, dir, name, ret);
	pthread_rwlock_unlock(&t->lock);
	past_release(t, past);
	return r;
}

/* ---- listing --------------------------------------------------------------------------------- */

static int by_ino(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return strcmp(item_name(x), item_name(y));
}

static void number(struct tree *t, const struct node *dir, struct listing *l)
{
	char path[PATH_BYTES];
	struct node *n;

	pthread_mutex_lock(&t->node_lock);
	for (size_t i = 0; i < l->n; i++) {
		struct item *item = &l->items[i];

		join(path, dir->path, item_name(item));
		item->ino = ino_of(t, path, kind_incarnation(item->kind, &item->place), &n);
	}
	pthread_mutex_unlock(&t->node_lock);
	if (l->n)
		qsort(l->items, l->n, sizeof(*l->items), by_ino);
	for (size_t i = 1; i < l->n; i++)
		if (l->items[i].ino <= l->items[i - 1].ino)
			l->items[i].ino = l->items[i - 1].ino + 1;
}

static int list_locked(struct tree *t, struct node *dir, uint64_t after,
		       int (*fn)(const struct tree_entry *e, void *arg), void *arg)
{
	struct listing l = {0};
	struct tree_entry e;
	struct place p;
	int r = node_place(t, dir, &p);

	if (!r && !t->ready && !kind_is_meta(dir->kind))
		r = -EIO;
	if (r)
		return r;
	kind_children(dir->kind, &p, &l);
	number(t, dir, &l);
	for (size_t i = 0; i < l.n && !r; i++) {
		if (l.items[i].ino <= after)
			continue;
		e.name = item_name(&l.items[i]);
		place_attr(l.items[i].kind, &l.items[i].place, l.items[i].ino, &e.attr);
		r = fn(&e, arg);
	}
	free(l.items);
	return r;
}

int tree_list(struct tree *t, struct node *dir, uint64_t after,
	      int (*fn)(const struct tree_entry *e, void *arg), void *arg)
{
	struct past *past;
	int r;

	if (kinds[dir->kind].type != NODE_DIR)
		return -ENOTDIR;
	if (dir->kind == K_META)
		status_refresh(t, false);
	r = past_hold(t, dir->path, NULL, &past);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	pthread_rwlock_rdlock(&t->lock);
	r = list_locked(t, dir, after, fn, arg);
	pthread_rwlock_unlock(&t->lock);
	past_release(t, past);
	return r;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* A walk: the nodes from the root down to where it stands, and what is left to go. */
struct path_walk {
	struct tree *t;
	struct node *at[DEPTH_MAX];
	int depth; /* of the node it stands on */
	int links;
	struct strbuf rest;
};

static void pop(struct path_walk *w)
{
	node_unref(w->at[w->depth--]);
}

/* The link it stands on gives way to what it says. */
static int follow_link(struct path_walk *w)
{
	struct strbuf path;
	int r;

	if (++w->links > LINKS_MAX)
		return -ELOOP;
	strbuf_init(&path, 4 * PATH_BYTES);
	r = tree_readlink(w->t, w->at[w->depth], &path);
	strbuf_addc(&path, '/');
	strbuf_add(&path, w->rest.s, w->rest.len);
	if (!r)
		r = path.err;
	if (!r) {
		strbuf_reset(&w->rest);
		strbuf_add(&w->rest, path.s, path.len);
		pop(w);
	}
	strbuf_release(&path);
	return r;
}

static int step(struct path_walk *w, const char *name, bool follow)
{
	struct node *next;
	int r;

	if (!name[0] || !strcmp(name, "."))
		return kinds[w->at[w->depth]->kind].type == NODE_DIR ? 0 : -ENOTDIR;
	if (!strcmp(name, "..")) {
		if (w->depth == 0)
			return -ENOENT;
		pop(w);
		return 0;
	}
	if (w->depth + 1 == DEPTH_MAX)
		return -ENOENT;
	r = tree_lookup(w->t, w->at[w->depth], name, &next);
	if (r)
		return r;
	w->at[++w->depth] = next;
	if (kinds[next->kind].type == NODE_LINK && (follow || w->rest.len))
		return follow_link(w);
	return 0;
}

static int walk_path(struct path_walk *w, bool follow)
{
	char name[NAME_MAX_ENCODED + 1];
	int r = 0;

	while (!r && w->rest.len) {
		const char *rest = w->rest.s;

		if (!take_component(&rest, name))
			return -ENOENT;
		strbuf_consume(&w->rest, (size_t)(rest - w->rest.s));
		r = step(w, name, follow);
	}
	return r;
}

int tree_resolve(struct tree *t, const char *path, bool follow, struct node **ret)
{
	struct path_walk w = {.t = t};
	int r;

	strbuf_init(&w.rest, 8 * PATH_BYTES);
	strbuf_adds(&w.rest, path);
	w.at[0] = tree_root(t);
	r = w.rest.err ? -ENOENT : walk_path(&w, follow);
	if (!r)
		*ret = node_ref(w.at[w.depth]);
	while (w.depth >= 0)
		pop(&w);
	strbuf_release(&w.rest);
	return r;
}
