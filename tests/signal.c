/*
 * signal.c - signals as values on channels; and signals of all kinds that come while goroutines
 * run.
 *
 * ThreadSanitizer hands a signal on when its thread next calls libc, which one that idles in gort
 * does not. So cases that it is to run send signals to the calling thread (raise).
 */
#include "harness.h"

#include "base/alloc.h"
#include "sched/signals.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static gort_chan *notified(size_t capacity, int signo)
{
	gort_chan *c = gort_chan_make(sizeof(int), capacity);

	CHECK_EQ(gort_signal_notify(c, signo), 0);
	return c;
}

static void done_with(gort_chan *c)
{
	CHECK_EQ(gort_signal_stop(c), 0);
	gort_chan_release(c);
}

static int next(gort_chan *c)
{
	int signo = -1;

	CHECK_EQ(gort_chan_recv(c, &signo), 0);
	return signo;
}

static struct sigaction action_of(int signo)
{
	struct sigaction now;

	CHECK_EQ(sigaction(signo, NULL, &now), 0);
	return now;
}

static void set_action(int signo, void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK };

	CHECK_EQ(sigaction(signo, &sa, NULL), 0);
}

/* For storms: qemu's user mode calls the address SIG_IGN if that takes a handler's place just when the
 * handler is to be called. */
static void does_nothing(int signo)
{
	(void)signo;
}

/* A process of its own, its exit status as wait gives it. No runtime runs. */
static int in_child(int (*fn)(void *))
{
	struct rlimit none = { 0, 0 };
	pid_t pid = fork();
	int status = 0;

	CHECK(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		_exit(gort_run(fn, NULL, NULL));
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/* ---- what arrives ---------------------------------------------------------------------------- */

// variants: maxprocs
TEST(a_signal_arrives)
{
	gort_chan *c = notified(1, SIGUSR1);

	for (int i = 0; i < SCALE(1000); i++) {
		raise(SIGUSR1);
		CHECK_EQ(next(c), SIGUSR1);
	}
	done_with(c);
}

TEST(sigint_arrives_again_and_again)
{
	gort_chan *c = notified(1, SIGINT);

	raise(SIGINT);
	CHECK_EQ(next(c), SIGINT);
	raise(SIGINT);
	CHECK_EQ(next(c), SIGINT);
	done_with(c);
}

// variants: maxprocs
// not: tsan
TEST(a_signal_to_the_process_wakes_a_goroutine_while_all_is_idle)
{
	const struct itimerval soon = { .it_value = { 0, 2000 } };
	gort_chan *c = notified(1, SIGALRM);

	for (int i = 0; i < SCALE(100); i++) {
		CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
		CHECK_EQ(next(c), SIGALRM);
	}
	done_with(c);
}

// Valgrind keeps some of them.
// not: qemu valgrind
TEST(real_time_signals_arrive)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);

	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++) {
		if (signo == SIGRTMAX - 2) { /* gort's own */
			CHECK_EQ(gort_signal_notify(c, signo), -EINVAL);
			continue;
		}
		CHECK_EQ(gort_signal_notify(c, signo), 0);
		raise(signo);
		CHECK_EQ(next(c), signo);
	}
	done_with(c);
}

TEST(one_channel_watches_several_signals)
{
	gort_chan *c = notified(2, SIGUSR1);

	CHECK_EQ(gort_signal_notify(c, SIGUSR2), 0);
	CHECK_EQ(gort_signal_notify(c, SIGUSR2), 0); /* once more is the same */
	raise(SIGUSR2);
	CHECK_EQ(next(c), SIGUSR2);
	raise(SIGUSR1);
	CHECK_EQ(next(c), SIGUSR1);
	CHECK_EQ(gort_chan_len(c), 0);
	done_with(c);
	CHECK(action_of(SIGUSR1).sa_handler == SIG_DFL);
	CHECK(action_of(SIGUSR2).sa_handler == SIG_DFL);
}

TEST(several_channels_watch_one_signal)
{
	gort_chan *c[3];

	for (int i = 0; i < 3; i++)
		c[i] = notified(1, SIGUSR1);
	for (int i = 0; i < 3; i++) {
		raise(SIGUSR1);
		for (int k = i; k < 3; k++)
			CHECK_EQ(next(c[k]), SIGUSR1);
		done_with(c[i]);
	}
}

