/*
 * held_mutex.c - a goroutine that waits while it holds a pthread mutex is told of, once; whoever
 * holds none, or harms nobody, is not (src/debug/mutexes.c).
 */
#include "crowd.h"
#include "said.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* A function of its own in the report, whatever the compiler thinks of it. */
#if __has_attribute(noipa)
#define shown __attribute__((noipa))
#else
#define shown noinline
#endif

#define WORDS "while it holds a pthread mutex"

static bool checked(void)
{
#ifdef GORT_CHECKS_MUTEXES
	return true;
#else
	return false;
#endif
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* What is said from here on is looked at. */
static void begin(void)
{
	if (!checked())
		SKIP("this build has no such check");
	listen_on();
}

static void check_says(int line, const char *text)
{
	if (said_times(text) != 1)
		test_fail_(__FILE__, line, "\"%s\" %d times in: %s", text, said_times(text),
			   said.text);
}

#define SAYS(text) check_says(__LINE__, (text))

static void told_of(const char *who)
{
	listen_off();
	SAYS(WORDS);
	SAYS(who);
}

static void told_nothing(void)
{
	listen_off();
	CHECK_STR(said.text, "");
}

static void run_in_goroutine(const char *name, int (*fn)(void *), void *arg)
{
	gort_task *t = gort_spawn(fn, arg, &(gort_attr){ .name = name });

	CHECK(t != NULL);
	CHECK_EQ(gort_join(t, NULL), 0);
}

static struct timespec later(clockid_t clock)
{
	struct timespec t;

	CHECK_EQ(clock_gettime(clock, &t), 0);
	t.tv_sec += 60;
	return t;
}

/* ---- sure to wait, however slow all is */
struct sleeper {
	struct g *g;
	gort_ctx *ctx;
};

static void wake_one_that_sleeps(void *arg)
{
	struct sleeper s = *(struct sleeper *)arg;

	EVENTUALLY(load_relaxed(&s.g->state) == G_WAITING && load_relaxed(&s.g->why) == WHY_SLEEP);
	gort_ctx_cancel(s.ctx, 0);
	gort_ctx_release(s.ctx);
}

/* A sleep that ends once it has begun, and not before. */
static void sleep_a_while(void)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before;

	CHECK_EQ(gort_go_with(wake_one_that_sleeps, struct sleeper, .g = m_self()->g,
			      .ctx = gort_ctx_retain(ctx)),
		 0);
	before = gort_ctx_enter(ctx);
	CHECK_EQ(gort_sleep(3600 * GORT_SEC), -ECANCELED);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
}

/* ---- told of */
static shown int receive_with_it(void *c)
{
	if (gort_self())
		crowd_join();
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(pthread_mutex_lock(&mutex), 0);
		CHECK_EQ(gort_chan_recv(c, NULL), 0);
		CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
	}
	return 0;
}

// variants: maxprocs
TEST(told_of_once_by_name_with_reason_and_calls)
{
	gort_chan *c = gort_chan_make(0, 0);
	gort_task *t;

	begin();
	t = gort_spawn(receive_with_it, c, &(gort_attr){ .name = "worker" });
	CHECK(t != NULL);
	for (int i = 0; i < 3; i++) {
		EVENTUALLY(crowd_waits(1, WHY_RECV));
		CHECK_EQ(gort_chan_send(c, NULL), 0);
	}
	CHECK_EQ(gort_join(t, NULL), 0);
	listen_off();
	SAYS("gort: goroutine ");
	SAYS("(worker) waits (chan receive) " WORDS);
	SAYS("(worker) [chan receive 0x");
	SAYS("    receive_with_it+0x");
	SAYS("created by test_told_of_once_by_name_with_reason_and_calls+0x");
	CHECK_EQ(said_times("gort__"), 0);
	gort_chan_release(c);
}

/* It is bound to its thread until it first waits: to that alone. */
TEST(the_main_goroutine_is_told_of)
{
	begin();
	CHECK_EQ(pthread_mutex_lock(&mutex), 0);
	sleep_a_while();
	CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
	told_of("goroutine 1 waits (sleep)");
}

static int wait_with_it(void *arg)
{
	(void)arg;
	sleep_a_while();
	CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
	return 0;
}

static int trylock(void *arg)
{
	CHECK_EQ(pthread_mutex_trylock(&mutex), 0);
	return wait_with_it(arg);
}

