#include "ops.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "background.h"
#include "dir.h"
#include "service.h"
#include "strbuf.h"
#include "touched.h"
#include "xattr.h"

#define MAX_BACKGROUND 256
#define LINK_MAX_BYTES 4096

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* A reference, or NULL and the request is answered. */
static struct inode *known(fuse_req_t req, fuse_ino_t ino)
{
	struct inode *i = inode_get(fs_of(req)->inodes, ino);

	if (!i)
		fuse_reply_err(req, inode_is_left(fs_of(req)->inodes, ino) ? EIO : ESTALE);
	return i;
}

/* The mount answers from now on. */
static void fs_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
	conn->time_gran = 1;
	background_ready(fs->ready_fd);
	fs->ready_fd = -1;
	service_tell("READY=1\nSTATUS=mounted");
}

/* ---- names and attributes ---------------------------------------------------------------------
 */

static void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct inode *dir = known(req, parent);

	if (!dir)
		return;
	if (events_own(fs->events, req))
		touched_lookup(fs, req, dir, name);
	else
		reply_lookup(fs, req, dir, name);
	inode_put(fs->inodes, dir);
}

static void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	inode_forget(fs_of(req)->inodes, ino, count);
	fuse_reply_none(req);
}

static void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		inode_forget(fs_of(req)->inodes, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* touched: the kernel takes such an answer whenever it comes, so it may not keep it (inode.h). */
static void reply_attr(fuse_req_t req, fuse_ino_t ino, bool touched)
{
	struct fs *fs = fs_of(req);
	struct inode *i = known(req, ino);
	struct attr a;
	struct stat st;
	double timeout;
	int r;

	if (!i)
		return;
	r = inode_attr(fs->inodes, i, &a, &timeout);
	if (r == 0)
		files_promised_attr(fs->files, i, fuse_req_ctx(req)->pid, &a);
	inode_put(fs->inodes, i);
	if (r < 0) {
		entry_error(req, r);
		return;
	}
	entry_stat(&fs->owner, &a, &st);
	fuse_reply_attr(req, &st, touched ? 0 : timeout);
}

static void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	reply_attr(req, ino, false);
}

static void fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct inode *i = known(req, ino);
	struct strbuf target;
	int r;

	if (!i)
		return;
	strbuf_init(&target, LINK_MAX_BYTES);
	r = tree_readlink(fs->tree, i->node, &target);
	inode_put(fs->inodes, i);
	if (r >= 0)
		r = target.err;
	if (r < 0)
		entry_error(req, r);
	else
		fuse_reply_readlink(req, target.s);
	strbuf_release(&target);
}

/* Nobody may write, root neither; nobody may execute a file. */
static void fs_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct fs *fs = fs_of(req);
	struct inode *i = known(req, ino);

	if (!i)
		return;
	if (mask & W_OK)
		fuse_reply_err(req, EROFS);
	else
		fuse_reply_err(req, mask & X_OK && i->type != NODE_DIR ? EACCES : 0);
	inode_put(fs->inodes, i);
}

static void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct tree_stats stats;
	struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = NAME_MAX_ENCODED};

	tree_stats(fs_of(req)->tree, &stats);
	st.f_files = stats.hosts + stats.gpus + stats.series + stats.segments;
	fuse_reply_statfs(req, &st);
}

static void reply_xattr(fuse_req_t req, int r, const struct strbuf *value, size_t size)
{
	if (r < 0)
		entry_error(req, r);
	else if (size == 0)
		fuse_reply_xattr(req, value->len);
	else if (size < value->len)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value->s, value->len);
}

static void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct inode *i = known(req, ino);
	struct strbuf value;
	int r;

	if (!i)
		return;
	strbuf_init(&value, XATTR_MAX);
	r = xattr_get(fs_of(req)->tree, i->node, name, &value);
	inode_put(fs_of(req)->inodes, i);
	reply_xattr(req, r, &value, size);
	strbuf_release(&value);
}

static void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct inode *i = known(req, ino);
	struct strbuf names;
	int r;

	if (!i)
		return;
	strbuf_init(&names, XATTR_MAX);
	r = xattr_list(fs_of(req)->tree, i->node, &names);
	inode_put(fs_of(req)->inodes, i);
	reply_xattr(req, r, &names, size);
	strbuf_release(&names);
}

/* ---- contents ---------------------------------------------------------------------------------
 */

/* A row file that may still grow is read past the page cache, which shows NULs while it grows; one
 * that is over keeps its pages from open to open. */
static void set_caching(const struct attr *a, struct fuse_file_info *fi)
{
	fi->direct_io = a->content != CONTENT_ROWS || a->live;
	fi->keep_cache = !fi->direct_io;
	fi->nonseekable = a->content == CONTENT_STREAM;
	fi->noflush = 1;
}

