#include "inode_table.h"

#include "clock.h"

/* ---- groups: under the table's lock -----------------------------------------------------------
 */

static struct inode_group *group_take(struct inode_table *t, const char *key)
{
	struct inode_group *g = map_get_str(&t->groups, key);

	if (!g) {
		g = xcalloc(1, sizeof(*g));
		g->key = xstrdup(key);
		map_put(&t->groups, key, strlen(key), g);
	}
	return g;
}

static void group_add(struct inode_group *g, struct inode *i)
{
	i->group = g;
	i->next = g->first;
	i->link = &g->first;
	if (g->first)
		g->first->link = &i->next;
	g->first = i;
	g->count++;
}

static void group_remove(struct inode_table *t, struct inode *i)
{
	struct inode_group *g = i->group;

	*i->link = i->next;
	if (i->next)
		i->next->link = i->link;
	if (--g->count > 0)
		return;
	map_remove(&t->groups, g->key, strlen(g->key));
	free(g->key);
	free(g);
}

/* "" → "host" → "host/gpu", and everything below as the GPU. NULL outside hosts. */
static char *group_key(const char *path, enum node_type type)
{
	const char *slash = strchr(path, '/');
	size_t len;

	if (*path == '.' || (!slash && type != NODE_DIR))
		return NULL;
	if (!slash)
		return xstrdup(path);
	len = strcspn(slash + 1, "/");
	if (slash[1 + len] == '\0' && type != NODE_DIR)
		return xstrndup(path, (size_t)(slash - path));
	return xstrndup(path, (size_t)(slash - path) + 1 + len);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static struct inode *inode_new(uint64_t ino, struct node *node, char *path)
{
	struct inode *i = xcalloc(1, sizeof(*i));
	char *slash = strrchr(path, '/');

	i->ino = ino;
	i->node = node_ref(node);
	i->path = path;
	i->name = slash ? slash + 1 : path;
	i->used_ms = mono_now().ns / NS_PER_MS;
	pthread_mutex_init(&i->lock, NULL);
	return i;
}

static void inode_free(struct inode *i)
{
	node_unref(i->node);
	free(i->path);
	pthread_mutex_destroy(&i->lock);
	free(i);
}

/* Takes it out of the table; its memory lives on with its references. */
static void unlink_inode(struct inode_table *t, struct inode *i)
{
	map_remove(&t->by_ino, &i->ino, sizeof(i->ino));
	if (map_get_str(&t->by_path, i->path) == i)
		map_remove(&t->by_path, i->path, strlen(i->path));
	if (i->group)
		group_remove(t, i);
	i->group = NULL;
	saved_inode_remove(t->saved, TAKE_PTR(i->saved));
}

struct inode_table *inode_table_new(struct tree *tree, struct saved *saved)
{
	struct inode_table *t = xcalloc(1, sizeof(*t));
	struct node *node = tree_root(tree);
	uint64_t ino = INODE_ROOT;

	t->tree = tree;
	t->saved = saved;
	pthread_mutex_init(&t->lock, NULL);
	t->root = inode_new(ino, node, xstrdup(""));
	t->root->parent = ino;
	t->root->type = NODE_DIR;
	t->root->pushed = true;
	t->root->lookups = t->root->refs = 1;
	group_add(group_take(t, ""), t->root);
	map_put(&t->by_ino, &ino, sizeof(ino), t->root);
	map_put(&t->by_path, "", 0, t->root);
	node_unref(node);
	return t;
}

void inode_table_free(struct inode_table *t)
{
	if (!t)
		return;
	map_each (&t->by_ino, k) {
		struct inode *i = t->by_ino.entries[k].value;

		if (i->group)
			group_remove(t, i);
		inode_free(i);
	}
	map_release(&t->by_ino);
	map_release(&t->by_path);
	map_release(&t->groups);
	map_release(&t->left);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

uint32_t inode_table_count(struct inode_table *t)
{
	uint32_t n;

	pthread_mutex_lock(&t->lock);
	n = map_count(&t->by_ino);
	pthread_mutex_unlock(&t->lock);
	return n;
}

struct inode *inode_get(struct inode_table *t, uint64_t ino)
{
	struct inode *i;
	bool left;

	pthread_mutex_lock(&t->lock);
	i = map_get(&t->by_ino, &ino, sizeof(ino));
	left = !i && map_get(&t->left, &ino, sizeof(ino));
	if (i)
		i->refs++;
	pthread_mutex_unlock(&t->lock);
	return left ? inode_find_again(t, ino) : i;
}

struct inode *inode_ref(struct inode_table *t, struct inode *i)
{
	pthread_mutex_lock(&t->lock);
	i->refs++;
	pthread_mutex_unlock(&t->lock);
	return i;
}

void inode_put(struct inode_table *t, struct inode *i)
{
	bool last;

	if (!i)
		return;
	pthread_mutex_lock(&t->lock);
	last = --i->refs == 0;
	pthread_mutex_unlock(&t->lock);
	if (last)
		inode_free(i);
}

/* ---- lookup and forget ------------------------------------------------------------------------
 */

/* A link may point elsewhere the next moment, and what is in folders outside of hosts comes and
 * goes unpushed. */
static double entry_timeout(const struct inode *i)
{
	bool stays = i->group || i->path == i->name;

	return stays && i->type != NODE_LINK ? INODE_CACHED_S : 0;
}

/* What a predecessor had counted goes on. */
static void keep_saved(struct inode_table *t, struct inode *i)
{
	i->saved = map_remove(&t->left, &i->ino, sizeof(i->ino));
	if (!i->saved) {
		i->saved = saved_inode_add(t->saved, i->ino, i->path);
		return;
	}
	i->lookups = MAX(1, i->saved->lookups);
	i->refs = 1;
}

struct inode *inode_add(struct inode_table *t, uint64_t parent, char *path, struct node *node,
			const struct attr *a)
{
	struct inode *i = inode_new(a->ino, node, path);
	char *key = group_key(path, a->type);

	i->parent = parent;
	i->type = a->type;
	i->content = a->content;
	if (key)
		group_add(group_take(t, key), i);
	i->pushed = key && i->type != NODE_LINK;
	i->entry_timeout = MAX(entry_timeout(i), (double)a->keep_ms / 1e3);
	free(key);
	map_put(&t->by_ino, &i->ino, sizeof(i->ino), i);
	map_put(&t->by_path, i->path, strlen(i->path), i);
	keep_saved(t, i);
	return i;
}

static void count_lookup(struct inode_table *t, struct inode *i)
{
	if (i->lookups++ == 0)
		i->refs++;
	i->refs++;
	i->used_ms = mono_now().ns / NS_PER_MS;
	if (i->saved)
		i->saved->lookups = i->lookups;
	if (map_get_str(&t->by_path, i->path) != i)
		map_put(&t->by_path, i->path, strlen(i->path), i);
}

static struct inode *inode_count(struct inode_table *t, struct inode *dir, const char *name,
				 struct node *node, const struct attr *a)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = map_get(&t->by_ino, &a->ino, sizeof(a->ino));
	if (!i)
		i = inode_add(t, dir->ino,
			      xasprintf("%s%s%s", dir->path, *dir->path ? "/" : "", name), node, a);
	count_lookup(t, i);
	pthread_mutex_unlock(&t->lock);
	return i;
}

int inode_lookup(struct inode_table *t, struct inode *dir, const char *name, struct inode **ret,
		 struct attr *ret_attr, double *ret_timeout)
{
	struct inode *i = NULL;
	struct node *node;
	struct attr a;
	int r = tree_lookup(t->tree, dir->node, name, &node);

	if (r < 0)
		return r;
	r = tree_attr(t->tree, node, &a);
	if (r == 0) {
		i = inode_count(t, dir, name, node, &a);
		/* Only now that the notifier can find it may its attributes be asked to stay. */
		if (i->pushed)
			r = inode_attr(t, i, &a, ret_timeout);
		else
			*ret_timeout = (double)a.keep_ms / 1e3;
		if (r < 0) {
			inode_forget(t, i->ino, 1);
			inode_put(t, i);
		}
	}
	node_unref(node);
	if (r < 0)
		return r == -ESTALE ? -ENOENT : r;
	*ret = i;
	*ret_attr = a;
	return 0;
}

void inode_forget(struct inode_table *t, uint64_t ino, uint64_t n)
{
	struct inode *i, *last = NULL;

	pthread_mutex_lock(&t->lock);
	i = map_get(&t->by_ino, &ino, sizeof(ino));
	if (!i)
		inode_forget_left(t, ino, n);
	if (i && i != t->root) {
		i->lookups -= MIN(n, i->lookups);
		if (i->saved)
			i->saved->lookups = i->lookups;
		if (i->lookups == 0) {
			unlink_inode(t, i);
			if (--i->refs == 0)
				last = i;
		}
	}
	pthread_mutex_unlock(&t->lock);
	if (last)
		inode_free(last);
}

/* ---- by path ----------------------------------------------------------------------------------
 */

struct inode *inode_at(struct inode_table *t, const char *path)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = map_get_str(&t->by_path, path);
	if (i)
		i->refs++;
	pthread_mutex_unlock(&t->lock);
	return i;
}