static int timedlock(void *arg)
{
	struct timespec when = later(CLOCK_REALTIME);

	CHECK_EQ(pthread_mutex_timedlock(&mutex, &when), 0);
	return wait_with_it(arg);
}

static int clocklock(void *arg)
{
	struct timespec when = later(CLOCK_MONOTONIC);

	CHECK_EQ(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &when), 0);
	return wait_with_it(arg);
}

// variants: maxprocs
TEST(trylock_holds)
{
	begin();
	run_in_goroutine("tries", trylock, NULL);
	told_of("(tries) waits (sleep)");
}

TEST(timedlock_holds)
{
	begin();
	run_in_goroutine("patient", timedlock, NULL);
	told_of("(patient) waits (sleep)");
}

TEST(clocklock_holds)
{
	begin();
	run_in_goroutine("monotonic", clocklock, NULL);
	told_of("(monotonic) waits (sleep)");
}

static void init_as(pthread_mutex_t *m, int type, bool robust)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	CHECK_EQ(pthread_mutexattr_settype(&attr, type), 0);
	if (robust)
		CHECK_EQ(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
	CHECK_EQ(pthread_mutex_init(m, &attr), 0);
	pthread_mutexattr_destroy(&attr);
}

static void lock_it(void *m)
{
	CHECK_EQ(pthread_mutex_lock(m), 0);
}

static void unlock_it(void *m)
{
	CHECK_EQ(pthread_mutex_unlock(m), 0);
}

/* On one thread all the time, but not for what is told. */
TEST(a_recursive_mutex_is_held_to_the_last_unlock)
{
	pthread_mutex_t m;

	init_as(&m, PTHREAD_MUTEX_RECURSIVE, false);
	begin();
	gort_lock_thread();
	for (int i = 0; i < 5; i++)
		lock_it(&m);
	for (int i = 0; i < 4; i++)
		unlock_it(&m);
	gort_unlock_thread();
	sleep_a_while();
	told_of("goroutine 1 waits (sleep)");
}

// not: qemu
TEST(a_robust_mutex_of_a_dead_owner_is_held)
{
	pthread_mutex_t m;

	init_as(&m, PTHREAD_MUTEX_NORMAL, true);
	begin();
	on_guest(lock_it, &m);
	CHECK_EQ(pthread_mutex_lock(&m), EOWNERDEAD);
	sleep_a_while();
	told_of("goroutine 1 waits (sleep)");
}

/* ---- not told of */
static int lock_and_unlock(void *arg)
{
	struct timespec when = later(CLOCK_REALTIME), soon = later(CLOCK_MONOTONIC);
	pthread_mutex_t recursive;

	(void)arg;
	init_as(&recursive, PTHREAD_MUTEX_RECURSIVE, false);
	for (int i = 0; i < 3; i++)
		lock_it(&recursive);
	for (int i = 0; i < 3; i++)
		unlock_it(&recursive);
	CHECK_EQ(gort_sleep(GORT_US), 0);
	lock_it(&mutex);
	unlock_it(&mutex);
	CHECK_EQ(gort_sleep(GORT_US), 0);
	CHECK_EQ(pthread_mutex_trylock(&mutex), 0);
	unlock_it(&mutex);
	CHECK_EQ(gort_sleep(GORT_US), 0);
	CHECK_EQ(pthread_mutex_timedlock(&mutex, &when), 0);
	unlock_it(&mutex);
	CHECK_EQ(gort_sleep(GORT_US), 0);
	CHECK_EQ(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &soon), 0);
	unlock_it(&mutex);
	CHECK_EQ(gort_sleep(GORT_US), 0);
	return 0;
}

// variants: maxprocs
TEST(unlocked_before_it_waits)
{
	begin();
	for (int i = 0; i < SCALE(100); i++)
		run_in_goroutine("good", lock_and_unlock, NULL);
	told_nothing();
}

/* More than the table has room for. */
TEST(many_held_at_a_time)
{
	enum { MANY = 3000 };
	static pthread_mutex_t all[MANY];

	begin();
	for (int i = 0; i < MANY; i++) {
		pthread_mutex_init(&all[i], NULL);
		lock_it(&all[i]);
	}
	for (int i = 0; i < MANY; i++)
		unlock_it(&all[i]);
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	lock_it(&mutex);
	sleep_a_while();
	unlock_it(&mutex);
	told_of("goroutine 1 waits (sleep)");
}

