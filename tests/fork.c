/*
 * fork.c - children of a process with goroutines: they may exec or _exit, and are told so if they
 * try anything else. The parent does not mind.
 */
#include "harness.h"

#include "base/lock.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- a child, and what became of it ---------------------------------------------------------- */

struct child {
	pid_t pid;
	int from, status;
	char said[1024]; /* on stderr */
};

/* True: this is the child. */
static bool forked(struct child *c)
{
	const struct rlimit none = { 0, 0 };
	int fds[2];

	CHECK_EQ(pipe(fds), 0);
	c->pid = fork();
	CHECK(c->pid >= 0);
	if (c->pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
	}
	close(fds[1]);
	c->from = fds[0];
	return c->pid == 0;
}

static void collect(struct child *c)
{
	size_t n = 0;
	ssize_t got;

	while ((got = read(c->from, c->said + n, sizeof c->said - 1 - n)) > 0)
		n += (size_t)got;
	c->said[n] = 0;
	close(c->from);
	CHECK_EQ(waitpid(c->pid, &c->status, 0), c->pid);
}

static void check_exited(struct child *c, int status)
{
	collect(c);
	CHECK_STR(c->said, "");
	CHECK(WIFEXITED(c->status));
	CHECK_EQ(WEXITSTATUS(c->status), status);
}

static void check_told(struct child *c, const char *who)
{
	collect(c);
	if (!strstr(c->said, "in a forked child: ") || !strstr(c->said, who) ||
	    !strstr(c->said, ": only exec and _exit are possible there\n"))
		CHECK_STR(c->said, "what a forked child is told");
	CHECK(WIFSIGNALED(c->status));
	CHECK_EQ(WTERMSIG(c->status), SIGABRT);
}

/* ---- the rest of the program, meanwhile ------------------------------------------------------ */

static struct {
	uint32_t over; /* atomic */
	gort_waitgroup all;
	gort_chan *c;
	gort_mutex mutex;
} load;

static bool is_over(void)
{
	return __atomic_load_n(&load.over, __ATOMIC_SEQ_CST);
}

static void come_and_go(void *arg)
{
	(void)arg;
	gort_mutex_lock(&load.mutex);
	gort_yield();
	gort_mutex_unlock(&load.mutex);
}

static void start_others(void *arg)
{
	(void)arg;
	while (!is_over()) {
		gort_waitgroup some = { 0 };

		for (int i = 0; i < 10; i++)
			CHECK_EQ(gort_waitgroup_go(&some, come_and_go, NULL), 0);
		CHECK_EQ(gort_waitgroup_wait(&some), 0);
	}
}

static void sleep_and_send(void *arg)
{
	int n = 0;

	(void)arg;
	while (!is_over()) {
		CHECK_EQ(gort_sleep(50 * GORT_US), 0);
		n++;
		CHECK_EQ(gort_chan_send(load.c, &n), 0);
	}
	gort_chan_close(load.c);
}

static void receive(void *arg)
{
	int n, last = 0;

	(void)arg;
	while (gort_chan_recv(load.c, &n) == 0)
		CHECK_EQ(n, ++last);
}

static void load_start(void)
{
	load.c = gort_chan_make(sizeof(int), 0);
	CHECK_EQ(gort_waitgroup_go(&load.all, start_others, NULL), 0);
	CHECK_EQ(gort_waitgroup_go(&load.all, start_others, NULL), 0);
	CHECK_EQ(gort_waitgroup_go(&load.all, sleep_and_send, NULL), 0);
	CHECK_EQ(gort_waitgroup_go(&load.all, receive, NULL), 0);
}

static void load_end(void)
{
	__atomic_store_n(&load.over, 1, __ATOMIC_SEQ_CST);
	CHECK_EQ(gort_waitgroup_wait(&load.all), 0);
	gort_chan_release(load.c);
}

/* ---- what a child may do --------------------------------------------------------------------- */

