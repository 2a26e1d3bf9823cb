/*
 * blocking.c - goroutines whose threads block in the kernel: the others go on.
 */
#include "hogs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct reader {
	int fd[2];
	gort_waitgroup ended;
};

/* Served only once others have gone on: the read has provably not returned before. */
static void read_one(void *arg)
{
	struct reader *r = arg;
	char c = 0;

	errno = EXDEV;
	CHECK_EQ(read(r->fd[0], &c, 1), 1);
	CHECK_EQ(c, 'x');
	CHECK_EQ(errno, EXDEV);
}

// variants: maxprocs
TEST(others_go_on_while_reads_block)
{
	enum { READERS = SCALE(1000) };
	struct reader r = { 0 };

	CHECK_EQ(pipe(r.fd), 0);
	for (int i = 0; i < READERS; i++)
		CHECK_EQ(gort_waitgroup_go(&r.ended, read_one, &r), 0);
	for (int i = 0; i < 10000; i++)
		gort_yield();
	for (int i = 0; i < READERS; i++)
		CHECK_EQ(write(r.fd[1], "x", 1), 1);
	CHECK_EQ(gort_waitgroup_wait(&r.ended), 0);
	close(r.fd[0]);
	close(r.fd[1]);
}

static int receive(void *c)
{
	int n = 0;

	CHECK_EQ(gort_chan_recv(c, &n), 0);
	return n;
}

static int nested(void *c)
{
	return gort_blocking(receive, c) + 1;
}

// variants: maxprocs
TEST(blocking_nests_parks_and_gives_the_result)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);
	int n = 41;

	CHECK_EQ(gort_chan_send(c, &n), 0);
	CHECK_EQ(gort_blocking(nested, c), 42);
	gort_chan_release(c);
}

static int fail_inside(void *arg)
{
	(void)arg;
	gort_panic("inside");
}

static void call_failing(void *arg)
{
	gort_blocking(fail_inside, arg);
}

// variants: maxprocs
TEST(panic_inside_blocking_is_caught_around_it)
{
	char text[32];

	for (int i = 0; i < 100; i++) {
		CHECK_EQ(gort_try(call_failing, NULL, text, sizeof text), -EOWNERDEAD);
		CHECK_STR(text, "inside");
	}
}

static void leave_inside(void *arg)
{
	(void)arg;
	gort_goexit();
}

static int call_leaving(void *arg)
{
	leave_inside(arg);
	return 1;
}

static void block_and_leave(void *arg)
{
	gort_blocking(call_leaving, arg);
	CHECK(false && "came back from goexit");
}

