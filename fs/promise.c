#include "promise.h"

#include "clock.h"

#define UNTOLD_MS 250  /* between open and read by who asked for nothing that came here */
#define TOLD_MS   5000 /* by who did */

struct promises {
	pthread_mutex_t lock;
	struct promise *first; /* under lock */
};

struct promise {
	struct promises *all;
	struct inode *inode;
	struct snapshot *snapshot;
	struct attr attr;
	pid_t reader;
	struct mono since;
	/* Under the lock of all. */
	bool told;
	struct promise *next, **link;
};

struct promises *promises_new(void)
{
	struct promises *all = xcalloc(1, sizeof(*all));

	pthread_mutex_init(&all->lock, NULL);
	return all;
}

void promises_free(struct promises *all)
{
	if (!all)
		return;
	pthread_mutex_destroy(&all->lock);
	free(all);
}

static void enlist(struct promise *p)
{
	struct promises *all = p->all;

	pthread_mutex_lock(&all->lock);
	p->next = all->first;
	p->link = &all->first;
	if (p->next)
		p->next->link = &p->next;
	all->first = p;
	pthread_mutex_unlock(&all->lock);
}

static void unlist(struct promise *p)
{
	pthread_mutex_lock(&p->all->lock);
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	pthread_mutex_unlock(&p->all->lock);
}

struct promise *promise_make(struct promises *all, struct tree *tree, struct inode *i, pid_t reader,
			     bool *ret_publish)
{
	struct promise *p = xcalloc(1, sizeof(*p));

	if (snapshot_take(tree, i->node, &p->snapshot, &p->attr) < 0) {
		free(p);
		return NULL;
	}
	p->all = all;
	p->inode = i;
	p->reader = reader;
	p->since = mono_now();
	enlist(p);
	*ret_publish = inode_promise(i, &p->attr);
	return p;
}

struct snapshot *promise_end(struct promise *p)
{
	struct snapshot *s = NULL;

	if (!p)
		return NULL;
	unlist(p);
	inode_promise_end(p->inode);
	if (mono_ms_since(p->since) <= (p->told ? TOLD_MS : UNTOLD_MS))
		s = snapshot_ref(p->snapshot);
	snapshot_unref(p->snapshot);
	free(p);
	return s;
}

/* The newest first: who opens twice asks for what he opened last. */
void promised_attr(struct promises *all, struct inode *i, pid_t reader, struct attr *ret)
{
	struct promise *p;

	pthread_mutex_lock(&all->lock);
	for (p = all->first; p && (p->inode != i || p->reader != reader); p = p->next)
		;
	if (p) {
		p->told = true;
		*ret = p->attr;
	}
	pthread_mutex_unlock(&all->lock);
}
