/*
 * timer.c - timers: when they fire, that they do, and that nothing stale comes of one that was
 * stopped or moved; from goroutines and guests, through races, shortage of memory, changes of
 * GOMAXPROCS and the runtime's end. Upper bounds are never checked, only that nothing is early
 * and that all of it comes.
 */
#include "alone.h"

#include "sched/sched.h"

#include <fenv.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static atomic_llong fired;

static void count_one(void *arg)
{
	(void)arg;
	atomic_fetch_add(&fired, 1);
}

static gort_timer *start(int64_t deadline, int64_t period, gort_func fn, void *arg)
{
	gort_timer *t = gort_timer_start(deadline, period, fn, arg);

	CHECK(t != NULL);
	return t;
}

static int64_t next_tick(gort_timer *t)
{
	int64_t tick = -1;

	CHECK_EQ(gort_chan_recv_until(gort_timer_chan(t), &tick, gort_in(60 * GORT_SEC)), 0);
	CHECK(tick <= gort_now());
	return tick;
}

static void check_no_tick(gort_timer *t)
{
	int64_t tick;

	CHECK_EQ(gort_chan_try_recv(gort_timer_chan(t), &tick), -EAGAIN);
}

static bool has_tick(gort_timer *t)
{
	return gort_chan_len(gort_timer_chan(t)) == 1;
}

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* What follows is true of guests as of goroutines. */
static void on_both(void (*fn)(void *arg))
{
	fn(NULL);
	on_guest(fn, NULL);
}

/* Guests are joined only when they say so: joining blocks the thread, and there may be only one. */
struct visit {
	void (*fn)(void *arg);
	gort_waitgroup done;
};

static void visit(void *arg)
{
	struct visit *v = arg;

	v->fn(NULL);
	gort_waitgroup_done(&v->done);
}

static void on_both_waiting(void (*fn)(void *arg))
{
	struct visit v = { .fn = fn };
	struct guest *g;

	fn(NULL);
	gort_waitgroup_add(&v.done, 1);
	g = guest_start(visit, &v);
	gort_waitgroup_wait(&v.done);
	guest_join(g);
}

/* ---- without a runtime ----------------------------------------------------------------------- */

TEST_PLAIN(a_timer_needs_a_runtime)
{
	CHECK(gort_timer_start(gort_in(GORT_MS), 0, NULL, NULL) == NULL);
	CHECK(gort_timer_start(gort_in(GORT_MS), 0, count_one, NULL) == NULL);
	CHECK(gort_after_chan(GORT_MS) == NULL);
	gort_timer_release(NULL);
}

/* ---- once ------------------------------------------------------------------------------------ */

static void tick_comes(void *arg)
{
	const int64_t durations[] = { 0, 1, GORT_US, 100 * GORT_US, GORT_MS, 7 * GORT_MS };

	(void)arg;
	for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
		int64_t at = gort_in(durations[i]);
		gort_timer *t = start(at, 0, NULL, NULL);

		CHECK_EQ(gort_chan_cap(gort_timer_chan(t)), 1);
		CHECK(next_tick(t) >= at);
		check_no_tick(t);
		CHECK(!gort_timer_stop(t));
		gort_timer_release(t);
	}
}

// variants: maxprocs
TEST(a_channel_gets_one_tick_not_before_its_time)
{
	on_both_waiting(tick_comes);
}

/* The tick's time is when somebody began to look at timers: that may have been before the reset. */
static void tick_of_passed_deadline(void *arg)
{
	const int64_t passed[] = { GORT_NOW, GORT_NOW + 1, -GORT_SEC, -1, 0, 1 };

	(void)arg;
	for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++) {
		gort_timer *t = start(passed[i], 0, NULL, NULL);

		next_tick(t);
		gort_timer_reset(t, passed[i]);
		next_tick(t);
		gort_timer_release(t);
	}
}

// variants: maxprocs
TEST(a_passed_deadline_is_due_at_once)
{
	on_both_waiting(tick_of_passed_deadline);
}

struct call {
	int64_t at, now;
	uint64_t self;
	atomic_bool done;
};

static void called(void *arg)
{
	struct call *c = arg;

	c->now = gort_now();
	c->self = gort_self();
	c->done = true;
}

static void function_runs(void *arg)
{
	struct call c = { .at = gort_in(2 * GORT_MS) };
	gort_timer *t = start(c.at, 0, called, &c);

	(void)arg;
	CHECK(gort_timer_chan(t) == NULL);
	EVENTUALLY(c.done);
	CHECK(c.now >= c.at);
	CHECK(c.self != 0 && c.self != gort_self());
	CHECK(!gort_timer_stop(t));
	gort_timer_release(t);
}

// variants: maxprocs
TEST(a_function_runs_in_a_goroutine_of_its_own)
{
	on_both_waiting(function_runs);
}

static void for_ever(void *arg)
{
	const int64_t never[] = { GORT_FOREVER, GORT_FOREVER - 1 };

	(void)arg;
	for (size_t i = 0; i < 2; i++) {
		gort_timer *t = start(never[i], 0, NULL, NULL);

		gort_sleep(3 * GORT_MS);
		check_no_tick(t);
		CHECK(gort_timer_reset(t, never[1 - i]));
		CHECK(gort_timer_stop(t));
		CHECK(!gort_timer_reset(t, never[i]));
		CHECK(gort_timer_reset(t, gort_in(GORT_MS)));
		next_tick(t);
		CHECK(!gort_timer_reset(t, never[i]));
		CHECK(gort_timer_stop(t));
		gort_timer_release(t);
	}
}

