/* What is shown of an inode: its attributes as they were given last, and how that moves on. */
#include "inode_table.h"

#include "clock.h"

/* ---- attributes -------------------------------------------------------------------------------
 */

static bool looks_same(const struct attr *a, const struct attr *b)
{
	return a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns &&
	       a->nlink == b->nlink;
}

/* Whether everybody who has not begun to read what he opened was promised these. */
static bool is_promised(const struct inode *i, const struct attr *a)
{
	return i->promises == 0 || (!i->promises_differ && looks_same(&i->promised, a));
}

/* For how many seconds what is shown holds if no commit comes. */
static double stays_s(const struct inode *i, int64_t now_ns)
{
	const struct attr *a = &i->shown;

	if (!i->pushed)
		return (double)a->keep_ms / 1e3;
	if (a->until_ns == INT64_MAX)
		return INODE_CACHED_S;
	return MAX(0, (double)(a->until_ns - now_ns) / NS_PER_SEC);
}

int inode_attr(struct inode_table *t, struct inode *i, struct attr *ret, double *ret_timeout)
{
	int64_t now_ns = wall_now_ns();
	int r = 0;

	pthread_mutex_lock(&i->lock);
	if (!i->pushed || !i->has_shown || now_ns >= i->shown.until_ns)
		r = tree_attr(t->tree, i->node, &i->shown);
	if (r == 0) {
		i->has_shown = i->pushed;
		*ret = i->shown;
		*ret_timeout = i->publishing || !is_promised(i, ret) ? 0 : stays_s(i, now_ns);
	}
	pthread_mutex_unlock(&i->lock);
	return r;
}

int64_t inode_read_limit(struct inode *i)
{
	int64_t limit;

	pthread_mutex_lock(&i->lock);
	limit = i->has_shown ? i->shown.size : INT64_MAX;
	pthread_mutex_unlock(&i->lock);
	return limit;
}

/* ---- publishing -------------------------------------------------------------------------------
 */

size_t inode_group_members(struct inode_table *t, const char *key, struct inode ***ret)
{
	struct inode_group *g;
	size_t n = 0;

	*ret = NULL;
	pthread_mutex_lock(&t->lock);
	g = map_get_str(&t->groups, key);
	if (g) {
		*ret = xcalloc(g->count, sizeof(**ret));
		for (struct inode *i = g->first; i; i = i->next) {
			i->refs++;
			(*ret)[n++] = i;
		}
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

enum inode_change inode_publish_begin(struct inode_table *t, struct inode *i, bool vanishing,
				      int64_t *ret_old_size)
{
	enum inode_change change = INODE_SAME;
	struct attr now;
	int r;

	if (!i->pushed && !vanishing)
		return INODE_SAME;
	pthread_mutex_lock(&i->lock);
	if (i->has_shown || (vanishing && !i->gone)) {
		r = tree_attr(t->tree, i->node, &now);
		if ((r == -ESTALE || r == -ENOENT) && !i->gone)
			change = INODE_GONE;
		else if (r == 0 && i->has_shown && !looks_same(&i->shown, &now))
			change = INODE_CHANGED;
		i->gone = i->gone || change == INODE_GONE;
		i->publishing += change != INODE_SAME;
		*ret_old_size = i->has_shown ? i->shown.size : 0;
	}
	pthread_mutex_unlock(&i->lock);
	return change;
}

bool inode_publish_ahead(struct inode *i, const struct attr *now)
{
	bool differs;

	pthread_mutex_lock(&i->lock);
	differs = i->has_shown && !looks_same(&i->shown, now);
	i->publishing += differs;
	pthread_mutex_unlock(&i->lock);
	return differs;
}

bool inode_is_known(struct inode_table *t, struct inode *i)
{
	bool known;

	pthread_mutex_lock(&t->lock);
	known = i->lookups > 0;
	pthread_mutex_unlock(&t->lock);
	return known;
}

void inode_publish_end(struct inode *i)
{
	pthread_mutex_lock(&i->lock);
	i->has_shown = false;
	i->publishing--;
	pthread_mutex_unlock(&i->lock);
}

/* ---- promises ---------------------------------------------------------------------------------
 */

bool inode_promise(struct inode *i, const struct attr *a)
{
	bool differs;

	pthread_mutex_lock(&i->lock);
	differs = i->has_shown && !looks_same(&i->shown, a);
	i->publishing += differs;
	i->promises_differ =
		i->promises > 0 && (i->promises_differ || !looks_same(&i->promised, a));
	i->promised = *a;
	i->promises++;
	pthread_mutex_unlock(&i->lock);
	return differs;
}

void inode_promise_end(struct inode *i)
{
	pthread_mutex_lock(&i->lock);
	i->promises--;
	pthread_mutex_unlock(&i->lock);
}

bool inode_has_promises(struct inode *i)
{
	bool any;

	pthread_mutex_lock(&i->lock);
	any = i->promises > 0;
	pthread_mutex_unlock(&i->lock);
	return any;
}
