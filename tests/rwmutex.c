/*
 * rwmutex.c - many readers or one writer: exclusion, who goes first, deadlines, memory, misuse, and
 * what the runtime's end leaves behind.
 */
#include "crowd.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static gort_rwmutex rw;
static gort_waitgroup group;
static atomic_int readers, writers, arrived;
static int64_t counter; /* rw */

static void give_way(int i)
{
	if (i % 64 == 0)
		gort_sleep(1);
	else if (i % 4 == 0)
		gort_yield();
}

/* ---- nobody has it, nothing is left behind */
static void check_free(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_rwmutex_try_lock(&rw), 0);
	CHECK_EQ(gort_rwmutex_try_lock(&rw), -EAGAIN);
	CHECK_EQ(gort_rwmutex_try_rlock(&rw), -EAGAIN);
	gort_rwmutex_unlock(&rw);
	CHECK_EQ(gort_rwmutex_try_rlock(&rw), 0);
	CHECK_EQ(gort_rwmutex_try_rlock(&rw), 0);
	CHECK_EQ(gort_rwmutex_try_lock(&rw), -EAGAIN);
	gort_rwmutex_runlock(&rw);
	CHECK_EQ(gort_rwmutex_try_lock(&rw), -EAGAIN);
	gort_rwmutex_runlock(&rw);
	CHECK_EQ(gort_rwmutex_lock_until(&rw, GORT_NOW), 0); /* complete without waiting */
	gort_rwmutex_unlock(&rw);
	CHECK_EQ(gort_rwmutex_rlock_until(&rw, GORT_NOW), 0);
	gort_rwmutex_rlock(&rw);
	gort_rwmutex_runlock(&rw);
	gort_rwmutex_runlock(&rw);
	gort_rwmutex_lock(&rw);
	gort_rwmutex_unlock(&rw);
}

static void time_out(int (*lock)(gort_rwmutex *, int64_t))
{
	CHECK_EQ(lock(&rw, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(lock(&rw, 0), -ETIMEDOUT);
	for (int64_t d = 1; d < 5 * GORT_MS; d *= 4) {
		int64_t deadline = gort_in(d);

		CHECK_EQ(lock(&rw, deadline), -ETIMEDOUT);
		CHECK(gort_now() >= deadline);
	}
}

static void check_written(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_rwmutex_try_lock(&rw), -EAGAIN);
	CHECK_EQ(gort_rwmutex_try_rlock(&rw), -EAGAIN);
	time_out(gort_rwmutex_lock_until);
	time_out(gort_rwmutex_rlock_until);
}

static void check_read(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_rwmutex_try_lock(&rw), -EAGAIN);
	time_out(gort_rwmutex_lock_until);
	gort_rwmutex_rlock(&rw); /* those that gave up let readers in */
	CHECK_EQ(gort_rwmutex_try_rlock(&rw), 0);
	gort_rwmutex_runlock(&rw);
	gort_rwmutex_runlock(&rw);
}

static void check_try_and_until(void)
{
	check_free(NULL);
	on_guest(check_free, NULL);
	gort_rwmutex_lock(&rw);
	check_written(NULL);
	on_guest(check_written, NULL);
	gort_rwmutex_unlock(&rw);
	check_free(NULL);
	gort_rwmutex_rlock(&rw);
	check_read(NULL);
	on_guest(check_read, NULL);
	gort_rwmutex_runlock(&rw);
	check_free(NULL);
}

// variants: maxprocs
TEST(try_and_until)
{
	check_try_and_until();
}

TEST_PLAIN(try_and_until_without_a_runtime)
{
	check_try_and_until();
}

/* ---- exclusion */
static void write_something(int i)
{
	CHECK_EQ(atomic_fetch_add(&writers, 1), 0);
	CHECK_EQ(atomic_load(&readers), 0);
	counter++;
	give_way(i);
	CHECK_EQ(atomic_load(&readers), 0);
	CHECK_EQ(atomic_fetch_sub(&writers, 1), 1);
	gort_rwmutex_unlock(&rw);
}

static void read_something(int i)
{
	int64_t seen = counter;

	atomic_fetch_add(&readers, 1);
	CHECK_EQ(atomic_load(&writers), 0);
	give_way(i);
	CHECK_EQ(counter, seen);
	atomic_fetch_sub(&readers, 1);
	gort_rwmutex_runlock(&rw);
}