// variants: maxprocs
TEST(for_ever_is_pending_and_never_comes)
{
	on_both_waiting(for_ever);
}

static int control; /* of who starts */

static void see_control(void *arg)
{
	*(int *)arg = fegetround();
	count_one(NULL);
}

static void spoil_control(void *arg)
{
	(void)arg;
	fesetround(FE_UPWARD);
	while (atomic_load(&fired) < 2)
		gort_sleep(100 * GORT_US);
}

/* On one P, g0 comes after the one who rounds upward. */
// variants: bubble
TEST(a_function_starts_with_the_rounding_of_who_started_its_timer)
{
	gort_timer *t[2];
	int seen[2] = { -1, -1 };

	gort_maxprocs(1);
	CHECK_EQ(gort_go(spoil_control, NULL), 0);
	control = fegetround();
	t[0] = start(gort_in(5 * GORT_MS), 0, see_control, &seen[0]);
	fesetround(FE_DOWNWARD);
	t[1] = start(gort_in(6 * GORT_MS), 0, see_control, &seen[1]);
	fesetround(control);
	EVENTUALLY(atomic_load(&fired) == 2);
	CHECK_EQ(seen[0], control);
	CHECK_EQ(seen[1], FE_DOWNWARD);
	gort_timer_release(t[0]);
	gort_timer_release(t[1]);
}

/* ---- stop and reset -------------------------------------------------------------------------- */

static void stop_pending(void *arg)
{
	int64_t at = gort_in(10 * GORT_MS);
	gort_timer *t = start(at, 0, NULL, NULL), *f = start(at, 0, count_one, NULL);
	bool stopped;

	(void)arg;
	CHECK(gort_timer_stop(t));
	stopped = gort_timer_stop(f);
	CHECK(stopped || gort_now() >= at); /* or that took long */
	CHECK(!gort_timer_stop(t));
	CHECK(!gort_timer_stop(f));
	gort_sleep(15 * GORT_MS);
	check_no_tick(t);
	EVENTUALLY(stopped || atomic_load(&fired) == 1);
	CHECK_EQ(atomic_load(&fired), !stopped);
	atomic_store(&fired, 0);
	gort_timer_release(t);
	gort_timer_release(f);
}

// variants: maxprocs bubble
TEST(what_is_stopped_does_not_come)
{
	on_both(stop_pending);
}

static void take_back(void *arg)
{
	gort_timer *t = start(gort_in(GORT_MS), 0, NULL, NULL);

	(void)arg;
	EVENTUALLY(has_tick(t));
	CHECK(gort_timer_stop(t));
	check_no_tick(t);
	CHECK(!gort_timer_stop(t));
	CHECK(!gort_timer_reset(t, gort_in(GORT_MS)));
	EVENTUALLY(has_tick(t));
	CHECK(gort_timer_reset(t, GORT_FOREVER));
	check_no_tick(t);
	gort_timer_release(t);
}

// variants: maxprocs
TEST(stop_and_reset_take_back_a_tick_that_nobody_has_received)
{
	on_both_waiting(take_back);
}

static void moved(void *arg)
{
	int64_t at = gort_in(GORT_MS);
	gort_timer *t = start(at, 0, NULL, NULL);

	(void)arg;
	at += 8 * GORT_MS;
	gort_timer_reset(t, at); /* later */
	CHECK(next_tick(t) >= at);
	CHECK(!gort_timer_reset(t, gort_in(3600 * GORT_SEC)));
	at = gort_in(2 * GORT_MS);
	CHECK(gort_timer_reset(t, at)); /* earlier */
	CHECK(next_tick(t) >= at);
	at = gort_in(3600 * GORT_SEC);
	for (int i = 0; i < 1000; i++)
		gort_timer_reset(t, at - i * GORT_SEC);
	CHECK(gort_timer_reset(t, gort_in(GORT_MS)));
	next_tick(t);
	check_no_tick(t);
	gort_timer_release(t);
}

// variants: maxprocs
TEST(a_timer_is_moved_to_later_and_to_earlier)
{
	on_both_waiting(moved);
}

/* After so long without anything to do even sysmon sleeps without end. */
#define IDLE (1200 * GORT_MS)

struct guest_work {
	gort_timer *timer;
	gort_chan *done;
};

static void set_earlier(void *arg)
{
	struct guest_work *w = arg;

	for (int i = 0; i < 2; i++) {
		gort_timer_reset(w->timer, gort_in(3600 * GORT_SEC));
		gort_sleep(i ? IDLE : 5 * GORT_MS);
		gort_timer_reset(w->timer, gort_in(GORT_MS));
		EVENTUALLY(atomic_load(&fired) > i);
	}
	CHECK_EQ(gort_chan_close(w->done), 0);
}

/* The poller sleeps until another timer. */
// variants: maxprocs
TEST(a_guest_sets_an_earlier_timer_while_all_are_idle)
{
	gort_timer *later = start(gort_in(1800 * GORT_SEC), 0, NULL, NULL);
	struct guest_work w = { start(gort_in(3600 * GORT_SEC), 0, count_one, NULL),
				gort_chan_make(0, 0) };
	struct guest *g = guest_start(set_earlier, &w);

	CHECK_EQ(gort_chan_recv(w.done, NULL), -EPIPE);
	guest_join(g);
	gort_chan_release(w.done);
	gort_timer_release(w.timer);
	gort_timer_release(later);
}

