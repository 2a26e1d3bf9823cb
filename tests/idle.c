/*
 * idle.c - nothing to do: not one thread of the process wakes, whatever its goroutines wait for.
 */
#include "harness.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- how often the kernel has switched to each thread but this one */
#define MOST 256

struct thread {
	int tid;
	char name[32];
	long long switches;
};

static struct thread look_at(const char *tid)
{
	struct thread t = { .tid = atoi(tid) };
	char path[300], line[256];
	long long n;
	FILE *f;

	snprintf(path, sizeof path, "/proc/self/task/%s/status", tid);
	f = fopen(path, "re");
	if (!f)
		return t; /* it has ended */
	while (fgets(line, sizeof line, f)) {
		sscanf(line, "Name: %31s", t.name);
		if (sscanf(line, "voluntary_ctxt_switches: %lld", &n) == 1 ||
		    sscanf(line, "nonvoluntary_ctxt_switches: %lld", &n) == 1)
			t.switches += n;
	}
	fclose(f);
	return t;
}

static int look(struct thread *all)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	int n = 0;

	CHECK(dir != NULL);
	while ((e = readdir(dir)) != NULL)
		if (e->d_name[0] != '.' && atoi(e->d_name) != gettid()) {
			CHECK(n < MOST);
			all[n++] = look_at(e->d_name);
		}
	closedir(dir);
	return n;
}

/* The first that is not as it was; NULL: none. */
static const struct thread *moved(const struct thread *was, int m, const struct thread *now, int n)
{
	static const struct thread gone = { .name = "one that has ended" };

	for (int i = 0; i < n; i++) {
		int k = 0;

		while (k < m && was[k].tid != now[i].tid)
			k++;
		if (k == m || was[k].switches != now[i].switches)
			return &now[i];
	}
	return m != n ? &gone : NULL;
}

static void pause_for(int64_t ns)
{
	const struct timespec t = { ns / GORT_SEC, ns % GORT_SEC };

	nanosleep(&t, NULL);
}

static void check_unmoved(const struct thread *t)
{
	if (t)
		test_fail_(__FILE__, __LINE__, "thread %d (%s) runs", t->tid, t->name);
}

/* By a guest: for so long, in the end. What the monitor does about cold stacks takes a while at first,
 * and who was woken may run late. */
static void check_idle(int64_t ns)
{
	static struct thread was[MOST], now[MOST];
	int64_t end = gort_in(45 * GORT_SEC);
	const struct thread *t;
	int m, n;

	do {
		m = look(was);
		pause_for(GORT_SEC + ns);
		n = look(now);
		t = moved(was, m, now, n);
	} while (t && gort_now() < end);
	check_unmoved(t);
	CHECK(n > 2);
}

/* ---- many that are parked */
struct parked {
	gort_chan *gate, *done;
	atomic_int passed;
};

static void wait_at_gate(void *arg)
{
	struct parked *p = arg;

	CHECK_EQ(gort_chan_recv(p->gate, NULL), -EPIPE);
	atomic_fetch_add(&p->passed, 1);
}

static void check_parked(void *arg)
{
	struct parked *p = arg;

	check_idle(2 * GORT_SEC);
	CHECK_EQ(gort_chan_send(p->done, NULL), 0);
}

static void sleep_an_hour(void *arg)
{
	(void)arg;
	gort_sleep(3600 * GORT_SEC);
}

// variants: maxprocs
// isolate
// not: tsan asan valgrind qemu
TEST(process_with_10000_parked_goroutines_does_not_wake)
{
	struct parked p = { .gate = gort_chan_make(0, 0), .done = gort_chan_make(0, 0) };
	struct guest *g;

	test_leaves_goroutines();
	CHECK_EQ(gort_go(sleep_an_hour, NULL), 0);
	for (int i = 0; i < 10000; i++)
		CHECK_EQ(gort_go(wait_at_gate, &p), 0);
	gort_sleep(10 * GORT_MS);
	g = guest_start(check_parked, &p);
	CHECK_EQ(gort_chan_recv(p.done, NULL), 0);
	guest_join(g);
	CHECK_EQ(gort_chan_close(p.gate), 0);
	EVENTUALLY(gort_count() == 2);
	CHECK_EQ(atomic_load(&p.passed), 10000);
	gort_chan_release(p.gate);
	gort_chan_release(p.done);
}