static void write_often(void *arg)
{
	for (int i = 0, n = *(int *)arg; i < n; i++) {
		gort_rwmutex_lock(&rw);
		write_something(i);
	}
}

static void read_often(void *arg)
{
	for (int i = 0, n = *(int *)arg; i < 4 * n; i++) {
		gort_rwmutex_rlock(&rw);
		read_something(i);
	}
}

static void write_hurried(void *arg)
{
	for (int i = 0, k = 0, n = *(int *)arg; i < n; k++) {
		int err = k % 3 ? gort_rwmutex_lock_until(&rw, gort_in(k % 50 * 200))
				: gort_rwmutex_try_lock(&rw);

		if (err == 0) {
			write_something(i++);
			continue;
		}
		CHECK_EQ(err, k % 3 ? -ETIMEDOUT : -EAGAIN);
		gort_yield();
	}
}

static void read_hurried(void *arg)
{
	for (int i = 0, k = 0, n = *(int *)arg; i < 4 * n; k++) {
		int err = k % 3 ? gort_rwmutex_rlock_until(&rw, gort_in(k % 50 * 200))
				: gort_rwmutex_try_rlock(&rw);

		if (err == 0) {
			read_something(i++);
			continue;
		}
		CHECK_EQ(err, k % 3 ? -ETIMEDOUT : -EAGAIN);
		gort_yield();
	}
}

static gort_func work[] = { write_often, read_often, write_hurried, read_hurried, read_often };
#define WORKS (sizeof work / sizeof work[0])

struct guest_work {
	gort_func fn;
	int n;
};

static void guest_works(void *arg)
{
	struct guest_work *w = arg;

	w->fn(&w->n);
	gort_waitgroup_done(&group);
}

static void exclude(int n, size_t goroutines)
{
	struct guest *guests[WORKS];
	struct guest_work works[WORKS];

	gort_waitgroup_add(&group, WORKS);
	for (size_t i = 0; i < WORKS; i++) {
		works[i] = (struct guest_work){ work[i], n };
		guests[i] = guest_start(guest_works, &works[i]);
	}
	for (size_t i = 0; i < goroutines; i++)
		CHECK_EQ(gort_waitgroup_go(&group, work[i % WORKS], &n), 0);
	gort_waitgroup_wait(&group);
	for (size_t i = 0; i < WORKS; i++)
		guest_join(guests[i]);
	CHECK_EQ(counter, (int64_t)(2 + goroutines / WORKS * 2) * n);
	check_free(NULL);
}

// variants: maxprocs
TEST(one_writer_or_many_readers)
{
	exclude(SCALE(500), 2 * WORKS);
}

TEST_PLAIN(one_writer_or_many_readers_without_a_runtime)
{
	exclude(SCALE(1000), 0);
}

static void read_quickly(void *arg)
{
	for (int i = 0, n = *(int *)arg; i < n; i++) {
		gort_rwmutex_rlock(&rw);
		CHECK(counter >= 0);
		gort_rwmutex_runlock(&rw);
	}
}

static void write_quickly(void *arg)
{
	for (int i = 0, n = *(int *)arg; i < n; i++) {
		gort_rwmutex_lock(&rw);
		counter++;
		gort_rwmutex_unlock(&rw);
	}
}

/* Nobody waits inside, so most calls take the short way. */
// variants: maxprocs
TEST(short_critical_sections)
{
	int n = SCALE(20000);

	for (int i = 0; i < 8; i++)
		CHECK_EQ(gort_waitgroup_go(&group, i % 2 ? write_quickly : read_quickly, &n), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(counter, 4 * n);
	check_free(NULL);
}

/* ---- many readers at once */
static void meet(void *arg)
{
	gort_rwmutex_rlock(&rw);
	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&arrived) < *(int *)arg)
		gort_sleep(10 * GORT_US);
	gort_rwmutex_runlock(&rw);
}

// variants: maxprocs
TEST(readers_are_inside_together)
{
	int n = 50;

	for (int i = 0; i < n - 2; i++)
		CHECK_EQ(gort_waitgroup_go(&group, meet, &n), 0);
	gort_rwmutex_rlock(&rw);
	gort_rwmutex_rlock(&rw);
	atomic_fetch_add(&arrived, 2);
	gort_waitgroup_wait(&group);
	gort_rwmutex_runlock(&rw);
	gort_rwmutex_runlock(&rw);
	check_free(NULL);
}