TEST_PLAIN(a_guest_starts_a_timer_while_the_runtime_has_nothing_to_do)
{
	CHECK_EQ(gort_start(NULL), 0);
	for (int i = 0; i < 3; i++) {
		gort_timer *t;

		gort_sleep(i == 1 ? IDLE : 5 * GORT_MS);
		t = start(gort_in(GORT_MS), 0, NULL, NULL);
		next_tick(t);
		gort_timer_release(t);
	}
	CHECK_EQ(gort_stop(), 0);
}

/* ---- periods --------------------------------------------------------------------------------- */

static void phase_kept(void *arg)
{
	const int64_t period = 500 * GORT_US;
	int64_t base = gort_in(2 * GORT_MS), last = -1;
	gort_timer *t = start(base, period, NULL, NULL);

	(void)arg;
	for (int i = 0; i < 20; i++) {
		int64_t n = (next_tick(t) - base) / period; /* the latest that was due */

		CHECK(n > last);
		last = n;
	}
	base = gort_in(3 * GORT_MS) + period / 3;
	CHECK(gort_timer_reset(t, base)); /* another phase, the same period */
	last = -1;
	for (int i = 0; i < 10; i++) {
		int64_t tick = next_tick(t);

		CHECK(tick >= base);
		CHECK((tick - base) / period > last);
		last = (tick - base) / period;
	}
	CHECK(gort_timer_stop(t));
	gort_sleep(2 * period);
	check_no_tick(t);
	gort_timer_release(t);
}

// variants: maxprocs
TEST(periods_keep_their_phase)
{
	on_both_waiting(phase_kept);
}

/* One that is counted from the tick before would follow it by a whole period, or more. */
// variants: maxprocs bubble
TEST(a_late_tick_does_not_move_those_that_follow)
{
	const int64_t period = 10 * GORT_MS;
	bool seen = false;

	for (int i = 0; i < 200 && !seen; i++) {
		int64_t base = gort_now() - 10 * period - 3 * GORT_MS;
		gort_timer *t = start(base, period, NULL, NULL);
		int64_t first = next_tick(t), second = next_tick(t);

		CHECK(second >= base + 11 * period);
		seen = second - first < period;
		gort_timer_release(t);
	}
	CHECK(seen);
}

/* Had the oldest stayed, it would be nine periods old. */
// variants: maxprocs bubble
TEST(who_is_slow_gets_the_latest_tick)
{
	const int64_t period = GORT_MS;
	gort_timer *t = start(gort_in(period), period, NULL, NULL);
	int64_t age = INT64_MAX;

	next_tick(t);
	for (int i = 0; i < 1000 && age > 5 * period; i++) {
		int64_t now = gort_now() + 10 * period;

		gort_sleep_until(now);
		age = now - next_tick(t);
	}
	CHECK(age <= 5 * period);
	gort_timer_release(t);
}

/* There is no phase that GORT_NOW could mean but that of now. */
// variants: bubble
TEST(a_period_from_now_is_counted_from_now)
{
	const int64_t period = 3 * GORT_MS;

	for (int i = 0; i < 10; i++) {
		int64_t before = gort_now();
		gort_timer *t = start(GORT_NOW, period, NULL, NULL);

		next_tick(t);
		CHECK(next_tick(t) >= before + period);
		gort_timer_reset(t, GORT_NOW);
		next_tick(t);
		CHECK(next_tick(t) >= before + 2 * period);
		gort_timer_release(t);
	}
}

static void far_phases(void *arg)
{
	const int64_t from[] = { GORT_NOW, GORT_NOW + 1, INT64_MIN / 2, -1, 0 };

	(void)arg;
	for (size_t i = 0; i < sizeof from / sizeof from[0]; i++) {
		gort_timer *t = start(from[i], GORT_MS, NULL, NULL);

		for (int k = 0; k < 3; k++)
			next_tick(t);
		gort_timer_release(t);
		t = start(from[i], INT64_MAX, NULL, NULL);
		next_tick(t);
		gort_sleep(GORT_MS);
		CHECK(gort_timer_stop(t) || from[i] < -1); /* those come round once more */
		gort_timer_release(t);
	}
}

// variants: bubble
TEST(phases_from_the_far_past_and_endless_periods)
{
	far_phases(NULL);
}

// variants: maxprocs
TEST(a_function_runs_every_period_until_it_is_stopped)
{
	gort_timer *t = start(gort_in(GORT_MS), GORT_MS, count_one, NULL);
	long long n;

	EVENTUALLY(atomic_load(&fired) >= 10);
	CHECK(gort_timer_stop(t));
	EVENTUALLY(gort_count() == 1); /* those that were started */
	n = atomic_load(&fired);
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(atomic_load(&fired), n);
	CHECK(!gort_timer_reset(t, gort_in(GORT_MS)));
	EVENTUALLY(atomic_load(&fired) >= n + 3);
	gort_timer_release(t);
}

// variants: maxprocs bubble
TEST(without_a_period_a_function_runs_once)
{
	gort_timer *t = start(gort_in(GORT_MS), -GORT_MS, count_one, NULL);

	EVENTUALLY(atomic_load(&fired) == 1);
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(atomic_load(&fired), 1);
	gort_timer_release(t);
}

/* ---- release --------------------------------------------------------------------------------- */

struct self_ended {
	_Atomic(gort_timer *) timer;
	atomic_int runs;
};