// variants: maxprocs
TEST(children_exec_and_exit_while_goroutines_run)
{
	struct child c;

	load_start();
	for (int i = 0; i < SCALE(60); i++) {
		if (forked(&c))
			_exit(7);
		check_exited(&c, 7);
		gort_yield();
		if (forked(&c)) {
			execl("/bin/sh", "sh", "-c", "exit 3", (char *)NULL);
			_exit(127);
		}
		check_exited(&c, 3);
		gort_yield();
	}
	load_end();
}

static void fork_often(void *arg)
{
	struct child c;

	(void)arg;
	for (int i = 0; i < SCALE(40); i++) {
		if (forked(&c))
			_exit(5);
		check_exited(&c, 5);
	}
	gort_waitgroup_done(&load.all);
}

// variants: maxprocs
TEST(goroutines_and_guests_fork_at_once)
{
	struct guest *guests[2];

	load_start();
	for (int i = 0; i < 2; i++) {
		gort_waitgroup_add(&load.all, 2);
		guests[i] = guest_start(fork_often, NULL);
		CHECK_EQ(gort_go(fork_often, NULL), 0);
	}
	load_end();
	for (int i = 0; i < 2; i++)
		guest_join(guests[i]);
}

static pid_t vforked(void)
{
	pid_t pid = vfork(); /* NOLINT(*.vfork): what is tested */

	if (pid == 0)
		_exit(4);
	return pid;
}