/* ---- who goes first, on one P */
static int order[16];
static atomic_int at;

static void arrive(gort_func fn, void *arg)
{
	crowd_arrive(&group, fn, arg);
}

static void write_in_turn(void *arg)
{
	gort_rwmutex_lock(&rw);
	order[atomic_fetch_add(&at, 1)] = *(int *)arg;
	gort_yield();
	gort_rwmutex_unlock(&rw);
}

static void read_in_turn(void *arg)
{
	gort_rwmutex_rlock(&rw);
	order[atomic_fetch_add(&at, 1)] = *(int *)arg;
	gort_yield();
	gort_rwmutex_runlock(&rw);
}

static void check_order(const int *expected, int n)
{
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&at), n);
	for (int i = 0; i < n; i++)
		CHECK_EQ(order[i], expected[i]);
	check_free(NULL);
}

TEST(waiting_readers_go_before_the_next_writer)
{
	static int id[] = { 0, 1, 2, 3, 4, 5 };
	static const int expected[] = { 1, 3, 4, 0, 2 };

	gort_maxprocs(1);
	gort_rwmutex_lock(&rw);
	arrive(write_in_turn, &id[0]);
	arrive(read_in_turn, &id[1]);
	arrive(write_in_turn, &id[2]);
	arrive(read_in_turn, &id[3]);
	arrive(read_in_turn, &id[4]);
	CHECK_EQ(atomic_load(&at), 0);
	gort_rwmutex_unlock(&rw);
	check_order(expected, 5);
}

TEST(waiting_writer_goes_before_new_readers)
{
	static int id[] = { 0, 1, 2, 3 };
	static const int expected[] = { 0, 1, 2, 3 };

	gort_maxprocs(1);
	gort_rwmutex_rlock(&rw);
	arrive(write_in_turn, &id[0]);
	CHECK_EQ(gort_rwmutex_try_rlock(&rw), -EAGAIN);
	CHECK_EQ(gort_rwmutex_rlock_until(&rw, gort_in(GORT_MS)), -ETIMEDOUT);
	arrive(read_in_turn, &id[1]);
	arrive(read_in_turn, &id[2]);
	arrive(write_in_turn, &id[3]);
	CHECK_EQ(atomic_load(&at), 0);
	gort_rwmutex_runlock(&rw);
	check_order(expected, 4);
}

static void hurried_writer(void *arg)
{
	CHECK_EQ(gort_rwmutex_lock_until(&rw, *(int64_t *)arg), -ETIMEDOUT);
}

/* Between the two steps of an unlock the next writer comes: it waits for the second. The first
 * one, which gives up the inner mutex, is done by the test; the second step comes with another
 * first one, so the next writer, who has the lock then, takes that mutex once more before it
 * unlocks. */
static void write_between(void *arg)
{
	gort_rwmutex_lock(&rw);
	order[atomic_fetch_add(&at, 1)] = *(int *)arg;
	gort_mutex_lock(&rw.writer_);
	gort_rwmutex_unlock(&rw);
}

TEST(writer_that_comes_during_an_unlock)
{
	static int id[] = { 0, 1, 2, 3 };
	static const int expected[] = { 1, 2, 0, 3 };

	gort_maxprocs(1);
	gort_rwmutex_lock(&rw);
	gort_mutex_unlock(&rw.writer_);
	arrive(write_between, &id[0]);
	arrive(read_in_turn, &id[1]);
	arrive(read_in_turn, &id[2]);
	CHECK_EQ(gort_rwmutex_try_rlock(&rw), -EAGAIN);
	gort_rwmutex_unlock(&rw);
	arrive(read_in_turn, &id[3]);
	check_order(expected, 4);
	gort_rwmutex_lock(&rw); /* the same without readers */
	gort_mutex_unlock(&rw.writer_);
	arrive(write_between, &id[3]);
	gort_rwmutex_unlock(&rw);
	CHECK_EQ(gort_rwmutex_try_rlock(&rw), -EAGAIN); /* it was handed over */
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&at), 5);
	check_free(NULL);
}

