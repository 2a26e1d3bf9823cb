/*
 * ctx_wait.c - every cancellable call, and every way in which its caller's context or own
 * deadline ends it: before it begins, while it waits, on goroutines and on guests. And the races
 * for one wait, between whoever may end it: one wins, no value is lost, nobody waits for ever.
 */
#include "crowd.h"

#include <errno.h>
#include <stdatomic.h>

/* ---- objects to wait on: for ever, or not at all --------------------------------------------- */

static struct {
	gort_chan *empty;   /* nobody sends */
	gort_chan *unheard; /* nobody receives, and there is no room */
	gort_chan *full;    /* nor is there in its buffer */
	gort_chan *stocked; /* it has elements, and room */
	gort_mutex locked, free;
	gort_rwmutex written, rw_free;
	gort_sem empty_sem, full_sem;
	gort_cond cond; /* nobody signals */
	gort_waitgroup one, zero;
	gort_chan *gate; /* the members of crowded, and running, wait for its end */
	gort_task *running, *flying;
	gort_scope *crowded, *roomy;
	gort_flight *flight; /* "busy" is being done */
	atomic_bool busy;
	gort_waitgroup all;
} w;

static int wait_for_the_gate(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_chan_recv(w.gate, NULL), -EPIPE);
	return 0;
}

static int be_busy(void *arg)
{
	atomic_store(&w.busy, true);
	return wait_for_the_gate(arg);
}

static int fly(void *arg)
{
	return gort_flight_do(w.flight, "busy", be_busy, arg, NULL);
}

static int end_at_once(void *arg)
{
	(void)arg;
	return 0;
}

static void make_world(void)
{
	w.empty = gort_chan_make(0, 0);
	w.unheard = gort_chan_make(0, 0);
	w.full = gort_chan_make(0, 1);
	w.stocked = gort_chan_make(0, 2000);
	w.gate = gort_chan_make(0, 0);
	CHECK(w.empty && w.unheard && w.full && w.stocked && w.gate);
	CHECK_EQ(gort_chan_try_send(w.full, NULL), 0);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(gort_chan_try_send(w.stocked, NULL), 0);
	gort_mutex_lock(&w.locked);
	gort_rwmutex_lock(&w.written);
	gort_sem_release(&w.full_sem, INT32_MAX);
	gort_waitgroup_add(&w.one, 1);
	w.running = gort_spawn(wait_for_the_gate, NULL, NULL);
	w.crowded = gort_scope_open(1);
	w.roomy = gort_scope_open(0);
	CHECK(w.running && w.crowded && w.roomy);
	CHECK_EQ(gort_scope_go(w.crowded, wait_for_the_gate, NULL), 0);
	w.flight = gort_flight_make();
	w.flying = gort_spawn(fly, NULL, NULL);
	CHECK(w.flight && w.flying);
	EVENTUALLY(atomic_load(&w.busy));
}

/* Whoever has given up a wait has left nothing behind that could take a value, a lock or a
 * place. */
static void check_world(void)
{
	CHECK_EQ(gort_chan_try_send(w.empty, NULL), -EAGAIN);
	CHECK_EQ(gort_chan_try_recv(w.unheard, NULL), -EAGAIN);
	CHECK_EQ(gort_chan_try_send(w.full, NULL), -EAGAIN);
	CHECK_EQ(gort_chan_len(w.full), 1);
	CHECK_EQ(gort_mutex_try_lock(&w.locked), -EAGAIN);
	CHECK_EQ(gort_rwmutex_try_rlock(&w.written), -EAGAIN);
	CHECK_EQ(gort_sem_try_acquire(&w.empty_sem, 1), -EAGAIN);
	CHECK_EQ(gort_scope_try_go(w.crowded, end_at_once, NULL), -EAGAIN);
}

/* The gate is closed. */
static void release_world(void)
{
	CHECK_EQ(gort_join(w.running, NULL), 0);
	CHECK_EQ(gort_join(w.flying, NULL), 0);
	CHECK_EQ(gort_scope_close(w.crowded), 0);
	CHECK_EQ(gort_scope_close(w.roomy), 0);
	gort_flight_release(w.flight);
	gort_waitgroup_done(&w.one);
	CHECK_EQ(gort_waitgroup_wait(&w.one), 0);
	gort_chan_release(w.empty);
	gort_chan_release(w.unheard);
	gort_chan_release(w.full);
	gort_chan_release(w.stocked);
	gort_chan_release(w.gate);
}

