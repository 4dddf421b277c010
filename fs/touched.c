#include "touched.h"

/* Numbers of what is made up to be removed: above all of the tree's, which have 63 bits. */
#define GHOST_INO (1ULL << 63)

static void reply_entry(struct fs *fs, fuse_req_t req, struct inode *dir, const char *name,
			bool touched)
{
	struct fuse_entry_param e;
	struct inode *i;
	struct attr a;
	double timeout;
	int r = inode_lookup(fs->inodes, dir, name, &i, &a, &timeout);

	if (r < 0) {
		entry_error(req, r);
		return;
	}
	entry_param(&fs->owner, i, &a, touched ? 0 : timeout, &e);
	if (fuse_reply_entry(req, &e) < 0)
		inode_forget(fs->inodes, i->ino, 1);
	inode_put(fs->inodes, i);
}

void reply_lookup(struct fs *fs, fuse_req_t req, struct inode *dir, const char *name)
{
	reply_entry(fs, req, dir, name, false);
}

static char *path_in(const struct inode *dir, const char *name)
{
	return xasprintf("%s%s%s", dir->path, *dir->path ? "/" : "", name);
}

/* What has vanished from the tree: the inode that the kernel knows there, so that whoever watches
 * it is told; else one that lives until it is removed. */
static void reply_ghost(struct fs *fs, fuse_req_t req, const char *path, enum node_type type)
{
	struct attr a = {.type = type, .nlink = type == NODE_DIR ? 2 : 1};
	struct fuse_entry_param e = {.generation = 0};
	struct inode *i = inode_at(fs->inodes, path);

	a.ino = i ? i->ino : GHOST_INO | hash64(path, strlen(path), 0);
	e.ino = a.ino;
	entry_stat(&fs->owner, &a, &e.attr);
	if (i)
		inode_count_lookup(fs->inodes, i);
	if (fuse_reply_entry(req, &e) < 0 && i)
		inode_forget(fs->inodes, i->ino, 1);
	inode_put(fs->inodes, i);
}

/* On the way to something that he is to remove: a folder that has gone with it. */
static bool is_on_the_way(struct fs *fs, const struct inode *dir, const char *name,
			  const char *path)
{
	struct node *n;
	int r = tree_lookup(fs->tree, dir->node, name, &n);

	if (r == 0)
		node_unref(n);
	return r < 0 && inode_path_is_known(fs->inodes, path);
}

void touched_lookup(struct fs *fs, fuse_req_t req, struct inode *dir, const char *name)
{
	char *path = path_in(dir, name);

	if (events_expect(fs->events, TOUCH_MAKE_FILE, path) ||
	    events_expect(fs->events, TOUCH_MAKE_DIR, path))
		fuse_reply_err(req, ENOENT);
	else if (events_expect(fs->events, TOUCH_REMOVE_FILE, path))
		reply_ghost(fs, req, path, NODE_FILE);
	else if (events_expect(fs->events, TOUCH_REMOVE_DIR, path) ||
		 is_on_the_way(fs, dir, name, path))
		reply_ghost(fs, req, path, NODE_DIR);
	else
		reply_lookup(fs, req, dir, name);
	free(path);
}

void touched_change(struct fs *fs, fuse_req_t req, struct inode *dir, const char *name,
		    enum touch_op op)
{
	char *path = path_in(dir, name);

	if (!events_expect(fs->events, op, path))
		fuse_reply_err(req, EROFS);
	else if (op == TOUCH_MAKE_FILE || op == TOUCH_MAKE_DIR)
		reply_entry(fs, req, dir, name, true);
	else
		fuse_reply_err(req, 0);
	free(path);
}
