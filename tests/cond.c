/*
 * cond.c - waiting for a signal: order, nobody woken in vain or forgotten, deadlines, the mutex
 * held again in any case.
 */
#include "harness.h"
#include "sched/park.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static gort_mutex mutex;
static gort_cond cond;
static gort_waitgroup group;
static int turn, woken; /* mutex */
static atomic_int arrived;

static void check_held(void)
{
	CHECK_EQ(gort_mutex_try_lock(&mutex), -EAGAIN);
}

/* One that has said that it has arrived holds the mutex until it waits. */
static void arrive(gort_func fn, void *arg)
{
	int before = atomic_load(&arrived);

	CHECK_EQ(gort_waitgroup_go(&group, fn, arg), 0);
	while (atomic_load(&arrived) == before)
		gort_yield();
	gort_mutex_lock(&mutex);
	gort_mutex_unlock(&mutex);
}

/* ---- talking */
#define TURNS SCALE(5000)

static void take_turns(void *arg)
{
	int mine = *(int *)arg;

	gort_mutex_lock(&mutex);
	for (int i = 0; i < TURNS; i++) {
		while (turn != mine)
			CHECK_EQ(gort_cond_wait(&cond, &mutex), 0);
		turn = !mine;
		gort_cond_signal(&cond);
	}
	gort_mutex_unlock(&mutex);
}

static void guest_takes_turns(void *arg)
{
	take_turns(arg);
	gort_waitgroup_done(&group);
}

static int zero = 0, one = 1;

// variants: maxprocs bubble
TEST(two_take_turns)
{
	CHECK_EQ(gort_waitgroup_go(&group, take_turns, &zero), 0);
	take_turns(&one);
	gort_waitgroup_wait(&group);
}

// variants: maxprocs
TEST(goroutine_and_guest_take_turns)
{
	struct guest *g;

	gort_waitgroup_add(&group, 1);
	g = guest_start(guest_takes_turns, &zero);
	take_turns(&one);
	gort_waitgroup_wait(&group);
	guest_join(g);
}

TEST_PLAIN(guests_take_turns_without_a_runtime)
{
	struct guest *g = guest_start(take_turns, &zero);

	take_turns(&one);
	guest_join(g);
}

/* ---- signal: one each, first come first served, with the mutex or without */
static int order[600], left;

/* They do as with one P they must, if nobody stops one on the way to the mutex. */
static void wait_in_line(void *arg)
{
	gort_preempt_off();
	gort_mutex_lock(&mutex);
	atomic_fetch_add(&arrived, 1);
	CHECK_EQ(gort_cond_wait(&cond, &mutex), 0);
	check_held();
	order[left++] = *(int *)arg;
	gort_mutex_unlock(&mutex);
	gort_preempt_on();
}

static int how_many_left(void)
{
	int n;

	gort_mutex_lock(&mutex);
	n = left;
	gort_mutex_unlock(&mutex);
	return n;
}

static int id[600];

static void line_up(int from, int to)
{
	for (int i = from; i < to; i++) {
		id[i] = i;
		arrive(wait_in_line, &id[i]);
	}
}

// variants: bubble
TEST(signals_go_to_those_who_have_waited_longest)
{
	gort_maxprocs(1);
	line_up(0, 10);
	for (int i = 0; i < 10; i++) {
		if (i % 2)
			gort_mutex_lock(&mutex);
		gort_cond_signal(&cond);
		if (i % 2)
			gort_mutex_unlock(&mutex);
		EVENTUALLY(how_many_left() > i);
		gort_sleep(GORT_MS);
		CHECK_EQ(how_many_left(), i + 1);
		CHECK_EQ(order[i], i);
	}
	gort_cond_signal(&cond); /* nobody waits: nothing is kept */
	arrive(wait_in_line, &id[0]);
	gort_sleep(GORT_MS);
	CHECK_EQ(how_many_left(), 10);
	gort_cond_signal(&cond);
	gort_waitgroup_wait(&group);
}

// variants: bubble
TEST(broadcast_wakes_all_in_their_order)
{
	enum { N = 600 }; /* several batches */

	gort_maxprocs(1);
	line_up(0, N);
	gort_preempt_off();
	gort_cond_broadcast(&cond);
	CHECK_EQ(left, 0);
	gort_preempt_on();
	gort_waitgroup_wait(&group);
	CHECK_EQ(left, N);
	for (int i = 0; i < N; i++)
		CHECK_EQ(order[i], i);
	gort_cond_broadcast(&cond);
}