static void end_world(void)
{
	check_world();
	CHECK_EQ(gort_chan_try_recv(w.full, NULL), 0);
	CHECK_EQ(gort_chan_try_recv(w.full, NULL), -EAGAIN);
	gort_mutex_unlock(&w.locked);
	CHECK_EQ(gort_mutex_try_lock(&w.locked), 0);
	gort_mutex_unlock(&w.locked);
	gort_rwmutex_unlock(&w.written);
	CHECK_EQ(gort_rwmutex_try_lock(&w.written), 0);
	gort_rwmutex_unlock(&w.written);
	gort_sem_release(&w.empty_sem, 1);
	CHECK_EQ(gort_sem_try_acquire(&w.empty_sem, 1), 0);
	CHECK_EQ(gort_chan_close(w.gate), 0);
	release_world();
}

/* ---- the calls. ready: the object lets it complete at once ----------------------------------- */

#define LATE gort_in(3600 * GORT_SEC)

static int recv_on(bool ready)
{
	return gort_chan_recv(ready ? w.stocked : w.empty, NULL);
}

static int recv_until(bool ready)
{
	return gort_chan_recv_until(ready ? w.stocked : w.empty, NULL, LATE);
}

static int send_on(bool ready)
{
	return gort_chan_send(ready ? w.stocked : w.unheard, NULL);
}

static int send_until(bool ready)
{
	return gort_chan_send_until(ready ? w.stocked : w.unheard, NULL, LATE);
}

static int send_buffered(bool ready)
{
	return gort_chan_send(ready ? w.stocked : w.full, NULL);
}

/* Of a NULL channel nothing ever comes. */
static int recv_nothing(bool ready)
{
	return ready ? 0 : gort_chan_recv(NULL, NULL);
}

static int send_nothing(bool ready)
{
	return ready ? 0 : gort_chan_send_until(NULL, NULL, LATE);
}

static int select_chans(bool ready)
{
	gort_case cases[] = {
		GORT_CASE_RECV(w.empty, NULL),
		GORT_CASE_SEND(w.unheard, NULL),
		GORT_CASE_SEND(ready ? w.stocked : w.full, NULL),
		GORT_CASE_RECV(NULL, NULL),
	};
	int i = gort_select(cases, 4, GORT_FOREVER);

	return i == 2 ? cases[2].status : i;
}

static int select_others(bool ready)
{
	gort_case cases[] = {
		GORT_CASE_TASK(w.running),
		GORT_CASE_TIME(ready ? 0 : LATE),
	};
	int i = gort_select(cases, 2, LATE);

	return i == 1 ? cases[1].status : i;
}

static int select_many(bool ready)
{
	gort_case cases[40];

	for (int i = 0; i < 40; i++)
		cases[i] = GORT_CASE_RECV(ready ? w.stocked : w.empty, NULL);
	return gort_select(cases, 40, GORT_FOREVER) < 0 ? gort_select(cases, 40, LATE) : 0;
}

static int select_none(bool ready)
{
	return ready ? 0 : gort_select(NULL, 0, GORT_FOREVER);
}

static int sleeps(bool ready)
{
	return gort_sleep(ready ? 0 : 3600 * GORT_SEC);
}

static int sleep_until(bool ready)
{
	return gort_sleep_until(ready ? gort_now() : GORT_FOREVER);
}

static int join_until(bool ready, int64_t deadline)
{
	gort_task *t = ready ? gort_spawn(end_at_once, NULL, NULL) : w.running;

	while (ready && gort_select(&GORT_CASE_TASK(t), 1, GORT_NOW) < 0)
		gort_yield();
	return deadline == GORT_FOREVER ? gort_join(t, NULL) : gort_join_until(t, NULL, deadline);
}

static int join(bool ready)
{
	return join_until(ready, GORT_FOREVER);
}

static int join_late(bool ready)
{
	return join_until(ready, LATE);
}

static int lock_until(bool ready)
{
	gort_mutex *m = ready ? &w.free : &w.locked;
	int err = gort_mutex_lock_until(m, GORT_FOREVER);

	if (err == 0)
		gort_mutex_unlock(m);
	return err;
}