/* Who came first to a signal is served first: so what the last has, the others have been offered. */
TEST(a_full_channel_drops)
{
	gort_chan *c = notified(1, SIGUSR1), *last;

	CHECK_EQ(gort_signal_notify(c, SIGUSR2), 0);
	last = notified(1, SIGUSR1);
	CHECK_EQ(gort_signal_notify(last, SIGUSR2), 0);
	raise(SIGUSR1);
	CHECK_EQ(next(last), SIGUSR1);
	raise(SIGUSR2);
	CHECK_EQ(next(last), SIGUSR2);
	CHECK_EQ(gort_chan_len(c), 1);
	CHECK_EQ(next(c), SIGUSR1);
	raise(SIGUSR2);
	CHECK_EQ(next(c), SIGUSR2);
	done_with(last);
	done_with(c);
}

TEST(without_a_buffer_only_who_waits_is_told)
{
	gort_chan *c = notified(0, SIGUSR1), *last = notified(1, SIGUSR1);
	int signo = 0;

	raise(SIGUSR1);
	CHECK_EQ(next(last), SIGUSR1);
	CHECK_EQ(gort_chan_try_recv(c, &signo), -EAGAIN);
	done_with(last);
	done_with(c);
}

TEST(a_closed_channel_drops)
{
	gort_chan *c = notified(1, SIGUSR1), *last = notified(1, SIGUSR1);
	int signo = -1;

	gort_chan_close(c);
	raise(SIGUSR1);
	CHECK_EQ(next(last), SIGUSR1);
	CHECK_EQ(gort_chan_recv(c, &signo), -EPIPE);
	done_with(last);
	done_with(c);
}

TEST(a_channel_is_held_while_it_watches)
{
	gort_chan *c = notified(1, SIGUSR1);

	gort_chan_release(c); /* the caller's reference; that of the watcher is left */
	raise(SIGUSR1);
	CHECK_EQ(next(c), SIGUSR1);
	CHECK_EQ(gort_signal_stop(c), 0);
}

static void wait_for_one(void *arg)
{
	gort_chan *c = arg;

	CHECK_EQ(next(c), SIGUSR1);
}

TEST(guests_watch_and_wait_as_well)
{
	gort_chan *c = notified(1, SIGUSR1);

	raise(SIGUSR1);
	on_guest(wait_for_one, c);
	done_with(c);
}

static void notify_and_stop(void *arg)
{
	(void)arg;
	for (int i = 0; i < SCALE(200); i++) {
		gort_chan *c = notified(1, SIGUSR1);

		raise(SIGUSR1);
		CHECK_EQ(next(c), SIGUSR1);
		done_with(c);
	}
}

