/*
 * limits.c - few threads, little address space, no descriptors: errors where one can be returned,
 * patience where not, and no abort but where nothing could ever run.
 */
#include "hogs.h"

#include "base/alloc.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* ---- options and variables */
TEST_PLAIN(max_threads_of_nonsense)
{
	const char *bad[] = { "0", "-1", "many", "10x", "1.5", "5K", "99999999999999999999999" };

	unsetenv("GORT_MAXTHREADS");
	CHECK_EQ(gort_run(nothing, NULL, &(gort_options){ .max_threads = -1 }), -EINVAL);
	CHECK_EQ(gort_run(nothing, NULL, &(gort_options){ .max_threads = INT32_MIN }), -EINVAL);
	CHECK_EQ(gort_run(nothing, NULL, &(gort_options){ .on_deadlock = 2 }), -EINVAL);
	CHECK_EQ(gort_run(nothing, NULL, &(gort_options){ .on_deadlock = -1 }), -EINVAL);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		CHECK_EQ(setenv("GORT_MAXTHREADS", bad[i], 1), 0);
		CHECK_EQ(gort_run(nothing, NULL, NULL), -EINVAL);
		CHECK_EQ(gort_start(NULL), -EINVAL);
		CHECK_EQ(gort_run(nothing, NULL, &(gort_options){ .max_threads = 5 }), -EINVAL);
	}
	CHECK_EQ(setenv("GORT_MAXTHREADS", "", 1), 0);
	CHECK_EQ(gort_run(nothing, NULL, NULL), 0);
	CHECK_EQ(gort_run(nothing, NULL, &(gort_options){ .max_threads = INT32_MAX }), 0);
}

/* ---- few threads by our own limit */
static void burn_and_nap(void *arg)
{
	(void)arg;
	burn(2 * GORT_MS);
	usleep(100);
	gort_yield();
	gort_sleep(100 * GORT_US);
}

static int work(void *arg)
{
	gort_waitgroup ended = { 0 };

	(void)arg;
	for (int i = 0; i < SCALE(30); i++)
		CHECK_EQ(gort_waitgroup_go(&ended, burn_and_nap, NULL), 0);
	make_progress(SCALE(50));
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	return 5;
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(few_threads_do_all_the_work)
{
	char text[16];

	for (int n = 1; n <= 8; n++) {
		CHECK_EQ(gort_run(work, NULL, &(gort_options){ .max_threads = n }), 5);
		snprintf(text, sizeof text, "%d", n);
		CHECK_EQ(setenv("GORT_MAXTHREADS", text, 1), 0);
		CHECK_EQ(gort_run(work, NULL, NULL), 5);
		CHECK_EQ(unsetenv("GORT_MAXTHREADS"), 0);
	}
}

static int watch_threads(void *arg)
{
	struct hogs h = { 0 };
	int before = *(int *)arg, most = 0, n;

	gort_lock_thread(); /* the others will take all threads that there are */
	hogs_start(&h, 40);
	for (int i = 0; i < SCALE(100); i++) {
		CHECK_EQ(gort_sleep(GORT_MS), 0);
		n = count_threads();
		most = n > most ? n : most;
	}
	hogs_stop(&h);
	gort_unlock_thread();
	CHECK(most <= before + 20 + 2); /* with creator and sysmon; the caller counts */
	return 0;
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(hogs_stop_no_more_threads_than_there_may_be)
{
	int before = count_threads();

	CHECK_EQ(gort_run(watch_threads, &before,
			  &(gort_options){ .max_threads = 20, .maxprocs = 1 }),
		 0);
}

static void park_locked(void *c)
{
	gort_lock_thread();
	gort_chan_recv(c, NULL);
}

static int lock_all_threads(void *arg)
{
	gort_chan *c = gort_chan_make(0, 0);

	(void)arg;
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_go(park_locked, c), 0);
	gort_sleep(GORT_US); /* now it has no thread of its own either */
	for (;;)
		gort_yield();
	return 0;
}

static int lock_and_wait(void *arg)
{
	gort_chan *c = gort_chan_make(0, 0);

	(void)arg;
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_go(park_locked, c), 0);
	return gort_chan_recv(c, NULL);
}

/* Nothing can run but goroutines that wait: the message says why, and how to raise it. (Where the
 * sanitizer has no thread of its own that might wake one.) */
// not: tsan
TEST_PLAIN_DIES(all_threads_kept_by_waiting_ones, "max_threads")
{
	gort_run(lock_all_threads, NULL, &(gort_options){ .max_threads = 5 });
}

// not: tsan
TEST_PLAIN_DIES(all_threads_kept_and_main_waits, "max_threads")
{
	gort_run(lock_and_wait, NULL, &(gort_options){ .max_threads = 5 });
}