/* Those who come after it has begun wait for the next, also if it is not through yet. */
static void wait_again(void *arg)
{
	int *waits = arg;

	gort_mutex_lock(&mutex);
	atomic_fetch_add(&arrived, 1);
	while (*waits > 0) {
		CHECK_EQ(gort_cond_wait(&cond, &mutex), 0);
		--*waits;
		woken++;
	}
	gort_mutex_unlock(&mutex);
}

// variants: maxprocs bubble
TEST(broadcast_wakes_nobody_twice)
{
	enum { N = 1000, ROUNDS = 5 };
	static int waits[N];
	const int n = SCALE(N);

	for (int i = 0; i < n; i++) {
		waits[i] = ROUNDS;
		CHECK_EQ(gort_waitgroup_go(&group, wait_again, &waits[i]), 0);
	}
	EVENTUALLY(atomic_load(&arrived) == n);
	for (int round = 1; round <= ROUNDS; round++) {
		gort_mutex_lock(&mutex); /* who has arrived waits */
		CHECK_EQ(woken, (round - 1) * n);
		gort_cond_broadcast(&cond);
		gort_mutex_unlock(&mutex);
		for (bool all = false; !all; gort_sleep(100 * GORT_US)) {
			gort_mutex_lock(&mutex);
			CHECK(woken <= round * n);
			all = woken == round * n;
			gort_mutex_unlock(&mutex);
		}
	}
	gort_waitgroup_wait(&group);
}

/* ---- somebody waits for the mutex when it is given up, in all ways that the two locks of the
 * parking lot can lie to each other */
struct pair {
	gort_mutex mutex;
	gort_cond cond;
};

static atomic_bool locked_it;

static void lock_and_signal(void *arg)
{
	struct pair *p = arg;

	gort_mutex_lock(&p->mutex);
	atomic_store(&locked_it, true);
	gort_cond_signal(&p->cond);
	gort_mutex_unlock(&p->mutex);
}

static void wait_while_one_wants_the_mutex(struct pair *p)
{
	gort_mutex_lock(&p->mutex);
	atomic_store(&locked_it, false);
	CHECK_EQ(gort_waitgroup_go(&group, lock_and_signal, p), 0);
	gort_sleep(50 * GORT_US);
	CHECK_EQ(gort_cond_wait(&p->cond, &p->mutex), 0);
	CHECK(atomic_load(&locked_it));
	gort_mutex_unlock(&p->mutex);
	gort_waitgroup_wait(&group);
}

// variants: maxprocs
TEST(mutex_goes_to_one_who_waits_for_it)
{
	enum { N = 2000 };
	static struct pair pair[N];
	int seen[3] = { 0 };

	for (int i = 0; i < N; i++) {
		struct lock *a = gort__lot_lock(&pair[i].mutex), *b = gort__lot_lock(&pair[i].cond);
		int kind = a < b ? 0 : a == b ? 1 : 2;

		if (seen[kind]++ < 20)
			wait_while_one_wants_the_mutex(&pair[i]);
	}
	CHECK(seen[0] > 0 && seen[2] > 0);
}

/* The same bucket for both, which the layout above may not give. */
// variants: maxprocs bubble
TEST(mutex_and_cond_in_one_bucket)
{
	enum { N = 4096 };
	static struct {
		gort_mutex mutex;
		char gap[64];
	} some[N];
	int found = 0;

	for (int i = 0; i < N && found < 5; i++) {
		gort_mutex *m = &some[i].mutex;

		if (gort__lot_lock(m) != gort__lot_lock(&cond))
			continue;
		found++;
		gort_mutex_lock(m);
		CHECK_EQ(gort_cond_wait_until(&cond, m, gort_in(GORT_MS)), -ETIMEDOUT);
		CHECK_EQ(gort_mutex_try_lock(m), -EAGAIN);
		gort_mutex_unlock(m);
	}
	CHECK(found > 0);
}