/* The first notify makes gort's thread: all may be the first. */
// variants: maxprocs
TEST(many_watch_at_once)
{
	struct guest *guests[3];
	gort_waitgroup all = { 0 };

	set_action(SIGUSR1, does_nothing);
	for (int i = 0; i < 3; i++) {
		guests[i] = guest_start(notify_and_stop, NULL);
		CHECK_EQ(gort_waitgroup_go(&all, notify_and_stop, NULL), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	for (int i = 0; i < 3; i++)
		guest_join(guests[i]);
	CHECK(action_of(SIGUSR1).sa_handler == does_nothing);
}

static void cancel_on_signal(void *arg)
{
	gort_ctx *ctx = ((void **)arg)[0];
	gort_chan *c = ((void **)arg)[1];

	next(c);
	gort_ctx_cancel(ctx, -EINTR);
	gort_ctx_release(ctx);
}

TEST(a_signal_cancels_a_context)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	gort_chan *c = notified(1, SIGTERM);
	void *both[] = { gort_ctx_retain(ctx), c };

	CHECK_EQ(gort_go(cancel_on_signal, both), 0);
	raise(SIGTERM);
	CHECK_EQ(gort_chan_recv(gort_ctx_done(ctx), NULL), -EPIPE);
	CHECK_EQ(gort_ctx_cause(ctx), -EINTR);
	gort_ctx_release(ctx);
	done_with(c);
}

/* ---- nothing is lost ------------------------------------------------------------------------- */

struct lane {
	int signo;
	uint32_t sent, seen; /* atomic */
	gort_chan *c;
	gort_waitgroup *senders;
};

static void follow(void *arg)
{
	struct lane *l = arg;
	int signo;

	while (gort_chan_recv(l->c, &signo) == 0) {
		CHECK_EQ(signo, l->signo);
		__atomic_store_n(&l->seen, __atomic_load_n(&l->sent, __ATOMIC_SEQ_CST),
				 __ATOMIC_SEQ_CST);
	}
}

static void send_and_wait(void *arg)
{
	struct lane *l = arg;
	uint32_t n = SCALE(5000);

	for (uint32_t i = 1; i <= n; i++) {
		__atomic_store_n(&l->sent, i, __ATOMIC_SEQ_CST);
		raise(l->signo);
		for (int k = 0; k < 100 && __atomic_load_n(&l->seen, __ATOMIC_SEQ_CST) < i; k++)
			sched_yield();
		EVENTUALLY(__atomic_load_n(&l->seen, __ATOMIC_SEQ_CST) >= i);
	}
	gort_waitgroup_done(l->senders);
}

/* Each thread waits until somebody has been woken since its last signal. */
// variants: maxprocs
TEST(no_signal_is_lost_while_others_are_delivered)
{
	struct lane lanes[3] = { 0 };
	const int signals[] = { SIGUSR1, SIGUSR2, SIGRTMIN + 3 };
	gort_waitgroup senders = { 0 };
	struct guest *guests[3];

	gort_waitgroup_add(&senders, 3);
	for (int i = 0; i < 3; i++) {
		lanes[i].signo = signals[i];
		lanes[i].c = notified(1, lanes[i].signo);
		lanes[i].senders = &senders;
		CHECK_EQ(gort_go(follow, &lanes[i]), 0);
		guests[i] = guest_start(send_and_wait, &lanes[i]);
	}
	CHECK_EQ(gort_waitgroup_wait(&senders), 0);
	for (int i = 0; i < 3; i++) {
		guest_join(guests[i]);
		CHECK_EQ(gort_signal_stop(lanes[i].c), 0);
		gort_chan_close(lanes[i].c);
	}
	EVENTUALLY(gort_count() == 1);
	for (int i = 0; i < 3; i++)
		gort_chan_release(lanes[i].c);
}

/* ---- what is refused ------------------------------------------------------------------------- */

TEST(what_cannot_be_watched_is_refused)
{
	const int none[] = { SIGKILL,      SIGSTOP, SIGSEGV, SIGBUS,       SIGURG,    32,
			     SIGRTMIN - 1, 0,       -1,      SIGRTMAX + 1, INT32_MAX, INT32_MIN };
	gort_chan *c = gort_chan_make(sizeof(int), 1), *wide = gort_chan_make(sizeof(int64_t), 1);

	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
		CHECK_EQ(gort_signal_notify(c, none[i]), -EINVAL);
	CHECK_EQ(gort_signal_notify(wide, SIGUSR1), -EINVAL);
	CHECK_EQ(gort_signal_notify(NULL, SIGUSR1), -EINVAL);
	CHECK_EQ(gort_signal_stop(NULL), -EINVAL);
	CHECK_EQ(gort_signal_stop(c), -ENOENT);
	CHECK_EQ(gort_signal_notify(c, SIGUSR1), 0);
	CHECK_EQ(gort_signal_stop(c), 0);
	CHECK_EQ(gort_signal_stop(c), -ENOENT);
	CHECK(action_of(SIGUSR1).sa_handler == SIG_DFL);
	gort_chan_release(wide);
	gort_chan_release(c);
}

TEST_PLAIN(without_a_runtime_there_is_nobody_to_tell)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);

	CHECK_EQ(gort_signal_notify(c, SIGUSR1), -ESRCH);
	CHECK_EQ(gort_signal_notify(c, SIGKILL), -EINVAL);
	CHECK_EQ(gort_signal_stop(c), -ENOENT);
	gort_chan_release(c);
}

TEST(out_of_memory_is_said)
{
	gort_chan *first = notified(1, SIGUSR2), *c;
	int err;

	for (uint32_t n = 1;; n++) {
		c = gort_chan_make(sizeof(int), 1);
		mem_fail_after(n);
		err = gort_signal_notify(c, SIGUSR1);
		mem_fail_after(0);
		if (err == 0)
			break;
		CHECK_EQ(err, -ENOMEM);
		CHECK(action_of(SIGUSR1).sa_handler == SIG_DFL);
		CHECK_EQ(gort_signal_stop(c), -ENOENT);
		gort_chan_release(c);
	}
	done_with(c);
	done_with(first);
}

/* ---- what was there before ------------------------------------------------------------------- */

static void some_handler(int signo)
{
	(void)signo;
}

static void some_info(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	(void)context;
}

