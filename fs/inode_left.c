/* Inodes that a predecessor gave out: known by number and path until somebody asks. */
#include "inode_table.h"

static void inherit(struct saved_inode *i, void *arg)
{
	struct inode_table *t = arg;

	map_put(&t->left, &i->ino, sizeof(i->ino), i);
}

void inode_table_inherit(struct inode_table *t)
{
	saved_each_inode(t->saved, inherit, t);
}

size_t inode_left(struct inode_table *t, uint64_t **ret)
{
	uint64_t *list;
	size_t n = 0;

	pthread_mutex_lock(&t->lock);
	list = xcalloc(map_count(&t->left) + 1, sizeof(*list));
	map_each (&t->left, k)
		memcpy(&list[n++], t->left.entries[k].key, sizeof(*list));
	pthread_mutex_unlock(&t->lock);
	*ret = list;
	return n;
}

bool inode_is_left(struct inode_table *t, uint64_t ino)
{
	bool left;

	pthread_mutex_lock(&t->lock);
	left = map_get(&t->left, &ino, sizeof(ino));
	pthread_mutex_unlock(&t->lock);
	return left;
}

void inode_forget_left(struct inode_table *t, uint64_t ino, uint64_t n)
{
	struct saved_inode *s = map_get(&t->left, &ino, sizeof(ino));

	if (!s)
		return;
	s->lookups -= MIN(n, s->lookups);
	if (s->lookups > 0)
		return;
	map_remove(&t->left, &ino, sizeof(ino));
	saved_inode_remove(t->saved, s);
}

/* The path that was left for it, to be freed; NULL: none. */
static char *path_of(struct inode_table *t, uint64_t ino)
{
	struct saved_inode *s;
	char *path;

	pthread_mutex_lock(&t->lock);
	s = map_get(&t->left, &ino, sizeof(ino));
	path = s ? xstrdup(s->path) : NULL;
	pthread_mutex_unlock(&t->lock);
	return path;
}

/* What is at the path now, if it is still that. -ESTALE: something else is, or nothing. */
static int find(struct inode_table *t, uint64_t ino, const char *path, struct node **ret,
		struct attr *ret_attr)
{
	int r = tree_resolve(t->tree, path, false, ret);

	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? -ESTALE : r;
	r = node_ino(*ret) == ino ? tree_attr(t->tree, *ret, ret_attr) : -ESTALE;
	if (r < 0)
		node_unref(*ret);
	return r;
}

static uint64_t parent_of(struct inode_table *t, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = xstrndup(path, slash ? (size_t)(slash - path) : 0);
	uint64_t ino = INODE_ROOT;
	struct node *node;

	if (tree_resolve(t->tree, dir, false, &node) == 0) {
		ino = node_ino(node);
		node_unref(node);
	}
	free(dir);
	return ino;
}

static void give_up(struct inode_table *t, uint64_t ino)
{
	pthread_mutex_lock(&t->lock);
	saved_inode_remove(t->saved, map_remove(&t->left, &ino, sizeof(ino)));
	pthread_mutex_unlock(&t->lock);
}

/* Somebody else may have found it meanwhile, or the kernel forgotten it. Takes path over. */
static struct inode *put_back(struct inode_table *t, uint64_t parent, char *path, struct node *node,
			      const struct attr *a)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = map_get(&t->by_ino, &a->ino, sizeof(a->ino));
	if (!i && map_get(&t->left, &a->ino, sizeof(a->ino)))
		i = inode_add(t, parent, TAKE_PTR(path), node, a);
	if (i)
		i->refs++;
	pthread_mutex_unlock(&t->lock);
	free(path);
	return i;
}

struct inode *inode_find_again(struct inode_table *t, uint64_t ino)
{
	char *path = path_of(t, ino);
	struct inode *i = NULL;
	struct node *node;
	uint64_t parent;
	struct attr a;
	int r;

	if (!path)
		return NULL;
	r = find(t, ino, path, &node, &a);
	if (r == 0) {
		parent = parent_of(t, path);
		i = put_back(t, parent, TAKE_PTR(path), node, &a);
		node_unref(node);
	} else if (r == -ESTALE) {
		give_up(t, ino);
	}
	free(path);
	return i;
}