static void release_self(void *arg)
{
	struct self_ended *s = arg;
	gort_timer *t;

	while (!(t = atomic_load(&s->timer)))
		gort_yield();
	if (atomic_fetch_add(&s->runs, 1) == 0)
		gort_timer_release(t);
}

// variants: maxprocs
TEST(a_function_releases_its_own_timer)
{
	for (int i = 0; i < 50; i++) {
		struct self_ended s = { .runs = 0 };

		atomic_store(&s.timer, start(GORT_NOW, i % 2 ? 20 * GORT_US : 0, release_self, &s));
		EVENTUALLY(atomic_load(&s.runs) > 0);
		EVENTUALLY(gort_count() == 1);
	}
}

static void outlive(void *arg)
{
	int64_t value = 7, period = arg ? GORT_MS : 0;
	gort_timer *t = start(gort_in(GORT_MS), period, NULL, NULL);
	gort_chan *c = gort_chan_retain(gort_timer_chan(t));

	EVENTUALLY(has_tick(t));
	gort_timer_release(t);
	CHECK_EQ(gort_chan_try_recv(c, &value), -EAGAIN);
	gort_sleep(2 * GORT_MS);
	CHECK_EQ(gort_chan_try_recv(c, &value), -EAGAIN);
	CHECK_EQ(gort_chan_try_send(c, &value), 0);
	CHECK_EQ(gort_chan_try_recv(c, &value), 0);
	gort_chan_release(c);
}

// variants: maxprocs bubble
TEST(a_channel_may_outlive_its_timer)
{
	outlive(NULL);
	outlive(&fired);
}

// variants: maxprocs bubble
TEST(a_closed_channel_gets_no_tick)
{
	gort_timer *t = start(gort_in(GORT_MS), GORT_MS, NULL, NULL);

	CHECK_EQ(gort_chan_close(gort_timer_chan(t)), 0);
	gort_chan_try_recv(gort_timer_chan(t), NULL); /* one that came before */
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(gort_chan_len(gort_timer_chan(t)), 0);
	CHECK(gort_timer_stop(t));
	gort_timer_release(t);
}

/* ---- gort_after_chan ------------------------------------------------------------------------- */

static void after(void *arg)
{
	int64_t at = gort_in(2 * GORT_MS), tick;
	gort_chan *c = gort_after_chan(2 * GORT_MS);

	(void)arg;
	CHECK(c != NULL);
	CHECK_EQ(gort_chan_recv_until(c, &tick, gort_in(60 * GORT_SEC)), 0);
	CHECK(tick >= at);
	CHECK_EQ(gort_chan_recv_until(c, &tick, gort_in(2 * GORT_MS)), -ETIMEDOUT);
	gort_chan_release(c);
	c = gort_after_chan(-1);
	CHECK_EQ(gort_chan_recv_until(c, &tick, gort_in(60 * GORT_SEC)), 0);
	gort_chan_release(c);
	c = gort_after_chan(INT64_MAX);
	CHECK_EQ(gort_chan_try_recv(c, &tick), -EAGAIN);
	gort_chan_release(c);
}

// variants: maxprocs
TEST(after_gives_one_tick)
{
	on_both_waiting(after);
}

static void released_early(void *arg)
{
	(void)arg;
	for (int i = 0; i < SCALE(20000); i++) {
		gort_chan *c = gort_after_chan(i % 3 ? i % 200 * GORT_US : 3600 * GORT_SEC);

		CHECK(c != NULL);
		if (i % 7 == 0)
			gort_yield();
		gort_chan_release(c);
	}
}

// variants: maxprocs bubble
TEST(after_channels_that_are_released_early_leave_nothing)
{
	size_t before;

	released_early(NULL); /* the heap has its size */
	before = mem_in_use();
	released_early(NULL);
	CHECK(mem_in_use() < before + (256 << 10));
	on_guest(released_early, NULL);
}

/* ---- many ------------------------------------------------------------------------------------ */

struct one {
	gort_timer *timer;
	int64_t at;
	atomic_int runs;
	bool stopped;
};

static void one_fires(void *arg)
{
	struct one *o = arg;

	CHECK(gort_now() >= o->at);
	atomic_fetch_add(&o->runs, 1);
	atomic_fetch_add(&fired, 1);
}

/* Equal times, ascending and descending ones; of some none is left in the heap but dead ones. */
static void many_timers(int n)
{
	struct one *all = calloc((size_t)n, sizeof *all);
	int64_t base = gort_in(30 * GORT_MS), expected = n;
	uint32_t random = 42;

	CHECK(all != NULL);
	for (int i = 0; i < n; i++) {
		all[i].at = base + (i % 4 == 0 ? 0 : next_random(&random) % 40000 * GORT_US);
		all[i].timer = start(all[i].at, 0, one_fires, &all[i]);
	}
	for (int i = 0; i < n; i++) {
		struct one *o = &all[next_random(&random) % (uint32_t)n];

		o->stopped = gort_timer_stop(o->timer) || o->stopped;
	}
	for (int i = 0; i < n; i++)
		expected -= all[i].stopped;
	EVENTUALLY(atomic_load(&fired) == expected);
	gort_sleep(GORT_MS);
	for (int i = 0; i < n; i++) {
		CHECK_EQ(atomic_load(&all[i].runs), !all[i].stopped);
		gort_timer_release(all[i].timer);
	}
	free(all);
}

// variants: maxprocs bubble
TEST(thousands_fire_once_unless_they_are_stopped)
{
	many_timers(SCALE(30000));
}

