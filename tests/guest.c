/*
 * guest.c - plain threads, with and without a runtime: every call they may make, among themselves
 * and with goroutines. A guest that waits for a goroutine is joined only when it has said that it
 * is done: joining blocks the thread, and there may be only one.
 */
#include "harness.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

static gort_waitgroup group;

/* ---- threads among themselves, without a runtime */
static gort_chan *there, *back;

static void echo(void *arg)
{
	int64_t value;

	(void)arg;
	while (gort_chan_recv(there, &value) == 0)
		CHECK_EQ(gort_chan_send(back, &value), 0);
	CHECK_EQ(gort_chan_close(back), 0);
}

static void open_channels(size_t capacity)
{
	there = gort_chan_make(sizeof(int64_t), capacity);
	back = gort_chan_make(sizeof(int64_t), capacity);
	CHECK(there && back);
}

static void release_channels(void)
{
	gort_chan_release(there);
	gort_chan_release(back);
}

static void talk(int64_t n)
{
	for (int64_t i = 0, got = -1; i < n; i++) {
		CHECK_EQ(gort_chan_send_until(there, &i, gort_in(60 * GORT_SEC)), 0);
		CHECK_EQ(gort_chan_recv_until(back, &got, gort_in(60 * GORT_SEC)), 0);
		CHECK_EQ(got, i);
	}
	CHECK_EQ(gort_chan_close(there), 0);
	CHECK_EQ(gort_chan_recv(back, NULL), -EPIPE);
}

TEST_PLAIN(threads_talk_without_a_runtime)
{
	for (size_t capacity = 0; capacity < 3; capacity++) {
		struct guest *g;

		open_channels(capacity);
		g = guest_start(echo, NULL);
		talk(SCALE(3000));
		guest_join(g);
		release_channels();
	}
}

static gort_mutex mutex;
static int64_t counter; /* mutex */
static gort_once once;

static void set_counter(void *arg)
{
	(void)arg;
	counter = 1000;
}

static void count_locked(void *arg)
{
	gort_once_do(&once, set_counter, NULL);
	for (int i = 0; i < SCALE(3000); i++) {
		gort_mutex_lock(&mutex);
		counter++;
		gort_mutex_unlock(&mutex);
		if (arg && i % 16 == 0)
			gort_yield();
	}
}

static void count_and_done(void *arg)
{
	count_locked(arg);
	gort_waitgroup_done(&group);
}

TEST_PLAIN(threads_share_sync_without_a_runtime)
{
	struct guest *guests[4];

	gort_waitgroup_add(&group, 4);
	for (int i = 0; i < 4; i++)
		guests[i] = guest_start(count_and_done, NULL);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK_EQ(counter, 1000 + 4 * SCALE(3000));
	for (int i = 0; i < 4; i++)
		guest_join(guests[i]);
}

/* ---- with goroutines */
static void echo_and_done(void *arg)
{
	echo(arg);
	gort_waitgroup_done(&group);
}

static void talk_and_done(void *arg)
{
	talk(SCALE(2000));
	gort_waitgroup_done(arg);
}

// variants: maxprocs
TEST(guest_answers_a_goroutine)
{
	for (size_t capacity = 0; capacity < 3; capacity++) {
		struct guest *g;

		open_channels(capacity);
		gort_waitgroup_add(&group, 1);
		g = guest_start(echo_and_done, NULL);
		talk(SCALE(2000));
		gort_waitgroup_wait(&group);
		guest_join(g);
		release_channels();
	}
}

// variants: maxprocs
TEST(goroutine_answers_a_guest)
{
	struct guest *g;

	open_channels(0);
	CHECK_EQ(gort_go(echo, NULL), 0);
	gort_waitgroup_add(&group, 1);
	g = guest_start(talk_and_done, &group);
	gort_waitgroup_wait(&group);
	guest_join(g);
	EVENTUALLY(gort_count() == 1);
	release_channels();
}

// variants: maxprocs
TEST(goroutines_and_guests_share_a_mutex_and_a_once)
{
	struct guest *guests[3];

	gort_waitgroup_add(&group, 6);
	for (int i = 0; i < 3; i++) {
		guests[i] = guest_start(count_and_done, NULL);
		CHECK_EQ(gort_go(count_and_done, &group), 0);
	}
	gort_waitgroup_wait(&group);
	CHECK_EQ(counter, 1000 + 6 * SCALE(3000));
	for (int i = 0; i < 3; i++)
		guest_join(guests[i]);
}

