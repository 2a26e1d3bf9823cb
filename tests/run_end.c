/*
 * run_end.c - gort_run's end while goroutines compute, hold foreign locks, are blocked in the kernel,
 * or have locked their threads: nothing of theirs runs on, and nothing is left behind that could go.
 */
#include "hogs.h"

#include "base/alloc.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The stacks of those that were left behind are kept for good, with what describes them: some bytes
 * a life, in the tests that leave some. */
int harness_leaks(void)
{
	int64_t n = (int64_t)mem_in_use();

	return n > 100 * SCALE(400) ? (int)n : 0;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int see_one(void *arg)
{
	gort_waitgroup ended = { 0 };

	CHECK_EQ(gort_waitgroup_go(&ended, do_nothing, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	make_progress(20);
	return *(int *)arg;
}

/* The runtime can be started again at once, and works. */
static void run_again(void)
{
	int n = 17;

	CHECK_EQ(gort_run(see_one, &n, NULL), 17);
}

/* ---- those that compute, with locks of the program's and of libc's held */
struct left {
	void (*once)(struct left *l);
	FILE *file;
	pthread_mutex_t mutex;
	atomic_int inside; /* how many have begun */
	atomic_long rounds;
	bool park;    /* main has left its thread before it ends */
	bool hold_up; /* ... and computes till the end */
	int n;
};

static void burn_some(void)
{
	for (volatile int i = 0; i < 100000; i = i + 1)
		continue;
}

static void work_on(void *arg)
{
	struct left *l = arg;

	atomic_fetch_add(&l->inside, 1);
	for (;;) {
		l->once(l);
		atomic_fetch_add(&l->rounds, 1);
		gort_preempt_off(); /* no call that could stop it */
		gort_preempt_on();
		if (atomic_load(&l->rounds) % 8 == 0)
			gort_yield();
	}
}

static int leave_them(void *arg)
{
	struct left *l = arg;
	long before;

	for (int i = 0; i < l->n; i++)
		CHECK_EQ(gort_go(work_on, l), 0);
	EVENTUALLY(atomic_load(&l->inside) == l->n);
	before = atomic_load(&l->rounds);
	if (l->park)
		EVENTUALLY(atomic_load(&l->rounds) > before + 5);
	if (l->hold_up)
		burn(5 * GORT_MS);
	return 3;
}

/* None of them may have stopped for good inside: what it holds then would be locked for ever. */
static void left_in(void (*once)(struct left *l))
{
	struct left l = {
		.once = once, .file = tmpfile(), .mutex = PTHREAD_MUTEX_INITIALIZER, .n = 5
	};

	CHECK(l.file != NULL);
	for (int i = 0; i < SCALE(20); i++) {
		l.park = i & 1;
		l.hold_up = i & 2;
		atomic_store(&l.inside, 0);
		CHECK_EQ(gort_run(leave_them, &l, NULL), 3);
		for (int k = 0; k < 3; k++)
			once(&l);
		CHECK_EQ(gort_count(), 0);
		EVENTUALLY(threads() ==
			   0); /* also of those that were asleep: they come to a call */
	}
	run_again();
	fclose(l.file);
}

static void print(struct left *l)
{
	for (int i = 0; i < 50; i++)
		CHECK(fprintf(l->file, "%d %f\n", i, i / 3.0) > 0);
	rewind(l->file);
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(left_while_they_print)
{
	left_in(print);
}

static void hold_file(struct left *l)
{
	flockfile(l->file);
	burn_some();
	funlockfile(l->file);
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(left_while_they_hold_a_file)
{
	left_in(hold_file);
}

static void hold_mutex(struct left *l)
{
	CHECK_EQ(pthread_mutex_lock(&l->mutex), 0);
	burn_some();
	CHECK_EQ(pthread_mutex_unlock(&l->mutex), 0);
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(left_while_they_hold_a_pthread_mutex)
{
	left_in(hold_mutex);
}

static void allocate(struct left *l)
{
	void *p[32];

	(void)l;
	for (int i = 0; i < 32; i++)
		p[i] = malloc((size_t)(i * 331 % 5000 + 1));
	for (int i = 0; i < 32; i++)
		free(p[i]);
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(left_while_they_allocate)
{
	mallopt(M_ARENA_MAX, 1);
	left_in(allocate);
}

static void nap(struct left *l)
{
	(void)l;
	usleep(100);
}

// variants: maxprocs
TEST_PLAIN(left_while_they_nap)
{
	left_in(nap);
}

/* gort_start's runtime ends as gort_run's does. */
// variants: maxprocs
// not: tsan
TEST_PLAIN(stop_while_they_hold_a_file)
{
	struct left l = { .once = hold_file, .file = tmpfile() };

	CHECK(l.file != NULL);
	for (int i = 0; i < SCALE(20); i++) {
		atomic_store(&l.inside, 0);
		CHECK_EQ(gort_start(NULL), 0);
		for (int k = 0; k < 5; k++)
			CHECK_EQ(gort_go(work_on, &l), 0);
		EVENTUALLY(atomic_load(&l.inside) > 0);
		CHECK_EQ(gort_stop(), 0);
		hold_file(&l);
		CHECK_EQ(gort_count(), 0);
		EVENTUALLY(threads() == 0);
	}
	run_again();
	fclose(l.file);
}

/* ---- hogs that end by themselves, within the second that they have */
struct short_hogs {
	atomic_int began, ended;
	bool park;
	int64_t left; /* when main left them */
};

/* Right after the runtime's end: those that ran, did so to their end, unless their second was over. Then they
 * block the next start till they are gone. */
static void hogs_have_ended(struct short_hogs *h)
{
	int ended = atomic_load(&h->ended);

	if (gort_now() - h->left < GORT_SEC) {
		CHECK_EQ(ended, atomic_load(&h->began));
		return;
	}
	EVENTUALLY(atomic_load(&h->ended) == atomic_load(&h->began));
	EVENTUALLY(threads() == 0);
}

static void short_hog(void *arg)
{
	struct short_hogs *h = arg;

	atomic_fetch_add(&h->began, 1);
	burn(10 * GORT_MS);
	atomic_fetch_add(&h->ended, 1);
}

static int leave_short_hogs(void *arg)
{
	struct short_hogs *h = arg;

	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_go(short_hog, h), 0);
	if (h->park)
		EVENTUALLY(atomic_load(&h->began) > 1);
	h->left = gort_now();
	return 1;
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(hogs_that_end_soon_are_waited_for)
{
	for (int i = 0; i < SCALE(20); i++) {
		struct short_hogs h = { .park = i & 1 };

		CHECK_EQ(gort_run(leave_short_hogs, &h, NULL), 1);
		hogs_have_ended(&h);
	}
	EVENTUALLY(threads() == 0);
}

static void short_hog_on_guest(void *arg)
{
	CHECK_EQ(gort_run(leave_short_hogs, arg, NULL), 1);
}

// not: tsan
TEST_PLAIN(hogs_left_by_a_run_on_another_thread)
{
	for (int i = 0; i < SCALE(10); i++) {
		struct short_hogs h = { .park = true };

		on_guest(short_hog_on_guest, &h);
		hogs_have_ended(&h);
	}
}

static void ignore_panic(const char *message, uint64_t goroutine)
{
	CHECK_STR(message, "main");
	CHECK_EQ(goroutine, 1);
}

static int panic_among_hogs(void *arg)
{
	leave_short_hogs(arg);
	gort_panic("main");
}

static int goexit_among_hogs(void *arg)
{
	leave_short_hogs(arg);
	gort_goexit();
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(main_panics_or_exits_among_hogs)
{
	const gort_options options = { .on_panic = ignore_panic };

	for (int i = 0; i < SCALE(10); i++) {
		struct short_hogs h = { .park = i & 1 };

		CHECK_EQ(gort_run(panic_among_hogs, &h, &options), -EOWNERDEAD);
		hogs_have_ended(&h);
		CHECK_EQ(gort_run(goexit_among_hogs, &h, NULL), 0);
		hogs_have_ended(&h);
	}
}

/* ---- blocked in the kernel: left behind, and the runtime starts again at once */
struct readers {
	int fd[2];
	gort_chan *c;
	atomic_int began, woken;
	bool by_blocking, calls, locked, park;
	int n;
};

static int read_byte(void *arg)
{
	struct readers *r = arg;
	char byte;

	atomic_fetch_add(&r->began, 1);
	CHECK_EQ(read(r->fd[0], &byte, 1), 1);
	atomic_fetch_add(&r->woken, 1);
	return 0;
}

static void read_and_call(void *arg)
{
	struct readers *r = arg;

	if (r->locked)
		gort_lock_thread();
	if (r->by_blocking)
		gort_blocking(read_byte, r);
	else
		read_byte(r);
	if (!r->calls && !r->by_blocking)
		return; /* the end of its function is a call, too */
	gort_chan_try_send(r->c, NULL);
	CHECK(false && "came back into a runtime that has ended");
}

static int leave_readers(void *arg)
{
	struct readers *r = arg;

	if (r->park)
		gort_sleep(GORT_US);
	for (int i = 0; i < r->n; i++)
		CHECK_EQ(gort_go(read_and_call, r), 0);
	EVENTUALLY(atomic_load(&r->began) == r->n);
	return 2;
}

/* wake_within: they wake while the next runtime runs. */
static int wake_readers(void *arg)
{
	struct readers *r = arg;

	make_progress(20);
	for (int i = 0; i < r->n; i++)
		CHECK_EQ(write(r->fd[1], "x", 1), 1);
	make_progress(20);
	EVENTUALLY(atomic_load(&r->woken) == r->n);
	make_progress(20);
	CHECK_EQ(gort_chan_len(r->c), 0);
	return 0;
}

static void readers_left(struct readers r)
{
	r.c = gort_chan_make(0, 100);
	CHECK_EQ(pipe(r.fd), 0);
	for (int round = 0; round < 4; round++) {
		atomic_store(&r.began, 0);
		atomic_store(&r.woken, 0);
		r.park = round & 1;
		CHECK_EQ(gort_run(leave_readers, &r, NULL), 2);
		CHECK_EQ(gort_count(), 0);
		run_again();
		CHECK_EQ(atomic_load(&r.woken), 0);
		if (round & 2) {
			CHECK_EQ(gort_run(wake_readers, &r, NULL), 0);
		} else {
			for (int i = 0; i < r.n; i++)
				CHECK_EQ(write(r.fd[1], "x", 1), 1);
			EVENTUALLY(atomic_load(&r.woken) == r.n);
		}
		EVENTUALLY(threads() == 0);
		CHECK_EQ(gort_chan_len(r.c), 0);
	}
	run_again();
	gort_chan_release(r.c);
	close(r.fd[0]);
	close(r.fd[1]);
}

// variants: maxprocs
TEST_PLAIN(blocked_in_read_left_behind_and_call_later)
{
	readers_left((struct readers){ .n = 10, .calls = true });
}

// variants: maxprocs
TEST_PLAIN(blocked_in_read_left_behind_and_end_later)
{
	readers_left((struct readers){ .n = 10 });
}

// variants: maxprocs
TEST_PLAIN(blocked_in_gort_blocking_left_behind)
{
	readers_left((struct readers){ .n = 10, .by_blocking = true });
}

// variants: maxprocs
TEST_PLAIN(blocked_with_their_threads_locked_left_behind)
{
	readers_left((struct readers){ .n = 10, .calls = true, .locked = true });
	readers_left((struct readers){ .n = 10, .by_blocking = true, .locked = true });
}

/* ---- where main runs, and what the caller's thread does */
struct places {
	pid_t caller;
	gort_waitgroup ended;
};

static void not_on_the_callers_thread(void *arg)
{
	struct places *p = arg;

	for (int i = 0; i < 10; i++) {
		CHECK(gettid() != p->caller);
		gort_yield();
		burn(100 * GORT_US);
	}
}

static int park_and_look(void *arg)
{
	struct places *p = arg;

	CHECK_EQ(gettid(), p->caller);
	CHECK_EQ(gort_sleep(GORT_US), 0);
	CHECK(gettid() != p->caller);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&p->ended, not_on_the_callers_thread, p), 0);
	CHECK_EQ(gort_waitgroup_wait(&p->ended), 0);
	CHECK(gettid() != p->caller);
	return 8;
}

// variants: maxprocs
TEST_PLAIN(main_that_has_waited_leaves_the_callers_thread_to_nobody)
{
	struct places p = { .caller = gettid() };

	for (int i = 0; i < 10; i++) {
		CHECK_EQ(gort_run(park_and_look, &p, NULL), 8);
		CHECK_EQ(gettid(), p.caller);
	}
}

static int spawn_and_look(void *arg)
{
	struct places *p = arg;

	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&p->ended, not_on_the_callers_thread, p), 0);
	burn(20 * GORT_MS); /* preempted, perhaps */
	CHECK_EQ(gettid(), p->caller);
	CHECK_EQ(gort_waitgroup_wait(&p->ended), 0);
	return 8;
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(nobody_but_main_runs_on_the_callers_thread)
{
	struct places p = { .caller = gettid() };

	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_run(spawn_and_look, &p, NULL), 8);
}

/* ---- again and again, with all of it */
struct lives {
	struct readers readers;
	struct short_hogs hogs;
	gort_chan *never;
	atomic_int locked;
};

static void park_locked(void *arg)
{
	struct lives *l = arg;

	gort_lock_thread();
	atomic_fetch_add(&l->locked, 1);
	gort_chan_recv(l->never, NULL);
	CHECK(false && "came back after the end");
}

static void end_locked(void *arg)
{
	struct lives *l = arg;

	gort_lock_thread();
	gort_yield();
	atomic_fetch_add(&l->locked, 1);
}

static int live(void *arg)
{
	struct lives *l = arg;

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(gort_go(park_locked, l), 0);
		CHECK_EQ(gort_go(end_locked, l), 0);
		CHECK_EQ(gort_go(read_and_call, &l->readers), 0);
	}
	CHECK_EQ(gort_go(short_hog, &l->hogs), 0);
	EVENTUALLY(atomic_load(&l->locked) == 4 && atomic_load(&l->readers.began) == 2);
	l->hogs.left = gort_now();
	return 6;
}

#define SA_RESTORER 0x04000000 /* libc's, on some machines */

static void same_action(int signo, const struct sigaction *before)
{
	struct sigaction now;

	CHECK_EQ(sigaction(signo, NULL, &now), 0);
	CHECK(now.sa_handler == before->sa_handler);
	CHECK_EQ(now.sa_flags & ~SA_RESTORER, before->sa_flags & ~SA_RESTORER);
}

static void on_urgent(int signo)
{
	(void)signo;
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(many_lives_leave_nothing)
{
	enum { LIVES = SCALE(200) };
	struct sigaction urgent = { .sa_handler = on_urgent, .sa_flags = SA_RESTART }, fault, bus;
	struct lives l = { .never = gort_chan_make(0, 0) };
	bool late;
	int maps = 0;

	l.readers.n = 2;
	l.readers.c = gort_chan_make(0, 100);
	CHECK_EQ(pipe(l.readers.fd), 0);
	CHECK_EQ(sigaction(SIGURG, &urgent, NULL), 0);
	CHECK_EQ(sigaction(SIGURG, NULL, &urgent), 0);
	CHECK_EQ(sigaction(SIGSEGV, NULL, &fault), 0);
	CHECK_EQ(sigaction(SIGBUS, NULL, &bus), 0);
	for (int i = 0; i < LIVES; i++) {
		atomic_store(&l.locked, 0);
		atomic_store(&l.readers.began, 0);
		atomic_store(&l.readers.woken, 0);
		l.readers.by_blocking = i & 1;
		CHECK_EQ(gort_run(live, &l, NULL), 6);
		late = gort_now() - l.hogs.left >= GORT_SEC;
		same_action(SIGURG, &urgent);
		same_action(SIGSEGV, &fault);
		same_action(SIGBUS, &bus);
		CHECK_EQ(write(l.readers.fd[1], "xx", 2), 2);
		EVENTUALLY(atomic_load(&l.readers.woken) == 2);
		if (late) /* somebody needed more than the second that he has */
			EVENTUALLY(threads() == 0);
		if (i == LIVES / 4) {
			EVENTUALLY(threads() == 0);
			maps = mappings();
		}
	}
	EVENTUALLY(threads() == 0);
	CHECK(mappings() <=
	      maps + 100); /* libc keeps the stacks of as many threads as one life has had */
	CHECK_EQ(gort_chan_try_send(l.never, NULL), -EAGAIN);
	CHECK_EQ(gort_chan_len(l.readers.c), 0);
	close(l.readers.fd[0]);
	close(l.readers.fd[1]);
	gort_chan_release(l.readers.c);
	gort_chan_release(l.never);
	CHECK_EQ(gort_run(nothing, NULL, NULL), 0);
}