static int lock_late(bool ready)
{
	gort_mutex *m = ready ? &w.free : &w.locked;
	int err = gort_mutex_lock_until(m, LATE);

	if (err == 0)
		gort_mutex_unlock(m);
	return err;
}

static int unlock(gort_rwmutex *l, bool writer, int err)
{
	if (err)
		return err;
	if (writer)
		gort_rwmutex_unlock(l);
	else
		gort_rwmutex_runlock(l);
	return 0;
}

static int write_lock_until(bool ready)
{
	gort_rwmutex *l = ready ? &w.rw_free : &w.written;

	return unlock(l, true, gort_rwmutex_lock_until(l, LATE));
}

static int read_lock_until(bool ready)
{
	gort_rwmutex *l = ready ? &w.rw_free : &w.written;

	return unlock(l, false, gort_rwmutex_rlock_until(l, GORT_FOREVER));
}

static int sem_acquire(bool ready)
{
	return gort_sem_acquire(ready ? &w.full_sem : &w.empty_sem, 1);
}

static int sem_acquire_until(bool ready)
{
	return gort_sem_acquire_until(ready ? &w.full_sem : &w.empty_sem, 2, LATE);
}

/* A condition is waited for with the mutex held, before and after. */
static int cond_wait_for(bool ready, int64_t deadline)
{
	gort_mutex own = { 0 };
	int err = 0;

	gort_mutex_lock(&own);
	if (!ready)
		err = deadline == GORT_FOREVER ? gort_cond_wait(&w.cond, &own)
					       : gort_cond_wait_until(&w.cond, &own, deadline);
	CHECK_EQ(gort_mutex_try_lock(&own), -EAGAIN);
	gort_mutex_unlock(&own);
	return err;
}

static int cond_wait(bool ready)
{
	return cond_wait_for(ready, GORT_FOREVER);
}

static int cond_wait_until(bool ready)
{
	return cond_wait_for(ready, LATE);
}

static int flight_do(bool ready)
{
	return gort_flight_do(w.flight, ready ? "idle" : "busy", end_at_once, NULL, NULL);
}

static int waitgroup_wait(bool ready)
{
	return gort_waitgroup_wait(ready ? &w.zero : &w.one);
}

static int waitgroup_wait_until(bool ready)
{
	return gort_waitgroup_wait_until(ready ? &w.zero : &w.one, LATE);
}

static int scope_go(bool ready)
{
	return gort_scope_go(ready ? w.roomy : w.crowded, end_at_once, NULL);
}

static int scope_spawn(bool ready)
{
	return gort_scope_spawn(ready ? w.roomy : w.crowded, end_at_once, NULL,
				&(gort_attr){ .name = "member" });
}

static int (*const calls[])(bool ready) = {
	recv_on,           recv_until,
	send_on,           send_until,
	send_buffered,     recv_nothing,
	send_nothing,      select_chans,
	select_others,     select_many,
	select_none,       sleeps,
	sleep_until,       join,
	join_late,         lock_until,
	lock_late,         write_lock_until,
	read_lock_until,   sem_acquire,
	sem_acquire_until, cond_wait,
	cond_wait_until,   flight_do,
	waitgroup_wait,    waitgroup_wait_until,
	scope_go,          scope_spawn,
};

#define CALLS (int)(sizeof calls / sizeof calls[0])

/* ---- one call, on a goroutine or a guest ----------------------------------------------------- */

struct run {
	gort_ctx *ctx;    /* to be under, or NULL */
	int64_t deadline; /* of its own, from then on, or 0 */
	int call;
	int result;                  /* of the call that has to wait */
	struct waits *_Atomic waits; /* set before it begins */
	gort_waitgroup done;
};

static void run(void *arg)
{
	struct run *r = arg;
	gort_ctx *before = r->ctx ? gort_ctx_enter(r->ctx) : NULL;

	if (r->deadline)
		CHECK_EQ(gort_set_deadline(gort_in(r->deadline)), GORT_FOREVER);
	atomic_store(&r->waits, own_waits());
	r->result = calls[r->call](false);
	/* What need not wait is done all the same. */
	CHECK_EQ(calls[r->call](true), 0);
	if (r->deadline)
		CHECK(gort_set_deadline(GORT_FOREVER) != GORT_FOREVER);
	if (before)
		gort_ctx_leave(before);
	CHECK_EQ(calls[r->call](true), 0);
	gort_waitgroup_done(&r->done);
}