static void fail_to_lock(void *m)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	CHECK_EQ(pthread_mutex_trylock(m), EBUSY);
	CHECK_EQ(pthread_mutex_timedlock(m, &now), ETIMEDOUT);
}

static int fail_and_sleep(void *m)
{
	fail_to_lock(m);
	return gort_sleep(GORT_MS);
}

static void lock_while_they_fail(void *m)
{
	lock_it(m);
	CHECK_EQ(gort_chan_send(((gort_chan **)m)[-1], NULL), 0);
}

/* A plain thread holds it all the time, across a wait of its own. */
// variants: maxprocs
TEST(what_failed_holds_nothing)
{
	struct {
		gort_chan *c;
		pthread_mutex_t m;
	} x = { gort_chan_make(0, 0), PTHREAD_MUTEX_INITIALIZER };
	struct guest *g;
	pthread_mutex_t strict;

	_Static_assert(offsetof(typeof(x), m) == sizeof(gort_chan *), "next to each other");
	init_as(&strict, PTHREAD_MUTEX_ERRORCHECK, false);
	begin();
	g = guest_start(lock_while_they_fail, &x.m);
	EVENTUALLY(pthread_mutex_trylock(&x.m) == EBUSY || (unlock_it(&x.m), false));
	run_in_goroutine("fails", fail_and_sleep, &x.m);
	gort_chan_recv(x.c, NULL);
	guest_join(g);
	gort_lock_thread();
	lock_it(&strict);
	CHECK_EQ(pthread_mutex_lock(&strict), EDEADLK);
	unlock_it(&strict);
	CHECK_EQ(pthread_mutex_unlock(&strict), EPERM);
	gort_unlock_thread();
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	told_nothing();
	gort_chan_release(x.c);
}

// variants: maxprocs
TEST(one_that_keeps_its_thread_may)
{
	begin();
	gort_lock_thread();
	lock_it(&mutex);
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	gort_yield();
	unlock_it(&mutex);
	gort_unlock_thread();
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	told_nothing();
}

static int block_with_it(void *arg)
{
	(void)arg;
	lock_it(&mutex);
	usleep(2000);
	unlock_it(&mutex);
	return 0;
}

static int nap(void *arg)
{
	(void)arg;
	return usleep(2000);
}

// variants: maxprocs
TEST(blocking_the_thread_is_no_wait)
{
	begin();
	for (int i = 0; i < 5; i++)
		CHECK_EQ(gort_blocking(block_with_it, NULL), 0);
	run_in_goroutine("blocks", block_with_it, NULL);
	lock_it(&mutex);
	CHECK_EQ(gort_blocking(nap, NULL), 0);
	unlock_it(&mutex);
	told_nothing();
}

static int contend(void *arg)
{
	(void)arg;
	for (int i = 0; i < SCALE(50); i++) {
		lock_it(&mutex);
		gort_yield();
		unlock_it(&mutex);
		gort_sleep(GORT_US);
	}
	return 0;
}

TEST(yielding_is_no_wait)
{
	begin();
	run_in_goroutine("yields", contend, NULL);
	told_nothing();
}

/* ---- conditions */
static struct {
	pthread_cond_t cond;
	atomic_int waiting;
	bool ready; /* mutex */
} when = { .cond = PTHREAD_COND_INITIALIZER };

static int await(void *arg)
{
	lock_it(&mutex);
	atomic_fetch_add(&when.waiting, 1);
	while (!when.ready)
		CHECK_EQ(pthread_cond_wait(&when.cond, &mutex), 0);
	if (arg)
		sleep_a_while();
	unlock_it(&mutex);
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	return 0;
}

static void make_ready(void *arg)
{
	(void)arg;
	EVENTUALLY(atomic_load(&when.waiting) == 4);
	lock_it(&mutex);
	when.ready = true;
	pthread_cond_broadcast(&when.cond);
	unlock_it(&mutex);
}

/* arg: the last waits with it. */
static void await_by_four(bool last_waits, bool by_guest)
{
	gort_task *t[4];

	for (int i = 0; i < 4; i++) {
		t[i] = gort_spawn(await, i == 3 && last_waits ? t : NULL,
				  &(gort_attr){ .name = i == 3 ? "last" : "other" });
		CHECK(t[i] != NULL);
	}
	if (by_guest)
		on_guest(make_ready, NULL);
	else
		make_ready(NULL);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_join(t[i], NULL), 0);
}

