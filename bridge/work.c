#include "work.h"

#include <pthread.h>

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *first, **tail; /* under lock */
	size_t waiting;
	bool stop;
	pthread_t *threads;
	unsigned n;
};

static struct job *take(struct pool *p)
{
	struct job *j;

	pthread_mutex_lock(&p->lock);
	while (!p->first && !p->stop)
		pthread_cond_wait(&p->wake, &p->lock);
	j = p->first;
	if (j) {
		p->first = j->next;
		if (!p->first)
			p->tail = &p->first;
		p->waiting--;
	}
	pthread_mutex_unlock(&p->lock);
	return j;
}

static void *work(void *arg)
{
	struct job *j;

	while ((j = take(arg)))
		j->run(j);
	return NULL;
}

struct pool *pool_start(unsigned threads)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	p->tail = &p->first;
	p->threads = xcalloc(threads, sizeof(*p->threads));
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	while (p->n < threads && pthread_create(&p->threads[p->n], NULL, work, p) == 0)
		pthread_setname_np(p->threads[p->n++], "work");
	if (p->n)
		return p;
	pool_stop(p);
	return NULL;
}

void pool_submit(struct pool *p, struct job *j)
{
	j->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->tail = j;
	p->tail = &j->next;
	p->waiting++;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

size_t pool_waiting(struct pool *p)
{
	size_t n;

	pthread_mutex_lock(&p->lock);
	n = p->waiting;
	pthread_mutex_unlock(&p->lock);
	return n;
}

void pool_stop(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p->threads);
	free(p);
}
