/*
 * sem.c - a weighted semaphore: never more than there are, first come first served, deadlines.
 */
#include "crowd.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static gort_sem sem;
static gort_waitgroup group;
static atomic_int at;
static int order[1000];

/* On one P. */
static void arrive(gort_func fn, void *arg)
{
	crowd_arrive(&group, fn, arg);
}

static void check_holds(gort_sem *s, int64_t n)
{
	CHECK_EQ(gort_sem_try_acquire(s, n + 1), -EAGAIN);
	if (n == 0)
		return;
	CHECK_EQ(gort_sem_try_acquire(s, n), 0);
	CHECK_EQ(gort_sem_try_acquire(s, 1), -EAGAIN);
	gort_sem_release(s, n);
}

/* ---- without waiting */
static void check_numbers(void *arg)
{
	gort_sem s = GORT_SEM_INIT(5);

	(void)arg;
	check_holds(&s, 5);
	CHECK_EQ(gort_sem_acquire(&s, 2), 0);
	check_holds(&s, 3);
	CHECK_EQ(gort_sem_acquire_until(&s, 3, GORT_NOW), 0); /* complete without waiting */
	check_holds(&s, 0);
	CHECK_EQ(gort_sem_acquire_until(&s, 1, GORT_NOW), -ETIMEDOUT);
	gort_sem_release(&s, 7);
	check_holds(&s, 7);
	gort_sem_release(&s, INT64_MAX - 7);
	CHECK_EQ(gort_sem_acquire(&s, INT64_MAX), 0);
	check_holds(&s, 0);
}

TEST_PLAIN(numbers)
{
	check_numbers(NULL);
	on_guest(check_numbers, NULL);
	check_holds(&sem, 0); /* the zero value */
}

// variants: bubble
TEST(numbers_on_goroutines)
{
	check_numbers(NULL);
}

/* ---- deadlines */
static void check_until(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_sem_acquire_until(&sem, 1, -5), -ETIMEDOUT);
	for (int64_t d = 1; d < 5 * GORT_MS; d *= 4) {
		int64_t deadline = gort_in(d);

		CHECK_EQ(gort_sem_acquire_until(&sem, 1, deadline), -ETIMEDOUT);
		CHECK(gort_now() >= deadline);
	}
	check_holds(&sem, 0);
}

// variants: maxprocs bubble
TEST(acquire_until_times_out)
{
	check_until(NULL);
	on_guest(check_until, NULL);
	gort_sem_release(&sem, 3);
	check_holds(&sem, 3);
}

TEST_PLAIN(acquire_until_without_a_runtime)
{
	check_until(NULL);
	on_guest(check_until, NULL);
	gort_sem_release(&sem, 3);
	check_holds(&sem, 3);
}

/* ---- first come first served */
struct request {
	int id;
	int64_t n, deadline;
};

static void acquire_in_turn(void *arg)
{
	struct request *r = arg;

	if (r->deadline)
		CHECK_EQ(gort_sem_acquire_until(&sem, r->n, r->deadline), -ETIMEDOUT);
	else
		CHECK_EQ(gort_sem_acquire(&sem, r->n), 0);
	if (!r->deadline)
		order[atomic_fetch_add(&at, 1)] = r->id;
}

static void let_run(void)
{
	for (int i = 0; i < 1000; i++)
		gort_yield();
}

// variants: bubble
TEST(who_asks_for_much_is_not_overtaken)
{
	static struct request r[] = { { 0, 1, 0 }, { 1, 5, 0 }, { 2, 1, 0 }, { 3, 2, 0 } };

	gort_maxprocs(1);
	for (int i = 0; i < 4; i++)
		arrive(acquire_in_turn, &r[i]);
	gort_sem_release(&sem, 5);
	EVENTUALLY(atomic_load(&at) == 1);
	let_run();
	CHECK_EQ(atomic_load(&at), 1); /* four are left, the next wants five */
	CHECK_EQ(gort_sem_try_acquire(&sem, 1), -EAGAIN);
	CHECK_EQ(gort_sem_acquire_until(&sem, 1, gort_in(GORT_MS)), -ETIMEDOUT);
	gort_sem_release(&sem, 1);
	EVENTUALLY(atomic_load(&at) == 2);
	let_run();
	CHECK_EQ(atomic_load(&at), 2);
	gort_sem_release(&sem, 4); /* as many as fit */
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(order[i], i);
	check_holds(&sem, 1);
}