/* A moved timer leaves a dead entry; they are cleared away. */
// variants: maxprocs bubble
TEST(timers_that_are_moved_again_and_again_use_flat_memory)
{
	enum { FEW = 100 };
	gort_timer *t[FEW];
	uint32_t random = 7;
	size_t before = 0;

	for (int i = 0; i < FEW; i++)
		t[i] = start(gort_in(3600 * GORT_SEC), 0, NULL, NULL);
	for (int i = 0; i < SCALE(200000); i++) {
		CHECK(gort_timer_reset(t[i % FEW],
				       gort_in((1000 + next_random(&random) % 1000) * GORT_SEC)));
		if (i == SCALE(200000) / 10)
			before = mem_in_use();
	}
	CHECK(mem_in_use() <= before + 8 * sizeof(struct m)); /* threads may be made meanwhile */
	for (int i = 0; i < FEW; i++) {
		CHECK(gort_timer_stop(t[i]));
		gort_timer_release(t[i]);
	}
}

/* ---- the heap alone -------------------------------------------------------------------------- */

enum { NODES = 3000 };

static struct {
	struct p *p;
	struct m m;
	struct timer node[NODES];
	bool pending[NODES];
	int64_t now, last;
	int count;
} heap;

static void node_fires(struct timer *t, struct due *due)
{
	size_t i = (size_t)(t - heap.node);

	CHECK(heap.pending[i]);
	CHECK(t->when <= due->now);
	CHECK(t->when >= heap.last); /* in order */
	heap.last = t->when;
	heap.pending[i] = false;
	heap.count--;
}

static void add_or_remove(size_t i, int64_t ahead)
{
	struct timer *t = &heap.node[i];

	if (heap.pending[i]) {
		CHECK(gort__timer_del(t));
	} else {
		if (t->fire)
			CHECK(!gort__timer_del(t));
		*t = (struct timer){ .when = heap.now + ahead,
				     .slot = TIMER_IDLE,
				     .fire = node_fires };
		CHECK_EQ(gort__timer_add(&heap.m, t), 0);
	}
	heap.pending[i] = !heap.pending[i];
	heap.count += heap.pending[i] ? 1 : -1;
}

static int64_t earliest_pending(void)
{
	int64_t earliest = OS_FOREVER;

	for (size_t i = 0; i < NODES; i++)
		if (heap.pending[i] && heap.node[i].when < earliest)
			earliest = heap.node[i].when;
	return earliest;
}

/* All that is due fires, in order, and nothing else does. */
static void run_heap(void)
{
	struct due due = { .now = heap.now };

	heap.last = INT64_MIN;
	gort__timers_run(&heap.p->timers, &due);
	CHECK(earliest_pending() > heap.now);
	CHECK(heap.p->timers.next >= earliest_pending());
	CHECK_EQ(heap.p->timers.live, heap.count);
	CHECK(heap.p->timers.count <= 2 * (uint32_t)heap.count + 64); /* with the dead */
}

TEST_PLAIN(the_heap_agrees_with_a_list)
{
	uint32_t random = 99;

	heap.p = os_map(sizeof *heap.p);
	CHECK(heap.p != NULL);
	gort__timers_init(&heap.p->timers, heap.p);
	heap.m.p = heap.p;
	for (int round = 0; round < SCALE(300); round++) {
		uint32_t few = next_random(&random) % 3 ? 20 : NODES;
		uint32_t range = 1 + next_random(&random) % 1000;

		for (int k = 0; k < 1000; k++)
			add_or_remove(next_random(&random) % few, next_random(&random) % range);
		heap.now += next_random(&random) % (range + range / 8);
		run_heap();
	}
	heap.now += 10000;
	run_heap();
	CHECK_EQ(heap.count, 0);
	CHECK_EQ(heap.p->timers.next, OS_FOREVER);
	gort__timers_free(&heap.p->timers);
	mem_cache_flush(&heap.p->cache);
	os_unmap(heap.p, sizeof *heap.p);
}

/* ---- while others run ------------------------------------------------------------------------ */

static atomic_bool hog_ends;

static void hog(void *arg)
{
	(void)arg;
	while (!atomic_load(&hog_ends))
		;
}

static void end_hog(void *arg)
{
	(void)arg;
	atomic_store(&hog_ends, true);
}

/* It must run on another P than that in whose heap it is. */
// variants: maxprocs
TEST(a_timer_comes_while_its_p_runs_one_goroutine_for_long)
{
	gort_timer *t;

	if (gort_maxprocs(0) == 1)
		SKIP("one P");
	t = start(gort_in(2 * GORT_MS), 0, end_hog, NULL);
	hog(NULL);
	gort_timer_release(t);
}

static void give_way(void *arg)
{
	(void)arg;
	while (!atomic_load(&hog_ends))
		gort_yield();
}

// variants: maxprocs
TEST(a_timer_comes_while_all_ps_are_busy)
{
	gort_timer *t = start(gort_in(2 * GORT_MS), 0, end_hog, NULL);

	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_go(give_way, NULL), 0);
	give_way(NULL);
	EVENTUALLY(gort_count() == 1);
	gort_timer_release(t);
}

/* ---- GOMAXPROCS goes down -------------------------------------------------------------------- */

enum { SPREAD = 64 };
static gort_timer *spread[SPREAD];
static atomic_int spread_count;

static void compute(int64_t duration)
{
	int64_t until = gort_in(duration);

	while (gort_now() < until)
		;
}