/* ---- deadlines */
static void check_until(void *arg)
{
	(void)arg;
	gort_mutex_lock(&mutex);
	CHECK_EQ(gort_cond_wait_until(&cond, &mutex, GORT_NOW), -ETIMEDOUT);
	check_held();
	CHECK_EQ(gort_cond_wait_until(&cond, &mutex, -5), -ETIMEDOUT);
	check_held();
	for (int64_t d = 1; d < 5 * GORT_MS; d *= 4) {
		int64_t deadline = gort_in(d);

		CHECK_EQ(gort_cond_wait_until(&cond, &mutex, deadline), -ETIMEDOUT);
		CHECK(gort_now() >= deadline);
		check_held();
	}
	gort_mutex_unlock(&mutex);
}

// variants: maxprocs bubble
TEST(wait_until_times_out_with_the_mutex)
{
	check_until(NULL);
	on_guest(check_until, NULL);
	CHECK_EQ(gort_mutex_try_lock(&mutex), 0);
}

TEST_PLAIN(wait_until_without_a_runtime)
{
	check_until(NULL);
	on_guest(check_until, NULL);
	CHECK_EQ(gort_mutex_try_lock(&mutex), 0);
}

static void hold_mutex(void *arg)
{
	gort_mutex_lock(&mutex);
	gort_sleep_until(*(int64_t *)arg);
	turn = 7;
	gort_mutex_unlock(&mutex);
}

/* It comes back only when the one that has it meanwhile has let it go. */
// variants: maxprocs
TEST(deadline_waits_for_the_mutex)
{
	int64_t until = gort_in(5 * GORT_MS);

	gort_mutex_lock(&mutex);
	CHECK_EQ(gort_waitgroup_go(&group, hold_mutex, &until), 0);
	gort_sleep(100 * GORT_US);
	CHECK_EQ(gort_cond_wait_until(&cond, &mutex, gort_in(GORT_MS)), -ETIMEDOUT);
	if (turn == 7) /* it was quick enough to lock while we waited */
		CHECK(gort_now() >= until);
	check_held();
	gort_mutex_unlock(&mutex);
	gort_waitgroup_wait(&group);
	CHECK_EQ(turn, 7);
}

/* ---- contexts: a wait ends with its goroutine's, with the mutex */
static void wait_for_a_while(void *arg)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before = gort_ctx_enter(ctx);
	int64_t old;

	(void)arg;
	gort_mutex_lock(&mutex);
	old = gort_set_deadline(gort_in(2 * GORT_MS));
	CHECK_EQ(gort_cond_wait(&cond, &mutex), -ETIMEDOUT);
	check_held();
	gort_set_deadline(old);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_cond_wait(&cond, &mutex), -ECANCELED);
	check_held();
	CHECK_EQ(gort_cond_wait_until(&cond, &mutex, gort_in(GORT_SEC)), -ECANCELED);
	check_held();
	gort_mutex_unlock(&mutex);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
}

static void wait_until_canceled(void *arg)
{
	gort_ctx *before = gort_ctx_enter(arg);

	gort_mutex_lock(&mutex);
	atomic_fetch_add(&arrived, 1);
	CHECK_EQ(gort_cond_wait(&cond, &mutex), -ECANCELED);
	check_held();
	gort_mutex_unlock(&mutex);
	gort_ctx_leave(before);
}

// variants: maxprocs
TEST(contexts_end_waits)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());

	wait_for_a_while(NULL);
	on_guest(wait_for_a_while, NULL);
	arrive(wait_until_canceled, ctx);
	gort_mutex_lock(&mutex);
	gort_ctx_cancel(ctx, 0);
	gort_sleep(GORT_MS); /* and still does, for the mutex */
	CHECK_EQ(gort_count(), 2);
	gort_mutex_unlock(&mutex);
	gort_waitgroup_wait(&group);
	gort_ctx_release(ctx);
}

/* ---- signals and deadlines */
static atomic_int in_time;

static void wait_hurried(void *arg)
{
	int err;

	gort_mutex_lock(&mutex);
	atomic_fetch_add(&arrived, 1);
	err = gort_cond_wait_until(&cond, &mutex, *(int64_t *)arg);
	if (err == 0)
		atomic_fetch_add(&in_time, 1);
	else
		CHECK_EQ(err, -ETIMEDOUT);
	gort_mutex_unlock(&mutex);
}

static atomic_int patient;