// variants: bubble
TEST(one_that_gives_up_lets_others_through)
{
	struct request big = { 0, 100, 0 };
	int now;
	static struct request r[] = { { 1, 1, 0 }, { 2, 2, 0 }, { 3, 90, 0 } };

	gort_maxprocs(1);
	gort_sem_release(&sem, 4);
	big.deadline = gort_in(3 * GORT_MS);
	arrive(acquire_in_turn, &big);
	for (int i = 0; i < 3; i++)
		arrive(acquire_in_turn, &r[i]);
	now = atomic_load(&at);
	if (gort_now() < big.deadline)
		CHECK_EQ(now, 0);
	EVENTUALLY(atomic_load(&at) == 2);
	CHECK(gort_now() >= big.deadline);
	CHECK_EQ(order[0], 1);
	CHECK_EQ(order[1], 2);
	gort_sem_release(&sem, 89);
	gort_waitgroup_wait(&group);
	CHECK_EQ(order[2], 3);
	check_holds(&sem, 0);
}

TEST(one_that_gives_up_in_the_middle_is_forgotten)
{
	struct request r[] = { { 0, 2, 0 }, { 1, 2, 0 }, { 2, 2, 0 } };

	gort_maxprocs(1);
	r[1].deadline = gort_in(2 * GORT_MS);
	for (int i = 0; i < 3; i++)
		arrive(acquire_in_turn, &r[i]);
	EVENTUALLY(gort_count() == 3);
	gort_sem_release(&sem, 4);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&at), 2);
	CHECK_EQ(order[0], 0);
	CHECK_EQ(order[1], 2);
	check_holds(&sem, 0);
}

static void acquire_one(void *arg)
{
	(void)arg;
	crowd_join();
	CHECK_EQ(gort_sem_acquire(&sem, 1), 0);
	atomic_fetch_add(&at, 1);
}

/* More than are woken at once. */
// variants: maxprocs bubble
TEST(one_release_wakes_a_crowd)
{
	const int n = SCALE(3000);

	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_waitgroup_go(&group, acquire_one, NULL), 0);
	EVENTUALLY(crowd_waits((uint32_t)n, WHY_SEM));
	CHECK_EQ(atomic_load(&at), 0);
	gort_sem_release(&sem, n + 2);
	gort_waitgroup_wait(&group);
	check_holds(&sem, 2);
}

/* ---- contexts: a wait ends with its goroutine's, and those behind go on */
static void acquire_for_a_while(void *arg)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before = gort_ctx_enter(ctx);
	int64_t old;

	(void)arg;
	old = gort_set_deadline(gort_in(2 * GORT_MS));
	CHECK_EQ(gort_sem_acquire(&sem, 100), -ETIMEDOUT);
	gort_set_deadline(old);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_sem_acquire(&sem, 100), -ECANCELED);
	CHECK_EQ(gort_sem_acquire_until(&sem, 100, gort_in(GORT_SEC)), -ECANCELED);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
}

static void acquire_until_canceled(void *arg)
{
	gort_ctx *before = gort_ctx_enter(arg);

	crowd_join();
	CHECK_EQ(gort_sem_acquire(&sem, 100), -ECANCELED);
	gort_ctx_leave(before);
}