static int spawned(void)
{
	char *const args[] = { "sh", "-c", "exit 6", NULL };
	int status;
	pid_t pid;

	CHECK_EQ(posix_spawn(&pid, "/bin/sh", NULL, NULL, args, environ), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

// variants: maxprocs
TEST(other_ways_to_start_a_process_work)
{
	char line[32];
	int status;
	FILE *f;
	pid_t pid;

	load_start();
	for (int i = 0; i < SCALE(20); i++) {
		pid = vforked();
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(WEXITSTATUS(status), 4);
		CHECK_EQ(WEXITSTATUS(spawned()), 6);
		CHECK_EQ(WEXITSTATUS(system("exit 2")), 2);
		f = popen("echo hello", "r");
		CHECK(f != NULL && fgets(line, sizeof line, f));
		CHECK_STR(line, "hello\n");
		CHECK_EQ(WEXITSTATUS(pclose(f)), 0);
		CHECK_EQ(gort_sleep(100 * GORT_US), 0);
	}
	load_end();
}

static void at_exit(void)
{
	_exit(9);
}

// not: asan
TEST(exit_is_the_programs_business)
{
	struct child c;

	if (forked(&c)) {
		atexit(at_exit);
		exit(3);
	}
	check_exited(&c, 9);
}

static int answer(void *arg)
{
	int n = 0;

	CHECK_EQ(gort_chan_recv(arg, &n), 0);
	return n;
}

static void send_42(void *arg)
{
	int n = 42;

	CHECK_EQ(gort_chan_send(arg, &n), 0);
}

static int run_something(void *arg)
{
	gort_chan *c = gort_chan_make(sizeof(int), 0);
	int n;

	(void)arg;
	CHECK_EQ(gort_go(send_42, c), 0);
	n = answer(c);
	gort_chan_release(c);
	return n;
}

/* Before, between and after runtimes a child is as good as its parent. */
TEST_PLAIN(children_of_a_process_without_a_runtime_may_have_one)
{
	struct child c;

	for (int i = 0; i < 3; i++) {
		if (forked(&c))
			_exit(gort_run(run_something, NULL, NULL));
		check_exited(&c, 42);
		CHECK_EQ(gort_run(run_something, NULL, NULL), 42);
	}
}

/* ---- what it may not ------------------------------------------------------------------------- */

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void nothing_much(void *arg)
{
	(void)arg;
}

static void check_nothing_starts(void)
{
	int n = 0;

	CHECK_EQ(gort_go(nothing_much, NULL), -ESRCH);
	CHECK_EQ(gort_go_copy(nothing_much, &n, sizeof n), -ESRCH);
	CHECK_EQ(gort_run(nothing, NULL, NULL), -ESRCH);
	CHECK_EQ(gort_start(NULL), -ESRCH);
	CHECK_EQ(gort_stop(), -ESRCH);
	CHECK_EQ(gort_signal_notify(load.c, SIGUSR1), -ESRCH);
	CHECK(gort_spawn(nothing, NULL, NULL) == NULL);
	CHECK(gort_timer_start(GORT_NOW, 0, nothing_much, NULL) == NULL);
	CHECK(gort_timer_start(GORT_NOW, 0, NULL, NULL) == NULL);
	CHECK(gort_after_chan(1) == NULL);
	CHECK_EQ(gort_self(), 0);
	CHECK(gort_now() > 0);
}

static void check_children_start_nothing(void *arg)
{
	struct child c;

	(void)arg;
	for (int i = 0; i < SCALE(50); i++) {
		if (forked(&c)) {
			check_nothing_starts();
			if (fork() == 0) /* and its child's child */
				check_nothing_starts();
			_exit(0);
		}
		check_exited(&c, 0);
	}
}

// variants: maxprocs
TEST(nothing_can_be_started_in_a_child)
{
	load_start();
	check_children_start_nothing(NULL);
	on_guest(check_children_start_nothing, NULL);
	load_end();
}

static void child_receives(void)
{
	gort_chan_recv(load.c, NULL);
}

static void child_sends(void)
{
	int n = 1;

	gort_chan_try_send(load.c, &n);
}

static void child_selects(void)
{
	gort_case cases[] = { GORT_CASE_RECV(load.c, NULL) };

	gort_select(cases, 1, GORT_NOW);
}

static void child_locks(void)
{
	gort_mutex_lock(&load.mutex);
	gort_mutex_lock(&load.mutex);
}

static void child_waits(void)
{
	gort_waitgroup_wait(&load.all);
}

static void child_sleeps(void)
{
	gort_sleep(1);
}

static void child_goes(void)
{
	gort_goexit();
}

static void child_panics(void)
{
	gort_panic("no");
}

static void child_makes(void)
{
	gort_chan_make(1, 1);
}

static void child_defers(void)
{
	gort_defer(nothing_much, NULL);
}

static void child_counts(void)
{
	gort_count();
}

static void child_tries(void)
{
	gort_try(nothing_much, NULL, NULL, 0);
	_exit(1);
}

static void check_children_are_told(void *arg)
{
	void (*const calls[])(void) = {
		child_receives, child_sends,  child_selects, child_locks,
		child_waits,    child_sleeps, child_goes,    child_panics,
		child_makes,    child_defers, child_counts,  gort_yield,
	};
	struct child c;

	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		if (forked(&c)) {
			calls[i]();
			_exit(1);
		}
		check_told(&c, arg);
	}
}

// variants: maxprocs
TEST(other_calls_end_a_child_with_a_word)
{
	load_start();
	gort_set_name("forker");
	check_children_are_told("goroutine 1 (forker)");
	on_guest(check_children_are_told, "a thread");
	load_end();
}

static void fork_and_return(void *arg)
{
	struct child *c = arg;

	if (!forked(c))
		check_told(c, "goroutine");
}

static void fork_and_return_to_defers(void *arg)
{
	CHECK_EQ(gort_defer(nothing_much, NULL), 0);
	fork_and_return(arg);
}

static void call_try(void *arg)
{
	CHECK_EQ(gort_try(fork_and_return, arg, NULL, 0), 0);
}

static void call_once(void *arg)
{
	static gort_once once;

	gort_once_do(&once, fork_and_return, arg);
}

static int fork_in_task(void *arg)
{
	fork_and_return(arg);
	return 0;
}

TEST(a_goroutine_cannot_end_in_a_child)
{
	void (*const ways[])(void *) = { fork_and_return, fork_and_return_to_defers, call_try,
					 call_once };
	struct child c;
	gort_task *t;

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		gort_waitgroup one = { 0 };

		CHECK_EQ(gort_waitgroup_go(&one, ways[i], &c), 0);
		CHECK_EQ(gort_waitgroup_wait(&one), 0);
	}
	t = gort_spawn(fork_in_task, &c, NULL);
	CHECK_EQ(gort_join(t, NULL), 0);
}

