#include "tree_fixture.h"

#include "test.h"

#include <stdio.h>

const struct feed_row two[2] = {ROW(UTIL, "87", SEC(1)), ROW(TEMP, "41", SEC(1))};
const struct feed_row next[2] = {ROW(UTIL, "90", SEC(2)), ROW(TEMP, "42.5", SEC(2))};
const struct feed_row third[1] = {ROW(UTIL, "91", SEC(3))};

void begin(struct fixture *x)
{
	*x = (struct fixture){.rev = 10};
	feed_store_init(&x->store);
	x->f = feed_new("h1", "0", "GPU-aaaa");
	x->t = feed_tree(&x->store);
	tree_set_segment_length(x->t, HOUR);
	tree_list_begin(x->t);
	tree_list_end(x->t, x->rev);
}

void end(struct fixture *x)
{
	tree_free(x->t);
	feed_free(x->f);
	feed_store_release(&x->store);
}

struct feed_chunk *chunk(struct fixture *x, int64_t segment, int64_t seq,
			 const struct feed_row *rows, size_t n)
{
	return feed_chunk(&x->store, x->f, segment, seq, rows, n, 0, ++x->rev);
}

void commit(struct fixture *x)
{
	tree_commit(x->t, ++x->rev);
}

void store(struct fixture *x, const struct feed_chunk *c)
{
	feed_put_identity(x->t, x->f, x->rev);
	feed_put(x->t, c, true);
	commit(x);
}

struct feed_chunk *store_rows(struct fixture *x, int64_t segment, int64_t seq,
			      const struct feed_row *rows, size_t n)
{
	struct feed_chunk *c = chunk(x, segment, seq, rows, n);

	store(x, c);
	return c;
}

bool check_cat(struct tree *t, const char *path, const char *want)
{
	char *got = feed_cat(t, path, 0);
	bool ok = test_eq_bytes(slice_str(got), slice_str(want), __FILE__, __LINE__, path);

	free(got);
	return ok;
}

int attr_at(struct tree *t, const char *path, struct attr *ret)
{
	struct node *n = NULL;
	int r = tree_resolve(t, path, false, &n);

	if (!r)
		r = tree_attr(t, n, ret);
	node_unref(n);
	return r;
}

struct node *node_at(struct tree *t, const char *path)
{
	struct node *n = NULL;

	CHECK_EQ_INT(tree_resolve(t, path, false, &n), 0);
	return n;
}

/* ---- dumps: all that a tree shows ------------------------------------------------------------ */

struct dump {
	struct tree *t;
	struct strbuf *out;
	struct strbuf names; /* of the folder at hand, NUL-separated */
	const char *path;
};

static void dump_dir(struct tree *t, const char *path, struct strbuf *out);

static int dump_entry(const struct tree_entry *e, void *arg)
{
	struct dump *d = arg;
	bool meta = !strncmp(d->path, ".meta", 5) || !strcmp(e->name, "README") ||
		    !strcmp(e->name, ".meta");

	if (!strcmp(e->name, "status"))
		return 0;
	strbuf_addf(d->out, "%s/%s ino=%llx type=%d size=%lld nlink=%u mtime=%lld\n", d->path,
		    e->name, (unsigned long long)e->attr.ino, e->attr.type, (long long)e->attr.size,
		    e->attr.nlink, meta ? 0LL : (long long)e->attr.mtime_ns);
	strbuf_add(&d->names, e->name, strlen(e->name) + 1);
	return 0;
}

static void dump_content(struct tree *t, const char *path, struct node *n, const struct attr *a,
			 struct strbuf *out)
{
	char *text;

	if (a->type == NODE_DIR) {
		dump_dir(t, path, out);
	} else if (a->type == NODE_LINK) {
		struct strbuf target;

		strbuf_init(&target, 4096);
		CHECK_EQ_INT(tree_readlink(t, n, &target), 0);
		CHECK_EQ_INT((int64_t)target.len, a->size);
		strbuf_addf(out, "-> %s\n", target.s);
		strbuf_release(&target);
	} else {
		text = feed_cat(t, path, 0);
		if (!CHECK((int64_t)strlen(text) == a->size))
			fprintf(stderr, "%s: size %lld\n%s\n", path, (long long)a->size, text);
		strbuf_adds(out, text);
		free(text);
	}
}

static void dump_dir(struct tree *t, const char *path, struct strbuf *out)
{
	struct dump d = {t, out, {0}, path};
	struct node *dir = node_at(t, path), *n = NULL;
	struct attr a;

	strbuf_init(&d.names, 1 << 20);
	CHECK_EQ_INT(tree_list(t, dir, 0, dump_entry, &d), 0);
	for (size_t i = 0; i < d.names.len; i += strlen(d.names.s + i) + 1) {
		char *child = xasprintf("%s%s%s", path, path[0] ? "/" : "", d.names.s + i);

		if (CHECK(tree_lookup(t, dir, d.names.s + i, &n) == 0)) {
			CHECK_EQ_INT(tree_attr(t, n, &a), 0);
			dump_content(t, child, n, &a, out);
			node_unref(n);
		}
		free(child);
	}
	node_unref(dir);
	strbuf_release(&d.names);
}

char *dump(struct tree *t)
{
	struct strbuf out;

	strbuf_init(&out, 1 << 26);
	dump_dir(t, "", &out);
	return strbuf_take(&out);
}

void check_same(struct tree *a, struct tree *b)
{
	char *x = dump(a), *y = dump(b);

	CHECK_EQ_STR(x, y);
	free(x);
	free(y);
}