/* ---- waking guests that wait, by all that may wake them */
enum wait { RECV, SEND, RECV_UNTIL, CLOSE, LOCK, WAIT_GROUP, JOIN, WAITS };

static struct {
	enum wait wait;
	gort_mutex lock;
	gort_waitgroup zero;
	gort_task *task;
	gort_chan *gate;
	atomic_bool about_to;
} waits;

static int wait_at_gate(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_chan_recv(waits.gate, NULL), 0);
	return 17;
}

static void guest_waits(void *arg)
{
	int64_t value = 0;
	int result = 0;

	atomic_store(&waits.about_to, true);
	switch (waits.wait) {
	case RECV:
		CHECK_EQ(gort_chan_recv(there, &value), 0);
		CHECK_EQ(value, 5);
		break;
	case SEND:
		value = 6;
		CHECK_EQ(gort_chan_send(there, &value), 0);
		break;
	case RECV_UNTIL:
		CHECK_EQ(gort_chan_recv_until(there, &value, gort_in(60 * GORT_SEC)), 0);
		CHECK_EQ(value, 5);
		break;
	case CLOSE:
		CHECK_EQ(gort_chan_recv(back, &value), -EPIPE);
		break;
	case LOCK:
		gort_mutex_lock(&waits.lock);
		gort_mutex_unlock(&waits.lock);
		break;
	case WAIT_GROUP:
		CHECK_EQ(gort_waitgroup_wait(&waits.zero), 0);
		break;
	default:
		CHECK_EQ(gort_join(waits.task, &result), 0);
		CHECK_EQ(result, 17);
		break;
	}
	gort_waitgroup_done(arg);
}

static void wake(void)
{
	int64_t value = 5;

	switch (waits.wait) {
	case RECV:
	case RECV_UNTIL:
		CHECK_EQ(gort_chan_send(there, &value), 0);
		break;
	case SEND:
		CHECK_EQ(gort_chan_recv(there, &value), 0);
		CHECK_EQ(value, 6);
		break;
	case CLOSE:
		CHECK_EQ(gort_chan_close(back), 0);
		break;
	case LOCK:
		gort_mutex_unlock(&waits.lock);
		break;
	case WAIT_GROUP:
		gort_waitgroup_done(&waits.zero);
		break;
	default:
		CHECK_EQ(gort_chan_send(waits.gate, NULL), 0);
		break;
	}
}

// variants: maxprocs
TEST(guests_are_woken_by_goroutines)
{
	waits.gate = gort_chan_make(0, 0);
	for (int i = 0; i < 20 * WAITS; i++) {
		struct guest *g;

		waits.wait = (enum wait)(i % WAITS);
		open_channels(0);
		gort_mutex_lock(&waits.lock);
		gort_waitgroup_add(&waits.zero, 1);
		waits.task = gort_spawn(wait_at_gate, NULL, NULL);
		CHECK(waits.task != NULL);
		atomic_store(&waits.about_to, false);
		gort_waitgroup_add(&group, 1);
		g = guest_start(guest_waits, &group);
		EVENTUALLY(atomic_load(&waits.about_to));
		if (i % 3)
			gort_sleep(i % 5 * 50 *
				   GORT_US); /* before, while and after it goes to sleep */
		wake();
		gort_waitgroup_wait(&group);
		guest_join(g);
		if (waits.wait != JOIN) {
			CHECK_EQ(gort_chan_send(waits.gate, NULL), 0);
			CHECK_EQ(gort_join(waits.task, NULL), 0);
		}
		if (waits.wait != LOCK)
			gort_mutex_unlock(&waits.lock);
		if (waits.wait != WAIT_GROUP)
			gort_waitgroup_done(&waits.zero);
		release_channels();
	}
	gort_chan_release(waits.gate);
}

/* ---- the runtime comes and goes under guests that go on calling */
static atomic_bool end;
static atomic_int received;

/* One a run: it may be left locked by a goroutine that was dropped. */
static gort_mutex mutexes[SCALE(100)];
static gort_mutex *_Atomic mutex_now = mutexes;

static void use_all_the_time(void *arg)
{
	gort_chan *c = arg;
	int64_t value = 1;

	while (!atomic_load(&end)) {
		gort_chan_try_send(c, &value);
		if (gort_chan_recv_until(c, &value, gort_in(10 * GORT_US)) == 0)
			atomic_fetch_add(&received, 1);
		gort_mutex *m = atomic_load(&mutex_now);
		if (gort_mutex_lock_until(m, gort_in(10 * GORT_US)) == 0)
			gort_mutex_unlock(m);
		(void)gort_count();
		gort_yield();
	}
}

