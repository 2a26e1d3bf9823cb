/*
 * stats.c - gort_read_stats: that each number moves as it should, and no other way; the lines of
 * GORT_DEBUG=sched.
 */
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static gort_stats now(void)
{
	gort_stats s;

	memset(&s, 0x55, sizeof s);
	gort_read_stats(&s, sizeof s);
	return s;
}

static atomic_bool stop;
static atomic_int there;

static void receive(void *c)
{
	gort_chan_recv(c, NULL);
}

static void go(gort_func fn, void *arg)
{
	CHECK_EQ(gort_go(fn, arg), 0);
}

/* ---- goroutines, by state */

// variants: maxprocs
TEST(waiting_ones_are_counted)
{
	enum { N = 50 };
	gort_chan *c = gort_chan_make(0, 0);
	gort_stats before = now(), s;

	CHECK_EQ(before.goroutines, 1);
	CHECK_EQ(before.running, 1);
	for (int i = 0; i < N; i++)
		go(receive, c);
	while ((s = now()).parks - before.parks < N || s.waiting < N)
		gort_yield();
	CHECK_EQ(s.parks - before.parks, N);
	CHECK_EQ(s.waiting, N);
	CHECK_EQ(s.goroutines, N + 1);
	CHECK_EQ(s.goroutines, gort_count());
	CHECK_EQ(s.created - before.created, N);
	CHECK_EQ(s.runnable, 0);
	CHECK_EQ(s.running, 1);
	CHECK(s.switches - before.switches >= N);
	gort_chan_close(c);
	EVENTUALLY(now().goroutines == 1);
	s = now();
	CHECK_EQ(s.created - before.created, N);
	CHECK_EQ(s.waiting, 0);
	gort_chan_release(c);
}

static void nothing(void *arg)
{
	(void)arg;
}

TEST(runnable_ones_are_counted)
{
	enum { N = 400 }; /* more than a ring holds, once they are woken */
	gort_chan *c = gort_chan_make(0, 0);
	gort_stats s;

	gort_maxprocs(1);
	gort_preempt_off();
	for (int i = 0; i < N; i++)
		go(nothing, NULL);
	s = now();
	CHECK_EQ(s.runnable, N);
	CHECK_EQ(s.running, 1);
	CHECK_EQ(s.waiting, 0);
	gort_preempt_on();
	EVENTUALLY(now().goroutines == 1);
	for (int i = 0; i < N; i++)
		go(receive, c);
	EVENTUALLY(now().waiting == N);
	gort_preempt_off();
	gort_chan_close(c);
	s = now();
	CHECK_EQ(s.runnable, N);
	CHECK_EQ(s.waiting, 0);
	gort_preempt_on();
	EVENTUALLY(now().goroutines == 1);
	gort_chan_release(c);
}

/* ---- switches, parks */

static void yield_often(void *arg)
{
	for (int i = 0; i < *(int *)arg; i++)
		gort_yield();
}

TEST(yields_are_switches_and_no_parks)
{
	int n = SCALE(10000);
	gort_stats before, s;

	gort_maxprocs(1);
	gort_sleep(GORT_MS); /* off gort_run's own thread */
	before = now();
	go(yield_often, &n);
	go(yield_often, &n);
	while (gort_count() > 1)
		gort_yield();
	s = now();
	CHECK(s.switches - before.switches >= (uint64_t)(2 * n));
	CHECK_EQ(s.parks, before.parks); /* nobody but these is there */
}

struct talk {
	gort_chan *to, *from;
	int n;
};

static void echo(void *arg)
{
	struct talk *t = arg;

	for (int i = 0; i < t->n; i++) {
		gort_chan_recv(t->to, NULL);
		gort_chan_send(t->from, NULL);
	}
}

/* The clock that main waits by would park as well. */
static void rest(void)
{
	while (gort_count() > 1)
		gort_yield();
}

TEST(each_wait_is_a_park)
{
	struct talk t = { gort_chan_make(0, 0), gort_chan_make(0, 0), SCALE(10000) };
	gort_stats before, s;
	uint64_t n = (uint64_t)t.n;

	gort_maxprocs(1);
	gort_sleep(GORT_MS);
	before = now();
	go(echo, &t);
	for (int i = 0; i < t.n; i++) {
		gort_chan_send(t.to, NULL);
		gort_chan_recv(t.from, NULL);
	}
	rest();
	s = now();
	/* Of the four calls of a round at least two wait. */
	CHECK(s.parks - before.parks >= 2 * n - 2);
	CHECK(s.parks - before.parks <= 4 * n);
	CHECK(s.switches - before.switches >= s.parks - before.parks);
	gort_chan_release(t.to);
	gort_chan_release(t.from);
}