/* Only what is compared may be set: libc adds flags of its own. */
static void check_same(const struct sigaction *a, const struct sigaction *b)
{
	CHECK_EQ(a->sa_flags, b->sa_flags);
	if (a->sa_flags & SA_SIGINFO)
		CHECK(a->sa_sigaction == b->sa_sigaction);
	else
		CHECK(a->sa_handler == b->sa_handler);
	for (int i = 1; i < SIGRTMAX; i++)
		CHECK_EQ(sigismember(&a->sa_mask, i), sigismember(&b->sa_mask, i));
}

TEST(what_was_installed_before_comes_back)
{
	struct sigaction kinds[] = {
		{ .sa_handler = SIG_DFL },
		{ .sa_handler = SIG_IGN },
		{ .sa_handler = some_handler, .sa_flags = SA_NODEFER },
		{ .sa_sigaction = some_info, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART },
	};

	sigaddset(&kinds[3].sa_mask, SIGTERM);
	sigaddset(&kinds[3].sa_mask, SIGUSR2);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		struct sigaction before, now;
		gort_chan *a, *b;

		CHECK_EQ(sigaction(SIGUSR1, &kinds[i], NULL), 0);
		before = action_of(SIGUSR1);
		a = notified(1, SIGUSR1);
		b = notified(1, SIGUSR1);
		now = action_of(SIGUSR1);
		CHECK_EQ(now.sa_flags & (SA_ONSTACK | SA_RESTART), SA_ONSTACK | SA_RESTART);
		done_with(a);
		CHECK(action_of(SIGUSR1).sa_sigaction == now.sa_sigaction);
		raise(SIGUSR1);
		CHECK_EQ(next(b), SIGUSR1);
		done_with(b);
		now = action_of(SIGUSR1);
		check_same(&now, &before);
	}
}

TEST(who_has_replaced_ours_stays)
{
	gort_chan *c = notified(1, SIGUSR1);

	set_action(SIGUSR1, some_handler);
	raise(SIGUSR1);
	done_with(c);
	CHECK(action_of(SIGUSR1).sa_handler == some_handler);
	c = notified(1, SIGUSR1); /* goes in front of it */
	raise(SIGUSR1);
	CHECK_EQ(next(c), SIGUSR1);
	done_with(c);
	CHECK(action_of(SIGUSR1).sa_handler == some_handler);
}

static int interrupted_twice(void *arg)
{
	gort_chan *c = notified(1, SIGINT);

	(void)arg;
	raise(SIGINT);
	CHECK_EQ(next(c), SIGINT);
	done_with(c);
	raise(SIGINT);
	return 1;
}

TEST_PLAIN(after_stop_the_default_action_follows_again)
{
	int status = in_child(interrupted_twice);

	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGINT);
}

static int trapped(void *arg)
{
	static const int traps[] = { SIGILL, SIGTRAP };

	(void)arg;
	for (int i = 0; i < 2; i++) {
		gort_chan *c = notified(1, traps[i]); /* it stays */

		raise(traps[i]);
		CHECK_EQ(next(c), traps[i]);
	}
	__builtin_trap();
}

TEST_PLAIN(faults_of_the_programs_own_are_no_news)
{
	int status = in_child(trapped);

	CHECK(WIFSIGNALED(status));
	CHECK(WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGTRAP);
}

TEST(errno_is_kept)
{
	gort_chan *c = notified(1, SIGUSR1);

	for (int i = 0; i < 100; i++) {
		errno = 77;
		raise(SIGUSR1);
		CHECK_EQ(errno, 77);
		next(c);
	}
	done_with(c);
}

/* ---- stop, and the end ----------------------------------------------------------------------- */

static uint32_t storm_over; /* atomic */

static void storm(void *arg)
{
	while (!__atomic_load_n(&storm_over, __ATOMIC_SEQ_CST)) {
		raise(SIGUSR1);
		sched_yield();
	}
	(void)arg;
}

static struct guest *storm_start(void)
{
	__atomic_store_n(&storm_over, 0, __ATOMIC_SEQ_CST);
	return guest_start(storm, NULL);
}

static void storm_end(struct guest *g)
{
	__atomic_store_n(&storm_over, 1, __ATOMIC_SEQ_CST);
	guest_join(g);
}