bool inode_path_is_known(struct inode_table *t, const char *path)
{
	bool known;

	pthread_mutex_lock(&t->lock);
	known = map_get_str(&t->by_path, path) != NULL;
	pthread_mutex_unlock(&t->lock);
	return known;
}

bool inode_group_is_known(struct inode_table *t, const char *key)
{
	bool known;

	pthread_mutex_lock(&t->lock);
	known = map_get_str(&t->groups, key) != NULL;
	pthread_mutex_unlock(&t->lock);
	return known;
}

void inode_count_lookup(struct inode_table *t, struct inode *i)
{
	pthread_mutex_lock(&t->lock);
	if (map_get(&t->by_ino, &i->ino, sizeof(i->ino)) == i) {
		count_lookup(t, i);
		i->refs--;
	}
	pthread_mutex_unlock(&t->lock);
}

/* ---- idleness ---------------------------------------------------------------------------------
 */

void inode_used(struct inode_table *t, struct inode *i)
{
	pthread_mutex_lock(&t->lock);
	i->used_ms = mono_now().ns / NS_PER_MS;
	pthread_mutex_unlock(&t->lock);
}

struct idle {
	uint64_t ino;
	int depth;
};

static int deeper_first(const void *a, const void *b)
{
	return ((const struct idle *)b)->depth - ((const struct idle *)a)->depth;
}

