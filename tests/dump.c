/*
 * dump.c - gort_dump: that each state and each reason is told of, with the right functions, at any
 * time, in any place.
 */
#include "harness.h"

#include "sched/sched.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A function of its own in the dump, whatever the compiler thinks of it. */
#if __has_attribute(noipa)
#define shown __attribute__((noipa))
#else
#define shown noinline
#endif

#define ROOM (4u << 20)
static char said[ROOM]; /* by the last dump */

static int where(void)
{
	int fd = memfd_create("dump", MFD_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

/* What was written to it; closes it. */
static void read_back(int fd)
{
	ssize_t n, used = 0;

	while ((n = pread(fd, said + used, ROOM - 1 - (size_t)used, used)) > 0)
		used += n;
	CHECK_EQ(n, 0);
	said[used] = 0;
	close(fd);
}

static shown void dump(void)
{
	int fd = where();

	CHECK_EQ(gort_dump(fd), 0);
	read_back(fd);
}

static bool shows(const char *text)
{
	return strstr(said, text) != NULL;
}

static void check_shows(const char *file, int line, const char *text)
{
	if (!shows(text))
		test_fail_(file, line, "\"%s\" is not in: %s", text, said);
}

#define SHOWS(text) check_shows(__FILE__, __LINE__, (text))

/* The paragraph of the goroutine of this name. */
static const char *block(const char *name)
{
	static char one[8192];
	char label[64];
	const char *at, *end;

	snprintf(label, sizeof label, "(%s) [", name);
	at = strstr(said, label);
	if (!at)
		test_fail_(__FILE__, __LINE__, "no %s in: %s", label, said);
	end = strstr(at, "\n\n");
	CHECK(end && (size_t)(end - at) < sizeof one);
	memcpy(one, at, (size_t)(end - at));
	one[end - at] = 0;
	return one;
}

static void check_block(int line, const char *name, const char *text)
{
	const char *b = block(name);

	if (!strstr(b, text))
		test_fail_(__FILE__, line, "\"%s\" is not in: %s\nall of it: %s", text, b, said);
}

#define BLOCK(name, text) check_block(__LINE__, (name), (text))

static void check_waits(int line, const char *name, const char *reason, const void *object)
{
	char text[80];

	snprintf(text, sizeof text, object ? "[%s %p, " : "[%s, ", reason, object);
	check_block(line, name, text);
}

#define WAITS(name, reason, object) check_waits(__LINE__, (name), (reason), (object))

/* Dump until the goroutine of this name waits so. */
static void dump_until(const char *name, const char *text)
{
	char label[128];

	snprintf(label, sizeof label, "(%s) [%s", name, text);
	EVENTUALLY((dump(), shows(label)));
}

static shown void spawn(int (*fn)(void *arg), void *arg, const char *name)
{
	gort_task *t = gort_spawn(fn, arg, &(gort_attr){ .name = name });

	CHECK(t != NULL);
	gort_detach(t);
	__asm__ volatile("");
}

/* ---- every reason to wait */

#define WAITER(name, call) \
	static shown int name##_here(void *arg) \
	{ \
		(void)arg; \
		call; \
		__asm__ volatile(""); \
		return 0; \
	}

static gort_mutex mutex;
static gort_rwmutex rw;
static gort_cond cond;
static gort_mutex cond_mutex;
static gort_sem sem;
static gort_waitgroup group;
static gort_chan *chan, *ended;

WAITER(sleep, gort_sleep(30 * GORT_MS))
WAITER(receive, gort_chan_recv(arg, NULL))
WAITER(send, gort_chan_send(arg, &(int){ 0 }))
WAITER(lock, gort_mutex_lock(&mutex); gort_mutex_unlock(&mutex))
WAITER(rlock, gort_rwmutex_rlock(&rw); gort_rwmutex_runlock(&rw))
WAITER(wlock, gort_rwmutex_lock(&rw); gort_rwmutex_unlock(&rw))
WAITER(cond, gort_mutex_lock(&cond_mutex); gort_cond_wait(&cond, &cond_mutex);
       gort_mutex_unlock(&cond_mutex))
WAITER(sem, gort_sem_acquire(&sem, 1))
WAITER(group, gort_waitgroup_wait(&group))
WAITER(join, gort_join(arg, NULL))
WAITER(select,
       gort_select((gort_case[]){ GORT_CASE_RECV(arg, NULL), GORT_CASE_RECV(ended, NULL) }, 2,
		   GORT_FOREVER))

TEST(channels_show)
{
	gort_chan *in = gort_chan_make(sizeof(int), 0), *out = gort_chan_make(sizeof(int), 0);

	spawn(receive_here, in, "receiver");
	spawn(send_here, out, "sender");
	dump_until("receiver", "chan");
	dump_until("sender", "chan");
	WAITS("receiver", "chan receive", in);
	BLOCK("receiver", "receive_here+0x");
	WAITS("sender", "chan send", out);
	BLOCK("sender", "send_here+0x");
	gort_chan_close(in);
	gort_chan_recv(out, NULL);
	gort_chan_release(in);
	gort_chan_release(out);
}

TEST(locks_show)
{
	gort_mutex_lock(&mutex);
	gort_rwmutex_lock(&rw);
	spawn(lock_here, NULL, "locker");
	spawn(rlock_here, NULL, "reader");
	spawn(cond_here, NULL, "cond");
	spawn(sem_here, NULL, "sem");
	dump_until("locker", "mutex");
	dump_until("reader", "rwmutex");
	dump_until("cond", "cond");
	dump_until("sem", "sem");
	WAITS("locker", "mutex lock", &mutex);
	BLOCK("locker", "lock_here+0x");
	WAITS("reader", "rwmutex read lock", &rw);
	WAITS("cond", "cond wait", &cond);
	WAITS("sem", "semaphore", &sem);
	gort_mutex_unlock(&mutex);
	gort_rwmutex_unlock(&rw);
	gort_rwmutex_rlock(&rw);
	spawn(wlock_here, NULL, "writer");
	dump_until("writer", "rwmutex");
	BLOCK("writer", "[rwmutex write lock 0x");
	BLOCK("writer", "wlock_here+0x");
	gort_rwmutex_runlock(&rw);
	gort_cond_broadcast(&cond);
	gort_sem_release(&sem, 1);
}

TEST(other_waits_show)
{
	gort_task *t;

	chan = gort_chan_make(sizeof(int), 0);
	ended = gort_chan_make(0, 0);
	t = gort_spawn(receive_here, chan, NULL);
	gort_waitgroup_add(&group, 1);
	spawn(group_here, NULL, "group");
	spawn(join_here, t, "join");
	spawn(select_here, chan, "select");
	dump_until("group", "wait group");
	dump_until("join", "task join");
	dump_until("select", "select");
	WAITS("group", "wait group", &group);
	WAITS("join", "task join", t);
	WAITS("select", "select of 2", NULL);
	BLOCK("select", "select_here+0x");
	gort_waitgroup_done(&group);
	gort_chan_close(chan);
	EVENTUALLY(gort_count() == 1);
	gort_chan_release(chan);
	gort_chan_release(ended);
}

static shown int sleep_long(void *arg)
{
	int err = gort_sleep_until(GORT_FOREVER - 1); /* till it is cancelled */

	(void)arg;
	__asm__ volatile("");
	return err;
}

static shown int one_place(void *arg)
{
	gort_scope_go(arg, sleep_here, NULL);
	return 0;
}

TEST(scopes_sleep_and_nothing_show)
{
	gort_scope *s = gort_scope_open(1);
	gort_task *t = gort_spawn(receive_here, NULL, &(gort_attr){ .name = "forever" });
	gort_task *sleeper = gort_spawn(sleep_long, NULL, &(gort_attr){ .name = "sleeper" });

	CHECK_EQ(gort_scope_go(s, sleep_long, NULL), 0);
	spawn(one_place, s, "scope");
	dump_until("scope", "scope");
	dump_until("sleeper", "sleep");
	dump_until("forever", "NULL chan");
	WAITS("scope", "scope", s);
	BLOCK("scope", "one_place+0x");
	WAITS("sleeper", "sleep", NULL);
	BLOCK("sleeper", "sleep_long+0x");
	gort_task_cancel(t, ECANCELED);
	gort_join(t, NULL);
	gort_task_cancel(sleeper, ECANCELED);
	gort_join(sleeper, NULL);
	gort_scope_cancel(s, ECANCELED);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(gort_scope_close(s), -ECANCELED);
}

/* ---- stacks, and where they come from */

static shown int innermost(gort_chan *c)
{
	int err = gort_chan_recv(c, NULL);

	__asm__ volatile("");
	return err + 1;
}

static shown int middle(gort_chan *c)
{
	volatile char frame[200];

	frame[0] = (char)innermost(c);
	return frame[0] + 1;
}

static shown int outermost(void *arg)
{
	return middle(arg) + 1;
}

static shown void outer_fn(void *arg)
{
	gort_set_name("outer");
	outermost(arg);
	__asm__ volatile("");
}

static shown void spawner_go(gort_chan *c)
{
	gort_go(outer_fn, c);
	__asm__ volatile("");
}

static void copied(void *arg)
{
	outer_fn(*(void **)arg);
}

static shown void spawner_copy(gort_chan *c)
{
	gort_go_copy(copied, &c, sizeof c);
	__asm__ volatile("");
}

static shown void spawner_spawn(gort_chan *c)
{
	spawn(outermost, c, "outer");
	__asm__ volatile("");
}

static shown void spawner_scope(gort_chan *c)
{
	gort_scope *s = gort_scope_open(0);

	gort_scope_spawn(s, outermost, c, &(gort_attr){ .name = "outer" });
	dump_until("outer", "chan receive");
	BLOCK("outer", "created by spawner_scope+0x");
	gort_chan_close(c);
	gort_scope_close(s);
}

/* In this order, each in a line of its own, with nothing of the runtime's start below. */
static void check_stack(const char *name)
{
	const char *b = block(name), *in = strstr(b, "    innermost+0x"),
		   *mid = strstr(b, "    middle+0x"), *out = strstr(b, "    outermost+0x");

	if (!in || !mid || !out || in > mid || mid > out || !strstr(b, "(dump)") ||
	    strstr(b, "not known") || strstr(b, "context_start") || strstr(b, "gort__g_entry"))
		test_fail_(__FILE__, __LINE__, "not its stack: %s", b);
}

TEST(stacks_and_spawn_sites_show)
{
	void (*const spawners[])(gort_chan *) = { spawner_go, spawner_copy, spawner_spawn };
	const char *const sites[] = { "created by spawner_go+0x", "created by spawner_copy+0x",
				      "created by spawn+0x" };
	gort_chan *c;

	for (int i = 0; i < 6; i++) { /* gort_go is fast the second time */
		c = gort_chan_make(0, 0);
		spawners[i % 3](c);
		dump_until("outer", "chan receive");
		check_stack("outer");
		BLOCK("outer", sites[i % 3]);
		gort_chan_close(c);
		EVENTUALLY(gort_count() == 1);
		gort_chan_release(c);
	}
	c = gort_chan_make(0, 0);
	spawner_scope(c);
	gort_chan_release(c);
}

/* The call is its last instruction: it returns to an address that is the next function's. */
__attribute__((noreturn)) static shown void never_returns(gort_chan *c)
{
	gort_chan_recv(c, NULL);
	gort_goexit();
}

static shown void ends_in_a_call(void *arg)
{
	gort_set_name("last");
	never_returns(arg);
}

static shown void calls_that(void *arg)
{
	ends_in_a_call(arg);
	__asm__ volatile("");
}

TEST(calls_at_a_functions_end_show)
{
	gort_chan *c = gort_chan_make(0, 0);

	gort_go(calls_that, c);
	dump_until("last", "chan receive");
	BLOCK("last", "    never_returns+0x");
	BLOCK("last", "    ends_in_a_call+0x");
	BLOCK("last", "    calls_that+0x");
	CHECK(!strstr(block("last"), "not known"));
	gort_chan_close(c);
	EVENTUALLY(gort_count() == 1);
	gort_chan_release(c);
}

/* The first goroutine has no place that it was started at. */
static shown void called_here(void)
{
	dump();
	__asm__ volatile("");
}

TEST(the_caller_shows)
{
	gort_set_name("main");
	called_here();
	BLOCK("main", "[running]:\n");
	BLOCK("main", "    dump+0x");
	BLOCK("main", "    called_here+0x");
	CHECK(!strstr(block("main"), "created by"));
	CHECK(!strstr(block("main"), "not known"));
	SHOWS("1 goroutines: 1 running, 0 runnable, 0 waiting");
}

static shown int64_t deep(int64_t n)
{
	volatile int64_t m = n;

	if (n == 0)
		dump();
	else
		m += deep(n - 1);
	return m;
}

static shown int64_t first_of_deep(int64_t n)
{
	return deep(n) + 1;
}

static int dump_small(void *arg)
{
	(void)arg;
	called_here();
	return 0;
}

TEST(on_the_smallest_stack)
{
	gort_attr small = { .stack_size = 16 << 10, .name = "small" };

	gort_join(gort_spawn(dump_small, NULL, &small), NULL);
	BLOCK("small", "    called_here+0x");
}

TEST(deep_stacks_are_cut_in_the_middle)
{
	const char *dots, *last;

	gort_set_name("main");
	CHECK_EQ(first_of_deep(1000), 1000 * 1001 / 2 + 1);
	dots = strstr(said, "    ... ");
	last = strstr(said, "    first_of_deep+0x");
	if (!dots || !last || dots > last || atoi(dots + 8) < 900 || strstr(last, "    deep+0x") ||
	    !strstr(last, "    main_entry+0x"))
		test_fail_(__FILE__, __LINE__, "not cut: %s", said);
}

/* ---- those that run, and those that could */

static atomic_bool stop, spinning;

/* Whoever copies its stack meets the redzones that AddressSanitizer has around a local. */
static shown int spin_here(void *arg)
{
	char local[16];

	(void)arg;
	__asm__ volatile("" : : "r"(local) : "memory");
	while (!stop)
		spinning = true;
	return 0;
}

static shown int spin_outer(void *arg)
{
	return spin_here(arg) + 1;
}

TEST(one_that_runs_shows)
{
	gort_maxprocs(2);
	spawn(spin_outer, NULL, "spinner");
	EVENTUALLY(spinning);
	/* it may have to give way for a moment, or answer too late */
	EVENTUALLY((dump(), strstr(block("spinner"), "[running]:\n")));
	BLOCK("spinner", "    spin_here+0x");
	BLOCK("spinner", "    spin_outer+0x");
	CHECK(!strstr(block("spinner"), "not known"));
	stop = true;
}

static int spin_deaf(void *arg)
{
	sigset_t urg, before;

	sigemptyset(&urg);
	sigaddset(&urg, SIGURG);
	pthread_sigmask(SIG_BLOCK, &urg, &before);
	spin_here(arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return 0;
}

TEST(one_that_does_not_answer_shows)
{
	int64_t begin;

	gort_maxprocs(2);
	spawn(spin_deaf, NULL, "deaf");
	EVENTUALLY(spinning);
	begin = gort_now();
	dump();
	BLOCK("deaf", "[running, does not answer]:");
	CHECK(gort_now() - begin < 30 * GORT_SEC);
	stop = true;
	EVENTUALLY(gort_count() == 1);
	stop = spinning = false;
	spawn(spin_outer, NULL, "spinner"); /* a late answer has done no harm */
	EVENTUALLY(spinning);
	EVENTUALLY((dump(), strstr(block("spinner"), "spin_outer")));
	stop = true;
}

static shown void never_started(void *arg)
{
	(void)arg;
}

TEST(runnable_ones_show)
{
	int fd = where();

	gort_maxprocs(1);
	gort_preempt_off(); /* where all is slow it would run, */
	CHECK_EQ(gort_go(never_started, NULL), 0);
	CHECK_EQ(gort_dump(fd), 0); /* and where a call in between is */
	read_back(fd);
	SHOWS("[runnable, not started]:\n    never_started+0x0 (dump)\n  created by test_runnable_ones_show");
	spawn(outermost, NULL, "outer");
	gort_yield();
	dump();
	gort_yield();
	gort_preempt_on();
	test_leaves_goroutines();
}

static shown void yield_here(void *arg)
{
	gort_set_name("yielder");
	while (!stop)
		gort_yield();
	(void)arg;
}

TEST(one_that_yields_shows)
{
	gort_maxprocs(1);
	CHECK_EQ(gort_go(yield_here, NULL), 0);
	gort_yield();
	/* if the dumping thread sleeps on the way, its P is taken, and the other runs */
	dump_until("yielder", "runnable]:");
	BLOCK("yielder", "    yield_here+0x");
	stop = true;
}

TEST(age_is_told)
{
	gort_chan *c = gort_chan_make(0, 0);
	const char *at;
	int64_t begin = load_relaxed(&gort__sched.coarse) * COARSE_TICK; /* by the clock of ages */
	long least = 350, told;

	spawn(receive_here, c, "old");
	dump_until("old", "chan receive");
	gort_sleep(400 * GORT_MS);
	dump();
	at = strchr(block("old"), ',');
	CHECK(at != NULL);
	told = strtol(at + 2, NULL, 10) * (strstr(at, " ms]") ? 1 : 1000);
	if (told < least || told > (gort_now() - begin) / GORT_MS + 50)
		test_fail_(__FILE__, __LINE__, "%ld ms: %s", told, block("old"));
	gort_chan_close(c);
	EVENTUALLY(gort_count() == 1);
	gort_chan_release(c);
}

/* ---- in any place, at any time */

static shown void on_usr1(int signo)
{
	int fd = where();

	(void)signo;
	CHECK_EQ(gort_dump(fd), 0);
	read_back(fd);
}

static shown void interrupted_here(void)
{
	raise(SIGUSR1);
	__asm__ volatile("");
}

static void check_handler(int flags)
{
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = flags };

	sigaction(SIGUSR1, &sa, NULL);
	gort_set_name("main");
	interrupted_here();
	BLOCK("main", "[running]:\n");
	BLOCK("main", "    on_usr1+0x");
#ifdef __x86_64__ /* AArch64's way out of a handler is not described */
	BLOCK("main", "    interrupted_here+0x");
#endif
}

TEST(from_a_signal_handler_on_the_goroutines_stack)
{
	check_handler(0);
}

TEST(from_a_signal_handler_on_the_alternate_stack)
{
	check_handler(SA_ONSTACK);
}

static atomic_bool held, let_go;

struct dl_phdr_info;

static int in_the_loaders_lock(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)info, (void)size, (void)arg;
	held = true;
	while (!let_go)
		usleep(1000);
	return 1;
}

int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *info, size_t size, void *data),
		    void *data);