static void send_for_good(void *c)
{
	for (int64_t i = 0;; i++) {
		gort_mutex *m = atomic_load(&mutex_now);
		CHECK_EQ(gort_chan_send(c, &i), 0);
		gort_mutex_lock(m);
		gort_mutex_unlock(m);
	}
}

/* Ends at once for some, and while others wait. */
static int short_life(void *c)
{
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_go(send_for_good, c), 0);
	gort_sleep(200 * GORT_US);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(runtime_starts_and_ends_under_guests_that_call)
{
	gort_chan *c = gort_chan_make(sizeof(int64_t), 1);
	struct guest *guests[2];

	for (int i = 0; i < 2; i++)
		guests[i] = guest_start(use_all_the_time, c);
	for (int i = 0; i < SCALE(100); i++) {
		atomic_store(&mutex_now, &mutexes[i]);
		CHECK_EQ(gort_run(short_life, c, NULL), 0);
	}
	EVENTUALLY(atomic_load(&received) > 0);
	atomic_store(&end, true);
	for (int i = 0; i < 2; i++)
		guest_join(guests[i]);
	gort_chan_release(c);
}

/* Guests make goroutines as the runtime ends: each is refused, or runs, or is dropped. */
static atomic_int refused, made;

static void nothing(void *arg)
{
	(void)arg;
}

static int nothing_task(void *arg)
{
	(void)arg;
	return 0;
}

static void go_all_the_time(void *arg)
{
	(void)arg;
	while (!atomic_load(&end)) {
		int err = gort_go(nothing, NULL);
		gort_task *t = gort_spawn(nothing_task, NULL, NULL);

		CHECK(err == 0 || err == -ESRCH);
		atomic_fetch_add(err ? &refused : &made, 1);
		gort_detach(t);
		gort_sleep(10 * GORT_US);
	}
}

static int sleep_a_little(void *arg)
{
	(void)arg;
	gort_sleep(GORT_MS);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(guests_make_goroutines_as_the_runtime_ends)
{
	struct guest *guests[2];
	int i = 0;

	for (int k = 0; k < 2; k++)
		guests[k] = guest_start(go_all_the_time, NULL);
	for (; i < SCALE(100) || !atomic_load(&refused) || !atomic_load(&made); i++) {
		CHECK_EQ(gort_run(sleep_a_little, NULL, NULL), 0);
		gort_sleep(GORT_MS);
	}
	atomic_store(&end, true);
	for (int k = 0; k < 2; k++)
		guest_join(guests[k]);
	CHECK_EQ(gort_count(), 0);
}

/* ---- a guest that waits when the runtime ends is not the runtime's: it waits on */
static void wait_through(void *arg)
{
	int64_t value = 0;

	CHECK_EQ(gort_chan_recv(arg, &value), 0);
	CHECK_EQ(value, 8);
}

TEST_PLAIN(guests_wait_on_when_the_runtime_ends)
{
	gort_chan *c = gort_chan_make(sizeof(int64_t), 0);
	struct guest *g = guest_start(wait_through, c);
	int64_t value = 8;

	for (int i = 0; i < 5; i++)
		CHECK_EQ(gort_run(sleep_a_little, NULL, NULL), 0);
	CHECK_EQ(gort_chan_send(c, &value), 0);
	guest_join(g);
	gort_chan_release(c);
}

/* ---- many come and go */
static void call_a_little(void *arg)
{
	int64_t value = 1;

	CHECK_EQ(gort_self(), 0);
	CHECK_EQ(gort_go(count_and_done, NULL), 0);
	CHECK_EQ(gort_chan_send(arg, &value), 0);
}

// variants: maxprocs
TEST(many_guests_come_and_go)
{
	gort_chan *c = gort_chan_make(sizeof(int64_t), 4);
	int n = SCALE(100);

	for (int i = 0; i < n; i++) {
		struct guest *guests[4];

		gort_waitgroup_add(&group, 4);
		for (int k = 0; k < 4; k++)
			guests[k] = guest_start(call_a_little, c);
		for (int k = 0; k < 4; k++)
			CHECK_EQ(gort_chan_recv(c, NULL), 0);
		for (int k = 0; k < 4; k++)
			guest_join(guests[k]);
		gort_waitgroup_wait(&group);
	}
	gort_chan_release(c);
}