/* ---- those that wait for descriptors */
static void read_to_the_end(void *file)
{
	char byte;

	CHECK_EQ(gort_read(file, &byte, 1), 0);
}

static void wait_for_end(void *fd)
{
	CHECK_EQ(gort_wait_fd(*(int *)fd, POLLIN, gort_in(3600 * GORT_SEC)), POLLHUP);
}

// variants: maxprocs
// isolate
// not: tsan asan valgrind qemu
TEST(process_with_1000_blocked_readers_does_not_wake)
{
	struct parked p = { .done = gort_chan_make(0, 0) };
	gort_file *r[100], *w[100];
	struct guest *g;
	int fd[2];

	CHECK_EQ(pipe(fd), 0);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(gort_pipe(&r[i], &w[i]), 0);
		for (int k = 0; k < 10; k++)
			CHECK_EQ(gort_go(read_to_the_end, r[i]), 0);
		CHECK_EQ(gort_go(wait_for_end, &fd[0]), 0);
	}
	g = guest_start(check_parked, &p);
	CHECK_EQ(gort_chan_recv(p.done, NULL), 0);
	guest_join(g);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(gort_close(w[i]), 0);
	close(fd[1]);
	EVENTUALLY(gort_count() == 1);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(gort_close(r[i]), 0);
	close(fd[0]);
	gort_chan_release(p.done);
}

/* ---- each kind of wait that there is */
struct waits {
	gort_chan *empty, *full, *signals, *done;
	gort_mutex mutex, cond_mutex;
	gort_rwmutex read, write;
	gort_cond cond;
	gort_sem sem;
	gort_waitgroup group;
	gort_once once;
	gort_flight *flight;
	gort_ctx *ctx;
	gort_timer *timer;
	gort_task *task;
	int pipe[2];
	sem_t posix_sem;
	pthread_mutex_t posix_mutex;
	bool open; /* under cond_mutex */
	atomic_int begun, ended;
	int64_t window;
};

static int until_closed(void *arg)
{
	struct waits *w = arg;

	CHECK_EQ(gort_chan_recv(w->empty, NULL), -EPIPE);
	return 5;
}

static void until_closed_once(void *arg)
{
	until_closed(arg);
}

static void in_recv(struct waits *w)
{
	until_closed(w);
}

static void in_recv_until(struct waits *w)
{
	CHECK_EQ(gort_chan_recv_until(w->empty, NULL, gort_in(3600 * GORT_SEC)), -EPIPE);
}

static void in_send(struct waits *w)
{
	CHECK_EQ(gort_chan_send(w->full, NULL), -EPIPE);
}

static void in_select(struct waits *w)
{
	gort_case cases[] = { GORT_CASE_RECV(w->empty, NULL), GORT_CASE_SEND(w->full, NULL),
			      GORT_CASE_TASK(w->task), GORT_CASE_TIME(gort_in(3600 * GORT_SEC)) };

	CHECK(gort_select(cases, 4, gort_in(7200 * GORT_SEC)) >= 0);
}

static void in_mutex(struct waits *w)
{
	gort_mutex_lock(&w->mutex);
	gort_mutex_unlock(&w->mutex);
}

static void in_rlock(struct waits *w)
{
	gort_rwmutex_rlock(&w->write); /* is held for writing */
	gort_rwmutex_runlock(&w->write);
}

static void in_wlock(struct waits *w)
{
	gort_rwmutex_lock(&w->read); /* is held for reading */
	gort_rwmutex_unlock(&w->read);
}

static void in_cond(struct waits *w)
{
	gort_mutex_lock(&w->cond_mutex);
	while (!w->open)
		CHECK_EQ(gort_cond_wait(&w->cond, &w->cond_mutex), 0);
	gort_mutex_unlock(&w->cond_mutex);
}

static void in_sem(struct waits *w)
{
	CHECK_EQ(gort_sem_acquire(&w->sem, 1), 0);
	gort_sem_release(&w->sem, 1);
}

static void in_waitgroup(struct waits *w)
{
	CHECK_EQ(gort_waitgroup_wait(&w->group), 0);
}

static void in_once(struct waits *w)
{
	gort_once_do(&w->once, until_closed_once, w);
}

static void in_flight(struct waits *w)
{
	CHECK_EQ(gort_flight_do(w->flight, "key", until_closed, w, NULL), 5);
}