/* As long as one of them computes, or is in the kernel, it is not hopeless. */
static void lock_and_read(void *fd)
{
	char byte;

	gort_lock_thread();
	CHECK_EQ(read(*(int *)fd, &byte, 1), 1);
	gort_unlock_thread();
}

static void write_later(void *fd)
{
	usleep(1500000); /* longer than it takes to find that nothing can run */
	for (int i = 0; i < 20; i++)
		CHECK_EQ(write(*(int *)fd, "x", 1), 1);
}

static int read_in_all_threads(void *arg)
{
	gort_waitgroup ended = { 0 };

	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, lock_and_read, arg), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	return 7;
}

TEST_PLAIN(all_threads_blocked_in_the_kernel_is_not_the_end)
{
	struct guest *g;
	int fd[2];

	CHECK_EQ(pipe(fd), 0);
	g = guest_start(write_later, &fd[1]);
	CHECK_EQ(gort_run(read_in_all_threads, &fd[0], &(gort_options){ .max_threads = 5 }), 7);
	guest_join(g);
	close(fd[0]);
	close(fd[1]);
}

/* Nor while a timer, a plain thread or a signal is to wake one of them. */
static void lock_and_sleep(void *time)
{
	gort_lock_thread();
	CHECK_EQ(gort_sleep(*(int64_t *)time), 0);
	gort_unlock_thread();
}

static int sleep_in_all_threads(void *time)
{
	gort_waitgroup ended = { 0 };

	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, lock_and_sleep, time), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	return 7;
}

TEST_PLAIN(all_threads_kept_by_sleepers_is_not_the_end)
{
	for (int64_t time = GORT_US; time < GORT_SEC; time *= 20)
		for (int n = 1; n <= 8; n += time < GORT_MS ? 1 : 3)
			CHECK_EQ(gort_run(sleep_in_all_threads, &time,
					  &(gort_options){ .max_threads =
								   n + (time > GORT_MS) * 6 }),
				 7);
}

static void lock_and_receive(void *c)
{
	int n;

	gort_lock_thread();
	CHECK_EQ(gort_chan_recv(c, &n), 0);
	gort_unlock_thread();
}

static int receive_in_all_threads(void *c)
{
	gort_waitgroup ended = { 0 };

	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, lock_and_receive, c), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	return 7;
}

static void send_later(void *c)
{
	usleep(1500000); /* longer than it takes to find that nothing can run */
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_chan_send(c, &i), 0);
}

TEST_PLAIN(all_threads_kept_while_a_plain_thread_lives_is_not_the_end)
{
	gort_chan *c = gort_chan_make(sizeof(int), 0);
	struct guest *g = guest_start(send_later, c);

	CHECK_EQ(gort_run(receive_in_all_threads, c, &(gort_options){ .max_threads = 5 }), 7);
	guest_join(g);
	gort_chan_release(c);
}

static int receive_signals_in_all_threads(void *c)
{
	const struct timeval soon = { 0, 100000 };

	CHECK_EQ(gort_signal_notify(c, SIGALRM), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &(struct itimerval){ soon, { 1, 500000 } }, NULL), 0);
	CHECK_EQ(receive_in_all_threads(c), 7);
	CHECK_EQ(setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL), 0);
	return 7;
}

// TSan keeps a signal till its thread calls something that it knows.
// not: tsan
TEST_PLAIN(all_threads_kept_while_a_signal_is_awaited_is_not_the_end)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);

	CHECK_EQ(gort_run(receive_signals_in_all_threads, c, &(gort_options){ .max_threads = 5 }),
		 7);
	gort_chan_release(c);
}

/* ---- limits of the system, in children */
static void in_child(void (*fn)(long), long n)
{
	int status = -1;
	pid_t child;

	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		alarm(60);
		fn(n);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		test_fail_(__FILE__, __LINE__, "with %ld: status %#x", n, status);
}

static void set_limit(__rlimit_resource_t what, rlim_t n)
{
	CHECK_EQ(setrlimit(what, &(struct rlimit){ n, n }), 0);
}

static bool is_short_of(int err)
{
	return err == -ENOMEM || err == -EAGAIN;
}

static int nap(void *arg)
{
	(void)arg;
	usleep(100); /* a dump may interrupt it */
	return 3;
}

static void block_in_all_ways(void *arg)
{
	int err;

	(void)arg;
	CHECK_EQ(gort_blocking(nap, NULL), 3);
	gort_lock_thread();
	err = gort_sleep(10 * GORT_US);
	CHECK_EQ(gort_blocking(nap, NULL), 3);
	gort_unlock_thread();
	CHECK(err == 0 || is_short_of(err));
}