/* A timer, and a deadline, in the heap of a P that is going to be retired; of most, for nobody
 * takes the last from where it runs. (What moves quickly is not stolen.) */
static void start_elsewhere(void *arg)
{
	int i = atomic_fetch_add(&spread_count, 1), err;

	for (int tries = 0; m_self()->p->id == 0 && tries < 10; tries++) {
		compute(100 * GORT_US);
		gort_yield();
	}
	spread[i] = start(gort_in(5 * GORT_MS), 0, count_one, NULL);
	gort_waitgroup_done(arg);
	compute(200 * GORT_US);
	err = gort_sleep(4 * GORT_MS);
	CHECK(err == 0 || err == -ENOMEM);
	count_one(NULL);
}

/* Busy, so that no P idles. No allocation succeeds meanwhile, unless another has just failed. */
static void await_fired(long long n, bool without_memory)
{
	while (atomic_load(&fired) < n) {
		if (without_memory)
			mem_fail_after(1);
		gort_yield();
	}
	mem_fail_after(0);
}

struct lowering {
	bool idle, without_memory;
};

static int lower(void *arg)
{
	const struct lowering *l = arg;
	gort_waitgroup started = { 0 };

	atomic_store(&spread_count, 0);
	atomic_store(&fired, 0);
	gort_waitgroup_add(&started, SPREAD);
	for (int i = 0; i < SPREAD; i++)
		CHECK_EQ(gort_go(start_elsewhere, &started), 0);
	gort_waitgroup_wait(&started);
	if (l->idle)
		gort_sleep(GORT_MS); /* they are idle when they are retired */
	if (l->without_memory)
		mem_fail_after(1); /* it may give way */
	gort_maxprocs(1);
	await_fired(2 * SPREAD, l->without_memory);
	/* Placed again in heaps of Ps that are no more. */
	for (int i = 0; i < SPREAD; i++)
		CHECK(!gort_timer_reset(spread[i], gort_in(i % 3 * GORT_MS)));
	await_fired(3 * SPREAD, l->without_memory);
	for (int i = 0; i < SPREAD; i++)
		gort_timer_release(spread[i]);
	return 0;
}

/* Each in a life of its own, where the heap of the P that is left is small. */
static void lower_often(bool without_memory)
{
	const gort_options options = { .maxprocs = 8 };

	for (int i = 0; i < SCALE(20); i++) {
		struct lowering l = { i % 2, without_memory };

		CHECK_EQ(gort_run(lower, &l, &options), 0);
	}
}

TEST_PLAIN(timers_of_retired_ps_come_while_the_rest_is_busy)
{
	lower_often(false);
}

TEST_PLAIN(timers_of_retired_ps_come_without_memory_to_move_them)
{
	lower_often(true);
}

/* ---- out of memory --------------------------------------------------------------------------- */

/* On a guest, which has no cache: channel, timer, and the heap's first arrays. */
static void start_without_memory(void *arg)
{
	(void)arg;
	for (uint32_t n = 1; n < 6; n++) {
		gort_timer *t;

		EVENTUALLY(no_thread_is_made());
		mem_fail_after(n);
		t = gort_timer_start(gort_in(GORT_SEC), 0, NULL, NULL);
		mem_fail_after(0);
		CHECK_EQ(t == NULL, n < 5);
		gort_timer_release(t);
	}
	for (uint32_t n = 1; n < 4; n++) {
		gort_chan *c;

		EVENTUALLY(no_thread_is_made());
		mem_fail_after(n);
		c = gort_after_chan(GORT_SEC);
		mem_fail_after(0);
		CHECK_EQ(c == NULL, n < 3);
		gort_chan_release(c);
	}
}

// variants: bubble
TEST(start_without_memory_gives_null)
{
	on_guest(start_without_memory, NULL);
}

static gort_chan *gate;

static void wait_at_gate(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_chan_recv(gate, NULL), -EPIPE);
}

static void limit_address_space(void)
{
	struct rlimit limit;
	char line[256];
	long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	CHECK(f != NULL);
	while (fgets(line, sizeof line, f))
		if (strncmp(line, "VmSize:", 7) == 0)
			kib = atol(line + 7);
	fclose(f);
	CHECK(kib > 0);
	limit.rlim_cur = limit.rlim_max = (rlim_t)kib * 1024 + (64 << 20);
	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
}

/* No goroutine can be made any more. */
static int use_up_goroutines(void)
{
	int n = 0;

	while (gort_go(wait_at_gate, NULL) == 0)
		n++;
	return n;
}

// variants: maxprocs
// not: asan tsan valgrind qemu
TEST(functions_are_late_but_not_lost_without_memory_for_goroutines)
{
	enum { N = 20 };
	gort_timer *t[N], *periodic;
	int n;

	gate = gort_chan_make(0, 0);
	limit_address_space();
	for (int i = 0; i < N; i++)
		t[i] = start(GORT_FOREVER, 0, count_one, NULL);
	periodic = start(GORT_FOREVER, 10 * GORT_MS, count_one, NULL);
	do {
		n = use_up_goroutines();
		gort_sleep(GORT_MS);
	} while (n);
	for (int i = 0; i < N; i++)
		CHECK(gort_timer_reset(t[i], gort_in(20 * GORT_MS + i * GORT_MS)));
	CHECK(gort_timer_reset(periodic, gort_in(20 * GORT_MS)));
	gort_sleep(150 * GORT_MS);
	CHECK_EQ(atomic_load(&fired), 0);
	CHECK(gort_timer_stop(t[0])); /* pending still */
	CHECK(gort_timer_reset(t[1], GORT_FOREVER));
	CHECK_EQ(gort_chan_close(gate), 0);
	EVENTUALLY(atomic_load(&fired) >= N - 2 + 5);
	for (int i = 2; i < N; i++)
		CHECK(!gort_timer_stop(t[i]));
	for (int i = 0; i < N; i++)
		gort_timer_release(t[i]);
	gort_timer_release(periodic);
	gort_chan_release(gate);
}