TEST(writer_that_comes_during_an_unlock_and_gives_up)
{
	static int id;
	int64_t deadline = gort_in(2 * GORT_MS);

	gort_maxprocs(1);
	gort_rwmutex_lock(&rw);
	gort_mutex_unlock(&rw.writer_);
	arrive(hurried_writer, &deadline);
	arrive(read_in_turn, &id);
	EVENTUALLY(gort_count() == 2);
	CHECK_EQ(gort_rwmutex_try_rlock(&rw), -EAGAIN); /* the first one has it still */
	CHECK_EQ(atomic_load(&at), 0);
	gort_mutex_lock(&rw.writer_);
	gort_rwmutex_unlock(&rw);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&at), 1);
	check_free(NULL);
}

static void guest_writes(void *arg)
{
	gort_rwmutex_lock(&rw);
	atomic_store((atomic_int *)arg, 1);
	gort_rwmutex_unlock(&rw);
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(waiting_guest_stops_new_readers)
{
	atomic_int written = 0;
	struct guest *g;

	gort_rwmutex_rlock(&rw);
	gort_waitgroup_add(&group, 1);
	g = guest_start(guest_writes, &written);
	for (;;) {
		int err = gort_rwmutex_try_rlock(&rw);

		if (err == -EAGAIN)
			break;
		CHECK_EQ(err, 0);
		gort_rwmutex_runlock(&rw);
		gort_sleep(GORT_MS);
	}
	CHECK_EQ(atomic_load(&written), 0);
	gort_rwmutex_runlock(&rw);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&written), 1);
	guest_join(g);
	check_free(NULL);
}

/* The reader that had it still has it. */
TEST(writer_that_gives_up_lets_readers_in)
{
	static int id[] = { 0, 1 };
	int64_t deadline;
	int now;

	gort_maxprocs(1);
	for (int i = 0; i < SCALE(50); i++) {
		atomic_store(&at, 0);
		gort_rwmutex_rlock(&rw);
		deadline = gort_in(2 * GORT_MS);
		arrive(hurried_writer, &deadline);
		arrive(read_in_turn, &id[0]);
		arrive(read_in_turn, &id[1]);
		now = atomic_load(&at);
		if (gort_now() < deadline)
			CHECK_EQ(now, 0);
		gort_waitgroup_wait(&group);
		CHECK_EQ(atomic_load(&at), 2);
		CHECK_EQ(gort_rwmutex_try_rlock(&rw), 0);
		gort_rwmutex_runlock(&rw);
		gort_rwmutex_runlock(&rw);
		check_free(NULL);
	}
}

static void hurried_reader(void *arg)
{
	CHECK_EQ(gort_rwmutex_rlock_until(&rw, *(int64_t *)arg), -ETIMEDOUT);
}

TEST(readers_that_give_up_are_forgotten)
{
	static int id[] = { 0, 1 };
	static const int expected[] = { 0, 1 };
	int64_t deadline;

	gort_maxprocs(1);
	gort_rwmutex_lock(&rw);
	deadline = gort_in(2 * GORT_MS);
	for (int i = 0; i < 10; i++)
		arrive(hurried_reader, &deadline);
	arrive(read_in_turn, &id[0]);
	arrive(write_in_turn, &id[1]);
	EVENTUALLY(gort_count() == 3);
	gort_rwmutex_unlock(&rw);
	check_order(expected, 2);
}

/* ---- nobody starves */
static atomic_bool stop;

static void hog_writing(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		gort_rwmutex_lock(&rw);
		gort_yield();
		gort_rwmutex_unlock(&rw);
	}
}

static void hog_reading(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		gort_rwmutex_rlock(&rw);
		gort_yield();
		gort_yield();
		gort_rwmutex_runlock(&rw);
	}
}

static void hogs_and_one(gort_func hog, gort_func one)
{
	int n = SCALE(100);

	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_waitgroup_go(&group, hog, NULL), 0);
	gort_yield();
	one(&n);
	atomic_store(&stop, true);
	gort_waitgroup_wait(&group);
	check_free(NULL);
}

// variants: maxprocs
TEST(writer_gets_it_from_overlapping_readers)
{
	hogs_and_one(hog_reading, write_often);
}