static int watch_a_signal(void)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);
	int err = c ? gort_signal_notify(c, SIGUSR1) : -ENOMEM, n = 0;

	if (err == 0) {
		CHECK_EQ(raise(SIGUSR1), 0);
		CHECK_EQ(gort_chan_recv(c, &n), 0);
		CHECK_EQ(n, SIGUSR1);
		CHECK_EQ(gort_signal_stop(c), 0);
	}
	gort_chan_release(c);
	return err;
}

static int fire_timers(void)
{
	gort_timer *t[10];
	int err = 0;

	for (int i = 0; i < 10; i++) {
		t[i] = gort_timer_start(gort_in(i * 10 * GORT_US), 0, NULL, NULL);
		err = t[i] ? err : -ENOMEM;
	}
	for (int i = 0; i < 10; i++) {
		if (t[i])
			CHECK_EQ(gort_chan_recv(gort_timer_chan(t[i]), NULL), 0);
		gort_timer_release(t[i]);
	}
	return err;
}

static int dump_somewhere(void)
{
	int fd = memfd_create("dump", MFD_CLOEXEC), err;

	CHECK(fd >= 0);
	err = gort_dump(fd);
	close(fd);
	return err;
}

/* All that takes threads or memory of its own: it works, or says that it has none. */
static int other_work(void *arg)
{
	gort_waitgroup ended = { 0 };
	int err[5] = { 0 }, before = gort_maxprocs(0);

	(void)arg;
	for (int i = 0; i < 10 && err[0] == 0; i++)
		err[0] = gort_waitgroup_go(&ended, block_in_all_ways, NULL);
	err[1] = watch_a_signal();
	err[2] = fire_timers();
	err[3] = dump_somewhere();
	err[4] = gort_maxprocs(before + 5);
	CHECK_EQ(gort_maxprocs(0), err[4] < 0 ? before : before + 5);
	err[4] = err[4] < 0 ? err[4] : 0;
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	for (int i = 0; i < 5; i++) {
		CHECK(err[i] == 0 || is_short_of(err[i]));
		if (err[i])
			return err[i];
	}
	return 5;
}

/* What fn gives; 5, if there may be too few threads. Those of an earlier run count till the kernel has
 * buried them, a moment after they were joined. */
static int run_if_enough(int (*fn)(void *), bool enough)
{
	int err;

	while ((err = gort_run(fn, NULL, NULL)) == -EAGAIN && enough)
		usleep(1000);
	return err == -EAGAIN ? 5 : err;
}

/* A user of its own, that may have so many threads. */
static void few_by_nproc(long n)
{
	int err;

	set_limit(RLIMIT_NPROC, (rlim_t)n);
	CHECK_EQ(setuid((uid_t)(100000 + getpid())), 0);
	CHECK_EQ(run_if_enough(work, n >= 6), 5);
	CHECK_EQ(run_if_enough(other_work, n >= 7), 5); /* one more for signals */
	while ((err = gort_start(NULL)) == -EAGAIN && n >= 6)
		usleep(1000);
	CHECK(err == 0 || err == -EAGAIN);
	if (err == 0)
		CHECK_EQ(gort_stop(), 0);
}

// variants: maxprocs
// not: tsan asan qemu valgrind
TEST_PLAIN(few_threads_by_the_systems_limit)
{
	if (geteuid() != 0)
		SKIP("only root can become a user that has no threads yet");
	for (long n = 1; n <= 10; n++)
		in_child(few_by_nproc, n);
}