static void wait_patiently(void *arg)
{
	(void)arg;
	gort_mutex_lock(&mutex);
	atomic_fetch_add(&arrived, 1);
	CHECK_EQ(gort_cond_wait(&cond, &mutex), 0);
	atomic_fetch_add(&patient, 1);
	gort_mutex_unlock(&mutex);
}

/* A signal at the time when the first one's deadline passes: one of the two gets it. */
// variants: maxprocs bubble
TEST(signal_at_the_deadline_is_not_lost)
{
	for (int i = 0; i < SCALE(500); i++) {
		int64_t deadline = gort_in(300 * GORT_US);

		atomic_store(&arrived, 0);
		atomic_store(&in_time, 0);
		atomic_store(&patient, 0);
		arrive(wait_hurried, &deadline);
		arrive(wait_patiently, NULL);
		gort_mutex_lock(&mutex);
		gort_mutex_unlock(&mutex);
		gort_sleep_until(deadline - 20 * GORT_US + i % 40 * GORT_US);
		gort_cond_signal(&cond);
		EVENTUALLY(atomic_load(&in_time) + atomic_load(&patient) > 0);
		if (atomic_load(&patient) == 0)
			gort_cond_signal(&cond);
		gort_waitgroup_wait(&group);
		CHECK_EQ(atomic_load(&patient), 1);
	}
}

/* ---- a queue that is bounded, between many of all kinds */
#define ROOM 3

static struct {
	gort_mutex lock;
	gort_cond filled, emptied;
	int count, in, out; /* lock */
	int64_t put, got, sum;
	int value[ROOM];
} box;

static void wait_for(gort_cond *c, int i)
{
	int err = i % 3 ? gort_cond_wait(c, &box.lock)
			: gort_cond_wait_until(c, &box.lock, gort_in(i % 20 * 1000));

	CHECK(err == 0 || err == -ETIMEDOUT);
}

static void produce(void *arg)
{
	for (int i = 1; i <= *(int *)arg; i++) {
		gort_mutex_lock(&box.lock);
		while (box.count == ROOM)
			wait_for(&box.emptied, i);
		box.value[box.in++ % ROOM] = i;
		box.count++;
		box.put++;
		if (i % 2)
			gort_cond_signal(&box.filled);
		gort_mutex_unlock(&box.lock);
		if (i % 2 == 0)
			gort_cond_signal(&box.filled);
	}
}

static void consume(void *arg)
{
	for (int i = 1; i <= *(int *)arg; i++) {
		gort_mutex_lock(&box.lock);
		while (box.count == 0)
			wait_for(&box.filled, i);
		box.sum += box.value[box.out++ % ROOM];
		box.count--;
		box.got++;
		if (i % 7 == 0)
			gort_cond_broadcast(&box.emptied);
		else
			gort_cond_signal(&box.emptied);
		gort_mutex_unlock(&box.lock);
	}
}

static void guest_produces(void *arg)
{
	produce(arg);
	gort_waitgroup_done(&group);
}

static void guest_consumes(void *arg)
{
	consume(arg);
	gort_waitgroup_done(&group);
}

static void fill_and_empty(int n, int goroutines, int guests)
{
	struct guest *g[8];

	gort_waitgroup_add(&group, 2 * guests);
	for (int i = 0; i < 2 * guests; i++)
		g[i] = guest_start(i % 2 ? guest_produces : guest_consumes, &n);
	for (int i = 0; i < 2 * goroutines; i++)
		CHECK_EQ(gort_waitgroup_go(&group, i % 2 ? produce : consume, &n), 0);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 2 * guests; i++)
		guest_join(g[i]);
	CHECK_EQ(box.count, 0);
	CHECK_EQ(box.put, (int64_t)n * (goroutines + guests));
	CHECK_EQ(box.got, box.put);
	CHECK_EQ(box.sum, (int64_t)n * (n + 1) / 2 * (goroutines + guests));
}

// variants: maxprocs
TEST(bounded_queue)
{
	fill_and_empty(SCALE(1000), 4, 2);
}

TEST_PLAIN(bounded_queue_without_a_runtime)
{
	fill_and_empty(SCALE(2000), 0, 2);
}

/* ---- memory: the one that was waited for may free it */
struct event {
	gort_mutex lock;
	gort_cond cond;
	bool happened;
};

