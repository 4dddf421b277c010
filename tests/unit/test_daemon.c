#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/test.h"
#include "clock.h"
#include "daemon.h"

/* Each test runs a program in a child, because signals concern whole processes. It says over a pipe
 * how far it is, one letter a step. */
static int steps[2];

static void step(char c)
{
	if (write(steps[1], &c, 1) != 1)
		_exit(99);
}

static pid_t start(void (*program)(void))
{
	pid_t pid;

	if (pipe(steps) < 0)
		abort();
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		alarm(30);
		if (daemon_init(5000, NULL) < 0)
			_exit(98);
		program();
		_exit(97);
	}
	close(steps[1]);
	return pid;
}

static char next_step(void)
{
	char c = 0;

	return read(steps[0], &c, 1) == 1 ? c : 0;
}

static int exit_status(pid_t pid)
{
	int status;

	waitpid(pid, &status, 0);
	close(steps[0]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void say_step(void *arg)
{
	step(*(const char *)arg);
}

static char at_stop = 's', at_hup = 'h';

static void wait_for_stop(void)
{
	daemon_on_stop(say_step, &at_stop);
	daemon_on_hup(say_step, &at_hup);
	step('r');
	daemon_wait();
	step(daemon_stopping() && daemon_stop_flag ? 'w' : '?');
	daemon_sleep_ms(30000);
	_exit(0);
}

TEST(sigterm_wakes_waiters_and_sleepers)
{
	pid_t pid = start(wait_for_stop);

	CHECK_EQ_INT(next_step(), 'r');
	kill(pid, SIGTERM);
	/* the hook and the waiter run on different threads */
	char a = next_step(), b = next_step();
	CHECK((a == 's' && b == 'w') || (a == 'w' && b == 's') || (a == 'w' && b == 0));
	CHECK_EQ_INT(exit_status(pid), 0);
}

TEST(sighup_runs_its_hook_and_stops_nothing)
{
	pid_t pid = start(wait_for_stop);

	CHECK_EQ_INT(next_step(), 'r');
	kill(pid, SIGHUP);
	CHECK_EQ_INT(next_step(), 'h');
	kill(pid, SIGHUP);
	CHECK_EQ_INT(next_step(), 'h');
	kill(pid, SIGINT);
	CHECK_EQ_INT(exit_status(pid), 0);
}

static void never_finish(void)
{
	daemon_on_stop(say_step, &at_stop);
	step('r');
	for (;;)
		pause();
}

TEST(a_second_signal_ends_the_process_at_once)
{
	pid_t pid = start(never_finish);

	CHECK_EQ_INT(next_step(), 'r');
	kill(pid, SIGINT);
	CHECK_EQ_INT(next_step(), 's');
	kill(pid, SIGTERM);
	CHECK_EQ_INT(exit_status(pid), 1);
}

static atomic_bool hook_begun;

static void take_a_while(void *arg)
{
	hook_begun = true;
	usleep(100 * 1000);
	step('h');
}

static void take_the_hook_back(void)
{
	daemon_on_stop(take_a_while, NULL);
	daemon_stop();
	while (!hook_begun)
		usleep(1000);
	daemon_on_stop(NULL, NULL);
	step('t');
	_exit(0);
}

TEST(a_hook_that_was_taken_back_does_not_run_any_more)
{
	pid_t pid = start(take_the_hook_back);

	CHECK_EQ_INT(next_step(), 'h');
	CHECK_EQ_INT(next_step(), 't');
	CHECK_EQ_INT(exit_status(pid), 0);
}

static void stop_from_inside(void)
{
	daemon_on_stop(say_step, &at_stop);
	daemon_stop();
	daemon_stop();
	daemon_wait();
	step('r');
	for (;;)
		pause();
}

TEST(a_stop_from_inside_runs_the_hook_once_and_counts_as_no_signal)
{
	pid_t pid = start(stop_from_inside);
	char a = next_step(), b = next_step();

	CHECK((a == 's' && b == 'r') || (a == 'r' && b == 's'));
	kill(pid, SIGTERM);
	kill(pid, SIGHUP);
	CHECK_EQ_INT(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGINT);
	CHECK_EQ_INT(next_step(), 0);
	CHECK_EQ_INT(exit_status(pid), 1);
}

static void report_deadline(void)
{
	int64_t before = daemon_drain_left_ms();

	if (before != 5000 || daemon_sleep_ms(1))
		_exit(1);
	daemon_stop();
	usleep(20000);
	_exit(daemon_drain_left_ms() > 4990 || daemon_drain_left_ms() < 1000 ? 2 : 0);
}

TEST(the_drains_deadline_runs_from_the_stop)
{
	CHECK_EQ_INT(exit_status(start(report_deadline)), 0);
}

static void write_to_nobody(void)
{
	int fds[2];

	if (pipe(fds) < 0)
		_exit(1);
	close(fds[0]);
	_exit(write(fds[1], "x", 1) == -1 && errno == EPIPE ? 0 : 2);
}

TEST(a_closed_pipe_is_an_error_and_no_signal)
{
	CHECK_EQ_INT(exit_status(start(write_to_nobody)), 0);
}

TEST(backoff_grows_to_its_maximum_and_stays_within)
{
	struct backoff b = {0};
	int64_t most = 0;

	for (int i = 0; i < 100; i++) {
		int64_t ceiling = MIN(10LL << MIN(i, 20), 1000), ms = backoff_next_ms(&b, 10, 1000);

		CHECK(ms >= ceiling / 2 && ms <= ceiling);
		most = MAX(most, ms);
	}
	CHECK(most > 900);
}