static long address_space(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long pages = 0;

	CHECK(f != NULL);
	CHECK_EQ(fscanf(f, "%ld", &pages), 1);
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

static void wait_for_close(void *c)
{
	gort_chan_recv(c, NULL);
}

static int fill_memory(void *arg)
{
	gort_chan *c = gort_chan_make(0, 0);
	gort_waitgroup ended = { 0 };
	int err = 0;

	(void)arg;
	if (!c)
		return -ENOMEM;
	for (int i = 0; i < 3000 && err == 0; i++) {
		err = gort_waitgroup_go(&ended, wait_for_close, c);
		if (i % 64 == 0)
			gort_yield();
	}
	CHECK(err == 0 || err == -ENOMEM);
	for (int i = 0; i < 1000; i++) {
		gort_chan *more = gort_chan_make(1, 10000);
		gort_task *task = gort_spawn(nothing, NULL, NULL);

		if (task)
			CHECK_EQ(gort_join(task, NULL), 0);
		gort_chan_release(more);
	}
	CHECK_EQ(gort_chan_close(c), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	gort_chan_release(c);
	return 0;
}

static int work_in_memory(void *arg)
{
	gort_waitgroup ended = { 0 };
	int err = 0;

	(void)arg;
	for (int i = 0; i < 100 && err == 0; i++)
		err = gort_waitgroup_go(&ended, burn_and_nap, NULL);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	return err ? err : 5;
}

static void little_memory(long n)
{
	int err;

	set_limit(RLIMIT_AS, (rlim_t)(address_space() + n));
	err = gort_run(fill_memory, NULL, NULL);
	CHECK(err == 0 || err == -ENOMEM || err == -EAGAIN);
	CHECK(err == 0 || n < (200L << 20));
	err = gort_run(work_in_memory, NULL, NULL); /* all of it has come back */
	CHECK(err == 5 || err == -ENOMEM || err == -EAGAIN);
	CHECK(err == 5 || n < (200L << 20));
	err = gort_run(other_work, NULL, NULL);
	CHECK(err == 5 || is_short_of(err));
	CHECK(err == 5 || n < (200L << 20));
}

// variants: maxprocs
// not: tsan asan qemu valgrind
TEST_PLAIN(little_address_space)
{
	static const long kib[] = { 0,     4,     16,    64,    256,   1000,   4000,   9000,
				    12000, 16000, 20000, 30000, 50000, 100000, 300000, 800000 };

	for (size_t i = 0; i < sizeof kib / sizeof kib[0]; i++)
		in_child(little_memory, kib[i] << 10);
}

/* So many mappings more may be made: vm.max_map_count. Pages take turns in what may be done with
 * them, so that each is a mapping. */
static void few_mappings(long left)
{
	size_t before = mem_in_use();
	size_t page = (size_t)sysconf(_SC_PAGESIZE), most = 400000;
	char *p = mmap(NULL, most * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	size_t i = 0;
	int err;

	CHECK(p != MAP_FAILED);
	while (i < most && mprotect(p + i * page, page, PROT_READ) == 0)
		i += 2;
	if (i >= most)
		_exit(0); /* there may be more here */
	for (long n = 0; n < left; n++)
		CHECK_EQ(munmap(p + (size_t)n * page, page), 0);
	err = gort_run(fill_memory, NULL, NULL);
	CHECK(err == 0 || is_short_of(err));
	CHECK(err == 0 || left < 1000);
	err = gort_run(other_work, NULL, NULL);
	CHECK(err == 5 || is_short_of(err));
	CHECK(err == 5 || left < 1000);
	err = gort_run(work_in_memory, NULL, NULL);
	CHECK(err == 5 || is_short_of(err));
	CHECK(err == 5 || left < 1000);
	CHECK_EQ(munmap(p + (size_t)left * page, (most - (size_t)left) * page), 0);
	CHECK_EQ(gort_run(fill_memory, NULL, NULL), 0);
	CHECK_EQ(gort_run(other_work, NULL, NULL), 5);
	CHECK_EQ(mem_in_use(), before);
}

static void few_mappings_by_mprotect(long left)
{
	os_linux_force_guard(OS_GUARD_MPROTECT);
	few_mappings(left);
}

static const long few[] = { 0, 1, 2, 3, 5, 8, 12, 16, 20, 30, 60, 2000 };

// variants: maxprocs
// not: tsan asan qemu valgrind
TEST_PLAIN(few_mappings_left)
{
	for (size_t i = 0; i < sizeof few / sizeof few[0]; i++)
		in_child(few_mappings, few[i]);
}

// variants: maxprocs
// not: tsan asan qemu valgrind
TEST_PLAIN(few_mappings_left_and_guards_take_some)
{
	for (size_t i = 0; i < sizeof few / sizeof few[0]; i++)
		in_child(few_mappings_by_mprotect, few[i]);
}

struct reader {
	int fd[2];
	atomic_int began, done;
	gort_waitgroup ended;
};

static void read_one(void *arg)
{
	struct reader *r = arg;
	char byte;

	atomic_fetch_add(&r->began, 1);
	CHECK_EQ(read(r->fd[0], &byte, 1), 1);
	atomic_fetch_add(&r->done, 1);
}

/* Sysmon cannot ask /proc then. */
// variants: maxprocs
TEST(blocked_calls_without_descriptors_left)
{
	struct reader r = { 0 };
	struct rlimit was;

	CHECK_EQ(pipe(r.fd), 0);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, was.rlim_max }), 0);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_waitgroup_go(&r.ended, read_one, &r), 0);
	EVENTUALLY(atomic_load(&r.began) == 10);
	make_progress(50);
	CHECK_EQ(atomic_load(&r.done), 0);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(write(r.fd[1], "x", 1), 1);
	CHECK_EQ(gort_waitgroup_wait(&r.ended), 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
	close(r.fd[0]);
	close(r.fd[1]);
}

// variants: maxprocs
// not: tsan
TEST(hogs_without_descriptors_left)
{
	struct hogs h = { 0 };
	struct rlimit was;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, was.rlim_max }), 0);
	hogs_start(&h, 4);
	make_progress(SCALE(100));
	hogs_stop(&h);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
}