static void locked_waits(void *arg)
{
	struct talk *t = arg;

	gort_lock_thread();
	for (int i = 0; i < t->n; i++)
		gort_chan_recv(t->to, NULL);
	gort_unlock_thread();
}

TEST(one_with_its_own_thread_parks_once_a_wait)
{
	enum { N = 100 };
	struct talk t = { gort_chan_make(0, 0), NULL, N };
	gort_stats before, s;

	gort_sleep(GORT_MS);
	before = now();
	go(locked_waits, &t);
	for (int i = 0; i < N; i++) {
		EVENTUALLY(gort_chan_try_send(t.to, NULL) == 0);
	}
	EVENTUALLY(gort_count() == 1);
	s = now();
	/* Receives, and main's sleeps; a switch of a thread is none of either. */
	CHECK(s.parks - before.parks >= N - 1);
	CHECK(s.parks - before.parks <= s.switches - before.switches);
	gort_chan_release(t.to);
}

/* ---- preemption, threads */

static void spin(void *arg)
{
	(void)arg;
	there++;
	while (!stop)
		;
}

TEST(hogs_are_preempted)
{
	gort_stats s;

	gort_maxprocs(1);
	go(spin, NULL);
	go(spin, NULL);
	EVENTUALLY(there == 2 && now().preemptions >= 3);
	EVENTUALLY((s = now(), s.running >= 1 && s.runnable >= 1 && s.threads_blocked >= 1));
	CHECK(s.threads >= 3);
	CHECK_EQ(s.procs, 1);
	stop = true;
	EVENTUALLY(now().goroutines == 1);
	EVENTUALLY(now().threads_blocked == 0);
}

static atomic_bool let_go;

static int block(void *arg)
{
	(void)arg;
	there++;
	while (!let_go)
		usleep(1000);
	return 0;
}

static void blocks(void *arg)
{
	gort_blocking(block, arg);
}

// variants: maxprocs
TEST(blocking_calls_are_running_on_blocked_threads)
{
	enum { N = 4 };
	gort_stats s;

	for (int i = 0; i < N; i++)
		go(blocks, NULL);
	EVENTUALLY(there == N);
	EVENTUALLY((s = now(), s.threads_blocked == N && s.running == N + 1));
	CHECK(s.threads >= N + 1);
	CHECK_EQ(s.goroutines, N + 1);
	CHECK_EQ(s.waiting, 0);
	let_go = true;
	EVENTUALLY(now().goroutines == 1);
	CHECK_EQ(now().threads_blocked, 0);
	CHECK(now().threads >= N + 1); /* they stay for the next */
}

static void read_fd(void *arg)
{
	char c;

	there++;
	CHECK_EQ(read(*(int *)arg, &c, 1), 1);
}

TEST(a_sleeper_in_the_kernel_is_retaken)
{
	int fd[2];
	gort_stats before = now(), s;

	gort_maxprocs(1);
	CHECK_EQ(pipe2(fd, O_CLOEXEC), 0);
	go(read_fd, &fd[0]);
	EVENTUALLY((s = now(), s.retakes > before.retakes && s.threads_blocked == 1));
	CHECK_EQ(write(fd[1], "x", 1), 1);
	EVENTUALLY(now().goroutines == 1);
	EVENTUALLY(now().threads_blocked == 0);
	close(fd[0]);
	close(fd[1]);
}

/* ---- Ps */

TEST(procs_show)
{
	gort_maxprocs(3);
	CHECK_EQ(now().procs, 3);
	EVENTUALLY(now().procs_idle == 2);
	for (int i = 0; i < 2; i++)
		go(spin, NULL);
	EVENTUALLY(there == 2 && now().procs_idle == 0);
	stop = true;
	EVENTUALLY(now().procs_idle == 2);
	gort_maxprocs(1);
	CHECK_EQ(now().procs, 1);
}

TEST(idle_ps_steal)
{
	gort_maxprocs(2);
	gort_preempt_off();
	go(spin, NULL); /* main burns as well: another must take it */
	while (there == 0)
		;
	gort_preempt_on();
	CHECK(now().steals >= 1);
	stop = true;
	EVENTUALLY(now().goroutines == 1);
}

/* ---- timers */

static void sleep_long(void *arg)
{
	(void)arg;
	gort_set_deadline(gort_in(GORT_SEC * 3600));
	gort_chan_recv(NULL, NULL);
}