static void in_join(struct waits *w)
{
	gort_task *task = gort_spawn(until_closed, w, NULL);
	int result = 0;

	CHECK(task != NULL);
	CHECK_EQ(gort_join(task, &result), 0);
	CHECK_EQ(result, 5);
}

static void in_scope(struct waits *w)
{
	gort_scope *scope = gort_scope_open(1);

	CHECK(scope != NULL);
	CHECK_EQ(gort_scope_go(scope, until_closed, w), 0);
	CHECK_EQ(gort_scope_go(scope, until_closed, w), 0); /* here, for a place */
	CHECK_EQ(gort_scope_close(scope), 0);
}

static void in_sleep(struct waits *w)
{
	gort_ctx *old = gort_ctx_enter(w->ctx);

	CHECK_EQ(gort_sleep(3600 * GORT_SEC), -ECANCELED);
	gort_ctx_leave(old);
}

static void in_ctx_done(struct waits *w)
{
	CHECK_EQ(gort_chan_recv(gort_ctx_done(w->ctx), NULL), -EPIPE);
}

static void in_deadline(struct waits *w)
{
	int64_t old = gort_set_deadline(gort_in(3600 * GORT_SEC));

	until_closed(w);
	gort_set_deadline(old);
}

static void in_timer(struct waits *w)
{
	CHECK_EQ(gort_chan_recv(gort_timer_chan(w->timer), NULL), 0);
}

static void in_signal(struct waits *w)
{
	CHECK_EQ(gort_chan_recv(w->signals, NULL), 0);
}

static void in_locked_thread(struct waits *w)
{
	gort_lock_thread();
	until_closed(w);
	gort_unlock_thread();
}

static int read_byte(void *arg)
{
	struct waits *w = arg;
	char byte;

	return (int)read(w->pipe[0], &byte, 1);
}

static void in_blocking(struct waits *w)
{
	CHECK_EQ(gort_blocking(read_byte, w), 1);
}

static void in_read(struct waits *w)
{
	CHECK_EQ(read_byte(w), 1);
}

static void in_sem_wait(struct waits *w)
{
	CHECK_EQ(sem_wait(&w->posix_sem), 0);
}

static void in_pthread_mutex(struct waits *w)
{
	CHECK_EQ(pthread_mutex_lock(&w->posix_mutex), 0);
	CHECK_EQ(pthread_mutex_unlock(&w->posix_mutex), 0);
}

#define PARKED 20
#define THREADS 3 /* so many block with their threads, of each kind */

static const struct kind {
	void (*wait)(struct waits *w);
	int count;
} kinds[] = {
	{ in_recv, PARKED },      { in_recv_until, PARKED },     { in_send, PARKED },
	{ in_select, PARKED },    { in_mutex, PARKED },          { in_rlock, PARKED },
	{ in_wlock, PARKED },     { in_cond, PARKED },           { in_sem, PARKED },
	{ in_waitgroup, PARKED }, { in_once, PARKED },           { in_flight, PARKED },
	{ in_join, PARKED },      { in_scope, PARKED },          { in_sleep, PARKED },
	{ in_ctx_done, PARKED },  { in_deadline, PARKED },       { in_timer, 1 },
	{ in_signal, 1 },         { in_locked_thread, THREADS }, { in_blocking, THREADS },
	{ in_read, THREADS },     { in_sem_wait, THREADS },      { in_pthread_mutex, THREADS },
};

#define KINDS (sizeof kinds / sizeof kinds[0])

struct one {
	struct waits *w;
	void (*wait)(struct waits *w);
};

static void wait_so(void *arg)
{
	struct one *one = arg;

	atomic_fetch_add(&one->w->begun, 1);
	one->wait(one->w);
	atomic_fetch_add(&one->w->ended, 1);
}

static void waits_make(struct waits *w)
{
	w->empty = gort_chan_make(0, 0);
	w->full = gort_chan_make(0, 0);
	w->signals = gort_chan_make(sizeof(int), 1);
	w->done = gort_chan_make(0, 0);
	w->flight = gort_flight_make();
	w->ctx = gort_ctx_with_cancel(gort_ctx_background());
	w->timer = gort_timer_start(gort_in(3600 * GORT_SEC), 0, NULL, NULL);
	w->task = gort_spawn(until_closed, w, NULL);
	CHECK(w->empty && w->full && w->done && w->flight && w->ctx && w->timer && w->task);
	CHECK_EQ(gort_signal_notify(w->signals, SIGUSR1), 0);
	CHECK_EQ(pipe(w->pipe), 0);
	CHECK_EQ(sem_init(&w->posix_sem, 0, 0), 0);
	CHECK_EQ(pthread_mutex_init(&w->posix_mutex, NULL), 0);
	gort_mutex_lock(&w->mutex);
	gort_rwmutex_rlock(&w->read);
	gort_rwmutex_lock(&w->write);
	gort_waitgroup_add(&w->group, 1);
}