static void hold_all(void *arg)
{
	(void)arg;
	flockfile(stderr);
	flockfile(stdout);
	dl_iterate_phdr(in_the_loaders_lock, NULL);
	funlockfile(stdout);
	funlockfile(stderr);
}

TEST(while_the_loader_and_stdio_are_locked)
{
	struct guest *g = guest_start(hold_all, NULL);

	gort_set_name("main");
	EVENTUALLY(held);
	called_here();
	let_go = true;
	guest_join(g);
	BLOCK("main", "called_here+0x");
}

static void hold_sched(void *arg)
{
	int fd = where();

	gort_sleep(50 * GORT_MS);
	lock_acquire(&gort__sched.lock);
	CHECK_EQ(gort_dump(fd), 0);
	lock_release(&gort__sched.lock);
	read_back(fd);
	(void)arg;
}

TEST(while_the_schedulers_lock_is_held)
{
	gort_chan *c = gort_chan_make(0, 0);

	spawn(receive_here, c, "receiver");
	dump_until("receiver", "chan receive");
	on_guest(hold_sched, NULL);
	BLOCK("receiver", "receive_here+0x");
	gort_chan_close(c);
	EVENTUALLY(gort_count() == 1);
	gort_chan_release(c);
}

TEST_PLAIN(without_a_runtime)
{
	CHECK_EQ(gort_dump(1), -ESRCH);
}

