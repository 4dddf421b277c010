#include "prune.h"

#include "clock.h"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#define TICK_MS 1000
#define ROUND   5 /* ticks */
#define IDLE_MS 60000
/* Where very much is known, as after a find over everything, sooner. */
#define MANY         8192
#define IDLE_MANY_MS 3000
#define BATCH        512 /* numbers in one message */

#define NOTIFY_PRUNE 9

/* As in the kernel since protocol 7.45. */
struct prune_out {
	uint32_t count, padding;
	uint64_t spare;
};

struct pruner {
	struct inode_table *inodes;
	struct fuse_session *se;
	void (*on_tick)(void *arg);
	void *arg;
	bool refused; /* the kernel does not know the message */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping; /* under lock */
};

/* -EINVAL: not known there. */
static int send_prune(struct pruner *p, const uint64_t *list, size_t n)
{
	struct prune_out out = {.count = (uint32_t)n};
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + sizeof(out) + n * sizeof(*list)),
		.error = NOTIFY_PRUNE,
	};
	struct iovec iov[3] = {
		{&header, sizeof(header)}, {&out, sizeof(out)}, {(void *)list, n * sizeof(*list)}};

	return writev(fuse_session_fd(p->se), iov, 3) < 0 ? -errno : 0;
}

static void prune(struct pruner *p)
{
	int64_t idle_ms = inode_table_count(p->inodes) > MANY ? IDLE_MANY_MS : IDLE_MS;
	uint64_t *list;
	size_t n;

	if (p->refused)
		return;
	n = inode_idle(p->inodes, idle_ms, &list);
	for (size_t at = 0; at < n && !p->refused; at += BATCH)
		p->refused = send_prune(p, list + at, MIN(n - at, (size_t)BATCH)) == -EINVAL;
	free(list);
}

static void *run(void *arg)
{
	struct pruner *p = arg;

	pthread_mutex_lock(&p->lock);
	for (int tick = 1; !p->stopping; tick++) {
		struct mono until = mono_in_ms(TICK_MS);
		struct timespec ts = {until.ns / NS_PER_SEC, until.ns % NS_PER_SEC};
		int r = 0;

		while (!p->stopping && r == 0)
			r = pthread_cond_timedwait(&p->wake, &p->lock, &ts);
		pthread_mutex_unlock(&p->lock);
		p->on_tick(p->arg);
		if (tick % ROUND == 0)
			prune(p);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void pruner_free(struct pruner *p)
{
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

struct pruner *pruner_start(struct inode_table *inodes, struct fuse_session *se,
			    void (*on_tick)(void *arg), void *arg)
{
	struct pruner *p = xcalloc(1, sizeof(*p));
	pthread_condattr_t a;

	p->inodes = inodes;
	p->se = se;
	p->on_tick = on_tick;
	p->arg = arg;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &a);
	pthread_condattr_destroy(&a);
	if (pthread_create(&p->thread, NULL, run, p)) {
		pruner_free(p);
		return NULL;
	}
	return p;
}

void pruner_stop(struct pruner *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pruner_free(p);
}