// variants: maxprocs
TEST(goexit_inside_blocking_ends_the_goroutine)
{
	gort_waitgroup ended = { 0 };

	for (int i = 0; i < 100; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, block_and_leave, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
}

/* ---- calls of all kinds that only `release` can end */
enum { BLOCKED = 3 };

struct call {
	void (*block)(struct call *c);
	atomic_int began, ended;
	_Atomic(pid_t) tids[BLOCKED];
	gort_waitgroup all;
	int fd[2];
	pid_t child[BLOCKED];
	pthread_t threads[BLOCKED];
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	atomic_bool told;
	sem_t sem;
	uint32_t word;
	char path[64];
};

static void block_in(void *arg)
{
	struct call *c = arg;

	atomic_store(&c->tids[atomic_fetch_add(&c->began, 1)], gettid());
	errno = EXDEV;
	c->block(c);
	CHECK_EQ(errno, EXDEV);
	atomic_fetch_add(&c->ended, 1);
}

static void start_blocked(struct call *c, void (*block)(struct call *c))
{
	c->block = block;
	for (int i = 0; i < BLOCKED; i++)
		CHECK_EQ(gort_waitgroup_go(&c->all, block_in, c), 0);
	EVENTUALLY(atomic_load(&c->began) == BLOCKED);
	make_progress(SCALE(500));
	CHECK_EQ(atomic_load(&c->ended), 0);
}

static void end_blocked(struct call *c)
{
	CHECK_EQ(gort_waitgroup_wait(&c->all), 0);
	CHECK_EQ(atomic_load(&c->ended), BLOCKED);
}

static void on_alarm(int signo)
{
	(void)signo;
}

/* Only a signal ends it: the program's own, once it has been told, so it is still blocked when the
 * others have gone on. Rarely it is one of gort's that is late. */
static void block_nanosleep(struct call *c)
{
	do {
		CHECK_EQ(syscall(SYS_nanosleep, &(struct timespec){ 3600, 0 }, NULL), -1);
		CHECK_EQ(errno, EINTR);
	} while (!atomic_load(&c->told));
	errno = EXDEV;
}

// variants: maxprocs
TEST(others_go_on_while_nanosleep_blocks)
{
	struct sigaction act = { .sa_handler = on_alarm };
	struct call c = { 0 };

	CHECK_EQ(sigaction(SIGUSR1, &act, NULL), 0); /* for good: the last may come late */
	start_blocked(&c, block_nanosleep);
	atomic_store(&c.told, true);
	for (int i = 0; i < 10000 && atomic_load(&c.ended) < BLOCKED; i++) {
		for (int k = 0; k < BLOCKED; k++) /* early ones are lost: again */
			syscall(SYS_tgkill, getpid(), atomic_load(&c.tids[k]), SIGUSR1);
		CHECK_EQ(gort_sleep(GORT_MS), 0);
	}
	end_blocked(&c);
}

static void block_flock(struct call *c)
{
	int fd = open(c->path, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(flock(fd, LOCK_EX), 0);
	CHECK_EQ(flock(fd, LOCK_UN), 0);
	close(fd);
}

// variants: maxprocs
TEST(others_go_on_while_flock_blocks)
{
	struct call c = { .path = "/tmp/gort-flock-XXXXXX" };
	int fd = mkstemp(c.path);

	CHECK(fd >= 0);
	CHECK_EQ(flock(fd, LOCK_EX), 0);
	start_blocked(&c, block_flock);
	CHECK_EQ(flock(fd, LOCK_UN), 0);
	end_blocked(&c);
	close(fd);
	unlink(c.path);
}

static void block_waitpid(struct call *c)
{
	static atomic_int next;
	pid_t child = c->child[atomic_fetch_add(&next, 1)];
	int status = -1;

	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 3);
}

// variants: maxprocs
TEST(others_go_on_while_waitpid_blocks)
{
	struct call c = { 0 };

	CHECK_EQ(pipe(c.fd), 0);
	for (int i = 0; i < BLOCKED; i++) {
		c.child[i] = fork();
		CHECK(c.child[i] >= 0);
		if (c.child[i] == 0) { /* until the pipe has no writer */
			char byte;

			close(c.fd[1]);
			_exit(read(c.fd[0], &byte, 1) == 0 ? 3 : 4);
		}
	}
	start_blocked(&c, block_waitpid);
	close(c.fd[1]);
	end_blocked(&c);
	close(c.fd[0]);
}

static void block_mutex(struct call *c)
{
	CHECK_EQ(pthread_mutex_lock(&c->mutex), 0);
	CHECK_EQ(pthread_mutex_unlock(&c->mutex), 0);
}

static void hold_mutex(void *arg)
{
	struct call *c = arg;
	char byte;

	CHECK_EQ(pthread_mutex_lock(&c->mutex), 0);
	CHECK_EQ(sem_post(&c->sem), 0);
	CHECK_EQ(read(c->fd[0], &byte, 1), 1);
	CHECK_EQ(pthread_mutex_unlock(&c->mutex), 0);
}

// variants: maxprocs
TEST(others_go_on_while_a_pthread_mutex_blocks)
{
	struct call c = { .mutex = PTHREAD_MUTEX_INITIALIZER };
	struct guest *holder;

	CHECK_EQ(pipe(c.fd), 0);
	CHECK_EQ(sem_init(&c.sem, 0, 0), 0);
	holder = guest_start(hold_mutex, &c);
	CHECK_EQ(sem_wait(&c.sem), 0);
	start_blocked(&c, block_mutex);
	CHECK_EQ(write(c.fd[1], "x", 1), 1);
	end_blocked(&c);
	guest_join(holder);
	close(c.fd[0]);
	close(c.fd[1]);
}

static void block_cond(struct call *c)
{
	CHECK_EQ(pthread_mutex_lock(&c->mutex), 0);
	while (!c->told)
		CHECK_EQ(pthread_cond_wait(&c->cond, &c->mutex), 0);
	CHECK_EQ(pthread_mutex_unlock(&c->mutex), 0);
}

// variants: maxprocs
TEST(others_go_on_while_a_pthread_cond_blocks)
{
	struct call c = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

	start_blocked(&c, block_cond);
	CHECK_EQ(pthread_mutex_lock(&c.mutex), 0);
	c.told = true;
	CHECK_EQ(pthread_cond_broadcast(&c.cond), 0);
	CHECK_EQ(pthread_mutex_unlock(&c.mutex), 0);
	end_blocked(&c);
}

static void block_sem(struct call *c)
{
	CHECK_EQ(sem_wait(&c->sem), 0);
}

// variants: maxprocs
TEST(others_go_on_while_sem_wait_blocks)
{
	struct call c = { 0 };

	CHECK_EQ(sem_init(&c.sem, 0, 0), 0);
	start_blocked(&c, block_sem);
	for (int i = 0; i < BLOCKED; i++)
		CHECK_EQ(sem_post(&c.sem), 0);
	end_blocked(&c);
}

static void block_futex(struct call *c)
{
	while (__atomic_load_n(&c->word, __ATOMIC_ACQUIRE) == 0)
		if (syscall(SYS_futex, &c->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) < 0)
			CHECK_EQ(errno, EAGAIN); /* never EINTR: no signal but ours */
	errno = EXDEV;
}

// variants: maxprocs
TEST(others_go_on_while_a_futex_blocks)
{
	struct call c = { 0 };

	start_blocked(&c, block_futex);
	__atomic_store_n(&c.word, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &c.word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
	end_blocked(&c);
}

static void block_poll(struct call *c)
{
	struct pollfd p = { .fd = c->fd[0], .events = POLLIN };
	int n;

	while ((n = poll(&p, 1, -1)) < 0)
		CHECK_EQ(errno, EINTR); /* a signal of gort's that is late: rare */
	CHECK_EQ(n, 1);
	errno = EXDEV;
}

// variants: maxprocs
TEST(others_go_on_while_poll_blocks)
{
	struct call c = { 0 };

	CHECK_EQ(pipe(c.fd), 0);
	start_blocked(&c, block_poll);
	CHECK_EQ(write(c.fd[1], "x", 1), 1);
	end_blocked(&c);
	close(c.fd[0]);
	close(c.fd[1]);
}

static void block_open(struct call *c)
{
	int fd = open(c->path, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	close(fd);
}

// variants: maxprocs
TEST(others_go_on_while_opening_a_fifo_blocks)
{
	struct call c = { .path = "/tmp/gort-fifo-XXXXXX" };
	int fd = mkstemp(c.path);

	CHECK(fd >= 0);
	close(fd);
	CHECK_EQ(unlink(c.path), 0);
	CHECK_EQ(mkfifo(c.path, 0600), 0);
	start_blocked(&c, block_open);
	fd = open(c.path, O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	end_blocked(&c);
	close(fd);
	unlink(c.path);
}

static void block_join(struct call *c)
{
	static atomic_int next;

	CHECK_EQ(pthread_join(c->threads[atomic_fetch_add(&next, 1)], NULL), 0);
}

static void *wait_for_end_of_file(void *arg)
{
	struct call *c = arg;
	char byte;

	CHECK_EQ(read(c->fd[0], &byte, 1), 0);
	return NULL;
}

// variants: maxprocs
TEST(others_go_on_while_pthread_join_blocks)
{
	struct call c = { 0 };

	CHECK_EQ(pipe(c.fd), 0);
	for (int i = 0; i < BLOCKED; i++)
		CHECK_EQ(pthread_create(&c.threads[i], NULL, wait_for_end_of_file, &c), 0);
	start_blocked(&c, block_join);
	close(c.fd[1]);
	end_blocked(&c);
	close(c.fd[0]);
}

static void look_up(void *arg)
{
	struct addrinfo *found = NULL;

	(void)arg;
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(getaddrinfo("localhost", "80", NULL, &found), 0);
		freeaddrinfo(found);
	}
}

// variants: maxprocs
// not: tsan
TEST(names_are_found_by_many_among_hogs)
{
	gort_waitgroup ended = { 0 };
	struct hogs h = { 0 };

	hogs_start(&h, 2);
	for (int i = 0; i < SCALE(50); i++)
		CHECK_EQ(gort_waitgroup_go(&ended, look_up, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	hogs_stop(&h);
}

/* ---- very many */
struct piped {
	int fd[2];
	atomic_int *began;
	int got;
};

static void read_own(void *arg)
{
	struct piped *p = arg;

	atomic_fetch_add(p->began, 1);
	CHECK_EQ(read(p->fd[0], &p->got, sizeof p->got), sizeof p->got);
}

// variants: maxprocs
TEST(a_thousand_pipes_each_with_its_reader)
{
	enum { PIPES = SCALE(1000) };
	static struct piped pipes[PIPES];
	gort_waitgroup ended = { 0 };
	struct rlimit files;
	atomic_int began = 0;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_cur < 2 * PIPES + 500)
		SKIP("too few descriptors");
	for (int i = 0; i < PIPES; i++) {
		pipes[i].began = &began;
		CHECK_EQ(pipe(pipes[i].fd), 0);
		CHECK_EQ(gort_waitgroup_go(&ended, read_own, &pipes[i]), 0);
	}
	EVENTUALLY(atomic_load(&began) == PIPES);
	for (int i = PIPES - 1; i >= 0; i--)
		CHECK_EQ(write(pipes[i].fd[1], &i, sizeof i), sizeof i);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	for (int i = 0; i < PIPES; i++) {
		CHECK_EQ(pipes[i].got, i);
		close(pipes[i].fd[0]);
		close(pipes[i].fd[1]);
	}
}

/* ---- fewer threads than blocked calls: the data must come from one that has a thread */
enum { FEW_THREADS = 50, MANY_READS = 500 };

struct few {
	int fd[2];
	atomic_int began, served;
	gort_waitgroup ended;
	bool by_blocking;
};

static int read_byte(void *arg)
{
	struct few *f = arg;
	char byte = 0;

	atomic_fetch_add(&f->began, 1);
	CHECK_EQ(read(f->fd[0], &byte, 1), 1);
	CHECK_EQ(byte, 'x');
	return 7;
}

static void read_few(void *arg)
{
	struct few *f = arg;

	if (f->by_blocking)
		CHECK_EQ(gort_blocking(read_byte, f), 7);
	else
		read_byte(f);
	atomic_fetch_add(&f->served, 1);
}

static void feed(void *arg)
{
	struct few *f = arg;

	EVENTUALLY(atomic_load(&f->began) >= FEW_THREADS / 2);
	for (int i = 0; i < MANY_READS; i++)
		CHECK_EQ(write(f->fd[1], "x", 1), 1);
}

static int fed_by_guest(void *arg)
{
	struct few *f = arg;
	struct guest *g;

	CHECK_EQ(pipe(f->fd), 0);
	for (int i = 0; i < MANY_READS; i++)
		CHECK_EQ(gort_waitgroup_go(&f->ended, read_few, f), 0);
	g = guest_start(feed, f);
	CHECK_EQ(gort_waitgroup_wait(&f->ended), 0);
	CHECK_EQ(atomic_load(&f->served), MANY_READS);
	guest_join(g);
	close(f->fd[0]);
	close(f->fd[1]);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(more_blocked_reads_than_threads)
{
	const gort_options few = { .max_threads = FEW_THREADS };

	for (int i = 0; i < 2; i++)
		CHECK_EQ(gort_run(fed_by_guest, &(struct few){ .by_blocking = i }, &few), 0);
}

static int fed_by_locked_main(void *arg)
{
	struct few *f = arg;

	gort_lock_thread(); /* so it has one, whatever the others do */
	CHECK_EQ(pipe(f->fd), 0);
	for (int i = 0; i < MANY_READS; i++)
		CHECK_EQ(gort_waitgroup_go(&f->ended, read_few, f), 0);
	feed(f);
	CHECK_EQ(gort_waitgroup_wait(&f->ended), 0);
	CHECK_EQ(atomic_load(&f->served), MANY_READS);
	close(f->fd[0]);
	close(f->fd[1]);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(locked_main_serves_more_blocked_reads_than_threads)
{
	const gort_options few = { .max_threads = FEW_THREADS };

	for (int i = 0; i < 2; i++)
		CHECK_EQ(gort_run(fed_by_locked_main, &(struct few){ .by_blocking = i }, &few), 0);
}

/* ---- gort_blocking */
static int read_told(void *arg)
{
	int *fd = arg, n = 0;

	CHECK_EQ(read(fd[0], &n, sizeof n), sizeof n);
	return n;
}

struct told {
	int fd[2];
	atomic_long sum;
	gort_waitgroup ended;
};

static void call_read_told(void *arg)
{
	struct told *t = arg;

	atomic_fetch_add(&t->sum, gort_blocking(read_told, t->fd));
}

// variants: maxprocs
TEST(many_in_gort_blocking_at_once)
{
	enum { CALLS = SCALE(500) };
	struct told t = { 0 };
	struct guest *guests[4];

	CHECK_EQ(pipe(t.fd), 0);
	for (int i = 0; i < 4; i++)
		guests[i] = guest_start(call_read_told, &t);
	for (int i = 0; i < CALLS; i++)
		CHECK_EQ(gort_waitgroup_go(&t.ended, call_read_told, &t), 0);
	make_progress(SCALE(200));
	CHECK_EQ(atomic_load(&t.sum), 0);
	for (int i = 0; i < CALLS + 4; i++)
		CHECK_EQ(write(t.fd[1], &i, sizeof i), sizeof i);
	CHECK_EQ(gort_waitgroup_wait(&t.ended), 0);
	for (int i = 0; i < 4; i++)
		guest_join(guests[i]);
	CHECK_EQ(atomic_load(&t.sum), (long)(CALLS + 4) * (CALLS + 3) / 2);
	close(t.fd[0]);
	close(t.fd[1]);
}

/* A context does not end it; what it does inside obeys. */
static int cancelled_inside(void *arg)
{
	int *fd = arg;

	CHECK_EQ(gort_sleep(GORT_SEC * 3600), -ECANCELED);
	return read_told(fd);
}

// variants: maxprocs
TEST(blocking_under_an_ended_context_runs_to_its_end)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *old;
	int fd[2], n = 42;
	int64_t was;

	CHECK_EQ(pipe(fd), 0);
	old = gort_ctx_enter(ctx);
	was = gort_set_deadline(gort_in(GORT_SEC * 3600));
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(write(fd[1], &n, sizeof n), sizeof n);
	CHECK_EQ(gort_blocking(cancelled_inside, fd), 42);
	CHECK_EQ(gort_set_deadline(was) != GORT_FOREVER, true);
	gort_ctx_leave(old);
	gort_ctx_release(ctx);
	close(fd[0]);
	close(fd[1]);
}

static int burn_until(void *arg)
{
	atomic_bool *stop = arg;

	while (!atomic_load_explicit(stop, memory_order_relaxed))
		continue;
	return 5;
}

static void burn_in_blocking(void *arg)
{
	CHECK_EQ(gort_blocking(burn_until, arg), 5);
}

/* CPU burnt in gort_blocking keeps no P; and it is nothing that preemption could hurt. */
// variants: maxprocs
// not: tsan
TEST(hogs_in_gort_blocking_hold_nobody_up)
{
	gort_waitgroup ended = { 0 };
	atomic_bool stop = false;

	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, burn_in_blocking, &stop), 0);
	make_progress(SCALE(200));
	atomic_store(&stop, true);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
}

/* ---- no EINTR from us */
struct looper {
	atomic_bool stop;
	atomic_int bad, rounds;
	int fd[2];
	gort_waitgroup ended;
};

/* None of these calls gort, so each of them may stay without a P all the time. */
static void loop_nanosleep(void *arg)
{
	struct looper *l = arg;

	while (!atomic_load(&l->stop)) {
		if (nanosleep(&(struct timespec){ 0, 100000 }, NULL) < 0)
			atomic_fetch_add(&l->bad, 1);
		atomic_fetch_add(&l->rounds, 1);
	}
}

static void loop_usleep(void *arg)
{
	struct looper *l = arg;

	while (!atomic_load(&l->stop)) {
		if (usleep(100) < 0)
			atomic_fetch_add(&l->bad, 1);
		atomic_fetch_add(&l->rounds, 1);
	}
}

static void loop_poll(void *arg)
{
	struct looper *l = arg;

	while (!atomic_load(&l->stop)) {
		if (poll(NULL, 0, 1) < 0)
			atomic_fetch_add(&l->bad, 1);
		atomic_fetch_add(&l->rounds, 1);
	}
}

static void loop_compute_and_poll(void *arg)
{
	struct looper *l = arg;

	while (!atomic_load(&l->stop)) {
		for (volatile int i = 0; i < 300000; i = i + 1)
			continue;
		if (poll(NULL, 0, 1) < 0)
			atomic_fetch_add(&l->bad, 1);
		if (nanosleep(&(struct timespec){ 0, 1000 }, NULL) < 0)
			atomic_fetch_add(&l->bad, 1);
		atomic_fetch_add(&l->rounds, 20);
	}
}

static void loop_read(void *arg)
{
	struct looper *l = arg;
	char byte;

	while (!atomic_load(&l->stop)) {
		if (read(l->fd[0], &byte, 1) < 0)
			atomic_fetch_add(&l->bad, 1);
		atomic_fetch_add(&l->rounds, 1);
	}
}

static void loop_write(void *arg)
{
	struct looper *l = arg;

	while (!atomic_load(&l->stop)) {
		if (write(l->fd[1], "x", 1) < 0)
			atomic_fetch_add(&l->bad, 1);
		usleep(50);
	}
	CHECK_EQ(write(l->fd[1], "xx", 2), 2); /* the last reader may wait */
}

/* Those that the kernel does not restart (SA_RESTART) may be met just as they go to sleep: where gort
 * cannot make them again (os/linux/again.c) some few end. */
#define FEW 50

/* one_in: at most one in so many; 0: none. */
static void few_eintr(void (*loop)(void *), void (*with)(void *), int one_in)
{
	struct looper l = { 0 };
	struct hogs h = { 0 };

	CHECK_EQ(pipe(l.fd), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(gort_waitgroup_go(&l.ended, loop, &l), 0);
	if (with)
		CHECK_EQ(gort_waitgroup_go(&l.ended, with, &l), 0);
	hogs_start(&h, 3);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_sleep(GORT_MS), 0);
	EVENTUALLY(atomic_load(&l.rounds) >= SCALE(5000));
	atomic_store(&l.stop, true);
	hogs_stop(&h);
	CHECK_EQ(gort_waitgroup_wait(&l.ended), 0);
	CHECK(atomic_load(&l.bad) <= (one_in ? 1 + atomic_load(&l.rounds) / one_in : 0));
	close(l.fd[0]);
	close(l.fd[1]);
}

// variants: maxprocs
// not: tsan
TEST(nanosleep_sees_hardly_any_eintr_of_ours)
{
	few_eintr(loop_nanosleep, NULL, FEW);
}

// variants: maxprocs
// not: tsan
TEST(usleep_sees_hardly_any_eintr_of_ours)
{
	few_eintr(loop_usleep, NULL, FEW);
}

// variants: maxprocs
// not: tsan
TEST(poll_sees_hardly_any_eintr_of_ours)
{
	few_eintr(loop_poll, NULL, FEW);
}

// variants: maxprocs
// not: tsan
TEST(who_computes_and_polls_sees_hardly_any_eintr_of_ours)
{
	few_eintr(loop_compute_and_poll, NULL, FEW);
}

// variants: maxprocs
// not: tsan
TEST(read_sees_no_eintr_of_ours)
{
	few_eintr(loop_read, loop_write, 0);
}

/* ---- a goroutine stays on its thread across all that does not wait */
struct holders {
	pthread_mutex_t locks[3];
	gort_mutex mutex;
	gort_sem sem;
	gort_chan *chan;
	gort_waitgroup ended, born;
	int rounds;
};

static int nap(void *arg)
{
	(void)arg;
	return usleep(100);
}

static void burn_a_bit(void)
{
	for (volatile int i = 0; i < 30000; i = i + 1)
		continue;
}

static void hold_across(void *arg)
{
	struct holders *h = arg;
	unsigned random = (unsigned)gort_self();

	for (int i = 0; i < h->rounds; i++) {
		pthread_mutex_t *lock = &h->locks[rand_r(&random) % 3];
		int value = i;
		pid_t tid;

		CHECK_EQ(pthread_mutex_lock(lock), 0);
		tid = gettid();
		switch (rand_r(&random) % 8) {
		case 0:
			gort_chan_try_send(h->chan, &value);
			gort_chan_try_recv(h->chan, &value);
			break;
		case 1:
			if (gort_mutex_try_lock(&h->mutex) == 0) {
				burn_a_bit();
				gort_mutex_unlock(&h->mutex);
			}
			break;
		case 2:
			CHECK_EQ(gort_waitgroup_go(&h->born, do_nothing, NULL), 0);
			break;
		case 3:
			usleep(50);
			break;
		case 4:
			CHECK_EQ(gort_blocking(nap, NULL), 0);
			break;
		case 5:
			gort_sem_release(&h->sem, 1);
			CHECK(gort_now() > 0);
			break;
		case 6:
			burn_a_bit();
			gort_chan_try_send(h->chan, &value);
			break;
		default:
			gort_chan_try_recv(h->chan, &value);
			gort_sem_try_acquire(&h->sem, 1);
			free(malloc(100));
		}
		CHECK_EQ(gettid(), tid);
		CHECK_EQ(pthread_mutex_unlock(lock), 0); /* EPERM: it is another thread's */
		if (i % 8 == 0)
			gort_yield();
	}
}

// variants: maxprocs
// not: tsan
TEST(pthread_mutexes_held_across_calls_that_do_not_wait)
{
	struct holders h = { .chan = gort_chan_make(sizeof(int), 1), .rounds = SCALE(300) };
	struct hogs hogs = { 0 };
	pthread_mutexattr_t kind;

	CHECK_EQ(pthread_mutexattr_init(&kind), 0);
	CHECK_EQ(pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_mutex_init(&h.locks[i], &kind), 0);
	hogs_start(&hogs, 2);
	for (int i = 0; i < 12; i++)
		CHECK_EQ(gort_waitgroup_go(&h.ended, hold_across, &h), 0);
	CHECK_EQ(gort_waitgroup_wait(&h.ended), 0);
	hogs_stop(&hogs);
	CHECK_EQ(gort_waitgroup_wait(&h.born), 0);
	gort_chan_release(h.chan);
}

/* ---- errno is a thread's: what blocks, and is overtaken, finds its own */
static void keep_errno(void *arg)
{
	int own = (int)gort_self() % 100 + 1;

	for (int i = 0; i < SCALE(200); i++) {
		errno = own;
		if (usleep(50) < 0) { /* a signal that was sent while it computed: rare */
			CHECK_EQ(errno, EINTR);
			atomic_fetch_add((atomic_int *)arg, 1);
			errno = own;
		}
		CHECK_EQ(errno, own);
		burn_a_bit();
		CHECK_EQ(errno, own);
	}
}

// variants: maxprocs
// not: tsan
TEST(errno_is_kept_across_blocked_calls_and_preemption)
{
	gort_waitgroup ended = { 0 };
	struct hogs h = { 0 };
	atomic_int interrupted = 0;

	hogs_start(&h, 2);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, keep_errno, &interrupted), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	hogs_stop(&h);
	CHECK(atomic_load(&interrupted) <= SCALE(4000) / 50);
}