static struct guest *begin(struct run *r, bool guest)
{
	gort_waitgroup_add(&r->done, 1);
	if (guest)
		return guest_start(run, r);
	CHECK_EQ(gort_go(run, r), 0);
	return NULL;
}

static void end(struct run *r, struct guest *guest)
{
	CHECK_EQ(gort_waitgroup_wait(&r->done), 0);
	if (guest)
		guest_join(guest);
	check_world();
}

/* It has gone to sleep. */
static void await(struct run *r)
{
	EVENTUALLY(atomic_load(&r->waits) && sleeps_now(atomic_load(&r->waits)));
}

enum who { GOROUTINES = 1, GUESTS = 2, BOTH = 3 };

/* One call with what make gives; expect is its result. */
static void one(int call, bool on_guest, void (*make)(struct run *r),
		void (*meanwhile)(struct run *r), int expect)
{
	struct run r = { .call = call };
	struct guest *guest;

	make(&r);
	guest = begin(&r, on_guest);
	if (meanwhile)
		meanwhile(&r);
	end(&r, guest);
	if (r.result != expect)
		test_fail_(__FILE__, __LINE__, "call %d on a %s gave %d, not %d", call,
			   on_guest ? "guest" : "goroutine", r.result, expect);
	if (r.ctx)
		gort_ctx_release(r.ctx);
}

static void each(enum who who, void (*make)(struct run *r), void (*meanwhile)(struct run *r),
		 int expect)
{
	make_world();
	for (int i = 0; i < CALLS; i++) {
		if (who & GOROUTINES)
			one(i, false, make, meanwhile, expect);
		if (who & GUESTS)
			one(i, true, make, meanwhile, expect);
	}
	end_world();
}

static void make_live(struct run *r)
{
	r->ctx = gort_ctx_with_cancel(gort_ctx_background());
	CHECK(r->ctx != NULL);
}

static void make_ended(struct run *r)
{
	make_live(r);
	gort_ctx_cancel(r->ctx, -EPERM);
}

// variants: maxprocs
TEST(calls_under_a_context_that_has_ended)
{
	each(BOTH, make_ended, NULL, -ECANCELED);
}

static void make_passed(struct run *r)
{
	r->ctx = gort_ctx_with_deadline(gort_ctx_background(), gort_now() - 1);
	CHECK(r->ctx != NULL);
}

// variants: maxprocs
TEST(calls_under_a_context_whose_deadline_has_passed)
{
	each(BOTH, make_passed, NULL, -ETIMEDOUT);
}

static void await_and_cancel(struct run *r)
{
	await(r);
	gort_ctx_cancel(r->ctx, -EIO);
}

// variants: maxprocs
TEST(calls_whose_context_ends_meanwhile)
{
	each(BOTH, make_live, await_and_cancel, -ECANCELED);
}

static gort_ctx *above;

static void make_below(struct run *r)
{
	gort_ctx *middle;

	above = gort_ctx_with_cancel(gort_ctx_background());
	middle = gort_ctx_with_deadline(above, LATE);
	r->ctx = gort_ctx_with_value(middle, &above, NULL);
	CHECK(r->ctx != NULL);
	gort_ctx_release(middle);
}

static void await_and_cancel_above(struct run *r)
{
	await(r);
	gort_ctx_cancel(above, 0);
	gort_ctx_release(above);
}

// variants: maxprocs
TEST(calls_whose_context_ends_with_one_above)
{
	each(BOTH, make_below, await_and_cancel_above, -ECANCELED);
}

static void make_soon(struct run *r)
{
	r->ctx = gort_ctx_with_deadline(gort_ctx_background(), gort_in(2 * GORT_MS));
	CHECK(r->ctx != NULL);
}

// variants: maxprocs
TEST(calls_of_goroutines_whose_contexts_deadline_passes)
{
	each(GOROUTINES, make_soon, NULL, -ETIMEDOUT);
}

TEST(calls_of_guests_whose_contexts_deadline_passes)
{
	each(GUESTS, make_soon, NULL, -ETIMEDOUT);
}

static void make_own_deadline(struct run *r)
{
	r->deadline = GORT_MS;
}

