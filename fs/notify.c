#include "notify.h"

#include <stdio.h>
#include <unistd.h>

/* The kernel gets to know an inode within microseconds of the answer to its LOOKUP. */
#define RETRY_US    500
#define RETRIES_MAX 400

#define PAGE (int64_t)4096

/* What a group has to be looked through for; stored as the map's value. */
static char told_changed, told_removed;

struct notifier {
	struct inode_table *inodes;
	struct fuse_session *se;
	struct events *events;
	void (*on_published)(void *arg);
	void *arg;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* Under lock. */
	struct map told; /* key of an inode group → &told_changed or &told_removed */
	struct touches touches;
	int64_t revision;
	bool stopping;
};

/* What was told since the last round. */
struct news {
	struct map told;
	struct touches touches;
	int64_t revision;
};

/* One inode that is being published. */
struct publication {
	struct inode *inode; /* a reference */
	enum inode_change change;
	int64_t old_size;
};

struct round {
	struct publication *items;
	size_t count, cap;
};

/* ---- from the tree ----------------------------------------------------------------------------
 */

static void tell(struct notifier *n, const char *key, bool removed)
{
	size_t len = strlen(key);

	if (removed || !map_get(&n->told, key, len))
		map_put(&n->told, key, len, removed ? &told_removed : &told_changed);
}

static bool removes(enum change_kind kind)
{
	return kind == CHANGE_HOST_REMOVED || kind == CHANGE_GPU_REMOVED ||
	       kind == CHANGE_SEGMENT_REMOVED || kind == CHANGE_SERIES_REMOVED;
}

/* A folder goes with its last entry, so parents are told of removals too. */
static void tell_change(struct notifier *n, const struct change *c)
{
	char key[2 * NAME_MAX_ENCODED + 2];
	bool removed = removes(c->kind);

	tell(n, c->host, removed);
	if (!c->gpu)
		return;
	snprintf(key, sizeof(key), "%s/%s", c->host, c->gpu);
	tell(n, key, removed);
}

/* On the feeding thread, which may go on when inodes are gone already. */
static void on_changes(int64_t revision, const struct change *c, size_t count, void *arg)
{
	struct notifier *n = arg;

	pthread_mutex_lock(&n->lock);
	if (!n->stopping) {
		tell(n, "", false);
		for (size_t i = 0; i < count; i++)
			tell_change(n, &c[i]);
		touches_collect(&n->touches, n->inodes, c, count);
		n->revision = revision;
		pthread_cond_signal(&n->wake);
	}
	pthread_mutex_unlock(&n->lock);
}

/* ---- to the kernel ----------------------------------------------------------------------------
 */

static void round_add(struct round *r, struct publication p)
{
	if (r->count == r->cap) {
		r->cap = MAX(64, r->cap * 2);
		r->items = xrealloc(r->items, r->cap * sizeof(*r->items));
	}
	r->items[r->count++] = p;
}

/* Step 1 for one group. */
static void mark(struct notifier *n, struct round *r, const char *key, bool vanishing)
{
	struct inode **members;
	size_t count = inode_group_members(n->inodes, key, &members);

	for (size_t i = 0; i < count; i++) {
		struct publication p = {.inode = members[i]};

		p.change = inode_publish_begin(n->inodes, p.inode, vanishing, &p.old_size);
		if (p.change == INODE_SAME)
			inode_put(n->inodes, p.inode);
		else
			round_add(r, p);
	}
	free(members);
}

/* A row file's pages stay right up to the one that its old end lies in. */
static int64_t first_stale_byte(const struct publication *p)
{
	if (p->inode->type == NODE_DIR)
		return -1;
	return p->change == INODE_GONE ? 0 : p->old_size & -PAGE;
}

/* Step 2. False: the kernel is about to get to know it. The name of what has gone stays until its
 * watchers are told (events.h); whoever uses it meanwhile gets ESTALE and looks anew. */
static bool invalidate(struct notifier *n, const struct publication *p)
{
	const struct inode *i = p->inode;
	int r = fuse_lowlevel_notify_inval_inode(n->se, i->ino, first_stale_byte(p), 0);

	if (r == -ENOENT && inode_is_known(n->inodes, p->inode))
		return false;
	return true;
}

static void complete(struct notifier *n, const struct publication *p)
{
	inode_publish_end(p->inode);
	inode_put(n->inodes, p->inode);
}

/* Steps 2 and 3; what has to be tried again stays. */
static void publish(struct notifier *n, struct round *r, bool last)
{
	size_t left = 0;

	for (size_t k = 0; k < r->count; k++) {
		if (invalidate(n, &r->items[k]) || last)
			complete(n, &r->items[k]);
		else
			r->items[left++] = r->items[k];
	}
	r->count = left;
}

static void publish_all(struct notifier *n, struct map *told)
{
	struct round r = {0};

	map_each (told, k)
		mark(n, &r, told->entries[k].key, told->entries[k].value == &told_removed);
	for (int tries = 0; r.count > 0; tries++) {
		if (tries > 0)
			usleep(RETRY_US);
		publish(n, &r, tries == RETRIES_MAX);
	}
	free(r.items);
}

/* The kernel drops attributes without waiting for requests, as it would for pages. */
void notify_begun(struct fuse_session *se, struct inode *i)
{
	fuse_lowlevel_notify_inval_inode(se, i->ino, -1, 0);
	inode_publish_end(i);
}

void notify_ahead(struct fuse_session *se, struct inode *i, const struct attr *now)
{
	if (inode_publish_ahead(i, now))
		notify_begun(se, i);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static bool wait_news(struct notifier *n, struct news *ret)
{
	bool stopping;

	pthread_mutex_lock(&n->lock);
	while (!n->stopping && map_count(&n->told) == 0)
		pthread_cond_wait(&n->wake, &n->lock);
	*ret = (struct news){n->told, n->touches, n->revision};
	n->told = MAP_INIT;
	n->touches = (struct touches){0};
	stopping = n->stopping;
	pthread_mutex_unlock(&n->lock);
	return !stopping;
}

static void *run(void *arg)
{
	struct notifier *n = arg;
	struct news news;

	while (wait_news(n, &news)) {
		publish_all(n, &news.told);
		n->on_published(n->arg);
		events_add(n->events, &news.touches, news.revision);
		map_release(&news.told);
	}
	map_release(&news.told);
	touches_release(&news.touches);
	return NULL;
}

struct notifier *notifier_start(struct tree *tree, struct inode_table *inodes,
				struct fuse_session *se, struct events *events,
				void (*on_published)(void *arg), void *arg)
{
	struct notifier *n = xcalloc(1, sizeof(*n));

	n->inodes = inodes;
	n->se = se;
	n->events = events;
	n->on_published = on_published;
	n->arg = arg;
	n->told = MAP_INIT;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->wake, NULL);
	if (pthread_create(&n->thread, NULL, run, n)) {
		notifier_free(n);
		return NULL;
	}
	tree_watch(tree, on_changes, n);
	return n;
}

void notifier_stop(struct notifier *n)
{
	if (!n)
		return;
	pthread_mutex_lock(&n->lock);
	n->stopping = true;
	pthread_cond_signal(&n->wake);
	pthread_mutex_unlock(&n->lock);
	pthread_join(n->thread, NULL);
}

void notifier_free(struct notifier *n)
{
	if (!n)
		return;
	map_release(&n->told);
	touches_release(&n->touches);
	pthread_mutex_destroy(&n->lock);
	pthread_cond_destroy(&n->wake);
	free(n);
}