// variants: maxprocs bubble
TEST(contexts_end_waits)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());

	acquire_for_a_while(NULL);
	on_guest(acquire_for_a_while, NULL);
	CHECK_EQ(gort_waitgroup_go(&group, acquire_until_canceled, ctx), 0);
	EVENTUALLY(crowd_waits(1, WHY_SEM));
	gort_sem_release(&sem, 3);
	CHECK_EQ(gort_waitgroup_go(&group, acquire_one, NULL), 0);
	EVENTUALLY(crowd_waits(2, WHY_SEM)); /* behind the one that wants much */
	gort_ctx_cancel(ctx, 0);
	gort_waitgroup_wait(&group);
	check_holds(&sem, 2);
	gort_ctx_release(ctx);
}

/* ---- never more than there are */
#define PLACES 7

static atomic_llong used;

static void use(int64_t n, int i)
{
	int64_t now = atomic_fetch_add(&used, n) + n;

	CHECK(now <= PLACES);
	if (i % 32 == 0)
		gort_sleep(1);
	else if (i % 3 == 0)
		gort_yield();
	atomic_fetch_sub(&used, n);
	gort_sem_release(&sem, n);
}

static void come_and_go(void *arg)
{
	for (int i = 0; i < *(int *)arg; i++) {
		int64_t n = i % PLACES + 1;

		CHECK_EQ(gort_sem_acquire(&sem, n), 0);
		use(n, i);
	}
}

static void come_hurried(void *arg)
{
	for (int i = 0, k = 0; i < *(int *)arg; k++) {
		int64_t n = k % PLACES + 1;
		int err = k % 3 ? gort_sem_acquire_until(&sem, n, gort_in(k % 50 * 300))
				: gort_sem_try_acquire(&sem, n);

		if (err == 0) {
			use(n, i++);
			continue;
		}
		CHECK_EQ(err, k % 3 ? -ETIMEDOUT : -EAGAIN);
		gort_yield();
	}
}

static void guest_comes(void *arg)
{
	come_and_go(arg);
	gort_waitgroup_done(&group);
}

static void guest_hurries(void *arg)
{
	come_hurried(arg);
	gort_waitgroup_done(&group);
}

static void all_come(int n, int goroutines)
{
	struct guest *g[4];

	gort_sem_release(&sem, PLACES);
	gort_waitgroup_add(&group, 4);
	for (int i = 0; i < 4; i++)
		g[i] = guest_start(i % 2 ? guest_comes : guest_hurries, &n);
	for (int i = 0; i < goroutines; i++)
		CHECK_EQ(gort_waitgroup_go(&group, i % 2 ? come_and_go : come_hurried, &n), 0);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 4; i++)
		guest_join(g[i]);
	CHECK_EQ(atomic_load(&used), 0);
	check_holds(&sem, PLACES);
}

// variants: maxprocs
TEST(never_more_than_there_are)
{
	all_come(SCALE(1000), 10);
}

TEST_PLAIN(never_more_than_there_are_without_a_runtime)
{
	all_come(SCALE(1000), 0);
}

static void pass_quickly(void *arg)
{
	for (int i = 0; i < *(int *)arg; i++) {
		CHECK_EQ(gort_sem_acquire(&sem, 1), 0);
		gort_sem_release(&sem, 1);
	}
}

// variants: maxprocs bubble
TEST(short_stays)
{
	int n = SCALE(20000);

	gort_sem_release(&sem, 1);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gort_waitgroup_go(&group, pass_quickly, &n), 0);
	gort_waitgroup_wait(&group);
	check_holds(&sem, 1);
}

/* ---- memory: who has what was released may free it */
static void release_one(void *arg)
{
	gort_sem_release(arg, 1);
}

static void acquire_and_free(gort_sem *s, int64_t n)
{
	CHECK_EQ(gort_sem_acquire(s, n), 0);
	memset((void *)s, 0xdd, sizeof *s);
	free(s);
}

static void free_on_guest(void *arg)
{
	for (int i = 0; i < SCALE(2000); i++) {
		gort_sem *s = calloc(1, sizeof *s);

		CHECK(s != NULL);
		CHECK_EQ(gort_go(release_one, s), 0);
		CHECK_EQ(gort_go(release_one, s), 0);
		acquire_and_free(s, 2);
	}
	gort_waitgroup_done(arg);
}