// variants: maxprocs
TEST(reader_gets_it_from_writers)
{
	hogs_and_one(hog_writing, read_often);
}

/* ---- more readers than are woken at once */
static atomic_int inside;

static void wait_to_read(void *arg)
{
	(void)arg;
	crowd_join();
	gort_rwmutex_rlock(&rw);
	CHECK_EQ(counter, 1);
	atomic_fetch_add(&inside, 1);
	gort_rwmutex_runlock(&rw);
}

static void write_last(void *arg)
{
	gort_rwmutex_lock(&rw);
	CHECK_EQ(atomic_load(&inside), *(int *)arg);
	counter++;
	gort_rwmutex_unlock(&rw);
}

// variants: maxprocs
TEST(crowd_of_readers_goes_before_the_next_writer)
{
	int n = SCALE(3000);

	gort_rwmutex_lock(&rw);
	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_waitgroup_go(&group, wait_to_read, NULL), 0);
	EVENTUALLY(crowd_waits((uint32_t)n, WHY_RLOCK));
	CHECK_EQ(gort_waitgroup_go(&group, write_last, &n), 0);
	counter = 1;
	gort_yield();
	gort_rwmutex_unlock(&rw);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&inside), n);
	CHECK_EQ(counter, 2);
	check_free(NULL);
}

/* ---- contexts: a wait ends with its goroutine's */
static void end_with_context(int (*lock)(gort_rwmutex *, int64_t))
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before = gort_ctx_enter(ctx);
	int64_t old = gort_set_deadline(gort_in(2 * GORT_MS));

	CHECK_EQ(lock(&rw, GORT_FOREVER), -ETIMEDOUT);
	CHECK_EQ(lock(&rw, GORT_FOREVER), -ETIMEDOUT); /* nor does one begin then */
	gort_set_deadline(old);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(lock(&rw, gort_in(GORT_SEC)), -ECANCELED);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
}

static void read_after_all(void *arg)
{
	gort_rwmutex_rlock(&rw); /* no context ends this one */
	atomic_store((atomic_int *)arg, 1);
	gort_rwmutex_runlock(&rw);
}

static void check_contexts(void *arg)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before;

	(void)arg;
	end_with_context(gort_rwmutex_lock_until); /* others read */
	gort_rwmutex_rlock(&rw);
	gort_rwmutex_runlock(&rw);
	before = gort_ctx_enter(ctx);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_rwmutex_lock_until(&rw, gort_in(GORT_SEC)), -ECANCELED);
	CHECK_EQ(gort_rwmutex_rlock_until(&rw, gort_in(GORT_SEC)), 0); /* without waiting */
	gort_rwmutex_runlock(&rw);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
}

// variants: maxprocs
TEST(contexts_end_waits)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before;
	atomic_int done = 0;

	gort_rwmutex_rlock(&rw);
	check_contexts(NULL);
	on_guest(check_contexts, NULL);
	gort_rwmutex_runlock(&rw);
	gort_rwmutex_lock(&rw);
	end_with_context(gort_rwmutex_rlock_until);
	end_with_context(gort_rwmutex_lock_until);
	before = gort_ctx_enter(ctx);
	CHECK_EQ(gort_waitgroup_go(&group, read_after_all, &done), 0);
	gort_ctx_leave(before);
	gort_sleep(GORT_MS);
	gort_ctx_cancel(ctx, 0);
	gort_sleep(GORT_MS);
	CHECK_EQ(atomic_load(&done), 0);
	gort_rwmutex_unlock(&rw);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&done), 1);
	gort_ctx_release(ctx);
	check_free(NULL);
}

static void hurry_to_read(void *arg)
{
	int64_t deadline = gort_in((int64_t)(intptr_t)arg);
	int err = gort_rwmutex_rlock_until(&rw, deadline);

	if (err == 0) {
		gort_yield();
		gort_rwmutex_runlock(&rw);
	} else {
		CHECK_EQ(err, -ETIMEDOUT);
		CHECK(gort_now() >= deadline);
	}
}

static void hurry_to_write(void *arg)
{
	int err = gort_rwmutex_lock_until(&rw, gort_in((int64_t)(intptr_t)arg));

	if (err == 0)
		gort_rwmutex_unlock(&rw);
	else
		CHECK_EQ(err, -ETIMEDOUT);
}