// variants: maxprocs
TEST(calls_whose_own_deadline_passes)
{
	each(BOTH, make_own_deadline, NULL, -ETIMEDOUT);
}

static void make_own_deadline_passed(struct run *r)
{
	r->deadline = -GORT_SEC;
}

// variants: maxprocs
TEST(calls_whose_own_deadline_has_passed)
{
	each(BOTH, make_own_deadline_passed, NULL, -ETIMEDOUT);
}

static void make_both(struct run *r)
{
	make_live(r);
	r->deadline = 3600 * GORT_SEC;
}

// variants: maxprocs
TEST(calls_with_a_deadline_of_their_own_whose_context_ends)
{
	each(BOTH, make_both, await_and_cancel, -ECANCELED);
}

/* What cannot be cancelled is not: mutex_lock, and a scope's wait for grace. */
static void lock_and_wait(void *arg)
{
	gort_ctx *before = gort_ctx_enter(arg);

	gort_set_deadline(gort_in(0));
	gort_mutex_lock(&w.locked);
	gort_mutex_unlock(&w.locked);
	CHECK_EQ(gort_scope_wait_until(w.roomy, GORT_FOREVER), 0);
	gort_set_deadline(GORT_FOREVER);
	gort_ctx_leave(before);
	gort_waitgroup_done(&w.all);
}

// variants: maxprocs
TEST(waits_that_no_context_ends)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	struct guest *guest;

	make_world();
	CHECK_EQ(gort_scope_go(w.roomy, wait_for_the_gate, NULL), 0);
	gort_waitgroup_add(&w.all, 3);
	CHECK_EQ(gort_go(lock_and_wait, ctx), 0);
	guest = guest_start(lock_and_wait, ctx);
	gort_sleep(GORT_MS);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_go(lock_and_wait, ctx), 0);
	CHECK_EQ(gort_waitgroup_wait_until(&w.all, gort_in(20 * GORT_MS)), -ETIMEDOUT);
	gort_mutex_unlock(&w.locked);
	CHECK_EQ(gort_waitgroup_wait_until(&w.all, gort_in(20 * GORT_MS)), -ETIMEDOUT);
	gort_mutex_lock(&w.locked);
	CHECK_EQ(gort_chan_close(w.gate), 0);
	gort_mutex_unlock(&w.locked);
	CHECK_EQ(gort_waitgroup_wait(&w.all), 0);
	guest_join(guest);
	gort_ctx_release(ctx);
	release_world();
}

/* ---- very many at once ----------------------------------------------------------------------- */

static struct waits *_Atomic waiting[10000 + CALLS];
static atomic_int canceled;

static void wait_somehow(void *arg)
{
	uintptr_t me = (uintptr_t)arg;

	atomic_store(&waiting[me], own_waits());
	CHECK_EQ(calls[me % CALLS](false), -ECANCELED);
	atomic_fetch_add(&canceled, 1);
}

static void wait_somehow_on_guest(void *arg)
{
	gort_ctx *before = gort_ctx_enter(above);

	wait_somehow(arg);
	gort_ctx_leave(before);
}

// variants: maxprocs
TEST(ten_thousand_in_every_kind_of_wait_are_cancelled_at_once)
{
	const int n = SCALE(10000);
	struct guest *guests[CALLS];
	gort_ctx *before;

	make_world();
	above = gort_ctx_with_cancel(gort_ctx_background());
	before = gort_ctx_enter(above);
	for (intptr_t i = 0; i < n; i++)
		CHECK_EQ(gort_waitgroup_go(&w.all, wait_somehow, (void *)i), 0);
	gort_ctx_leave(before);
	for (intptr_t i = 0; i < CALLS; i++)
		guests[i] = guest_start(wait_somehow_on_guest, (void *)(n + i));
	for (int i = 0; i < n + CALLS; i++)
		EVENTUALLY(atomic_load(&waiting[i]) && sleeps_now(atomic_load(&waiting[i])));
	gort_ctx_cancel(above, 0);
	CHECK_EQ(gort_waitgroup_wait(&w.all), 0);
	for (int i = 0; i < CALLS; i++)
		guest_join(guests[i]);
	CHECK_EQ(atomic_load(&canceled), n + CALLS);
	gort_ctx_release(above);
	end_world();
}