// variants: maxprocs
TEST(nothing_comes_once_stop_has_returned)
{
	gort_chan *other;
	struct guest *guest;

	set_action(SIGUSR1, does_nothing);
	other = notified(0, SIGUSR1);
	guest = storm_start();
	for (int i = 0; i < SCALE(300); i++) {
		gort_chan *c = notified(64, SIGUSR1);

		next(c);
		CHECK_EQ(gort_signal_stop(c), 0);
		while (gort_chan_try_recv(c, NULL) == 0) {
		}
		for (int k = 0; k < 3; k++)
			next(other);
		CHECK_EQ(gort_chan_len(c), 0);
		gort_chan_release(c);
	}
	storm_end(guest);
	done_with(other);
}

static int leave_watching(void *arg)
{
	gort_chan *c = arg, *own = notified(1, SIGUSR2);

	CHECK_EQ(gort_signal_notify(c, SIGUSR1), 0);
	next(c);
	CHECK_EQ(gort_go(wait_for_one, own), 0);
	gort_yield();
	gort_chan_release(own); /* it waits on the last reference, which is the watcher's */
	CHECK(gort__signals_watched());
	return 0;
}

/* qemu-user changes a handler and whether it gets a siginfo_t one after the other: a signal in between finds
 * ours without one. */
// variants: maxprocs
// not: qemu
TEST_PLAIN(the_runtimes_end_stops_all_and_the_next_may_watch_again)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);
	struct guest *guest;

	set_action(SIGUSR1, does_nothing);
	guest = storm_start();
	for (int i = 0; i < SCALE(50); i++) {
		CHECK_EQ(gort_run(leave_watching, c, NULL), 0);
		CHECK(!gort__signals_watched());
		CHECK_EQ(gort__signals_tid(), 0);
		CHECK(action_of(SIGUSR1).sa_handler == does_nothing);
		CHECK(action_of(SIGUSR2).sa_handler == SIG_DFL);
		CHECK_EQ(gort_signal_stop(c), -ENOENT);
		gort_chan_try_recv(c, NULL);
	}
	storm_end(guest);
	CHECK_EQ(gort_chan_len(c), 0);
	gort_chan_release(c);
}

static void watch_at_any_time(void *arg)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);

	(void)arg;
	while (!__atomic_load_n(&storm_over, __ATOMIC_SEQ_CST)) {
		int err = gort_signal_notify(c, SIGUSR2);

		CHECK(err == 0 || err == -ESRCH);
		if (gort_signal_stop(c) == 0)
			CHECK_EQ(err, 0);
		sched_yield();
	}
	gort_chan_release(c);
}

TEST_PLAIN(guests_may_watch_while_the_runtime_ends)
{
	struct guest *guests[2];

	__atomic_store_n(&storm_over, 0, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 2; i++)
		guests[i] = guest_start(watch_at_any_time, NULL);
	for (int i = 0; i < SCALE(200); i++) {
		CHECK_EQ(gort_start(NULL), 0);
		sched_yield();
		CHECK_EQ(gort_stop(), 0);
		CHECK(!gort__signals_watched());
		CHECK(action_of(SIGUSR2).sa_handler == SIG_DFL);
	}
	__atomic_store_n(&storm_over, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 2; i++)
		guest_join(guests[i]);
}

/* ---- the thread that delivers ---------------------------------------------------------------- */

/* A line of /proc/self/task/TID/status, behind its name. */
static void status_of(int32_t tid, const char *name, char *value, size_t size)
{
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
	f = fopen(path, "r");
	CHECK(f != NULL);
	value[0] = 0;
	while (fgets(line, sizeof line, f))
		if (strncmp(line, name, strlen(name)) == 0)
			snprintf(value, size, "%s", line + strlen(name) + 1);
	fclose(f);
}

// not: qemu
TEST(the_thread_is_known_and_blocks_all_signals)
{
	gort_chan *c;
	char value[256];
	uint64_t blocked;

	CHECK_EQ(gort__signals_tid(), 0);
	CHECK(!gort__signals_watched());
	c = notified(1, SIGUSR1);
	CHECK(gort__signals_watched());
	EVENTUALLY(gort__signals_tid() != 0);
	status_of(gort__signals_tid(), "Name:", value, sizeof value);
	CHECK_STR(value, "gort-signals\n");
	status_of(gort__signals_tid(), "SigBlk:", value, sizeof value);
	blocked = strtoull(value, NULL, 16);
	for (int i = 1; i < 32; i++)
		if (i != SIGKILL && i != SIGSTOP)
			CHECK(blocked >> (i - 1) & 1);
	done_with(c);
	CHECK(!gort__signals_watched());
}