static int depth_of(const char *path)
{
	int n = 0;

	for (; (path = strchr(path, '/')); path++)
		n++;
	return n;
}

/* Under the lock. */
static size_t collect_idle(struct inode_table *t, int64_t idle_ms, struct idle *ret)
{
	int64_t now = mono_now().ns / NS_PER_MS;
	size_t n = 0;

	map_each (&t->by_ino, k) {
		struct inode *i = t->by_ino.entries[k].value;

		if (i == t->root || now - i->used_ms < idle_ms)
			continue;
		i->used_ms = now;
		ret[n++] = (struct idle){i->ino, depth_of(i->path)};
	}
	return n;
}

size_t inode_idle(struct inode_table *t, int64_t idle_ms, uint64_t **ret)
{
	struct idle *idle;
	size_t n;

	pthread_mutex_lock(&t->lock);
	idle = xcalloc(map_count(&t->by_ino), sizeof(*idle));
	n = collect_idle(t, idle_ms, idle);
	pthread_mutex_unlock(&t->lock);
	qsort(idle, n, sizeof(*idle), deeper_first);
	*ret = xcalloc(n + 1, sizeof(**ret));
	for (size_t k = 0; k < n; k++)
		(*ret)[k] = idle[k].ino;
	free(idle);
	return n;
}