TEST(timers_show)
{
	gort_timer *t = gort_timer_start(gort_in(3600 * GORT_SEC), 0, nothing, NULL);

	CHECK(t != NULL);
	CHECK_EQ(now().timers, 1);
	for (int i = 0; i < 3; i++)
		go(sleep_long, NULL);
	EVENTUALLY(now().timers == 4);
	gort_timer_release(t);
	CHECK_EQ(now().timers, 3);
	test_leaves_goroutines();
}

TEST(sleeps_of_the_poller_show)
{
	uint64_t before = now().polls;

	while (now().polls <
	       before + 3) /* not where all is so slow that it is time when one looks */
		gort_sleep(20 * GORT_MS);
}

/* ---- stacks */

TEST(stacks_show)
{
	enum { N = 200, EACH = 256 << 10 };
	gort_chan *c = gort_chan_make(0, 0);
	gort_stats before = now(), s;

	CHECK(before.stack_resident > 0);
	CHECK(before.stack_reserved >= before.stack_resident);
	for (int i = 0; i < N; i++)
		go(receive, c);
	s = now();
	CHECK(s.stack_resident - before.stack_resident >= (uint64_t)(N - 64) * EACH);
	CHECK(s.stack_reserved > before.stack_reserved);
	CHECK(s.stack_reserved >= s.stack_resident + (uint64_t)N * (16 << 10));
	gort_chan_close(c);
	EVENTUALLY(now().goroutines == 1);
	gort_chan_release(c);
}

// label: full
TEST(stacks_given_back_are_not_resident)
{
	enum { N = 4000 };
	gort_chan *c = gort_chan_make(0, 0);
	uint64_t most;

	for (int i = 0; i < N; i++)
		go(receive, c);
	EVENTUALLY(now().waiting == N);
	most = now().stack_resident;
	gort_chan_close(c);
	EVENTUALLY(now().stack_resident < most / 2);
	gort_chan_release(c);
}

/* ---- sizes, places */

TEST(a_smaller_struct_gets_the_first_part)
{
	uint64_t few[4] = { 1, 2, 3, UINT64_C(0x5555555555555555) };
	char byte[2] = { 7, 7 };

	gort_read_stats((gort_stats *)(void *)few, 3 * sizeof few[0]);
	CHECK_EQ(few[0], 1); /* goroutines */
	CHECK_EQ(few[1], now().created);
	CHECK_EQ(few[2], 1); /* running */
	CHECK_EQ(few[3], UINT64_C(0x5555555555555555));
	gort_read_stats((gort_stats *)(void *)byte, 1);
	CHECK_EQ(byte[0], 1);
	CHECK_EQ(byte[1], 7);
	gort_read_stats((gort_stats *)(void *)few, 0);
	CHECK_EQ(few[0], 1);
}

TEST(a_larger_struct_is_zero_beyond)
{
	struct {
		gort_stats s;
		uint64_t more[8], behind;
	} big;

	memset(&big, 0x55, sizeof big);
	gort_read_stats(&big.s, offsetof(__typeof__(big), behind));
	CHECK_EQ(big.s.goroutines, 1);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(big.more[i], 0);
	CHECK_EQ(big.behind, UINT64_C(0x5555555555555555));
}

static bool all_zero(void)
{
	static const gort_stats none;
	gort_stats s = now();

	return memcmp(&s, &none, sizeof s) == 0;
}

static int some_work(void *arg)
{
	int n = 100;

	(void)arg;
	go(yield_often, &n);
	rest();
	gort_sleep(5 * GORT_MS);
	CHECK(now().switches >= 100);
	CHECK(now().created == 2);
	return 0;
}

TEST_PLAIN(without_a_runtime_all_is_zero)
{
	CHECK(all_zero());
	for (int i = 0; i < 3; i++) {
		/* counts begin anew */
		CHECK_EQ(gort_run(some_work, NULL, &(gort_options){ .maxprocs = 1 }), 0);
		CHECK(all_zero());
	}
}

TEST_DIES(no_place_to_write_to, "gort_read_stats: nowhere to write to")
{
	gort_stats *volatile none = NULL;

	gort_read_stats(none, sizeof *none);
}

static void on_a_guest(void *arg)
{
	gort_stats s = now();

	(void)arg;
	CHECK_EQ(s.goroutines, 1);
}

static void on_usr1(int signo)
{
	(void)signo;
	CHECK_EQ(now().goroutines, 1);
	there++;
}

