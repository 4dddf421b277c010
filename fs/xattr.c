#include "xattr.h"

#include "clock.h"

#include <inttypes.h>

static int get_unit(struct tree *t, struct node *n, struct strbuf *ret)
{
	const char *unit = NULL;
	int r = tree_unit(t, n, &unit);

	if (r == 0)
		strbuf_adds(ret, unit);
	return r;
}

static int get_rev(struct tree *t, struct node *n, struct strbuf *ret)
{
	struct attr a;
	int r = tree_attr(t, n, &a);

	if (r == 0)
		strbuf_addf(ret, "%" PRId64, a.revision);
	return r;
}

static int get_age(struct tree *t, struct node *n, struct strbuf *ret)
{
	struct attr a;
	int r = tree_attr(t, n, &a);

	if (r == 0 && a.mtime_ns == 0)
		r = -ENODATA;
	if (r == 0)
		strbuf_addf(ret, "%lld", MAX(0, wall_now_ns() - a.mtime_ns) / NS_PER_MS);
	return r;
}

static const struct {
	const char *name;
	int (*get)(struct tree *t, struct node *n, struct strbuf *ret);
	bool listed;
} xattrs[] = {
	{"user.gputel.unit", get_unit, true},
	{"user.gputel.rev", get_rev, false},
	{"user.gputel.age_ms", get_age, false},
};

int xattr_get(struct tree *t, struct node *n, const char *name, struct strbuf *ret)
{
	int r = -ENODATA;

	for (size_t i = 0; i < ARRAY_SIZE(xattrs); i++)
		if (!strcmp(xattrs[i].name, name))
			r = xattrs[i].get(t, n, ret);
	return r < 0 ? r : ret->err;
}

int xattr_list(struct tree *t, struct node *n, struct strbuf *ret)
{
	struct strbuf value;

	strbuf_init(&value, XATTR_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(xattrs); i++)
		if (xattrs[i].listed && xattrs[i].get(t, n, &value) == 0)
			strbuf_add(ret, xattrs[i].name, strlen(xattrs[i].name) + 1);
	strbuf_release(&value);
	return ret->err;
}
