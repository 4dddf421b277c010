#include "daemon.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "service.h"

/* Sent to the signal thread by daemon_stop, so that on_stop has one thread to run on. */
#define SIG_STOP_INSIDE SIGRTMIN

volatile bool daemon_stop_flag;

struct hook {
	void (*fn)(void *arg);
	void *arg;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* everything below but the hooks */
static pthread_cond_t stopped = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t hook_lock =
	PTHREAD_MUTEX_INITIALIZER;      /* held while a hook runs; taken first */
static struct hook stop_hook, hup_hook; /* under hook_lock */
static int64_t drain_ms;
static struct mono drain_end;
static bool started, stop_hook_ran;
static int stop_fd = -1; /* made by daemon_init */
static pthread_t thread;

static void call(const struct hook *place)
{
	pthread_mutex_lock(&hook_lock);
	if (place->fn)
		place->fn(place->arg);
	pthread_mutex_unlock(&hook_lock);
}

static void raise_flag(void)
{
	pthread_mutex_lock(&lock);
	if (!daemon_stopping()) {
		drain_end = mono_in_ms(drain_ms);
		__atomic_store_n(&daemon_stop_flag, true, __ATOMIC_RELEASE);
		if (stop_fd >= 0)
			eventfd_write(stop_fd, 1);
		pthread_cond_broadcast(&stopped);
	}
	pthread_mutex_unlock(&lock);
}

static bool first_run_of_stop_hook(void)
{
	bool first;

	pthread_mutex_lock(&lock);
	first = !stop_hook_ran;
	stop_hook_ran = true;
	pthread_mutex_unlock(&lock);
	return first;
}

static void *wait_for_signals(void *arg)
{
	const sigset_t *set = arg;
	const struct timespec pause = {LOG_PERIOD_MS / 1000, 0};
	int sig, terms = 0;

	for (;;) {
		sig = sigtimedwait(set, NULL, &pause);
		log_tell_suppressed(false);
		if (sig < 0)
			continue;
		if (sig == SIGHUP) {
			call(&hup_hook);
			continue;
		}
		if (sig != SIG_STOP_INSIDE && ++terms > 1)
			_exit(1);
		raise_flag();
		if (first_run_of_stop_hook()) {
			service_tell("STOPPING=1");
			call(&stop_hook);
		}
	}
	return NULL;
}

int daemon_init(int64_t shutdown_ms, struct err *e)
{
	static sigset_t set;
	int r;

	drain_ms = shutdown_ms;
	stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (stop_fd < 0)
		return err_set(e, -errno, "eventfd: %s", strerror(errno));
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIG_STOP_INSIDE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	r = pthread_create(&thread, NULL, wait_for_signals, &set);
	if (r)
		return err_set(e, -r, "signal thread: %s", strerror(r));
	pthread_setname_np(thread, "signals");
	pthread_detach(thread);
	started = true;
	return 0;
}

void daemon_set_drain(int64_t shutdown_ms)
{
	pthread_mutex_lock(&lock);
	drain_ms = shutdown_ms;
	pthread_mutex_unlock(&lock);
}

static void set_hook(struct hook *place, void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&hook_lock);
	*place = (struct hook){fn, arg};
	pthread_mutex_unlock(&hook_lock);
}

void daemon_on_stop(void (*fn)(void *arg), void *arg)
{
	set_hook(&stop_hook, fn, arg);
}

void daemon_on_hup(void (*fn)(void *arg), void *arg)
{
	set_hook(&hup_hook, fn, arg);
}

bool daemon_stopping(void)
{
	return __atomic_load_n(&daemon_stop_flag, __ATOMIC_ACQUIRE);
}

int daemon_stop_fd(void)
{
	return stop_fd;
}

void daemon_stop(void)
{
	raise_flag();
	if (started)
		pthread_kill(thread, SIG_STOP_INSIDE);
}

bool daemon_sleep_ms(int64_t ms)
{
	struct mono until = mono_in_ms(ms);
	struct timespec ts = {until.ns / NS_PER_SEC, until.ns % NS_PER_SEC};

	pthread_mutex_lock(&lock);
	while (!daemon_stopping() &&
	       pthread_cond_clockwait(&stopped, &lock, CLOCK_MONOTONIC, &ts) != ETIMEDOUT)
		continue;
	pthread_mutex_unlock(&lock);
	return daemon_stopping();
}

void daemon_wait(void)
{
	pthread_mutex_lock(&lock);
	while (!daemon_stopping())
		pthread_cond_wait(&stopped, &lock);
	pthread_mutex_unlock(&lock);
}

int64_t daemon_drain_left_ms(void)
{
	int64_t left;

	pthread_mutex_lock(&lock);
	left = daemon_stopping() ? mono_ms_until(drain_end) : drain_ms;
	pthread_mutex_unlock(&lock);
	return left;
}