TEST(to_a_descriptor_that_is_none)
{
	CHECK_EQ(gort_dump(12345), -EBADF);
}

/* ---- many */

static shown void crowd_here(void *arg)
{
	gort_chan_recv(arg, NULL);
	__asm__ volatile("");
}

/* In all paragraphs that have this text. */
static long sum_of(const char *text)
{
	long sum = 0;

	for (const char *at = said, *end; (end = strstr(at, "\n\n")) != NULL; at = end + 2) {
		const char *in = strstr(at, text);

		if (in && in < end)
			sum += *at == 'g' ? 1 : strtol(at, NULL, 10);
	}
	return sum;
}

TEST(a_hundred_thousand_are_summed_up)
{
	enum { MANY = TEST_SCALE == 1 ? 100000 : 4000 }; /* a sanitizer has room for 8,128 */
	gort_chan *c = gort_chan_make(0, 0), *d = gort_chan_make(0, 0);
	char text[80];
	int64_t begin;

	for (int i = 0; i < MANY; i++)
		if (gort_go(crowd_here, c) < 0)
			SKIP("not so many goroutines");
	spawn(receive_here, d, "other");
	snprintf(text, sizeof text, " 0 runnable, %d waiting", MANY + 1);
	EVENTUALLY((dump(), shows(text)));
	begin = gort_now();
	dump();
	begin = gort_now() - begin;
	CHECK_EQ(sum_of("    crowd_here+0x"), MANY);
	snprintf(text, sizeof text, "[chan receive %p, ", (void *)c);
	SHOWS(text);
	SHOWS("    crowd_here+0x");
	SHOWS("created by test_a_hundred_thousand_are_summed_up+0x");
	BLOCK("other", "receive_here+0x");
	CHECK(strlen(said) < 8192);
	CHECK(begin < 20 * GORT_SEC);
	fprintf(stderr, "%d in %lld ms\n", MANY, (long long)(begin / GORT_MS));
	gort_chan_close(c);
	gort_chan_close(d);
	EVENTUALLY(gort_count() == 1);
	gort_chan_release(c);
	gort_chan_release(d);
}