/* Deadlines all over the time at which they would get it. */
// variants: maxprocs
TEST(crowd_with_deadlines)
{
	for (int round = 0; round < 10; round++) {
		gort_rwmutex_lock(&rw);
		for (intptr_t i = 0; i < SCALE(400); i++) {
			gort_func fn = i % 8 ? hurry_to_read : hurry_to_write;

			CHECK_EQ(gort_waitgroup_go(&group, fn, (void *)(i * 5000)), 0);
		}
		gort_sleep(GORT_MS);
		gort_rwmutex_unlock(&rw);
		gort_waitgroup_wait(&group);
		check_free(NULL);
	}
}

/* ---- memory: whoever gets it next may free it */
struct owned {
	gort_rwmutex lock;
	atomic_int users;
};

static void leave(struct owned *o, void (*unlock)(gort_rwmutex *))
{
	bool last = atomic_fetch_sub(&o->users, 1) == 1;

	unlock(&o->lock);
	if (last) {
		memset((void *)o, 0xdd, sizeof *o);
		free(o);
	}
}

static void use_writing(void *arg)
{
	struct owned *o = arg;

	gort_rwmutex_lock(&o->lock);
	leave(o, gort_rwmutex_unlock);
}

static void use_reading(void *arg)
{
	struct owned *o = arg;

	gort_rwmutex_rlock(&o->lock);
	leave(o, gort_rwmutex_runlock);
}

static void use_hurried(void *arg)
{
	struct owned *o = arg;

	while (gort_rwmutex_lock_until(&o->lock, gort_in(500)) < 0)
		;
	leave(o, gort_rwmutex_unlock);
}

static void use_on_guest(void *arg)
{
	for (int i = 0; i < SCALE(2000); i++) {
		struct owned *o = calloc(1, sizeof *o);

		CHECK(o != NULL);
		atomic_store(&o->users, 4);
		CHECK_EQ(gort_waitgroup_go(&group, use_reading, o), 0);
		CHECK_EQ(gort_waitgroup_go(&group, use_writing, o), 0);
		CHECK_EQ(gort_waitgroup_go(&group, use_hurried, o), 0);
		use_reading(o);
	}
	gort_waitgroup_done(arg);
}

// variants: maxprocs
TEST(last_user_may_free_it)
{
	gort_func use[] = { use_writing, use_reading, use_hurried };
	gort_waitgroup guests = { 0 };
	struct guest *g;

	gort_waitgroup_add(&guests, 1);
	g = guest_start(use_on_guest, &guests);
	for (int i = 0; i < SCALE(3000); i++) {
		struct owned *o = calloc(1, sizeof *o);

		CHECK(o != NULL);
		atomic_store(&o->users, 4);
		for (int k = 0; k < 3; k++)
			CHECK_EQ(gort_waitgroup_go(&group, use[(i + k) % 3], o), 0);
		use[i % 3](o);
		if (i % 16 == 0)
			gort_waitgroup_wait(&group);
	}
	gort_waitgroup_wait(&guests);
	gort_waitgroup_wait(&group);
	guest_join(g);
}

/* ---- unlocking by others */
static void runlock(void *arg)
{
	gort_rwmutex_runlock(arg);
}

static void unlock(void *arg)
{
	gort_rwmutex_unlock(arg);
}

// variants: maxprocs
TEST(anyone_may_unlock)
{
	for (int i = 0; i < 20; i++) {
		gort_rwmutex_lock(&rw);
		CHECK_EQ(gort_go(unlock, &rw), 0);
		gort_rwmutex_rlock(&rw);
		CHECK_EQ(gort_go(runlock, &rw), 0);
		gort_rwmutex_lock(&rw);
		on_guest(unlock, &rw);
		gort_rwmutex_rlock(&rw);
		on_guest(runlock, &rw);
		check_free(NULL);
	}
}

/* ---- the runtime ends */
static int leave_waiting(void *arg)
{
	static int id[6];
	bool unlocks = arg != NULL;

	gort_preempt_off();
	atomic_store(&at, 0);
	gort_rwmutex_lock(&rw);
	for (int i = 0; i < 6; i++)
		arrive(i % 3 == 0 ? write_in_turn : read_in_turn, &id[i]);
	if (unlocks)
		gort_rwmutex_unlock(&rw); /* they are woken, and never run again */
	return 0;
}