static void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct file *file = NULL;
	struct inode *i;
	struct attr a;
	int r;

	if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC) {
		fuse_reply_err(req, EROFS);
		return;
	}
	i = known(req, ino);
	if (!i)
		return;
	r = tree_attr(fs->tree, i->node, &a);
	if (r < 0) {
		entry_error(req, r);
	} else {
		inode_used(fs->inodes, i);
		set_caching(&a, fi);
		if (fi->direct_io)
			r = file_new(fs->files, i, fuse_req_ctx(req)->pid, &file);
		fi->fh = file_handle(file);
		if (r < 0)
			entry_error(req, r);
		else if (fuse_reply_open(req, fi) < 0)
			file_free(file);
	}
	inode_put(fs->inodes, i);
}

/* NULL: it has none; *ret_inode is a reference then, or NULL and the request is answered. */
static struct file *open_file(fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi,
			      struct inode **ret_inode)
{
	struct fs *fs = fs_of(req);
	struct file *file = file_of(fs->files, fi->fh);

	*ret_inode = file ? NULL : known(req, ino);
	if (!*ret_inode || fi->fh == 0)
		return file;
	file = file_adopt(fs->files, *ret_inode, fi->fh);
	if (file) {
		inode_put(fs->inodes, *ret_inode);
		*ret_inode = NULL;
	}
	return file;
}

static void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	struct inode *i;
	struct file *file = open_file(req, ino, fi, &i);

	if (file)
		file_read(file, req, size, offset, fi->flags & O_NONBLOCK);
	else if (i)
		row_reads_submit(fs_of(req)->reads, req, i, size, offset);
}

static void fs_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		    struct fuse_pollhandle *ph)
{
	struct inode *i;
	struct file *file = open_file(req, ino, fi, &i);

	if (file) {
		file_poll(file, req, fi->poll_events, ph);
		return;
	}
	if (i)
		fuse_reply_poll(req, fi->poll_events & (POLLIN | POLLRDNORM));
	inode_put(fs_of(req)->inodes, i);
	if (ph)
		fuse_pollhandle_destroy(ph);
}

static void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct files *files = fs_of(req)->files;
	uint64_t handle = fi->fh;

	/* In this order: what was not answered is asked again of a successor, who must not take the
	 * handle of another open file for this one. */
	fuse_reply_err(req, 0);
	file_release(files, handle);
}

/* ---- folders ----------------------------------------------------------------------------------
 */

static struct dir_reader reader(fuse_req_t req)
{
	struct fs *fs = fs_of(req);

	return (struct dir_reader){fs->tree, fs->inodes, &fs->owner};
}

static void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		       struct fuse_file_info *fi)
{
	struct dir_reader d = reader(req);
	struct inode *i = known(req, ino);

	if (i)
		dir_read(&d, req, i, size, offset);
	inode_put(d.inodes, i);
}

static void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			   struct fuse_file_info *fi)
{
	struct dir_reader d = reader(req);
	struct inode *i = known(req, ino);

	if (i)
		dir_read_plus(&d, req, i, size, offset);
	inode_put(d.inodes, i);
}

/* ---- whatever would change something -----------------------------------------------------------
 */

/* All that the toucher does comes here. */
static void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	if (events_own(fs_of(req)->events, req))
		reply_attr(req, ino, true);
	else
		fuse_reply_err(req, EROFS);
}

static void change_name(fuse_req_t req, fuse_ino_t parent, const char *name, enum touch_op op)
{
	struct fs *fs = fs_of(req);
	struct inode *dir;

	if (!events_own(fs->events, req)) {
		fuse_reply_err(req, EROFS);
		return;
	}
	dir = known(req, parent);
	if (dir)
		touched_change(fs, req, dir, name, op);
	inode_put(fs->inodes, dir);
}

static void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	change_name(req, parent, name, TOUCH_MAKE_FILE);
}

static void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	change_name(req, parent, name, TOUCH_MAKE_DIR);
}

static void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	change_name(req, parent, name, TOUCH_REMOVE_FILE);
}

static void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	change_name(req, parent, name, TOUCH_REMOVE_DIR);
}

static void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EROFS);
}

static void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned int flags)
{
	fuse_reply_err(req, EROFS);
}

static void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	fuse_reply_err(req, EROFS);
}

static void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	fuse_reply_err(req, EROFS);
}

static void fs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	fuse_reply_err(req, EROFS);
}

static void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	fuse_reply_err(req, EROFS);
}

static void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	fuse_reply_err(req, EROFS);
}

static void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	fuse_reply_err(req, EROFS);
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = fs_init,
	.lookup = fs_lookup,
	.forget = fs_forget,
	.forget_multi = fs_forget_multi,
	.getattr = fs_getattr,
	.readlink = fs_readlink,
	.access = fs_access,
	.statfs = fs_statfs,
	.getxattr = fs_getxattr,
	.listxattr = fs_listxattr,
	.open = fs_open,
	.read = fs_read,
	.poll = fs_poll,
	.release = fs_release,
	.readdir = fs_readdir,
	.readdirplus = fs_readdirplus,
	.setattr = fs_setattr,
	.mknod = fs_mknod,
	.mkdir = fs_mkdir,
	.unlink = fs_unlink,
	.rmdir = fs_rmdir,
	.symlink = fs_symlink,
	.rename = fs_rename,
	.link = fs_link,
	.create = fs_create,
	.write = fs_write,
	.fallocate = fs_fallocate,
	.setxattr = fs_setxattr,
	.removexattr = fs_removexattr,
};