/* ---- while all goes on */

struct lives {
	gort_chan *until;
	atomic_int alive;
};

static void short_life(void *arg)
{
	struct lives *l = arg;

	gort_chan_recv(l->until, NULL);
	l->alive--;
}

static void dump_many(void *arg)
{
	int n = *(int *)arg;

	for (int i = 0; i < n; i++)
		gort_dump(-1);
	for (int i = 0; i < n; i++) {
		int fd = where();

		CHECK_EQ(gort_dump(fd), 0);
		close(fd);
	}
	stop = true;
}

static int churn(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	while (!stop) {
		struct lives l = { .until = gort_chan_make(0, 0) };
		int n = 1 + rand_r(&seed) % SCALE(2000);

		for (int i = 0; i < n; i++) {
			l.alive++;
			if (gort_go(short_life, &l) < 0)
				l.alive--;
		}
		gort_yield();
		gort_chan_close(l.until);
		if (rand_r(&seed) % 8 == 0)
			gort_sleep(GORT_MS);
		while (l.alive)
			gort_yield();
		gort_chan_release(l.until);
	}
	return 0;
}

TEST(while_goroutines_come_and_go)
{
	int n = SCALE(60);
	struct guest *g;

	gort_maxprocs(4);
	for (uintptr_t i = 1; i <= 4; i++)
		spawn(churn, (void *)i, NULL);
	g = guest_start(dump_many, &n);
	EVENTUALLY(stop);
	guest_join(g);
}