// not: qemu
TEST(an_idle_thread_does_not_wake)
{
	gort_chan *c = notified(1, SIGUSR1);
	char before[256], now[256];

	raise(SIGUSR1);
	next(c);
	do {
		status_of(gort__signals_tid(), "State:", now, sizeof now);
	} while (now[0] != 'S');
	status_of(gort__signals_tid(), "voluntary_ctxt_switches:", before, sizeof before);
	gort_sleep(200 * GORT_MS);
	status_of(gort__signals_tid(), "voluntary_ctxt_switches:", now, sizeof now);
	CHECK_STR(now, before);
	done_with(c);
}

/* ---- the program's own: masks, stacks, calls that are interrupted ---------------------------- */

#define EVERYWHERE 8

static uint32_t here; /* atomic: who has come */

/* All at the same time, so on as many threads. */
static void check_mask(void *arg)
{
	sigset_t mask;
	stack_t stack;

	(void)arg;
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	for (int i = 1; i < 32; i++)
		CHECK_EQ(sigismember(&mask, i), i == SIGUSR2);
	CHECK_EQ(sigaltstack(NULL, &stack), 0);
	CHECK(!(stack.ss_flags & (SS_DISABLE | SS_ONSTACK)));
	__atomic_fetch_add(&here, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&here, __ATOMIC_SEQ_CST) < EVERYWHERE)
		sched_yield();
}

static int check_all_masks(void *arg)
{
	gort_chan *c = notified(1, SIGUSR1);
	gort_waitgroup all = { 0 };

	(void)arg;
	raise(SIGUSR1);
	next(c);
	for (int i = 0; i < EVERYWHERE; i++)
		CHECK_EQ(gort_waitgroup_go(&all, check_mask, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	done_with(c);
	return 0;
}

TEST_PLAIN(the_programs_mask_is_on_every_thread)
{
	const gort_options options = { .maxprocs = EVERYWHERE };
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	CHECK_EQ(gort_run(check_all_masks, NULL, &options), 0);
}

static void watch_with_a_stack_of_ones_own(void *arg)
{
	static char memory[64 << 10];
	const stack_t own = { .ss_sp = memory, .ss_size = sizeof memory };
	stack_t now;

	(void)arg;
	CHECK_EQ(sigaltstack(&own, NULL), 0);
	notify_and_stop(NULL);
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK(now.ss_sp == memory);
	CHECK_EQ(now.ss_size, sizeof memory);
	CHECK_EQ(now.ss_flags, 0);
	CHECK_EQ(sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL), 0);
}

TEST(a_guests_alternate_stack_is_its_own)
{
	on_guest(watch_with_a_stack_of_ones_own, NULL);
}

static int ends[2];
static pthread_t reader; /* set before reading */
static uint32_t reading; /* atomic */

static void read_one(void *arg)
{
	char byte;

	reader = pthread_self();
	__atomic_store_n(&reading, 1, __ATOMIC_SEQ_CST);
	CHECK_EQ(read(ends[0], &byte, 1), 1); /* not -1: EINTR */
	(void)arg;
}

// not: tsan
TEST(system_calls_go_on)
{
	gort_chan *c = notified(1, SIGUSR1);
	struct guest *guest;

	CHECK_EQ(pipe(ends), 0);
	guest = guest_start(read_one, NULL);
	EVENTUALLY(__atomic_load_n(&reading, __ATOMIC_SEQ_CST));
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(pthread_kill(reader, SIGUSR1), 0);
		CHECK_EQ(next(c), SIGUSR1);
	}
	CHECK_EQ(write(ends[1], "", 1), 1);
	guest_join(guest);
	close(ends[0]);
	close(ends[1]);
	done_with(c);
}

TEST(sigchld_and_sigpipe_are_the_programs)
{
	gort_chan *c = notified(1, SIGUSR1);
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(9);
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	CHECK(action_of(SIGCHLD).sa_handler == SIG_DFL);
	CHECK(action_of(SIGPIPE).sa_handler == SIG_DFL);
	done_with(c);
}

// not: tsan
TEST(children_that_end_are_told_of_where_that_is_wanted)
{
	gort_chan *c = notified(1, SIGCHLD);
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(9);
	CHECK(pid > 0);
	for (;;) {
		pid_t ended = waitpid(pid, &status, WNOHANG);

		if (ended == pid)
			break;
		CHECK_EQ(ended, 0);
		CHECK_EQ(next(c), SIGCHLD);
	}
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	done_with(c);
}