// variants: maxprocs
TEST(freed_as_soon_as_it_was_acquired)
{
	struct guest *g;

	gort_waitgroup_add(&group, 1);
	g = guest_start(free_on_guest, &group);
	for (int i = 0; i < SCALE(5000); i++) {
		gort_sem *s = calloc(1, sizeof *s);

		CHECK(s != NULL);
		for (int k = 0; k < 3; k++)
			CHECK_EQ(gort_waitgroup_go(&group, release_one, s), 0);
		acquire_and_free(s, 3);
	}
	gort_waitgroup_wait(&group);
	guest_join(g);
}

/* ---- the runtime ends */
static int leave_waiting(void *arg)
{
	static struct request r[] = { { 0, 2, 0 }, { 1, 1, 0 }, { 2, 1, 0 }, { 3, 9, 0 } };

	(void)arg;
	gort_preempt_off();
	for (int i = 0; i < 4; i++)
		arrive(acquire_in_turn, &r[i]);
	gort_sem_release(&sem, 3); /* for the first two, which never run again */
	return 0;
}

static void guest_acquires(void *arg)
{
	CHECK_EQ(gort_sem_acquire(&sem, 3), 0);
	atomic_store((atomic_int *)arg, 1);
}

static int leave_one_before_a_guest(void *arg)
{
	struct request big = { 0, 5, 0 };

	(void)arg;
	arrive(acquire_in_turn, &big);
	return 0;
}

TEST_PLAIN(what_ended_goroutines_had_goes_on)
{
	const gort_options one = { .maxprocs = 1 };
	atomic_int done = 0;
	struct guest *g;

	CHECK_EQ(gort_run(leave_waiting, NULL, &one), 0);
	check_holds(&sem, 3);
	CHECK_EQ(gort_run(leave_one_before_a_guest, NULL, &one), 0);
	check_holds(&sem, 3);
	CHECK_EQ(gort_sem_acquire(&sem, 1), 0);
	g = guest_start(guest_acquires, &done);
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(gort_run(leave_one_before_a_guest, NULL, &one), 0);
	CHECK_EQ(atomic_load(&done), 0);
	gort_sem_release(&sem, 1);
	guest_join(g);
	CHECK_EQ(atomic_load(&done), 1);
	check_holds(&sem, 0);
	CHECK_EQ(atomic_load(&at), 0);
	gort_waitgroup_add(&group, -6);
}

/* ---- misuse */
TEST_DIES(acquire_of_none, "gort_sem_acquire")
{
	gort_sem_acquire(&sem, 0);
}

TEST_DIES(acquire_of_less_than_none_names_the_goroutine, "goroutine 1")
{
	gort_sem_acquire(&sem, -1);
}

TEST_DIES(try_acquire_of_none, "gort_sem_try_acquire")
{
	gort_sem_try_acquire(&sem, 0);
}

TEST_DIES(release_of_none, "gort_sem_release")
{
	gort_sem_release(&sem, 0);
}

TEST_DIES(release_over_the_top, "over 9223372036854775807")
{
	gort_sem_release(&sem, INT64_MAX);
	gort_sem_release(&sem, 1);
}

static void acquire_two(void *arg)
{
	(void)arg;
	gort_sem_acquire(&sem, INT64_MAX);
}

TEST_DIES(release_over_the_top_while_somebody_waits, "over 9223372036854775807")
{
	gort_maxprocs(1);
	arrive(acquire_two, NULL);
	gort_sem_release(&sem, INT64_MAX - 1);
	gort_sem_release(&sem, 2);
}

TEST_PLAIN_DIES(release_of_none_on_a_plain_thread, "gort_sem_release")
{
	gort_sem_release(&sem, -7);
}

TEST_DIES(null_is_misuse, "gort_sem_acquire")
{
	gort_sem *none = NULL;

	gort_sem_acquire(none, 1);
}