/* ---- the runtime's end ----------------------------------------------------------------------- */

enum { LIVES = 6 };
static gort_timer *left[LIVES];
static gort_chan *left_after[2];
static int64_t left_at;

static int start_left_timers(void *arg)
{
	int64_t patience = *(int64_t *)arg;

	left[2] = start(gort_in(GORT_MS), 0, NULL, NULL);
	left[3] = start(GORT_FOREVER, 0, count_one, NULL);
	left[5] = start(GORT_NOW, 0, NULL, NULL);
	left_after[1] = gort_after_chan(0);
	next_tick(left[2]);
	EVENTUALLY(has_tick(left[5]));
	left_at = gort_in(patience);
	left[0] = start(left_at, 0, NULL, NULL);
	left[1] = start(left_at, GORT_MS, count_one, NULL);
	left[4] = start(left_at, 0, count_one, NULL);
	left_after[0] = gort_after_chan(patience);
	CHECK(gort_timer_stop(left[4]) || gort_now() >= left_at);
	return 0;
}

static void use_left_timers(void)
{
	CHECK(gort_timer_stop(left[0]));
	CHECK(!gort_timer_stop(left[0]));
	CHECK(gort_timer_reset(left[1], gort_in(GORT_MS)));
	CHECK(!gort_timer_reset(left[1], gort_in(GORT_MS)));
	CHECK(!gort_timer_reset(left[2], gort_in(GORT_MS)));
	CHECK(gort_timer_reset(left[3], gort_in(GORT_MS)));
	CHECK(!gort_timer_reset(left[4], gort_in(GORT_MS)));
	CHECK(gort_timer_stop(left[5])); /* its tick */
	check_no_tick(left[5]);
}

static void release_left_timers(void)
{
	for (int i = 0; i < LIVES; i++)
		gort_timer_release(left[i]);
	for (int i = 0; i < 2; i++)
		gort_chan_release(left_after[i]);
}

/* The run that starts them is over before they are due, or it is no such case. */
static void leave_timers(void)
{
	int64_t patience = 300 * GORT_MS;

	CHECK_EQ(gort_run(start_left_timers, &patience, NULL), 0);
	while (gort_now() >= left_at) {
		release_left_timers();
		atomic_store(&fired, 0);
		patience *= 2;
		CHECK_EQ(gort_run(start_left_timers, &patience, NULL), 0);
	}
}

TEST_PLAIN(timers_are_released_after_the_runtime_has_ended)
{
	leave_timers();
	release_left_timers();
	leave_timers();
	use_left_timers();
	release_left_timers();
	CHECK_EQ(atomic_load(&fired), 0);
}

static int live_again(void *arg)
{
	gort_sleep_until(left_at + 10 * GORT_MS);
	CHECK_EQ(atomic_load(&fired), 0);
	check_no_tick(left[0]);
	if (arg)
		use_left_timers();
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(atomic_load(&fired), 0);
	check_no_tick(left[2]);
	return 0;
}

TEST_PLAIN(timers_of_an_earlier_life_never_fire)
{
	leave_timers();
	CHECK_EQ(gort_run(live_again, NULL, NULL), 0);
	CHECK_EQ(gort_run(live_again, &fired, NULL), 0);
	release_left_timers();
}

static int release_in_a_later_life(void *arg)
{
	(void)arg;
	release_left_timers();
	return 0;
}

TEST_PLAIN(timers_are_released_in_a_later_life)
{
	leave_timers();
	CHECK_EQ(gort_run(release_in_a_later_life, NULL, NULL), 0);
}

/* The end comes while they fire. */
static int fire_at_the_end(void *arg)
{
	gort_timer **t = arg;

	for (int i = 0; i < 64; i++)
		t[i] = start(gort_in(i % 8 * 10 * GORT_US), i % 3 * 10 * GORT_US,
			     i % 2 ? count_one : NULL, NULL);
	gort_sleep(40 * GORT_US);
	return 0;
}

TEST_PLAIN(the_runtime_ends_while_timers_fire)
{
	gort_timer *t[64];

	for (int round = 0; round < SCALE(50); round++) {
		CHECK_EQ(gort_run(fire_at_the_end, t, NULL), 0);
		for (int i = 0; i < 64; i++)
			gort_timer_release(t[i]);
	}
}

/* ---- stress ---------------------------------------------------------------------------------- */

/* Every arming ends in one tick received, or in one stop or reset that returned true; and what is
 * received is not older than the last arming. */
static void own_a_channel(void *arg)
{
	uint32_t random = (uint32_t)(uintptr_t)&arg | 1;
	int64_t at = gort_in(50 * GORT_US), tick;
	gort_timer *t = start(at, 0, NULL, NULL);
	int64_t armed = 1, ended = 0;

	for (int i = 0; i < SCALE(4000); i++) {
		uint32_t r = next_random(&random);

		if (r % 8 < 4) {
			at = gort_in((int64_t)(r / 8 % 200) * GORT_US - 50 * GORT_US);
			ended += gort_timer_reset(t, at);
			armed++;
		} else if (r % 8 == 4) {
			ended += gort_timer_stop(t);
			check_no_tick(t);
		} else if (gort_chan_recv_until(gort_timer_chan(t), &tick,
						gort_in(r / 8 % 100 * GORT_US)) == 0) {
			CHECK(tick >= at);
			ended++;
		}
		CHECK(ended == armed || ended == armed - 1);
	}
	ended += gort_timer_stop(t);
	CHECK_EQ(ended, armed);
	check_no_tick(t);
	gort_timer_release(t);
}

