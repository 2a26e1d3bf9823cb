/*
 * lock_thread.c - gort_lock_thread: a goroutine keeps its thread, and the thread keeps it.
 */
#include "hogs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

// variants: maxprocs
TEST(locked_goroutine_stays_on_its_thread)
{
	pid_t tid;

	gort_lock_thread();
	gort_lock_thread();
	tid = gettid();
	for (int i = 0; i < SCALE(1000); i++) {
		gort_yield();
		CHECK_EQ(gettid(), tid);
	}
	gort_unlock_thread();
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	CHECK_EQ(gettid(), tid);
	gort_unlock_thread();
}

TEST_DIES(unlock_without_lock, "gort_unlock_thread")
{
	gort_unlock_thread();
}

TEST_PLAIN(lock_does_nothing_on_a_plain_thread)
{
	gort_lock_thread();
	gort_unlock_thread();
	gort_unlock_thread();
}

/* ---- the thread runs nothing else */

/* Whose thread it is; 0 where nobody has locked it. Never cached across a switch: not inlined. */
static _Thread_local uint64_t owner;

__attribute__((noinline)) static void set_owner(uint64_t id)
{
	owner = id;
	__asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static uint64_t get_owner(void)
{
	__asm__ volatile("" ::: "memory");
	return owner;
}

struct crowd {
	gort_chan *c;
	gort_mutex mutex;
	atomic_bool stop;
	atomic_int locked;
	gort_waitgroup all;
	int rounds;
};

static void disturb(struct crowd *c, int i)
{
	int value = i;

	switch (i % 6) {
	case 0:
		gort_yield();
		break;
	case 1:
		CHECK_EQ(gort_sleep(20 * GORT_US), 0);
		break;
	case 2:
		gort_chan_send_until(c->c, &value, gort_in(50 * GORT_US));
		break;
	case 3:
		gort_chan_recv_until(c->c, &value, gort_in(50 * GORT_US));
		break;
	case 4:
		usleep(20);
		break;
	default:
		gort_mutex_lock(&c->mutex);
		gort_yield();
		gort_mutex_unlock(&c->mutex);
	}
}

static void locked_one(void *arg)
{
	struct crowd *c = arg;
	uint64_t self = gort_self();
	pid_t tid;

	gort_lock_thread();
	CHECK_EQ(get_owner(), 0);
	set_owner(self);
	tid = gettid();
	atomic_fetch_add(&c->locked, 1);
	for (int i = (int)self; i < (int)self + c->rounds; i++) {
		disturb(c, i);
		CHECK_EQ(get_owner(), self);
		CHECK_EQ(gettid(), tid);
	}
	set_owner(0);
	gort_unlock_thread();
	gort_yield();
}

static void free_one(void *arg)
{
	struct crowd *c = arg;

	for (int i = (int)gort_self(); !atomic_load(&c->stop); i++) {
		disturb(c, i);
		CHECK_EQ(get_owner(), 0);
	}
}

static void run_crowd(int locked, int rounds)
{
	struct crowd c = { .c = gort_chan_make(sizeof(int), 0), .rounds = rounds };
	gort_waitgroup done = { 0 };

	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_waitgroup_go(&c.all, free_one, &c), 0);
	for (int i = 0; i < locked; i++)
		CHECK_EQ(gort_waitgroup_go(&done, locked_one, &c), 0);
	CHECK_EQ(gort_waitgroup_wait(&done), 0);
	CHECK_EQ(atomic_load(&c.locked), locked);
	atomic_store(&c.stop, true);
	CHECK_EQ(gort_waitgroup_wait(&c.all), 0);
	gort_chan_release(c.c);
}

// variants: maxprocs
TEST(nobody_else_runs_on_a_locked_thread)
{
	run_crowd(5, SCALE(500));
}

// variants: maxprocs
TEST(a_hundred_locked_at_once)
{
	run_crowd(SCALE(100), 30);
}

static void born_elsewhere(void *arg)
{
	CHECK(gettid() != *(pid_t *)arg);
	gort_lock_thread();
	gort_unlock_thread();
}

// variants: maxprocs
TEST(children_of_a_locked_one_are_free)
{
	gort_waitgroup ended = { 0 };
	pid_t tid;

	gort_lock_thread();
	tid = gettid();
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, born_elsewhere, &tid), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	CHECK_EQ(gettid(), tid);
	gort_unlock_thread();
}

