#include "loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "daemon.h"

#define WAKE_SIGNAL SIGUSR1
#define WAKE_US     5000

struct stopper {
	struct fuse_session *se;
	struct mountpoint *mountpoint;
	void (*on_stop)(void *arg);
	void *arg;
	pthread_t thread, loop;
	atomic_bool ended;
};

static void interrupt_sleep(int sig)
{
}

static void wake_by_signal(void)
{
	struct sigaction action = {.sa_handler = interrupt_sleep};

	sigemptyset(&action.sa_mask);
	sigaction(WAKE_SIGNAL, &action, NULL);
}

/* Again and again: the loop may be between looking at its flag and going to sleep. */
static void *stop(void *arg)
{
	struct stopper *s = arg;

	daemon_wait();
	if (!atomic_load(&s->ended))
		mountpoint_detach(s->mountpoint);
	s->on_stop(s->arg);
	fuse_session_exit(s->se);
	while (!atomic_load(&s->ended)) {
		pthread_kill(s->loop, WAKE_SIGNAL);
		usleep(WAKE_US);
	}
	return NULL;
}

static int run(struct fuse_session *se, unsigned threads)
{
	struct fuse_loop_config *c = fuse_loop_cfg_create();
	int r;

	if (!c)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(c, 0);
	fuse_loop_cfg_set_max_threads(c, threads);
	r = fuse_session_loop_mt(se, c);
	fuse_loop_cfg_destroy(c);
	return r < 0 ? r : 0;
}

int loop_run(struct fuse_session *se, struct mountpoint *m, unsigned threads,
	     void (*on_stop)(void *arg), void *arg, struct err *e)
{
	struct stopper s = {
		.se = se, .mountpoint = m, .on_stop = on_stop, .arg = arg, .loop = pthread_self()};
	int r;

	wake_by_signal();
	r = pthread_create(&s.thread, NULL, stop, &s);
	if (r)
		return err_set(e, -r, "stop thread: %s", strerror(r));
	r = run(se, threads);
	atomic_store(&s.ended, true);
	daemon_stop();
	pthread_join(s.thread, NULL);
	if (r < 0)
		return err_set(e, r, "%s: the connection failed: %s", m->path, strerror(-r));
	return 0;
}