static void *dump_always(void *arg)
{
	(void)arg;
	while (!stop) {
		int fd = open("/dev/null", O_WRONLY | O_CLOEXEC), err = gort_dump(fd);

		CHECK(err == 0 || err == -ESRCH);
		close(fd);
	}
	return NULL;
}

static int short_run(void *arg)
{
	for (int i = 0; i < SCALE(1000); i++)
		gort_go(crowd_here, arg);
	gort_yield();
	return 0;
}

TEST_PLAIN(while_the_runtime_starts_and_ends)
{
	gort_chan *c = gort_chan_make(0, 0);
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, dump_always, NULL), 0);
	for (int i = 0; i < SCALE(100); i++)
		CHECK_EQ(gort_run(short_run, c, NULL), 0);
	stop = true;
	pthread_join(t, NULL);
	gort_chan_release(c);
}

/* ---- SIGQUIT */

static shown int quit_here(void *arg)
{
	(void)arg;
	gort_set_name("main");
	kill(getpid(), SIGQUIT);
	for (int i = 0; i < 100; i++)
		gort_sleep(GORT_MS);
	return 7;
}

static volatile sig_atomic_t quits;

static void on_quit(int signo)
{
	(void)signo;
	quits = quits + 1;
}

TEST_PLAIN(sigquit_dumps_if_asked_to)
{
	int err = dup(2), fd = where();

	signal(SIGQUIT, on_quit);
	CHECK_EQ(setenv("GORT_SIGQUIT", "1", 1), 0);
	dup2(fd, 2);
	CHECK_EQ(gort_run(quit_here, NULL, NULL), 7);
	dup2(err, 2);
	close(err);
	read_back(fd);
	SHOWS("goroutines: ");
	BLOCK("main", "quit_here+0x");
	CHECK_EQ(quits, 0);
	raise(SIGQUIT);
	CHECK_EQ(quits, 1);
}