TEST(anywhere)
{
	struct sigaction sa = { .sa_handler = on_usr1 };

	on_guest(on_a_guest, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	CHECK_EQ(there, 1);
}

static void read_always(void *arg)
{
	gort_stats last = { 0 }, s;

	(void)arg;
	while (!stop) {
		s = now();
		CHECK(s.created >= last.created);
		CHECK(s.switches >= last.switches);
		CHECK(s.goroutines < 100000 && s.waiting < 100000 && s.runnable < 100000);
		CHECK(s.procs_idle <= s.procs);
		last = s;
	}
}

static void a_few_of_each(void *arg)
{
	int n = 3;

	(void)arg;
	yield_often(&n);
	gort_sleep(100 * GORT_US);
	blocks(NULL);
}

TEST(while_all_goes_on)
{
	struct guest *g;

	gort_maxprocs(4);
	let_go = true;
	g = guest_start(read_always, NULL);
	for (int i = 0; i < SCALE(20000); i++) {
		go(a_few_of_each, NULL);
		if (i % 64 == 0)
			gort_yield();
		while (gort_count() > 1000)
			gort_sleep(GORT_MS);
	}
	EVENTUALLY(now().goroutines == 1);
	stop = true;
	guest_join(g);
}

static void read_until(void *arg)
{
	(void)arg;
	while (!stop)
		now();
}

static int short_run(void *arg)
{
	for (int i = 0; i < 10; i++)
		go(receive, arg);
	gort_yield();
	return 0;
}

TEST_PLAIN(while_the_runtime_starts_and_ends)
{
	gort_chan *c = gort_chan_make(0, 0);
	struct guest *g = guest_start(read_until, NULL);

	for (int i = 0; i < SCALE(300); i++)
		CHECK_EQ(gort_run(short_run, c, NULL), 0);
	stop = true;
	guest_join(g);
	gort_chan_release(c);
}

/* ---- GORT_DEBUG=sched */

static char said[1 << 20];

/* Up to the end of a line. In a child: till now. */
static void read_said(int fd)
{
	ssize_t n = pread(fd, said, sizeof said - 1, 0);

	CHECK(n >= 0);
	said[n] = 0;
}

/* What a child that runs fn under GORT_DEBUG=value says on stderr. Gives what gort_run did. */
static int run_with(const char *value, int (*fn)(void *arg))
{
	int fd = memfd_create("stderr", MFD_CLOEXEC), status;
	pid_t pid;

	CHECK(fd >= 0);
	CHECK_EQ(setenv("GORT_DEBUG", value, 1), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(fd, 2);
		_exit(gort_run(fn, NULL, &(gort_options){ .maxprocs = 2 }) & 255);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	read_said(fd);
	close(fd);
	if (!WIFEXITED(status))
		test_fail_(__FILE__, __LINE__, "status 0x%x: %s", (unsigned)status, said);
	return (int8_t)WEXITSTATUS(status);
}

struct line {
	unsigned ms, procs, idle_ps, threads, spinning, idle_ms, blocked, stopped, global, fresh,
		tired, local[2], goroutines, switches, preemptions, retakes;
};

static void more(unsigned *a, unsigned b)
{
	*a = *a > b ? *a : b;
}

/* What there is at most. */
static void line_add(struct line *most, const struct line *l)
{
	more(&most->idle_ps, l->idle_ps);
	more(&most->goroutines, l->goroutines);
	more(&most->blocked, l->blocked);
	more(&most->stopped, l->stopped);
	more(&most->tired, l->tired);
	more(&most->preemptions, l->preemptions);
}

/* Each line of what was said, or what is wrong with it. */
static int parse(struct line *lines, int most)
{
	int n = 0, end;
	char *at = said;

	for (; *at; at += end, n++) {
		struct line l;

		CHECK(n < most);
		end = 0;
		sscanf(at,
		       "gort: sched %u ms: procs=%u idleprocs=%u threads=%u spinning=%u "
		       "idlethreads=%u blocked=%u stopped=%u runqueue=%u fresh=%u tired=%u [%u %u] "
		       "goroutines=%u switches=%u preemptions=%u retakes=%u%n",
		       &l.ms, &l.procs, &l.idle_ps, &l.threads, &l.spinning, &l.idle_ms, &l.blocked,
		       &l.stopped, &l.global, &l.fresh, &l.tired, &l.local[0], &l.local[1],
		       &l.goroutines, &l.switches, &l.preemptions, &l.retakes, &end);
		if (!end || at[end] != '\n')
			test_fail_(__FILE__, __LINE__, "not as it should be: %s", at);
		end++;
		lines[n] = l;
	}
	return n;
}

enum { MOST_LINES = 5000 };
static struct line lines[MOST_LINES];

/* In the child, whose standard error it is: so many lines have come, and all say something that fits. */
static bool lines_say(int least, bool (*fits)(const struct line *most))
{
	struct line most = { 0 };
	char *last;
	int n;

	read_said(2);
	last = strrchr(said, '\n');
	if (!last)
		return false;
	last[1] = 0; /* one may be on its way */
	n = parse(lines, MOST_LINES);
	for (int i = 0; i < n; i++)
		line_add(&most, &lines[i]);
	return n >= least && fits(&most);
}

static bool all_idled(const struct line *most)
{
	return most->idle_ps == 2;
}

static int idle(void *arg)
{
	(void)arg;
	do
		gort_sleep(500 * GORT_MS);
	while (!lines_say(2, all_idled));
	return 0;
}

/* sysmon would sleep all the time otherwise. */
// not: tsan
TEST_PLAIN(an_idle_process_tells)
{
	int n, all_idle = 0;

	CHECK_EQ(run_with("sched=20", idle), 0);
	n = parse(lines, MOST_LINES);
	CHECK(n >= 2 && (unsigned)n <= lines[n - 1].ms / 20);
	for (int i = 0; i < n; i++) {
		CHECK(lines[i].ms >= (i ? lines[i - 1].ms + 20 : 20));
		CHECK_EQ(lines[i].procs, 2);
		CHECK_EQ(lines[i].goroutines, 1);
		all_idle += lines[i].idle_ps == 2; /* not where main begins, or has just woken */
	}
	CHECK(all_idle > 0);
	CHECK_EQ(lines[n - 1].preemptions, 0);
}

static bool all_was_busy(const struct line *most)
{
	return most->goroutines == 6 && most->blocked && most->stopped && most->tired &&
		most->preemptions;
}

static int busy(void *arg)
{
	(void)arg;
	for (int i = 0; i < 4; i++)
		go(spin, NULL);
	go(blocks, NULL);
	do
		gort_sleep(100 * GORT_MS);
	while (!lines_say(5, all_was_busy));
	stop = let_go = true;
	EVENTUALLY(gort_count() == 1);
	return 0;
}

TEST_PLAIN(a_busy_process_tells)
{
	struct line most = { 0 };
	int n;

	CHECK_EQ(run_with("sched=20", busy), 0);
	n = parse(lines, MOST_LINES);
	CHECK(n >= 5);
	for (int i = 0; i < n; i++) {
		CHECK(lines[i].threads >= 1 && lines[i].idle_ps <= 2);
		line_add(&most, &lines[i]);
	}
	CHECK_EQ(most.goroutines, 6);
	CHECK(most.blocked >= 1);
	CHECK(most.stopped >= 1);
	CHECK(most.tired >= 1);
	CHECK(lines[n - 1].preemptions >= 1);
	CHECK(lines[n - 1].switches >= 6);
}

static int many_ps(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_maxprocs(1024), 2);
	do {
		gort_sleep(100 * GORT_MS);
		read_said(2);
	} while (!strstr(said, "procs=1024 ") || !strchr(strstr(said, "procs=1024 "), '\n'));
	return 0;
}

/* not all of them have room in a line */
TEST_PLAIN(a_line_ends)
{
	char *at;

	CHECK_EQ(run_with("sched=20", many_ps), 0);
	at = strstr(said, "procs=1024 ");
	CHECK(at != NULL);
	at = strchr(at, '\n');
	CHECK(at != NULL);
	while (at[-1] != ' ')
		at--;
	CHECK(strncmp(at, "retakes=", 8) == 0);
}

static int returns_7(void *arg)
{
	(void)arg;
	return 7;
}

TEST_PLAIN(nonsense_in_the_variable)
{
	static const char *const bad[] = { "sched",     "sched=",         "sched=0",
					   "sched=-1",  "sched=1x",       "sched=20,",
					   ",sched=20", "sched= 20",      "sched=1K",
					   "Sched=20",  "sched=20,foo=1", "foo",
					   "schedx=20", "sched=20;",      "sched=99999999999" };

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		CHECK_EQ(run_with(bad[i], returns_7), -EINVAL);
		CHECK_STR(said, "");
	}
	CHECK_EQ(run_with("", returns_7), 7);
	CHECK_EQ(run_with("sched=1000000", returns_7), 7);
	CHECK_EQ(run_with("sched=1000000,sched=2000000", returns_7), 7);
	CHECK_STR(said, "");
	setenv("GORT_DEBUG", "", 1);
	setenv("GORT_MAXPROCS", "2,3", 1); /* a comma belongs to the other variable only */
	CHECK_EQ(gort_run(returns_7, NULL, NULL), -EINVAL);
}