static int leave_writer_waiting(void *arg)
{
	static int id[3];

	(void)arg;
	gort_preempt_off();
	gort_rwmutex_rlock(&rw);
	arrive(write_in_turn, &id[0]);
	arrive(read_in_turn, &id[1]);
	arrive(write_in_turn, &id[2]);
	return 0;
}

static int leave_woken_writer(void *arg)
{
	leave_writer_waiting(arg);
	gort_rwmutex_runlock(&rw);
	return 0;
}

/* Guests that wait for it get it then. */
static void guest_reads(void *arg)
{
	gort_rwmutex_rlock(&rw);
	gort_rwmutex_runlock(&rw);
	atomic_fetch_add((atomic_int *)arg, 1);
}

TEST_PLAIN(nothing_of_the_runtime_is_left)
{
	const gort_options one = { .maxprocs = 1 };

	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gort_run(leave_waiting, NULL, &one), 0);
		CHECK_EQ(gort_rwmutex_try_rlock(&rw), -EAGAIN);
		gort_rwmutex_unlock(&rw);
		check_free(NULL);
		CHECK_EQ(gort_run(leave_waiting, "unlocks", &one), 0);
		check_free(NULL);
		CHECK_EQ(gort_run(leave_writer_waiting, NULL, &one), 0);
		CHECK_EQ(gort_rwmutex_try_rlock(&rw), 0);
		gort_rwmutex_runlock(&rw);
		gort_rwmutex_runlock(&rw);
		check_free(NULL);
		CHECK_EQ(gort_run(leave_woken_writer, NULL, &one), 0);
		check_free(NULL);
		gort_waitgroup_add(&group, -(6 + 6 + 3 + 3));
	}
}

TEST_PLAIN(guests_go_on_when_the_runtime_has_ended)
{
	const gort_options one = { .maxprocs = 1 };
	atomic_int done = 0;
	struct guest *g[2];

	gort_rwmutex_lock(&rw);
	for (int i = 0; i < 2; i++)
		g[i] = guest_start(guest_reads, &done);
	gort_sleep(5 * GORT_MS);
	gort_rwmutex_unlock(&rw);
	CHECK_EQ(gort_run(leave_writer_waiting, NULL, &one), 0);
	for (int i = 0; i < 2; i++)
		guest_join(g[i]);
	gort_rwmutex_runlock(&rw);
	check_free(NULL);
	CHECK_EQ(atomic_load(&done), 2);
}

/* ---- misuse */
TEST_DIES(unlock_of_unlocked_names_the_call, "gort_rwmutex_unlock")
{
	gort_rwmutex_unlock(&rw);
}

TEST_DIES(unlock_of_unlocked_names_the_goroutine, "goroutine 1")
{
	gort_rwmutex_lock(&rw);
	gort_rwmutex_unlock(&rw);
	gort_rwmutex_unlock(&rw);
}

TEST_DIES(unlock_of_read_locked, "not locked for writing")
{
	gort_rwmutex_rlock(&rw);
	gort_rwmutex_unlock(&rw);
}

TEST_DIES(runlock_of_unlocked, "gort_rwmutex_runlock")
{
	gort_rwmutex_runlock(&rw);
}

TEST_DIES(runlock_of_write_locked, "not locked for reading")
{
	gort_rwmutex_lock(&rw);
	gort_rwmutex_runlock(&rw);
}

TEST_DIES(runlock_once_too_often, "not locked for reading")
{
	gort_rwmutex_rlock(&rw);
	gort_rwmutex_rlock(&rw);
	gort_rwmutex_runlock(&rw);
	gort_rwmutex_runlock(&rw);
	gort_rwmutex_runlock(&rw);
}

TEST_PLAIN_DIES(unlock_of_unlocked_on_a_plain_thread, "gort_rwmutex_unlock")
{
	gort_rwmutex_unlock(&rw);
}

TEST_DIES(lock_of_null_is_misuse, "gort_rwmutex_lock")
{
	gort_rwmutex *none = NULL;

	gort_rwmutex_lock(none);
}

TEST_DIES(rlock_of_null_is_misuse, "gort_rwmutex_rlock")
{
	gort_rwmutex *none = NULL;

	gort_rwmutex_rlock(none);
}
