#include "dir.h"

#include "strbuf.h"

#define REPLY_MAX ((size_t)1 << 20)

/* Cookies below the smallest ino of an entry. */
enum { COOKIE_START, COOKIE_DOT, COOKIE_DOTDOT };

struct listing {
	fuse_req_t req;
	char *bytes;
	size_t size, len;
	bool plus;
	struct strbuf
		names; /* plus: 8 bytes of ino, name, NUL; looked up without the tree's lock */
};

static size_t entry_size(const struct listing *l, const char *name)
{
	return l->plus ? fuse_add_direntry_plus(l->req, NULL, 0, name, NULL, 0)
		       : fuse_add_direntry(l->req, NULL, 0, name, NULL, 0);
}

/* 1: no room. */
static int add_plain(struct listing *l, const char *name, uint64_t ino, mode_t type, off_t cookie)
{
	struct fuse_entry_param e = {.attr = {.st_ino = ino, .st_mode = type}};
	size_t n = entry_size(l, name);

	if (n > l->size - l->len)
		return 1;
	if (l->plus) /* with node id 0: says what a plain entry says */
		fuse_add_direntry_plus(l->req, l->bytes + l->len, n, name, &e, cookie);
	else
		fuse_add_direntry(l->req, l->bytes + l->len, n, name, &e.attr, cookie);
	l->len += n;
	return 0;
}

static int add_dots(struct listing *l, const struct inode *dir, off_t *cookie)
{
	if (*cookie < COOKIE_DOT && add_plain(l, ".", dir->ino, S_IFDIR, COOKIE_DOT))
		return 1;
	if (*cookie < COOKIE_DOTDOT && add_plain(l, "..", dir->parent, S_IFDIR, COOKIE_DOTDOT))
		return 1;
	*cookie = MAX(*cookie, COOKIE_DOTDOT);
	return 0;
}

static mode_t type_of(enum node_type type)
{
	return type == NODE_DIR ? S_IFDIR : type == NODE_LINK ? S_IFLNK : S_IFREG;
}

static int on_entry(const struct tree_entry *e, void *arg)
{
	struct listing *l = arg;

	return add_plain(l, e->name, e->attr.ino, type_of(e->attr.type), (off_t)e->attr.ino);
}

/* Under the tree's lock: notes the names that will fit. */
static int on_entry_plus(const struct tree_entry *e, void *arg)
{
	struct listing *l = arg;
	size_t n = entry_size(l, e->name);

	if (n > l->size)
		return 1;
	l->size -= n;
	strbuf_add(&l->names, &e->attr.ino, sizeof(e->attr.ino));
	strbuf_add(&l->names, e->name, strlen(e->name) + 1);
	return 0;
}

static void finish(struct listing *l, int r)
{
	if (r < 0)
		entry_error(l->req, r);
	else
		fuse_reply_buf(l->req, l->bytes, l->len);
	free(l->bytes);
}

void dir_read(const struct dir_reader *d, fuse_req_t req, struct inode *dir, size_t size,
	      off_t cookie)
{
	struct listing l = {.req = req, .size = MIN(size, REPLY_MAX)};
	int r;

	l.bytes = xmalloc(l.size);
	r = add_dots(&l, dir, &cookie);
	if (r == 0)
		r = tree_list(d->tree, dir->node, (uint64_t)cookie, on_entry, &l);
	finish(&l, r);
}

/* The size is given back that on_entry_plus had set aside. */
static void add_plus(const struct dir_reader *d, struct listing *l, struct inode *dir,
		     const char *name, uint64_t ino)
{
	size_t n = entry_size(l, name);
	struct fuse_entry_param e;
	struct inode *i;
	struct attr a;
	double timeout;
	int r = inode_lookup(d->inodes, dir, name, &i, &a, &timeout);

	l->size += n;
	if (r == -ENOENT)
		return;
	if (r < 0) {
		add_plain(l, name, ino, S_IFREG, (off_t)ino);
		return;
	}
	entry_param(d->owner, i, &a, timeout, &e);
	fuse_add_direntry_plus(l->req, l->bytes + l->len, n, name, &e, (off_t)ino);
	l->len += n;
	inode_put(d->inodes, i);
}

static void add_names(const struct dir_reader *d, struct listing *l, struct inode *dir)
{
	for (size_t at = 0; at < l->names.len;) {
		const char *name = l->names.s + at + sizeof(uint64_t);
		uint64_t ino;

		memcpy(&ino, l->names.s + at, sizeof(ino));
		at += sizeof(ino) + strlen(name) + 1;
		add_plus(d, l, dir, name, ino);
	}
}

void dir_read_plus(const struct dir_reader *d, fuse_req_t req, struct inode *dir, size_t size,
		   off_t cookie)
{
	struct listing l = {.req = req, .size = MIN(size, REPLY_MAX), .plus = true};
	int r;

	l.bytes = xmalloc(l.size);
	strbuf_init(&l.names, REPLY_MAX);
	r = add_dots(&l, dir, &cookie);
	l.size -= l.len;
	if (r == 0)
		r = tree_list(d->tree, dir->node, (uint64_t)cookie, on_entry_plus, &l);
	l.size += l.len;
	if (r >= 0)
		add_names(d, &l, dir);
	finish(&l, r);
	strbuf_release(&l.names);
}