// variants: maxprocs
TEST(a_condition_unlocks_and_locks)
{
	begin();
	await_by_four(false, false);
	told_nothing();
}

// variants: maxprocs
TEST(a_wait_after_a_condition_is_told_of)
{
	begin();
	await_by_four(true, false);
	told_of("(last) waits (sleep)");
}

// variants: maxprocs
TEST(a_wait_after_a_plain_threads_signal_is_told_of)
{
	begin();
	await_by_four(true, true);
	told_of("(last) waits (sleep)");
}

/* ---- locked by one, unlocked by another */
static int unlock_anothers(void *arg)
{
	(void)arg;
	unlock_it(&mutex);
	return gort_sleep(GORT_MS);
}

static int lock_for_another(void *arg)
{
	gort_lock_thread(); /* it is not told of meanwhile */
	lock_it(&mutex);
	if (arg)
		on_guest(unlock_it, &mutex);
	else
		run_in_goroutine("unlocks", unlock_anothers, NULL);
	gort_unlock_thread();
	for (int i = 0; i < 5; i++)
		CHECK_EQ(gort_sleep(GORT_US), 0);
	return 0;
}

// variants: maxprocs
TEST(unlocked_by_another)
{
	begin();
	for (int i = 0; i < 5; i++) {
		run_in_goroutine("locks", lock_for_another, NULL);
		run_in_goroutine("locks", lock_for_another, &mutex);
		on_guest(lock_it, &mutex);
		run_in_goroutine("unlocks", unlock_anothers, NULL);
	}
	told_nothing();
}

static int lock_for_another_then_wait(void *arg)
{
	lock_for_another(arg);
	lock_it(&mutex);
	return wait_with_it(NULL);
}

// variants: maxprocs
TEST(one_whose_mutex_another_has_unlocked_is_told_of_later)
{
	begin();
	run_in_goroutine("later", lock_for_another_then_wait, &mutex);
	told_of("(later) waits (sleep)");
}

static void receive_with_it_as_guest(void *c)
{
	receive_with_it(c);
}

TEST(a_plain_thread_may)
{
	gort_chan *c = gort_chan_make(0, 0);
	struct guest *g;

	begin();
	g = guest_start(receive_with_it_as_guest, c);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_chan_send(c, NULL), 0);
	guest_join(g);
	told_nothing();
	gort_chan_release(c);
}

/* ---- before main, and without a runtime */
static pthread_mutex_t early = PTHREAD_MUTEX_INITIALIZER;
static int early_result = -1;

/* Before the library's own constructors: it stands behind us. */
__attribute__((constructor(101))) static void lock_early(void)
{
	early_result = pthread_mutex_lock(&early);
	early_result += pthread_mutex_unlock(&early);
	early_result += pthread_mutex_trylock(&early);
	early_result += pthread_mutex_unlock(&early);
	early_result += pthread_mutex_timedlock(&early, &(struct timespec){ 0 });
}

TEST_PLAIN(a_constructor_may_lock)
{
	CHECK_EQ(early_result, 0);
	CHECK_EQ(pthread_mutex_trylock(&early), EBUSY);
	CHECK_EQ(pthread_mutex_unlock(&early), 0);
}

static int unlock_early(void *arg)
{
	(void)arg;
	unlock_it(&early); /* locked when nobody watched */
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	lock_it(&mutex);
	sleep_a_while();
	return 0;
}

/* Not even in another runtime. */
TEST_PLAIN(told_of_once_in_a_process)
{
	begin();
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gort_run(unlock_early, NULL, NULL), 0);
		unlock_it(&mutex);
		lock_it(&early);
	}
	told_of("goroutine 1 waits (sleep)");
}

/* A small stack has no room for the calls; a bubble has a clock of its own. */
static int lock_and_wait(void *arg)
{
	lock_it(&mutex);
	return wait_with_it(arg);
}

TEST(on_a_small_stack)
{
	gort_task *t;

	begin();
	t = gort_spawn(lock_and_wait, NULL,
		       &(gort_attr){ .name = "small", .stack_size = 16 << 10 });
	CHECK(t != NULL);
	CHECK_EQ(gort_join(t, NULL), 0);
	told_of("(small) waits (sleep)");
}

TEST(in_a_bubble)
{
	begin();
	CHECK_EQ(gort_bubble(lock_and_wait, NULL), 0);
	told_of(" waits (sleep)");
}