/* The same of functions: each arming ends in one run, or was prevented. */
static void own_a_function(void *arg)
{
	uint32_t random = (uint32_t)(uintptr_t)&arg | 1;
	struct one o = { 0 }; /* moved while runs of before are on their way: any time is right */
	int64_t armed = 1, prevented = 0;

	o.timer = start(gort_in(50 * GORT_US), 0, one_fires, &o);
	for (int i = 0; i < SCALE(4000); i++) {
		uint32_t r = next_random(&random);

		if (r % 4 < 2) {
			prevented += gort_timer_reset(
				o.timer, gort_in((int64_t)(r / 4 % 200) * GORT_US - 50 * GORT_US));
			armed++;
		} else if (r % 4 == 2) {
			prevented += gort_timer_stop(o.timer);
		} else {
			gort_yield();
		}
	}
	prevented += gort_timer_stop(o.timer);
	EVENTUALLY(atomic_load(&o.runs) + prevented == armed);
	gort_sleep(GORT_MS);
	CHECK_EQ(atomic_load(&o.runs) + prevented, armed);
	gort_timer_release(o.timer);
}

enum { GUESTS = 3, GOROUTINES = 6 };

static void on_many(void (*fn)(void *arg))
{
	struct visit v = { .fn = fn };
	struct guest *g[GUESTS];

	gort_waitgroup_add(&v.done, GUESTS + GOROUTINES);
	for (int i = 0; i < GUESTS; i++)
		g[i] = guest_start(visit, &v);
	for (int i = 0; i < GOROUTINES; i++)
		CHECK_EQ(gort_go(visit, &v), 0);
	gort_waitgroup_wait(&v.done);
	for (int i = 0; i < GUESTS; i++)
		guest_join(g[i]);
}

// variants: maxprocs
TEST(no_stale_tick_is_received_and_none_is_lost)
{
	on_many(own_a_channel);
}

// variants: maxprocs
TEST(each_arming_of_a_function_runs_once_or_is_prevented)
{
	on_many(own_a_function);
}

/* All do all to all timers. Few checks: that nothing breaks, and that it ends in order. */
enum { SHARED = 8 };
static gort_timer *shared[SHARED];

static void use_shared(void *arg)
{
	uint32_t random = (uint32_t)(uintptr_t)&arg | 1;
	int64_t tick;

	for (int i = 0; i < SCALE(4000); i++) {
		uint32_t r = next_random(&random);
		gort_timer *t = shared[r / 8 % SHARED];
		gort_chan *c = gort_timer_chan(t);

		switch (r % 8) {
		case 0:
			gort_timer_stop(t);
			break;
		case 1:
		case 2:
		case 3:
			gort_timer_reset(t, gort_in(r / 64 % 100 * GORT_US - 20 * GORT_US));
			break;
		case 4:
			gort_timer_reset(t, GORT_FOREVER);
			break;
		case 5:
			gort_chan_release(gort_after_chan(r / 64 % 50 * GORT_US));
			break;
		case 6:
			gort_maxprocs(0);
			gort_yield();
			break;
		default:
			if (c && gort_chan_recv_until(c, &tick, gort_in(20 * GORT_US)) == 0)
				CHECK(tick <= gort_now());
		}
	}
}

static void share(void)
{
	for (int i = 0; i < SHARED; i++)
		shared[i] = start(gort_in(10 * GORT_US), i % 3 * 30 * GORT_US,
				  i % 2 ? count_one : NULL, NULL);
	on_many(use_shared);
	for (int i = 0; i < SHARED; i++) {
		gort_timer_stop(shared[i]);
		CHECK(!gort_timer_stop(shared[i]));
		gort_timer_release(shared[i]);
	}
	EVENTUALLY(gort_count() == 1);
}

// variants: maxprocs
TEST(many_stop_and_move_the_same_timers)
{
	share();
}

static atomic_bool shaking;

static void shake_procs(void *arg)
{
	int n = 0;

	(void)arg;
	while (atomic_load(&shaking)) {
		gort_maxprocs(1 + n++ * 3 % 8);
		gort_sleep(300 * GORT_US);
	}
	count_one(NULL);
}

TEST(timers_under_changing_gomaxprocs)
{
	struct guest *g;

	atomic_store(&shaking, true);
	g = guest_start(shake_procs, NULL);
	on_many(own_a_channel);
	on_many(own_a_function);
	atomic_store(&shaking, false);
	gort_sleep(5 * GORT_MS);
	guest_join(g);
}

/* ---- misuse ---------------------------------------------------------------------------------- */

TEST_DIES(stopping_no_timer, "gort_timer_stop: no timer")
{
	gort_timer_stop(NULL);
}

TEST_DIES(moving_no_timer, "gort_timer_reset: no timer")
{
	gort_timer_reset(NULL, 0);
}

TEST_DIES(the_channel_of_no_timer, "gort_timer_chan: no timer")
{
	gort_timer_chan(NULL);
}