/* ---- who ends with its thread locked ends the thread */
static bool thread_lives(pid_t tid)
{
	return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

struct ending {
	_Atomic(pid_t) tid;
	atomic_int destroyed;
	pthread_key_t key;
	int how;
};

static void count_destroyed(void *arg)
{
	struct ending *e = arg;

	atomic_fetch_add(&e->destroyed, 1);
}

static int end_locked(void *arg)
{
	struct ending *e = arg;

	gort_lock_thread();
	CHECK_EQ(pthread_setspecific(e->key, e), 0);
	gort_yield();
	atomic_store(&e->tid, gettid());
	if (e->how == 1)
		gort_goexit();
	if (e->how == 2)
		gort_lock_thread();
	return 3;
}

// variants: maxprocs
TEST(end_of_a_locked_one_ends_its_thread)
{
	for (int how = 0; how < 3; how++) {
		struct ending e = { .how = how };
		gort_task *task;
		int result;

		CHECK_EQ(pthread_key_create(&e.key, count_destroyed), 0);
		task = gort_spawn(end_locked, &e, NULL);
		CHECK(task != NULL);
		CHECK_EQ(gort_join(task, &result), 0);
		CHECK_EQ(result, how == 1 ? 0 : 3);
		EVENTUALLY(!thread_lives(atomic_load(&e.tid)));
		CHECK_EQ(atomic_load(&e.destroyed), 1); /* it ended as threads do */
		CHECK_EQ(pthread_key_delete(e.key), 0);
	}
}

static void lock_and_end(void *arg)
{
	(void)arg;
	gort_lock_thread();
}

// variants: maxprocs
// not: tsan
TEST(many_that_end_locked_leak_nothing)
{
	gort_waitgroup ended = { 0 };
	int threads = 0, maps = 0, most;

	for (int i = 0; i < 20; i++) {
		for (int k = 0; k < SCALE(50); k++)
			CHECK_EQ(gort_waitgroup_go(&ended, lock_and_end, NULL), 0);
		CHECK_EQ(gort_waitgroup_wait(&ended), 0);
		EVENTUALLY(count_threads() <=
			   SCALE(50) + gort_maxprocs(0) + 20 + retakes()); /* late */
		if (i == 5) {
			threads = count_threads();
			maps = mappings();
		}
	}
	most = SCALE(50) + gort_maxprocs(0) + retakes();
	EVENTUALLY(count_threads() <= threads + most);
	/* Libc keeps the stacks, with their guards, of as many as there were at once; a leak is of 14 rounds. */
	CHECK(mappings() <= maps + 2 * SCALE(50) + 2 * most + 64);
}

/* ---- among themselves */
struct ring {
	gort_chan *from, *to;
	bool locked;
};

static void pass_on(void *arg)
{
	struct ring *r = arg;
	pid_t tid = 0;
	int n;

	if (r->locked) {
		gort_lock_thread();
		tid = gettid();
	}
	while (gort_chan_recv(r->from, &n) == 0) {
		CHECK(!tid || gettid() == tid);
		n++;
		CHECK_EQ(gort_chan_send(r->to, &n), 0);
	}
	CHECK_EQ(gort_chan_close(r->to), 0);
}

/* A token goes round; every nth is free. */
static void pass_round(int members, int every_free, int rounds)
{
	enum { MOST = 100 };
	gort_chan *c[MOST + 1];
	struct ring r[MOST];
	gort_waitgroup ended = { 0 };
	int n;

	for (int i = 0; i <= members; i++)
		c[i] = gort_chan_make(sizeof(int), 0);
	for (int i = 0; i < members; i++) {
		r[i] = (struct ring){ c[i], c[i + 1], !every_free || i % every_free != 0 };
		CHECK_EQ(gort_waitgroup_go(&ended, pass_on, &r[i]), 0);
	}
	for (int i = 0; i < rounds; i++) {
		n = 0;
		CHECK_EQ(gort_chan_send(c[0], &n), 0);
		CHECK_EQ(gort_chan_recv(c[members], &n), 0);
		CHECK_EQ(n, members);
	}
	CHECK_EQ(gort_chan_close(c[0]), 0);
	CHECK_EQ(gort_chan_recv(c[members], &n), -EPIPE);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	for (int i = 0; i <= members; i++)
		gort_chan_release(c[i]);
}

// variants: maxprocs
TEST(two_locked_talk)
{
	pass_round(2, 0, SCALE(2000));
}

// variants: maxprocs
TEST(a_hundred_locked_in_a_ring)
{
	pass_round(100, 0, SCALE(30));
}

// variants: maxprocs
TEST(locked_and_free_in_a_ring)
{
	pass_round(20, 3, SCALE(200));
}

// variants: maxprocs
// not: tsan
TEST(locked_and_free_in_a_ring_among_hogs)
{
	struct hogs h = { 0 };

	hogs_start(&h, 3);
	pass_round(8, 3, SCALE(10));
	hogs_stop(&h);
}

static void locked_hog(void *arg)
{
	pid_t tid;

	gort_lock_thread();
	tid = gettid();
	hog(arg);
	CHECK_EQ(gettid(), tid);
	gort_unlock_thread();
}

// variants: maxprocs
// not: tsan
TEST(locked_hogs_are_preempted)
{
	struct hogs h = { 0 };

	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_waitgroup_go(&h.ended, locked_hog, &h), 0);
	hogs_start(&h, 2);
	make_progress(SCALE(100));
	run_crowd(2, 10);
	hogs_stop(&h);
}