static void waits_end(struct waits *w)
{
	CHECK_EQ(gort_chan_close(w->empty), 0);
	CHECK_EQ(gort_chan_close(w->full), 0);
	gort_mutex_unlock(&w->mutex);
	gort_rwmutex_runlock(&w->read);
	gort_rwmutex_unlock(&w->write);
	gort_mutex_lock(&w->cond_mutex);
	w->open = true;
	gort_cond_broadcast(&w->cond);
	gort_mutex_unlock(&w->cond_mutex);
	gort_sem_release(&w->sem, 1);
	gort_waitgroup_done(&w->group);
	gort_ctx_cancel(w->ctx, 0);
	gort_timer_reset(w->timer, GORT_NOW);
	CHECK_EQ(kill(getpid(), SIGUSR1), 0);
	CHECK_EQ(write(w->pipe[1], "123456", 2 * THREADS), 2 * THREADS);
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(sem_post(&w->posix_sem), 0);
}

static void waits_release(struct waits *w)
{
	CHECK_EQ(gort_join(w->task, NULL), 0);
	CHECK_EQ(gort_signal_stop(w->signals), 0);
	gort_timer_release(w->timer);
	gort_ctx_release(w->ctx);
	gort_flight_release(w->flight);
	gort_chan_release(w->empty);
	gort_chan_release(w->full);
	gort_chan_release(w->signals);
	gort_chan_release(w->done);
	close(w->pipe[0]);
	close(w->pipe[1]);
	sem_destroy(&w->posix_sem);
	pthread_mutex_destroy(&w->posix_mutex);
}

/* It holds the mutex that goroutines wait for. In turns with the test, by done: it has the mutex; all
 * wait, or are about to; it has looked; all are told to end. */
static void hold_and_check(void *arg)
{
	struct waits *w = arg;

	CHECK_EQ(pthread_mutex_lock(&w->posix_mutex), 0);
	CHECK_EQ(gort_chan_send(w->done, NULL), 0);
	CHECK_EQ(gort_chan_recv(w->done, NULL), 0);
	check_idle(w->window);
	CHECK_EQ(atomic_load(&w->ended), 0);
	CHECK_EQ(gort_chan_send(w->done, NULL), 0);
	CHECK_EQ(gort_chan_recv(w->done, NULL), 0);
	CHECK_EQ(pthread_mutex_unlock(&w->posix_mutex), 0);
}

static void guest_in_recv(void *arg)
{
	until_closed(arg);
}

static void wait_in_all_ways(int64_t window)
{
	static struct waits w;
	struct guest *holder, *waiter;
	int all = 0;

	w.window = window;
	waits_make(&w);
	holder = guest_start(hold_and_check, &w);
	waiter = guest_start(guest_in_recv, &w);
	CHECK_EQ(gort_chan_recv(w.done, NULL), 0);
	for (size_t i = 0; i < KINDS; i++)
		for (int k = 0; k < kinds[i].count; k++, all++)
			CHECK_EQ(gort_go_with(wait_so, struct one, .w = &w, .wait = kinds[i].wait),
				 0);
	EVENTUALLY(atomic_load(&w.begun) == all);
	CHECK_EQ(gort_chan_send(w.done, NULL), 0);
	CHECK_EQ(gort_chan_recv(w.done, NULL), 0);
	waits_end(&w);
	CHECK_EQ(gort_chan_send(w.done, NULL), 0);
	guest_join(holder);
	guest_join(waiter);
	EVENTUALLY(atomic_load(&w.ended) == all);
	waits_release(&w);
}

// isolate
// not: tsan asan valgrind qemu
TEST(nothing_wakes_while_all_wait_each_in_its_way)
{
	wait_in_all_ways(GORT_SEC);
}

// variants: maxprocs
// label: full
// isolate
// not: tsan asan valgrind qemu
TEST(nothing_wakes_for_long_while_all_wait_each_in_its_way)
{
	wait_in_all_ways(5 * GORT_SEC);
}