TEST_PLAIN(sigquit_is_left_alone_otherwise)
{
	signal(SIGQUIT, on_quit);
	CHECK_EQ(setenv("GORT_SIGQUIT", "0", 1), 0);
	CHECK_EQ(gort_run(quit_here, NULL, NULL), 7);
	CHECK_EQ(quits, 1);
	CHECK_EQ(setenv("GORT_SIGQUIT", "yes", 1), 0);
	CHECK_EQ(gort_run(quit_here, NULL, NULL), -EINVAL);
}

/* ---- reports of what ends the process */

static volatile int64_t deepest = INT64_MAX;

static shown int64_t dig_here(int64_t depth)
{
	volatile char frame[256];

	memset((char *)(uintptr_t)frame, 0x5a, sizeof frame);
	return depth < deepest ? dig_here(depth + 1) + frame[depth % 256] : 0;
}

static shown int dig(void *arg)
{
	(void)arg;
	return (int)dig_here(0) + 1;
}

TEST_DIES(overflow_shows_the_stack, "    dig_here+0x")
{
	gort_join(gort_spawn(dig, NULL, NULL), NULL);
}

TEST_DIES(overflow_shows_where_it_began, "    dig+0x")
{
	gort_join(gort_spawn(dig, NULL, NULL), NULL);
}

static shown void misuse_here(void)
{
	gort_mutex_unlock(&mutex);
	__asm__ volatile("");
}

TEST_DIES(misuse_shows_the_stack, "    misuse_here+0x")
{
	misuse_here();
}

static shown void panic_here(void)
{
	gort_panic("so");
	__asm__ volatile("");
}

TEST_DIES(panic_shows_the_stack, "    panic_here+0x")
{
	panic_here();
}