struct locked_reader {
	int fd[2];
	atomic_int began, done;
	gort_waitgroup ended;
};

static void read_locked(void *arg)
{
	struct locked_reader *r = arg;
	pid_t tid;
	char byte;

	gort_lock_thread();
	tid = gettid();
	gort_yield();
	atomic_fetch_add(&r->began, 1);
	CHECK_EQ(read(r->fd[0], &byte, 1), 1);
	atomic_fetch_add(&r->done, 1);
	gort_yield();
	CHECK_EQ(gettid(), tid);
	gort_unlock_thread();
}

// variants: maxprocs
TEST(locked_ones_that_block_hold_nobody_up)
{
	enum { READERS = SCALE(50) };
	struct locked_reader r = { 0 };

	CHECK_EQ(pipe(r.fd), 0);
	for (int i = 0; i < READERS; i++)
		CHECK_EQ(gort_waitgroup_go(&r.ended, read_locked, &r), 0);
	EVENTUALLY(atomic_load(&r.began) == READERS);
	make_progress(SCALE(200));
	CHECK_EQ(atomic_load(&r.done), 0);
	for (int i = 0; i < READERS; i++)
		CHECK_EQ(write(r.fd[1], "x", 1), 1);
	CHECK_EQ(gort_waitgroup_wait(&r.ended), 0);
	close(r.fd[0]);
	close(r.fd[1]);
}

static void change_maxprocs(void *arg)
{
	static const int to[] = { 1, 2, 8, 1, 3, 16 };
	struct hogs *h = arg;

	for (int i = 0; !atomic_load(&h->stop); i++) {
		gort_maxprocs(to[i % 6]);
		gort_sleep(100 * GORT_US);
	}
}

TEST(locked_ones_while_maxprocs_changes)
{
	struct hogs h = { 0 };

	CHECK_EQ(gort_waitgroup_go(&h.ended, change_maxprocs, &h), 0);
	run_crowd(5, SCALE(200));
	pass_round(20, 3, SCALE(50));
	hogs_stop(&h);
}

/* ---- main */
static int stay(void *arg)
{
	pid_t *caller = arg;

	gort_lock_thread();
	CHECK_EQ(gettid(), *caller);
	run_crowd(3, 20);
	CHECK_EQ(gettid(), *caller);
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	CHECK_EQ(gettid(), *caller);
	CHECK_EQ(get_owner(), 0);
	return 4;
}

// variants: maxprocs
TEST_PLAIN(locked_main_stays_on_the_callers_thread)
{
	pid_t tid = gettid();

	for (int i = 0; i < 5; i++) {
		CHECK_EQ(gort_run(stay, &tid, NULL), 4);
		CHECK_EQ(gettid(), tid);
		CHECK(thread_lives(tid));
	}
}

static int lock_for_a_while(void *arg)
{
	stay(arg);
	gort_unlock_thread();
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	run_crowd(3, 20);
	return 5;
}

// variants: maxprocs
TEST_PLAIN(main_may_unlock)
{
	pid_t tid = gettid();

	for (int i = 0; i < 5; i++)
		CHECK_EQ(gort_run(lock_for_a_while, &tid, NULL), 5);
}

static int lock_and_exit(void *arg)
{
	stay(arg);
	gort_goexit();
}

// variants: maxprocs
TEST_PLAIN(locked_main_may_leave_by_goexit)
{
	pid_t tid = gettid();

	for (int i = 0; i < 5; i++) {
		CHECK_EQ(gort_run(lock_and_exit, &tid, NULL), 0);
		CHECK_EQ(gettid(), tid);
	}
}

static int lock_late(void *arg)
{
	pid_t tid;

	(void)arg;
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	gort_lock_thread(); /* on another thread than the caller's */
	tid = gettid();
	run_crowd(3, 20);
	CHECK_EQ(gettid(), tid);
	return 6;
}

// variants: maxprocs
TEST_PLAIN(main_that_has_waited_may_lock)
{
	for (int i = 0; i < 5; i++)
		CHECK_EQ(gort_run(lock_late, NULL, NULL), 6);
}
