#include "tail.h"

#define FRAME_TEXT_MAX (8 * TAIL_BYTES)

struct tail {
	int refs; /* atomic */
	char *path;
	struct node *node; /* the file that is being read; NULL: there is none any more */
	int64_t offset;
};

/* Paths are taken as they stand: whose "host/…" is decides who may read. What is in .at does not
 * grow, and looking there would wait. */
static bool may_exist(const char *path)
{
	if (strncmp(path + strspn(path, "/"), ".at/", 4) == 0)
		return false;
	for (; *path; path += strspn(path, "/")) {
		size_t n = strcspn(path, "/");

		if ((n == 1 || n == 2) && memcmp(path, "..", n) == 0)
			return false;
		path += n;
	}
	return true;
}

/* "", "host/…" or ".by-…": whose the first component is. */
static bool may_read(const char *path, const struct principal *who)
{
	char host[NAME_MAX_ENCODED + 1] = "";
	size_t n;

	path += strspn(path, "/");
	n = strcspn(path, "/");
	if (principal_may_read_all(who))
		return true;
	if (*path == '.' || n > NAME_MAX_ENCODED)
		return false;
	memcpy(host, path, n);
	return principal_may_read(who, host);
}

static int check_file(struct tree *t, struct node *n, int64_t offset, struct err *e)
{
	struct attr attr;
	int r = tree_attr(t, n, &attr);

	if (r)
		return err_set(e, r, "not to be had: %s", strerror(-r));
	if (attr.content != CONTENT_ROWS)
		return err_set(e, -EINVAL, "not a row file");
	if (offset < 0 || offset > attr.size)
		return err_set(e, -ERANGE, "offset %lld of a file of %lld bytes", (long long)offset,
			       (long long)attr.size);
	return 0;
}

int tail_new(struct tail **ret, struct tree *t, const char *path, int64_t offset,
	     const struct principal *who, struct err *e)
{
	struct tail *x;
	struct node *n;
	int r;

	if (!may_read(path, who))
		return err_set(e, -EACCES, "%s: not for this token", path);
	r = may_exist(path) ? tree_resolve(t, path, true, &n) : -ENOENT;
	if (r)
		return err_set(e, r, "%s: %s", path, strerror(-r));
	r = check_file(t, n, offset, e);
	if (r) {
		node_unref(n);
		return err_prefix(e, r, "%s", path);
	}
	x = xcalloc(1, sizeof(*x));
	*x = (struct tail){.refs = 1, .path = xstrdup(path), .node = n, .offset = offset};
	*ret = x;
	return 0;
}

struct tail *tail_ref(struct tail *t)
{
	__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
	return t;
}

void tail_unref(struct tail *t)
{
	if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
		return;
	node_unref(t->node);
	free(t->path);
	free(t);
}

static void begin(struct strbuf *out, const struct tail *t)
{
	strbuf_init(out, FRAME_TEXT_MAX);
	strbuf_adds(out, "{\"path\":");
	strbuf_add_json(out, t->path, strlen(t->path));
}

static int end(struct strbuf *out, int64_t revision, struct frame **ret)
{
	int r;

	strbuf_addc(out, '}');
	r = out->err;
	if (!r)
		*ret = frame_new(FRAME_FILE, revision, (struct slice){out->s, out->len});
	strbuf_release(out);
	return r ? r : 1;
}

/* Whole rows, as many as are there, so that no character is cut. */
static int read_rows(struct tail *t, struct tree *tree, const struct attr *attr, struct frame **ret)
{
	struct strbuf rows, out;
	char *last;
	int r;

	strbuf_init(&rows, TAIL_BYTES);
	r = tree_read_rows(tree, t->node, t->offset,
			   (size_t)MIN((int64_t)TAIL_BYTES, attr->size - t->offset), &rows);
	if (!r) {
		last = memrchr(rows.s, '\n', rows.len);
		strbuf_truncate(&rows, last ? (size_t)(last + 1 - rows.s) : rows.len);
		begin(&out, t);
		strbuf_addf(&out,
			    ",\"rev\":%lld,\"offset\":%lld,\"data\":", (long long)attr->revision,
			    (long long)t->offset);
		strbuf_add_json(&out, rows.s, rows.len);
		r = end(&out, attr->revision, ret);
		if (r == 1)
			t->offset += (int64_t)rows.len;
	}
	strbuf_release(&rows);
	return r;
}

static int say_gone(struct tail *t, struct frame **ret)
{
	struct strbuf out;

	node_unref(TAKE_PTR(t->node));
	begin(&out, t);
	strbuf_adds(&out, ",\"gone\":true");
	return end(&out, 0, ret);
}

static int say_rotated(struct tail *t, struct tree *tree, struct node *next, struct frame **ret)
{
	struct strbuf out, target;
	struct node *link;
	struct attr attr = {0};

	strbuf_init(&target, 4 * NAME_MAX_ENCODED);
	if (tree_resolve(tree, t->path, false, &link) == 0) {
		if (tree_readlink(tree, link, &target))
			strbuf_reset(&target);
		node_unref(link);
	}
	if (tree_attr(tree, next, &attr))
		attr.revision = 0;
	node_unref(t->node);
	t->node = node_ref(next);
	t->offset = 0;
	begin(&out, t);
	strbuf_addf(&out, ",\"rev\":%lld,\"rotated\":", (long long)attr.revision);
	strbuf_add_json(&out, target.len ? target.s : "", target.len);
	strbuf_release(&target);
	return end(&out, attr.revision, ret);
}

/* The file has been read, or has vanished: whether the path leads to another one by now. */
static int look_on(struct tail *t, struct tree *tree, bool vanished, struct frame **ret)
{
	struct node *next;
	int r = tree_resolve(tree, t->path, true, &next);

	if (r == -ENOENT)
		return vanished ? say_gone(t, ret) : 0;
	if (r)
		return r;
	if (node_ino(next) != node_ino(t->node))
		r = say_rotated(t, tree, next, ret);
	node_unref(next);
	return r;
}

int tail_next(struct tail *t, struct tree *tree, struct frame **ret)
{
	struct attr attr;
	int r;

	if (!t->node)
		return 0;
	r = tree_attr(tree, t->node, &attr);
	if (r == -ESTALE)
		return look_on(t, tree, true, ret);
	if (r)
		return r;
	if (t->offset < attr.size)
		return read_rows(t, tree, &attr, ret);
	return look_on(t, tree, false, ret);
}