static void happen(void *arg)
{
	struct event *e = arg;

	gort_mutex_lock(&e->lock);
	e->happened = true;
	gort_cond_broadcast(&e->cond);
	gort_mutex_unlock(&e->lock);
}

// variants: maxprocs bubble
TEST(freed_as_soon_as_it_has_happened)
{
	for (int i = 0; i < SCALE(5000); i++) {
		struct event *e = calloc(1, sizeof *e);

		CHECK(e != NULL);
		CHECK_EQ(gort_waitgroup_go(&group, happen, e), 0);
		gort_mutex_lock(&e->lock);
		while (!e->happened)
			CHECK_EQ(gort_cond_wait(&e->cond, &e->lock), 0);
		gort_mutex_unlock(&e->lock);
		memset((void *)e, 0xdd, sizeof *e);
		free(e);
	}
	gort_waitgroup_wait(&group);
}

/* ---- the runtime ends */
static void guest_waits(void *arg)
{
	(void)arg;
	gort_mutex_lock(&mutex);
	atomic_fetch_add(&arrived, 1);
	CHECK_EQ(gort_cond_wait(&cond, &mutex), 0);
	woken++;
	gort_mutex_unlock(&mutex);
}

/* The goroutine waits longer, and is signaled, but never runs again, for main goes on to its end: the
 * guest gets it. */
static int signal_and_end(void *arg)
{
	struct guest **g = arg;

	arrive(wait_patiently, NULL);
	*g = guest_start(guest_waits, NULL);
	EVENTUALLY(atomic_load(&arrived) == 2);
	gort_mutex_lock(&mutex); /* so the guest waits */
	gort_mutex_unlock(&mutex);
	gort_preempt_off();
	gort_cond_signal(&cond);
	return 0;
}

static int broadcast_and_end(void *arg)
{
	struct guest **g = arg;

	for (int i = 0; i < 300; i++)
		arrive(wait_patiently, NULL);
	*g = guest_start(guest_waits, NULL);
	EVENTUALLY(atomic_load(&arrived) == 301);
	gort_mutex_lock(&mutex);
	gort_mutex_unlock(&mutex);
	gort_preempt_off();
	gort_cond_broadcast(&cond);
	return 0;
}

static void end_with(int (*fn)(void *), int goroutines)
{
	struct guest *g = NULL;

	atomic_store(&arrived, 0);
	woken = 0;
	CHECK_EQ(gort_run(fn, &g, &(gort_options){ .maxprocs = 1 }), 0);
	guest_join(g);
	CHECK_EQ(woken, 1);
	CHECK_EQ(atomic_load(&patient), 0);
	CHECK_EQ(gort_mutex_try_lock(&mutex), 0);
	gort_mutex_unlock(&mutex);
	check_until(NULL);
	gort_waitgroup_add(&group, -goroutines);
}

TEST_PLAIN(signal_to_one_that_ends_goes_on)
{
	for (int i = 0; i < 5; i++)
		end_with(signal_and_end, 1);
}

TEST_PLAIN(broadcast_goes_on_when_the_runtime_has_ended)
{
	for (int i = 0; i < 5; i++)
		end_with(broadcast_and_end, 300);
}

/* ---- misuse */
TEST_DIES(wait_without_the_mutex, "gort_cond_wait: the mutex is not locked")
{
	gort_cond_wait(&cond, &mutex);
}

TEST_DIES(wait_until_without_the_mutex_names_the_goroutine, "goroutine 1")
{
	gort_cond_wait_until(&cond, &mutex, gort_in(GORT_SEC));
}

TEST_PLAIN_DIES(wait_without_the_mutex_on_a_plain_thread, "the mutex is not locked")
{
	gort_cond_wait(&cond, &mutex);
}

TEST_DIES(wait_on_null_is_misuse, "gort_cond_wait: no cond")
{
	gort_cond *none = NULL;

	gort_cond_wait(none, &mutex);
}

TEST_DIES(wait_with_a_null_mutex_is_misuse, "gort_cond_wait: no mutex")
{
	gort_mutex *none = NULL;

	gort_cond_wait(&cond, none);
}

TEST_DIES(signal_to_null_is_misuse, "gort_cond_signal")
{
	gort_cond *none = NULL;

	gort_cond_signal(none);
}