static int fork_in_main(void *arg)
{
	fork_and_return(arg);
	return 0;
}

TEST_PLAIN(main_cannot_return_in_a_child)
{
	struct child c;

	CHECK_EQ(gort_run(fork_in_main, &c, NULL), 0);
}

/* What is held by a thread that is not there is held for ever. */
static struct lock held; /* of gort's inner ones */
static uint32_t is_held; /* atomic */

static void hold(void *arg)
{
	lock_acquire(&held);
	__atomic_store_n(&is_held, 1, __ATOMIC_SEQ_CST);
	CHECK_EQ(gort_chan_recv(arg, NULL), 0);
	lock_release(&held);
}

TEST(a_child_does_not_wait_for_a_lock_of_threads_that_are_not_there)
{
	gort_chan *over = gort_chan_make(0, 1);
	struct guest *guest = guest_start(hold, over);
	struct child c;

	EVENTUALLY(__atomic_load_n(&is_held, __ATOMIC_SEQ_CST));
	if (forked(&c)) {
		lock_acquire(&held);
		_exit(1);
	}
	check_told(&c, "goroutine 1");
	CHECK_EQ(gort_chan_send(over, NULL), 0);
	guest_join(guest);
	gort_chan_release(over);
}

/* A try that the child makes itself may come back: it has nothing of the parent's. */
TEST(a_childs_own_try_is_told_of_at_its_end_at_the_latest)
{
	struct child c;

	if (forked(&c))
		child_tries();
	collect(&c);
	CHECK(WIFEXITED(c.status) || WTERMSIG(c.status) == SIGABRT);
}

/* ---- signals --------------------------------------------------------------------------------- */

static void (*handler_of(int signo))(int)
{
	struct sigaction now;

	CHECK_EQ(sigaction(signo, NULL, &now), 0);
	return now.sa_handler;
}

TEST(signals_in_a_child_are_what_they_were_before_they_were_watched)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);
	struct child child;
	int signo = 0;

	signal(SIGHUP, SIG_IGN);
	CHECK_EQ(gort_signal_notify(c, SIGHUP), 0);
	CHECK_EQ(gort_signal_notify(c, SIGTERM), 0);
	if (forked(&child)) {
		CHECK(handler_of(SIGHUP) == SIG_IGN);
		CHECK(handler_of(SIGTERM) == SIG_DFL);
		execl("/bin/sh", "sh", "-c", "kill -HUP $$; exit 8", (char *)NULL);
		_exit(127);
	}
	check_exited(&child, 8);
	if (forked(&child)) {
		raise(SIGTERM);
		_exit(1);
	}
	collect(&child);
	CHECK(WIFSIGNALED(child.status));
	CHECK_EQ(WTERMSIG(child.status), SIGTERM);
	raise(SIGHUP); /* here all is as it was */
	CHECK_EQ(gort_chan_recv(c, &signo), 0);
	CHECK_EQ(signo, SIGHUP);
	CHECK_EQ(gort_signal_stop(c), 0);
	gort_chan_release(c);
}

static volatile char *volatile nowhere;

static void touch_nothing(void)
{
	*nowhere = 1;
}

// not: asan tsan valgrind
TEST(a_fault_in_a_child_has_the_default_action)
{
	struct child c;

	if (forked(&c))
		touch_nothing();
	collect(&c);
	CHECK(WIFSIGNALED(c.status));
	CHECK_EQ(WTERMSIG(c.status), SIGSEGV);
}
